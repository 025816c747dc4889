"""Whose object a file is, and in which coordinates: one rule for CT, structure set, dose and plan.

What both of two objects state must agree; what one leaves out contradicts nothing.

- **patient**: PatientID, or PatientName where one of them has no ID.
- **study**: need not be the same, as archives and anonymizers give structure sets a study of their own; a difference is
  said.
- **series**: a structure set belongs to the CT whose slices its outlines name, or whose series it names, or else to one
  in the same frame of reference.
- **frame_of_reference**: coordinates of one frame mean nothing in another. A structure set may hold several frames;
  each of its structures is compared by its own.
- **roi_number**: by it, outlines and properties find their structure, so it must be there once.

What does not agree is left out and named, unless the user accepts that kind of contradiction by its name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from opentps_brimstone.dicom.tags import Tags

__all__ = ["IDENTITIES", "Accepted", "Identity", "checked_accepted", "contradictions", "obstacles", "stated_frames"]

IDENTITIES = ("patient", "study", "series", "frame_of_reference", "roi_number")
"""Kinds of contradictions that a user may accept."""

ACCEPT_HINT = (
    "Where you know better, accept the contradiction: accept= in Python, accept in the table [input] of a prescription "
    "file, or --accept on the command line"
)

Accepted = frozenset[str]


def checked_accepted(names: str | Iterable[str]) -> Accepted:
    """Check names of contradictions that are accepted.

    Examples
    --------
    >>> checked_accepted(["study", "frame"])
    Traceback (most recent call last):
    ValueError: accept names 'frame'; it may name patient, study, series, frame_of_reference, roi_number
    """
    given = [names] if isinstance(names, str) else list(names)
    for name in given:
        if name not in IDENTITIES:
            raise ValueError(f"accept names {name!r}; it may name {', '.join(IDENTITIES)}")
    return frozenset(given)


@dataclass(frozen=True)
class Identity:
    """What an object says of its patient, study and frames of reference; empty where it is silent."""

    patient_id: str = ""
    patient_name: str = ""
    study: str = ""
    frames: frozenset[str] = frozenset()

    @classmethod
    def of(cls, tags: Tags) -> Identity:
        """Read it from an object of any kind."""
        referenced = tags.items("ReferencedFrameOfReferenceSequence")
        stated = [item.text("FrameOfReferenceUID") for item in (tags, *referenced)]
        stated += [roi.text("ReferencedFrameOfReferenceUID") for roi in tags.items("StructureSetROISequence")]
        return cls(
            tags.text("PatientID"), tags.text("PatientName"), tags.text("StudyInstanceUID"), stated_frames(stated)
        )

    @classmethod
    def of_series(cls, dicom: Mapping[str, str]) -> Identity:
        """Read it from the identifiers of a `Series`."""
        frame = stated_frames([dicom.get("FrameOfReferenceUID", "")])
        return cls(dicom.get("PatientID", ""), dicom.get("PatientName", ""), dicom.get("StudyInstanceUID", ""), frame)


def stated_frames(uids: Iterable[str]) -> frozenset[str]:
    """Frames of reference that are really stated: OpenTPS writes the word None if it does not know one."""
    return frozenset(uids) - {"", "None"}


def contradictions(one: Identity, other: Identity) -> dict[str, str]:
    """Find in what two objects differ.

    Returns
    -------
    dict of str to str
        By kind of `IDENTITIES`, what `one` says, and what the other says instead, as a half sentence.
    """
    found = {}
    if one.patient_id and other.patient_id:
        if one.patient_id != other.patient_id:
            found["patient"] = f"PatientID is {one.patient_id!r}, not {other.patient_id!r}"
    elif one.patient_name and other.patient_name and _spelled(one.patient_name) != _spelled(other.patient_name):
        found["patient"] = f"PatientName is {one.patient_name!r}, not {other.patient_name!r}"
    if one.study and other.study and one.study != other.study:
        found["study"] = f"StudyInstanceUID is {one.study}, not {other.study}"
    if one.frames and other.frames and not one.frames & other.frames:
        stated, wanted = (", ".join(sorted(each.frames)) for each in (one, other))
        found["frame_of_reference"] = f"FrameOfReferenceUID is {stated}, not {wanted}: coordinates are not the same"
    return found


def obstacles(found: Mapping[str, str], accepted: Accepted) -> dict[str, str]:
    """Contradictions that keep objects apart: not those of study, nor those that are accepted."""
    return {kind: text for kind, text in found.items() if kind != "study" and kind not in accepted}


def _spelled(name: str) -> str:
    return " ".join(name.replace("^", " ").split()).casefold()
