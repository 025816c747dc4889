"""Planning for goals of EQD2, with and without dose given before."""

from __future__ import annotations

import numpy as np
import pytest
from pencil_plans import pencil_plan
from problems import random_plan

import opentps_brimstone as pb
from opentps_brimstone import Plan, Structure
from opentps_brimstone.evaluation import DVHGoal, evaluate
from opentps_brimstone.goal_planning.quantity_goals import in_doses
from opentps_brimstone.quantities import DoseMap, QuantityResolver

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


def pencil_plan_of_particles():
    """Pencils whose LET, α and √β rise along their way."""
    plan = pencil_plan(number_of_fractions=FRACTIONS)
    matrix = plan.dose_influence.matrix.tocoo()
    along = matrix.data / matrix.data.max()
    let = 2.0 + 4.0 * (1 - along)

    def scaled(factor):
        made = matrix.copy()
        made.data = (matrix.data * factor).astype(np.float32)
        return made.tocsc()

    plan.alpha_dose, plan.sqrt_beta_dose = scaled(0.1 + 0.02 * let), scaled(np.sqrt(0.04))
    plan.let_dose = scaled(let)
    plan.alphax, plan.betax = 0.12, 0.04
    return plan


def test_goals_of_rbe_weighted_dose_are_planned():
    plan = pencil_plan_of_particles()
    goals = ["PTV RBE D95 >= 50 Gy", "PTV RBE D2 <= 60 Gy", "Cord RBE D2 <= 45 Gy", "Cord Dmean <= 25 Gy"]
    result = pb.GoalPlanner(plan, goals, pb.GoalPlannerSettings(rounds=4)).optimize()
    rbe = plan.get_dose("rbe_x_dose")
    resolved = QuantityResolver(plan).get("rbe_x_dose")(result.beamlet_weights)
    np.testing.assert_allclose(rbe.ravel(), resolved)
    table = evaluate(plan.get_dose(), plan.structures, goals, quantities={"rbe_x_dose": rbe})
    assert table.all_met
    assert [a.value for a in table] == pytest.approx([b.value for b in result.goals])
    # Normalized to the goal, with its margin: not by the dose, which is lower.
    assert 50.0 < table[0].value < 51.5
    assert evaluate(plan.get_dose(), plan.structures, ["PTV D95 >= 0 Gy"])[0].value < 47.0
    assert {term.quantity for _, term in result.objectives} == {"rbe_x_dose", "physical_dose"}


def test_a_goal_of_let_is_planned_beside_dose():
    goals = ["PTV D95 >= 50 Gy", "Cord LET D10 <= 4.6 keV/µm"]
    found = []
    for asked in (goals[:1], goals):
        plan = pencil_plan_of_particles()
        pb.GoalPlanner(plan, asked, pb.GoalPlannerSettings(rounds=3)).optimize()
        quantities = {"let": plan.get_dose("let")}
        found.append(evaluate(plan.get_dose(), plan.structures, goals, quantities=quantities))
    assert found[1][0].met
    assert found[1][1].value < found[0][1].value


def test_targets_are_planned_in_one_quantity():
    plan = pencil_plan_of_particles()
    with pytest.raises(ValueError, match="asked for physical_dose and rbe_x_dose"):
        pb.GoalPlanner(plan, ["PTV RBE D95 >= 50 Gy", "PTV D95 >= 45 Gy"])
    with pytest.raises(ValueError, match="LET does not rise with the weights"):
        pb.GoalPlanner(plan, ["PTV LET D95 >= 2"])
    plan.sqrt_beta_dose = None
    with pytest.raises(ValueError, match="'rbe_x_dose' of 'PTV' needs the matrices alpha_dose and sqrt_beta_dose"):
        pb.GoalPlanner(plan, ["PTV RBE D95 >= 50 Gy"])
