"""The modules that every written DICOM object has: patient, study, series, equipment."""

from __future__ import annotations

import datetime
import io
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from opentps_brimstone.dicom.errors import DicomError
from opentps_brimstone.dicom.files import read_file
from opentps_brimstone.dicom.identity import Identity, contradictions, obstacles
from opentps_brimstone.dicom.tags import Tags

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

    DicomSource: TypeAlias = "Path | str | Dataset"
else:
    DicomSource: TypeAlias = Any

__all__ = [
    "ION_PLAN_CLASS",
    "RT_DOSE_CLASS",
    "RT_PLAN_CLASS",
    "DicomSource",
    "check_references",
    "decimals",
    "describe_object",
    "frames_of_reference",
    "load_reference",
    "new_object",
    "one_line",
    "reference_item",
    "save_object",
]

ION_PLAN_CLASS = "1.2.840.10008.5.1.4.1.1.481.8"
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
    dataset = read_file(path, pixels=False)
    if dataset is None:
        raise DicomError(f"the {what} {path} is not a DICOM file")
    return dataset


def frames_of_reference(dataset: Dataset) -> frozenset[str]:
    """Find the UIDs of the frames of reference of a CT slice, RT Structure Set, RT Plan or RT Dose, if it has any."""
    return Identity.of(Tags("the object", dataset)).frames


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
    """Check that objects are of one patient and frame of reference, so that another can refer to them."""
    identities = [Identity.of(Tags(str(reference.get("Modality", "object")), reference)) for reference in references]
    for one, other in combinations(identities, 2):
        against = obstacles(contradictions(one, other), frozenset())
        if against:
            raise ValueError(f"the objects referred to do not belong together: {'; '.join(against.values())}")


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
        Objects of the same patient; the first that states a value counts. Where they are silent or there are none,
        `patient` and a new study.
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
    """Find the frame that all objects have; a structure set may have several."""
    stated = [frames for frames in ({given} - {None}, *map(frames_of_reference, references)) if frames]
    if not stated:
        return None
    common = set.intersection(*map(set, stated))
    if not common:
        listed = ", ".join(sorted({frame for frames in stated for frame in frames if frame}))
        raise ValueError(f"the objects referred to have different frames of reference: {listed}")
    return min(frame for frame in common if frame)


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
