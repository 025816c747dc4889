"""Prescriptions from goals: target DVHs, limits and weights that make a plan meet what a planner states.

Only goals and geometry enter. A target is asked for an interval of doses inside its goals. An organ is asked for the
falling DVH that its distance to the targets suggests, cut down to its goals; so is the rest of the body, that is, every
structure that is no target and has no goals. `GoalPlanner` starts from this prescription and changes it from round to
round; a user may do so by hand.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from opentps_brimstone._typing import FloatArray
from opentps_brimstone.evaluation import DVHGoal
from opentps_brimstone.model.structure import Structure
from opentps_brimstone.optimization.terms import (
    KLDivergenceTerm,
    MaximumDoseTerm,
    MeanDoseTerm,
    MinimumDoseTerm,
    ObjectiveTerm,
)

if TYPE_CHECKING:
    from opentps_brimstone.model.influence import VoxelGrid

__all__ = ["GoalPlannerSettings", "prescription_from_goals"]


# Volume shares at which a DVH is described.
VOLUMES = np.array([0, 0.005, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0])

# Dose outside a target, as a share of its prescription: penumbra and scatter near it, entrance and exit further away.
_NEAR_SHARE, _NEAR_MM = 0.6, 12.0
_FAR_SHARE, _FAR_MM = 0.4, 60.0

# An upper goal is taken to be this much of the lowest one, where a target has none.
_HIGHEST_SHARE = 1.1
# A goal for at most this share of an organ is for its hottest part: a guard stands for it.
_HOTTEST = 0.15
_HIGHEST_CAP_WEIGHT = 1e4
# Volume share that a lower goal leaves out when its guard has the settings' weight, and the least one that counts.
_GUARDED_SHARE, _LEAST_LEFT_OUT = 0.05, 0.01
_HIGHEST_GUARD_WEIGHT = 2e4
_METRIC = re.compile(r"(?P<kind>[DV])(?P<number>\d+(?:\.\d+)?)(?P<cc>cc)?")


@dataclass(frozen=True)
class GoalPlannerSettings:
    """How goals become a prescription, and how it changes from round to round.

    Attributes
    ----------
    margin : float
        How far inside its goals a plan is aimed, as a share of each, so that neither recalculation nor another grid
        takes it out of them.
    rounds : int
        Optimizations, at most.
    target_width : float
        Which part of the interval between a target's lowest and highest goal it is asked to fill, from the lowest.
    target_weight, organ_weight, rest_weight : float
        Of the DVH terms of targets, of organs with goals, and of other structures, in the first round.
    cold_spot_weight : float
        Of the guard against doses below a lower goal of a target that leaves out 5 % of the volume, such as one for its
        D95; those that leave out less weigh more, in inverse proportion, and those that leave out more weigh less.
    target_guard_weight : float
        Of the guard against doses above a target's highest goal.
    mean_weight : float
        Pressure on the mean dose of every structure that is no target, in the first round: its cost at the mean dose
        that the structure has, so that a round lowers all of them by like shares.
    rest_share : float
        Pressure on structures without goals, as a multiple of that on organs with goals.
    cap_weight : float
        Of the guard at the goal for the hottest part of an organ, in the first round.
    hot_spot_share : float
        Highest dose outside the targets, as a share of the highest prescription, that counts as no hot spot.
    guard_share : float
        The same where the guard against hot spots begins.
    guard_weight : float
        Of that guard for a structure of a target's volume; larger ones have more, so that a voxel costs the same.
    far_mm : float
        Structures without goals are far from the targets from this distance on.
    far_share : float
        Where the guard against high doses far from the targets begins, as a share of the highest prescription.
    roughness_weight : float
        Of jumps between neighboring beamlets, added to that of the optimizer's settings. Smooth fluence needs fewer MU
        and depends less on the dose grid.
    pull : float
        What organs and body are asked for in a round, as a share of the doses they have.
    step : float
        By how much the pressure changes from round to round, until it first costs a target a goal; then by less where
        it turns, and by more again while it goes on.
    first_levels : int
        Levels of the pyramid in the first round.
    later_level : int
        Level at which later rounds start, from the best plan so far.
    tolerance : float
        Relative change of the cost that ends a level.
    least_gain : float
        Once all goals are met, three rounds in a row that lower the mean doses by less than this share end the
        planning; before that four that bring the plan no nearer to its goals.

    Examples
    --------
    >>> GoalPlannerSettings(rounds=8, margin=0.01).rounds
    8
    >>> GoalPlannerSettings(pull=1.5)
    Traceback (most recent call last):
    ValueError: pull is 1.5; it must be between 0 and 1
    """

    margin: float = 0.006
    rounds: int = 16
    target_width: float = 0.8
    target_weight: float = 1.0
    organ_weight: float = 0.03
    rest_weight: float = 0.01
    cold_spot_weight: float = 500.0
    target_guard_weight: float = 3000.0
    mean_weight: float = 0.3
    rest_share: float = 2.0
    cap_weight: float = 30.0
    hot_spot_share: float = 1.1
    guard_share: float = 1.06
    guard_weight: float = 3000.0
    far_mm: float = 30.0
    far_share: float = 0.7
    roughness_weight: float = 0.3
    pull: float = 0.7
    step: float = 3.0
    first_levels: int = 3
    later_level: int = 1
    tolerance: float = 2e-4
    least_gain: float = 0.002

    def __post_init__(self) -> None:
        self._require("margin", 0 <= self.margin < 0.1, "from 0 to below 0.1")
        self._require("rounds", self.rounds >= 1, "at least 1")
        self._require("target_width", 0 < self.target_width <= 1, "above 0 and at most 1")
        self._require("pull", 0 < self.pull < 1, "between 0 and 1")
        self._require("step", self.step > 1, "above 1")
        self._require("first_levels", self.first_levels >= 1, "at least 1")
        self._require("later_level", self.later_level >= 0, "at least 0")
        self._require("hot_spot_share", self.hot_spot_share >= 1, "at least 1")
        self._require("guard_share", 0 < self.guard_share <= self.hot_spot_share, "above 0, at most hot_spot_share")
        self._require("roughness_weight", self.roughness_weight >= 0, "at least 0")
        self._require("least_gain", self.least_gain >= 0, "at least 0")
        positive = (
            "target_weight",
            "organ_weight",
            "rest_weight",
            "cold_spot_weight",
            "target_guard_weight",
            "mean_weight",
            "rest_share",
            "cap_weight",
            "guard_weight",
            "far_mm",
            "far_share",
            "tolerance",
        )
        for name in positive:
            self._require(name, getattr(self, name) > 0, "positive")

    def _require(self, name: str, holds: bool, rule: str) -> None:
        if not holds:
            raise ValueError(f"{name} is {getattr(self, name)!r}; it must be {rule}")


@dataclass
class TargetAsk:
    """What is asked of a target.

    Attributes
    ----------
    structure : Structure
    prescription_gy : float
        Its highest lower goal.
    doses : ndarray
        Of its target DVH at `VOLUMES`, falling.
    low_gy, high_gy : float
        Where its guards begin.
    weight, guard_weight : float
    cold_guards : list of (float, float)
        Dose and weight of a guard for each lower goal.
    """

    structure: Structure
    prescription_gy: float
    doses: FloatArray = field(repr=False)
    low_gy: float
    high_gy: float
    weight: float
    guard_weight: float
    cold_guards: list[tuple[float, float]]

    def terms(self) -> list[ObjectiveTerm]:
        """Terms to add to a prescription, not yet used in another."""
        return [
            KLDivergenceTerm(dvh=_points(self.doses), weight=self.weight),
            *(MinimumDoseTerm(dose, weight=weight) for dose, weight in self.cold_guards),
            MaximumDoseTerm(self.high_gy, weight=self.guard_weight),
        ]

    def tighten(self, factor: float) -> None:
        """Make the guards on both sides stricter."""
        self.guard_weight = min(self.guard_weight * factor, _HIGHEST_GUARD_WEIGHT)
        self.cold_guards = [(dose, min(weight * factor, _HIGHEST_GUARD_WEIGHT)) for dose, weight in self.cold_guards]

    def lower_by(self, share: float) -> None:
        """Let the guard against high doses begin lower by a share, at most halfway to where the other begins."""
        self.high_gy = max(self.high_gy * (1 - share), (self.low_gy + self.high_gy) / 2)


@dataclass
class OrganAsk:
    """What is asked of a structure that is no target.

    Attributes
    ----------
    structure : Structure
    doses : ndarray
        Of its target DVH at `VOLUMES`, falling.
    caps : list of (float, float)
        Volume share and dose: no more of the volume may get more.
    mean_cap_gy : float
        Highest mean dose.
    limit_gy : float
        Where its guard begins.
    weight, guard_weight : float
    cap_weight : float
        Of a second guard, at the lowest cap of the hottest part of the volume.
    mean_weight : float
        Of the pressure on its mean dose: the cost of `mean_gy`.
    mean_gy : float
        Mean dose that it has, at first that its place suggests.
    reference_gy : float
        Highest dose asked of a target.
    has_goals : bool
    priority : float
        How much more than others it is pressed, while it misses its goals.
    """

    structure: Structure
    caps: list[tuple[float, float]]
    mean_cap_gy: float
    limit_gy: float
    weight: float
    guard_weight: float
    cap_weight: float
    mean_weight: float
    mean_gy: float
    reference_gy: float
    has_goals: bool
    priority: float = 1.0
    doses: FloatArray = field(default_factory=lambda: np.zeros(len(VOLUMES)), repr=False)

    def ask_for(self, doses: FloatArray) -> None:
        """Ask for the DVH with these doses at `VOLUMES`, cut down to the goals."""
        asked = _capped(doses, self.caps)
        mean = float(np.sum(np.diff(VOLUMES) * (asked[1:] + asked[:-1]) / 2))
        self.doses = asked * min(1.0, self.mean_cap_gy / mean) if mean > 0 else asked

    def press(self, pressure: float, dose: FloatArray) -> None:
        """Let mean dose and excess over the lowest cap of the hottest part cost as much as the pressure, at a dose."""
        inside = self.structure.share > 0
        doses, shares = dose[inside], self.structure.share[inside] / self.structure.share.sum()
        self.mean_weight = pressure
        self.mean_gy = float(shares @ doses)
        if (cap := self._hottest_cap_gy) is not None:
            excess = float(shares @ np.maximum(0.0, doses - cap) ** 2) / self.reference_gy**2
            self.cap_weight = pressure / max(excess, pressure / _HIGHEST_CAP_WEIGHT)

    @property
    def _hottest_cap_gy(self) -> float | None:
        caps = [dose for volume, dose in self.caps if volume <= _HOTTEST]
        return min(caps) if caps and min(caps) < self.limit_gy else None

    def terms(self) -> list[ObjectiveTerm]:
        """Terms to add to a prescription, not yet used in another."""
        terms: list[ObjectiveTerm] = [MaximumDoseTerm(self.limit_gy, weight=self.guard_weight)]
        if self.doses[0] > 0:
            terms.append(KLDivergenceTerm(dvh=_points(self.doses), weight=self.weight))
        if (cap := self._hottest_cap_gy) is not None:
            terms.append(MaximumDoseTerm(cap, weight=self.cap_weight))
        if self.mean_gy > 0:
            terms.append(MeanDoseTerm(0.0, weight=self.mean_weight * (self.reference_gy / self.mean_gy) ** 2))
        return terms


@dataclass
class FarAsk:
    """What `GoalPlanner` asks of the part of a structure that is far from all targets.

    Attributes
    ----------
    structure : Structure
        That part, named after the whole.
    limit_gy, weight : float
        Where its guard begins, and how heavy it is.
    """

    structure: Structure
    limit_gy: float
    weight: float

    def terms(self) -> list[ObjectiveTerm]:
        """Terms to add to a prescription, not yet used in another."""
        return [MaximumDoseTerm(self.limit_gy, weight=self.weight)]


def prescription_from_goals(
    structures: Iterable[Structure],
    goals: Iterable[DVHGoal | str],
    grid: VoxelGrid,
    settings: GoalPlannerSettings | None = None,
) -> list[tuple[Structure, ObjectiveTerm]]:
    """Derive a prescription from goals.

    Parameters
    ----------
    structures : iterable of Structure
        On one grid; targets are those with ``is_target``. A structure that is no target and has no goals is taken for
        body to be spared.
    goals : iterable of DVHGoal or str
        Goals of homogeneity, conformity and dose gradient are judged after planning, nothing is derived from them.
    grid : VoxelGrid
        Of the structures.
    settings : GoalPlannerSettings, optional

    Returns
    -------
    list of (Structure, ObjectiveTerm)
        To be added to a `PlanOptimizer`, changed or not.

    Raises
    ------
    ValueError
        When there is no goal or no target, a goal is for a structure that is not there or asks an organ for a minimum
        dose, a target has no lower goal, or its goals contradict each other.

    Examples
    --------
    >>> import opentps_brimstone as pb
    >>> target = pb.Structure("PTV", np.array([1, 1, 0]).reshape(3, 1, 1), is_target=True)
    >>> cord = pb.Structure("Cord", np.array([0, 0, 1]).reshape(3, 1, 1))
    >>> grid = pb.VoxelGrid((3, 1, 1), (5.0, 5.0, 5.0))
    >>> asked = prescription_from_goals([target, cord], ["PTV D95 >= 9 Gy", "Cord Dmax <= 5 Gy"], grid)
    >>> [(structure.name, type(term).__name__) for structure, term in asked][:3]
    [('PTV', 'KLDivergenceTerm'), ('PTV', 'MinimumDoseTerm'), ('PTV', 'MaximumDoseTerm')]
    """
    targets, organs = asks_from_goals(structures, goals, grid, settings or GoalPlannerSettings())
    asks: list[TargetAsk | OrganAsk] = [*targets, *organs]
    return [(ask.structure, term) for ask in asks for term in ask.terms()]


def asks_from_goals(
    structures: Iterable[Structure],
    goals: Iterable[DVHGoal | str],
    grid: VoxelGrid,
    settings: GoalPlannerSettings,
) -> tuple[list[TargetAsk], list[OrganAsk]]:
    """As `prescription_from_goals`, with the numbers the terms are made from."""
    every = list(structures)
    asked = parsed_goals(goals, [structure.name for structure in every])
    if not any(structure.is_target for structure in every):
        names = ", ".join(repr(structure.name) for structure in every)
        raise ValueError(f"none of the structures {names} is a target; set is_target of those to be irradiated")
    own = {structure.name: [goal for goal in asked if goal.structure == structure.name] for structure in every}
    targets = [_target(structure, own[structure.name], grid, settings) for structure in every if structure.is_target]
    _make_room_for_higher_targets(targets, own, grid, settings)
    expected = expected_dose(targets, grid)
    organs = []
    for structure in every:
        if not structure.is_target:
            mean = float(np.average(expected, weights=structure.share))
            organ = _organ(structure, own[structure.name], grid, targets, mean, settings)
            organ.ask_for(dose_quantiles(expected, structure.share))
            organs.append(organ)
    return targets, organs


def parsed_goals(goals: Iterable[DVHGoal | str], names: Sequence[str]) -> list[DVHGoal]:
    """Goals as objects, all of them for structures of these names."""
    asked = [DVHGoal.parse(goal) if isinstance(goal, str) else goal for goal in goals]
    if not asked:
        raise ValueError("there are no goals; state some, such as 'PTV D95 >= 50 Gy'")
    for goal in asked:
        if goal.structure not in names:
            raise ValueError(f"goal '{goal}' is for {goal.structure!r}; the structures are {', '.join(names)}")
    return asked


# ---------------------------------------------------------------------------------------------------- reading goals


def is_lower(goal: DVHGoal) -> bool:
    """Whether a goal asks for a value or more."""
    return goal.relation.startswith(">")


def _lowest_dose(goal: DVHGoal, structure: Structure, grid: VoxelGrid) -> tuple[float, float] | None:
    """Dose that a lower goal asks of a target, and the volume share that may have less; None when it is of no dose."""
    if goal.metric.name in ("Dmin", "Dmean", "Dmax"):
        return goal.value, 0.0 if goal.metric.name == "Dmin" else _GUARDED_SHARE
    cap = _cap(goal, structure, grid)
    return None if cap is None else (cap[1], 1 - cap[0])


def _cap(goal: DVHGoal, structure: Structure, grid: VoxelGrid) -> tuple[float, float] | None:
    """Volume share and dose of an upper goal: no more of the volume may get more. None when it is not of that kind."""
    volume_cc = float(structure.share.sum()) * math.prod(grid.spacing_mm) / 1000
    if goal.metric.name == "Dmax":
        return 0.0, goal.value
    match = _METRIC.fullmatch(goal.metric.name)
    if match is None:
        return None
    number = float(match["number"])
    if match["kind"] == "D":
        return min(number / volume_cc if match["cc"] else number / 100, 1.0), goal.value
    return min(goal.value / volume_cc if goal.metric.unit == "cc" else goal.value / 100, 1.0), number


def _upper_goals(
    structure: Structure, goals: Sequence[DVHGoal], grid: VoxelGrid, margin: float
) -> tuple[list[tuple[float, float]], float]:
    """Caps and highest mean dose of a structure, inside its goals by the margin."""
    upper = [goal for goal in goals if not is_lower(goal)]
    caps = [cap for goal in upper if (cap := _cap(goal, structure, grid)) is not None]
    means = [goal.value for goal in upper if goal.metric.name == "Dmean"]
    inside = 1 - margin
    return [(volume, dose * inside) for volume, dose in caps], min(means, default=math.inf) * inside


def _target(
    structure: Structure, goals: Sequence[DVHGoal], grid: VoxelGrid, settings: GoalPlannerSettings
) -> TargetAsk:
    lowest = [found for goal in goals if is_lower(goal) and (found := _lowest_dose(goal, structure, grid)) is not None]
    if not lowest:
        raise ValueError(
            f"target {structure.name!r} has no goal for its lowest dose; add one, "
            f"such as '{structure.name} D95 >= 50 Gy'"
        )
    prescription = max(dose for dose, _ in lowest)
    low = prescription * (1 + settings.margin)
    caps, mean_cap = _upper_goals(structure, goals, grid, settings.margin)
    high = min([dose for _, dose in caps] + [2 * mean_cap - low], default=math.inf)
    high = min(high, _HIGHEST_SHARE * prescription) if not math.isfinite(high) else high
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
    """Let a target beside one of a higher dose have the fall-off of that dose, as far as its goals go."""
    for target in targets:
        higher = [other for other in targets if other.prescription_gy > target.prescription_gy]
        if higher:
            name = target.structure.name
            caps, _ = _upper_goals(target.structure, goals[name], grid, settings.margin)
            fall_off = dose_quantiles(expected_dose(higher, grid), target.structure.share)
            target.doses = np.maximum(target.doses, _capped(fall_off, caps))


def _organ(
    structure: Structure,
    goals: Sequence[DVHGoal],
    grid: VoxelGrid,
    targets: Sequence[TargetAsk],
    expected_mean: float,
    settings: GoalPlannerSettings,
) -> OrganAsk:
    for goal in goals:
        if is_lower(goal) and goal.metric.unit:
            raise ValueError(
                f"goal '{goal}' asks for dose in {structure.name!r}, which is no target; set its is_target"
            )
    caps, mean_cap = _upper_goals(structure, goals, grid, settings.margin)
    maxima = [dose for volume, dose in caps if volume == 0]
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
    """Guard what has no goals of its own, far from the targets, so that beams share the dose they bring in.

    Mean doses alone are lowest where the way through the body is shortest: with two opposed beams that give all of it
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
            far.append(FarAsk(Structure(name, share), limit, organ.guard_weight))
    return far


