"""How a patient lies on the couch, and what the angles of a machine mean for it.

Coordinates are the patient's own in every position: x to the left, y to the back, z to the head. A beam's angles are
the machine's, so that the side it comes from depends on how the patient lies. IEC 61217's fixed axes are X to the right
of a person facing the gantry, Y toward the gantry, Z up. For a patient lying head first supine (HFS), they are the
patient's x, z and −y; in another position, the patient is turned from there about Y (prone, decubitus), about Z (feet
first), or both.

Turning the patient by half a turn about Y is the same to a beam as gantry + 180° and the opposite couch angle; about Z,
as couch + 180°. By a quarter turn about Y, it is gantry ± 90° as long as the couch stands at 0; with another couch
angle there is no such simple equivalent, and it is refused.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["HEAD_FIRST_SUPINE", "POSITIONS", "Angles", "checked_patient_position", "machine_angles", "supine_angles"]

HEAD_FIRST_SUPINE = "HFS"


class _Turn(NamedTuple):
    """Gantry angle that is added for the equivalent beam on a patient lying head first supine, and couch angle."""

    name: str
    gantry: float
    couch: float


_TURNS = {
    "HFS": _Turn("head first supine", 0.0, 0.0),
    "HFP": _Turn("head first prone", 180.0, 0.0),
    "FFS": _Turn("feet first supine", 0.0, 180.0),
    "FFP": _Turn("feet first prone", 180.0, 180.0),
    "HFDL": _Turn("head first, lying on the left side", -90.0, 0.0),
    "HFDR": _Turn("head first, lying on the right side", 90.0, 0.0),
    "FFDL": _Turn("feet first, lying on the left side", 90.0, 180.0),
    "FFDR": _Turn("feet first, lying on the right side", -90.0, 180.0),
}
POSITIONS = tuple(_TURNS)
"""DICOM's terms of the positions whose beams are understood."""


class Angles(NamedTuple):
    """Gantry, couch and collimator angle of a beam, IEC 61217, degrees in [0, 360)."""

    gantry: float
    couch: float
    collimator: float


def checked_patient_position(position: str) -> str:
    """Check a patient position, and write it in DICOM's capitals."""
    found = str(position).strip().upper()
    if found not in _TURNS:
        terms = ", ".join(f"{term} ({turn.name})" for term, turn in _TURNS.items())
        raise ValueError(f"the patient position is {position!r}; it may be {terms}")
    return found


def supine_angles(position: str, gantry: float, couch: float, collimator: float) -> Angles:
    """Angles of the same beam as a patient lying head first supine sees it.

    Parameters
    ----------
    position : str
        How the patient lies.
    gantry, couch, collimator : float
        The machine's, IEC 61217, in degrees.

    Examples
    --------
    >>> supine_angles("HFP", 0.0, 0.0, 30.0)  # from above: from the back of a prone patient
    Angles(gantry=180.0, couch=0.0, collimator=30.0)
    """
    turn = _TURNS[checked_patient_position(position)]
    _check_couch(position, turn, couch % 360.0)
    sense = -1.0 if turn.gantry == 180.0 else 1.0
    return _angles(gantry + turn.gantry, turn.couch + sense * couch, collimator)


def machine_angles(position: str, gantry: float, couch: float, collimator: float) -> Angles:
    """Angles of the machine for a beam as a patient lying head first supine would see it; undoes `supine_angles`."""
    turn = _TURNS[checked_patient_position(position)]
    sense = -1.0 if turn.gantry == 180.0 else 1.0
    found = _angles(gantry - turn.gantry, sense * (couch - turn.couch), collimator)
    _check_couch(position, turn, found.couch)
    return found


def _check_couch(position: str, turn: _Turn, couch: float) -> None:
    if abs(turn.gantry) == 90.0 and couch != 0.0:
        raise ValueError(
            f"a patient in position {position} ({turn.name}) is irradiated with the couch at 0 degrees only, not at "
            f"{couch:g}"
        )


def _angles(gantry: float, couch: float, collimator: float) -> Angles:
    return Angles(*(float(angle) % 360.0 % 360.0 for angle in (gantry, couch, collimator)))
