"""Terms of the plans of an ensemble."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from opentps_brimstone.evaluation import DVHGoal
from opentps_brimstone.goal_planning.from_goals import prescription_from_goals
from opentps_brimstone.optimization.terms import ObjectiveTerm

if TYPE_CHECKING:
    from opentps_brimstone.model.plan import Plan

__all__ = ["as_terms"]


def as_terms(plan: Plan, objectives: Iterable[Any]) -> list[tuple[str, ObjectiveTerm]]:
    """Read objectives: terms with structures or their names, or goals, of which terms are made."""
    given = list(objectives)
    if not given:
        raise ValueError("there are no objectives")
    if all(isinstance(each, DVHGoal | str) for each in given):
        made = prescription_from_goals(plan.structures, given, plan.grid, number_of_fractions=plan.number_of_fractions)
        return [(structure.name, term) for structure, term in made]
    terms = []
    for each in given:
        if not isinstance(each, tuple) or len(each) != 2 or not isinstance(each[1], ObjectiveTerm):
            raise TypeError(f"{each!r} is not an objective; it must be (structure, term), and all of them, or a goal")
        structure, term = each
        own = plan.structures[structure] if isinstance(structure, str) else plan.own_structure(structure)
        terms.append((own.name, term))
    return terms
