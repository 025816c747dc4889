"""RT Dose: reading a dose of any planning system, with its grid."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from opentps_brimstone._typing import FloatArray
from opentps_brimstone.dicom.errors import DicomError
from opentps_brimstone.dicom.files import quiet_pydicom, read_known_file
from opentps_brimstone.dicom.geometry import (
    LARGEST_SPACING_MM,
    ROUNDING_MM,
    SAME_PLACE_MM,
    axes_of,
    checked_position,
    checked_spacing,
    uneven_steps,
)
from opentps_brimstone.dicom.header import RT_DOSE_CLASS
from opentps_brimstone.dicom.identity import ACCEPT_HINT, Identity, checked_accepted, contradictions, obstacles
from opentps_brimstone.dicom.pixels import pixels_of
from opentps_brimstone.dicom.tags import Tags
from opentps_brimstone.model.dose import DoseArray
from opentps_brimstone.model.influence import VoxelGrid

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

    from opentps_brimstone.model.series import Series

__all__ = ["dose_from_dataset", "physical_dose_from_dataset"]


_DOSE_TYPES = ("PHYSICAL", "EFFECTIVE")
_SUMMATIONS = ("PLAN", "MULTI_PLAN")
_HIGHEST_GY = 1e6


@quiet_pydicom()
def dose_from_dataset(
    source: str | Path | Dataset, *, series: Series | None = None, accept: str | Iterable[str] = ()
) -> DoseArray:
    """Read the dose of an RT Dose object.

    Parameters
    ----------
    source : str, Path or pydicom Dataset
        A DICOM file, or its dataset.
    series : Series, optional
        That the dose must belong to: it must be of the same patient and frame of reference.
    accept : str or iterable of str
        Contradictions to `series` that do not matter, as for `Series.from_dicom`.

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
        If the object is not an RT Dose of a whole plan in Gy, its grid is oblique or uneven, a tag is missing or wrong,
        or it does not belong to the series; the message names file and tag.

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
    if series is not None:
        _check_identity(reader, series, accept)
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


def physical_dose_from_dataset(
    source: str | Path | Dataset, *, series: Series | None = None, accept: str | Iterable[str] = ()
) -> DoseArray:
    """Read a physical dose as `dose_from_dataset` does.

    A weighted dose, of the type EFFECTIVE, is a DicomError: what it was weighted by is not known.
    """
    reader = _read(source)
    if reader.text("DoseType") == "EFFECTIVE":
        raise reader.wrong("DoseType", "is 'EFFECTIVE'; a physical dose is needed, of the type PHYSICAL")
    return dose_from_dataset(source, series=series, accept=accept)


def _read(source: str | Path | Dataset) -> Tags:
    import pydicom

    if isinstance(source, pydicom.Dataset):
        return Tags(str(getattr(source, "filename", None) or "the RT Dose dataset"), source)
    path = Path(source)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no such file")
    return Tags(str(path), read_known_file(path))


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


def _check_identity(tags: Tags, series: Series, accept: str | Iterable[str]) -> None:
    accepted = checked_accepted(accept)
    found = contradictions(Identity.of(tags), Identity.of_series(series.dicom))
    against = obstacles(found, accepted)
    if against:
        raise DicomError(
            f"{tags.name}: the dose does not belong to the CT: its {'; its '.join(against.values())}. {ACCEPT_HINT}"
        )
    for text in found.values():
        warnings.warn(f"{tags.name}: its {text} in the CT; the dose is taken all the same", stacklevel=4)


def _stored_dose(tags: Tags) -> FloatArray:
    """Gy, shape (frames, rows, columns)."""
    (scaling,) = tags.numbers("DoseGridScaling", 1)
    if scaling <= 0:
        raise tags.wrong("DoseGridScaling", f"is {scaling:g}; it must be positive")
    stored = pixels_of(tags)
    if stored.ndim not in (2, 3):
        raise tags.wrong("PixelData", f"has the shape {stored.shape}; frames of rows and columns are needed")
    frames = stored[None] if stored.ndim == 2 else stored
    with np.errstate(over="ignore"):
        dose: FloatArray = frames.astype(np.float64) * scaling
    if not (dose.min() >= 0 and dose.max() <= _HIGHEST_GY):
        raise tags.wrong(
            "DoseGridScaling",
            f"is {scaling:g}; doses go from {dose.min():g} to {dose.max():g} Gy, and must be from 0 to {_HIGHEST_GY:g}",
        )
    return dose


def _geometry(tags: Tags, shape: tuple[int, ...]) -> tuple[list[FloatArray], list[float], list[float]]:
    """Read direction and spacing of frames, rows and columns, and the position of the first voxel."""
    along_columns, along_rows = axes_of(tags)
    directions = [np.cross(along_columns, along_rows), along_rows, along_columns]
    in_frame = checked_spacing(tags)
    origin = checked_position(tags)
    between_frames = _frame_spacing(tags, shape[0], origin, directions)
    return directions, [between_frames, *in_frame], [float(o) for o in origin]


def _frame_spacing(tags: Tags, n_frames: int, origin: FloatArray, directions: list[FloatArray]) -> float:
    """Read the distance between frames, and turn their direction to that of the offsets."""
    if n_frames == 1:
        (thickness,) = tags.numbers("SliceThickness", 1)
        if not 0 < thickness <= LARGEST_SPACING_MM:
            raise tags.wrong(
                "SliceThickness",
                f"is {thickness:g}; it must be positive for a dose of one frame, up to {LARGEST_SPACING_MM:g} mm",
            )
        return float(thickness)
    offsets = tags.numbers("GridFrameOffsetVector", n_frames)
    normal_axis = int(np.argmax(np.abs(directions[0])))
    if abs(offsets[0]) > SAME_PLACE_MM:
        # The other of the two forms that the standard allows: coordinates along z.
        if normal_axis != 2 or abs(offsets[0] - origin[2]) > ROUNDING_MM:
            raise tags.wrong(
                "GridFrameOffsetVector",
                f"begins with {offsets[0]:g}; it must begin with 0, or, of axial frames, with the z of "
                f"ImagePositionPatient, {origin[2]:g}",
            )
        directions[0] = np.array([0.0, 0.0, 1.0])
    sense = np.sign(offsets[-1] - offsets[0]) or 1.0
    steps = sense * np.diff(offsets)
    if steps.min() <= SAME_PLACE_MM or steps.max() > LARGEST_SPACING_MM or len(uneven_steps(sense * offsets)):
        raise tags.wrong(
            "GridFrameOffsetVector",
            f"has steps from {steps.min():g} to {steps.max():g} mm; frames must be evenly spaced",
        )
    directions[0] = directions[0] * sense
    return float(abs(offsets[-1] - offsets[0]) / (n_frames - 1))
