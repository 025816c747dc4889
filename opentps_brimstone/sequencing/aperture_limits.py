"""Boxes that leaf tips may move in without breaking a limit of the MLC.

Limits couple tips: a pair keeps its least gap, opposing tips of neighbors must not pass each other on some machines,
and the tips of a bank stay within a span. Around leaves that obey all of them there is a box for each tip such that
every choice from the boxes obeys them too: two tips that limit each other share the room between them. A search inside
boxes is simple, and with new boxes around its result tips come as near to a limit as they need to.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from opentps_brimstone._typing import BoolArray, FloatArray

if TYPE_CHECKING:
    from opentps_brimstone.sequencing.aperture_fluence import BeamGrid, BeamSegments
    from opentps_brimstone.sequencing.mlc import MLC

__all__ = ["TipBoxes", "least_opening_mm", "on_raster", "tip_boxes", "tips_on_raster"]


class TipBoxes(NamedTuple):
    """Lowest and highest positions of the left and right tips, shape (n_segments, n_pairs) each, in mm."""

    left_low: FloatArray
    left_high: FloatArray
    right_low: FloatArray
    right_high: FloatArray

    def only(self, segments: BeamSegments, left: BoolArray, right: BoolArray) -> TipBoxes:
        """Let only some of the tips move."""
        return TipBoxes(
            np.where(left, self.left_low, segments.left_mm),
            np.where(left, self.left_high, segments.left_mm),
            np.where(right, self.right_low, segments.right_mm),
            np.where(right, self.right_high, segments.right_mm),
        )


def on_raster(mlc: MLC, raster_mm: float) -> MLC:
    """Narrow the limits of an MLC to multiples of a raster.

    Tips that obey them still do when they are moved to the raster, as rounding keeps order and whole distances.
    """

    def inward(value: float) -> float:
        return float(np.floor(value / raster_mm + 1e-6) * raster_mm)

    span, over = mlc.maximum_leaf_span_mm, mlc.maximum_over_axis_mm
    return replace(
        mlc,
        minimum_position_mm=-inward(-mlc.minimum_position_mm),
        maximum_position_mm=inward(mlc.maximum_position_mm),
        maximum_leaf_span_mm=None if span is None else inward(span),
        maximum_over_axis_mm=None if over is None else inward(over),
        minimum_gap_mm=-inward(-mlc.minimum_gap_mm),
    )


def least_opening_mm(mlc: MLC, raster_mm: float) -> float:
    """Least opening of pairs that OpenTPS takes for open, two steps of the raster, and that the MLC can set."""
    return max(2 * raster_mm, on_raster(mlc, raster_mm).minimum_gap_mm)


def tip_boxes(grid: BeamGrid, segments: BeamSegments, raster_mm: float, farthest_mm: float) -> TipBoxes:
    """Find a box for every tip of the open pairs of a beam's segments.

    Parameters
    ----------
    grid : BeamGrid
    segments : BeamSegments
        Which obey the limits.
    raster_mm : float
        What tips will be rounded to; limits hold after that.
    farthest_mm : float
        How far a tip may move at most.

    Returns
    -------
    TipBoxes
        Closed pairs stand still.
    """
    mlc = on_raster(grid.beam.mlc, raster_mm)
    least = least_opening_mm(grid.beam.mlc, raster_mm)
    left, right = segments.left_mm, segments.right_mm
    low, high = _runs(grid, segments)
    middle = (left + right) / 2
    bounds = [
        np.maximum(np.maximum(low, mlc.left_travel_mm[0]), left - farthest_mm),
        np.minimum(np.minimum(middle - least / 2, mlc.left_travel_mm[1]), left + farthest_mm),
        np.maximum(np.maximum(middle + least / 2, mlc.right_travel_mm[0]), right - farthest_mm),
        np.minimum(np.minimum(high, mlc.right_travel_mm[1]), right + farthest_mm),
    ]
    if mlc.maximum_leaf_span_mm is not None:
        # Closed leaves count, too: where they are parked now they can stay.
        apertures = [grid.aperture(*each) for each in segments.one_by_one()]
        for side, lower, upper in (("left_mm", 0, 1), ("right_mm", 2, 3)):
            tips = np.array([getattr(each, side) for each in apertures]).reshape(len(apertures), mlc.n_pairs)
            first, last = _within_span(tips, mlc.maximum_leaf_span_mm)
            bounds[lower], bounds[upper] = np.maximum(bounds[lower], first), np.minimum(bounds[upper], last)
    movable = segments.opened.copy()
    if not mlc.interdigitation:
        _keep_apart(bounds, segments, raster_mm)
        if mlc.maximum_leaf_span_mm is not None:
            # Pairs beyond the field follow the middle of the outermost ones, wherever the span ends.
            movable[:, [0, -1]] = False
    # What limits leave no room for stays where it is.
    return TipBoxes(
        np.minimum(bounds[0], left),
        np.maximum(bounds[1], left),
        np.minimum(bounds[2], right),
        np.maximum(bounds[3], right),
    ).only(segments, movable, movable)


def tips_on_raster(segments: BeamSegments, raster_mm: float) -> BeamSegments:
    """Move tips to the raster; rounding keeps their order, and distances that are multiples of it."""

    def nearest(tips: FloatArray) -> FloatArray:
        rounded: FloatArray = np.floor(tips / raster_mm + 0.5 + 1e-9) * raster_mm
        return rounded

    left, right = nearest(segments.left_mm), nearest(segments.right_mm)
    opened = segments.opened
    return replace(
        segments, left_mm=np.where(opened, left, segments.left_mm), right_mm=np.where(opened, right, segments.right_mm)
    )


def _runs(grid: BeamGrid, segments: BeamSegments) -> tuple[FloatArray, FloatArray]:
    """Find the ends of the beamlets that each pair may open, without a break around its opening."""
    middle = (segments.left_mm + segments.right_mm) / 2
    low, high = segments.left_mm.copy(), segments.right_mm.copy()
    for pair, allowed in enumerate(grid.allowed):
        steps = np.flatnonzero(np.diff(np.concatenate([[0], allowed.astype(np.int8), [0]])))
        for first, after in steps.reshape(-1, 2):
            run_low, run_high = grid.low_mm[first], grid.high_mm[after - 1]
            mine = (middle[:, pair] >= run_low) & (middle[:, pair] <= run_high)
            low[mine, pair], high[mine, pair] = run_low, run_high
    return low, high


def _within_span(tips: FloatArray, span_mm: float) -> tuple[FloatArray, FloatArray]:
    """Find ends, shape (n_segments, 1), between which the tips of a bank stay within a span."""
    lowest, highest = tips.min(axis=1, keepdims=True), tips.max(axis=1, keepdims=True)
    room = (span_mm - (highest - lowest)) / 2
    return lowest - room, highest + room


def _keep_apart(bounds: list[FloatArray], segments: BeamSegments, raster_mm: float) -> None:
    """Share the room between tips and the opposing tips of neighbors; closed pairs stand still."""
    opened, left, right = segments.opened, segments.left_mm, segments.right_mm
    steps = np.floor(right / raster_mm + 1e-6) * raster_mm, np.ceil(left / raster_mm - 1e-6) * raster_mm
    n_pairs = left.shape[1]
    for own, other in ((slice(0, n_pairs - 1), slice(1, n_pairs)), (slice(1, n_pairs), slice(0, n_pairs - 1))):
        half = (right[:, other] - left[:, own]) / 2
        left_end = np.where(opened[:, other], left[:, own] + half, steps[0][:, other])
        right_end = np.where(opened[:, own], right[:, other] - half, steps[1][:, own])
        bounds[1][:, own] = np.minimum(bounds[1][:, own], left_end)
        bounds[2][:, other] = np.maximum(bounds[2][:, other], right_end)
