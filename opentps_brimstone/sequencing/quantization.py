"""Fluence in whole levels, as decompositions require."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from opentps_brimstone._typing import FloatArray, IntArray


@dataclass(frozen=True, eq=False)
class Quantization:
    """Fluence in whole levels.

    Attributes
    ----------
    matrix : ndarray of int, shape (n_rows, n_columns)
    step_mu : float
        Monitor units of one level; 0 if the fluence is 0 everywhere.
    rms_error_mu : float
        Root mean square of the rounding errors of all cells.
    """

    matrix: IntArray
    step_mu: float
    rms_error_mu: float


def check_fluence(fluence: npt.ArrayLike) -> FloatArray:
    """Check that fluence is a matrix of finite, non-negative numbers; the error names the first bad cell."""
    values = np.asarray(fluence, dtype=np.float64)
    if values.ndim != 2 or not values.size:
        raise ValueError(f"a fluence needs rows and columns, not the shape {values.shape}")
    bad = ~(np.isfinite(values) & (values >= 0))
    if bad.any():
        row, column = np.unravel_index(int(bad.argmax()), bad.shape)
        raise ValueError(
            f"the fluence is {values[row, column]} MU at row {row}, column {column}; it must be finite and not negative"
        )
    return values


def check_levels(levels: int) -> int:
    """Check that a number of levels is a whole number of at least 2."""
    if isinstance(levels, bool) or levels != int(levels) or levels < 2:
        raise ValueError(f"fluence must be sequenced in 2 or more levels, not {levels}")
    return int(levels)


def quantize(fluence: npt.ArrayLike, levels: int) -> Quantization:
    """Round fluence in MU to whole levels; its maximum is the highest level, and levels are counted above 0."""
    levels = check_levels(levels)
    values = check_fluence(fluence)
    step = float(values.max()) / levels
    if step == 0:
        return Quantization(np.zeros(values.shape, dtype=np.int64), 0.0, 0.0)
    matrix = np.floor(values / step + 0.5).astype(np.int64)
    return Quantization(matrix, step, float(np.sqrt(np.mean((matrix * step - values) ** 2))))
