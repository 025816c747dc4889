"""One variant, run in a worker."""

from __future__ import annotations

import time
import traceback
from dataclasses import dataclass, field
from typing import Any

from opentps_brimstone._typing import FloatArray
from opentps_brimstone.ensembles.variants import Task
from opentps_brimstone.optimization.optimizer import PlanOptimizer

__all__ = ["Outcome", "solve"]


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
    started = time.perf_counter()
    variant = task.variant
    try:
        plan = task.files.plan(variant.structures, share_core=task.share_core)
        optimizer = PlanOptimizer(plan, variant.settings)
        for name, term in variant.objectives:
            optimizer.add_objective(plan.structures[name], term)
        found = optimizer.optimize(variant.initial_weights, beams=variant.beams)
    except Exception as error:  # whatever it is, it concerns this variant alone
        return Outcome.failed(error)
    return Outcome(
        beamlet_weights=found.beamlet_weights,
        success=found.success,
        message=found.message,
        final_cost=found.final_cost,
        iterations=found.iterations,
        convergence_history=found.convergence_history,
        time_s=time.perf_counter() - started,
    )
