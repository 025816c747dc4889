"""What there is in a folder of DICOM files: CTs by series, and structure sets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from opentps_brimstone.dicom.errors import DicomError
from opentps_brimstone.dicom.files import read_file
from opentps_brimstone.dicom.structure_file import STRUCTURE_SET_CLASS, StructureSetFile
from opentps_brimstone.dicom.tags import Tags

__all__ = ["CT_CLASS", "CTFiles", "FolderFiles", "look_through"]

CT_CLASS = "1.2.840.10008.5.1.4.1.1.2"


@dataclass(frozen=True)
class CTFiles:
    """The images of a CT series, and what else bears its number: localizers, screen captures."""

    uid: str
    slices: list[Tags] = field(default_factory=list)
    bystanders: dict[str, str] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, str, str]:
        """What the series may be called."""
        first = self.slices[0]
        return self.uid, first.text("SeriesNumber"), first.text("SeriesDescription")

    def __str__(self) -> str:
        _, number, description = self.names
        return (
            f"series {number or 'without number'} ({description or 'no description'}, {len(self.slices)} files, "
            f"{self.uid})"
        )


@dataclass(frozen=True)
class FolderFiles:
    """CTs and structure sets of a folder."""

    folder: Path
    cts: list[CTFiles]
    structure_sets: list[StructureSetFile]


def look_through(folder: Path, progress: bool = False) -> FolderFiles:
    """Find CTs and structure sets; other files are passed over, and a damaged DICOM file is an error."""
    from tqdm import tqdm

    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: there is no such folder")
    series: dict[str, CTFiles] = {}
    structure_sets: dict[tuple[str, str], StructureSetFile] = {}
    others: Counter[str] = Counter()
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    for path in tqdm(paths, desc="Looking for DICOM files", unit="file", disable=not progress):
        dataset = read_file(path, pixels=False)
        if dataset is None:
            others["files that are not DICOM"] += 1
            continue
        tags = Tags(str(path), dataset)
        if tags.text("SOPClassUID") == STRUCTURE_SET_CLASS:
            file = StructureSetFile(tags)
            structure_sets.setdefault((file.uid or str(path), file.label), file)
        elif tags.text("Modality") == "CT" or tags.text("SOPClassUID") == CT_CLASS:
            uid = tags.text("SeriesInstanceUID")
            _sort_in(series.setdefault(uid, CTFiles(uid)), tags)
        else:
            others[_class_name(tags)] += 1
    others.update(_class_name(file.tags) for file in structure_sets.values())
    return FolderFiles(folder, _cts(folder, series.values(), others), list(structure_sets.values()))


def _class_name(tags: Tags) -> str:
    """Name the kind of an object as the standard does."""
    from pydicom.uid import UID

    try:
        return UID(tags.text("SOPClassUID")).name or "objects without SOPClassUID"
    except ValueError:
        return "objects of an invalid SOPClassUID"


def _sort_in(files: CTFiles, tags: Tags) -> None:
    reason = _not_a_slice(tags)
    if reason:
        files.bystanders[tags.name] = reason
    else:
        files.slices.append(tags)


def _not_a_slice(tags: Tags) -> str:
    """Say why an image of a CT series is not one of its slices."""
    if tags.text("SOPClassUID") not in ("", CT_CLASS):
        return f"it is not a CT image but {_class_name(tags)}"
    if not tags.text("Rows"):
        return "Rows (0028,0010) is missing, so it has no image"
    if "LOCALIZER" in tags.text("ImageType").upper():
        return "it is a localizer"
    if tags.text("NumberOfFrames") not in ("", "1"):
        return f"it has {tags.text('NumberOfFrames')} slices in one file; export one file for each slice"
    if not tags.text("SeriesInstanceUID"):
        raise tags.wrong("SeriesInstanceUID", "is missing")
    return ""


def _cts(folder: Path, series: Iterable[CTFiles], others: Counter[str]) -> list[CTFiles]:
    """Keep the series that have slices."""
    every = list(series)
    found = [files for files in every if files.slices]
    if found:
        return found
    reasons = [f"{name}: {reason}" for files in every for name, reason in files.bystanders.items()]
    there = "; there are " + ", ".join(f"{count} {name}" for name, count in others.items()) if others else ""
    raise DicomError(f"{folder}: there is no CT image in this folder{there}{_listed(reasons)}")


def _listed(reasons: Sequence[str], most: int = 5) -> str:
    if not reasons:
        return ""
    more = f"\n  and {len(reasons) - most} more" if len(reasons) > most else ""
    return ":" + "".join(f"\n  {reason}" for reason in reasons[:most]) + more
