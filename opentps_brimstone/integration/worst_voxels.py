"""Optimization of terms whose limits decide the plan, with regard to the voxels that miss these by most.

OpenTPS's objectives weigh the mean of the squares of what is beyond a limit. Where limits contradict each other, the
voxel that misses a limit by most hardly counts in such a mean, and yet it is what a maximum or minimum dose is judged
by. So a plan that misses limits is optimized once more, from its own weights, with guards just inside its worst voxels.
"""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from opentps_brimstone.optimization.for_terms import limits_decide, plan_with_terms
from opentps_brimstone.optimization.objectives import DVHLimitTerm
from opentps_brimstone.optimization.terms import KLDivergenceTerm, MaximumDoseTerm, MinimumDoseTerm

if TYPE_CHECKING:
    from opentps_brimstone._typing import FloatArray
    from opentps_brimstone.model.influence import DoseInfluence
    from opentps_brimstone.model.scenario import Scenario
    from opentps_brimstone.model.structure import Structure
    from opentps_brimstone.optimization.optimizer import PlanOptimizer
    from opentps_brimstone.optimization.result import OptimizationResult
    from opentps_brimstone.optimization.settings import OptimizerSettings
    from opentps_brimstone.optimization.terms import ObjectiveTerm

__all__ = ["guards_of_worst_voxels", "optimize_guarded", "optimize_terms"]

Terms = Sequence[tuple["Structure", "ObjectiveTerm"]]

_Limit = MaximumDoseTerm | MinimumDoseTerm | DVHLimitTerm

# How far inside the worst miss a guard begins: a share of the miss, but for single voxels not more than a share of the
# highest target dose, as else a limit of little weight that is missed by far would take dose out of targets.
_INSIDE = 0.2
_FARTHEST_INSIDE = 0.02
_INSIDE_AT_VOLUME = 0.3  # OpenTPS's penalty of these has local minima
_HEAVIER = 10.0  # than the heaviest limit, for a single voxel
_LEAST_MISS = 1e-3  # of a limit


def optimize_terms(
    influence: DoseInfluence,
    terms: Terms,
    number_of_fractions: int,
    settings: OptimizerSettings | None = None,
    *,
    scenarios: Sequence[tuple[Scenario, DoseInfluence | None]] = (),
    **run: Any,
) -> OptimizationResult:
    """Find the beamlet weights for given terms.

    Parameters
    ----------
    influence : DoseInfluence
    terms : sequence of (Structure, ObjectiveTerm)
        Not changed.
    number_of_fractions : int
    settings : OptimizerSettings, optional
        By default those that suit the terms; worst voxels are then guarded in a second run.
    scenarios : sequence of (Scenario, DoseInfluence or None)
        That robust terms are on, as for `Plan.set_scenarios`.
    **run
        As for `PlanOptimizer.optimize`.

    Returns
    -------
    OptimizationResult
        Iterations, times and history are those of both runs.
    """
    make = partial(plan_with_terms, influence, number_of_fractions=number_of_fractions, scenarios=scenarios)
    if settings is not None:
        return make(terms, settings=settings).optimize(**run)
    return optimize_guarded(make, terms, **run)


def optimize_guarded(make: Callable[[Terms], PlanOptimizer], terms: Terms, **run: Any) -> OptimizationResult:
    """Optimize terms, and once more with guards of worst voxels if limits decide and are missed.

    Parameters
    ----------
    make : callable
        Makes the optimizer of given terms, with settings that suit these.
    terms : sequence of (Structure, ObjectiveTerm)
    **run
        As for `PlanOptimizer.optimize`.

    Returns
    -------
    OptimizationResult
        As that of `optimize_terms`.
    """
    optimizer = make(terms)
    first = optimizer.optimize(**run)
    most = run.get("max_iterations") or optimizer.settings.max_iterations
    was_stopped = not first.success and first.iterations < most
    if was_stopped or not limits_decide([term for _, term in terms]):
        return first
    guards = guards_of_worst_voxels(terms, first.dose)
    if not guards:
        return first
    return _joined(first, make([*terms, *guards]).optimize(**{**run, "initial_weights": first.beamlet_weights}))


