"""Which CT and which structure set of a folder are read."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

from opentps_brimstone.dicom.errors import DicomError
from opentps_brimstone.dicom.folder import CTFiles, FolderFiles
from opentps_brimstone.dicom.identity import (
    ACCEPT_HINT,
    Accepted,
    Identity,
    checked_accepted,
    contradictions,
    obstacles,
)
from opentps_brimstone.dicom.structure_file import StructureSetFile
from opentps_brimstone.model.patient_position import checked_patient_position

__all__ = ["Choice", "choose"]

_Named = TypeVar("_Named", CTFiles, StructureSetFile)
_HOW_TO_CHOOSE = (
    "Choose with {key}= in Python, {key} in the table [input] of a prescription file, or --{option} on the command line"
)


@dataclass(frozen=True)
class Choice:
    """What a user says of a folder, with the names of `Series.from_dicom`.

    Attributes
    ----------
    series, structure_set : str or None
        What to read.
    accept : tuple of str
        Contradictions of `IDENTITIES` that do not matter.
    patient_position : str or None
        How the patient lies.
    """

    series: str | None = None
    structure_set: str | None = None
    accept: tuple[str, ...] = ()
    patient_position: str | None = None

    def __post_init__(self) -> None:
        checked_accepted(self.accept)
        if self.patient_position is not None:
            checked_patient_position(self.patient_position)

    @property
    def accepted(self) -> Accepted:
        """The contradictions as a set."""
        return checked_accepted(self.accept)

    def over(self, other: Choice) -> Choice:
        """Complete this choice by another one where it is silent; both may accept contradictions."""
        return Choice(
            self.series or other.series,
            self.structure_set or other.structure_set,
            tuple(dict.fromkeys([*other.accept, *self.accept])),
            self.patient_position or other.patient_position,
        )

    def keywords(self) -> dict[str, Any]:
        """Give it as the keywords of `Series.from_dicom`."""
        return asdict(self)


def choose(found: FolderFiles, choice: Choice) -> tuple[CTFiles, StructureSetFile | None]:
    """Choose a CT and its structure set; structure sets that do not belong to it are left out and named.

    Raises
    ------
    DicomError
        If there is no such CT or structure set, none belongs to the other, or several do.
    """
    cts = _called(found.folder, "CT", found.cts, choice.series)
    sets = _called(found.folder, "structure set", found.structure_sets, choice.structure_set)
    pairs = []
    reasons: dict[str, str] = {}
    for file in sets:
        for ct in _drawn_on(file, cts, choice.accepted):
            against = obstacles(_contradictions(file, ct), choice.accepted)
            if against:
                reasons[str(file)] = _sentence(against)
            else:
                pairs.append((ct, file))
        if not any(file is other for _, other in pairs) and str(file) not in reasons:
            reasons[str(file)] = f"it refers to the series {', '.join(sorted(file.series_uids)) or 'of none'}"
    if len(pairs) == 1:
        _warn(found, reasons)
        _note_accepted(*pairs[0])
        return pairs[0]
    if not pairs and sets and (choice.structure_set is not None or len(cts) == 1 == len(found.cts)):
        raise DicomError(_does_not_belong(found, cts, reasons))
    if not pairs and len(cts) == 1:
        _warn(found, reasons)
        return cts[0], None
    raise DicomError(_ambiguous(found, cts, pairs))


def _called(folder: object, what: str, every: Sequence[_Named], name: str | None) -> list[_Named]:
    if name is None:
        return list(every)
    named = [each for each in every if name in each.names]
    if len(named) != 1:
        count = "no" if not named else "more than one"
        raise DicomError(f"{folder}: {count} {what} is called {name!r}; there are {_listed(every) or 'none'}")
    return named


# ---------------------------------------------------------------------------------------------- what belongs together


def _drawn_on(file: StructureSetFile, cts: Sequence[CTFiles], accepted: Accepted) -> list[CTFiles]:
    """Find the CTs a structure set may be of: by slices, series or frame of reference, whichever it states first."""
    images = file.image_uids
    slices = [ct for ct in cts if any(item.text("SOPInstanceUID") in images for item in ct.slices)]
    named = [ct for ct in cts if ct.uid in file.series_uids]
    frames = [ct for ct in cts if file.identity.frames & _identity(ct).frames]
    for candidates in (slices, named, frames):
        if candidates:
            return candidates
    # One that states nothing may belong to the only CT, and so may any if the user says so.
    silent = not (file.identity.frames or file.series_uids or images)
    forced = "series" in accepted or ("frame_of_reference" in accepted and not file.series_uids and not images)
    return list(cts) if len(cts) == 1 and (silent or forced) else []


def _identity(ct: CTFiles) -> Identity:
    return Identity.of(ct.slices[0])


def _contradictions(file: StructureSetFile, ct: CTFiles) -> dict[str, str]:
    found = contradictions(file.identity, _identity(ct))
    if file.series_uids and ct.uid not in file.series_uids and not file.identity.frames & _identity(ct).frames:
        found["series"] = f"SeriesInstanceUID is {', '.join(sorted(file.series_uids))}, not {ct.uid}"
    return found


def _note_accepted(ct: CTFiles, file: StructureSetFile) -> None:
    found = _contradictions(file, ct)
    if found:
        warnings.warn(f"{file.path.name} is taken although its {_sentence(found)}", stacklevel=5)
    elif file.series_uids and ct.uid not in file.series_uids:
        warnings.warn(
            f"{file.path.name} was drawn on another series ({', '.join(sorted(file.series_uids))}) in the same frame "
            "of reference",
            stacklevel=5,
        )


# ------------------------------------------------------------------------------------------------- messages


def _sentence(found: dict[str, str]) -> str:
    return "; its ".join(found.values())


def _warn(found: FolderFiles, reasons: dict[str, str]) -> None:
    for name, reason in reasons.items():
        warnings.warn(f"{found.folder}: {name} is left out: its {reason}".replace("its it ", "it "), stacklevel=5)


def _does_not_belong(found: FolderFiles, cts: Sequence[CTFiles], reasons: dict[str, str]) -> str:
    why = "; ".join(f"{name} does not belong to {_listed(cts)}: {reason}" for name, reason in reasons.items())
    return f"{found.folder}: {why}. {ACCEPT_HINT}"


def _ambiguous(found: FolderFiles, cts: Sequence[CTFiles], pairs: Sequence[tuple[CTFiles, StructureSetFile]]) -> str:
    if len({ct.uid for ct, _ in pairs}) != 1:
        how = _HOW_TO_CHOOSE.format(key="series", option="series")
        return f"{found.folder}: it is not clear which CT to take; there are {_listed(cts)}. {how}"
    how = _HOW_TO_CHOOSE.format(key="structure_set", option="structure-set")
    files = _listed([file for _, file in pairs])
    return f"{found.folder}: it is not clear which structure set to take; there are {files}. {how}"


def _listed(each: Iterable[object]) -> str:
    return "; ".join(map(str, each))
