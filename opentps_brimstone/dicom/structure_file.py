"""The file of an RT Structure Set: what it is called, and what it says it belongs to."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from opentps_brimstone.dicom.identity import Identity
from opentps_brimstone.dicom.tags import Tags

__all__ = ["STRUCTURE_SET_CLASS", "StructureSetFile"]

STRUCTURE_SET_CLASS = "1.2.840.10008.5.1.4.1.1.481.3"


@dataclass(frozen=True)
class StructureSetFile:
    """A file with an RT Structure Set."""

    tags: Tags

    @property
    def path(self) -> Path:
        """Where it is."""
        return self.tags.path

    @property
    def label(self) -> str:
        """Structure set label."""
        return self.tags.text("StructureSetLabel")

    @property
    def uid(self) -> str:
        """SOP instance."""
        return self.tags.text("SOPInstanceUID")

    @property
    def names(self) -> tuple[str, ...]:
        """What it may be called."""
        return self.uid, self.label, self.path.name, self.path.stem

    def __str__(self) -> str:
        return f"{self.path.name} (label {self.label!r}, {self.tags.text('StructureSetDate') or 'no date'})"

    @cached_property
    def identity(self) -> Identity:
        """Its patient, study and frames of reference."""
        return Identity.of(self.tags)

    @cached_property
    def series_uids(self) -> set[str]:
        """Image series that it refers to."""
        items = self.tags.nested(
            "ReferencedFrameOfReferenceSequence", "RTReferencedStudySequence", "RTReferencedSeriesSequence"
        )
        return {item.text("SeriesInstanceUID") for item in items} - {""}

    @cached_property
    def image_uids(self) -> set[str]:
        """Slices that its outlines refer to."""
        items = self.tags.nested("ROIContourSequence", "ContourSequence", "ContourImageSequence")
        return {item.text("ReferencedSOPInstanceUID") for item in items} - {""}
