"""CT series: slices read as one image in the patient's axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from opentps_brimstone._typing import AnyArray, BoolArray, FloatArray
from opentps_brimstone.dicom.errors import DicomError
from opentps_brimstone.dicom.tags import Tags
from opentps_brimstone.model.influence import VoxelGrid

__all__ = ["CTImage", "read_ct"]


CT_CLASS = "1.2.840.10008.5.1.4.1.1.2"
# Direction cosines and positions are decimal strings, which some systems round.
_COSINE_TOLERANCE = 1e-3
_POSITION_TOLERANCE_MM = 0.1
_SAME_PLACE_MM = 1e-3
# Share of the slice spacing by which slices may be off.
_STEP_TOLERANCE = 0.1
_AIR_HU = -1024.0
_HOUNSFIELD = ("", "HU", "US")


class CTImage(NamedTuple):
    """HU of a CT in the patient's axes, shape (nx, ny, nz), and its grid."""

    hu: FloatArray
    grid: VoxelGrid


def read_ct(slices: Sequence[Tags], progress: bool = False) -> CTImage:
    """Read the slices of one series in any order; copies of a slice and localizers are ignored.

    The axes are x to the patient's left, y to the back, z to the head, all ascending. If the slices are not one CT, the
    DicomError names file and tag, or the positions of missing slices.
    """
    kept = [each for each in slices if "LOCALIZER" not in each.text("ImageType").upper()]
    if not kept:
        raise DicomError(f"{slices[0].path}: the series has only localizers, no slices")
    for each in kept:
        _check_kind(each)
    directions = _directions(kept)
    _check_alike(kept)
    ordered = _without_copies(kept)
    dz = _slice_spacing(ordered)
    row_spacing, column_spacing = ordered[0].numbers("PixelSpacing", 2)
    if row_spacing <= 0 or column_spacing <= 0:
        raise ordered[0].wrong("PixelSpacing", f"is {row_spacing:g}, {column_spacing:g} mm; it must be positive")
    hu = _pixels(ordered, progress)
    origin = ordered[0].numbers("ImagePositionPatient", 3)
    for axis, step in ((0, column_spacing), (1, row_spacing)):
        if directions[axis] < 0:
            hu = np.flip(hu, axis)
            origin[axis] -= step * (hu.shape[axis] - 1)
    nx, ny, nz = hu.shape
    grid = VoxelGrid((nx, ny, nz), (float(column_spacing), float(row_spacing), dz), tuple(origin.tolist()))
    return CTImage(np.ascontiguousarray(hu), grid)


# ------------------------------------------------------------------------------------------------- checks


def _check_kind(item: Tags) -> None:
    if item.text("SOPClassUID") != CT_CLASS or item.text("NumberOfFrames") not in ("", "1"):
        name = item.dataset.get("SOPClassUID")
        raise DicomError(f"{item.path}: this CT has several slices in a file ({name}); export one file for each slice")
    position = item.text("PatientPosition").upper()
    if position not in ("HFS", ""):
        raise item.wrong(
            "PatientPosition", f"is {position}; beam angles are understood for HFS (head first supine) only"
        )
    if not item.text("PhotometricInterpretation").startswith("MONOCHROME"):
        raise item.wrong(
            "PhotometricInterpretation",
            f"is {item.text('PhotometricInterpretation') or 'missing'}; a CT slice has MONOCHROME1 or MONOCHROME2",
        )
    if item.text("RescaleType").upper() not in _HOUNSFIELD:
        raise item.wrong("RescaleType", f"is {item.text('RescaleType')}; the CT must be in HU")


def _directions(slices: Sequence[Tags]) -> tuple[int, int]:
    """Find whether columns run to the left (+1) or right (-1), and rows to the back (+1) or front (-1)."""
    for item in slices:
        cosines = item.numbers("ImageOrientationPatient", 6)
        straight = np.rint(cosines)
        if not np.allclose(cosines, straight, rtol=0, atol=_COSINE_TOLERANCE):
            raise item.wrong(
                "ImageOrientationPatient",
                f"is {_listed(cosines)}, an oblique slice (or a tilted gantry); resample the CT on straight axes",
            )
        if straight[1] or straight[2] or straight[3] or straight[5]:
            raise item.wrong(
                "ImageOrientationPatient", f"is {_listed(straight)}, not an axial slice; take the axial series"
            )
    signs = {tuple(np.rint(item.numbers("ImageOrientationPatient", 6))[[0, 4]].astype(int)) for item in slices}
    if len(signs) > 1:
        raise DicomError(
            f"{slices[0].path}: the slices of this series have different ImageOrientationPatient: {sorted(signs)}"
        )
    across, down = signs.pop()
    return int(across), int(down)


