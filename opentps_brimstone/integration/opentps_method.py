"""Brimstone as one of OpenTPS's own optimization methods.

OpenTPS chooses its solver by the name of the method in ``IntensityModulationOptimizer.__init__``, which cannot be
extended. `register` therefore replaces three methods of that class by ones that check the name first: for any name but
``"Brimstone"`` they call OpenTPS's own, unchanged. As the class itself is changed, it does not matter where or when it
was imported.
"""

from __future__ import annotations

import functools
import logging
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp

from opentps_brimstone._typing import FloatArray
from opentps_brimstone.adapters.beamlets import (
    dose_influence_from_sparse_beamlets,
    grid_of_beamlets,
    isocenter_misfit,
    row_permutation,
    scenario_beamlets,
)
from opentps_brimstone.adapters.doubts import warn_of_doubts
from opentps_brimstone.adapters.objectives import terms_from_objectives
from opentps_brimstone.adapters.plan import (
    checked_mu,
    layout_from_opentps,
    remove_beamlets,
    structure_from_roi,
    voxel_grid,
    write_beamlet_mu,
)
from opentps_brimstone.adapters.privates import set_weights
from opentps_brimstone.adapters.versions import objectives_in
from opentps_brimstone.integration.photon_plan import scenarios_of_terms
from opentps_brimstone.integration.worst_voxels import optimize_terms
from opentps_brimstone.optimization.terms import ObjectiveTerm

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from opentps_brimstone.model.influence import VoxelGrid
    from opentps_brimstone.model.structure import Structure
    from opentps_brimstone.optimization.result import OptimizationResult
    from opentps_brimstone.optimization.settings import OptimizerSettings

__all__ = ["METHOD", "is_registered", "register", "unregister"]

METHOD = "Brimstone"

_log = logging.getLogger(__name__)

# OpenTPS's solvers have different names for the number of iterations; callers may use any.
_MAXIMUM_ITERATIONS = ("maxiter", "maxit", "max_iterations")
_OWN_OPTIONS = ("tolerance", "settings", "callback", "progress", "init_weights")
# Options of OpenTPS's other solvers that its windows and scripts pass to all of them.
_OTHERS_OPTIONS = ("ftol", "gtol", "tol", "output", "functions", "hardwareAcceleration", "croppedMultiplication")

# Original methods by name; None if the class inherited the method. Empty while not registered.
_originals: dict[str, Any] = {}


class BrimstoneSolver:
    """Options of one run, in the place where OpenTPS's optimizers keep their solver.

    Parameters
    ----------
    **options
        As given to ``IntensityModulationOptimizer(method="Brimstone", plan=plan, **options)``.

    Attributes
    ----------
    name : str
    params : dict
        The options; they may be changed before the run.

    Raises
    ------
    TypeError
        If an option is unknown.
    ValueError
        If bounds are given, or the number of iterations is not positive.
    """

    def __init__(self, **options: Any) -> None:
        self.name = METHOD
        self.params: dict[str, Any] = {"output": None, **options}
        if options.get("bounds") is not None:
            raise ValueError(f"method {METHOD} has no bounds on MU: leave out bounds={options['bounds']!r}")
        known = {*_MAXIMUM_ITERATIONS, *_OWN_OPTIONS, *_OTHERS_OPTIONS, "bounds"}
        unknown = sorted(set(options) - known)
        if unknown:
            own = ", ".join([_MAXIMUM_ITERATIONS[0], *_OWN_OPTIONS])
            raise TypeError(f"method {METHOD} has no option {', '.join(unknown)}; its options are {own}")
        if self.max_iterations is not None and self.max_iterations < 1:
            raise ValueError(f"maxiter must be 1 or more, got {self.max_iterations}")

    @property
    def max_iterations(self) -> int | None:
        """Maximum number of iterations on each level; None for that of the settings."""
        given = next((self.params[name] for name in _MAXIMUM_ITERATIONS if name in self.params), None)
        return None if given is None else int(given)

    @property
    def tolerance(self) -> float | None:
        """Relative change of the cost at which a level has converged; None for that of the settings."""
        given = self.params.get("tolerance")
        return None if given is None else float(given)

    @property
    def settings(self) -> OptimizerSettings | None:
        """Settings of the optimizer, if any were given."""
        settings: OptimizerSettings | None = self.params.get("settings")
        return settings

    def solve(
        self,
        photon_plan: Any,
        terms: Sequence[tuple[Structure, ObjectiveTerm]],
        grid: VoxelGrid,
        initial_weights: FloatArray | None,
    ) -> OptimizationResult:
        """Find the MU of a plan whose design holds beamlets.

        Parameters
        ----------
        photon_plan : opentps PhotonPlan
            Not changed.
        terms : sequence of (Structure, ObjectiveTerm)
        grid : VoxelGrid
            Of the beamlets' doses.
        initial_weights : ndarray, shape (n_beamlets,), optional
            MU per fraction.

        Returns
        -------
        OptimizationResult
        """
        influence = dose_influence_from_sparse_beamlets(photon_plan.planDesign.beamlets, photon_plan, grid)
        return optimize_terms(
            influence,
            terms,
            int(photon_plan.numberOfFractionsPlanned),
            self.settings,
            scenarios=scenarios_of_terms(photon_plan, terms, grid),
            initial_weights=initial_weights,
            callback=self.params.get("callback"),
            max_iterations=self.max_iterations,
            tolerance=self.tolerance,
            progress=bool(self.params.get("progress", False)),
        )


