"""RT Dose: reading a dose of any planning system, with its grid."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from opentps_brimstone._typing import FloatArray
from opentps_brimstone.dicom.errors import DicomError
from opentps_brimstone.dicom.header import RT_DOSE_CLASS
from opentps_brimstone.dicom.tags import Tags
from opentps_brimstone.model.dose import DoseArray
from opentps_brimstone.model.influence import VoxelGrid

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

__all__ = ["dose_from_dataset"]


_DOSE_TYPES = ("PHYSICAL", "EFFECTIVE")
_SUMMATIONS = ("PLAN", "MULTI_PLAN")
# Direction cosines and offsets are decimal strings that some systems round to six digits.
_COSINE_TOLERANCE = 1e-4
_OFFSET_TOLERANCE_MM = 1e-2


def dose_from_dataset(source: str | Path | Dataset) -> DoseArray:
    """Read the dose of an RT Dose object.

    Parameters
    ----------
    source : str, Path or pydicom Dataset
        A DICOM file, or its dataset.

    Returns
    -------
    DoseArray, shape (nx, ny, nz)
        Gy over all fractions of the plan, with its grid: x to the patient's left, y to the back, z to the head, all
        ascending, however the object stores them.

    Raises
    ------
    FileNotFoundError
        If the file does not exist.
    DicomError
        If the object is not an RT Dose of a whole plan in Gy, its grid is oblique or uneven, or a tag is missing or
        wrong; the message names file and tag.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from opentps_brimstone.dicom.rt_dose import write_rt_dose
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "dose.dcm"
    ...     write_rt_dose(np.full((4, 3, 2), 50.0), VoxelGrid((4, 3, 2), (2.0, 2.0, 3.0)), path)
    ...     dose = dose_from_dataset(path)
    >>> dose.shape, dose.grid.spacing_mm
    ((4, 3, 2), (2.0, 2.0, 3.0))
    >>> float(dose.max().round(3))
    50.0
    """
    reader = _read(source)
    _check_kind(reader)
    values = _stored_dose(reader)
    directions, spacing, origin = _geometry(reader, values.shape)
    # Which of frames, rows and columns lies along x, y and z.
    source_of = np.argsort([int(np.argmax(np.abs(direction))) for direction in directions])
    values = np.transpose(values, list(source_of))
    for axis, source_axis in enumerate(source_of):
        if directions[source_axis][axis] < 0:
            values = np.flip(values, axis)
            origin[axis] -= spacing[source_axis] * (values.shape[axis] - 1)
    shape: Any = values.shape
    sides: Any = tuple(spacing[i] for i in source_of)
    corner: Any = tuple(origin)
    return DoseArray(values, VoxelGrid(shape, sides, corner))


def _read(source: str | Path | Dataset) -> Tags:
    import pydicom
    from pydicom.errors import InvalidDicomError

    if isinstance(source, pydicom.Dataset):
        return Tags(str(getattr(source, "filename", None) or "the RT Dose dataset"), source)
    path = Path(source)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no such file")
    try:
        return Tags(str(path), pydicom.dcmread(path))
    except InvalidDicomError:
        raise DicomError(f"{path} is not a DICOM file") from None


def _check_kind(tags: Tags) -> None:
    kind = tags.text("SOPClassUID")
    if kind != RT_DOSE_CLASS:
        raise tags.wrong("SOPClassUID", f"is {kind!r}; an RT Dose has {RT_DOSE_CLASS}")
    units = tags.text("DoseUnits")
    if units != "GY":
        raise tags.wrong("DoseUnits", f"is {units!r}; only GY can be read, as a relative dose has no scale")
    dose_type = tags.text("DoseType")
    if dose_type not in _DOSE_TYPES:
        raise tags.wrong("DoseType", f"is {dose_type!r}; it may be {' or '.join(_DOSE_TYPES)}")
    summation = tags.text("DoseSummationType")
    if summation not in _SUMMATIONS:
        raise tags.wrong(
            "DoseSummationType", f"is {summation!r}; only the dose of a whole plan is read: {' or '.join(_SUMMATIONS)}"
        )


def _stored_dose(tags: Tags) -> FloatArray:
    """Gy, shape (frames, rows, columns)."""
    (scaling,) = tags.numbers("DoseGridScaling", 1)
    if scaling <= 0:
        raise tags.wrong("DoseGridScaling", f"is {scaling:g}; it must be positive")
    if "PixelData" not in tags.dataset:
        raise tags.wrong("PixelData", "is missing")
    try:
        stored = np.asarray(tags.dataset.pixel_array)
    except (AttributeError, NotImplementedError, RuntimeError, ValueError) as error:
        raise tags.wrong("PixelData", f"cannot be read: {error}") from error
    if stored.ndim not in (2, 3):
        raise tags.wrong("PixelData", f"has the shape {stored.shape}; frames of rows and columns are needed")
    frames = stored[None] if stored.ndim == 2 else stored
    dose: FloatArray = frames.astype(np.float64) * scaling
    return dose


def _geometry(tags: Tags, shape: tuple[int, ...]) -> tuple[list[FloatArray], list[float], list[float]]:
    """Read direction and spacing of frames, rows and columns, and the position of the first voxel."""
    cosines = tags.numbers("ImageOrientationPatient", 6)
    along_columns, along_rows = cosines[:3], cosines[3:]
    normal = np.cross(along_columns, along_rows)
    directions = [normal, along_rows, along_columns]
    for direction in directions:
        if np.sort(np.abs(direction))[1] > _COSINE_TOLERANCE or abs(np.abs(direction).max() - 1) > _COSINE_TOLERANCE:
            raise tags.wrong(
                "ImageOrientationPatient", f"is {cosines.tolist()}; the grid must lie along the patient's axes"
            )
    in_frame = tags.numbers("PixelSpacing", 2)
    if in_frame.min() <= 0:
        raise tags.wrong("PixelSpacing", f"is {in_frame.tolist()}; spacings must be positive")
    origin = tags.numbers("ImagePositionPatient", 3)
    between_frames = _frame_spacing(tags, shape[0], origin, directions)
    return directions, [between_frames, *map(float, in_frame)], [float(o) for o in origin]


def _frame_spacing(tags: Tags, n_frames: int, origin: FloatArray, directions: list[FloatArray]) -> float:
    """Read the distance between frames, and turn their direction to that of the offsets."""
    if n_frames == 1:
        (thickness,) = tags.numbers("SliceThickness", 1)
        if thickness <= 0:
            raise tags.wrong("SliceThickness", f"is {thickness:g}; it must be positive for a dose of one frame")
        return float(thickness)
    offsets = tags.numbers("GridFrameOffsetVector", n_frames)
    normal_axis = int(np.argmax(np.abs(directions[0])))
    if abs(offsets[0]) > _OFFSET_TOLERANCE_MM:
        # The other of the two forms that the standard allows: coordinates along z.
        if normal_axis != 2 or abs(offsets[0] - origin[2]) > _OFFSET_TOLERANCE_MM:
            raise tags.wrong(
                "GridFrameOffsetVector",
                f"begins with {offsets[0]:g}; it must begin with 0, or, of axial frames, with the z of "
                f"ImagePositionPatient, {origin[2]:g}",
            )
        directions[0] = np.array([0.0, 0.0, 1.0])
    steps = np.diff(offsets)
    if abs(steps[0]) <= _OFFSET_TOLERANCE_MM or np.ptp(steps) > _OFFSET_TOLERANCE_MM:
        raise tags.wrong(
            "GridFrameOffsetVector",
            f"has steps from {steps.min():g} to {steps.max():g} mm; frames must be evenly spaced",
        )
    if steps[0] < 0:
        directions[0] = -directions[0]
    return float(abs(offsets[-1] - offsets[0]) / (n_frames - 1))
