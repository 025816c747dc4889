"""RT Structure Sets: reading outlines as structures."""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from opentps_brimstone.dicom.errors import DicomError
from opentps_brimstone.model.contours import ContourStack
from opentps_brimstone.model.structure import Structure, StructureSet

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydicom.dataset import Dataset

    from opentps_brimstone.model.influence import VoxelGrid

__all__ = ["StructureSetFile", "read_structures"]

_TARGET_TYPES = ("PTV", "CTV", "GTV")
# A structure of one of these types is not a target, whatever its name.
_NEVER_TARGET = ("EXTERNAL", "AVOIDANCE", "SUPPORT", "BOLUS", "FIXATION", "DOSE_REGION", "ISOCENTER", "MARKER")
_TARGET_NAME = re.compile(r"(PTV|CTV|GTV|ITV)", re.IGNORECASE)
_CLOSED = ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR")
# How far the points of an outline may be off its plane.
_FLATNESS_MM = 0.1


@dataclass(frozen=True)
class StructureSetFile:
    """A file with an RT Structure Set."""

    path: Path
    dataset: Dataset

    @property
    def label(self) -> str:
        """Structure set label."""
        return str(self.dataset.get("StructureSetLabel", "") or "")

    @property
    def uid(self) -> str:
        """SOP instance."""
        return str(self.dataset.get("SOPInstanceUID", "") or "")

    def __str__(self) -> str:
        date = self.dataset.get("StructureSetDate", "") or "no date"
        return f"{self.path.name} (label {self.label!r}, {date})"

    def series_uids(self) -> set[str]:
        """Find the image series that it refers to."""
        return self._values(
            "ReferencedFrameOfReferenceSequence",
            "RTReferencedStudySequence",
            "RTReferencedSeriesSequence",
            keyword="SeriesInstanceUID",
        )

    def frames(self) -> set[str]:
        """Find the frames of reference that it refers to."""
        referenced = self._values("ReferencedFrameOfReferenceSequence", keyword="FrameOfReferenceUID")
        of_structures = self._values("StructureSetROISequence", keyword="ReferencedFrameOfReferenceUID")
        # OpenTPS writes the word None if it does not know the frame.
        return (referenced | of_structures) - {"None"}

    def image_uids(self) -> set[str]:
        """Find the slices that its outlines refer to."""
        return self._values(
            "ROIContourSequence", "ContourSequence", "ContourImageSequence", keyword="ReferencedSOPInstanceUID"
        )

    def _values(self, *sequences: str, keyword: str) -> set[str]:
        """Collect the values that a tag has in the items of nested sequences."""
        items = [self.dataset]
        for sequence in sequences:
            items = [inner for item in items for inner in item.get(sequence) or []]
        return {str(item.get(keyword, "") or "") for item in items} - {""}


def read_structures(file: StructureSetFile, grid: VoxelGrid) -> StructureSet:
    """Read the structures of closed outlines; the others are in the result's `left_out`.

    A point is inside if an odd number of outlines encloses it. There is a warning for each structure that is left out,
    extends beyond the CT, or has gaps.
    """
    types = _types(file)
    contours_of = {
        _number(file, item, "ReferencedROINumber"): item.get("ContourSequence") or []
        for item in file.dataset.get("ROIContourSequence") or []
    }
    structures: dict[str, Structure] = {}
    left_out: dict[str, str] = {}
    for roi in file.dataset.get("StructureSetROISequence") or []:
        number = _number(file, roi, "ROINumber")
        name = _unique(str(roi.get("ROIName", "") or "").strip() or f"ROI {number}", number, {*structures, *left_out})
        planes, reason = _planes(file, name, contours_of.get(number, []))
        if reason:
            left_out[name] = reason
            warnings.warn(f"{file.path.name}: structure {name!r} is left out: {reason}", stacklevel=4)
            continue
        contours = ContourStack(planes, grid.spacing_mm[2])
        _warn_of_gaps(file, name, contours)
        kind = types.get(number, "")
        structures[name] = Structure.from_contours(name, contours, grid, _is_target(name, kind))
    return StructureSet(structures.values(), left_out)


def _types(file: StructureSetFile) -> dict[int, str]:
    return {
        _number(file, item, "ReferencedROINumber"): str(item.get("RTROIInterpretedType", "") or "").upper().strip()
        for item in file.dataset.get("RTROIObservationsSequence") or []
    }


def _number(file: StructureSetFile, item: Dataset, keyword: str) -> int:
    """Read the number by which sequences of the file refer to a structure."""
    value = item.get(keyword)
    try:
        return int(str(value))
    except ValueError:
        raise DicomError(f"{file.path}: {keyword} is {value!r}; it must be a whole number") from None


def _is_target(name: str, kind: str) -> bool:
    return kind in _TARGET_TYPES or (kind not in _NEVER_TARGET and _TARGET_NAME.match(name) is not None)


def _unique(name: str, number: int, taken: set[str]) -> str:
    if name not in taken:
        return name
    other = f"{name} (ROI {number})"
    warnings.warn(f"two structures are named {name!r}; the second is called {other!r} here", stacklevel=5)
    return other


def _planes(
    file: StructureSetFile, name: str, contours: list[Dataset]
) -> tuple[list[tuple[float, list[np.ndarray[tuple[int, ...], np.dtype[np.float64]]]]], str]:
    """Collect the outlines of a structure by plane, or the reason why none can be used."""
    planes = []
    for number, kind, points in _points(file, name, contours):
        if kind not in _CLOSED or len(points) < 3:
            continue
        if np.ptp(points[:, 2]) > _FLATNESS_MM:
            return [], (
                f"outline {number} is not in an axial plane: z goes from {points[:, 2].min():g} to "
                f"{points[:, 2].max():g} mm"
            )
        planes.append((float(points[:, 2].mean()), [points[:, :2]]))
    if planes:
        return planes, ""
    if not contours:
        return [], "it has no outlines"
    kinds = sorted({kind or "unknown" for _, kind, _ in _points(file, name, contours)})
    return [], f"it has no closed outline of three or more points, only {', '.join(kinds)}"


def _points(
    file: StructureSetFile, name: str, contours: list[Dataset]
) -> Iterator[tuple[int, str, np.ndarray[tuple[int, ...], np.dtype[np.float64]]]]:
    for number, contour in enumerate(contours, start=1):
        where = f"{file.path}: outline {number} of structure {name!r}"
        data = contour.get("ContourData")
        if data is None:
            raise DicomError(f"{where}: ContourData is missing")
        try:
            values = np.atleast_1d(np.array(data, dtype=np.float64))
        except (TypeError, ValueError):
            raise DicomError(f"{where}: ContourData holds something else than numbers") from None
        if values.size % 3 or not np.isfinite(values).all():
            raise DicomError(
                f"{where}: ContourData has {values.size} values; it must be x, y, z of every point, all finite"
            )
        yield number, str(contour.get("ContourGeometricType", "") or ""), values.reshape(-1, 3)


def _warn_of_gaps(file: StructureSetFile, name: str, contours: ContourStack) -> None:
    if contours.gaps_mm:
        gaps = ", ".join(f"{low:g} to {high:g} mm" for low, high in contours.gaps_mm)
        warnings.warn(
            f"{file.path.name}: structure {name!r} has no outlines in z = {gaps}; nothing is assumed to be there",
            stacklevel=4,
        )
