"""RT Dose: writing a dose as a DICOM file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from opentps_brimstone._typing import FloatArray
from opentps_brimstone.dicom.header import (
    RT_DOSE_CLASS,
    RT_PLAN_CLASS,
    DicomSource,
    decimals,
    describe_object,
    load_reference,
    new_object,
    reference_item,
    save_object,
)
from opentps_brimstone.quantities import quantity_label

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

    from opentps_brimstone.model.influence import VoxelGrid

__all__ = ["write_rt_dose"]

_DOSES = ("physical_dose", "eqd2", "bed")
# Stored value of the highest dose: nearly the full range, without overflow when the scaling is rounded.
_STORED_MAXIMUM = {16: 65_000.0, 32: 4.0e9}


def write_rt_dose(
    dose: npt.ArrayLike,
    grid: VoxelGrid,
    path: Path,
    *,
    description: str = "Brimstone plan",
    patient_id: str = "phantom",
    plan_uid: str | None = None,
    frame_of_reference_uid: str | None = None,
    rt_plan: DicomSource | None = None,
    ct: DicomSource | None = None,
    bits: Literal[16, 32] = 16,
    quantity: str = "physical_dose",
    alpha_beta: float | None = None,
) -> None:
    """Write a dose as a DICOM RT Dose object: physical dose of a plan in Gy, or a dose weighted for its effect.

    Parameters
    ----------
    dose : array_like, shape (nx, ny, nz)
        Gy over all fractions, or the quantity.
    grid : VoxelGrid
        Its axes are DICOM's patient axes: x to the left, y to the back, z to the head.
    path : Path
        File to write; replaced if it exists.
    description : str
        Series description, up to 64 characters.
    patient_id : str
        Patient's name and number, if neither `rt_plan` nor `ct` has them.
    plan_uid : str, optional
        SOP instance of the RT Plan the dose belongs to; that of `rt_plan`, or a new one by default.
    frame_of_reference_uid : str, optional
        Of the CT; that of `rt_plan` and `ct`, or a new one by default.
    rt_plan : path or pydicom Dataset, optional
        The RT Plan the dose belongs to, as `write_rt_plan` returns it. Patient, study and frame of reference are taken
        from it.
    ct : path or pydicom Dataset, optional
        A slice of the CT; without an RT Plan, patient, study and frame of reference are taken from it.
    bits : {16, 32}
        Per voxel. With 16 bits, doses are rounded by at most 8e-6 of the maximum, and every system can read them.
    quantity : {"physical_dose", "eqd2", "bed"}
        What the dose is. The type of another than physical dose is EFFECTIVE, and its comment names it after TG-263,
        such as ``EQD2Gy(a/b=3)``.
    alpha_beta : float, optional
        In Gy, if it is one for all voxels.

    Raises
    ------
    OSError
        If `rt_plan` or `ct` cannot be read or the file cannot be written.
    ValueError
        If the dose does not fit the grid, is negative or not finite, `rt_plan` is not an RT Plan or contradicts the
        given UIDs, `ct` is not a CT or of another patient, or the quantity is not a dose. Nothing is written.
    """
    if quantity not in _DOSES:
        raise ValueError(f"an RT Dose is of {', '.join(_DOSES)}, not of {quantity!r}")
    values = np.asarray(dose, dtype=np.float64)
    if values.shape != grid.shape:
        raise ValueError(f"the dose has the grid {values.shape}; it should be {grid.shape}")
    if not (np.isfinite(values).all() and values.min() >= 0):
        raise ValueError(f"the dose goes from {values.min()} to {values.max()} Gy; it must be finite and not negative")
    if bits not in _STORED_MAXIMUM:
        raise ValueError(f"a voxel of an RT Dose has 16 or 32 bits, not {bits}")
    plan = load_reference(rt_plan, "RTPLAN", "RT Plan")
    dataset = new_object(RT_DOSE_CLASS)
    references = [found for found in (plan, load_reference(ct, "CT", "CT")) if found is not None]
    patient = {"PatientName": patient_id, "PatientID": patient_id}
    describe_object(dataset, "RTDOSE", description, references, patient, frame_of_reference_uid)
    _belong(dataset, plan, plan_uid)
    _name_quantity(dataset, quantity, alpha_beta)
    _place(dataset, grid)
    _store(dataset, values, bits)
    save_object(dataset, path)


def _belong(dataset: Dataset, plan: Dataset | None, plan_uid: str | None) -> None:
    from pydicom.uid import generate_uid

    if plan is not None and plan_uid not in {None, str(plan.SOPInstanceUID)}:
        raise ValueError(f"the RT Plan is {plan.SOPInstanceUID}, and plan_uid says {plan_uid}")
    dataset.DoseUnits = "GY"
    dataset.DoseSummationType = "PLAN"
    uid = str(plan.SOPInstanceUID) if plan is not None else plan_uid or generate_uid()
    dataset.ReferencedRTPlanSequence = [reference_item(RT_PLAN_CLASS, uid)]


def _name_quantity(dataset: Dataset, quantity: str, alpha_beta: float | None) -> None:
    if quantity == "physical_dose":
        dataset.DoseType = "PHYSICAL"
        return
    dataset.DoseType = "EFFECTIVE"
    label = quantity_label(quantity, alpha_beta)
    dataset.DoseComment = label if alpha_beta is not None else f"{label}(a/b of each structure)"


def _place(dataset: Dataset, grid: VoxelGrid) -> None:
    from pydicom.tag import Tag

    nx, ny, nz = grid.shape
    dx, dy, dz = grid.spacing_mm
    dataset.Columns, dataset.Rows, dataset.NumberOfFrames = nx, ny, nz
    dataset.PixelSpacing = decimals([dy, dx])
    dataset.SliceThickness = decimals([dz])[0]
    dataset.ImagePositionPatient = decimals(grid.origin_mm)
    dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    dataset.FrameIncrementPointer = Tag("GridFrameOffsetVector")
    dataset.GridFrameOffsetVector = decimals([dz * i for i in range(nz)])


def _store(dataset: Dataset, values: FloatArray, bits: int) -> None:
    scaling = decimals([float(values.max()) / _STORED_MAXIMUM[bits] or 1.0])[0]
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = bits
    dataset.HighBit = bits - 1
    dataset.PixelRepresentation = 0
    dataset.DoseGridScaling = scaling
    # Frames, rows, columns: x runs fastest.
    stored = np.rint(values / float(scaling)).astype(f"<u{bits // 8}").transpose(2, 1, 0).tobytes()
    dataset.add_new("PixelData", "OW", stored + b"\0" * (len(stored) % 2))
