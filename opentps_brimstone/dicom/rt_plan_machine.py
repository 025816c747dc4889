"""RT Plan: reading the machine's state at the control points of a beam, and its motion between them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from opentps_brimstone._typing import FloatArray
from opentps_brimstone.dicom.rt_plan_item import Item

__all__ = ["ControlPoint", "Device", "Devices", "motion_parts", "read_control_points", "read_devices"]


# No machine has leaves or jaws further out than this.
_FURTHEST_MM = 1000.0
_LARGEST_ANGLE = 3600.0
# An overlap of leaves up to this is rounding; they are closed at its middle.
_OVERLAP_MM = 0.1
_NARROWEST_LEAF_MM = 0.5

# Roles of the device types.
_ROLES = {"X": "x", "ASYMX": "x", "Y": "y", "ASYMY": "y", "MLCX": "leaves"}


class Device(NamedTuple):
    """Jaws or leaves: the type in the file, the number of pairs, and the boundaries of leaves."""

    kind: str
    pairs: int
    boundaries_mm: FloatArray | None


Devices = dict[str, Device]
"""Jaws and leaves by role: x, y, leaves."""


@dataclass(frozen=True)
class ControlPoint:
    """State of the machine at a control point.

    Attributes
    ----------
    gantry, couch, collimator : float
        IEC angles in degrees.
    positions : dict of str to ndarray, shape (n_pairs, 2)
        Left and right (low and high) edges in mm by the role of the device.
    direction : str
        Direction of the gantry's rotation after this point: CW, CC or NONE.
    turn : str
        The same if this control point itself states it, otherwise empty.
    """

    gantry: float
    couch: float
    collimator: float
    positions: dict[str, FloatArray]
    direction: str = "NONE"
    turn: str = ""


def read_devices(beam: Item) -> Devices:
    """Read the jaws and leaves of a beam: devices that OpenTPS has, one of a kind, with ascending leaf boundaries."""
    devices: dict[str, Device] = {}
    for item in beam.items("BeamLimitingDeviceSequence"):
        role = _role(item)
        kind = item.text("RTBeamLimitingDeviceType").upper()
        if role in devices:
            raise item.error(
                f"is {kind} beside {devices[role].kind}; one such device is possible", "RTBeamLimitingDeviceType"
            )
        if role == "leaves":
            boundaries = _boundaries(item)
            devices[role] = Device(kind, len(boundaries) - 1, boundaries)
        else:
            devices[role] = Device(kind, 1, None)
    return devices


def _role(item: Item) -> str:
    kind = item.text("RTBeamLimitingDeviceType").upper()
    if kind == "MLCY":
        raise item.error("is MLCY: OpenTPS's segments cannot have leaves that move along y", "RTBeamLimitingDeviceType")
    if kind not in _ROLES:
        raise item.error(f"is {kind!r}; it must be one of {', '.join(_ROLES)}", "RTBeamLimitingDeviceType")
    return _ROLES[kind]


def _boundaries(item: Item) -> FloatArray:
    boundaries = item.numbers("LeafPositionBoundaries", limit=_FURTHEST_MM)
    if boundaries is None:
        raise item.error("is missing", "LeafPositionBoundaries")
    pairs = item.integer("NumberOfLeafJawPairs", 1, 1000)
    pairs = len(boundaries) - 1 if pairs is None else pairs
    if pairs < 2 or len(boundaries) != pairs + 1:
        raise item.error(
            f"has {len(boundaries)} positions, which does not fit {pairs} leaf pairs", "LeafPositionBoundaries"
        )
    widths = np.diff(boundaries)
    if widths.min() < _NARROWEST_LEAF_MM:
        leaf = int(widths.argmin())
        raise item.error(
            f"goes from {boundaries[leaf]:g} to {boundaries[leaf + 1]:g} mm at leaf pair {leaf}; it must rise by "
            f"{_NARROWEST_LEAF_MM:g} mm or more",
            "LeafPositionBoundaries",
        )
    return boundaries


def read_control_points(points: list[Item], devices: Devices, beam: Item, notes: list[str]) -> list[ControlPoint]:
    """Read the machine's state at each control point; what it does not repeat is carried forward.

    `notes` gets a line for each missing value that is assumed.
    """
    state = _first_control_point(points[0], devices, beam, notes)
    states = [state]
    for index, point in enumerate(points):
        stated = point.integer("ControlPointIndex", 0)
        if stated is not None and stated != index:
            raise point.error(f"is {stated}; control points must be numbered from 0 in order", "ControlPointIndex")
        _check_table(point)
        if index:
            state = _moved(state, point, devices)
            states.append(state)
    return states


def _first_control_point(point: Item, devices: Devices, beam: Item, notes: list[str]) -> ControlPoint:
    gantry = point.number("GantryAngle", _LARGEST_ANGLE)
    if gantry is None:
        raise point.error("is missing", "GantryAngle")
    notes.extend(
        f"beam {beam.place.beam} has no {keyword}; 0 is taken"
        for keyword in ("PatientSupportAngle", "BeamLimitingDeviceAngle")
        if point.number(keyword, _LARGEST_ANGLE) is None
    )
    state = _moved(ControlPoint(gantry, 0.0, 0.0, {}), point, devices)
    for role, device in list(devices.items()):
        if role in state.positions:
            continue
        if role == "leaves":
            raise point.error(f"has no positions of {device.kind}", "BeamLimitingDevicePositionSequence")
        notes.append(f"beam {beam.place.beam} has {device.kind} jaws without positions; they are taken as open")
    if "leaves" not in state.positions and not {"x", "y"} <= state.positions.keys():
        raise point.error(
            "has neither leaves (MLCX) nor jaws in x and y, so the field has no edges",
            "BeamLimitingDevicePositionSequence",
        )
    return state


def _moved(before: ControlPoint, point: Item, devices: Devices) -> ControlPoint:
    angles = {
        name: point.number(keyword, _LARGEST_ANGLE)
        for name, keyword in (
            ("gantry", "GantryAngle"),
            ("couch", "PatientSupportAngle"),
            ("collimator", "BeamLimitingDeviceAngle"),
        )
    }
    turn = point.text("GantryRotationDirection").upper()
    if turn not in {"", "CW", "CC", "NONE"}:
        raise point.error(f"is {turn!r}; it must be CW, CC or NONE", "GantryRotationDirection")
    positions = dict(before.positions)
    seen = set()
    for item in point.items("BeamLimitingDevicePositionSequence"):
        role = _role(item)
        if role in seen:
            raise item.error(f"has two items for {role} in one control point", "BeamLimitingDevicePositionSequence")
        seen.add(role)
        positions[role] = _positions(item, role, devices)
    said = {name: angle for name, angle in angles.items() if angle is not None}
    return replace(before, positions=positions, direction=turn or before.direction, turn=turn, **said)


def _positions(item: Item, role: str, devices: Devices) -> FloatArray:
    """Read left and right leaves or jaws, shape (n_pairs, 2)."""
    if role == "leaves" and role not in devices:
        raise item.error("has positions of MLCX, whose leaf boundaries the beam does not say", "LeafJawPositions")
    pairs = devices[role].pairs if role in devices else 1
    values = item.numbers("LeafJawPositions", 2 * pairs, _FURTHEST_MM)
    if values is None:
        raise item.error("is missing", "LeafJawPositions")
    left, right = values[:pairs], values[pairs:]
    overlap = left - right
    pair = int(overlap.argmax())
    if role != "leaves" and overlap[0] >= 0:
        raise item.error(f"has {role} jaws that are closed, at {left[0]:g} and {right[0]:g} mm", "LeafJawPositions")
    if overlap[pair] > _OVERLAP_MM:
        raise item.error(
            f"has leaves that overlap: of pair {pair}, the left is at {left[pair]:g} and the right at "
            f"{right[pair]:g} mm",
            "LeafJawPositions",
        )
    middle = (left + right) / 2
    return np.column_stack([np.where(overlap > 0, middle, left), np.where(overlap > 0, middle, right)])


_FIXED_TABLE = ("TableTopEccentricAngle", "TableTopPitchAngle", "TableTopRollAngle", "GantryPitchAngle")


def _check_table(point: Item) -> None:
    for keyword in _FIXED_TABLE:
        angle = point.number(keyword, _LARGEST_ANGLE)
        if angle is not None and angle % 360.0 != 0:
            raise point.error(f"is {angle:g} degrees; OpenTPS knows only 0", keyword)


def motion_parts(
    start: ControlPoint, end: ControlPoint, maximum_travel_mm: float, maximum_turn_degrees: float
) -> list[tuple[ControlPoint, float]]:
    """Machine in the middle of each part of an interval, with the part's share of the monitor units.

    Leaves and jaws, and angles, move no further than the maxima in a part. Where nothing moves, it is one part, equal
    to `start`.
    """
    turns = {
        "gantry": _gantry_turn(start, end),
        "couch": _shorter_turn(start.couch, end.couch),
        "collimator": _shorter_turn(start.collimator, end.collimator),
    }
    # A device that the interval's end knows and its start does not is where the end says.
    travels = {role: place - start.positions.get(role, place) for role, place in end.positions.items()}
    longest = max(float(np.abs(travel).max()) for travel in travels.values())
    widest = max(abs(turn) for turn in turns.values())
    count = int(max(1.0, np.ceil(longest / maximum_travel_mm), np.ceil(widest / maximum_turn_degrees)))
    parts = []
    for index in range(count):
        share = (index + 0.5) / count
        positions = {role: end.positions[role] - (1 - share) * travel for role, travel in travels.items()}
        angles = {name: getattr(start, name) + share * turn for name, turn in turns.items()}
        parts.append((replace(start, positions=positions, **angles), 1.0 / count))
    return parts


def _gantry_turn(start: ControlPoint, end: ControlPoint) -> float:
    """Degrees the gantry turns by, in the sense stated; no way with a sense is a full turn (PS3.3, C.8.8.14.8)."""
    turn = end.gantry - start.gantry
    if turn % 360.0 == 0:
        return {"CW": 360.0, "CC": -360.0}.get(start.turn, 0.0)
    if start.direction == "CW":
        return turn % 360.0
    if start.direction == "CC":
        return turn % 360.0 - 360.0
    return _shorter_turn(start.gantry, end.gantry)


def _shorter_turn(start: float, end: float) -> float:
    return (end - start + 180.0) % 360.0 - 180.0
