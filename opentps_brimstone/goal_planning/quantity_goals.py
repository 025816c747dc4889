"""Goals of quantities: told in what is planned where that is possible, and asked for as they are where it is not."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING

import numpy as np

from opentps_brimstone.evaluation import DVHGoal, DVHMetric
from opentps_brimstone.goal_planning.asks import Cap, QuantityAsk
from opentps_brimstone.quantities import DoseMap, structure_map

if TYPE_CHECKING:
    from opentps_brimstone.model.influence import VoxelGrid
    from opentps_brimstone.model.structure import Structure

__all__ = ["dvh_cap", "in_doses"]


def in_doses(
    structure: Structure,
    goals: Iterable[DVHGoal],
    grid: VoxelGrid,
    margin: float,
    number_of_fractions: int | None,
    planned: str = "physical_dose",
    from_matrices: Collection[str] = (),
) -> tuple[list[DVHGoal], list[QuantityAsk]]:
    """Tell goals of a structure in doses, and give those apart whose quantity differs between voxels of one dose.

    "Dose" is the quantity that is planned. If that is another one than dose, or a goal's quantity is one of those from
    matrices, goals of other quantities are given apart.

    Points of a DVH are told in doses exactly if one map holds for all voxels. A mean is told by the uniform dose that
    gives it, and asked for by itself, too, as the mean of a quantity is above that of the mean dose. A target also gets
    doses for what it is asked for in a quantity that differs, from its mean map, to plan its DVH with.
    """
    told: list[DVHGoal] = []
    apart: list[QuantityAsk] = []
    for goal in goals:
        if goal.quantity == planned:
            told.append(dataclasses.replace(goal, quantity="physical_dose"))
            continue
        if planned != "physical_dose" or goal.quantity in from_matrices:
            ask = _apart(goal, structure, grid, margin)
            apart += [] if ask is None else [ask]
            continue
        if number_of_fractions is None:
            raise ValueError(f"goal '{goal}': {goal.quantity} depends on the number of fractions; give it")
        dose_map = structure_map(structure, goal.quantity, number_of_fractions, alpha_beta=goal.alpha_beta)
        assert dose_map is not None
        _check_before(goal, structure, dose_map)
        if dose_map.is_uniform:
            told.append(_in_dose(goal, dose_map))
            if goal.metric.kind != "Dmean":
                continue
        ask = _apart(goal, structure, grid, margin)
        if ask is not None:
            apart.append(ask)
        if structure.is_target and not dose_map.is_uniform:
            told.append(_in_dose(goal, _mean_map(dose_map, structure)))
    return told, apart


def dvh_cap(goal: DVHGoal, structure: Structure, grid: VoxelGrid) -> Cap | None:
    """Point of the DVH that a goal bounds; None if it does not bound one."""
    metric = goal.metric
    if metric.kind == "Dmax":
        return Cap(0.0, goal.value)
    if metric.number is None or metric.kind not in ("D", "V"):
        return None
    volume, dose = (metric.number, goal.value) if metric.kind == "D" else (goal.value, metric.number)
    whole = float(structure.share.sum()) * math.prod(grid.spacing_mm) / 1000 if metric.needs_voxel_volume else 100
    if volume > whole and metric.kind == "D" and not goal.is_lower_bound:
        return Cap(0.0, dose)  # the whole organ is less than the volume asked for: judged by its highest dose
    return Cap(min(volume / whole, 1.0), dose)


def _apart(goal: DVHGoal, structure: Structure, grid: VoxelGrid, margin: float) -> QuantityAsk | None:
    inside = 1 + margin if goal.is_lower_bound else 1 - margin
    if goal.metric.kind == "Dmean":
        return QuantityAsk(goal, None, goal.value * inside)
    if goal.metric.kind == "Dmin":
        return QuantityAsk(goal, 1.0, goal.value * inside)
    cap = dvh_cap(goal, structure, grid)
    return None if cap is None else QuantityAsk(goal, cap.volume, cap.dose_gy * inside)


def _in_dose(goal: DVHGoal, dose_map: DoseMap) -> DVHGoal:
    """Tell a goal of a quantity in doses, by one map."""
    plain = dataclasses.replace(goal, quantity="physical_dose", alpha_beta=None)
    metric = goal.metric
    if metric.kind == "V":
        dose = dose_map.inverse(metric.number)
        return dataclasses.replace(plain, metric=DVHMetric(f"V{dose:.9f}", volume_unit=metric.volume_unit))
    if metric.unit == "Gy":
        return dataclasses.replace(plain, value=float(dose_map.inverse(goal.value)))
    return plain


def _mean_map(dose_map: DoseMap, structure: Structure) -> DoseMap:
    share = structure.share[structure.share > 0]
    return DoseMap(
        *(
            c if isinstance(c, float) else float(np.average(c, weights=share))
            for c in (dose_map.c0, dose_map.c1, dose_map.c2)
        )
    )


def _check_before(goal: DVHGoal, structure: Structure, dose_map: DoseMap) -> None:
    """Refuse a target whose dose from before is what its goal asks for already."""
    if not (structure.is_target and goal.is_lower_bound and goal.metric.unit == "Gy"):
        return
    before = float(_mean_map(dose_map, structure).c0)
    if before >= goal.value:
        raise ValueError(
            f"goal '{goal}': the target has {before:.2f} Gy of {goal.quantity} from before, and is asked for "
            f"{goal.value:g} Gy in all; ask for more, or set no previous dose for the target"
        )
