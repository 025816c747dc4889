"""Integer fluence matrices as sums of weighted leaf openings.

A row of an opening is a pair of column edges (left, right): cells left to right - 1 are open, and none if the two are
equal. Rows are leaf pairs, columns beamlets.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from opentps_brimstone._typing import BoolArray, IntArray


@dataclass(frozen=True, eq=False)
class Decomposition:
    """A fluence matrix as a sum of weighted openings.

    Attributes
    ----------
    weights : ndarray of int, shape (n_openings,)
        Levels delivered through each opening.
    left, right : ndarray of int, shape (n_openings, n_rows)
        Column edges of each row's opening; equal if the row is closed.
    """

    weights: IntArray
    left: IntArray
    right: IntArray
    n_columns: int

    @property
    def total(self) -> int:
        """Sum of the weights."""
        return int(self.weights.sum())

    @property
    def openings(self) -> BoolArray:
        """Open cells, shape (n_openings, n_rows, n_columns)."""
        cells = np.arange(self.n_columns)
        opened: BoolArray = (cells >= self.left[..., None]) & (cells < self.right[..., None])
        return opened

    @property
    def matrix(self) -> IntArray:
        """The sum, shape (n_rows, n_columns)."""
        total: IntArray = np.tensordot(self.weights, self.openings.astype(np.int64), axes=1)
        return total

    def merged(self) -> Decomposition:
        """Merge equal openings; their weights are added."""
        edges = np.concatenate([self.left, self.right], axis=1)
        _, first, which = np.unique(edges, axis=0, return_index=True, return_inverse=True)
        weights = np.bincount(which, weights=self.weights, minlength=len(first)).astype(np.int64)
        order = np.argsort(first)
        kept = first[order]
        return Decomposition(weights[order], self.left[kept], self.right[kept], self.n_columns)


def check_matrix(matrix: npt.ArrayLike) -> IntArray:
    """Check that a matrix is not empty and holds whole, non-negative numbers; return it as an array of integers."""
    given = np.asarray(matrix)
    if given.ndim != 2 or not given.size:
        raise ValueError(f"a fluence matrix needs rows and columns, not the shape {given.shape}")
    if given.dtype.kind not in "iub" and not (np.isfinite(given).all() and (given == np.floor(given)).all()):
        raise ValueError("a fluence matrix to decompose must hold whole numbers; quantize the fluence first")
    if given.min() < 0:
        at = tuple(int(k) for k in np.unravel_index(given.argmin(), given.shape))
        raise ValueError(f"the fluence matrix is {given.min()} at row {at[0]}, column {at[1]}; it must not be negative")
    return given.astype(np.int64)


def rises(matrix: IntArray) -> IntArray:
    """Compute the differences of neighboring cells along the rows, with zero outside, shape (n_rows, n_columns + 1)."""
    steps = np.empty((matrix.shape[0], matrix.shape[1] + 1), dtype=np.int64)
    steps[:, :-1] = matrix
    steps[:, -1] = 0
    steps[:, 1:] -= matrix
    return steps