# ------------------------------------------------------------------------------------------------- registration


def register() -> None:
    """Make ``IntensityModulationOptimizer(method="Brimstone", plan=plan, …)`` work.

    As with OpenTPS's other methods, ``optimize()`` returns the dose (DoseImage) and the cost of every iteration,
    writes the MU into the plan, and removes the beamlets below ``thresholdSpotRemoval`` (MU per fraction) from plan
    and beamlet matrix; ``getConvergenceData()``, ``weights``, ``niter``, ``time`` and ``cost`` describe the run. The
    objectives are those of ``plan.planDesign``, converted as `opentps_brimstone.adapters.objectives` describes, and
    ``planDesign.ROI_cropping`` crops the beamlets to their ROIs. Robust objectives are planned for the worst of the
    nominal scenario and those of ``planDesign.robustness.scenarios``. Options: ``maxiter`` (of each level of the
    pyramid, 500), ``tolerance`` (1e-3), ``settings`` (OptimizerSettings), ``callback``, ``progress`` (False) and
    ``init_weights``. Unlike the others, this method raises errors instead of logging them.
    ``xSquared`` decides, as everywhere in OpenTPS, whether ``weights`` and ``init_weights`` are roots of the MU of all
    fractions; the method itself does not depend on it.

    Calling it again does nothing. All other methods are unaffected.

    Examples
    --------
    >>> register()
    >>> is_registered()
    True
    >>> unregister()
    """
    from opentps.core.processing.planOptimization.planOptimization import IntensityModulationOptimizer

    if _originals:
        return
    wrappers = {"__init__": _wrap_init, "optimize": _wrap_optimize, "getConvergenceData": _wrap_convergence}
    for name, wrap in wrappers.items():
        original = getattr(IntensityModulationOptimizer, name)
        _originals[name] = IntensityModulationOptimizer.__dict__.get(name)
        setattr(IntensityModulationOptimizer, name, wrap(original))


def unregister() -> None:
    """Undo `register`; does nothing if it was not called.

    Examples
    --------
    >>> register()
    >>> unregister()
    >>> is_registered()
    False
    """
    if not _originals:
        return
    from opentps.core.processing.planOptimization.planOptimization import IntensityModulationOptimizer

    for name, original in _originals.items():
        if original is None:
            delattr(IntensityModulationOptimizer, name)
        else:
            setattr(IntensityModulationOptimizer, name, original)
    _originals.clear()


def is_registered() -> bool:
    """Whether the method is registered."""
    return bool(_originals)


