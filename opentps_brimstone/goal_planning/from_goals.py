"""Prescriptions from goals: target DVHs, limits and weights for a plan that meets them.

Only goals and geometry enter. A target's DVH is to fill an interval of doses inside its goals. An organ's DVH is the
one that its distance to the targets suggests, lowered to its goals; so is that of the rest of the body, that is, of
every structure that is not a target and has no goals. `GoalPlanner` starts from this prescription and changes it from
round to round; a user may do so by hand.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from opentps_brimstone._typing import FloatArray
from opentps_brimstone.evaluation import DVHGoal, PrescribedDose, as_goals
from opentps_brimstone.goal_planning.asks import VOLUMES, Cap, FarAsk, OrganAsk, TargetAsk, capped
from opentps_brimstone.goal_planning.quantity_goals import dvh_cap, in_doses
from opentps_brimstone.goal_planning.settings import GoalPlannerSettings
from opentps_brimstone.model.dvh_curve import dvh_curve
from opentps_brimstone.model.structure import Structure

if TYPE_CHECKING:
    from opentps_brimstone.model.influence import VoxelGrid
    from opentps_brimstone.optimization.terms import ObjectiveTerm

__all__ = [
    "asks_from_goals",
    "checked_goals",
    "dose_quantiles",
    "expected_dose",
    "far_parts",
    "prescription_from_goals",
]

# Dose outside a target, as a share of its prescription: penumbra and scatter near it, entrance and exit further away.
_NEAR_SHARE, _NEAR_MM = 0.6, 12.0
_FAR_SHARE, _FAR_MM = 0.4, 60.0
# Upper limit of a target without an upper goal, relative to its lowest goal.
_HIGHEST_SHARE = 1.1
# Volume share that a lower goal excludes when its guard has the settings' weight, and the least one that counts.
_GUARDED_SHARE, _LEAST_LEFT_OUT = 0.05, 0.01


def prescription_from_goals(
    structures: Iterable[Structure],
    goals: Iterable[DVHGoal | str],
    grid: VoxelGrid,
    settings: GoalPlannerSettings | None = None,
    number_of_fractions: int | None = None,
    prescribed_dose: PrescribedDose | None = None,
) -> list[tuple[Structure, ObjectiveTerm]]:
    """Derive a prescription from goals.

    Parameters
    ----------
    structures : iterable of Structure
        On the same grid; targets are those with ``is_target``. A structure that is not a target and has no goals is
        treated as body to be spared.
    goals : iterable of DVHGoal or str
        Goals of homogeneity, conformity and dose gradient do not enter; they are judged after planning.
    grid : VoxelGrid
        Of the structures.
    settings : GoalPlannerSettings, optional
    number_of_fractions : int, optional
        For goals of EQD2, BED or effect.
    prescribed_dose : float or mapping of str to float, optional
        For goals in percent of it, as `evaluate` takes it.

    Returns
    -------
    list of (Structure, ObjectiveTerm)
        To be added to a `PlanOptimizer`, changed or not.

    Raises
    ------
    ValueError
        If there are no goals or no targets, a goal is for an unknown structure or is a minimum dose of an organ, a
        target has no lower goal, or its goals contradict each other.

    Examples
    --------
    >>> from opentps_brimstone.model.example import three_voxel_plan
    >>> plan = three_voxel_plan()
    >>> asked = prescription_from_goals(plan.structures, ["PTV D95 >= 9 Gy", "Cord Dmax <= 5 Gy"], plan.grid)
    >>> [(structure.name, type(term).__name__) for structure, term in asked][:3]
    [('PTV', 'KLDivergenceTerm'), ('PTV', 'MinimumDoseTerm'), ('PTV', 'MaximumDoseTerm')]
    """
    every = list(structures)
    asked = checked_goals(goals, every, prescribed_dose)
    targets, organs = asks_from_goals(every, asked, grid, settings or GoalPlannerSettings(), number_of_fractions)
    asks: list[TargetAsk | OrganAsk] = [*targets, *organs]
    return [(ask.structure, term) for ask in asks for term in ask.terms()]


def asks_from_goals(
    structures: Iterable[Structure],
    goals: Iterable[DVHGoal | str],
    grid: VoxelGrid,
    settings: GoalPlannerSettings,
    number_of_fractions: int | None = None,
    planned: str = "physical_dose",
    from_matrices: Collection[str] = (),
) -> tuple[list[TargetAsk], list[OrganAsk]]:
    """Derive the objectives of targets and of other structures, as `prescription_from_goals`.

    They are on the quantity that is planned. Other quantities from matrices get terms of their own.
    """
    every = list(structures)
    asked = checked_goals(goals, every)
    if not any(structure.is_target for structure in every):
        names = ", ".join(repr(structure.name) for structure in every)
        raise ValueError(f"none of the structures {names} is a target; set is_target of those to be irradiated")
    own, in_quantities = {}, {}
    for structure in every:
        goals_of = [goal for goal in asked if goal.structure == structure.name]
        own[structure.name], in_quantities[structure.name] = in_doses(
            structure, goals_of, grid, settings.margin, number_of_fractions, planned, from_matrices
        )
    targets = [_target(structure, own[structure.name], grid, settings) for structure in every if structure.is_target]
    for target in targets:
        target.quantity = planned
        target.quantity_asks = in_quantities[target.structure.name]
    _make_room_for_higher_targets(targets, own, grid, settings)
    expected = expected_dose(targets, grid)
    organs = []
    for structure in every:
        if not structure.is_target:
            mean = float(np.average(expected, weights=structure.share))
            organ = _organ(structure, own[structure.name], grid, targets, mean, settings)
            organ.quantity = planned
            organ.quantity_asks = in_quantities[structure.name]
            organ.has_goals = organ.has_goals or bool(organ.quantity_asks)
            organ.ask_for(dose_quantiles(expected, structure.share))
            organs.append(organ)
    return targets, organs


def checked_goals(
    goals: Iterable[DVHGoal | str], structures: Iterable[Structure], prescribed_dose: PrescribedDose | None = None
) -> list[DVHGoal]:
    """Read goals; ValueError if there are none, or one is for another structure."""
    asked = as_goals(goals, [structure.name for structure in structures], prescribed_dose)
    if not asked:
        raise ValueError("there are no goals; state some, such as 'PTV D95 >= 50 Gy'")
    return asked


# ---------------------------------------------------------------------------------------------------- reading goals


def _lowest_dose(goal: DVHGoal, structure: Structure, grid: VoxelGrid) -> tuple[float, float] | None:
    """Minimum dose of a target by a lower goal, and the volume share excluded from it; None if it is not on dose."""
    if goal.metric.kind in ("Dmin", "Dmean", "Dmax"):
        return goal.value, 0.0 if goal.metric.kind == "Dmin" else _GUARDED_SHARE
    cap = dvh_cap(goal, structure, grid)
    return None if cap is None else (cap.dose_gy, 1 - cap.volume)


def _upper_goals(
    structure: Structure, goals: Sequence[DVHGoal], grid: VoxelGrid, margin: float
) -> tuple[list[Cap], float]:
    """Caps and highest mean dose of a structure, inside its goals by the margin."""
    upper = [goal for goal in goals if not goal.is_lower_bound]
    caps = [cap for goal in upper if (cap := dvh_cap(goal, structure, grid)) is not None]
    means = [goal.value for goal in upper if goal.metric.kind == "Dmean"]
    inside = 1 - margin
    return [Cap(cap.volume, cap.dose_gy * inside) for cap in caps], min(means, default=math.inf) * inside


def _target(
    structure: Structure, goals: Sequence[DVHGoal], grid: VoxelGrid, settings: GoalPlannerSettings
) -> TargetAsk:
    lower = (_lowest_dose(goal, structure, grid) for goal in goals if goal.is_lower_bound)
    lowest = [found for found in lower if found is not None]
    if not lowest:
        raise ValueError(
            f"target {structure.name!r} has no goal for its lowest dose; add one, "
            f"such as '{structure.name} D95 >= 50 Gy'"
        )
    prescription = max(dose for dose, _ in lowest)
    low = prescription * (1 + settings.margin)
    caps, mean_cap = _upper_goals(structure, goals, grid, settings.margin)
    high = min(*(cap.dose_gy for cap in caps), 2 * mean_cap - low, math.inf)
    has_upper_goal = math.isfinite(high)
    if not has_upper_goal:
        high = _HIGHEST_SHARE * prescription
    if not low < high:
        stated = ", ".join(f"'{goal}'" for goal in goals)
        raise ValueError(
            f"the goals of target {structure.name!r} leave no room: {stated}, with a margin of {settings.margin:.1%}"
        )
    return TargetAsk(
        structure=structure,
        prescription_gy=prescription,
        doses=low + settings.target_width * (high - low) * (1 - VOLUMES),
        low_gy=low,
        high_gy=high,
        limit_gy=None if has_upper_goal else high,
        weight=settings.target_weight,
        guard_weight=settings.target_guard_weight,
        cold_guards=[
            (dose * (1 + settings.margin), settings.cold_spot_weight * _GUARDED_SHARE / max(left_out, _LEAST_LEFT_OUT))
            for dose, left_out in lowest
        ],
    )


def _make_room_for_higher_targets(
    targets: Sequence[TargetAsk], goals: dict[str, list[DVHGoal]], grid: VoxelGrid, settings: GoalPlannerSettings
) -> None:
    """Allow a target the fall-off of an adjacent higher dose, as far as its goals permit."""
    for target in targets:
        higher = [other for other in targets if other.prescription_gy > target.prescription_gy]
        if higher:
            name = target.structure.name
            caps, _ = _upper_goals(target.structure, goals[name], grid, settings.margin)
            fall_off = dose_quantiles(expected_dose(higher, grid), target.structure.share)
            target.doses = np.maximum(target.doses, capped(fall_off, caps))


def _organ(
    structure: Structure,
    goals: Sequence[DVHGoal],
    grid: VoxelGrid,
    targets: Sequence[TargetAsk],
    expected_mean: float,
    settings: GoalPlannerSettings,
) -> OrganAsk:
    for goal in goals:
        if goal.is_lower_bound and goal.metric.unit:
            raise ValueError(
                f"goal '{goal}' asks for dose in {structure.name!r}, which is not a target; set its is_target"
            )
    caps, mean_cap = _upper_goals(structure, goals, grid, settings.margin)
    maxima = [cap.dose_gy for cap in caps if cap.volume == 0]
    prescription = max(target.prescription_gy for target in targets)
    target_volume = float(np.mean([target.structure.share.sum() for target in targets]))
    return OrganAsk(
        structure=structure,
        caps=caps,
        mean_cap_gy=mean_cap,
        limit_gy=min([*maxima, settings.guard_share * prescription]),
        weight=settings.organ_weight if goals else settings.rest_weight,
        guard_weight=settings.guard_weight * max(1.0, float(structure.share.sum()) / target_volume),
        cap_weight=settings.cap_weight,
        mean_weight=settings.mean_weight * (1.0 if goals else settings.rest_share),
        mean_gy=expected_mean,
        reference_gy=max(float(target.doses.max()) for target in targets),
        has_goals=bool(goals),
    )


def far_parts(
    targets: Sequence[TargetAsk], organs: Sequence[OrganAsk], grid: VoxelGrid, settings: GoalPlannerSettings
) -> list[FarAsk]:
    """Guard structures without goals far from the targets, so that all beams contribute dose.

    Mean doses alone are lowest along the shortest path through the body, where two opposed beams would give all of it
    the target's dose.
    """
    nowhere_near = np.ones(grid.shape, dtype=bool)
    for target in targets:
        nowhere_near &= _distance_mm(target.structure, grid) > settings.far_mm
    limit = settings.far_share * max(target.prescription_gy for target in targets)
    far = []
    for organ in organs:
        share = np.where(nowhere_near, organ.structure.share, 0.0)
        if not organ.has_goals and share.any():
            name = f"{organ.structure.name} {settings.far_mm:g} mm from targets"
            far.append(FarAsk(Structure(name, share), limit, organ.guard_weight, organ.quantity))
    return far


# ------------------------------------------------------------------------------------------------------------- doses


def expected_dose(targets: Sequence[TargetAsk], grid: VoxelGrid) -> FloatArray:
    """Guess the dose of a plan to start from, in Gy: each target's prescription, falling with the distance to it."""
    expected: FloatArray = np.zeros(grid.shape)
    for target in targets:
        distance = _distance_mm(target.structure, grid)
        fall_off = _NEAR_SHARE * np.exp(-distance / _NEAR_MM) + _FAR_SHARE * np.exp(-distance / _FAR_MM)
        expected = np.maximum(expected, target.prescription_gy * fall_off)
    return expected


def _distance_mm(structure: Structure, grid: VoxelGrid) -> FloatArray:
    """Distance of every voxel to a structure; 0 where the share is at least half of the highest one."""
    outside = structure.share < 0.5 * structure.share.max()
    distance: FloatArray = ndimage.distance_transform_edt(outside, sampling=grid.spacing_mm)
    return distance


def dose_quantiles(dose: FloatArray, share: FloatArray) -> FloatArray:
    """Doses that the volume shares `VOLUMES` of a structure get, as `dose_at_volume` defines them."""
    inside = share > 0
    doses, middle = dvh_curve(dose[inside], share[inside])
    quantiles: FloatArray = np.interp(VOLUMES, middle, doses)
    return quantiles
