"""Minimal monitor units with few openings, for leaves that must not pass the opposing leaves of neighboring rows.

T. Kalinowski, A duality based algorithm for multileaf collimator field segmentation with interleaf collision
constraint, Discrete Appl. Math. 152 (2005) 52: repeatedly subtract an opening of the greatest weight
that lowers the minimal total by its whole weight. The minimal total is a longest path that runs through several rows,
so openings cannot be chosen row by row. Here they are chosen by dynamic programming over the rows, in which the paths
that were too long so far put a price on what lengthens them: a Lagrangian search for the opening that leaves the
shortest longest path. A choice is accepted if the longest path confirms it. If no trial succeeds, an opening of a sweep
is used, which always does.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from opentps_brimstone._typing import FloatArray, IntArray
from opentps_brimstone.sequencing.decomposition import Decomposition, check_matrix, rises
from opentps_brimstone.sequencing.engel import changes_removed, greatest_weights
from opentps_brimstone.sequencing.longest_path import closing_times, critical_path
from opentps_brimstone.sequencing.sliding_window import sweep

Opening = tuple[int, IntArray, IntArray]

_PRICE = 2.0
_FORGETTING = 0.5
_SLACK_MERIT = 0.3


class _Prices:
    """Counts of the paths that were too long, for each arc that they ran through."""

    def __init__(self, n_rows: int, n_columns: int) -> None:
        self._into_column = np.zeros((n_rows, n_columns + 1))
        self._out_of_row = np.zeros((n_rows, n_columns))

    def forget(self) -> None:
        """Let paths of earlier matrices count less."""
        self._into_column *= _FORGETTING
        self._out_of_row *= _FORGETTING

    def add(self, path: list[tuple[int, int, int]]) -> None:
        """Count a path."""
        for number, (row, first, last) in enumerate(path):
            self._into_column[row, first : last + 1] += 1.0
            if number:
                self._out_of_row[row, last] += 1.0

    def of_openings(self, steps: IntArray, weight: int) -> FloatArray:
        """Compute how much each opening lengthens the counted paths, relative to its weight; by row and edges.

        It shortens the step into its first column by no more than that step's rise, lengthens the step out of its
        last one except for a drop, and lengthens every way out of its row.
        """
        n_columns = steps.shape[1] - 1
        shorter = np.minimum(weight, np.maximum(steps, 0)) / weight
        longer = np.maximum(0, weight - np.maximum(-steps, 0)) / weight
        longer[:, -1] = 0.0
        ways_out = np.concatenate([np.zeros((len(steps), 1)), np.cumsum(self._out_of_row, axis=1)], axis=1)
        at_left = -self._into_column * shorter - ways_out
        at_right = self._into_column * longer + ways_out
        price: FloatArray = at_left[:, :, None] + at_right[:, None, :]
        edges = np.arange(n_columns + 1)
        price[:, edges, edges] = 0.0
        return price


def _best_without_collision(scores: FloatArray) -> tuple[IntArray, IntArray] | None:
    """Find the edges with the greatest sum of scores so that none passes a neighboring row's opposing edge."""
    reached = [scores[0]]
    for score in scores[1:]:
        at_most = np.maximum.accumulate(reached[-1], axis=0)
        best = np.maximum.accumulate(at_most[:, ::-1], axis=1)[:, ::-1]
        reached.append(score + best.T)
    n_edges = scores.shape[1]
    left, right = np.empty(len(scores), np.int64), np.empty(len(scores), np.int64)
    if not np.isfinite(reached[-1].max()):
        return None
    left[-1], right[-1] = divmod(int(reached[-1].argmax()), n_edges)
    for row in range(len(scores) - 2, -1, -1):
        block = reached[row][: right[row + 1] + 1, left[row + 1] :]
        left[row], offset = divmod(int(block.argmax()), block.shape[1])
        right[row] = offset + left[row + 1]
    return left, right


def _without(matrix: IntArray, opening: Opening) -> IntArray:
    weight, left, right = opening
    cells = np.arange(matrix.shape[1])
    taken: IntArray = matrix - weight * ((cells >= left[:, None]) & (cells < right[:, None]))
    return taken


def _longest_of_sweep(matrix: IntArray, times: IntArray) -> Opening:
    openings = sweep(matrix, times)
    longest = int(openings.weights.argmax())
    return int(openings.weights[longest]), openings.left[longest], openings.right[longest]


def _find_opening(matrix: IntArray, total: int, prices: _Prices, fallback: Opening, trials: int) -> Opening:
    """Search for the greatest weight with an opening that lowers the minimal total by all of it.

    If one weight is possible, so is every smaller one, since the minimal total is convex in the matrix.
    """
    greatest = greatest_weights(matrix, total)
    edges = np.arange(matrix.shape[1] + 1)
    width = (edges[None, :] - edges[:, None]) / (1000.0 * len(edges))
    best = fallback
    highest = int(greatest.reshape(len(matrix), -1).max(axis=1).min())
    while best[0] < highest:
        weight = (best[0] + highest + 1) // 2
        slack = _SLACK_MERIT * np.minimum(greatest - weight, weight) / weight
        slack[:, edges, edges] = 0.0
        merit = np.where(greatest >= weight, changes_removed(matrix, weight) + slack + width, -np.inf)
        chosen = _try_weight(matrix, weight, total, merit, prices, trials)
        if chosen is None:
            highest = weight - 1
        else:
            best = (weight, *chosen)
    return best


def _try_weight(
    matrix: IntArray, weight: int, total: int, merit: FloatArray, prices: _Prices, trials: int
) -> tuple[IntArray, IntArray] | None:
    """Search for an opening of high merit that lowers the minimal total by its weight."""
    steps = rises(matrix)
    for _ in range(trials):
        chosen = _best_without_collision(merit - _PRICE * prices.of_openings(steps, weight))
        if chosen is None:
            return None
        remaining = _without(matrix, (weight, *chosen))
        times = closing_times(remaining, collisions=True)
        if times.max() == total - weight:
            return chosen
        prices.add(critical_path(remaining, times))
    return None


def kalinowski(matrix: npt.ArrayLike, *, trials: int = 4) -> Decomposition:
    """Decompose with the minimal total and few openings; opposing leaves of neighboring rows do not pass each other.

    `trials` openings are tried for each weight. The total is minimal for any number.
    """
    remaining = check_matrix(matrix)
    n_columns = remaining.shape[1]
    prices = _Prices(*remaining.shape)
    openings: list[Opening] = []
    while remaining.any():
        times = closing_times(remaining, collisions=True)
        prices.forget()
        prices.add(critical_path(remaining, times))
        opening = _find_opening(remaining, int(times.max()), prices, _longest_of_sweep(remaining, times), trials)
        remaining = _without(remaining, opening)
        openings.append(opening)
    shape = (len(openings), len(remaining))
    return Decomposition(
        np.array([weight for weight, _, _ in openings], dtype=np.int64),
        np.array([left for _, left, _ in openings], dtype=np.int64).reshape(shape),
        np.array([right for _, _, right in openings], dtype=np.int64).reshape(shape),
        n_columns,
    )