def _wrap_init(original: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(original)
    def init(self: Any, method: str, plan: Any, *args: Any, **kwargs: Any) -> None:
        if method == METHOD:
            _initialize(self, plan, args, kwargs)
        else:
            original(self, method, plan, *args, **kwargs)

    return init


def _wrap_optimize(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def optimize(self: Any, *args: Any, **kwargs: Any) -> Any:
        return _optimize(self) if self.method == METHOD else original(self, *args, **kwargs)

    return optimize


def _wrap_convergence(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def get_convergence_data(self: Any, *args: Any, **kwargs: Any) -> Any:
        if self.method == METHOD:
            return {"func_0": list(self.cost), "time": self.time, "nIter": self.niter}
        return original(self, *args, **kwargs)

    return get_convergence_data


# ------------------------------------------------------------------------------------------------------ the method


def _initialize(optimizer: Any, photon_plan: Any, positional: tuple[Any, ...], options: dict[str, Any]) -> None:
    from opentps.core.data.plan import PhotonPlan
    from opentps.core.processing.planOptimization.planOptimization import PlanOptimizer

    if not isinstance(photon_plan, PhotonPlan):
        raise TypeError(f"method {METHOD} plans PhotonPlan only, got {type(photon_plan).__name__}")
    solver = BrimstoneSolver(**options)
    PlanOptimizer.__init__(optimizer, photon_plan, *positional, **options)
    optimizer.method = METHOD
    optimizer.solver = solver


def _optimize(optimizer: Any) -> tuple[Any, list[float]]:

    photon_plan = optimizer.plan
    terms, grid = _what_is_asked(photon_plan)
    warn_of_doubts(photon_plan)
    result = optimizer.solver.solve(photon_plan, terms, grid, _initial_mu(optimizer))
    if photon_plan.planDesign.ROI_cropping:
        _crop_beamlets(photon_plan, grid)
    write_beamlet_mu(photon_plan, result.beamlet_weights)
    _remove_weak_beamlets(photon_plan, optimizer.thresholdSpotRemoval)
    total_mu = result.beamlet_weights * photon_plan.numberOfFractionsPlanned
    optimizer.weights = np.sqrt(total_mu) if optimizer.xSquared else total_mu
    optimizer.cost = [float(cost) for cost in result.convergence_history["cost"]] or [float(result.final_cost)]
    optimizer.niter = max(int(result.iterations), 1)
    optimizer.time = float(result.time_s)
    _log.info("%s terminated in %d iterations and %.2f s: %s", METHOD, optimizer.niter, optimizer.time, result.message)
    return optimizer.computeDose(), optimizer.cost


def _what_is_asked(photon_plan: Any) -> tuple[list[tuple[Structure, ObjectiveTerm]], VoxelGrid]:
    """Check a plan, and give its terms and their grid; nothing is changed."""
    n_beamlets = layout_from_opentps(photon_plan).n_beamlets
    design = photon_plan.planDesign
    if design is None:
        raise ValueError(f"the plan {photon_plan.name!r} has no planDesign, which holds its beamlets and objectives")
    if design.beamlets is None:
        raise ValueError("planDesign.beamlets is empty: compute them with CCCDoseCalculator.computeBeamlets first")
    n_columns = design.beamlets.toSparseMatrix().shape[1]
    if n_columns != n_beamlets:
        raise ValueError(
            f"planDesign.beamlets has {n_columns} columns, but the plan has {n_beamlets} beamlets: compute them again"
        )
    if misfit := isocenter_misfit(design.beamlets, photon_plan):
        raise ValueError(f"planDesign.beamlets {misfit}")
    grid = _scoring_grid(photon_plan)
    return terms_from_objectives(photon_plan, grid), grid


def _scoring_grid(photon_plan: Any) -> VoxelGrid:
    """Grid of a plan's beamlets, on which OpenTPS evaluates its objectives."""
    design = photon_plan.planDesign
    grid = grid_of_beamlets(design.beamlets)
    if design.ct is None:
        return grid
    ct_grid = voxel_grid(design.ct)
    # OpenTPS exchanges the x and y spacing of beamlets it computes; the CT they were computed on has it right.
    return ct_grid if ct_grid.shape == grid.shape else grid


def _initial_mu(optimizer: Any) -> FloatArray | None:
    """MU per fraction from the ``init_weights`` option, which counts them over all fractions."""
    given = optimizer.opti_params.get("init_weights")
    if given is None:
        return None

    weights = checked_mu(given, optimizer.plan.numberOfBeamlets, "init_weights")
    total_mu = np.square(weights) if optimizer.xSquared else weights
    mu: FloatArray = total_mu / optimizer.plan.numberOfFractionsPlanned
    return mu


def _crop_beamlets(photon_plan: Any, grid: VoxelGrid) -> None:
    """Keep only the rows of the beamlets inside the objectives' ROIs, as OpenTPS's other methods do."""
    design = photon_plan.planDesign
    rois = {id(objective.roi): objective.roi for objective in objectives_in(design.objectives)}
    masks = [np.asarray(structure_from_roi(roi, grid).mask, dtype=bool) for roi in rois.values()]
    inside = np.logical_or.reduce(masks).ravel()[row_permutation(grid.shape)]
    matrix = sp.diags(inside.astype(np.float32), format="csc") @ sp.csc_matrix(design.beamlets.toSparseMatrix())
    matrix.eliminate_zeros()
    design.beamlets.setUnitaryBeamlets(sp.csc_matrix(matrix))


def _remove_weak_beamlets(photon_plan: Any, threshold_mu: float) -> None:

    beamlets = photon_plan.planDesign.beamlets
    kept = remove_beamlets(photon_plan, threshold_mu)
    if not kept.all():
        for each in (beamlets, *scenario_beamlets(photon_plan.planDesign)):
            each.setUnitaryBeamlets(sp.csc_matrix(each.toSparseMatrix())[:, kept])
    set_weights(beamlets, photon_plan.beamletMUs)
