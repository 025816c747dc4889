"""Terms that ask for what a goal asks for."""

from __future__ import annotations

from typing import Any

from opentps_brimstone.evaluation import DVHGoal
from opentps_brimstone.optimization.objectives import DVHLimitTerm, EUDTerm
from opentps_brimstone.optimization.terms import MaximumDoseTerm, MeanDoseTerm, MinimumDoseTerm, ObjectiveTerm

__all__ = ["goal_term"]


def goal_term(goal: DVHGoal, inside: float, weight: float, volume_cc: float) -> ObjectiveTerm | None:
    """Make a term for a goal, some way inside it.

    Parameters
    ----------
    goal : DVHGoal
    inside : float
        Share of the goal's value by which the term asks for more.
    weight : float
    volume_cc : float
        Of the structure, in cm³.

    Returns
    -------
    ObjectiveTerm or None
        None for goals that no term is for: those of 0, and indices of conformity and homogeneity.

    Examples
    --------
    >>> goal_term(DVHGoal.parse("PTV D95 >= 50 Gy"), 0.01, 100.0, volume_cc=80.0)
    DVHLimitTerm(dose_gy=50.5, minimum=True, volume=0.95, weight=100)
    >>> goal_term(DVHGoal.parse("Cord D2cc <= 40 Gy"), 0.01, 100.0, volume_cc=20.0).volume
    0.1
    """
    lower, metric = goal.is_lower_bound, goal.metric
    limit = goal.value * (1 + inside if lower else 1 - inside)
    if limit <= 0:
        return None
    options: dict[str, Any] = {"weight": weight, "quantity": goal.quantity, "alpha_beta": goal.alpha_beta}
    if metric.number is None:
        return _of_all_voxels(metric.name, limit, lower=lower, options=options)
    if metric.kind == "D":
        whole = volume_cc if metric.needs_voxel_volume else 100.0
        return DVHLimitTerm(limit, min(metric.number / whole, 1.0), minimum=lower, **options)
    if metric.kind == "V" and metric.number > 0:
        whole = volume_cc if metric.needs_voxel_volume else 100.0
        return DVHLimitTerm(metric.number, min(limit / whole, 1.0), minimum=lower, **options)
    return None


def _of_all_voxels(name: str, limit: float, *, lower: bool, options: dict[str, Any]) -> ObjectiveTerm | None:
    if name == "Dmean":
        return EUDTerm(limit, 1.0, minimum=True, **options) if lower else MeanDoseTerm(limit, **options)
    if name == "Dmax" and not lower:
        return MaximumDoseTerm(limit, **options)
    if name == "Dmin" and lower:
        return MinimumDoseTerm(limit, **options)
    return None
