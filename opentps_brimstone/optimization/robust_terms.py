"""Robust terms: terms whose costs in a plan's scenarios are combined."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from opentps_brimstone import _core
from opentps_brimstone.optimization.biology import channel_of, matrices_for
from opentps_brimstone.optimization.robustness import Robustness
from opentps_brimstone.optimization.terms import ObjectiveTerm

if TYPE_CHECKING:
    from opentps_brimstone.model.plan import Plan
    from opentps_brimstone.model.scenario import ScenarioInfluence

__all__ = ["SMOOTHING", "check_scenarios", "groups_of", "planned_term", "robust_term", "scenario_risk"]

SMOOTHING = 0.05
"""Of worst cases and CVaR: how close the costs of two scenarios are, as a share of the mean cost, if both count."""

Term = TypeVar("Term", bound=ObjectiveTerm)


def robust_term(term: Term, kind: str = "worst_case", *, alpha: float | None = None, group: str | None = None) -> Term:
    """Copy a term so that it is on a plan's scenarios and not only on the dose that is planned.

    Its cost is that of the term in every scenario of the plan, combined: the expected one, the worst one, or the
    conditional value at risk (CVaR), the mean cost of the worst scenarios with a total probability `alpha`
    (R. T. Rockafellar and S. Uryasev, J. Risk 2, 2000). The worst case looks at no probabilities. Worst case and CVaR
    are smoothed, so that searches do not stall where two scenarios change places: of n scenarios the worst case is too
    high by at most ``0.05 log(n)`` of the mean cost, a tenth for seven.

    Parameters
    ----------
    term : ObjectiveTerm
        Any term on dose, or on a quantity that follows from dose, such as ``eqd2``.
    kind : {"worst_case", "expected", "cvar"}
    alpha : float, optional
        Of ``"cvar"``, in (0, 1].
    group : str, optional
        Terms of the same group, which must have the same kind and alpha, are added up in every scenario before these
        are combined: the worst scenario is then the same for all of them. Default: a group of its own.

    Returns
    -------
    ObjectiveTerm
        Of the same class, on no structure yet.

    Raises
    ------
    TypeError
        If `term` is not an ObjectiveTerm.
    ValueError
        If the kind is unknown, or alpha is missing, out of its range or of another kind.

    Examples
    --------
    >>> import opentps_brimstone as pb
    >>> pb.robust_term(pb.MinimumDoseTerm(50.0), "cvar", alpha=0.25)
    MinimumDoseTerm(50, weight=3000, cvar over scenarios, alpha=0.25)
    """
    if not isinstance(term, ObjectiveTerm):
        raise TypeError(f"{term!r} is not an objective; it must be an ObjectiveTerm, such as KLDivergenceTerm")
    robust = copy.copy(term)
    robust.structure, robust.robustness = None, Robustness(kind, alpha, group)
    return robust


def planned_term(term: Term) -> Term:
    """Copy a robust term so that it is on the dose that is planned alone; give any other one as it is."""
    if term.robustness is None:
        return term
    planned = copy.copy(term)
    planned.robustness = None
    return planned


def check_scenarios(plan: Plan, objectives: Sequence[ObjectiveTerm]) -> tuple[ScenarioInfluence, ...]:
    """Give the scenarios that robust terms are on; none if no term is robust.

    Raises
    ------
    ValueError
        If the plan has no scenarios, has dose that is known only as planned, a term is on a quantity that needs more
        than dose or on a structure that scenarios have no doses in, or terms of one group are combined in different
        ways.
    """
    robust = [term for term in objectives if term.robustness is not None]
    if not robust:
        return ()
    if all(each.scenario.is_nominal for each in plan.scenarios):
        has = "only the nominal one" if plan.scenarios else "none"
        raise ValueError(f"{robust[0]!r} is on scenarios, and the plan has {has}: call its compute_scenarios")
    if plan.intermediate_dose is not None or plan.dose_influence.whole_dose is not None:
        raise ValueError(
            f"{robust[0]!r} is on scenarios, and the plan has an intermediate dose, which is known only as planned: "
            "set it to None, and compute the dose influence with scatter='opentps'"
        )
    for term in objectives:
        further = matrices_for([channel_of(term, plan)])
        if further:
            raise ValueError(
                f"{term!r} needs the plan's {' and '.join(further)}, which are not known in the scenarios that "
                f"{robust[0]!r} is on: take a quantity that follows from dose"
            )
    for term in robust:
        _check_kept(term, plan.scenarios)
    groups_of(objectives)
    return plan.scenarios


def _check_kept(term: ObjectiveTerm, scenarios: Sequence[ScenarioInfluence]) -> None:
    name = "" if term.structure is None else term.structure.name
    for each in scenarios:
        if each.structures is not None and name not in each.structures:
            raise ValueError(
                f"{term!r} is on scenarios of {name!r}, and those of the plan have doses in "
                f"{', '.join(each.structures)} alone: name it in structures= of compute_scenarios"
            )


def groups_of(objectives: Sequence[ObjectiveTerm]) -> tuple[list[Robustness], list[int | None]]:
    """Find the groups of robust terms, and the number of each term's; None: the term is not robust."""
    groups: list[Robustness] = []
    number: dict[str, int] = {}
    of_term: list[int | None] = []
    for term in objectives:
        own = term.robustness
        if own is None:
            of_term.append(None)
        elif own.group in number:
            known = groups[number[own.group]]
            if known != own:
                raise ValueError(
                    f"terms of the group {own.group!r} are combined in different ways: {_described(known)} and "
                    f"{_described(own)}"
                )
            of_term.append(number[own.group])
        else:
            of_term.append(len(groups))
            groups.append(own)
            if own.group is not None:
                number[own.group] = of_term[-1] or 0
    return groups, of_term


def scenario_risk(robustness: Robustness, scenarios: Sequence[ScenarioInfluence]) -> _core.ScenarioRisk:
    """Tell the core how to combine the costs of scenarios."""
    given = np.array([each.scenario.probability for each in scenarios])
    # The worst case is that of all scenarios, however rare.
    chances = np.ones(len(given)) if robustness.kind == "worst_case" else given
    return _core.ScenarioRisk(probability=chances / chances.sum(), tail=robustness.tail, smoothing=SMOOTHING)


def _described(robustness: Robustness) -> str:
    return robustness.kind if robustness.alpha is None else f"{robustness.kind}, alpha={robustness.alpha:g}"
