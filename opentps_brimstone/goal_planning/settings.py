"""Constants of planning from goals."""

from __future__ import annotations

from dataclasses import dataclass

from opentps_brimstone._util.options import POSITIVE, Bounds, Options, above, at_least, option

__all__ = ["GoalPlannerSettings"]


@dataclass(frozen=True, repr=False)
class GoalPlannerSettings(Options):
    """How a prescription is derived from goals, and how it changes from round to round.

    Examples
    --------
    >>> GoalPlannerSettings(rounds=8, margin=0.01)
    GoalPlannerSettings(margin=0.01, rounds=8)
    >>> GoalPlannerSettings(pull=1.5)
    Traceback (most recent call last):
    ValueError: pull is 1.5; it must be between 0 and 1
    """

    margin: float = option(
        0.006,
        "Distance to keep from each goal, as a share of it, so that a plan still meets its goals when recalculated or "
        "evaluated on another grid.",
        Bounds("from 0 to below 0.1", lambda value: 0 <= value < 0.1),
    )
    rounds: int = option(16, "Maximum number of optimizations.", at_least(1))
    target_width: float = option(
        0.8,
        "Part of the interval between a target's lowest and highest goal that its DVH is to fill, from the lowest.",
        Bounds("above 0 and at most 1", lambda value: 0 < value <= 1),
    )
    target_weight: float = option(1.0, "Weight of the DVH terms of targets, in the first round.", POSITIVE)
    organ_weight: float = option(0.03, "Weight of the DVH terms of organs with goals, in the first round.", POSITIVE)
    rest_weight: float = option(0.01, "Weight of the DVH terms of other structures, in the first round.", POSITIVE)
    cold_spot_weight: float = option(
        500.0,
        "Weight of the guard against doses below a lower goal of a target that excludes 5 % of the volume, such as one "
        "for its D95; for other goals it is inversely proportional to the excluded share.",
        POSITIVE,
    )
    target_guard_weight: float = option(
        3000.0, "Weight of the guard against doses above a target's highest goal.", POSITIVE
    )
    mean_weight: float = option(
        0.3,
        "Weight on the mean dose of every structure that is not a target, in the first round: its cost at the current "
        "mean dose, so that a round lowers all of them by similar shares.",
        POSITIVE,
    )
    rest_share: float = option(
        2.0, "Weight on the mean dose of structures without goals, relative to that of organs with goals.", POSITIVE
    )
    cap_weight: float = option(
        30.0, "Weight of the guard at the goal for the hottest part of an organ, in the first round.", POSITIVE
    )
    hot_spot_share: float = option(
        1.1,
        "Highest dose outside the targets that does not count as a hot spot, as a share of the highest prescription.",
        at_least(1),
    )
    guard_share: float = option(
        1.06, "Dose from which hot spots are penalized, as a share of the highest prescription.", POSITIVE
    )
    guard_weight: float = option(
        3000.0,
        "Weight of that guard for a structure of a target's volume; for larger ones it is higher, so that every voxel "
        "costs the same.",
        POSITIVE,
    )
    far_mm: float = option(
        30.0, "Distance from the targets beyond which structures without goals count as far from them.", POSITIVE
    )
    far_share: float = option(
        0.7,
        "Dose from which voxels far from the targets are penalized, as a share of the highest prescription.",
        POSITIVE,
    )
    roughness_weight: float = option(
        0.3,
        "Weight of jumps between neighboring beamlets, added to that of the optimizer's settings. Smooth fluence needs "
        "fewer MU and depends less on the dose grid.",
        at_least(0),
    )
    pull: float = option(
        0.7,
        "Doses requested of organs and body in a round, as a share of their current ones.",
        Bounds("between 0 and 1", lambda value: 0 < value < 1),
    )
    step: float = option(
        3.0,
        "Factor by which the weight on mean doses is raised from round to round until a target goal fails. It then "
        "narrows whenever the direction changes, and widens again while it does not.",
        above(1),
    )
    first_levels: int = option(3, "Levels of the pyramid in the first round.", at_least(1))
    later_level: int = option(1, "Level at which later rounds start, from the best plan so far.", at_least(0))
    tolerance: float = option(2e-4, "Relative change of the cost that ends a level.", POSITIVE)
    least_gain: float = option(
        0.002,
        "Once all goals are met, three rounds in a row that lower the mean doses by less than this share end the "
        "planning; before that, four rounds that bring the plan no closer to its goals.",
        at_least(0),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require("guard_share", self.guard_share <= self.hot_spot_share, "above 0, at most hot_spot_share")
