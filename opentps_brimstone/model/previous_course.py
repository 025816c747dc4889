"""An earlier course of treatment, whose dose lies on a grid of its own."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from opentps_brimstone.model.grid import same_grid

if TYPE_CHECKING:
    from opentps_brimstone._typing import FloatArray
    from opentps_brimstone.model.dose import DoseArray
    from opentps_brimstone.model.influence import VoxelGrid

__all__ = ["PreviousCourse"]


class PreviousCourse:
    """Dose of an earlier course, to be counted in with that of a plan.

    Parameters
    ----------
    dose : DoseArray
        Gy over all its fractions, with its grid.
    number_of_fractions : int
        Of that course.
    recovery : float
        Share of its effect that the tissue has recovered from since, in [0, 1].

    Raises
    ------
    ValueError
        If a number is out of its range.

    Examples
    --------
    >>> from opentps_brimstone.model.dose import DoseArray
    >>> from opentps_brimstone.model.influence import VoxelGrid
    >>> coarse = DoseArray(np.array([10.0, 30.0]).reshape(2, 1, 1), VoxelGrid((2, 1, 1), (4.0, 4.0, 4.0)))
    >>> fine = VoxelGrid((4, 1, 1), (2.0, 2.0, 4.0), (-1.0, 0.0, 0.0))
    >>> PreviousCourse(coarse, 10).dose_on(fine).ravel().tolist()
    [10.0, 15.0, 25.0, 30.0]
    """

    def __init__(self, dose: DoseArray, number_of_fractions: int, recovery: float = 0.0) -> None:
        n = number_of_fractions
        if not math.isfinite(n) or n < 1 or n != int(n):
            raise ValueError(f"the number of previous fractions is {n}; it must be a whole number from 1")
        if not 0 <= recovery <= 1:
            raise ValueError(f"the recovery is {recovery}; it must be a share from 0 to 1")
        values = np.asarray(dose)
        if not (np.isfinite(values).all() and values.min() >= 0):
            raise ValueError(
                f"the previous dose goes from {values.min()} to {values.max()} Gy; it must be finite and not negative"
            )
        assert dose.grid is not None
        self._dose: FloatArray = values
        self.grid: VoxelGrid = dose.grid
        self.number_of_fractions = int(n)
        self.recovery = float(recovery)
        self._last: tuple[VoxelGrid, FloatArray] | None = None

    def __repr__(self) -> str:
        return f"PreviousCourse({self.description}; {self.grid.description})"

    @property
    def description(self) -> str:
        """Highest dose, fractions and recovery, for people."""
        recovered = f", of whose effect {self.recovery:.0%} has recovered" if self.recovery else ""
        return f"up to {self._dose.max():.1f} Gy in {self.number_of_fractions} fractions before{recovered}"

    def dose_on(self, grid: VoxelGrid) -> FloatArray:
        """Interpolate the dose between its voxels for the centers of another grid's; 0 beyond half a voxel outside.

        Parameters
        ----------
        grid : VoxelGrid

        Returns
        -------
        ndarray, shape (nx, ny, nz)
            Gy over all fractions of the course; not writeable.
        """
        if self._last is None or not same_grid(self._last[0], grid):
            dose = self._dose if same_grid(self.grid, grid) else self._interpolated(grid)
            dose.flags.writeable = False
            self._last = grid, dose
        return self._last[1]

    def overlaps(self, grid: VoxelGrid) -> bool:
        """Whether the center of any voxel of a grid lies in the dose's."""
        return all(((place >= -0.5) & (place <= n - 0.5)).any() for place, n in self._places(grid))

    def _places(self, grid: VoxelGrid) -> list[tuple[FloatArray, int]]:
        """Where the other grid's voxels are along each axis, in voxels of the dose, and how many those are."""
        found = []
        for n, start, step, other_n, other_start, other_step in zip(
            *(self.grid.shape, self.grid.origin_mm, self.grid.spacing_mm),
            *(grid.shape, grid.origin_mm, grid.spacing_mm),
            strict=True,
        ):
            centers = other_start + other_step * np.arange(other_n, dtype=np.float64)
            found.append(((centers - start) / step, n))
        return found

    def _interpolated(self, grid: VoxelGrid) -> FloatArray:
        dose = self._dose
        for axis, (place, n) in enumerate(self._places(grid)):
            inside = (place >= -0.5) & (place <= n - 0.5)
            low = np.clip(np.floor(place), 0, max(n - 2, 0)).astype(np.intp)
            part = np.clip(place - low, 0.0, 1.0)
            shape = [1, 1, 1]
            shape[axis] = -1
            high = np.minimum(low + 1, n - 1)
            weight = part.reshape(shape)
            dose = (1 - weight) * np.take(dose, low, axis) + weight * np.take(dose, high, axis)
            dose = dose * inside.reshape(shape)
        return np.ascontiguousarray(dose)
