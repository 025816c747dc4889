"""RT Structure Sets: reading outlines as structures."""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from opentps_brimstone._typing import FloatArray
from opentps_brimstone.dicom.errors import DicomError
from opentps_brimstone.dicom.identity import Accepted, stated_frames
from opentps_brimstone.dicom.roi_physics import read_physics
from opentps_brimstone.dicom.structure_file import StructureSetFile
from opentps_brimstone.dicom.tags import Tags
from opentps_brimstone.model.contours import ContourStack
from opentps_brimstone.model.influence import VoxelGrid
from opentps_brimstone.model.structure import Structure, StructureSet

__all__ = ["read_structures"]

_TARGET_TYPES = ("PTV", "CTV", "GTV")
# A structure of one of these types is not a target, whatever its name.
_NEVER_TARGET = ("EXTERNAL", "AVOIDANCE", "SUPPORT", "BOLUS", "FIXATION", "DOSE_REGION", "ISOCENTER", "MARKER")
_TARGET_NAME = re.compile(r"(PTV|CTV|GTV|ITV)", re.IGNORECASE)
_CLOSED = ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR")
# How far the points of an outline may be off its plane, and from the origin.
_FLATNESS_MM = 0.1
_FURTHEST_MM = 1e5


@dataclass(frozen=True)
class _ROI:
    """A structure as the file has it: its number, frame and name, its outlines, and what is observed of it."""

    number: int | None
    name: str
    frame: str
    outlines: Sequence[Tags]
    observations: Sequence[Tags]

    @property
    def kind(self) -> str:
        """Interpreted type."""
        stated = [item.text("RTROIInterpretedType").upper() for item in self.observations]
        return next(filter(None, stated), "")


def read_structures(
    file: StructureSetFile, grid: VoxelGrid, frame: str = "", accepted: Accepted = frozenset()
) -> StructureSet:
    """Read the structures of closed outlines; the others are in the result's `left_out`.

    A point is inside if an odd number of outlines encloses it. There is a warning for each structure that is left out,
    has outlines that cannot be read, or has gaps.

    Parameters
    ----------
    file : StructureSetFile
    grid : VoxelGrid
        Of the CT.
    frame : str
        Frame of reference of the CT, if it has one.
    accepted : frozenset of str
        Contradictions of `IDENTITIES` that do not matter.
    """
    rois = _rois(file, accepted)
    times = Counter(roi.number for roi in rois)
    structures: dict[str, Structure] = {}
    left_out: dict[str, str] = {}
    taken: dict[str, list[str]] = {}
    for roi in rois:
        name = _unique(roi, {*structures, *left_out})
        elsewhere = _elsewhere(roi, frame)
        if elsewhere and "frame_of_reference" in accepted:
            taken.setdefault(elsewhere, []).append(repr(name))
            elsewhere = ""
        reason = _ambiguous(roi, times) or elsewhere
        planes, reason = ([], reason) if reason else _planes(file, name, roi)
        if reason:
            left_out[name] = reason
            warnings.warn(f"{file.path.name}: structure {name!r} is left out: {reason}", stacklevel=4)
            continue
        contours = ContourStack(planes, grid.spacing_mm[2])
        _warn_of_shape(file, name, contours)
        structure = Structure.from_contours(name, contours, grid, _is_target(name, roi.kind))
        structure.kind = roi.kind
        structure.density_g_cm3 = read_physics(name, roi.kind, roi.observations)
        structures[name] = structure
    for elsewhere, names in taken.items():
        warnings.warn(f"{file.path.name}: {', '.join(names)} taken although {elsewhere}", stacklevel=4)
    return StructureSet(structures.values(), left_out)


# ---------------------------------------------------------------------------------------------- what belongs together


def _rois(file: StructureSetFile, accepted: Accepted) -> list[_ROI]:
    """Put together what the file's sequences have of each structure."""
    listed = file.tags.items("StructureSetROISequence")
    numbers = [_number(item, "ROINumber") for item in listed]
    drawn = file.tags.items("ROIContourSequence")
    observed = file.tags.items("RTROIObservationsSequence")
    drawn_of = [_number(item, "ReferencedROINumber") for item in drawn]
    observed_of = [_number(item, "ReferencedROINumber") for item in observed]
    if "roi_number" in accepted and len(set(numbers)) < len(numbers) == len(drawn) == len(observed):
        warnings.warn(
            f"{file.path.name}: ROI numbers are ambiguous; structures are matched by their order", stacklevel=5
        )
        numbers = drawn_of = observed_of = list(range(1, len(listed) + 1))
    unknown = sorted({str(number) for number in drawn_of if number not in numbers})
    if unknown:
        warnings.warn(
            f"{file.path.name}: outlines of ROI number {', '.join(unknown)} are left out: no structure has it",
            stacklevel=5,
        )
    return [
        _ROI(
            number,
            item.text("ROIName"),
            item.text("ReferencedFrameOfReferenceUID"),
            [
                each
                for of, roi in zip(drawn_of, drawn, strict=True)
                if of == number
                for each in roi.items("ContourSequence")
            ],
            [each for of, each in zip(observed_of, observed, strict=True) if of == number],
        )
        for number, item in zip(numbers, listed, strict=True)
    ]


