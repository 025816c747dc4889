"""CT series: slices read as one image in the patient's axes."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from opentps_brimstone._typing import AnyArray, BoolArray, FloatArray
from opentps_brimstone.dicom.errors import DicomError
from opentps_brimstone.dicom.files import read_known_file
from opentps_brimstone.dicom.folder import CTFiles
from opentps_brimstone.dicom.geometry import (
    LARGEST_SPACING_MM,
    SAME_PLACE_MM,
    axes_of,
    checked_position,
    checked_spacing,
    uneven_steps,
)
from opentps_brimstone.dicom.identity import Accepted, Identity, contradictions, obstacles
from opentps_brimstone.dicom.pixels import pixels_of
from opentps_brimstone.dicom.tags import Tags
from opentps_brimstone.model.influence import VoxelGrid

__all__ = ["CTImage", "read_ct"]


# Positions are decimal strings, which some systems round.
_POSITION_TOLERANCE_MM = 0.1
_AIR_HU = -1024.0
_HOUNSFIELD = ("", "HU", "US")
_PIXEL_KEYWORDS = (
    *("SOPClassUID", "Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation", "BitsAllocated", "BitsStored"),
    *("HighBit", "PixelRepresentation", "RescaleSlope", "RescaleIntercept", "PixelPaddingValue"),
    *("PixelPaddingRangeLimit", "PixelData", "NumberOfFrames"),
)
# Slices that are turned together into columns of the volume, so that whole cache lines are written.
_SLICES_AT_ONCE = 8


class CTImage(NamedTuple):
    """HU of a CT in the patient's axes, shape (nx, ny, nz), its grid, and the patient's position, if it is stated."""

    hu: FloatArray
    grid: VoxelGrid
    patient_position: str


def read_ct(files: CTFiles, progress: bool = False, accepted: Accepted = frozenset()) -> CTImage:
    """Read the slices of one series in any order; copies of a slice are ignored, and what is not a slice is named.

    The axes are x to the patient's left, y to the back, z to the head, all ascending. If the slices are not one CT, the
    DicomError names file and tag, or the positions of missing slices.
    """
    slices = _axial(files)
    for item in slices:
        _check_kind(item)
    across, down = axes_of(slices[0])
    _check_alike(slices, accepted)
    ordered = _without_copies(slices)
    dz = _slice_spacing(ordered)
    between_rows, between_columns = checked_spacing(ordered[0])
    hu = _volume(ordered, transposed=bool(across[1]), progress=progress)
    origin = checked_position(ordered[0])
    steps = np.abs(across) * between_columns + np.abs(down) * between_rows
    for axis in (0, 1):
        if (across + down)[axis] < 0:
            hu = np.flip(hu, axis)
            origin[axis] -= steps[axis] * (hu.shape[axis] - 1)
    nx, ny, nz = hu.shape
    grid = VoxelGrid((nx, ny, nz), (float(steps[0]), float(steps[1]), dz), tuple(origin.tolist()))
    hu = np.ascontiguousarray(hu)
    hu.flags.writeable = False
    return CTImage(hu, grid, _patient_position(slices))


# ------------------------------------------------------------------------------------------------- checks


def _axial(files: CTFiles) -> list[Tags]:
    """Keep the axial images of a series, and say what is passed over."""
    passed_over = dict(files.bystanders)
    kept = files.slices
    for what, reason in _BYSTANDERS:
        others = [item for item in kept if what(item)]
        if 0 < len(others) < len(kept):
            passed_over |= {item.name: reason for item in others}
            kept = [item for item in kept if item.name not in passed_over]
    for reason, count in Counter(passed_over.values()).items():
        names = ", ".join(Path(name).name for name, why in passed_over.items() if why == reason)
        said = names if count <= 3 else f"{count} files of the series"
        warnings.warn(f"{kept[0].path.parent}: {said} passed over: {reason}", stacklevel=5)
    if _is_not_axial(kept[0]):
        raise kept[0].wrong(
            "ImageOrientationPatient", f"is {kept[0].text('ImageOrientationPatient')}, not an axial slice"
        )
    return kept


def _has_no_place(item: Tags) -> bool:
    return not (item.text("ImagePositionPatient") or item.text("ImageOrientationPatient"))


def _is_secondary(item: Tags) -> bool:
    return "SECONDARY" in item.text("ImageType").upper()


def _is_not_axial(item: Tags) -> bool:
    across, down = axes_of(item)
    return bool(across[2] or down[2])


# Images that are not slices of a series if others of it are not so.
_BYSTANDERS: tuple[tuple[Callable[[Tags], bool], str], ...] = (
    (_has_no_place, "it has no place in the patient"),
    (_is_secondary, "it is a secondary image among primary ones"),
    (_is_not_axial, "it is not an axial slice"),
)


def _check_kind(item: Tags) -> None:
    if not item.text("PhotometricInterpretation").startswith("MONOCHROME"):
        raise item.wrong(
            "PhotometricInterpretation",
            f"is {item.text('PhotometricInterpretation') or 'missing'}; a CT slice has MONOCHROME1 or MONOCHROME2",
        )
    if item.text("RescaleType").upper() not in _HOUNSFIELD:
        raise item.wrong("RescaleType", f"is {item.text('RescaleType')}; the CT must be in HU")


def _check_alike(slices: Sequence[Tags], accepted: Accepted) -> None:
    first = slices[0]
    identity, directions = Identity.of(first), axes_of(first)
    spacing, corner = checked_spacing(first), checked_position(first)
    for item in slices[1:]:
        against = obstacles(contradictions(Identity.of(item), identity), accepted)
        if against:
            raise DicomError(f"{item.name}: {'; '.join(against.values())} in {first.path.name} of the same series")
        for keyword in ("Rows", "Columns"):
            if item.whole(keyword) != first.whole(keyword):
                raise item.wrong(
                    keyword,
                    f"is {item.text(keyword)}, but {first.text(keyword)} in "
                    f"{first.path.name}; all slices of a series must have one size",
                )
        if not np.array_equal(axes_of(item), directions):
            raise DicomError(
                f"{first.path}: the slices of this series have different ImageOrientationPatient: "
                f"{first.text('ImageOrientationPatient')} and, in {item.path.name}, "
                f"{item.text('ImageOrientationPatient')}"
            )
        if not np.allclose(checked_spacing(item), spacing, rtol=1e-4):
            raise item.wrong(
                "PixelSpacing",
                f"is {_listed(checked_spacing(item))} mm, but {_listed(spacing)} mm in {first.path.name}",
            )
        if not np.allclose(checked_position(item)[:2], corner[:2], rtol=0, atol=_POSITION_TOLERANCE_MM):
            raise item.wrong(
                "ImagePositionPatient",
                f"starts at x, y = {_listed(checked_position(item)[:2])} mm, but at "
                f"{_listed(corner[:2])} mm in {first.path.name}: the slices are not above one another",
            )


def _patient_position(slices: Sequence[Tags]) -> str:
    stated = {item.text("PatientPosition").upper() for item in slices} - {""}
    if len(stated) > 1:
        raise DicomError(
            f"{slices[0].path}: the slices of this series have different PatientPosition: {', '.join(sorted(stated))}"
        )
    return stated.pop() if stated else ""


def _without_copies(slices: Sequence[Tags]) -> list[Tags]:
    """Sort by z, and drop copies: the same pixels at the same place."""
    kept: list[Tags] = []
    for item in sorted(slices, key=_z):
        if not kept or _z(item) - _z(kept[-1]) > SAME_PLACE_MM:
            kept.append(item)
        elif not np.array_equal(_hounsfield(item), _hounsfield(kept[-1])):
            raise DicomError(
                f"{item.path}: this slice and {kept[-1].path.name} are both at z = {_z(item):g} mm and differ; the "
                "series holds more than one image (phases?)"
            )
    return kept


def _z(item: Tags) -> float:
    return float(checked_position(item)[2])


def _slice_spacing(ordered: Sequence[Tags]) -> float:
    if len(ordered) < 2:
        raise DicomError(f"{ordered[0].path}: the series has one slice only; a volume needs two or more")
    z = np.array([_z(item) for item in ordered])
    steps = np.diff(z)
    usual = float(np.median(steps))
    if usual > LARGEST_SPACING_MM:
        raise DicomError(f"{ordered[0].path.parent}: slices are {usual:g} mm apart; at most {LARGEST_SPACING_MM:g}")
    wrong = uneven_steps(z)
    if not len(wrong):
        return float((z[-1] - z[0]) / (len(z) - 1))
    gaps = [(z[i], z[i + 1], steps[i] / usual) for i in wrong]
    if all(abs(ratio - round(ratio)) <= 0.1 and ratio > 1.5 for *_, ratio in gaps):
        places = _abridged(f"{round(ratio) - 1} between z = {low:g} and {high:g} mm" for low, high, ratio in gaps)
        raise DicomError(f"{ordered[0].path.parent}: slices of the CT are missing: {places} (spacing {usual:g} mm)")
    places = _abridged(f"{high - low:.4g} mm between z = {low:g} and {high:g} mm" for low, high, _ in gaps)
    raise DicomError(
        f"{ordered[0].path.parent}: the slices of the CT are not evenly spaced: {places}, else {usual:g} mm; resample "
        "the CT on even slices"
    )


def _abridged(places: Iterator[str], most: int = 4) -> str:
    listed = list(places)
    more = f" and {len(listed) - most} more" if len(listed) > most else ""
    return ", ".join(listed[:most]) + more


# ------------------------------------------------------------------------------------------------- pixels


def _volume(ordered: Sequence[Tags], *, transposed: bool, progress: bool) -> FloatArray:
    """Read the HU of all slices, shape (nx, ny, nz)."""
    from tqdm import tqdm

    first = _hounsfield(ordered[0])  # before memory is taken for a size that may be wrong
    shape = first.shape if transposed else first.shape[::-1]
    hu = np.empty((*shape, len(ordered)))
    bar = tqdm(total=len(ordered), desc="Reading CT", unit="slice", disable=not progress)
    for start in range(0, len(ordered), _SLICES_AT_ONCE):
        part = np.stack([_hounsfield(item) for item in ordered[start : start + _SLICES_AT_ONCE]])
        hu[:, :, start : start + len(part)] = part.transpose((1, 2, 0) if transposed else (2, 1, 0))
        bar.update(len(part))
    bar.close()
    return hu


def _hounsfield(item: Tags) -> FloatArray:
    """Read the HU of a slice, shape (rows, columns); padding outside the scanner's field becomes air."""
    tags = Tags(item.name, read_known_file(item.path, only=_PIXEL_KEYWORDS))
    slope, intercept = item.numbers("RescaleSlope", 1)[0], item.numbers("RescaleIntercept", 1)[0]
    if slope == 0:
        raise item.wrong("RescaleSlope", "is 0")
    stored = pixels_of(tags)
    if stored.shape != (item.whole("Rows"), item.whole("Columns")):
        raise item.wrong("PixelData", f"has the shape {stored.shape}; a CT slice has rows and columns only")
    with np.errstate(over="ignore"):
        hu: FloatArray = stored * slope + intercept
    if not np.isfinite(hu).all():
        raise item.wrong("RescaleSlope", f"is {slope:g}; HU are not finite")
    hu[_padding(tags, stored)] = _AIR_HU
    return hu


def _padding(tags: Tags, stored: AnyArray) -> BoolArray:
    value = tags.whole("PixelPaddingValue")
    if value is None:
        return np.zeros(stored.shape, dtype=bool)
    limit = tags.whole("PixelPaddingRangeLimit")
    low, high = sorted((value, value if limit is None else limit))
    return (stored >= low) & (stored <= high)


def _listed(values: Sequence[float] | FloatArray) -> str:
    return ", ".join(f"{value:g}" for value in values)
