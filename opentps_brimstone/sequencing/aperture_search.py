"""Search for leaf positions and monitor units of least cost, inside the limits of the MLC."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import minimize

from opentps_brimstone._typing import BoolArray, FloatArray
from opentps_brimstone.sequencing.aperture_fluence import ApertureFluence, BeamGrid, BeamSegments
from opentps_brimstone.sequencing.aperture_limits import least_opening_mm, tip_boxes, tips_on_raster

__all__ = ["ApertureCost", "Free", "Limits", "close_and_open", "with_less_cost", "without_weak"]

ApertureCost = Callable[[FloatArray], tuple[float, FloatArray]]
"""Cost of the fluence of all beamlets, and its derivatives."""

Free = Sequence[tuple[BoolArray, BoolArray]]
"""Which left and right tips of each beam may move."""

_MEMORY = 12
# Leaves of weak segments are not scaled up further than those of segments with this share of the mean MU.
_WEAKEST = 0.2


@dataclass(frozen=True)
class Limits:
    """What a search keeps to, besides the limits of the MLC.

    Attributes
    ----------
    raster_mm : float
        What tips will be rounded to.
    farthest_mm : float
        How far a tip moves at most; 0: leaves stand still.
    least_mu : float
        Of a segment.
    mu_cost : float
        Cost of one MU.
    """

    raster_mm: float
    farthest_mm: float
    least_mu: float
    mu_cost: float = 0.0


@dataclass(frozen=True, eq=False)
class _Part:
    """The variables of one beam: tips of open pairs, in units that make them alike to the search."""

    segments: BeamSegments
    unit_mm: FloatArray

    def packed(self, left: FloatArray, right: FloatArray) -> list[FloatArray]:
        opened = self.segments.opened
        return [left[opened] / self.unit_mm, right[opened] / self.unit_mm]

    def slopes(self, left: FloatArray, right: FloatArray) -> list[FloatArray]:
        opened = self.segments.opened
        return [left[opened] * self.unit_mm, right[opened] * self.unit_mm]


class _Variables:
    """Segments as one vector within bounds.

    A leaf's effect grows with the MU of its segment, and the effect of MU with the area of the opening. The units even
    this out.
    """

    def __init__(
        self, model: ApertureFluence, segments: Sequence[BeamSegments], limits: Limits, free: Free | None
    ) -> None:
        mu = np.concatenate([each.mu for each in segments])
        mean = float(mu.mean())
        cells = sum(
            float(((each.right_mm - each.left_mm) * each.opened).sum()) / grid.beam.spacing_mm[0]
            for grid, each in zip(model.grids, segments, strict=True)
        )
        self.mu_unit = mean / np.sqrt(max(cells / len(mu), 1.0))
        self.parts, start, lowest, highest = [], [], [], []
        for number, (grid, each) in enumerate(zip(model.grids, segments, strict=True)):
            heaviness = np.maximum(each.mu / mean, _WEAKEST)[:, None]
            unit = np.broadcast_to(grid.beam.spacing_mm[0] / heaviness, each.opened.shape)
            part = _Part(each, unit[each.opened])
            boxes = tip_boxes(grid, each, limits.raster_mm, limits.farthest_mm)
            if free is not None:
                boxes = boxes.only(each, *free[number])
            self.parts.append(part)
            start += part.packed(each.left_mm, each.right_mm)
            lowest += part.packed(boxes.left_low, boxes.right_low)
            highest += part.packed(boxes.left_high, boxes.right_high)
        self.start = np.concatenate([*start, mu / self.mu_unit])
        least = np.minimum(mu, limits.least_mu) / self.mu_unit
        self.bounds = np.column_stack(
            [np.concatenate([*lowest, least]), np.concatenate([*highest, np.full(len(mu), np.inf)])]
        )

    def unpacked(self, x: FloatArray) -> list[BeamSegments]:
        """Segments of a vector."""
        found = []
        tip, weight = 0, len(x) - sum(len(part.segments.mu) for part in self.parts)
        for part in self.parts:
            each, n_open, n_segments = part.segments, len(part.unit_mm), len(part.segments.mu)
            left, right = each.left_mm.copy(), each.right_mm.copy()
            left[each.opened] = x[tip : tip + n_open] * part.unit_mm
            right[each.opened] = x[tip + n_open : tip + 2 * n_open] * part.unit_mm
            mu = x[weight : weight + n_segments] * self.mu_unit
            found.append(BeamSegments(left, right, each.opened, mu))
            tip, weight = tip + 2 * n_open, weight + n_segments
        return found

    def slope(self, derivatives: Sequence[tuple[FloatArray, FloatArray, FloatArray]], mu_cost: float) -> FloatArray:
        """Differentiate with respect to the vector."""
        tips = [
            slope
            for part, (left, right, _) in zip(self.parts, derivatives, strict=True)
            for slope in part.slopes(left, right)
        ]
        mu = np.concatenate([slope for _, _, slope in derivatives])
        return np.concatenate([*tips, (mu + mu_cost) * self.mu_unit])


def with_less_cost(
    model: ApertureFluence,
    cost: ApertureCost,
    segments: Sequence[BeamSegments],
    limits: Limits,
    iterations: int,
    free: Free | None = None,
    follow: Callable[[float], bool] = lambda _: True,
) -> tuple[list[BeamSegments], float, int]:
    """Move leaves and change MU so that the cost falls, by L-BFGS-B.

    Parameters
    ----------
    model : ApertureFluence
    cost : callable
        From the fluence of all beamlets to cost and derivatives.
    segments : sequence of BeamSegments
        To start from; they obey the limits.
    limits : Limits
    iterations : int
        At most.
    free : sequence of (left, right), optional
        Which tips may move, arrays of bool of shape (n_segments, n_pairs) for each beam. Default: all of open pairs.
    follow : callable
        Called with the cost of each iteration; ends the search by returning False.

    Returns
    -------
    segments : list of BeamSegments
        Which obey the limits.
    cost : float
    iterations : int
    """
    variables = _Variables(model, segments, limits, free)

    def evaluate(x: FloatArray) -> tuple[float, FloatArray]:
        moved = variables.unpacked(x)
        value, slope = cost(model.fluence(moved))
        mu = sum(float(each.mu.sum()) for each in moved)
        return value + limits.mu_cost * mu, variables.slope(model.derivatives(moved, slope), limits.mu_cost)

    def stop(intermediate_result: Any) -> None:
        if not follow(float(intermediate_result.fun)):
            raise StopIteration

    answer = minimize(
        evaluate,
        variables.start,
        jac=True,
        method="L-BFGS-B",
        bounds=variables.bounds,
        callback=stop,
        options={"maxiter": iterations, "maxcor": _MEMORY, "maxls": 10},
    )
    return variables.unpacked(np.clip(answer.x, *variables.bounds.T)), float(answer.fun), int(answer.nit)


# ---------------------------------------------------------------------------------------------- what a search cannot do


class _Change(NamedTuple):
    """A pair to close, or to open between two positions; and by how much it lowers the cost to first order."""

    gain: float
    beam: int
    segment: int
    pair: int
    tips_mm: tuple[float, float] | None = None


def close_and_open(
    model: ApertureFluence, cost: ApertureCost, segments: Sequence[BeamSegments], limits: Limits
) -> list[BeamSegments]:
    """Close pairs that are hardly open, and open closed ones, if that costs less.

    To first order it does for each of them; of all together as many are taken as lower the cost indeed.

    Parameters
    ----------
    model, cost, segments, limits
        As for `with_less_cost`.

    Returns
    -------
    list of BeamSegments
        Without those that are closed now.
    """
    current = list(segments)
    for find in (_closings, _openings):
        value, slope = cost(model.fluence(current))
        changes = []
        for beam, (grid, each) in enumerate(zip(model.grids, current, strict=True)):
            changes += find(grid, each, model.price(grid, slope), model.shares(grid, each), limits, beam)
        changes.sort(reverse=True)
        while changes:
            trial = _changed(model, current, changes, limits)
            if cost(model.fluence(trial))[0] < value:
                current = trial
                break
            changes = changes[: len(changes) // 2]
    return [each.kept(each.opened.any(axis=1)) for each in current]


def _closings(
    grid: BeamGrid, segments: BeamSegments, price: FloatArray, shares: FloatArray, limits: Limits, beam: int
) -> list[_Change]:
    """Pairs at their least opening that would be narrower if they could."""
    worth = np.einsum("pc,spc->sp", price, shares, optimize=True) * segments.mu[:, None]
    least = least_opening_mm(grid.beam.mlc, limits.raster_mm)
    narrow = segments.opened & (segments.right_mm - segments.left_mm <= 1.05 * least) & (worth > 0)
    return [_Change(float(worth[at]), beam, *at) for at in zip(*np.nonzero(narrow), strict=True)]


def _openings(
    grid: BeamGrid,
    segments: BeamSegments,
    price: FloatArray,
    shares: FloatArray,  # noqa: ARG001
    limits: Limits,
    beam: int,
) -> list[_Change]:
    """Least openings of closed pairs, each where it pays most, in the weakest segment."""
    width = least_opening_mm(grid.beam.mlc, limits.raster_mm)
    found = []
    for pair, allowed in enumerate(grid.allowed):
        candidates = np.flatnonzero(~segments.opened[:, pair])
        best = int(np.where(allowed, price[pair], np.inf).argmin())
        if not len(candidates) or not allowed[best] or price[pair, best] >= 0:
            continue
        segment = int(candidates[segments.mu[candidates].argmin()])
        middle = (grid.low_mm[best] + grid.high_mm[best]) / 2
        opened = width / (grid.high_mm[best] - grid.low_mm[best])
        gain = -float(price[pair, best]) * float(segments.mu[segment]) * opened
        found.append(_Change(gain, beam, segment, pair, (middle - width / 2, middle + width / 2)))
    return found


def _changed(
    model: ApertureFluence, segments: Sequence[BeamSegments], changes: Sequence[_Change], limits: Limits
) -> list[BeamSegments]:
    """Make the changes that the MLC allows."""
    arrays = [(each.left_mm.copy(), each.right_mm.copy(), each.opened.copy()) for each in segments]
    for change in changes:
        left, right, opened = (array[change.segment] for array in arrays[change.beam])
        before = left[change.pair], right[change.pair]
        opened[change.pair] = change.tips_mm is not None
        if change.tips_mm is not None:
            left[change.pair], right[change.pair] = change.tips_mm
        if opened.any() and not is_possible(model.grids[change.beam], left, right, opened, limits.raster_mm):
            left[change.pair], right[change.pair] = before
            opened[change.pair] = change.tips_mm is None
    return [BeamSegments(*array, each.mu) for array, each in zip(arrays, segments, strict=True)]


def is_possible(grid: BeamGrid, left_mm: FloatArray, right_mm: FloatArray, opened: BoolArray, raster_mm: float) -> bool:
    """Whether the MLC can set these tips, with some of its pairs open, both here and on the raster."""
    here = BeamSegments(left_mm[None], right_mm[None], opened[None], np.zeros(1))
    try:
        for tips in (here, tips_on_raster(here, raster_mm)):
            aperture = grid.aperture(*next(tips.one_by_one()))
            if next(grid.beam.mlc.violations(aperture.left_mm, aperture.right_mm), None) is not None:
                return False
    except ValueError:
        return False
    return True


def without_weak(segments: Sequence[BeamSegments], least_mu: float) -> list[BeamSegments]:
    """Drop segments with less than the least MU: the weaker half of them, as theirs may lift the others above it."""
    mu = np.concatenate([each.mu for each in segments])
    below = np.sort(mu[mu < least_mu])
    if not len(below):
        return list(segments)
    highest = below[(len(below) - 1) // 2]
    return [each.kept(each.mu > highest) for each in segments]
