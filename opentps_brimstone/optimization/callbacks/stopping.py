"""Callbacks that end an optimization."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from opentps_brimstone._typing import FloatArray
from opentps_brimstone.evaluation import as_goals, evaluate
from opentps_brimstone.optimization.callbacks.base import OptimizationCallback

if TYPE_CHECKING:
    from opentps_brimstone.evaluation import DVHGoal, GoalTable, PrescribedDose
    from opentps_brimstone.model.plan import Plan
    from opentps_brimstone.model.structure import Structure
    from opentps_brimstone.optimization.prescription import Prescription

__all__ = ["StopWhenGoalsMet", "TimeLimit"]


class StopWhenGoalsMet(OptimizationCallback):
    """Stops the optimization once its beamlet weights meet all goals.

    Goals are judged at every level by the dose of the iteration's beamlet weights in all voxels, so the result meets
    them, too.

    Parameters
    ----------
    goals : iterable of DVHGoal or str
        Such as "PTV D95% >= 50 Gy".
    structures : iterable of Structure, optional
        On the plan's dose grid. Default: the plan's own.
    every : int
        Iterations from one judgment to the next; each costs one dose computation.

    Attributes
    ----------
    table : GoalTable or None
        Of the last judgment.

    Raises
    ------
    ValueError
        If there are no goals, or one is not understood; at the start of an optimization, if one is for an unknown
        structure.

    Examples
    --------
    >>> import opentps_brimstone as pb
    >>> from opentps_brimstone.optimization.example import three_voxel_optimizer
    >>> optimizer = three_voxel_optimizer()  # of a target that is to get 9 to 11 Gy
    >>> stop = pb.StopWhenGoalsMet(["PTV D95 >= 9 Gy"], every=1)
    >>> optimizer.optimize(callback=stop).message
    'stopped by the callback'
    >>> stop.table.all_met
    True
    """

    def __init__(
        self,
        goals: Iterable[DVHGoal | str],
        structures: Iterable[Structure] | None = None,
        *,
        every: int = 5,
        prescribed_dose: PrescribedDose | None = None,
    ) -> None:
        self.goals = as_goals(goals, prescribed_dose=prescribed_dose, of_dose=True)
        if not self.goals:
            raise ValueError("there are no goals to stop at")
        if int(every) != every or every < 1:
            raise ValueError(f"goals are judged every {every!r} iterations; it must be a whole number from 1")
        self.every = int(every)
        self.table: GoalTable | None = None
        self._given = None if structures is None else list(structures)
        self._structures: list[Structure] = []
        self._plan: Plan | None = None

    def on_start(self, plan: Plan, prescription: Prescription) -> None:  # noqa: ARG002
        """Find the structures of the goals."""
        self._plan, self.table = plan, None
        self._structures = list(plan.structures) if self._given is None else self._given
        as_goals(self.goals, [structure.name for structure in self._structures])

    def on_iteration(
        self,
        iteration: int,
        level: int,  # noqa: ARG002
        cost: float,  # noqa: ARG002
        gradient_norm: float,  # noqa: ARG002
        beamlet_weights: FloatArray,
        dose: FloatArray,  # noqa: ARG002
    ) -> bool:
        """Judge the goals; False once all are met."""
        if iteration % self.every:
            return True
        if self._plan is None:
            raise ValueError("StopWhenGoalsMet was not told what is optimized: call on_start(plan, prescription) first")
        grid, fractions = self._plan.grid, self._plan.number_of_fractions
        whole = self._plan.dose_of(beamlet_weights)
        self.table = evaluate(whole, self._structures, self.goals, grid=grid, number_of_fractions=fractions)
        return not self.table.all_met


class TimeLimit(OptimizationCallback):
    """Stops the optimization at the first iteration that ends after a time limit.

    Parameters
    ----------
    seconds : float
        Wall time from the first iteration's start.

    Raises
    ------
    ValueError
        If the time is not positive.

    Examples
    --------
    >>> limit = TimeLimit(30.0)  # then: optimizer.optimize(callback=limit)
    >>> limit.on_iteration()
    True
    """

    def __init__(self, seconds: float) -> None:
        if not seconds > 0:
            raise ValueError(f"the time limit is {seconds} s; it must be positive")
        self.seconds = float(seconds)
        self._started = time.monotonic()

    def on_start(self, plan: Plan, prescription: Prescription) -> None:  # noqa: ARG002
        """Start the clock."""
        self._started = time.monotonic()

    def on_iteration(self, *_: object, **__: object) -> bool:
        """Return False once the time is over."""
        return time.monotonic() - self._started < self.seconds
