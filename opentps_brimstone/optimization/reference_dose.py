"""A term that holds a dose to another one, voxel by voxel."""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt

from opentps_brimstone._typing import FloatArray
from opentps_brimstone.model.influence import VoxelGrid
from opentps_brimstone.model.structure import Structure
from opentps_brimstone.optimization.terms import ObjectiveTerm
from opentps_brimstone.quantities import DoseMap

__all__ = ["ReferenceDoseTerm"]


class ReferenceDoseTerm(ObjectiveTerm):
    """Squared deviation from a dose, voxel by voxel: Σ_j v_j [(d_j − reference_j) / max reference]².

    Parameters
    ----------
    reference : array_like, shape (nx, ny, nz)
        In Gy, on the plan's dose grid.
    weight : float
        As for `ObjectiveTerm`.

    Examples
    --------
    >>> term = ReferenceDoseTerm(np.reshape([10.0, 20.0], (2, 1, 1)))
    >>> value, gradient = term.evaluate(np.array([21.0, 18.0]), np.array([0.5, 0.5]))  # 1 Gy too much, 2 too little
    >>> round(value, 6)
    0.00625
    """

    # Not a quantity of the registry: the map adds to each dose what the reference lacks of its maximum.
    quantity = "beside reference"

    def __init__(self, reference: npt.ArrayLike, weight: float = 1.0) -> None:
        super().__init__(weight)
        self.reference = np.asarray(reference, dtype=np.float64)
        self._highest = float(self.reference.max(initial=0.0))
        if not (np.isfinite(self.reference).all() and self._highest > 0):
            raise ValueError("a reference dose must be finite, and above 0 somewhere")
        self._digest = hashlib.sha256(self.reference.tobytes()).hexdigest()

    def evaluate(self, dose: FloatArray, share: FloatArray) -> tuple[float, FloatArray]:
        """See `ObjectiveTerm.evaluate`; doses are those that the map gives."""
        relative = dose / self._highest - 1.0
        return float(share @ relative**2), 2.0 * share * relative / self._highest

    def state(self) -> tuple[object, ...]:
        """See `ObjectiveTerm.state`."""
        return self.weight, self._digest

    def dose_map(self, number_of_fractions: int) -> DoseMap | None:  # noqa: ARG002
        """See `ObjectiveTerm.dose_map`."""
        if self.structure is None:
            return None
        return DoseMap(self._highest - self.reference[self.structure.share > 0], 1.0, 0.0)

    def voxels(self, least_share: float, grid: VoxelGrid) -> Structure:
        """Make a structure of the voxels with more than a share of the reference's maximum.

        Parameters
        ----------
        least_share : float
        grid : VoxelGrid

        Returns
        -------
        Structure
        """
        return Structure("reference dose", self.reference > least_share * self._highest, grid=grid)

    def __repr__(self) -> str:
        return f"ReferenceDoseTerm(<up to {self._highest:.2f} Gy>, weight={self.weight:g})"
