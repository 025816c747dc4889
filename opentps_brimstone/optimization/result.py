"""What an optimization found."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from opentps_brimstone._typing import FloatArray

if TYPE_CHECKING:
    pass


@dataclass(frozen=True)
class OptimizationResult:
    """What an optimization found.

    Attributes
    ----------
    success : bool
        Whether the finest level converged.
    message : str
        Why it ended.
    final_cost : float
        Cost at the finest level that ran.
    iterations : int
        Over all levels.
    beamlet_weights : ndarray, shape (n_beamlets,)
        MU per fraction.
    dose : ndarray, shape (nx, ny, nz)
        Gy over all fractions.
    convergence_history : dict of str to list
        "iteration", "level", "cost", "gradient_norm" and "time_s" of each iteration.
    time_s : float
        Wall time, without the preparation that `preparation_s` gives.
    preparation_s : float
        Time to put the plan together: selection of voxels and beamlets, coarser grids.

    Examples
    --------
    >>> import numpy as np
    >>> import opentps_brimstone as pb
    >>> target = pb.Structure("PTV", np.array([1, 1, 0]).reshape(3, 1, 1), is_target=True)
    >>> cord = pb.Structure("Cord", np.array([0, 0, 1]).reshape(3, 1, 1))
    >>> plan = pb.Plan.from_dose_influence(
    ...     np.array([[0.5, 0.1], [0.1, 0.5], [0.0, 0.2]]),
    ...     [target, cord],
    ...     grid_shape=(3, 1, 1),
    ...     spacing_mm=(5.0, 5.0, 5.0),
    ...     beamlet_xy_mm=[(0.0, 0.0), (5.0, 0.0)],
    ...     beam_index=[0, 0],
    ...     beamlet_spacing_mm=5.0,
    ... )
    >>> optimizer = pb.PlanOptimizer(plan)
    >>> optimizer.add_objective(target, pb.KLDivergenceTerm(dose_range=(9.0, 11.0)))
    >>> result = optimizer.optimize()
    >>> result.message
    'converged at all 4 levels'
    >>> result.dose.shape, result.beamlet_weights.shape
    ((3, 1, 1), (2,))
    """

    success: bool
    message: str
    final_cost: float
    iterations: int
    beamlet_weights: FloatArray = field(repr=False)
    dose: FloatArray = field(repr=False)
    convergence_history: dict[str, list[Any]] = field(repr=False)
    time_s: float = 0.0
    preparation_s: float = 0.0
