"""Reading a folder of DICOM files as a series: a CT and the structure set that belongs to it."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from opentps_brimstone._typing import FloatArray
from opentps_brimstone.dicom.ct_reader import read_ct
from opentps_brimstone.dicom.errors import DicomError
from opentps_brimstone.dicom.structure_reader import StructureSetFile, read_structures
from opentps_brimstone.dicom.tags import Tags
from opentps_brimstone.model.contours import ContourStack
from opentps_brimstone.model.series import Series
from opentps_brimstone.model.structure import StructureSet

if TYPE_CHECKING:
    from opentps_brimstone.model.influence import VoxelGrid

__all__ = ["read_series"]

_STRUCTURE_SET_CLASS = "1.2.840.10008.5.1.4.1.1.481.3"
_PATIENT = ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyInstanceUID", "SeriesInstanceUID")
# Share of a structure's volume that may be outside the CT without a warning.
_OUTSIDE = 0.01

CTSeries = dict[str, list[Tags]]


def read_series(
    folder: Path, *, series: str | None = None, structure_set: str | None = None, progress: bool = False
) -> Series:
    """Read a CT series and its structure set; see `Series.from_dicom`."""
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: there is no such folder")
    ct_series, structure_sets = _files(folder, progress)
    if not ct_series:
        raise DicomError(f"{folder}: there is no CT image in this folder")
    uid, file = _choice(folder, ct_series, structure_sets, series, structure_set)
    slices = ct_series[uid]
    image = read_ct(slices, progress)
    if file is None:
        warnings.warn(f"{folder}: there is no RT Structure Set for this CT; the series has no structures", stacklevel=3)
        structures = StructureSet([])
    else:
        _check_frame(file, slices)
        structures = read_structures(file, image.grid)
        _warn_of_outside(file, structures, image.grid)
    first = slices[0]
    made = Series(
        image.hu,
        image.grid.spacing_mm,
        image.grid.origin_mm,
        structures,
        name=first.text("SeriesDescription") or "CT",
    )
    made.dicom = {key: first.text(key) for key in (*_PATIENT, "FrameOfReferenceUID") if first.text(key)}
    if file is not None:
        made.dicom["StructureSetUID"] = file.uid
    return made


# ------------------------------------------------------------------------------------------------- files


def _files(folder: Path, progress: bool) -> tuple[CTSeries, list[StructureSetFile]]:
    """Find the CT slices, by series, and the structure sets."""
    import pydicom
    from pydicom.errors import InvalidDicomError
    from tqdm import tqdm

    ct_series: CTSeries = {}
    structure_sets: dict[str, StructureSetFile] = {}
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    for path in tqdm(paths, desc="Looking for DICOM files", unit="file", disable=not progress):
        try:
            header = pydicom.dcmread(path, stop_before_pixels=True)
            for _ in header.iterall():  # decodes every tag, so that what is damaged is found here
                pass
        except InvalidDicomError:
            continue
        except Exception as error:  # pydicom raises many kinds for a damaged file
            raise DicomError(f"{path}: this DICOM file is damaged: {error}") from error
        if header.get("SOPClassUID") == _STRUCTURE_SET_CLASS:
            file = StructureSetFile(path, header)
            structure_sets.setdefault(file.uid or str(path), file)
        elif header.get("Modality") == "CT" and "Rows" in header:
            tags = Tags(str(path), header)
            uid = tags.text("SeriesInstanceUID")
            if not uid:
                raise tags.wrong("SeriesInstanceUID", "is missing")
            ct_series.setdefault(uid, []).append(tags)
    return ct_series, list(structure_sets.values())


# ------------------------------------------------------------------------------------------------- choice


def _choice(
    folder: Path,
    ct_series: CTSeries,
    structure_sets: Sequence[StructureSetFile],
    wanted_series: str | None,
    wanted_set: str | None,
) -> tuple[str, StructureSetFile | None]:
    """Choose the series and structure set to read."""
    series = {**ct_series}
    if wanted_series is not None:
        series = {uid: slices for uid, slices in ct_series.items() if wanted_series in _names(uid, slices)}
        if len(series) != 1:
            found = "no CT" if not series else "more than one CT"
            raise DicomError(f"{folder}: {found} is called {wanted_series!r}; there are {_described(ct_series)}")
    sets = list(structure_sets)
    if wanted_set is not None:
        sets = [file for file in sets if wanted_set in (file.uid, file.label, file.path.name, file.path.stem)]
        if len(sets) != 1:
            found = "no structure set" if not sets else "more than one structure set"
            raise DicomError(
                f"{folder}: {found} is called {wanted_set!r}; there are {_listed(structure_sets) or 'none'}"
            )
    pairs = [(uid, file) for file in sets for uid in _series_of(file, series, alone=len(series) == 1)]
    if len(pairs) == 1:
        return pairs[0]
    if not pairs and sets and (wanted_set is not None or len(series) == 1 == len(ct_series)):
        raise DicomError(
            f"{folder}: {_listed(sets)} does not belong to {_described(series)}: it refers to the series "
            f"{', '.join(sorted(sets[0].series_uids())) or 'of none'}"
        )
    if not pairs and len(series) == 1:
        return next(iter(series)), None
    if len({uid for uid, _ in pairs}) != 1:
        raise DicomError(
            f"{folder}: it is not clear which CT to take; there are {_described(series)}. Choose with series="
        )
    raise DicomError(
        f"{folder}: it is not clear which structure set to take; there are {_listed([file for _, file in pairs])}. "
        "Choose with structure_set="
    )


def _series_of(file: StructureSetFile, series: CTSeries, *, alone: bool) -> list[str]:
    """Find the CT series that a structure set may belong to: by series, slices or frame of reference."""
    named = [uid for uid in series if uid in file.series_uids()]
    if named:
        return named
    images = file.image_uids()
    drawn_on = [uid for uid, slices in series.items() if any(item.text("SOPInstanceUID") in images for item in slices)]
    if drawn_on:
        return drawn_on
    frames = file.frames()
    in_frame = [uid for uid, slices in series.items() if slices[0].text("FrameOfReferenceUID") in frames]
    if in_frame:
        return in_frame
    # A file without any reference may belong to the only CT.
    silent = not frames and not file.series_uids() and not images
    return list(series) if silent and alone else []


def _names(uid: str, slices: Sequence[Tags]) -> tuple[str, str, str]:
    return uid, slices[0].text("SeriesNumber"), slices[0].text("SeriesDescription")


def _described(series: CTSeries) -> str:
    return "; ".join(
        f"series {slices[0].text('SeriesNumber') or 'without number'} "
        f"({slices[0].text('SeriesDescription') or 'no description'!s}, {len(slices)} files, {uid})"
        for uid, slices in series.items()
    )


def _listed(files: Iterable[StructureSetFile]) -> str:
    return "; ".join(str(file) for file in files)


# ------------------------------------------------------------------------------------------------- what fits


def _check_frame(file: StructureSetFile, slices: Sequence[Tags]) -> None:
    frame, frames = slices[0].text("FrameOfReferenceUID"), file.frames()
    if frame and frames and frame not in frames:
        raise DicomError(
            f"{file.path}: FrameOfReferenceUID is {', '.join(sorted(frames))}, but {frame} in the CT "
            f"({slices[0].path.name}): their coordinates are not the same"
        )


def _warn_of_outside(file: StructureSetFile, structures: StructureSet, grid: VoxelGrid) -> None:
    low = np.array(grid.origin_mm) - np.array(grid.spacing_mm) / 2
    high = low + np.array(grid.spacing_mm) * grid.shape
    for structure in structures:
        contours = structure.contours
        if contours is not None and _reaches_out(contours, low, high):
            voxel = float(np.prod(grid.spacing_mm))
            inside = contours.share_on(grid).sum() * voxel / contours.volume_mm3 if contours.volume_mm3 else 0.0
            if inside < 1 - _OUTSIDE:
                warnings.warn(
                    f"{file.path.name}: {100 * (1 - inside):.0f} % of structure {structure.name!r} is outside the CT",
                    stacklevel=4,
                )


def _reaches_out(contours: ContourStack, low: FloatArray, high: FloatArray) -> bool:
    points = np.concatenate([outline for _, outlines in contours.planes for outline in outlines])
    first, last = contours.layers[0], contours.layers[-1]
    least = np.array([*points.min(axis=0), first.low_mm])
    most = np.array([*points.max(axis=0), last.high_mm])
    return bool((least < low).any() or (most > high).any())