# ------------------------------------------------------------------------------------------------------------- doses


def expected_dose(targets: Sequence[TargetAsk], grid: VoxelGrid) -> FloatArray:
    """Dose that plans for such targets have at most places: each target's, falling with the distance to it.

    Parameters
    ----------
    targets : sequence of TargetAsk
    grid : VoxelGrid

    Returns
    -------
    ndarray, shape (nx, ny, nz)
        Gy. A rough guess that is only where the first round starts.
    """
    expected: FloatArray = np.zeros(grid.shape)
    for target in targets:
        distance = _distance_mm(target.structure, grid)
        fall_off = _NEAR_SHARE * np.exp(-distance / _NEAR_MM) + _FAR_SHARE * np.exp(-distance / _FAR_MM)
        expected = np.maximum(expected, target.prescription_gy * fall_off)
    return expected


def _distance_mm(structure: Structure, grid: VoxelGrid) -> FloatArray:
    """Distance of every voxel to a structure, 0 where at least half of the most that a voxel has lies inside."""
    from scipy import ndimage

    outside = structure.share < 0.5 * structure.share.max()
    distance: FloatArray = ndimage.distance_transform_edt(outside, sampling=grid.spacing_mm)
    return distance


def dose_quantiles(dose: FloatArray, share: FloatArray) -> FloatArray:
    """Doses that the volume shares `VOLUMES` of a structure get at least, as `dose_at_volume` defines them."""
    inside = share > 0
    doses, shares = dose[inside], share[inside]
    order = np.argsort(-doses, kind="stable")
    shares = shares[order]
    middle = (np.cumsum(shares) - shares / 2) / shares.sum()
    quantiles: FloatArray = np.interp(VOLUMES, middle, doses[order])
    return quantiles


def _capped(doses: FloatArray, caps: Sequence[tuple[float, float]]) -> FloatArray:
    capped = np.array(doses, dtype=np.float64)
    for volume, dose in caps:
        first = int(np.searchsorted(VOLUMES, volume + 1e-9, side="right")) - 1
        capped[first:] = np.minimum(capped[first:], dose)
    return capped


def _points(doses: FloatArray) -> list[tuple[float, float]]:
    """Points of a target DVH from its doses at `VOLUMES`."""
    points = list(zip(doses[::-1].tolist(), VOLUMES[::-1].tolist(), strict=True))
    if points[-1][0] <= points[0][0]:  # a DVH needs some width
        points = [(0.0, 1.0), (points[0][0], 0.0)]
    return points
