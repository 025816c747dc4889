from __future__ import annotations

import numpy as np
import pytest

from opentps_brimstone import KLDivergenceTerm, MaximumDoseTerm, MeanDoseTerm, MinimumDoseTerm, Structure, VoxelGrid
from opentps_brimstone.evaluation import dose_at_volume
from opentps_brimstone.goal_planning.from_goals import (
    VOLUMES,
    GoalPlannerSettings,
    asks_from_goals,
    dose_quantiles,
    expected_dose,
    far_parts,
    prescription_from_goals,
)

GRID = VoxelGrid((20, 12, 10), (5.0, 5.0, 5.0))
SETTINGS = GoalPlannerSettings(margin=0.01, target_width=0.5)


def block(name, x, is_target=False):
    mask = np.zeros(GRID.shape)
    mask[x, 3:9, 2:8] = 1
    return Structure(name, mask, is_target=is_target)


TARGET = block("PTV", slice(8, 12), is_target=True)
NEAR, FAR = block("near", slice(12, 14)), block("far", slice(17, 19))
BODY = Structure("body", 1.0 - TARGET.share - NEAR.share - FAR.share)
ALL = [TARGET, NEAR, FAR, BODY]
GOALS = ["PTV D95 >= 50 Gy", "PTV D10 <= 55 Gy"]


def terms(goals, structures=ALL, settings=SETTINGS):
    by_name = {}
    for structure, term in prescription_from_goals(structures, goals, GRID, settings):
        by_name.setdefault(structure.name, {}).setdefault(type(term), term)
    return by_name


def maxima(goals, name):
    asked = prescription_from_goals(ALL, goals, GRID, SETTINGS)
    return [term for structure, term in asked if structure.name == name and isinstance(term, MaximumDoseTerm)]


def test_a_target_is_asked_for_an_interval_inside_its_goals_and_guarded_on_both_sides():
    asked = terms(GOALS)["PTV"]
    low, high = 50 * 1.01, 55 * 0.99
    np.testing.assert_allclose(asked[KLDivergenceTerm].dvh[[0, -1], 0], [low, low + 0.5 * (high - low)])
    assert asked[MinimumDoseTerm].limit_gy == pytest.approx(low)
    assert asked[MaximumDoseTerm].limit_gy == pytest.approx(high)
    assert MeanDoseTerm not in asked


@pytest.mark.parametrize(
    ("goals", "low"),
    [
        (["PTV D90 >= 50 Gy", "PTV D99 >= 46.5 Gy"], 50.0),
        (["PTV Dmin > 40 Gy"], 40.0),
        (["PTV V48 >= 95 %"], 48.0),
        (["PTV Dmean >= 45 Gy"], 45.0),
    ],
)
def test_a_targets_lowest_dose_is_its_highest_lower_goal(goals, low):
    asked = terms(goals)["PTV"]
    assert asked[MinimumDoseTerm].limit_gy == pytest.approx(1.01 * low)
    assert asked[MaximumDoseTerm].limit_gy == pytest.approx(1.1 * low)


@pytest.mark.parametrize(
    ("goal", "volume", "dose"),
    [
        ("near D10 <= 25 Gy", 0.10, 25.0),
        ("near V12 <= 30 %", 0.30, 12.0),
        ("near Dmax <= 30 Gy", 0.0, 30.0),
        ("near D3cc <= 20 Gy", 3 / (2 * 6 * 6 * 0.125), 20.0),
        ("near V12Gy <= 3 cc", 3 / (2 * 6 * 6 * 0.125), 12.0),
    ],
)
def test_an_organs_dvh_falls_and_keeps_its_goals(goal, volume, dose):
    asked = terms([*GOALS, goal])["near"]
    points = asked[KLDivergenceTerm].dvh
    rising, shares = points[:, 0], points[:, 1]
    assert (np.diff(rising) >= 0).all() and (np.diff(shares) <= 0).all()
    inside = np.interp(volume, shares[::-1], rising[::-1])
    assert inside <= dose
    assert np.interp(volume, shares[::-1], rising[::-1]) == pytest.approx(0.99 * dose, rel=0.12)
    wanted = min(dose * 0.99, 50 * SETTINGS.guard_share) if volume == 0 else 50 * SETTINGS.guard_share
    assert asked[MaximumDoseTerm].limit_gy == pytest.approx(wanted)


