"""DICOM folders for tests: CT and RT Dose written by OpenTPS, RT Structure Set by pydicom."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

STRUCTURE_SET_CLASS = "1.2.840.10008.5.1.4.1.1.481.3"

# What a structure of a test is: its type, and its outlines (z, vertices).
Outlines = Sequence[tuple[float, np.ndarray]]
ROIs = dict[str, tuple[str, Outlines]]


def circle(radius: float, center: tuple[float, float] = (0.0, 0.0), n: int = 120) -> np.ndarray:
    """Polygon with the area of a circle."""
    around = np.linspace(0, 2 * np.pi, n, endpoint=False)
    size = radius * np.sqrt(2 * np.pi / (n * np.sin(2 * np.pi / n)))
    return np.column_stack([center[0] + size * np.cos(around), center[1] + size * np.sin(around)])


def rectangle(x0: float, x1: float, y0: float, y1: float) -> np.ndarray:
    return np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], dtype=float)


def sphere(radius: float, planes: np.ndarray, center: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> Outlines:
    off = planes - center[2]
    return [
        (float(z), circle(np.sqrt(radius**2 - d**2), center[:2]))
        for z, d in zip(planes, off, strict=True)
        if abs(d) < radius
    ]


def cylinder(radius: float, planes: np.ndarray, center: tuple[float, float] = (0.0, 0.0)) -> Outlines:
    return [(float(z), circle(radius, center)) for z in planes]


def write_ct(
    folder: Path,
    hu: np.ndarray,
    spacing: tuple[float, float, float],
    origin: tuple[float, float, float],
    *,
    frame: str | None = None,
    name: str = "CT",
) -> list[Path]:
    """Write a CT with OpenTPS.

    Returns
    -------
    list of Path
        From low to high z.
    """
    from opentps.core.data.images import CTImage
    from opentps.core.io.dicomIO import writeDicomCT

    ct = CTImage(imageArray=hu, name="CT", origin=np.array(origin), spacing=np.array(spacing))
    ct.frameOfReferenceUID = frame or generate_uid()
    ct.seriesInstanceUID = generate_uid()
    ct.patientPosition = "HFS"
    ct.sopInstanceUIDs = [generate_uid() for _ in range(hu.shape[2])]
    folder.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        writeDicomCT(ct, str(folder), name)
    return sorted(folder.glob(f"CT_{name}_*.dcm"))


def write_structures(
    path: Path, rois: ROIs, ct_files: Sequence[Path] = (), *, label: str = "plan", kind: str = "CLOSED_PLANAR"
) -> FileDataset:
    """Write outlines as an RT Structure Set that refers to a CT."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = STRUCTURE_SET_CLASS
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID, dataset.SOPInstanceUID = STRUCTURE_SET_CLASS, meta.MediaStorageSOPInstanceUID
    dataset.Modality, dataset.StructureSetLabel, dataset.StructureSetDate = "RTSTRUCT", label, "20240102"
    frame = generate_uid()
    if ct_files:
        header = pydicom.dcmread(ct_files[0], stop_before_pixels=True)
        frame = header.FrameOfReferenceUID
        series, study, referenced = Dataset(), Dataset(), Dataset()
        series.SeriesInstanceUID = header.SeriesInstanceUID
        study.ReferencedSOPInstanceUID = header.StudyInstanceUID
        study.RTReferencedSeriesSequence = [series]
        referenced.FrameOfReferenceUID = frame
        referenced.RTReferencedStudySequence = [study]
        dataset.ReferencedFrameOfReferenceSequence = [referenced]
    dataset.StructureSetROISequence, dataset.ROIContourSequence, dataset.RTROIObservationsSequence = [], [], []
    for number, (name, (interpreted, outlines)) in enumerate(rois.items(), start=1):
        roi, drawn, observed = Dataset(), Dataset(), Dataset()
        roi.ROINumber, roi.ROIName, roi.ReferencedFrameOfReferenceUID = number, name, frame
        drawn.ReferencedROINumber = observed.ReferencedROINumber = number
        observed.ObservationNumber, observed.RTROIInterpretedType = number, interpreted
        drawn.ContourSequence = [_outline(z, vertices, kind) for z, vertices in outlines]
        dataset.StructureSetROISequence.append(roi)
        dataset.ROIContourSequence.append(drawn)
        dataset.RTROIObservationsSequence.append(observed)
    dataset.save_as(path, enforce_file_format=True)
    return dataset


def _outline(z: float, vertices: np.ndarray, kind: str) -> Dataset:
    item = Dataset()
    item.ContourGeometricType = kind if len(vertices) > 1 else "POINT"
    item.NumberOfContourPoints = len(vertices)
    points = np.column_stack([vertices, np.full(len(vertices), z)]).ravel()
    item.ContourData = [f"{value:.6f}" for value in points]
    return item


def write_dose(path: Path, dose: np.ndarray, spacing, origin) -> None:
    """Write an RT Dose with OpenTPS."""
    from opentps.core.data.images import DoseImage
    from opentps.core.io.dicomIO import writeRTDose

    image = DoseImage(imageArray=dose, name="reference", origin=np.array(origin), spacing=np.array(spacing))
    image.frameIncrementPointer = pydicom.tag.Tag("GridFrameOffsetVector")
    image.doseType = "PHYSICAL"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        writeRTDose(image, str(path.parent), path.stem)


def change(path: Path, edit: Callable[[Dataset], None]) -> None:
    """Rewrite a file with some of its tags changed."""
    dataset = pydicom.dcmread(path)
    edit(dataset)
    dataset.save_as(path)


def water_box(shape: tuple[int, int, int], margin: int = 2) -> np.ndarray:
    """Water in air."""
    hu = np.full(shape, -1000.0)
    inside = tuple(slice(margin, n - margin) for n in shape)
    hu[inside] = 0.0
    return hu
