"""What to ask of segments so that they keep the dose of the fluence they are made of.

A planner that works in rounds asks for more than can be had, and normalizes and mixes what it finds: its last
prescription does not describe its plan. The DVHs of the plan's own dose do, together with the goals that it meets.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from opentps_brimstone._typing import FloatArray
from opentps_brimstone.evaluation import DVHGoal, cumulative_dvh
from opentps_brimstone.goal_planning.from_goals import is_lower
from opentps_brimstone.optimization.objectives import DVHLimitTerm
from opentps_brimstone.optimization.terms import KLDivergenceTerm, ObjectiveTerm

if TYPE_CHECKING:
    from opentps_brimstone.model.structure import Structure

__all__ = ["terms_of_dose"]


_POINTS = 200
_TARGET_WEIGHT = 5.0
# A goal that is met by so little has to be held: a DVH term alone does not see the last tenths of a percent.
_GOAL_WEIGHT = 1e5
_INSIDE_GOAL = 0.002


def terms_of_dose(
    structures: Iterable[Structure], dose: npt.ArrayLike, goals: Iterable[DVHGoal] = ()
) -> list[tuple[Structure, ObjectiveTerm]]:
    """Ask for the DVHs that a dose has, and to hold the goals that it meets.

    Parameters
    ----------
    structures : iterable of Structure
        Those that get no dose are left out.
    dose : array_like, shape (nx, ny, nz)
        Gy, on the structures' grid.
    goals : iterable of DVHGoal, optional
        Those for the dose of a percentage of the volume, such as D95, are held; of the others the DVHs take care.

    Returns
    -------
    list of (Structure, ObjectiveTerm)
        A `KLDivergenceTerm` for each structure, those of targets weighing more, and a `DVHLimitTerm` for each goal.
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
            if volume is not None and goal.is_met(goal.metric(values, structure.share)):
                inside = 1 + _INSIDE_GOAL if is_lower(goal) else 1 - _INSIDE_GOAL
                held = DVHLimitTerm(goal.value * inside, volume, minimum=is_lower(goal), weight=_GOAL_WEIGHT)
                terms.append((structure, held))
    return terms


def _points(dose: FloatArray, share: FloatArray) -> list[tuple[float, float]]:
    """Points of the DVH of a structure."""
    axis = np.linspace(0.0, float(dose[share > 0].max()) * (1 + 1 / _POINTS), _POINTS)
    volumes = cumulative_dvh(dose, share, axis)
    between = zip(axis[1:-1].tolist(), volumes[1:-1].tolist(), strict=True)
    return [(0.0, 1.0), *between, (float(axis[-1]), 0.0)]


def _volume(goal: DVHGoal) -> float | None:
    """Share of the volume whose dose a goal is about; None when it is about something else."""
    number = goal.metric.name[1:]
    if goal.metric.name[0] != "D" or goal.value <= 0 or not number.replace(".", "", 1).isdigit():
        return None
    return float(number) / 100
