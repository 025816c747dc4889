"""A small CT and its structure set as datasets that a test may spoil before they are written; nothing but pydicom."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pydicom
from dicom_folder import circle
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

CT_CLASS = "1.2.840.10008.5.1.4.1.1.2"
STRUCTURE_SET_CLASS = "1.2.840.10008.5.1.4.1.1.481.3"
SHAPE, SPACING, ORIGIN = (16, 14, 8), (5.0, 5.0, 3.0), (-37.5, -32.5, -10.5)
PLANES = ORIGIN[2] + SPACING[2] * np.arange(SHAPE[2])


def new_dataset(sop_class: str, modality: str, **values) -> FileDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = sop_class, generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID, dataset.SOPInstanceUID = sop_class, meta.MediaStorageSOPInstanceUID
    dataset.Modality, dataset.PatientID, dataset.PatientName = modality, "P1", "Test^Case"
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    return dataset


def made(**values) -> Dataset:
    """An item of a sequence."""
    item = Dataset()
    for keyword, value in values.items():
        setattr(item, keyword, value)
    return item


def water_cylinder(radius: float = 30.0) -> np.ndarray:
    """HU of a round patient in air."""
    x, y = (ORIGIN[i] + SPACING[i] * np.arange(SHAPE[i]) for i in (0, 1))
    inside = x[:, None] ** 2 + y[None] ** 2 <= radius**2
    return np.repeat(np.where(inside, 0.0, -1000.0)[:, :, None], SHAPE[2], axis=2)


@dataclass
class MadeCT:
    """Slices from low to high z."""

    slices: list[FileDataset] = field(default_factory=list)

    def write(self, folder: Path, name: str = "ct") -> list[Path]:
        folder.mkdir(parents=True, exist_ok=True)
        paths = [folder / f"{name}{number:03d}.dcm" for number in range(len(self.slices))]
        for path, dataset in zip(paths, self.slices, strict=True):
            dataset.save_as(path, enforce_file_format=True)
        return paths


def made_ct(
    hu: np.ndarray | None = None,
    *,
    planes: Sequence[float] = PLANES,
    cosines: Sequence[int] = (1, 0, 0, 0, 1, 0),
    position: str | None = "HFS",
    edit: Callable[[Dataset, int], None] | None = None,
    **shared,
) -> MadeCT:
    """A CT of HU [x, y, z], stored with whichever axial orientation; `edit` changes a slice of a number."""
    hu = water_cylinder() if hu is None else hu
    shared = {
        "StudyInstanceUID": generate_uid(),
        "SeriesInstanceUID": generate_uid(),
        "FrameOfReferenceUID": generate_uid(),
        "SeriesNumber": 2,
        **shared,
    }
    ct = MadeCT()
    for number, z in enumerate(planes):
        dataset = new_dataset(CT_CLASS, "CT", **shared)
        dataset.ImageType, dataset.InstanceNumber = ["ORIGINAL", "PRIMARY", "AXIAL"], number + 1
        if position is not None:
            dataset.PatientPosition = position
        _store(dataset, hu[:, :, number], np.array(cosines), float(z))
        if edit is not None:
            edit(dataset, number)
        ct.slices.append(dataset)
    return ct


def _store(dataset: Dataset, hu: np.ndarray, cosines: np.ndarray, z: float) -> None:
    """Store a slice so that columns and rows run along the cosines."""
    across, down = int(np.argmax(np.abs(cosines[:3]))), int(np.argmax(np.abs(cosines[3:])))
    corner = [*ORIGIN[:2], z]
    for axis, sign in ((across, cosines[across]), (down, cosines[3 + down])):
        if sign < 0:
            hu = np.flip(hu, axis)
            corner[axis] += SPACING[axis] * (hu.shape[axis] - 1)
    stored = hu if down == 0 else hu.T  # [row, column]
    dataset.ImagePositionPatient = [f"{value:.6g}" for value in corner]
    dataset.ImageOrientationPatient = [int(value) for value in cosines]
    dataset.PixelSpacing = [SPACING[down], SPACING[across]]
    dataset.SliceThickness = SPACING[2]
    dataset.Rows, dataset.Columns = stored.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit, dataset.PixelRepresentation = 15, 1
    dataset.RescaleSlope, dataset.RescaleIntercept = 1, 0
    dataset.PixelData = np.ascontiguousarray(stored.astype("<i2")).tobytes()


Outlines = Iterable[tuple[float, np.ndarray]]


def ball(radius: float, center: tuple[float, float, float] = (0.0, 0.0, 0.0), n: int = 60) -> Outlines:
    """Outlines of a ball on the planes of the CT."""
    return [
        (float(z), circle(np.sqrt(radius**2 - (z - center[2]) ** 2), center[:2], n))
        for z in PLANES
        if abs(z - center[2]) < radius
    ]


def rod(radius: float, center: tuple[float, float] = (0.0, 0.0), n: int = 60) -> Outlines:
    """Outlines of a cylinder on the planes of the CT."""
    return [(float(z), circle(radius, center, n)) for z in PLANES]


ROIS = (("PTV", "PTV", ball(9.0)), ("BODY", "EXTERNAL", rod(30.0)))


def made_structures(ct: MadeCT, rois=ROIS, *, frame: str | None = None, images: bool = True) -> FileDataset:
    """A structure set of (name, type, outlines) on a CT."""
    first = ct.slices[0]
    frame = frame or first.FrameOfReferenceUID
    dataset = new_dataset(STRUCTURE_SET_CLASS, "RTSTRUCT", StructureSetLabel="RS", StructureSetDate="20240102")
    dataset.PatientID, dataset.PatientName = first.PatientID, first.PatientName
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = first.StudyInstanceUID, generate_uid()
    series = made(SeriesInstanceUID=first.SeriesInstanceUID)
    study = made(ReferencedSOPInstanceUID=first.StudyInstanceUID, RTReferencedSeriesSequence=[series])
    dataset.ReferencedFrameOfReferenceSequence = [made(FrameOfReferenceUID=frame, RTReferencedStudySequence=[study])]
    dataset.StructureSetROISequence, dataset.ROIContourSequence, dataset.RTROIObservationsSequence = [], [], []
    for number, (name, kind, outlines) in enumerate(rois, start=1):
        dataset.StructureSetROISequence.append(
            made(ROINumber=number, ROIName=name, ReferencedFrameOfReferenceUID=frame)
        )
        drawn = [_outline(ct, z, vertices, images=images) for z, vertices in outlines]
        dataset.ROIContourSequence.append(made(ReferencedROINumber=number, ContourSequence=drawn))
        dataset.RTROIObservationsSequence.append(
            made(ObservationNumber=number, ReferencedROINumber=number, RTROIInterpretedType=kind)
        )
    return dataset


def _outline(ct: MadeCT, z: float, vertices: np.ndarray, *, images: bool) -> Dataset:
    points = np.column_stack([vertices, np.full(len(vertices), z)])
    item = made(ContourGeometricType="CLOSED_PLANAR", NumberOfContourPoints=len(points))
    item.ContourData = [f"{value:.4f}" for value in points.ravel()]
    if images:
        at = [float(each.ImagePositionPatient[2]) for each in ct.slices]
        nearest = ct.slices[int(np.argmin(np.abs(np.array(at) - z)))]
        item.ContourImageSequence = [
            made(ReferencedSOPClassUID=CT_CLASS, ReferencedSOPInstanceUID=nearest.SOPInstanceUID)
        ]
    return item


def write_case(folder: Path, ct: MadeCT | None = None, structures: Dataset | None = None, **options) -> Path:
    """Write a CT and its structure set into a folder; give the folder."""
    ct = made_ct() if ct is None else ct
    ct.write(folder)
    structures = made_structures(ct, **options) if structures is None else structures
    structures.save_as(folder / "rs.dcm", enforce_file_format=True)
    return folder


def bare(path: Path) -> None:
    """Rewrite a file without preamble and meta header."""
    dataset = pydicom.dcmread(path)
    implicit = dataset.file_meta.TransferSyntaxUID.is_implicit_VR
    del dataset.file_meta, dataset.preamble
    dataset.save_as(path, implicit_vr=implicit, little_endian=True)


def volume_cc(structure, grid) -> float:
    return float(structure.share.sum() * np.prod(grid.spacing_mm) / 1000)
