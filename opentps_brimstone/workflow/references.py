"""The DICOM objects that a plan and its dose refer to."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from opentps_brimstone.dicom.folder import CT_CLASS
from opentps_brimstone.dicom.identity import Accepted
from opentps_brimstone.dicom.structure_file import STRUCTURE_SET_CLASS

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

    from opentps_brimstone.model.series import Series

__all__ = ["checked_references", "named_in"]

_IDENTITY = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex"),
    *("StudyInstanceUID", "StudyDate", "StudyTime", "StudyID", "AccessionNumber", "ReferringPhysicianName"),
    "FrameOfReferenceUID",
)


def checked_references(folder: Path, series: Series, accepted: Accepted = frozenset()) -> dict[str, Dataset]:
    """Read the headers of the structure set and of one CT slice, and check that others can refer to them.

    Parameters
    ----------
    folder : Path
        That the series was read from.
    series : Series
    accepted : frozenset of str
        Contradictions that the user accepts. What is written is then for the patient, study and frame of reference of
        the CT.

    Returns
    -------
    dict of str to Dataset
        ``structure_set`` and ``ct``.

    Raises
    ------
    ValueError
        If one is missing or lacks what a reference needs, or they do not belong together.
    """
    from opentps_brimstone.dicom.files import quiet_pydicom
    from opentps_brimstone.dicom.header import check_references, load_reference

    with quiet_pydicom():
        references = _headers(folder, series)
    if accepted and len(references) == 2:
        _adopt(references["structure_set"], references["ct"])
    try:
        for what, modality, name in (("structure_set", "RTSTRUCT", "structure set"), ("ct", "CT", "CT")):
            load_reference(references.get(what), modality, name)
        check_references(list(references.values()))
    except ValueError as error:
        raise ValueError(f"{folder}: {error}") from None
    return references


def _headers(folder: Path, series: Series) -> dict[str, Dataset]:
    from opentps_brimstone.dicom.files import read_file, read_known_file

    wanted = {
        "structure_set": (STRUCTURE_SET_CLASS, "SOPInstanceUID", series.dicom.get("StructureSetUID")),
        "ct": (CT_CLASS, "SeriesInstanceUID", series.dicom.get("SeriesInstanceUID")),
    }
    tags = ["SOPClassUID", *(tag for _, tag, _ in wanted.values())]
    found: dict[str, Dataset] = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        header = read_file(path, pixels=False, only=tags)
        if header is None:
            continue
        for what, (sop_class, tag, uid) in wanted.items():
            fits = str(header.get("SOPClassUID", "")) == sop_class and uid and str(header.get(tag, "")) == uid
            if what not in found and fits:
                found[what] = read_known_file(path, pixels=False)
        if len(found) == len(wanted):
            break
    return found


def _adopt(structure_set: Dataset, ct: Dataset) -> None:
    """Give the header of a structure set, in memory, the patient, study and frame of reference of the CT."""
    for keyword in _IDENTITY:
        if keyword in ct:
            structure_set[keyword] = ct[keyword]
    if "ReferencedFrameOfReferenceSequence" in structure_set:
        del structure_set.ReferencedFrameOfReferenceSequence
    for roi in structure_set.get("StructureSetROISequence") or []:
        roi.ReferencedFrameOfReferenceUID = ct.get("FrameOfReferenceUID", "")


def named_in(structure_set: Dataset | None, targets: Mapping[str, float]) -> dict[str, float]:
    """Spell the names of targets as a structure set does.

    Parameters
    ----------
    structure_set : Dataset or None
        None leaves the names as they are.
    targets : mapping of str to float

    Returns
    -------
    dict of str to float
    """
    if structure_set is None:
        return dict(targets)
    names = [str(roi.get("ROIName", "")) for roi in structure_set.get("StructureSetROISequence") or []]
    return {name: targets[name.strip()] for name in names if name.strip() in targets}