def _number(item: Tags, keyword: str) -> int | None:
    """Read the number by which sequences of the file refer to a structure; None if it is not one."""
    try:
        return item.whole(keyword)
    except DicomError:
        return None


def _ambiguous(roi: _ROI, times: Counter[int | None]) -> str:
    """Say why a structure cannot be told from others."""
    if roi.number is None:
        return "its ROINumber (3006,0022) is not a whole number, so no outlines can refer to it"
    if times[roi.number] > 1:
        return f"{times[roi.number]} structures have the ROI number {roi.number}; whose outlines it has is not clear"
    return ""


def _elsewhere(roi: _ROI, frame: str) -> str:
    """Say that a structure does not lie in the coordinates of the CT."""
    if not (frame and stated_frames([roi.frame])) or roi.frame == frame:
        return ""
    return f"its frame of reference is {roi.frame}, not that of the CT, {frame}: coordinates are not the same"


def _is_target(name: str, kind: str) -> bool:
    return kind in _TARGET_TYPES or (kind not in _NEVER_TARGET and _TARGET_NAME.match(name) is not None)


def _unique(roi: _ROI, taken: set[str]) -> str:
    name = roi.name or f"ROI {roi.number}"
    if name not in taken:
        return name
    other = next(
        each for count in range(1, len(taken) + 2) if (each := _numbered(name, roi.number, count)) not in taken
    )
    warnings.warn(f"two structures are named {name!r}; the second is called {other!r} here", stacklevel=5)
    return other


def _numbered(name: str, number: int | None, count: int) -> str:
    return f"{name} (ROI {number})" if count == 1 else f"{name} (ROI {number}, {count})"


# ------------------------------------------------------------------------------------------------- outlines


def _planes(file: StructureSetFile, name: str, roi: _ROI) -> tuple[list[tuple[float, list[FloatArray]]], str]:
    """Collect the outlines of a structure by plane, or the reason why none can be used."""
    planes = []
    kinds: set[str] = set()
    passed_over: dict[str, list[int]] = {}
    for number, kind, points, problem in _points(roi):
        if problem:
            passed_over.setdefault(problem, []).append(number)
            continue
        kinds.add(kind or "unknown")
        if kind not in _CLOSED or len(points) < 3:
            continue
        if np.ptp(points[:, 2]) > _FLATNESS_MM:
            return [], (
                f"outline {number} is not in an axial plane: z goes from {points[:, 2].min():g} to "
                f"{points[:, 2].max():g} mm"
            )
        planes.append((float(points[:, 2].mean()), [points[:, :2]]))
    if planes:
        for problem, numbers in passed_over.items():
            said = f"outline {', '.join(map(str, numbers[:5]))}{' …' if len(numbers) > 5 else ''}"
            warnings.warn(f"{file.path.name}: structure {name!r}: {said} passed over: {problem}", stacklevel=5)
        return planes, ""
    if passed_over:
        return [], f"none of its outlines can be read: {'; '.join(passed_over)}"
    if not kinds:
        return [], "it has no outlines"
    return [], f"it has no closed outline of three or more points, only {', '.join(sorted(kinds))}"


def _points(roi: _ROI) -> Iterator[tuple[int, str, FloatArray, str]]:
    """Give number, type and points of each outline, and what is wrong with it."""
    nothing = np.empty((0, 3))
    for number, outline in enumerate(roi.outlines, start=1):
        try:
            kind = outline.text("ContourGeometricType").upper()
            values = outline.numbers("ContourData")
        except DicomError as error:
            yield number, "", nothing, str(error).removeprefix(f"{outline.name}: ")
            continue
        if values.size % 3 or np.abs(values).max() > _FURTHEST_MM:
            problem = (
                f"ContourData (3006,0050) has {values.size} values up to {np.abs(values).max():g}; it must be x, y, z "
                f"of every point, within {_FURTHEST_MM:g} mm"
            )
            yield number, kind, nothing, problem
            continue
        yield number, kind, values.reshape(-1, 3), ""


def _warn_of_shape(file: StructureSetFile, name: str, contours: ContourStack) -> None:
    if contours.gaps_mm:
        gaps = ", ".join(f"{low:g} to {high:g} mm" for low, high in contours.gaps_mm)
        warnings.warn(
            f"{file.path.name}: structure {name!r} has no outlines in z = {gaps}; nothing is assumed to be there",
            stacklevel=4,
        )
    if contours.thin_rims_mm:
        places = ", ".join(f"{z:g}" for z in contours.thin_rims_mm[:5])
        warnings.warn(
            f"{file.path.name}: structure {name!r} has outlines that nearly coincide at z = {places} mm; only the rim "
            "between them is inside",
            stacklevel=4,
        )
