"""Least monitor units through few openings, when leaves may interdigitate.

K. Engel, A new algorithm for optimal multileaf collimator field segmentation, Discrete Appl. Math. 152 (2005) 35: take
off the matrix, again and again, an opening with the greatest weight that lowers the least total by all of itself, among
these one that leaves the fewest places where a row's fluence changes. Engel leaves further ties open; a wide opening
proves best, and other choices are tried for decompositions with fewer openings.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from opentps_brimstone.sequencing.decomposition import Decomposition, IntArray, check_matrix, rises

FloatArray = npt.NDArray[np.float64]


def greatest_weights(matrix: IntArray, total: int) -> IntArray:
    """Greatest weight of each row's openings that takes nothing off any row's reserve.

    A row needs at least the sum of its rises; what the total has more is its reserve. An opening of weight u that
    starts at a rise p and ends at a drop q takes (u - p)⁺ + (u - q)⁺ of it, and u where the row stays closed.

    Parameters
    ----------
    matrix : ndarray of int, shape (n_rows, n_columns)
    total : int
        At least every row's sum of rises.

    Returns
    -------
    ndarray of int, shape (n_rows, n_columns + 1, n_columns + 1)
        By row, left and right edge; on the diagonal that of a closed row, -1 below it.
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


def changes_removed(matrix: IntArray, weight: int) -> IntArray:
    """By how many places where a row's fluence changes each opening of a weight makes them fewer.

    Parameters
    ----------
    matrix : ndarray of int, shape (n_rows, n_columns)
    weight : int

    Returns
    -------
    ndarray of int, shape (n_rows, n_columns + 1, n_columns + 1)
        By row, left and right edge; 0 on the diagonal.
    """
    steps = rises(matrix)
    at_left = (steps == weight).astype(np.int64) - (steps == 0)
    at_right = (steps == -weight).astype(np.int64) - (steps == 0)
    removed: IntArray = at_left[:, :, None] + at_right[:, None, :]
    edges = np.arange(matrix.shape[1] + 1)
    removed[:, edges, edges] = 0
    return removed


def _tie_breaks(n_columns: int, attempts: int) -> list[FloatArray]:
    """Preferences among openings that are otherwise equal, each below 1: wide ones first, then any."""
    edges = np.arange(n_columns + 1)
    width = np.maximum(edges[None, :] - edges[:, None], 0) / (n_columns + 1)
    random = np.random.default_rng(0)
    return [width] + [width * 0.5 + random.random(width.shape) * 0.4 for _ in range(attempts - 1)]


def _decompose(matrix: IntArray, tie_break: FloatArray) -> Decomposition:
    remaining = matrix.copy()
    n_rows, n_columns = matrix.shape
    rows, cells = np.arange(n_rows), np.arange(n_columns)
    total = int(np.maximum(rises(matrix), 0).sum(axis=1).max())
    weights, lefts, rights = [], [], []
    while total:
        greatest = greatest_weights(remaining, total)
        weight = int(greatest.reshape(n_rows, -1).max(axis=1).min())
        score = np.where(greatest >= weight, changes_removed(remaining, weight) + tie_break, -np.inf)
        left, right = np.divmod(score.reshape(n_rows, -1).argmax(axis=1), n_columns + 1)
        remaining[(cells >= left[:, None]) & (cells < right[:, None])] -= weight
        total -= weight
        weights.append(weight)
        lefts.append(left)
        rights.append(right)
    shape = (len(weights), len(rows))
    return Decomposition(
        np.array(weights, dtype=np.int64),
        np.array(lefts, dtype=np.int64).reshape(shape),
        np.array(rights, dtype=np.int64).reshape(shape),
        n_columns,
    )


def engel(matrix: npt.ArrayLike, *, attempts: int = 8) -> Decomposition:
    """Least total, few openings, leaves may interdigitate.

    Parameters
    ----------
    matrix : array_like of int, shape (n_rows, n_columns)
    attempts : int
        How many ways to break ties are tried; the decomposition with the fewest openings is kept. The first is a wide
        opening, as if there were no others.

    Returns
    -------
    Decomposition
    """
    cells = check_matrix(matrix)
    found = (_decompose(cells, tie_break) for tie_break in _tie_breaks(cells.shape[1], attempts))
    return min(found, key=lambda decomposition: len(decomposition.weights))
