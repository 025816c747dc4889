"""Optimization of the MU of an OpenTPS plan."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opentps_brimstone.adapters.beamlets import scenarios_of_design
from opentps_brimstone.adapters.doubts import warn_of_doubts
from opentps_brimstone.adapters.objectives import target_names, terms_from_objectives
from opentps_brimstone.adapters.plan import (
    checked_mu,
    layout_from_opentps,
    structure_from_roi,
    validate_photon_plan,
    voxel_grid,
    write_beamlet_mu,
)
from opentps_brimstone.adapters.series import attach_opentps_plan
from opentps_brimstone.adapters.versions import is_objectives_list, objectives_in
from opentps_brimstone.engine.options import DoseOptions
from opentps_brimstone.engine.plan_doses import beamlets_of_design, inside_any, plan_influence
from opentps_brimstone.integration.worst_voxels import optimize_terms
from opentps_brimstone.model.plan import Plan
from opentps_brimstone.model.structure import Structure
from opentps_brimstone.optimization.for_terms import plan_with_terms
from opentps_brimstone.optimization.terms import KLDivergenceTerm, ObjectiveTerm

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import ArrayLike

    from opentps_brimstone.model.influence import DoseInfluence, VoxelGrid
    from opentps_brimstone.model.scenario import Scenario
    from opentps_brimstone.optimization.settings import OptimizerSettings

__all__ = [
    "optimize_photon_plan",
    "plan_from_opentps",
    "plan_influence",
    "plan_terms",
    "plan_with_terms",
    "scenarios_of_terms",
]


def plan_from_opentps(
    photon_plan: Any, ct: Any, rois: Iterable[Any], *, beamlets: Any = None, **engine_options: Any
) -> Plan:
    """Convert an OpenTPS plan, with its dose influence matrix.

    Parameters
    ----------
    photon_plan : opentps PhotonPlan
        Not changed. Segments without beamlets get those that OpenTPS makes from their MLC opening.
    ct : opentps CTImage
        In HU, on the dose grid. Not changed.
    rois : iterable of opentps ROIMask, ROIContour or Structure
        Structures of the plan; those named as targets by the plan design become targets.
    beamlets : opentps SparseBeamlets, optional
        Doses of the plan's beamlets on the grid of ``ct``. Default: those of the plan design if they match plan and CT,
        else from the cache or OpenTPS's dose engine.
    **engine_options
        For `opentps_brimstone.engine.compute_beamlets`: ``density_table``, ``overrides``, ``processes``, ``cache``, …

    Returns
    -------
    Plan
        With ``numberOfFractionsPlanned`` fractions, the plan's MU as weights, and its segments as beams.

    Raises
    ------
    TypeError, ValueError
        Before the engine starts, if the plan cannot be optimized (see `validate_photon_plan`), a ROI is empty, two have
        the same name, or ``beamlets`` do not match plan and CT.
    EngineError
        If the dose engine fails.
    """
    options = DoseOptions.from_keywords(**engine_options)
    validate_photon_plan(photon_plan)
    grid = voxel_grid(ct)
    targets = target_names(photon_plan.planDesign)
    rois = list(rois)
    structures = [
        roi if isinstance(roi, Structure) else structure_from_roi(roi, grid, is_target=roi.name in targets)
        for roi in rois
    ]
    _check_structures(structures, grid)
    warn_of_doubts(photon_plan, ct, rois)
    are_given = beamlets is not None or beamlets_of_design(photon_plan, grid) is not None
    influence = plan_influence(photon_plan, ct, grid, beamlets, options, inside_any(structures))
    plan = Plan.from_influence(influence, structures, number_of_fractions=int(photon_plan.numberOfFractionsPlanned))
    attach_opentps_plan(plan, photon_plan, ct)
    if options.choice.scatter == "full" or not are_given:
        plan.dose_options = options
    return plan


def optimize_photon_plan(
    photon_plan: Any,
    ct: Any,
    objectives: Any = None,
    *,
    settings: OptimizerSettings | None = None,
    initial_weights: ArrayLike | None = None,
    callback: Callable[..., Any] | Any = None,
    max_iterations: int | None = None,
    tolerance: float | None = None,
    beamlets: Any = None,
    progress: bool = True,
    return_result: bool = False,
    **engine_options: Any,
) -> Any:
    """Optimize the MU of every beamlet of an OpenTPS photon plan.

    Parameters
    ----------
    photon_plan : opentps PhotonPlan
        Its beamlets get the optimized MU; segments without beamlets get those that OpenTPS makes from their MLC
        opening. No beamlet is removed, nothing else is changed, and nothing at all if an error is raised.
    ct : opentps CTImage
        In HU, on the dose grid. Not changed.
    objectives : optional
        Doses in Gy over all fractions: a list of (ROIMask, ROIContour or Structure, ObjectiveTerm),
        a list of OpenTPS's objectives on dose (`DMin` ...), or an ObjectivesList. Default:
        ``photon_plan.planDesign.objectives``. `opentps_brimstone.adapters.objectives` describes how OpenTPS's
        objectives are read. A ROI with a KLDivergenceTerm that asks for a minimum dose, or named as target by the plan
        design, is a target.
    settings : OptimizerSettings, optional
        Default: the default settings, with finer levels if a target's dose interval is narrow (`settings_for`).
    initial_weights : array_like, shape (n_beamlets,), optional
        MU per fraction to start from.
    callback : callable or OptimizationCallback, optional
        As for `PlanOptimizer.optimize`.
    max_iterations : int, optional
        On each level. Default: that of the settings, 500.
    tolerance : float, optional
        Relative change of the cost at which a level has converged. Default: that of the settings, 1e-3.
    beamlets : opentps SparseBeamlets, optional
        As for `plan_from_opentps`.
    progress : bool
        Show progress bars of engine and optimizer.
    return_result : bool
        Return the OptimizationResult too.
    **engine_options
        For `opentps_brimstone.engine.compute_beamlets`: ``density_table``, ``overrides``, ``processes``, ``cache``, …

    Returns
    -------
    opentps PhotonPlan, or (PhotonPlan, OptimizationResult) with ``return_result``
        The plan that was given.

    Raises
    ------
    TypeError, ValueError
        Before the engine starts, if plan, objectives, ROIs, weights or ``beamlets`` are invalid; afterwards, if a
        structure gets no dose.
    EngineError
        If the dose engine fails.

    Examples
    --------
    >>> import opentps_brimstone as pb
    >>> from opentps_brimstone.model.example import water_plan
    >>> ct, rois, photon_plan = water_plan().to_opentps()
    >>> asked = [(rois["PTV"], pb.KLDivergenceTerm(dose_range=(3.8, 4.2)))]
    >>> _, result = pb.optimize_photon_plan(photon_plan, ct, asked, progress=False, return_result=True)
    >>> result.success
    True
    >>> photon_plan.beamletMUs.shape == result.beamlet_weights.shape
    True
    """
    options = DoseOptions.from_keywords(progress=progress, **engine_options)
    validate_photon_plan(photon_plan)
    grid = voxel_grid(ct)
    terms = plan_terms(photon_plan, objectives, grid)
    structures = [structure for structure, _ in terms]
    _check_structures(structures, grid)
    warn_of_doubts(photon_plan, ct, _rois_of(objectives))
    if initial_weights is not None:
        checked_mu(initial_weights, layout_from_opentps(photon_plan).n_beamlets, "initial_weights")
    scenarios = scenarios_of_terms(photon_plan, terms, grid)
    influence = plan_influence(photon_plan, ct, grid, beamlets, options, inside_any(structures))
    result = optimize_terms(
        influence,
        terms,
        int(photon_plan.numberOfFractionsPlanned),
        settings,
        scenarios=scenarios,
        initial_weights=initial_weights,
        callback=callback,
        max_iterations=max_iterations,
        tolerance=tolerance,
        progress=progress,
    )
    write_beamlet_mu(photon_plan, result.beamlet_weights)
    return (photon_plan, result) if return_result else photon_plan


# ----------------------------------------------------------------------------------------------------- the terms


def plan_terms(photon_plan: Any, objectives: Any, grid: VoxelGrid) -> list[tuple[Structure, ObjectiveTerm]]:
    """Convert the objectives of a plan to terms on structures.

    Parameters
    ----------
    photon_plan : opentps PhotonPlan
    objectives
        As for `optimize_photon_plan`.
    grid : VoxelGrid
        The dose grid.

    Returns
    -------
    list of (Structure, ObjectiveTerm)

    Raises
    ------
    TypeError, ValueError
        If objectives or ROIs are invalid, or none is on a target.
    """
    if objectives is None:
        return terms_from_objectives(photon_plan, grid)
    if is_objectives_list(objectives):
        return terms_from_objectives(objectives, grid)
    pairs = list(objectives)
    if not pairs:
        raise ValueError("the list of objectives is empty")
    if not any(isinstance(pair, tuple | list) for pair in pairs):
        return terms_from_objectives(pairs, grid, photon_plan.planDesign)
    return _terms_of_pairs(pairs, target_names(photon_plan.planDesign), grid)


def scenarios_of_terms(
    photon_plan: Any, terms: Iterable[tuple[Structure, ObjectiveTerm]], grid: VoxelGrid
) -> list[tuple[Scenario, DoseInfluence | None]]:
    """Convert the error scenarios of a plan design if terms are on them; none if none is robust.

    Parameters
    ----------
    photon_plan : opentps PhotonPlan
    terms : iterable of (Structure, ObjectiveTerm)
    grid : VoxelGrid
        The dose grid.

    Returns
    -------
    list of (Scenario, DoseInfluence or None)
        As `scenarios_of_design`, whose errors are raised.

    Raises
    ------
    ValueError
        If a term is robust, and the design has no error scenarios.
    """
    robust = next((term for _, term in terms if term.robustness is not None), None)
    if robust is None:
        return []
    found = scenarios_of_design(photon_plan, grid)
    if not found:
        raise ValueError(f"{robust!r} is on scenarios, and planDesign.robustness.scenarios has none")
    return found


def _terms_of_pairs(pairs: list[Any], targets: list[str], grid: VoxelGrid) -> list[tuple[Structure, ObjectiveTerm]]:

    for number, pair in enumerate(pairs):
        if not isinstance(pair, tuple | list) or len(pair) != 2 or not isinstance(pair[1], ObjectiveTerm):
            raise TypeError(
                f"objective {number} must be a pair (ROI or Structure, ObjectiveTerm) or all of them "
                f"objectives of OpenTPS on dose, got {pair!r}"
            )
    asking = {id(roi) for roi, term in pairs if _asks_for_dose(term)}
    structures: dict[int, Structure] = {}
    for roi, _ in pairs:
        if id(roi) not in structures:
            structures[id(roi)] = (
                roi
                if isinstance(roi, Structure)
                else structure_from_roi(roi, grid, is_target=id(roi) in asking or roi.name in targets)
            )
    terms = [(structures[id(roi)], term) for roi, term in pairs]
    if not any(structure.is_target for structure in structures.values()):
        names = ", ".join(repr(structure.name) for structure in structures.values())
        raise ValueError(
            f"no objective is on a target (structures: {names}): give one a KLDivergenceTerm with a minimum dose, "
            "or make its Structure with is_target=True"
        )
    return terms


def _rois_of(objectives: Any) -> list[Any]:
    """ROIs of objectives, in any of the forms of `optimize_photon_plan`."""
    if objectives is None:
        return []
    listed = objectives_in(objectives) if is_objectives_list(objectives) else objectives
    return [one[0] if isinstance(one, tuple | list) else getattr(one, "roi", None) for one in listed]


def _asks_for_dose(term: ObjectiveTerm) -> bool:
    """Whether a term sets a minimum dose for the whole volume."""
    return isinstance(term, KLDivergenceTerm) and bool(term.dvh[0, 0] > 0)


def _check_structures(structures: Iterable[Structure], grid: VoxelGrid) -> None:
    named: dict[str, Structure] = {}
    for structure in structures:
        if tuple(structure.mask.shape) != tuple(grid.shape):
            raise ValueError(
                f"the mask of structure {structure.name!r} has the shape {structure.mask.shape}, "
                f"but the dose grid has {grid.shape}"
            )
        if named.setdefault(structure.name, structure) is not structure:
            raise ValueError(f"two structures are called {structure.name!r}: give each a name of its own")
