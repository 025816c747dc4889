"""Optimization of terms whose limits decide the plan, with regard to the voxels that miss these by most.

OpenTPS's objectives weigh the mean of the squares of what is beyond a limit. Where limits contradict each other, the
voxel that misses a limit by most hardly counts in such a mean, and yet it is what a maximum or minimum dose is judged
by. So a plan that misses limits is optimized once more, from its own weights, with guards just inside its worst voxels.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from opentps_brimstone.optimization.for_terms import limits_decide, plan_with_terms
from opentps_brimstone.optimization.terms import MaximumDoseTerm, MinimumDoseTerm

if TYPE_CHECKING:
    from opentps_brimstone._typing import FloatArray
    from opentps_brimstone.model.influence import DoseInfluence
    from opentps_brimstone.model.structure import Structure
    from opentps_brimstone.optimization.result import OptimizationResult
    from opentps_brimstone.optimization.settings import OptimizerSettings
    from opentps_brimstone.optimization.terms import ObjectiveTerm

__all__ = ["guards_of_worst_voxels", "optimize_terms"]

Terms = Sequence[tuple["Structure", "ObjectiveTerm"]]

_SHARE_OF_MISS = 0.95  # where a guard begins: the worst voxels are those within 5 % of the worst miss
_HEAVIER = 10.0  # than the heaviest limit, for a single voxel
_LEAST_MISS = 1e-3  # of a limit


def optimize_terms(
    influence: DoseInfluence,
    terms: Terms,
    number_of_fractions: int,
    settings: OptimizerSettings | None = None,
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
    **run
        As for `PlanOptimizer.optimize`.

    Returns
    -------
    OptimizationResult
        Iterations, times and history are those of both runs.
    """
    first = plan_with_terms(influence, terms, number_of_fractions, settings).optimize(**run)
    if settings is not None or not first.success or not limits_decide([term for _, term in terms]):
        return first
    guards = guards_of_worst_voxels(terms, first.dose)
    if not guards:
        return first
    optimizer = plan_with_terms(influence, [*terms, *guards], number_of_fractions)
    return _joined(first, optimizer.optimize(**{**run, "initial_weights": first.beamlet_weights}))


def guards_of_worst_voxels(terms: Terms, dose: FloatArray) -> list[tuple[Structure, ObjectiveTerm]]:
    """Limit the worst voxels of every maximum and minimum dose that a plan misses to a little less than they miss it.

    Parameters
    ----------
    terms : sequence of (Structure, ObjectiveTerm)
    dose : ndarray, shape (nx, ny, nz)
        Of the plan, Gy.

    Returns
    -------
    list of (Structure, ObjectiveTerm)
        A voxel counts as much in one as in any other.
    """
    limits = [(structure, term) for structure, term in terms if isinstance(term, MaximumDoseTerm | MinimumDoseTerm)]
    volumes = [float(structure.share.sum()) for structure, _ in limits]
    heaviest = max((term.weight / volume for (_, term), volume in zip(limits, volumes, strict=True)), default=0.0)
    guards: list[tuple[Structure, ObjectiveTerm]] = []
    for (structure, term), volume in zip(limits, volumes, strict=True):
        doses = dose[structure.share > 0]
        worst = float(doses.max() if isinstance(term, MaximumDoseTerm) else doses.min())
        miss = worst - term.limit_gy if isinstance(term, MaximumDoseTerm) else term.limit_gy - worst
        if miss > _LEAST_MISS * term.limit_gy:
            limit = term.limit_gy + _SHARE_OF_MISS * (worst - term.limit_gy)
            guards.append((structure, type(term)(limit, weight=_HEAVIER * heaviest * volume)))
    return guards


def _joined(first: OptimizationResult, second: OptimizationResult) -> OptimizationResult:
    history = {name: [*values, *second.convergence_history[name]] for name, values in first.convergence_history.items()}
    return dataclasses.replace(
        second,
        iterations=first.iterations + second.iterations,
        time_s=first.time_s + second.time_s,
        preparation_s=first.preparation_s + second.preparation_s,
        convergence_history={**history, "iteration": list(np.arange(1, len(history["cost"]) + 1))},
    )
