"""Terms that hold segments to the dose of their fluence.

A planner that works in rounds sets unattainable objectives, and normalizes and mixes its plans: its last prescription
does not describe its plan. The DVHs of the plan's own dose do, together with the goals that it meets.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from opentps_brimstone._typing import FloatArray
from opentps_brimstone.evaluation import DVHGoal, cumulative_dvh
from opentps_brimstone.optimization.objectives import DVHLimitTerm
from opentps_brimstone.optimization.terms import KLDivergenceTerm, ObjectiveTerm

if TYPE_CHECKING:
    from opentps_brimstone.model.structure import Structure

__all__ = ["terms_of_dose"]

_POINTS = 200
_TARGET_WEIGHT = 5.0
# A DVH term alone does not resolve the last tenths of a percent by which a goal is met.
_GOAL_WEIGHT = 1e5
_INSIDE_GOAL = 0.002


def terms_of_dose(
    structures: Iterable[Structure],
    dose: npt.ArrayLike,
    goals: Iterable[DVHGoal] = (),
    number_of_fractions: int | None = None,
) -> list[tuple[Structure, ObjectiveTerm]]:
    """Make terms for the DVHs of a dose in Gy, and for the goals that it meets.

    There is a `KLDivergenceTerm` for each structure with dose, those of targets weighing more, and a `DVHLimitTerm` for
    each goal for the dose of a percentage of the volume, such as D95, on the quantity of the goal; other goals are left
    to the DVHs. Goals of EQD2, BED or effect need the number of fractions.
    """
    values = np.asarray(dose, dtype=np.float64)
    dosed = {structure.name: structure for structure in structures if values[structure.share > 0].max(initial=0.0) > 0}
    terms: list[tuple[Structure, ObjectiveTerm]] = []
    for structure in dosed.values():
        weight = _TARGET_WEIGHT if structure.is_target else 1.0
        terms.append((structure, KLDivergenceTerm(dvh=_points(values, structure.share), weight=weight)))
    for goal in goals:
        if goal.structure in dosed:
            structure = dosed[goal.structure]
            volume = _volume(goal)
            if volume is None:
                continue
            if goal.is_met(goal.value_of(values, structure, number_of_fractions=number_of_fractions)):
                inside = 1 + _INSIDE_GOAL if goal.is_lower_bound else 1 - _INSIDE_GOAL
                held = DVHLimitTerm(
                    goal.value * inside,
                    volume,
                    minimum=goal.is_lower_bound,
                    weight=_GOAL_WEIGHT,
                    quantity=goal.quantity,
                    alpha_beta=goal.alpha_beta,
                )
                terms.append((structure, held))
    return terms


def _points(dose: FloatArray, share: FloatArray) -> list[tuple[float, float]]:
    """Points of the DVH of a structure."""
    axis = np.linspace(0.0, float(dose[share > 0].max()) * (1 + 1 / _POINTS), _POINTS)
    volumes = cumulative_dvh(dose, share, axis)
    between = zip(axis[1:-1].tolist(), volumes[1:-1].tolist(), strict=True)
    return [(0.0, 1.0), *between, (float(axis[-1]), 0.0)]


def _volume(goal: DVHGoal) -> float | None:
    """Volume share of a goal such as D95; None for other goals."""
    metric = goal.metric
    if metric.kind != "D" or metric.number is None or metric.needs_voxel_volume or goal.value <= 0:
        return None
    return metric.number / 100
