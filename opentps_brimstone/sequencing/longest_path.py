"""The minimal total of a decomposition, as a longest path.

Let the left leaf of a row cover cell (i, j) at the beam-on time t(i, j) of a sweep to the right, and the right leaf
uncover it at t(i, j) - a(i, j), a being the fluence. Leaves that only move right require
t(i, j) >= t(i, j-1) + max(0, a(i, j) - a(i, j-1)). A left leaf that never passes the right leaf of a neighboring row
k = i - 1, i + 1 requires t(i, j) >= t(k, j) - a(k, j). Without tongue and groove, the cell with less fluence of two
neighbors is open only while the other is: both t and t - a of the one lie between those of the other. The smallest t
that satisfies these is a longest path from the left edge, and no decomposition needs less than its greatest value:

- D. Baatar, H. Hamacher, M. Ehrgott and G. Woeginger, Decomposition of integer matrices and multileaf collimator
  sequencing, Discrete Appl. Math. 152 (2005) 6
- T. Kalinowski, A duality based algorithm for multileaf collimator field segmentation with interleaf collision
  constraint, Discrete Appl. Math. 152 (2005) 52
- S. Kamath, S. Sahni, J. Palta, S. Ranka and J. Li, Optimal leaf sequencing with elimination of tongue-and-groove
  underdosage, Phys. Med. Biol. 49 (2004) N7
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from opentps_brimstone._typing import BoolArray, IntArray
from opentps_brimstone.sequencing.decomposition import check_matrix, rises


def _spread(times: IntArray, below: IntArray) -> IntArray:
    """Raise each row's time to every other row's, minus the fluence of the rows that are left on the way.

    `below` is the total fluence of the rows before each.
    """
    first, last = below[:-1], below[1:]
    down = np.maximum.accumulate(times + first)
    down -= first
    up = np.maximum.accumulate((times - last)[::-1])[::-1] + last
    spread: IntArray = np.maximum(down, up, out=down)
    return spread


def _spread_without_tongue_and_groove(times: IntArray, cells: IntArray) -> IntArray:
    """Raise times so that the cell with less fluence of two neighbors is open only while the other is.

    A row waits for a neighbor with less fluence to close, and opens no earlier than a neighbor with more.
    """
    drop = np.maximum(0, -np.diff(cells))
    gain = np.maximum(0, np.diff(cells))
    down = np.concatenate([[0], np.cumsum(drop)])
    up = np.concatenate([[0], np.cumsum(gain)])
    lowered = np.maximum.accumulate(times + down) - down
    raised = np.maximum.accumulate((times - up)[::-1])[::-1] + up
    spread: IntArray = np.maximum(lowered, raised)
    return spread


def closing_times(matrix: IntArray, *, collisions: bool = False, tongue_and_groove: bool = False) -> IntArray:
    """Compute the earliest beam-on time at which the left leaves of a sweep to the right may cover each cell.

    The greatest is the minimal total of a decomposition.

    Parameters
    ----------
    collisions : bool
        Whether opposing leaves of neighboring rows must not pass each other.
    tongue_and_groove : bool
        Whether the cell with less fluence of two neighbors must be open only while the other is; this keeps opposing
        leaves apart as well.
    """
    rising = np.maximum(rises(matrix)[:, :-1], 0)
    if not (collisions or tongue_and_groove):
        unhindered: IntArray = np.cumsum(rising, axis=1)
        return unhindered
    below = np.concatenate([np.zeros((1, matrix.shape[1]), np.int64), np.cumsum(matrix, axis=0)])
    times = np.empty_like(matrix)
    now = np.zeros(len(matrix), dtype=np.int64)
    for column in range(matrix.shape[1]):
        now = now + rising[:, column]
        if tongue_and_groove:
            now = _spread_without_tongue_and_groove(now, matrix[:, column])
        else:
            now = _spread(now, below[:, column])
        times[:, column] = now
    return times


def least_total(matrix: npt.ArrayLike, *, collisions: bool = False, tongue_and_groove: bool = False) -> int:
    """Compute the minimal sum of weights of any decomposition, under the conditions of `closing_times`."""
    return int(closing_times(check_matrix(matrix), collisions=collisions, tongue_and_groove=tongue_and_groove).max())


def critical_path(matrix: IntArray, times: IntArray) -> list[tuple[int, int, int]]:
    """Follow a longest path from its end back to the left edge, for leaves that must not collide.

    `times` are `closing_times` with collisions. The path is given by stretches (row, first column, last column) from
    the end to the start; it leaves each but the first in its last column, for a neighboring row. One that only passes a
    row has its last column before its first.
    """
    rising = np.maximum(rises(matrix)[:, :-1], 0)
    from_left = times == np.concatenate([np.zeros((len(times), 1), np.int64), times[:, :-1]], axis=1) + rising
    row, column = int(times[:, -1].argmax()), matrix.shape[1] - 1
    path, end = [], column
    while True:
        while column >= 0 and from_left[row, column]:
            column -= 1
        path.append((row, column + 1, end))
        if column < 0:
            return path
        source = _row_before(matrix[:, column], times[:, column], from_left[:, column], row)
        step = 1 if source > row else -1
        path.extend((passed, column + 1, column) for passed in range(row + step, source, step))
        row, end = source, column


def _row_before(cells: IntArray, times: IntArray, from_left: BoolArray, row: int) -> int:
    """Find the row from which a path comes within a column and that it reached from the left."""
    below = np.concatenate([[0], np.cumsum(cells)])
    rows = np.arange(len(cells))
    cost = np.where(rows < row, below[row] - below[:-1], below[1:] - below[row + 1])
    return int(np.flatnonzero((times - cost == times[row]) & from_left & (rows != row))[0])
