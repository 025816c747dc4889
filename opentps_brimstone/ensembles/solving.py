"""One variant, run in a worker."""

from __future__ import annotations

import time
import traceback
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from opentps_brimstone._typing import FloatArray
from opentps_brimstone.ensembles.variants import Task, Variant
from opentps_brimstone.optimization.optimizer import PlanOptimizer

if TYPE_CHECKING:
    from opentps_brimstone.model.plan import Plan

__all__ = ["Outcome", "outcome_of", "solve"]


@dataclass(frozen=True)
class Outcome:
    """What a worker sends back: a result, or the reason why there is none.

    Attributes are those of `VariantResult`.
    """

    beamlet_weights: FloatArray | None = None
    success: bool = False
    message: str = ""
    final_cost: float = float("nan")
    iterations: int = 0
    convergence_history: dict[str, list[Any]] = field(default_factory=dict)
    time_s: float = 0.0
    error: str | None = None
    traceback: str = ""

    @classmethod
    def failed(cls, error: BaseException) -> Outcome:
        """Tell of an exception."""
        text = "".join(traceback.format_exception(error))
        return cls(error=f"{type(error).__name__}: {error}", traceback=text)


def solve(task: Task) -> Outcome:
    """Optimize a variant of a plan whose files lie on this host.

    Parameters
    ----------
    task : Task

    Returns
    -------
    Outcome
        Of an error, too; only the end of the process loses it.
    """
    try:
        plan = task.files.plan(task.variant.structures, share_core=task.share_core)
        return outcome_of(plan, task.variant)
    except Exception as error:  # whatever it is, it concerns this variant alone
        return Outcome.failed(error)


def outcome_of(plan: Plan, variant: Variant) -> Outcome:
    """Optimize a variant of a plan, whose beamlet weights are set."""
    started = time.perf_counter()
    optimizer = PlanOptimizer(plan, variant.settings)
    for name, term in variant.objectives:
        optimizer.add_objective(plan.structures[name], term)
    found = optimizer.optimize(variant.initial_weights, beams=variant.beams)
    return Outcome(
        beamlet_weights=found.beamlet_weights,
        success=found.success,
        message=found.message,
        final_cost=found.final_cost,
        iterations=found.iterations,
        convergence_history=found.convergence_history,
        time_s=time.perf_counter() - started,
    )