def guards_of_worst_voxels(terms: Terms, dose: FloatArray) -> list[tuple[Structure, ObjectiveTerm]]:
    """Limit the worst voxels of every limit that a plan misses to a little less than they miss it.

    Parameters
    ----------
    terms : sequence of (Structure, ObjectiveTerm)
        With a target DVH. Limits of robust terms, which are on other doses too, are left as they are.
    dose : ndarray, shape (nx, ny, nz)
        Of the plan, Gy.

    Returns
    -------
    list of (Structure, ObjectiveTerm)
        A voxel counts as much in one as in any other.
    """
    reference_gy = max(float(term.dvh[-1, 0]) for _, term in terms if isinstance(term, KLDivergenceTerm))
    limits = [(s, term) for s, term in terms if isinstance(term, _Limit) and term.robustness is None]
    stiffness = [
        term.weight / _unit_gy(term, reference_gy) ** 2 / float(structure.share.sum()) for structure, term in limits
    ]
    guards: list[tuple[Structure, ObjectiveTerm]] = []
    for structure, term in limits:
        guard = _guard(term, _worst_dose(term, structure, dose), _FARTHEST_INSIDE * reference_gy)
        if guard is not None:
            unit_gy = _unit_gy(guard, reference_gy)
            guard.weight = _HEAVIER * max(stiffness) * unit_gy**2 * float(structure.share.sum())
            guards.append((structure, guard))
    return guards


def _guard(term: _Limit, worst_gy: float, farthest_gy: float) -> _Limit | None:
    """Begin a guard inside the worst dose; None if that is within the limit."""
    limit_gy = _limit_gy(term)
    miss = worst_gy - limit_gy
    if (-miss if _is_minimum(term) else miss) <= _LEAST_MISS * limit_gy:
        return None
    guard = copy.copy(term)
    if isinstance(guard, DVHLimitTerm):
        guard.dose_gy += (1.0 - _INSIDE_AT_VOLUME) * miss
    else:
        guard.limit_gy += miss - math.copysign(min(_INSIDE * abs(miss), farthest_gy), miss)
    return guard


def _limit_gy(term: _Limit) -> float:
    return term.dose_gy if isinstance(term, DVHLimitTerm) else term.limit_gy


def _is_minimum(term: _Limit) -> bool:
    return term.minimum if isinstance(term, DVHLimitTerm) else isinstance(term, MinimumDoseTerm)


def _unit_gy(term: _Limit, reference_gy: float) -> float:
    """Dose in whose units a term counts."""
    return term.dose_gy if isinstance(term, DVHLimitTerm) else reference_gy


def _worst_dose(term: _Limit, structure: Structure, dose: FloatArray) -> float:
    """Dose farthest beyond a limit, of the voxels that may not be beyond it."""
    inside = structure.share > 0
    doses = dose[inside] if _is_minimum(term) else -dose[inside]
    order = np.argsort(doses, kind="stable")
    may = (1.0 - term.volume if term.minimum else term.volume) if isinstance(term, DVHLimitTerm) else 0.0
    beyond = np.cumsum(structure.share[inside][order]) / structure.share.sum()
    number = min(int(np.searchsorted(beyond, may * (1 + 1e-9), side="right")), len(order) - 1)
    return float(dose[inside][order[number]])


def _joined(first: OptimizationResult, second: OptimizationResult) -> OptimizationResult:
    history = {name: [*values, *second.convergence_history[name]] for name, values in first.convergence_history.items()}
    return dataclasses.replace(
        second,
        iterations=first.iterations + second.iterations,
        time_s=first.time_s + second.time_s,
        preparation_s=first.preparation_s + second.preparation_s,
        convergence_history={**history, "iteration": list(np.arange(1, len(history["cost"]) + 1))},
    )
