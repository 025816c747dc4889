"""The DICOM objects that a plan and its dose refer to."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

    from opentps_brimstone.model.series import Series

__all__ = ["checked_references", "named_in"]


def checked_references(folder: Path, series: Series) -> dict[str, Dataset]:
    """Read the headers of the structure set and of one CT slice, and check that others can refer to them.

    Parameters
    ----------
    folder : Path
        That the series was read from.
    series : Series

    Returns
    -------
    dict of str to Dataset
        ``structure_set`` and ``ct``.

    Raises
    ------
    ValueError
        If one is missing or lacks what a reference needs, or they do not belong together.
    """
    from opentps_brimstone.dicom.header import check_references, load_reference

    references = _headers(folder, series)
    try:
        for what, modality, name in (("structure_set", "RTSTRUCT", "structure set"), ("ct", "CT", "CT")):
            load_reference(references.get(what), modality, name)
        check_references(list(references.values()))
    except ValueError as error:
        raise ValueError(f"{folder}: {error}") from None
    return references


def _headers(folder: Path, series: Series) -> dict[str, Dataset]:
    import pydicom
    from pydicom.errors import InvalidDicomError

    wanted = {
        "structure_set": ("SOPInstanceUID", series.dicom.get("StructureSetUID")),
        "ct": ("SeriesInstanceUID", series.dicom.get("SeriesInstanceUID")),
    }
    tags = [tag for tag, _ in wanted.values()]
    found: dict[str, Dataset] = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        try:
            header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=tags)
        except InvalidDicomError:
            continue
        for what, (tag, uid) in wanted.items():
            if what not in found and uid and str(header.get(tag, "")) == uid:
                found[what] = pydicom.dcmread(path, stop_before_pixels=True)
        if len(found) == len(wanted):
            break
    return found


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
