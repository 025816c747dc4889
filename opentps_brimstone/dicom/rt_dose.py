"""RT Dose: writing a dose of this package as a DICOM file."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from pydicom.dataset import Dataset, FileDataset

    from opentps_brimstone.dose_influence import VoxelGrid

__all__ = ["write_rt_dose"]

_RT_PLAN_CLASS = "1.2.840.10008.5.1.4.1.1.481.5"
_RT_DOSE_CLASS = "1.2.840.10008.5.1.4.1.1.481.2"
# Stored values of the highest dose: close to all of 32 bits, and safe from overflow when the scaling is rounded.
_STORED_MAXIMUM = 4.0e9


def write_rt_dose(
    dose: npt.ArrayLike,
    grid: VoxelGrid,
    path: Path,
    *,
    description: str = "Brimstone plan",
    patient_id: str = "phantom",
    plan_uid: str | None = None,
    frame_of_reference_uid: str | None = None,
) -> None:
    """Write a dose as a DICOM RT Dose object, physical dose of a plan in Gy.

    Parameters
    ----------
    dose : array_like, shape (nx, ny, nz)
        Gy over all fractions.
    grid : VoxelGrid
        Its axes are DICOM's patient axes: x to the left, y to the back, z to the head.
    path : Path
        File to write; replaced if it exists.
    description : str
        Series description, up to 64 characters.
    patient_id : str
        Patient's name and number.
    plan_uid : str, optional
        SOP instance of the RT Plan the dose belongs to; a new one by default.
    frame_of_reference_uid : str, optional
        Of the CT; a new one by default.

    Raises
    ------
    ValueError
        When the dose does not fit the grid, is negative or not finite.
    """
    values = np.asarray(dose, dtype=np.float64)
    if values.shape != grid.shape:
        raise ValueError(f"the dose has the grid {values.shape}; it should be {grid.shape}")
    if not (np.isfinite(values).all() and values.min() >= 0):
        raise ValueError(f"the dose goes from {values.min()} to {values.max()} Gy; it must be finite and not negative")
    dataset = _empty_dose_object(path)
    _describe(dataset, description, patient_id, plan_uid, frame_of_reference_uid)
    _place(dataset, grid)
    _store(dataset, values)
    dataset.save_as(path, enforce_file_format=True)


def _empty_dose_object(path: Path) -> FileDataset:
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import UID, ExplicitVRLittleEndian, generate_uid

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UID(_RT_DOSE_CLASS)
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID = meta.MediaStorageSOPClassUID
    dataset.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    return dataset


def _describe(
    dataset: Dataset, description: str, patient_id: str, plan_uid: str | None, frame_of_reference_uid: str | None
) -> None:
    from pydicom.dataset import Dataset as Item
    from pydicom.uid import generate_uid

    now = datetime.datetime.now()
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.Modality = "RTDOSE"
    dataset.Manufacturer = "opentps-brimstone"
    dataset.SeriesDescription = description[:64]
    dataset.PatientName = patient_id
    dataset.PatientID = patient_id
    dataset.PatientBirthDate = ""
    dataset.PatientSex = ""
    dataset.StudyDate = dataset.InstanceCreationDate = now.strftime("%Y%m%d")
    dataset.StudyTime = dataset.InstanceCreationTime = now.strftime("%H%M%S")
    dataset.AccessionNumber = dataset.ReferringPhysicianName = dataset.StudyID = ""
    dataset.StudyInstanceUID = generate_uid()
    dataset.SeriesInstanceUID = generate_uid()
    dataset.SeriesNumber = dataset.InstanceNumber = 1
    dataset.FrameOfReferenceUID = frame_of_reference_uid or generate_uid()
    dataset.PositionReferenceIndicator = ""
    dataset.DoseUnits = "GY"
    dataset.DoseType = "PHYSICAL"
    dataset.DoseSummationType = "PLAN"
    plan = Item()
    plan.ReferencedSOPClassUID = _RT_PLAN_CLASS
    plan.ReferencedSOPInstanceUID = plan_uid or generate_uid()
    dataset.ReferencedRTPlanSequence = [plan]


def _place(dataset: Dataset, grid: VoxelGrid) -> None:
    from pydicom.tag import Tag

    nx, ny, nz = grid.shape
    dx, dy, dz = grid.spacing_mm
    dataset.Columns, dataset.Rows, dataset.NumberOfFrames = nx, ny, nz
    dataset.PixelSpacing = _decimals([dy, dx])
    dataset.SliceThickness = _decimals([dz])[0]
    dataset.ImagePositionPatient = _decimals(grid.origin_mm)
    dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    dataset.FrameIncrementPointer = Tag("GridFrameOffsetVector")
    dataset.GridFrameOffsetVector = _decimals([dz * i for i in range(nz)])


def _store(dataset: Dataset, values: npt.NDArray[np.float64]) -> None:
    scaling = _decimals([float(values.max()) / _STORED_MAXIMUM or 1.0])[0]
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 32
    dataset.HighBit = 31
    dataset.PixelRepresentation = 0
    dataset.DoseGridScaling = scaling
    # Frames, rows, columns: x runs fastest.
    dataset.PixelData = np.rint(values / float(scaling)).astype("<u4").transpose(2, 1, 0).tobytes()


def _decimals(numbers: Sequence[float]) -> list[Any]:
    from pydicom.valuerep import DSfloat

    return [DSfloat(float(number), auto_format=True) for number in numbers]
