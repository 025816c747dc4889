"""Callbacks that end an optimization."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from opentps_brimstone._typing import FloatArray
from opentps_brimstone.optimization.callbacks.base import OptimizationCallback

if TYPE_CHECKING:
    from opentps_brimstone.evaluation import DVHGoal, GoalTable
    from opentps_brimstone.model.plan import Plan
    from opentps_brimstone.model.structure import Structure
    from opentps_brimstone.optimization.prescription import Prescription

__all__ = ["StopWhenGoalsMet", "TimeLimit"]


class StopWhenGoalsMet(OptimizationCallback):
    """Stops the optimization once its beamlet weights meet all goals.

    Goals are judged on the dose that the iteration's beamlet weights give in all voxels, at whatever level; the result
    therefore meets them, too.

    Parameters
    ----------
    goals : iterable of DVHGoal or str
        Such as "PTV D95% >= 50 Gy".
    structures : iterable of Structure, optional
        On the plan's dose grid; the plan's own by default.
    every : int
        Iterations from one look to the next; each costs one dose computation.

    Attributes
    ----------
    table : GoalTable or None
        Of the last look.

    Raises
    ------
    ValueError
        When there is no goal, or one is not understood; at the start of an optimization, when one is for a structure
        that is not there.

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
    >>> stop = pb.StopWhenGoalsMet(["PTV D95 >= 9 Gy"], every=1)
    >>> optimizer.optimize(callback=stop).message
    'stopped by the callback'
    >>> stop.table.all_met
    True
    """

    def __init__(
        self, goals: Iterable[DVHGoal | str], structures: Iterable[Structure] | None = None, *, every: int = 5
    ) -> None:
        from opentps_brimstone.evaluation import DVHGoal

        self.goals = [DVHGoal.parse(goal) if isinstance(goal, str) else goal for goal in goals]
        if not self.goals:
            raise ValueError("there is no goal to stop at")
        if int(every) != every or every < 1:
            raise ValueError(f"goals are judged every {every!r} iterations; it must be a whole number from 1")
        self.every = int(every)
        self.table: GoalTable | None = None
        self._given = None if structures is None else list(structures)
        self._structures: list[Structure] = self._given or []
        self._plan: Plan | None = None

    def on_start(self, plan: Plan, prescription: Prescription) -> None:  # noqa: ARG002
        """Find the structures of the goals."""
        self._plan, self.table = plan, None
        self._structures = list(plan.structures.values()) if self._given is None else self._given
        names = [structure.name for structure in self._structures]
        for goal in self.goals:
            if goal.structure not in names:
                raise ValueError(f"goal '{goal}' is for {goal.structure!r}; the structures are {', '.join(names)}")

    def on_iteration(
        self,
        iteration: int,
        level: int,  # noqa: ARG002
        cost: float,  # noqa: ARG002
        gradient_norm: float,  # noqa: ARG002
        beamlet_weights: FloatArray,
        dose: FloatArray,  # noqa: ARG002
    ) -> bool:
        """Judge the goals.

        Returns
        -------
        bool
            False once all are met.
        """
        if iteration % self.every:
            return True
        from opentps_brimstone.evaluation import evaluate

        if self._plan is None:
            raise ValueError("StopWhenGoalsMet was not told what is optimized: call on_start(plan, prescription) first")
        influence = self._plan.dose_influence
        whole = influence.dose(beamlet_weights, self._plan.number_of_fractions)
        self.table = evaluate(whole, self._structures, self.goals, grid=influence.grid)
        return not self.table.all_met


class TimeLimit(OptimizationCallback):
    """Stops the optimization at the first iteration that ends after some time.

    Parameters
    ----------
    seconds : float
        Wall time from the first iteration's start.

    Raises
    ------
    ValueError
        When the time is not positive.

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
        """Look at the clock.

        Returns
        -------
        bool
            False when the time is over.
        """
        return time.monotonic() - self._started < self.seconds
