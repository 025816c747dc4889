"""What plans are compared by: metrics of structures, of which more or less is better."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from opentps_brimstone._typing import BoolArray, FloatArray
from opentps_brimstone.evaluation import DVHGoal, as_goals, voxel_volume_cc
from opentps_brimstone.model.plan import Plan

__all__ = ["Criterion", "checked_criteria", "default_criteria", "non_dominated"]


@dataclass(frozen=True)
class Criterion:
    """A metric of a structure's dose.

    Attributes
    ----------
    goal : DVHGoal
        Its metric, and whether more is better. Its value does not matter.
    """

    goal: DVHGoal

    @property
    def name(self) -> str:
        """Structure and metric."""
        return f"{self.goal.structure} {self.goal.metric_name}"

    @property
    def label(self) -> str:
        """Name with the unit."""
        unit = self.goal.unit
        return f"{self.name} ({unit})" if unit else self.name

    @property
    def sign(self) -> float:
        """1 if less is better, -1 if more is."""
        return -1.0 if self.goal.is_lower_bound else 1.0

    def value(self, plan: Plan, dose: FloatArray) -> float:
        """Value for a dose of the plan."""
        structure = plan.structures[self.goal.structure]
        return self.goal.value_of(dose, structure, voxel_volume_cc(plan.grid), plan.number_of_fractions)


def checked_criteria(plan: Plan, given: Iterable[DVHGoal | str]) -> tuple[Criterion, ...]:
    """Read criteria: goals, or a structure and a metric, of which more is better in targets and less in others."""
    made = tuple(Criterion(each if isinstance(each, DVHGoal) else _read(plan, each)) for each in given)
    if len(made) < 2:
        raise ValueError(f"a trade-off needs at least two criteria, not {len(made)}")
    as_goals([criterion.goal for criterion in made], of_dose=True)
    for criterion in made:
        plan.own_structure(plan.structures[criterion.goal.structure])
    return made


def default_criteria(plan: Plan, structures: Sequence[str]) -> list[str]:
    """Dose of 95 % of each target, and mean doses of the others."""
    return [f"{name} D95" if plan.structures[name].is_target else f"{name} Dmean" for name in structures]


def _read(plan: Plan, text: str) -> DVHGoal:
    if any(relation in text for relation in "<>≤≥"):
        return DVHGoal.parse(text)
    name = text.rpartition(" ")[0]
    known = plan.structures.get(name)
    relation = ">=" if known is not None and known.is_target else "<="
    return DVHGoal.parse(f"{text} {relation} 0")


def non_dominated(values: FloatArray) -> BoolArray:
    """Find the rows that no other row is better than.

    Parameters
    ----------
    values : ndarray, shape (n, k)
        Less is better in each column.

    Returns
    -------
    ndarray of bool, shape (n,)
        Of equal rows, the first alone.

    Examples
    --------
    >>> non_dominated(np.array([[1.0, 2.0], [2.0, 1.0], [2.0, 2.0], [1.0, 2.0]])).tolist()
    [True, True, False, False]
    """
    no_worse = (values[:, None] <= values[None]).all(axis=2)
    equal = no_worse & no_worse.T
    first = np.tril(equal, -1).any(axis=1)
    kept: BoolArray = ~((no_worse & ~equal).any(axis=0) | first)
    return kept
