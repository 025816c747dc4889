"""Few openings with weights that are powers of two.

P. Xia and L. Verhey, Multileaf collimator leaf sequencing algorithm for intensity modulated beams with multiple static
segments, Med. Phys. 25 (1998) 1424, with their reducing-level technique: each row opens around its highest cell.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from opentps_brimstone._typing import IntArray
from opentps_brimstone.sequencing.decomposition import Decomposition, check_matrix


def _row_opening(cells: IntArray, weight: int) -> tuple[int, int]:
    """Find the edges of the stretch around the highest cell in which no cell is below the weight."""
    peak = int(cells.argmax())
    if cells[peak] < weight:
        return 0, 0
    below = np.flatnonzero(cells < weight)
    place = int(np.searchsorted(below, peak))
    left = int(below[place - 1]) + 1 if place else 0
    right = int(below[place]) if place < len(below) else len(cells)
    return left, right


def xia_verhey(matrix: npt.ArrayLike) -> Decomposition:
    """Decompose into openings with weights that are powers of two; leaves interdigitate, the total is not minimal."""
    remaining = check_matrix(matrix)
    cells = np.arange(remaining.shape[1])
    weights, edges = [], []
    while remaining.any():
        weight = 2 ** max(round(np.log2(remaining.max())) - 1, 0)
        rows = np.array([_row_opening(row, weight) for row in remaining])
        remaining = remaining - weight * ((cells >= rows[:, :1]) & (cells < rows[:, 1:]))
        weights.append(weight)
        edges.append(rows)
    pairs = np.array(edges, dtype=np.int64).reshape(len(weights), len(remaining), 2)
    return Decomposition(np.array(weights, dtype=np.int64), pairs[..., 0], pairs[..., 1], len(cells))
