"""Planning for goals of EQD2, with and without dose given before."""

from __future__ import annotations

import numpy as np
import pytest
from problems import random_plan

import opentps_brimstone as pb
from opentps_brimstone import Plan, Structure
from opentps_brimstone.evaluation import DVHGoal, evaluate
from opentps_brimstone.goal_planning.quantity_goals import in_doses
from opentps_brimstone.quantities import DoseMap

FRACTIONS = 20


def told(structure, plan, *texts):
    goals = [DVHGoal.parse(text) for text in texts]
    return in_doses(structure, goals, plan.grid, 0.01, FRACTIONS)


def test_points_of_a_dvh_are_told_in_doses_exactly():
    random = random_plan(1, number_of_fractions=FRACTIONS)
    whole_voxels = [Structure(each.name, each.touched, each.is_target) for each in random.structures]
    plan = Plan.from_influence(random.dose_influence, whole_voxels, FRACTIONS)
    organ = plan.structures["organ"]
    eqd2 = DoseMap.eqd2(2.0, FRACTIONS)
    texts = ("organ EQD2(a/b=2) D2 <= 30 Gy", "organ EQD2(a/b=2) V10 <= 20 %", "organ Dmax <= 40 Gy")
    doses, apart = told(organ, plan, *texts)
    assert apart == []
    assert doses[0].value == pytest.approx(eqd2.inverse(30.0))
    assert doses[1].metric.number == pytest.approx(eqd2.inverse(10.0))
    assert doses[2] == DVHGoal.parse(texts[2])
    voxel_percent = 100 / np.count_nonzero(organ.mask)
    # The same verdict for any dose.
    for seed in range(5):
        dose = np.random.default_rng(seed).uniform(0.0, 60.0, plan.grid.shape)
        asked = evaluate(dose, plan.structures, texts[:2], grid=plan.grid, number_of_fractions=FRACTIONS)
        mapped = evaluate(dose, plan.structures, doses[:2], grid=plan.grid)
        # Between voxels, doses are interpolated in one and EQD2 in the other.
        assert asked[0].value == pytest.approx(eqd2.value(mapped[0].value), rel=1e-2)
        assert asked[1].value == pytest.approx(mapped[1].value, abs=0.1 * voxel_percent)


def test_what_differs_between_voxels_is_asked_for_as_it_is():
    plan = random_plan(1, number_of_fractions=FRACTIONS)
    plan.set_previous_dose(np.random.default_rng(0).uniform(0, 20, plan.grid.shape), 10)
    organ = plan.structures["organ"]
    doses, apart = told(
        organ, plan, "organ EQD2(a/b=2) D1 <= 30 Gy", "organ EQD2 D50 <= 15 Gy", "organ EQD2 Dmean <= 9"
    )
    assert doses == []
    terms = [ask.term(5.0) for ask in apart]
    assert [type(term).__name__ for term in terms] == ["MaximumDoseTerm", "DVHLimitTerm", "MeanDoseTerm"]
    assert all(term.quantity == "eqd2" for term in terms)
    assert terms[0].alpha_beta == 2.0
    assert terms[0].limit_gy == pytest.approx(30 * 0.99)


def test_a_target_that_has_its_dose_is_refused():
    plan = random_plan(1, number_of_fractions=FRACTIONS)
    plan.set_previous_dose(np.full(plan.grid.shape, 60.0), 30)
    with pytest.raises(ValueError, match=r"'PTV EQD2 D95 >= 50 Gy': the target has 60\.00 Gy of eqd2 from before"):
        pb.GoalPlanner(plan, ["PTV EQD2 D95 >= 50 Gy"])


def test_goals_of_both_courses_are_met():
    """What was given before lies on one side of the organ: the limit on both holds where dose alone would miss it."""
    plan = random_plan(3, number_of_fractions=FRACTIONS)
    before = np.zeros(plan.grid.shape)
    before[:, 6:] = 25.0
    plan.set_previous_dose(before, 10, structures=["organ"])
    plan.structures["organ"].alpha_beta = 2.0
    settings = pb.GoalPlannerSettings(rounds=5)
    goals = ["PTV D90 >= 45 Gy", "organ EQD2 Dmean <= 45 Gy", "organ EQD2 D5 <= 62 Gy"]
    result = pb.GoalPlanner(plan, goals, settings).optimize()
    table = evaluate(plan.get_dose(), plan.structures, goals, number_of_fractions=FRACTIONS)
    assert [a.value for a in table] == pytest.approx([b.value for b in result.goals])
    assert result.goals[0].met
    assert result.goals[1].value < 50
