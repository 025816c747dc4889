"""Checked values of DICOM datasets, with errors that name file and tag."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from opentps_brimstone._typing import FloatArray
from opentps_brimstone.dicom.errors import DicomError
from opentps_brimstone.dicom.files import sequence_of_unknown_type

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

__all__ = ["Tags", "tag_name", "value_of"]

# Representations of values that are text, numbers among them.
_TEXTS = ("DS", "IS", "UI", "CS", "LO", "SH", "DA", "TM", "ST", "LT", "PN")


def tag_name(keyword: str) -> str:
    """Name and number an element, as ``GantryAngle (300A,011E)``."""
    from pydicom.datadict import tag_for_keyword

    tag = tag_for_keyword(keyword) or 0
    return f"{keyword} ({tag >> 16:04X},{tag & 0xFFFF:04X})"


def value_of(dataset: Dataset, keyword: str, *, numeric: bool = False) -> Any:
    """Return a value; if the writer did not state its type, as the dictionary has it.

    If only numbers are wanted, decimal strings are decoded at once, to an array: pydicom makes an object of each.
    Whatever cannot be decoded raises some exception of pydicom's.
    """
    from pydicom.datadict import dictionary_VR, tag_for_keyword
    from pydicom.tag import Tag

    tag = Tag(tag_for_keyword(keyword) or 0)
    element: Any = dataset.get_item(tag)
    if element is None:
        return None
    known = dictionary_VR(tag)
    if isinstance(element.value, bytes) and element.value:
        open_type = element.VR == "UN"
        if known in ("DS", "IS") and numeric and (open_type or element.VR in (None, known)):
            return _decimal_strings(element.value)
        if open_type and known == "SQ":
            dataset.add_new(tag, "SQ", sequence_of_unknown_type(element.value))
        elif open_type and known in _TEXTS:
            return element.value.decode("latin-1").rstrip("\0 ")
    return dataset[tag].value


def _decimal_strings(value: bytes) -> Any:
    parts = value.rstrip(b"\0 ").split(b"\\")
    if parts == [b""]:
        return None
    return np.array(parts).astype(np.float64)


@dataclass(frozen=True)
class Tags:
    """The values of a dataset or of an item of a sequence, whose name in errors is that of its file, if it has one."""

    name: str
    dataset: Dataset

    @property
    def path(self) -> Path:
        """The file of a dataset that was read from one."""
        return Path(self.name)

    def wrong(self, keyword: str, problem: str) -> DicomError:
        """Make an error that continues from the element's name."""
        return DicomError(f"{self.name}: {tag_name(keyword)} {problem}")

    def value(self, keyword: str, *, numeric: bool = False) -> Any:
        """Return a value, None if it is missing; one that cannot be decoded is an error."""
        try:
            return value_of(self.dataset, keyword, numeric=numeric)
        except Exception as error:  # pydicom raises many kinds for a damaged value
            raise self.wrong(keyword, f"cannot be decoded: {error}") from error

    def text(self, keyword: str) -> str:
        """Return a value as text; empty if it is missing."""
        value = self.value(keyword)
        if value is None:
            return ""
        try:
            return str(value).strip()
        except Exception as error:
            raise self.wrong(keyword, f"cannot be decoded: {error}") from error

    def numbers(self, keyword: str, count: int | None = None) -> FloatArray:
        """Return a value as finite numbers, `count` of them if it is given."""
        value = self.value(keyword, numeric=True)
        if value is None or np.size(value) == 0 or (isinstance(value, str) and not value):
            raise self.wrong(keyword, "is missing")
        try:
            found = np.atleast_1d(np.array(value, dtype=np.float64))
        except (TypeError, ValueError):
            raise self.wrong(keyword, f"is {_shown(value)}; numbers are needed") from None
        if not np.isfinite(found).all() or (count is not None and found.shape != (count,)):
            raise self.wrong(keyword, f"is {_shown(found.tolist())}; {count or 'only'} finite numbers are needed")
        return found

    def whole(self, keyword: str) -> int | None:
        """Return a whole number, None if it is missing."""
        if self.text(keyword) == "":
            return None
        (number,) = self.numbers(keyword, 1)
        if number != int(number):
            raise self.wrong(keyword, f"is {number:g}; it must be a whole number")
        return int(number)

    def items(self, keyword: str) -> list[Tags]:
        """Return the items of a sequence; none if it is missing."""
        value = self.value(keyword)
        if value is None or (isinstance(value, bytes | str) and not value):
            return []
        from pydicom.sequence import Sequence

        if not isinstance(value, Sequence):
            raise self.wrong(keyword, f"is {_shown(value)}; it must be a sequence")
        return [Tags(self.name, item) for item in value]

    def nested(self, *sequences: str) -> list[Tags]:
        """Return the items of the last of nested sequences."""
        items = [self]
        for sequence in sequences:
            items = [inner for item in items for inner in item.items(sequence)]
        return items


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
