"""Reading a folder of DICOM files as a series: a CT and the structure set that belongs to it."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from opentps_brimstone._typing import FloatArray
from opentps_brimstone.adapters.physics import physics_notes
from opentps_brimstone.dicom.choice import Choice, choose
from opentps_brimstone.dicom.ct_reader import CTImage, read_ct
from opentps_brimstone.dicom.files import quiet_pydicom
from opentps_brimstone.dicom.folder import CTFiles, look_through
from opentps_brimstone.dicom.identity import checked_accepted
from opentps_brimstone.dicom.structure_file import StructureSetFile
from opentps_brimstone.dicom.structure_reader import read_structures
from opentps_brimstone.model.contours import ContourStack
from opentps_brimstone.model.influence import VoxelGrid
from opentps_brimstone.model.patient_position import HEAD_FIRST_SUPINE, POSITIONS, checked_patient_position
from opentps_brimstone.model.series import Series
from opentps_brimstone.model.structure import StructureSet

__all__ = ["read_series"]

_PATIENT = ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyInstanceUID", "SeriesInstanceUID")
# Share of a structure's volume that may be outside the CT without a warning.
_OUTSIDE = 0.01


@quiet_pydicom()
def read_series(
    folder: Path,
    *,
    series: str | None = None,
    structure_set: str | None = None,
    accept: str | Iterable[str] = (),
    patient_position: str | None = None,
    progress: bool = False,
) -> Series:
    """Read a CT series and its structure set; see `Series.from_dicom`."""
    stated = None if patient_position is None else checked_patient_position(patient_position)
    choice = Choice(series, structure_set, tuple(checked_accepted(accept)), stated)
    accepted = choice.accepted
    ct, file = choose(look_through(folder, progress), choice)
    image = read_ct(ct, progress, accepted)
    first = ct.slices[0]
    if file is None:
        warnings.warn(f"{folder}: there is no RT Structure Set for this CT; the series has no structures", stacklevel=3)
        structures = StructureSet([])
    else:
        structures = read_structures(file, image.grid, first.text("FrameOfReferenceUID"), accepted)
        _warn_of_outside(file, structures, image.grid)
    made = Series(
        image.hu,
        image.grid.spacing_mm,
        image.grid.origin_mm,
        structures,
        name=first.text("SeriesDescription") or "CT",
        patient_position=_patient_position(ct, image, stated),
    )
    made.dicom = {key: first.text(key) for key in (*_PATIENT, "FrameOfReferenceUID") if first.text(key)}
    if file is not None:
        made.dicom["StructureSetUID"] = file.uid
    for note in physics_notes(made):
        warnings.warn(note, stacklevel=3)
    return made


def _patient_position(ct: CTFiles, image: CTImage, stated: str | None) -> str:
    """How the patient lies: as the user says, else as the CT does, else head first supine with a warning."""
    found = image.patient_position
    if stated is not None:
        if found not in ("", stated):
            warnings.warn(
                f"{ct.slices[0].path.parent}: PatientPosition is {found}; it is taken as {stated}, as asked",
                stacklevel=4,
            )
        return stated
    if not found:
        warnings.warn(
            f"{ct.slices[0].path.parent}: PatientPosition (0018,5100) is missing; the patient is taken to lie head "
            "first supine (HFS). Where that is wrong, say patient_position= in Python, patient_position in the table "
            "[input] of a prescription file, or --patient-position on the command line",
            stacklevel=4,
        )
        return HEAD_FIRST_SUPINE
    if found not in POSITIONS:
        raise ct.slices[0].wrong(
            "PatientPosition", f"is {found}; beam angles are understood for {', '.join(POSITIONS)} only"
        )
    return found


# ------------------------------------------------------------------------------------------------- what fits


def _warn_of_outside(file: StructureSetFile, structures: StructureSet, grid: VoxelGrid) -> None:
    low = np.array(grid.origin_mm) - np.array(grid.spacing_mm) / 2
    high = low + np.array(grid.spacing_mm) * grid.shape
    for structure in structures:
        contours = structure.contours
        if contours is not None and _reaches_out(contours, low, high):
            inside = contours.volume_within_mm3(grid) / contours.volume_mm3 if contours.volume_mm3 else 0.0
            if inside < 1 - _OUTSIDE:
                warnings.warn(
                    f"{file.path.name}: {100 * (1 - inside):.0f} % of structure {structure.name!r} is outside the CT",
                    stacklevel=4,
                )


def _reaches_out(contours: ContourStack, low: FloatArray, high: FloatArray) -> bool:
    points = np.concatenate([outline for _, outlines in contours.planes for outline in outlines])
    ends = contours.z_mm[[0, -1]] + np.array([-0.5, 0.5]) * contours.step_mm
    least = np.array([*points.min(axis=0), ends[0]])
    most = np.array([*points.max(axis=0), ends[1]])
    return bool((least < low).any() or (most > high).any())