def test_a_mean_dose_goal_scales_the_dvh():
    points = terms([*GOALS, "near Dmean <= 8 Gy"])["near"][KLDivergenceTerm].dvh
    mean = points[0, 0] + np.sum(np.diff(points[:, 0]) * (points[1:, 1] + points[:-1, 1]) / 2)
    assert mean == pytest.approx(8 * 0.99, rel=1e-6)


def test_what_is_further_away_is_asked_for_less():
    goals = [*GOALS, "near D10 <= 60 Gy", "far D10 <= 60 Gy"]
    near, far = (terms(goals)[name][KLDivergenceTerm].dvh for name in ("near", "far"))
    assert (np.interp(VOLUMES, near[::-1, 1], near[::-1, 0]) >= np.interp(VOLUMES, far[::-1, 1], far[::-1, 0])).all()
    assert near[-1, 0] > 1.5 * far[-1, 0]


def test_organs_and_body_are_pressed_by_like_shares_of_their_mean_doses():
    asked = terms([*GOALS, "near D10 <= 25 Gy"])
    _, organs = asks_from_goals(ALL, [*GOALS, "near D10 <= 25 Gy"], GRID, SETTINGS)
    reference = asked["PTV"][KLDivergenceTerm].dvh[-1, 0]
    for organ in organs:
        term = asked[organ.structure.name][MeanDoseTerm]
        cost = term.weight * (organ.mean_gy / reference) ** 2
        share = 1.0 if organ.structure.name == "near" else SETTINGS.rest_share
        assert cost == pytest.approx(SETTINGS.mean_weight * share), organ.structure.name
    near, far = (next(o for o in organs if o.structure.name == name) for name in ("near", "far"))
    assert near.mean_gy > far.mean_gy


def test_what_has_no_goals_is_guarded_far_from_all_targets():
    second = block("second", slice(0, 2), is_target=True)
    body = Structure("body", BODY.share - second.share)
    goals = [*GOALS, "second D95 >= 30 Gy", "near D10 <= 25 Gy"]
    far = far_parts(*asks_from_goals([TARGET, second, NEAR, body], goals, GRID, SETTINGS), GRID, SETTINGS)
    assert [ask.structure.name for ask in far] == ["body 30 mm from targets"]
    assert [term.limit_gy for term in far[0].terms()] == [pytest.approx(50 * SETTINGS.far_share)]
    x = np.arange(20) * 5.0
    beside = np.minimum(np.maximum(x - 55, 0), np.maximum(x - 5, 0))[13:]
    inside = far[0].structure.share[13:, 5, 5] > 0
    np.testing.assert_array_equal(inside, (beside > 30) & (body.share[13:, 5, 5] > 0))
    assert not (far[0].structure.share > body.share).any()
    assert far_parts(*asks_from_goals([TARGET, NEAR], GOALS, GRID, SETTINGS), GRID, SETTINGS) == []


def test_a_goal_for_the_hottest_part_of_an_organ_has_a_guard_of_its_own():
    guard, cap = maxima([*GOALS, "near D10 <= 25 Gy", "near D5 <= 30 Gy"], "near")
    assert guard.limit_gy == pytest.approx(50 * SETTINGS.guard_share)
    assert (cap.limit_gy, cap.weight) == (pytest.approx(0.99 * 25), SETTINGS.cap_weight)
    assert len(maxima([*GOALS, "near D50 <= 25 Gy"], "near")) == 1
    assert len(maxima([*GOALS, "near D10 <= 60 Gy"], "near")) == 1


def test_a_hot_voxel_costs_the_same_in_a_larger_structure():
    (body,), (far,) = (maxima([*GOALS, "near D50 <= 25 Gy"], name) for name in ("body", "far"))
    assert far.weight == SETTINGS.guard_weight
    assert body.weight / far.weight == pytest.approx(BODY.share.sum() / TARGET.share.sum())


