"""Goals in percent of the prescribed dose."""

from __future__ import annotations

import numpy as np
import pytest

import opentps_brimstone as pb
from opentps_brimstone.evaluation import DVHGoal, DVHMetric, as_goals, evaluate
from opentps_brimstone.goal_planning.from_goals import prescription_from_goals
from opentps_brimstone.model.example import three_voxel_plan
from opentps_brimstone.optimization.example import three_voxel_optimizer


@pytest.fixture
def structures() -> list[pb.Structure]:
    target = np.zeros((10, 10, 1))
    target[:5] = 1
    return [pb.Structure("PTV", target), pb.Structure("Boost", target), pb.Structure("Cord", 1 - target)]


@pytest.fixture
def dose() -> np.ndarray:
    return np.random.default_rng(5).uniform(50.0, 62.0, (10, 10, 1))


@pytest.mark.parametrize(
    ("relative", "in_gray"),
    [
        ("PTV D95 >= 95 %", "PTV D95 >= 57 Gy"),
        ("PTV D2cc <= 107%", "PTV D2cc <= 64.2 Gy"),
        ("PTV Dmean >= 99 %", "PTV Dmean >= 59.4 Gy"),
        ("PTV V95% >= 98 %", "PTV V57 >= 98 %"),
        ("PTV V107% <= 2 cc", "PTV V64.2Gy <= 2 cc"),
        ("PTV CI95% >= 0.8", "PTV CI57 >= 0.8"),
        ("PTV GI50% <= 5", "PTV GI30 <= 5"),
    ],
)
def test_percent_are_of_the_prescribed_dose(relative, in_gray):
    assert DVHGoal.parse(relative).is_relative
    assert as_goals([relative], prescribed_dose=60.0) == [DVHGoal.parse(in_gray)]


def test_a_relative_goal_is_judged_as_the_same_one_in_gray(dose, structures):
    relative = evaluate(dose, structures, ["PTV D95 >= 95 %", "PTV V95% >= 98 %"], prescribed_dose=54.5)
    in_gray = evaluate(dose, structures, ["PTV D95 >= 51.775 Gy", "PTV V51.775 >= 98 %"])
    assert [(result.value, result.met) for result in relative] == [(result.value, result.met) for result in in_gray]


def test_percent_are_of_a_targets_own_dose_and_of_the_highest_one_elsewhere():
    asked = as_goals(
        ["PTV D95 >= 95 %", "Boost D95 >= 95 %", "Cord Dmax <= 50 %"], prescribed_dose={"PTV": 50.0, "Boost": 60.0}
    )
    assert [goal.value for goal in asked] == [47.5, 57.0, 30.0]


def test_tables_show_percent_and_gray(dose, structures):
    table = evaluate(dose, structures, ["PTV D95 >= 95 %", "PTV V95% >= 98 %"], prescribed_dose=50.0)
    assert [row[1:3] for row in table.rows()] == [("D95", ">= 95 % (47.5 Gy)"), ("V95% (47.5 Gy)", ">= 98 %")]
    assert [record["written"] for record in table.records()] == ["PTV D95 >= 95 %", "PTV V95% >= 98 %"]
    assert [record["goal"] for record in table.records()] == [47.5, 98.0]


@pytest.mark.parametrize(
    ("prescribed", "complaint"),
    [
        (None, r"goal 'PTV D95 >= 95 %' is relative to the prescribed dose; give prescribed_dose="),
        ({}, "and no target has one"),
        (0.0, "the prescribed dose of goal 'PTV D95 >= 95 %' is 0.0 Gy; it must be positive"),
        (float("nan"), "is nan Gy; it must be positive"),
        ({"PTV": -50.0}, "is -50.0 Gy; it must be positive"),
    ],
)
def test_without_a_prescribed_dose_relative_goals_are_refused(dose, structures, prescribed, complaint):
    with pytest.raises(ValueError, match=complaint):
        evaluate(dose, structures, ["PTV D95 >= 95 %"], prescribed_dose=prescribed)


def test_a_relative_metric_has_no_value_before_its_dose_is_known(dose, structures):
    with pytest.raises(ValueError, match="V95% is relative to the prescribed dose"):
        DVHMetric("V95%")(dose, structures[0].share)


def test_planners_take_relative_goals():
    plan = three_voxel_plan()
    relative, in_gray = ["PTV D95 >= 90 %", "Cord Dmax <= 50 %"], ["PTV D95 >= 9 Gy", "Cord Dmax <= 5 Gy"]
    asked = prescription_from_goals(plan.structures, relative, plan.grid, prescribed_dose=10.0)
    assert repr(asked) == repr(prescription_from_goals(plan.structures, in_gray, plan.grid))
    assert pb.GoalPlanner(plan, relative, prescribed_dose=10.0).optimize().goals.all_met


def test_runs_stop_at_relative_goals():
    stop = pb.StopWhenGoalsMet(["PTV D95 >= 90 %"], every=1, prescribed_dose=10.0)
    assert three_voxel_optimizer().optimize(callback=stop).message == "stopped by the callback"
    assert stop.table.all_met
