"""Positions of the jaws and all leaves for an opening; leaf pairs outside it are closed and parked."""

from __future__ import annotations

import numpy as np

from opentps_brimstone._typing import BoolArray, FloatArray, IntArray
from opentps_brimstone.sequencing.mlc import MLC, TOLERANCE_MM, JawTravel
from opentps_brimstone.sequencing.segments import JawPositions

PARKING_DEPTH_MM = 10.0
"""How far outside the field closed leaves meet if they can: their rounded ends leak."""


def _jaw_pair(travel: JawTravel | None, low: float, high: float, axis: str, beam: int) -> tuple[float, float] | None:
    if travel is None:
        return None
    if low < -travel.outer_mm - TOLERANCE_MM or high > travel.outer_mm + TOLERANCE_MM:
        raise ValueError(
            f"the field of beam {beam} reaches from {axis.lower()} = {low:g} to {high:g} mm; the {axis} jaws open "
            f"{travel.outer_mm:g} mm to each side"
        )
    return min(low, travel.over_axis_mm), max(high, -travel.over_axis_mm)


def place_jaws(
    mlc: MLC, bands: IntArray, x_mm: FloatArray, width_mm: float, wanted: BoolArray, beam: int
) -> JawPositions:
    """Close the jaws around the cells with fluence, of shape (n_bands, n_columns); without any, around the whole grid.

    Each row of `bands` has the first leaf pair of a row of the field and the one after its last. A field wider than
    leaves or jaws can open is a ValueError that names the beam.
    """
    if not wanted.any():
        wanted = np.ones_like(wanted)
    boundaries = np.asarray(mlc.leaf_boundaries_mm)
    columns, rows = np.flatnonzero(wanted.any(axis=0)), np.flatnonzero(wanted.any(axis=1))
    left, right = float(x_mm[columns[0]] - width_mm / 2), float(x_mm[columns[-1]] + width_mm / 2)
    if left < mlc.left_travel_mm[0] - TOLERANCE_MM or right > mlc.right_travel_mm[1] + TOLERANCE_MM:
        raise ValueError(
            f"the field of beam {beam} reaches from x = {left:g} to {right:g} mm; the leaves of {mlc.name} travel from "
            f"{mlc.left_travel_mm[0]:g} to {mlc.right_travel_mm[1]:g} mm"
        )
    low, high = float(boundaries[bands[rows[0], 0]]), float(boundaries[bands[rows[-1], 1]])
    return JawPositions(
        _jaw_pair(mlc.x_jaws, left, right, "X", beam),
        _jaw_pair(mlc.y_jaws, low, high, "Y", beam),
    )


def place_leaves(
    mlc: MLC, jaws: JawPositions, bands: IntArray, left_mm: FloatArray, right_mm: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Place all leaf pairs for the openings of the field's rows, given by their edges; return the tips of both banks.

    With interdigitation, closed pairs meet outside the field on the nearer side, under the X jaws if there are any, as
    far as travel and span allow. Without it, they stay where the decomposition put them, and pairs beyond its rows meet
    in front of the outermost one. Closed leaves that cannot touch and would leave a gap inside the field are a
    ValueError.
    """
    left, right = np.full(mlc.n_pairs, np.nan), np.full(mlc.n_pairs, np.nan)
    for (first, last), low, high in zip(bands, left_mm, right_mm, strict=True):
        left[first:last], right[first:last] = low, high
    opened = right > left
    if mlc.interdigitation:
        tip = _parking_tip(mlc, jaws, left[opened], right[opened])
        left[~opened], right[~opened] = tip, tip + mlc.minimum_gap_mm
    else:
        middle = (left + right) / 2
        first, last = int(bands[:, 0].min()), int(bands[:, 1].max())
        middle[:first], middle[last:] = middle[first], middle[last - 1]
        left[~opened] = middle[~opened] - mlc.minimum_gap_mm / 2
        right[~opened] = middle[~opened] + mlc.minimum_gap_mm / 2
    _check_closed(mlc, jaws, left, right, ~opened)
    return left, right


def _parking_tip(mlc: MLC, jaws: JawPositions, left: FloatArray, right: FloatArray) -> float:
    """Position of the left tips of closed pairs."""
    gap, span = mlc.minimum_gap_mm, mlc.maximum_leaf_span_mm or np.inf
    lowest = max(left.max() - span, right.max() - span - gap, mlc.left_travel_mm[0], mlc.right_travel_mm[0] - gap)
    highest = min(left.min() + span, right.min() + span - gap, mlc.left_travel_mm[1], mlc.right_travel_mm[1] - gap)
    x_left, x_right = jaws.x_mm if jaws.x_mm is not None else (left.min(), right.max())
    on_left = min(max(lowest, x_left - PARKING_DEPTH_MM - gap), highest)
    on_right = max(min(highest, x_right + PARKING_DEPTH_MM), lowest)
    depth = {on_left: x_left - on_left - gap, on_right: on_right - x_right}
    middle = (left.mean() + right.mean()) / 2
    return float(max(depth, key=lambda tip: (min(depth[tip], PARKING_DEPTH_MM / 2), -abs(tip - middle))))


def _check_closed(mlc: MLC, jaws: JawPositions, left: FloatArray, right: FloatArray, closed: BoolArray) -> None:
    """Raise if a closed pair leaves a gap where no jaw covers it."""
    boundaries = np.asarray(mlc.leaf_boundaries_mm)
    uncovered = closed & (right - left > TOLERANCE_MM)
    if jaws.x_mm is not None:
        uncovered &= (right > jaws.x_mm[0] + TOLERANCE_MM) & (left < jaws.x_mm[1] - TOLERANCE_MM)
    if jaws.y_mm is not None:
        uncovered &= (boundaries[1:] > jaws.y_mm[0] + TOLERANCE_MM) & (boundaries[:-1] < jaws.y_mm[1] - TOLERANCE_MM)
    if uncovered.any():
        pair = int(uncovered.argmax())
        raise ValueError(
            f"the closed leaf pair {pair} of {mlc.name}, at y = {mlc.leaf_centers_mm[pair]:g} mm, would leave "
            f"{mlc.minimum_gap_mm:g} mm open where no jaw covers it"
        )
