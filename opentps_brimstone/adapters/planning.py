"""From an OpenTPS plan to optimised MU in it."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import numpy as np

from opentps_brimstone.adapters.beamlets import dose_influence_from_sparse_beamlets, grid_of_beamlets
from opentps_brimstone.adapters.objectives import settings_for, target_names, terms_from_objectives
from opentps_brimstone.adapters.plan import (
    checked_mu,
    layout_from_opentps,
    structure_from_roi,
    validate_photon_plan,
    voxel_grid,
    write_beamlet_mu,
)
from opentps_brimstone.adapters.series import attach_opentps_plan
from opentps_brimstone.plan import Plan, Structure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import ArrayLike

    from opentps_brimstone.dose_influence import DoseInfluence, VoxelGrid
    from opentps_brimstone.optimizer import OptimizerSettings
    from opentps_brimstone.prescription import ObjectiveTerm

__all__ = ["optimize_photon_plan", "plan_from_opentps", "plan_influence", "plan_terms", "plan_with_terms"]


def plan_from_opentps(
    photon_plan: Any, ct: Any, rois: Iterable[Any], *, beamlets: Any = None, **engine_options: Any
) -> Plan:
    """Plan of this package for an OpenTPS plan.

    Parameters
    ----------
    photon_plan : opentps PhotonPlan
        Not changed. Segments that have only an MLC opening are planned with the beamlets OpenTPS makes of it.
    ct : opentps CTImage
        In HU, on the dose grid. Not changed.
    rois : iterable of opentps ROIMask, ROIContour or Structure
        Structures of the plan; those the plan design names as targets become targets.
    beamlets : opentps SparseBeamlets, optional
        Dose of the plan's beamlets on the grid of ``ct``. If not given they are those of the plan design where it
        has some that fit plan and CT, else computed by OpenTPS's dose engine or taken from the cache.
    **engine_options
        For `opentps_brimstone.engine.compute_beamlets`: ``calibration``, ``overrides``, ``processes``, ``cache``, …

    Returns
    -------
    Plan
        ``number_of_fractions`` is the plan's ``numberOfFractionsPlanned``, its weights are the plan's MU, and its beams
        are the segments.

    Raises
    ------
    TypeError, ValueError
        Before the engine starts: if the plan cannot be optimised (see `validate_photon_plan`), a ROI is empty, two have
        one name, or ``beamlets`` do not fit plan and CT.
    EngineError
        If the dose engine fails.
    """
    validate_photon_plan(photon_plan)
    grid = voxel_grid(ct)
    targets = target_names(photon_plan.planDesign)
    structures = [
        roi if isinstance(roi, Structure) else structure_from_roi(roi, grid, is_target=roi.name in targets)
        for roi in rois
    ]
    _check_structures(structures, grid)
    influence = plan_influence(photon_plan, ct, grid, beamlets, engine_options)
    plan = Plan.from_influence(influence, structures, number_of_fractions=int(photon_plan.numberOfFractionsPlanned))
    attach_opentps_plan(plan, photon_plan, ct)
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
    """Optimise the MU of every beamlet of an OpenTPS photon plan.

    Parameters
    ----------
    photon_plan : opentps PhotonPlan
        Its beamlets get the MU that were found; segments that have only an MLC opening get the beamlets OpenTPS makes
        of it. Nothing else in it changes, no beamlet is removed, and it is unchanged if an error is raised.
    ct : opentps CTImage
        In HU, on the dose grid. Not changed.
    objectives : optional
        What is asked for, doses in Gy over all fractions: a list of (ROIMask, ROIContour or Structure, ObjectiveTerm),
        a list of FidObjective, or an ObjectivesList. If not given, ``photon_plan.planDesign.objectives``. How
        OpenTPS's objectives are read is described in `opentps_brimstone.adapters.objectives`. A ROI with a
        KLDivergenceTerm that asks for a minimum dose, or named as target by the plan design, is a target.
    settings : OptimizerSettings, optional
        If not given, the defaults, with finer levels where a target is narrow (`settings_for`).
    initial_weights : array_like, shape (n_beamlets,), optional
        MU per fraction to start from.
    callback : callable or OptimizationCallback, optional
        As for `PlanOptimizer.optimize`.
    max_iterations : int, optional
        Of each level of the pyramid; the settings' 500 by default.
    tolerance : float, optional
        Relative change of the cost at which a level has converged; the settings' 1e-3 by default.
    beamlets : opentps SparseBeamlets, optional
        As for `plan_from_opentps`.
    progress : bool
        Whether to show progress bars of engine and optimiser.
    return_result : bool
        Whether to return the OptimizationResult too.
    **engine_options
        For `opentps_brimstone.engine.compute_beamlets`: ``calibration``, ``overrides``, ``processes``, ``cache``, …

    Returns
    -------
    opentps PhotonPlan, or (PhotonPlan, OptimizationResult) with ``return_result``
        The plan that was given.

    Raises
    ------
    TypeError, ValueError
        Before the engine starts: if plan, objectives, ROIs, weights or ``beamlets`` are in error, naming thing and
        value; after it: if a structure gets no dose.
    EngineError
        If the dose engine fails.

    Examples
    --------
    >>> import numpy as np
    >>> import opentps_brimstone as pb
    >>> mask = np.zeros((8, 8, 8))
    >>> mask[3:5, 3:5, 3:5] = 1
    >>> target = pb.Structure("PTV", mask, is_target=True)
    >>> plan = pb.Plan(pb.Series(np.zeros((8, 8, 8)), (10, 10, 10), (0, 0, 0), [target]), number_of_fractions=2)
    >>> beams = [plan.add_beam(gantry_angle=angle) for angle in (0.0, 90.0)]
    >>> _ = plan.compute_dose_influence(beamlet_spacing_mm=20.0, margin_mm=0.0, progress=False)
    >>> ct, rois, photon_plan = plan.to_opentps()
    >>> objectives = [(rois["PTV"], pb.KLDivergenceTerm(dose_range=(3.8, 4.2)))]
    >>> _, result = pb.optimize_photon_plan(photon_plan, ct, objectives, progress=False, return_result=True)
    >>> result.success
    True
    >>> photon_plan.beamletMUs.shape == result.beamlet_weights.shape
    True
    """
    validate_photon_plan(photon_plan)
    grid = voxel_grid(ct)
    terms = plan_terms(photon_plan, objectives, grid)
    _check_structures([structure for structure, _ in terms], grid)
    if initial_weights is not None:
        checked_mu(initial_weights, layout_from_opentps(photon_plan).n_beamlets, "initial_weights")
    influence = plan_influence(photon_plan, ct, grid, beamlets, {"progress": progress, **engine_options})
    optimizer = plan_with_terms(influence, terms, int(photon_plan.numberOfFractionsPlanned), settings)
    result = optimizer.optimize(
        initial_weights=initial_weights,
        callback=callback,
        max_iterations=max_iterations,
        tolerance=tolerance,
        progress=progress,
    )
    write_beamlet_mu(photon_plan, result.beamlet_weights)
    return (photon_plan, result) if return_result else photon_plan


def plan_with_terms(
    influence: DoseInfluence,
    terms: Iterable[tuple[Structure, ObjectiveTerm]],
    number_of_fractions: int,
    settings: OptimizerSettings | None = None,
) -> Any:
    """Optimiser of a plan that is asked for some terms.

    Parameters
    ----------
    influence : DoseInfluence
    terms : iterable of (Structure, ObjectiveTerm)
        The terms are copied, so they can be asked of another plan again.
    number_of_fractions : int
    settings : OptimizerSettings, optional
        If not given, those of `settings_for`.

    Returns
    -------
    PlanOptimizer
    """
    from opentps_brimstone.optimizer import PlanOptimizer

    terms = list(terms)
    structures = list({id(structure): structure for structure, _ in terms}.values())
    plan = Plan.from_influence(influence, structures, number_of_fractions=number_of_fractions)
    optimizer = PlanOptimizer(plan, settings or settings_for(terms))
    for structure, term in terms:
        own_term = copy.copy(term)
        own_term.structure = None
        optimizer.add_objective(structure=structure, objective=own_term)
    return optimizer


# ----------------------------------------------------------------------------------------------------- the terms


def plan_terms(photon_plan: Any, objectives: Any, grid: VoxelGrid) -> list[tuple[Structure, ObjectiveTerm]]:
    """Read what is asked of a plan as terms on structures.

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
        If objectives or ROIs are in error, naming thing and value, or none is on a target.
    """
    if objectives is None:
        return terms_from_objectives(photon_plan, grid)
    if hasattr(objectives, "fidObjList"):
        return terms_from_objectives(objectives, grid)
    pairs = list(objectives)
    if not pairs:
        raise ValueError("the list of objectives is empty")
    if not any(isinstance(pair, tuple | list) for pair in pairs):
        return terms_from_objectives(pairs, grid, photon_plan.planDesign)
    return _terms_of_pairs(pairs, target_names(photon_plan.planDesign), grid)


def _terms_of_pairs(pairs: list[Any], targets: list[str], grid: VoxelGrid) -> list[tuple[Structure, ObjectiveTerm]]:
    from opentps_brimstone.prescription import ObjectiveTerm

    for number, pair in enumerate(pairs):
        if not isinstance(pair, tuple | list) or len(pair) != 2 or not isinstance(pair[1], ObjectiveTerm):
            raise TypeError(
                f"objective {number} must be a pair (ROI or Structure, ObjectiveTerm) or all of them "
                f"FidObjective, got {pair!r}"
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


def _asks_for_dose(term: ObjectiveTerm) -> bool:
    """Whether a term wants the whole volume to get some dose."""
    from opentps_brimstone.prescription import KLDivergenceTerm

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


# ----------------------------------------------------------------------------------------------- the dose influence


def plan_influence(
    photon_plan: Any, ct: Any, grid: VoxelGrid, beamlets: Any, engine_options: dict[str, Any]
) -> DoseInfluence:
    """Take the doses of beamlets that are given, else those of the plan design if they fit, else compute them.

    Parameters
    ----------
    photon_plan : opentps PhotonPlan
    ct : opentps CTImage
    grid : VoxelGrid
        That of `ct`.
    beamlets : opentps SparseBeamlets or None
    engine_options : dict
        For `opentps_brimstone.engine.compute_beamlets`.

    Returns
    -------
    DoseInfluence

    Raises
    ------
    TypeError, ValueError
        If the beamlets given do not belong to the plan or the CT.
    EngineError
        If the dose engine fails.
    """
    if beamlets is not None:
        misfit = _misfit(beamlets, photon_plan, grid)
        if misfit:
            raise ValueError(f"the beamlets given {misfit}")
    else:
        beamlets = _beamlets_of_design(photon_plan, grid)
    if beamlets is None:
        from opentps_brimstone.engine import compute_beamlets

        beamlets = compute_beamlets(ct, photon_plan, **engine_options)
    return dose_influence_from_sparse_beamlets(beamlets, photon_plan, grid)


def _beamlets_of_design(photon_plan: Any, grid: VoxelGrid) -> Any:
    """Beamlets a plan design holds, if they fit."""
    design = photon_plan.planDesign
    beamlets = None if design is None else design.beamlets
    if beamlets is None or _misfit(beamlets, photon_plan, grid):
        return None
    return beamlets


def _misfit(beamlets: Any, photon_plan: Any, grid: VoxelGrid) -> str:
    """Say why beamlets do not belong to a plan on a grid; empty if they do."""
    theirs = grid_of_beamlets(beamlets)
    n_beamlets = layout_from_opentps(photon_plan).n_beamlets
    n_columns = beamlets.toSparseMatrix().shape[1]
    if n_columns != n_beamlets:
        return f"are {n_columns}, but the plan has {n_beamlets} beamlets"
    if theirs.shape != grid.shape:
        return f"are on a grid of {theirs.shape} voxels, but the CT has {grid.shape}"
    # OpenTPS exchanges the x and y spacing of the beamlets it computes.
    exchanged = (theirs.spacing_mm[1], theirs.spacing_mm[0], theirs.spacing_mm[2])
    if not any(np.allclose(spacing, grid.spacing_mm, atol=0.01) for spacing in (theirs.spacing_mm, exchanged)):
        return f"have voxels of {theirs.spacing_mm} mm, but those of the CT have {grid.spacing_mm} mm"
    if not np.allclose(theirs.origin_mm, grid.origin_mm, atol=0.01):
        return f"have their origin at {theirs.origin_mm} mm, but the CT has it at {grid.origin_mm} mm"
    return ""