def _check_alike(slices: Sequence[Tags]) -> None:
    first = slices[0]
    for item in slices[1:]:
        for keyword in ("Rows", "Columns"):
            if item.dataset.get(keyword) != first.dataset.get(keyword):
                raise item.wrong(
                    keyword,
                    f"is {item.dataset.get(keyword)}, but {first.dataset.get(keyword)} in "
                    f"{first.path.name}; all slices of a series must have one size",
                )
        if not np.allclose(item.numbers("PixelSpacing", 2), first.numbers("PixelSpacing", 2), rtol=1e-4):
            raise item.wrong(
                "PixelSpacing",
                f"is {_listed(item.numbers('PixelSpacing', 2))} mm, but "
                f"{_listed(first.numbers('PixelSpacing', 2))} mm in {first.path.name}",
            )
        corner, other = (each.numbers("ImagePositionPatient", 3) for each in (item, first))
        if not np.allclose(corner[:2], other[:2], rtol=0, atol=_POSITION_TOLERANCE_MM):
            raise item.wrong(
                "ImagePositionPatient",
                f"starts at x, y = {_listed(corner[:2])} mm, but at "
                f"{_listed(other[:2])} mm in {first.path.name}: the slices are not above one another",
            )


def _without_copies(slices: Sequence[Tags]) -> list[Tags]:
    """Sort by z, and drop duplicates: the same slice, or the same pixels at the same position."""
    by_uid: dict[str, Tags] = {}
    for item in slices:
        by_uid.setdefault(item.text("SOPInstanceUID") or str(item.path), item)
    kept: list[Tags] = []
    for item in sorted(by_uid.values(), key=_z):
        if not kept or _z(item) - _z(kept[-1]) > _SAME_PLACE_MM:
            kept.append(item)
        elif not np.array_equal(_hounsfield(item), _hounsfield(kept[-1])):
            raise DicomError(
                f"{item.path}: this slice and {kept[-1].path.name} are both at z = {_z(item):g} mm and differ; the "
                "series holds more than one image (phases?)"
            )
    return kept


def _z(item: Tags) -> float:
    return float(item.numbers("ImagePositionPatient", 3)[2])


def _slice_spacing(ordered: Sequence[Tags]) -> float:
    if len(ordered) < 2:
        raise DicomError(f"{ordered[0].path}: the series has one slice only; a volume needs two or more")
    z = np.array([_z(item) for item in ordered])
    steps = np.diff(z)
    usual = float(np.median(steps))
    wrong = np.flatnonzero(np.abs(steps - usual) > _STEP_TOLERANCE * usual)
    if not len(wrong):
        return float((z[-1] - z[0]) / (len(z) - 1))
    gaps = [(z[i], z[i + 1], steps[i] / usual) for i in wrong]
    if all(abs(ratio - round(ratio)) <= _STEP_TOLERANCE and ratio > 1.5 for *_, ratio in gaps):
        places = ", ".join(f"{round(ratio) - 1} between z = {low:g} and {high:g} mm" for low, high, ratio in gaps)
        raise DicomError(f"{ordered[0].path.parent}: slices of the CT are missing: {places} (spacing {usual:g} mm)")
    places = ", ".join(f"{high - low:g} mm between z = {low:g} and {high:g} mm" for low, high, _ in gaps)
    raise DicomError(
        f"{ordered[0].path.parent}: the slices of the CT are not evenly spaced: {places}, else {usual:g} mm"
    )


# ------------------------------------------------------------------------------------------------- pixels


def _pixels(ordered: Sequence[Tags], progress: bool) -> FloatArray:
    from tqdm import tqdm

    rows, columns = int(ordered[0].dataset.Rows), int(ordered[0].dataset.Columns)
    hu = np.empty((columns, rows, len(ordered)))
    bar = tqdm(ordered, desc="Reading CT", unit="slice", disable=not progress)
    for number, item in enumerate(bar):
        hu[:, :, number] = _hounsfield(item).T
    return hu


def _hounsfield(item: Tags) -> FloatArray:
    """Read the HU of a slice, shape (rows, columns); padding outside the scanner's field becomes air."""
    import pydicom

    dataset = pydicom.dcmread(item.path)
    if "PixelData" not in dataset:
        raise item.wrong("PixelData", "is missing")
    slope, intercept = item.numbers("RescaleSlope", 1)[0], item.numbers("RescaleIntercept", 1)[0]
    if slope == 0:
        raise item.wrong("RescaleSlope", "is 0")
    try:
        stored = np.asarray(dataset.pixel_array)
    except Exception as error:  # pydicom raises many kinds for what it cannot decode
        syntax = getattr(dataset.file_meta, "TransferSyntaxUID", "unknown")
        raise item.wrong("PixelData", f"cannot be read (TransferSyntaxUID {syntax}): {error}") from error
    if stored.ndim != 2:
        raise item.wrong("PixelData", f"has the shape {stored.shape}; a CT slice has rows and columns only")
    hu: FloatArray = stored * slope + intercept
    hu[_padding(Tags(item.name, dataset), stored)] = _AIR_HU
    return hu


def _padding(tags: Tags, stored: AnyArray) -> BoolArray:
    value = tags.dataset.get("PixelPaddingValue")
    if value is None:
        return np.zeros(stored.shape, dtype=bool)
    limit = tags.dataset.get("PixelPaddingRangeLimit")
    try:
        low, high = sorted((int(value), int(value if limit is None else limit)))
    except (TypeError, ValueError):
        raise tags.wrong("PixelPaddingValue", f"is {value!r}; it must be a whole number") from None
    return (stored >= low) & (stored <= high)


def _listed(values: FloatArray) -> str:
    return ", ".join(f"{value:g}" for value in values)
