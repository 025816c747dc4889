"""Goals of EQD2, BED and effect."""

from __future__ import annotations

import numpy as np
import pytest

import opentps_brimstone as pb
from opentps_brimstone.evaluation import DVHGoal, compare_plans, dose_at_volume_cc, evaluate, volume_at_dose
from opentps_brimstone.model.dose import DoseArray
from opentps_brimstone.model.previous_course import PreviousCourse

GRID = pb.VoxelGrid((10, 2, 2), (5.0, 5.0, 5.0))


@pytest.fixture
def cord():
    made = pb.Structure("Cord", np.ones(GRID.shape), grid=GRID)
    made.alpha_beta = 2.0
    return made


@pytest.fixture
def dose():
    return DoseArray(np.linspace(10.0, 50.0, GRID.n_voxels).reshape(GRID.shape), GRID)


@pytest.mark.parametrize(
    ("text", "quantity", "alpha_beta", "shown"),
    [
        ("Cord EQD2 D0.03cc <= 50 Gy", "eqd2", None, "Cord EQD2 D0.03cc <= 50 Gy"),
        ("Cord eqd2 Dmax < 50", "eqd2", None, "Cord EQD2 Dmax < 50 Gy"),
        ("left lung BED(a/b=3) V20Gy ≤ 30 %", "bed", 3.0, "left lung BED(a/b=3) V20 <= 30 %"),
        ("Cord EQD2Gy(a/b=2.5) Dmean <= 20 Gy", "eqd2", 2.5, "Cord EQD2(a/b=2.5) Dmean <= 20 Gy"),
        ("PTV effect D95 >= 12", "effect", None, "PTV effect D95 >= 12"),
        ("PTV RBE D95 >= 50", "rbe_x_dose", None, "PTV RBE D95 >= 50 Gy"),
        ("Brainstem LET D2 <= 6 keV/um", "let", None, "Brainstem LET D2 <= 6 keV/µm"),
        ("Cord let_dose Dmax < 90 Gy keV/µm", "let_dose", None, "Cord let_dose Dmax < 90 Gy keV/µm"),
        ("Tumor bed D95 >= 50 Gy", "physical_dose", None, "Tumor bed D95 >= 50 Gy"),
        ("EQD2 ring Dmax <= 50 Gy", "physical_dose", None, "EQD2 ring Dmax <= 50 Gy"),
        ("EQD2 Dmax <= 50 Gy", "physical_dose", None, "EQD2 Dmax <= 50 Gy"),
    ],
)
def test_a_goal_names_its_quantity(text, quantity, alpha_beta, shown):
    goal = DVHGoal.parse(text)
    assert (goal.quantity, goal.alpha_beta, str(goal)) == (quantity, alpha_beta, shown)
    assert DVHGoal.parse(str(goal)) == goal


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Cord EQD2(a/b=0) Dmax <= 50 Gy", "alpha/beta of the goal of Cord is 0.0 Gy"),
        ("PTV EQD2 CI50 >= 0.8", "CI50 of PTV is of the whole dose; it has no eqd2"),
        ("PTV RBE(a/b=3) D95 >= 50", "rbe_x_dose of PTV does not depend on the alpha/beta of a goal"),
        ("Brainstem LET D2 <= 6 Gy", "D2 is in keV/µm, not in Gy"),
        ("PTV effect D95 >= 12 Gy", "D95 is without a unit, not in Gy"),
    ],
)
def test_a_wrong_quantity_is_refused(text, message):
    with pytest.raises(ValueError, match=message.replace("(", r"\(").replace(")", r"\)")):
        DVHGoal.parse(text)


def test_the_values_are_those_of_the_quantity(cord, dose):
    share = cord.share
    values = np.asarray(dose)
    eqd2 = values * (values / 20 + 2.0) / 4.0
    bed = values * (1 + values / (20 * 3.0))
    goals = ["Cord EQD2 D0.5cc <= 50 Gy", "Cord BED(a/b=3) Dmean <= 50 Gy", "Cord EQD2 V20 <= 50", "Cord Dmax <= 49 Gy"]
    table = evaluate(dose, [cord], goals, number_of_fractions=20)
    wanted = [
        dose_at_volume_cc(eqd2, share, 0.5, 0.125),
        bed.mean(),
        volume_at_dose(eqd2, share, 20.0),
        50.0,
    ]
    np.testing.assert_allclose([result.value for result in table], wanted, rtol=1e-12)
    assert [row[1] for row in table.rows()] == ["EQD2 D0.5cc", "BED(a/b=3) Dmean", "EQD2 V20", "Dmax"]
    assert table.records()[1]["quantity"] == "bed"
    assert "quantity" not in table.records()[3]
    in_eqd2 = evaluate(dose, [cord], ["Cord Dmean <= 50 Gy"], number_of_fractions=20, quantity="eqd2")
    assert in_eqd2[0].value == pytest.approx(eqd2.mean())


def test_dose_given_before_is_counted_in(cord, dose):
    before = DoseArray(np.full(GRID.shape, 30.0), GRID)
    cord.previous_dose = PreviousCourse(before, 10, recovery=0.25)
    goals = ["Cord EQD2 Dmin >= 0 Gy", "Cord Dmin >= 0 Gy"]
    found = evaluate(dose, [cord], goals, number_of_fractions=20)
    assert found[0].value == pytest.approx(28.125 + 10 * (0.5 + 2) / 4)
    assert found[1].value == 10.0


def test_quantities_of_matrices_are_given(cord, dose):
    goals = ["Cord RBE D50 <= 40 Gy", "Cord LET V2 <= 60 %", "Cord Dmax <= 60 Gy"]
    let = np.linspace(1.0, 3.0, GRID.n_voxels).reshape(GRID.shape)
    table = evaluate(dose, [cord], goals, quantities={"rbe_x_dose": 1.2 * np.asarray(dose), "let": let})
    assert [result.value for result in table] == pytest.approx([36.0, 50.0, 50.0])
    assert [row[3] for row in table.rows()] == ["36.00 Gy", "50.00 %", "50.00 Gy"]
    with pytest.raises(ValueError, match=r"give quantities=\{'rbe_x_dose': plan.get_dose\('rbe_x_dose'\)\}"):
        evaluate(dose, [cord], goals, quantities={"let": let})


def test_fractions_are_asked_for(cord, dose):
    with pytest.raises(ValueError, match="goal 'Cord EQD2 Dmax <= 50 Gy': eqd2 depends on the number of fractions"):
        evaluate(dose, [cord], ["Cord EQD2 Dmax <= 50 Gy"])


def test_plans_are_compared_by_quantities(cord, dose):
    found = compare_plans(dose, 0.5 * dose, [cord], ["Cord EQD2 Dmax <= 40 Gy"], number_of_fractions=20)
    assert [row[1] for row in found.goal_rows()] == ["EQD2 Dmax"]
    assert found.first_goals[0].value == pytest.approx(50 * 4.5 / 4)
