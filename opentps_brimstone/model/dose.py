"""Doses with their voxel grid."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import numpy.typing as npt

from opentps_brimstone._typing import FloatArray
from opentps_brimstone.model.influence import VoxelGrid

__all__ = ["DoseArray", "grid_of"]


class DoseArray(np.ndarray[Any, np.dtype[np.float64]]):
    """A dose with its voxel grid; otherwise an ordinary array.

    Copies, pickles and arithmetic of the whole dose keep the grid. A slice or a selection, which may lie on other
    voxels, is a plain array, and the grid of a transposed or reshaped dose is None.

    Parameters
    ----------
    dose : array_like, shape (nx, ny, nz)
        Gy; copied.
    grid : VoxelGrid

    Attributes
    ----------
    grid : VoxelGrid or None

    Raises
    ------
    ValueError
        If the shape is not that of the grid.

    Examples
    --------
    >>> dose = DoseArray(np.ones((4, 3, 2)), VoxelGrid((4, 3, 2), (2.0, 2.0, 3.0)))
    >>> (2 * dose).grid.spacing_mm
    (2.0, 2.0, 3.0)
    >>> type(dose[0]).__name__
    'ndarray'
    """

    grid: VoxelGrid | None

    def __new__(cls, dose: npt.ArrayLike, grid: VoxelGrid) -> Self:  # noqa: D102
        values = np.array(dose, dtype=np.float64)
        _check_shape(values, grid)
        return cls._of(values, grid)

    @classmethod
    def _of(cls, values: FloatArray, grid: VoxelGrid | None) -> Self:
        made = values.view(cls)
        made.grid = grid
        return made

    def __array_finalize__(self, source: Any) -> None:
        self.grid = None

    def __array_ufunc__(self, ufunc: np.ufunc, method: Any, *inputs: Any, out: Any = None, **options: Any) -> Any:
        plain = [np.asarray(each) if isinstance(each, DoseArray) else each for each in inputs]
        if out is not None:
            options["out"] = tuple(np.asarray(each) if isinstance(each, DoseArray) else each for each in out)
        result = getattr(ufunc, method)(*plain, **options)
        if out is not None:
            return out[0] if len(out) == 1 else out
        grids = {each.grid for each in inputs if isinstance(each, DoseArray)}
        grid = grids.pop() if len(grids) == 1 else None
        keeps = isinstance(result, np.ndarray) and result.dtype == np.float64 and method == "__call__"
        return self._of(result, grid) if keeps and grid is not None and result.shape == grid.shape else result

    def __getitem__(self, key: Any) -> Any:
        return np.asarray(self)[key]

    def copy(self, order: Any = "C") -> Self:
        """Return a copy on the same grid."""
        return self._of(np.array(self, order=order, subok=False), self.grid)

    def __copy__(self) -> Self:
        return self.copy()

    def __deepcopy__(self, _memo: Any) -> Self:
        return self.copy()

    def __reduce__(self) -> Any:
        return _restored, (np.array(self, subok=False), self.grid)


def _restored(values: FloatArray, grid: VoxelGrid | None) -> DoseArray:
    return DoseArray._of(values, grid)


def grid_of(dose: Any, grid: VoxelGrid | None = None) -> VoxelGrid | None:
    """Grid of a dose: the given one, or else the one that a `DoseArray` carries; an error if the shapes differ."""
    found: VoxelGrid | None = grid if grid is not None else getattr(dose, "grid", None)
    if found is not None:
        _check_shape(dose, found)
    return found


def _check_shape(dose: npt.ArrayLike, grid: VoxelGrid) -> None:
    if np.shape(dose) != grid.shape:
        raise ValueError(f"the dose has the grid {np.shape(dose)}; it should be {grid.shape}")
