"""Minimal monitor units with few openings, for leaves that may interdigitate.

K. Engel, A new algorithm for optimal multileaf collimator field segmentation, Discrete Appl. Math. 152 (2005) 35:
repeatedly subtract an opening of the greatest weight that lowers the minimal total by its whole weight, and among these
one that leaves the fewest places where a row's fluence changes. Engel leaves further ties open; a wide opening proves
best, and other choices are tried for decompositions with fewer openings.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from opentps_brimstone._typing import FloatArray, IntArray
from opentps_brimstone.sequencing.decomposition import Decomposition, check_matrix, rises


def greatest_weights(matrix: IntArray, total: int | IntArray) -> IntArray:
    """Find the greatest weight that each opening may have without exceeding its row's reserve.

    A row needs at least the sum of its rises; what the total exceeds it by is its reserve. An opening of weight u that
    starts at a rise p and ends at a drop q takes (u - p)⁺ + (u - q)⁺ of it, and u if the row stays closed. The result
    is by row, left and right edge, of shape (n_rows, n_columns + 1, n_columns + 1): a closed row on the diagonal, -1
    below.
    """
    n_rows, n_columns = matrix.shape
    steps = rises(matrix)
    rise, drop = np.maximum(steps[:, :-1, None], 0), np.maximum(-steps[:, None, 1:], 0)
    reserve = total - rise.sum(axis=(1, 2))
    spare = reserve[:, None, None]
    weight = np.where(spare <= np.abs(rise - drop), np.minimum(rise, drop) + spare, (rise + drop + spare) // 2)
    cells = np.arange(n_columns)
    upper = cells[None, :] >= cells[:, None]
    lowest = np.minimum.accumulate(np.where(upper, matrix[:, None, :], np.iinfo(np.int64).max), axis=2)
    greatest = np.full((n_rows, n_columns + 1, n_columns + 1), -1, dtype=np.int64)
    greatest[:, :-1, 1:] = np.where(upper, np.minimum(weight, lowest), -1)
    edges = np.arange(n_columns + 1)
    greatest[:, edges, edges] = reserve[:, None]
    return greatest


def changes_removed(matrix: IntArray, weight: int | IntArray) -> IntArray:
    """Count the fluence changes along its row that each opening of a weight removes, by row, left and right edge."""
    steps = rises(matrix)
    full = np.broadcast_to(weight, len(matrix))[:, None]
    at_left = (steps == full).astype(np.int64) - (steps == 0)
    at_right = (steps == -full).astype(np.int64) - (steps == 0)
    removed: IntArray = at_left[:, :, None] + at_right[:, None, :]
    edges = np.arange(matrix.shape[1] + 1)
    removed[:, edges, edges] = 0
    return removed


def _tie_breaks(n_columns: int, attempts: int) -> FloatArray:
    """Preferences among openings that are otherwise equal, each below 1: the first for wide ones, the others random."""
    edges = np.arange(n_columns + 1)
    width = np.maximum(edges[None, :] - edges[:, None], 0) / (n_columns + 1)
    random = np.random.default_rng(0).random((attempts, *width.shape))
    return np.concatenate([width[None], 0.5 * width + 0.4 * random[1:]])


def engel(matrix: npt.ArrayLike, *, attempts: int = 8) -> Decomposition:
    """Decompose with the least total and few openings; leaves may interdigitate.

    Of the decompositions that `attempts` ways to break ties give, the one with the fewest openings is kept; the first
    way prefers wide openings.
    """
    cells = check_matrix(matrix)
    n_rows, n_columns = cells.shape
    tie_breaks = np.repeat(_tie_breaks(n_columns, attempts), n_rows, axis=0)
    remaining = np.tile(cells, (attempts, 1))
    columns = np.arange(n_columns)
    total = np.full(attempts, np.maximum(rises(cells), 0).sum(axis=1).max())
    taken: list[tuple[IntArray, IntArray, IntArray]] = []
    while total.any():
        greatest = greatest_weights(remaining, np.repeat(total, n_rows))
        weight = greatest.max(axis=(1, 2)).reshape(attempts, n_rows).min(axis=1)
        of_row = np.repeat(weight, n_rows)
        merit = changes_removed(remaining, of_row) + tie_breaks
        best = np.where(greatest >= of_row[:, None, None], merit, -np.inf).reshape(len(remaining), -1).argmax(axis=1)
        left, right = np.divmod(best, n_columns + 1)
        remaining -= of_row[:, None] * ((columns >= left[:, None]) & (columns < right[:, None]))
        total -= weight
        taken.append((weight, left.reshape(attempts, n_rows), right.reshape(attempts, n_rows)))
    return _fewest(taken, attempts, n_rows, n_columns)


def _fewest(
    taken: list[tuple[IntArray, IntArray, IntArray]], attempts: int, n_rows: int, n_columns: int
) -> Decomposition:
    """Keep the attempt with the fewest openings; an attempt that has finished adds openings of weight 0."""
    weights = np.array([weight for weight, _, _ in taken], dtype=np.int64).reshape(len(taken), attempts)
    winner = int((weights > 0).sum(axis=0).argmin())
    steps = np.flatnonzero(weights[:, winner])
    lefts = np.array([taken[k][1][winner] for k in steps], dtype=np.int64).reshape(len(steps), n_rows)
    rights = np.array([taken[k][2][winner] for k in steps], dtype=np.int64).reshape(len(steps), n_rows)
    return Decomposition(weights[steps, winner], lefts, rights, n_columns)
