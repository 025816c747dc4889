"""Checked values of DICOM datasets, with errors that name file and tag."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from opentps_brimstone._typing import FloatArray
from opentps_brimstone.dicom.errors import DicomError

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

__all__ = ["Tags", "tag_name"]


def tag_name(keyword: str) -> str:
    """Name and number an element, as ``GantryAngle (300A,011E)``."""
    from pydicom.datadict import tag_for_keyword

    tag = tag_for_keyword(keyword) or 0
    return f"{keyword} ({tag >> 16:04X},{tag & 0xFFFF:04X})"


@dataclass(frozen=True)
class Tags:
    """The values of a dataset, whose name in errors is that of its file, if it has one."""

    name: str
    dataset: Dataset

    @property
    def path(self) -> Path:
        """The file of a dataset that was read from one."""
        return Path(self.name)

    def wrong(self, keyword: str, problem: str) -> DicomError:
        """Make an error that continues from the element's name."""
        return DicomError(f"{self.name}: {tag_name(keyword)} {problem}")

    def text(self, keyword: str) -> str:
        """Return a value as text; empty if it is missing."""
        return str(self.dataset.get(keyword) or "")

    def numbers(self, keyword: str, count: int | None = None) -> FloatArray:
        """Return a value as finite numbers, `count` of them if it is given."""
        value = self.dataset.get(keyword)
        if value is None or value == "":
            raise self.wrong(keyword, "is missing")
        try:
            found = np.atleast_1d(np.array(value, dtype=np.float64))
        except (TypeError, ValueError):
            raise self.wrong(keyword, f"is {value!r}; numbers are needed") from None
        if not np.isfinite(found).all() or (count is not None and found.shape != (count,)):
            raise self.wrong(keyword, f"is {found.tolist()}; {count or 'only'} finite numbers are needed")
        return found