def test_a_target_beside_one_of_a_higher_dose_may_have_its_fall_off():
    lower = block("boost margin", slice(12, 16), is_target=True)
    alone = block("alone", slice(1, 4), is_target=True)
    structures = [TARGET, lower, alone, Structure("body", 1.0 - TARGET.share - lower.share - alone.share)]
    goals = [*GOALS, "boost margin D99 >= 20 Gy", "boost margin D30 <= 30 Gy", "alone D99 >= 20 Gy"]
    targets, _ = asks_from_goals(structures, goals, GRID, SETTINGS)
    by_name = {target.structure.name: target for target in targets}
    assert by_name["boost margin"].doses[0] > 30
    assert by_name["boost margin"].doses[VOLUMES >= 0.3].max() <= 30 * 0.99
    assert by_name["boost margin"].doses[-1] >= 20 * 1.01
    assert by_name["PTV"].doses[0] < 55


def test_expected_dose_falls_with_the_distance():
    targets, _ = asks_from_goals(ALL, GOALS, GRID, SETTINGS)
    profile = expected_dose(targets, GRID)[:, 5, 5]
    assert (profile[8:12] == 50).all()
    assert (np.diff(profile[11:]) < 0).all()


def test_quantiles_are_those_of_the_evaluation():
    rng = np.random.default_rng(3)
    dose, share = rng.uniform(0, 50, GRID.shape), rng.uniform(0, 1, GRID.shape) * BODY.share
    expected = [dose_at_volume(dose, share, 100 * volume) for volume in VOLUMES]
    np.testing.assert_allclose(dose_quantiles(dose, share), expected)


@pytest.mark.parametrize(
    ("goals", "structures", "complaint"),
    [
        ([], ALL, "there are no goals; state some, such as 'PTV D95 >= 50 Gy'"),
        (
            ["Heart D10 <= 5 Gy"],
            ALL,
            "goal 'Heart D10 <= 5 Gy' is for 'Heart'; the structures are PTV, near, far, body",
        ),
        (
            ["near D10 <= 5 Gy"],
            ALL,
            "target 'PTV' has no goal for its lowest dose; add one, such as 'PTV D95 >= 50 Gy'",
        ),
        (["near D10 <= 5 Gy"], [NEAR, BODY], "none of the structures 'near', 'body' is a target"),
        (["PTV D95 >= 50 Gy", "PTV D10 <= 50.5 Gy"], ALL, "goals of target 'PTV' leave no room: .* margin of 1.0%"),
        ([*GOALS, "near D50 >= 5 Gy"], ALL, "asks for dose in 'near', which is not a target; set its is_target"),
        (["PTV D95 => 50 Gy"], ALL, "goal 'PTV D95 => 50 Gy' is not understood"),
    ],
)
def test_wrong_goals_are_named(goals, structures, complaint):
    with pytest.raises(ValueError, match=complaint):
        prescription_from_goals(structures, goals, GRID, SETTINGS)


def test_conformity_and_homogeneity_are_left_to_the_judgment():
    plain = terms(GOALS)["PTV"][KLDivergenceTerm].dvh
    np.testing.assert_array_equal(
        terms([*GOALS, "PTV HI <= 0.1", "PTV CI50 >= 0.8"])["PTV"][KLDivergenceTerm].dvh, plain
    )


@pytest.mark.parametrize(
    ("setting", "value", "rule"),
    [
        ("margin", -0.1, "from 0 to below 0.1"),
        ("rounds", 0, "at least 1"),
        ("pull", 1.0, "between 0 and 1"),
        ("step", 1.0, "above 1"),
        ("target_width", 0.0, "above 0 and at most 1"),
        ("organ_weight", 0.0, "positive"),
        ("rest_share", 0.0, "positive"),
        ("guard_share", 1.2, "above 0, at most hot_spot_share"),
    ],
)
def test_settings_are_checked(setting, value, rule):
    with pytest.raises(ValueError, match=f"{setting} is {value}.*; it must be {rule}"):
        GoalPlannerSettings(**{setting: value})
