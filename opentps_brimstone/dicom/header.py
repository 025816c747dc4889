"""The modules that every written DICOM object has: patient, study, series, equipment."""

from __future__ import annotations

import datetime
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

    DicomSource: TypeAlias = "Path | str | Dataset"
else:
    DicomSource: TypeAlias = Any

__all__ = [
    "RT_DOSE_CLASS",
    "RT_PLAN_CLASS",
    "DicomSource",
    "check_references",
    "decimals",
    "describe_object",
    "frame_of_reference_of",
    "load_reference",
    "new_object",
    "one_line",
    "reference_item",
    "save_object",
]

RT_PLAN_CLASS = "1.2.840.10008.5.1.4.1.1.481.5"
RT_DOSE_CLASS = "1.2.840.10008.5.1.4.1.1.481.2"

_PATIENT = ("PatientName", "PatientID", "PatientBirthDate", "PatientSex")
_STUDY = ("StudyInstanceUID", "StudyDate", "StudyTime", "StudyID", "AccessionNumber", "ReferringPhysicianName")


def load_reference(source: DicomSource | None, modality: str, what: str) -> Dataset | None:
    """Load an object that another one refers to, which has the modality and the UIDs for it; None gives None."""
    if source is None:
        return None
    dataset = _read(Path(source), what) if isinstance(source, str | Path) else source
    if dataset.get("Modality") != modality:
        raise ValueError(f"the {what} must have the modality {modality}, not {dataset.get('Modality')!r}")
    for keyword in ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID"):
        if not dataset.get(keyword):
            raise ValueError(f"the {what} has no {keyword}; without it no other object can refer to it")
    return dataset


def _read(path: Path, what: str) -> Dataset:
    from pydicom import dcmread
    from pydicom.errors import InvalidDicomError

    try:
        return dcmread(path, stop_before_pixels=True)
    except InvalidDicomError as error:
        raise ValueError(f"the {what} {path} is not a DICOM file") from error


def frame_of_reference_of(dataset: Dataset) -> str | None:
    """Find the UID of the frame of reference of a CT slice, RT Structure Set, RT Plan or RT Dose, if it has one."""
    if dataset.get("FrameOfReferenceUID"):
        return str(dataset.FrameOfReferenceUID)
    for item in dataset.get("ReferencedFrameOfReferenceSequence") or []:
        if item.get("FrameOfReferenceUID"):
            return str(item.FrameOfReferenceUID)
    return None


def new_object(sop_class: str, sop_instance_uid: str | None = None) -> Dataset:
    """Make an empty object of a SOP class, explicit VR little endian, with a new UID if none is given."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import UID, ExplicitVRLittleEndian, generate_uid

    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = UID(sop_class)
    dataset.SOPInstanceUID = UID(sop_instance_uid) if sop_instance_uid else generate_uid()
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.SpecificCharacterSet = "ISO_IR 192"
    return dataset


def check_references(references: Sequence[Dataset]) -> None:
    """Check that objects are of one patient, study and frame of reference, so that another can refer to them."""
    for keyword in ("PatientID", "StudyInstanceUID"):
        found = {str(reference.get(keyword)) for reference in references if reference.get(keyword)}
        if len(found) > 1:
            raise ValueError(f"the objects referred to have different {keyword}: {', '.join(sorted(found))}")
    _frame(references, None)


def describe_object(
    dataset: Dataset,
    modality: str,
    description: str,
    references: Sequence[Dataset],
    patient: dict[str, str],
    frame_of_reference_uid: str | None,
) -> None:
    """Fill in patient, study, series, equipment and frame of reference.

    Parameters
    ----------
    description : str
        Of the series, up to 64 characters.
    references : sequence of Dataset
        Objects of the same patient and study; where they are silent or there are none, `patient` and a new study.
    patient : dict of str to str
        Values of the patient module by keyword.
    frame_of_reference_uid : str, optional
        That of the references by default, then a new one.
    """
    from pydicom.uid import generate_uid

    from opentps_brimstone import __version__

    check_references(references)
    patient = {keyword: one_line(value, 64) for keyword, value in patient.items()}
    now = datetime.datetime.now()
    today, time = now.strftime("%Y%m%d"), now.strftime("%H%M%S")
    defaults = {"StudyInstanceUID": generate_uid(), "StudyDate": today, "StudyTime": time, "StudyID": "1", **patient}
    for keyword in _PATIENT + _STUDY:
        found = {str(reference.get(keyword)): None for reference in references if reference.get(keyword)}
        setattr(dataset, keyword, next(iter(found), defaults.get(keyword, "")))
    dataset.InstanceCreationDate, dataset.InstanceCreationTime = today, time
    dataset.Modality = modality
    dataset.SeriesDescription = one_line(description, 64)
    dataset.SeriesInstanceUID = generate_uid()
    dataset.SeriesNumber = dataset.InstanceNumber = 1
    dataset.OperatorsName = ""
    dataset.Manufacturer = "opentps-brimstone"
    dataset.ManufacturerModelName = "Brimstone for OpenTPS"
    dataset.SoftwareVersions = __version__
    dataset.FrameOfReferenceUID = _frame(references, frame_of_reference_uid) or generate_uid()
    dataset.PositionReferenceIndicator = ""


def _frame(references: Sequence[Dataset], given: str | None) -> str | None:
    frames = {frame for frame in (given, *map(frame_of_reference_of, references)) if frame}
    if len(frames) > 1:
        raise ValueError(f"the objects referred to have different frames of reference: {', '.join(sorted(frames))}")
    return frames.pop() if frames else None


def one_line(value: object, length: int) -> str:
    """Convert to text that DICOM's short strings may hold: one line and one value, of limited length."""
    return "".join(c if c.isprintable() and c != "\\" else " " for c in str(value))[:length].strip()


def reference_item(sop_class: str, sop_instance_uid: str) -> Dataset:
    """Make an item of a sequence that refers to an object."""
    from pydicom.dataset import Dataset

    item = Dataset()
    item.ReferencedSOPClassUID = sop_class
    item.ReferencedSOPInstanceUID = sop_instance_uid
    return item


def decimals(numbers: Sequence[float]) -> list[Any]:
    """Convert to decimal strings of at most 16 characters."""
    from pydicom.valuerep import DSfloat

    return [DSfloat(float(number) + 0.0, auto_format=True) for number in numbers]


def save_object(dataset: Dataset, path: Path | str) -> None:
    """Write an object, replacing the file if it exists; an error of encoding leaves no partial file."""
    encoded = io.BytesIO()
    dataset.save_as(encoded, enforce_file_format=True)
    Path(path).write_bytes(encoded.getvalue())
