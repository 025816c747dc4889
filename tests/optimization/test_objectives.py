from __future__ import annotations

import numpy as np
import pytest
from problems import random_plan
from scipy.optimize import check_grad

import opentps_brimstone as pb

RNG = np.random.default_rng(11)
DOSE = RNG.uniform(5, 60, 40)
SHARE = RNG.uniform(0.2, 1.0, 40)
SHARE /= SHARE.sum()

TERMS = [
    pb.SquaredDeviationTerm(50.0),
    pb.EUDTerm(20.0, a=1.0),
    pb.EUDTerm(20.0, a=8.0),
    pb.EUDTerm(45.0, a=-10.0, minimum=True),
    pb.DVHLimitTerm(30.0, 0.2),
    pb.DVHLimitTerm(30.0, 0.9, minimum=True),
    pb.HomogeneityTerm(),
    pb.MaximumDoseTerm(30.0),
    pb.MinimumDoseTerm(30.0),
    pb.MeanDoseTerm(20.0),
    pb.KLDivergenceTerm(dose_range=(48, 52)),
    pb.KLDivergenceTerm(dvh=[(0, 1), (20, 0.4), (40, 0)], direction="target_calc"),
]


@pytest.mark.parametrize("term", TERMS, ids=lambda term: type(term).__name__)
def test_gradients_are_those_of_the_values(term):
    value, gradient = term.evaluate(DOSE, SHARE)
    assert value > 0
    assert gradient.shape == DOSE.shape
    error = check_grad(lambda d: term.evaluate(d, SHARE)[0], lambda d: term.evaluate(d, SHARE)[1], DOSE, epsilon=1e-6)
    assert error < 1e-5 * np.linalg.norm(gradient)


def test_definitions():
    assert pb.SquaredDeviationTerm(50.0).evaluate(DOSE, SHARE)[0] == pytest.approx(SHARE @ (DOSE / 50 - 1) ** 2)
    eud = (SHARE @ DOSE**8) ** (1 / 8)
    assert pb.EUDTerm(20.0, a=8.0).evaluate(DOSE, SHARE)[0] == pytest.approx((eud / 20 - 1) ** 2)
    assert pb.EUDTerm(eud + 1, a=8.0).evaluate(DOSE, SHARE)[0] == 0
    assert pb.EUDTerm(eud - 1, a=8.0, minimum=True).evaluate(DOSE, SHARE)[0] == 0
    mean = SHARE @ DOSE
    variance = SHARE @ (DOSE - mean) ** 2
    assert pb.HomogeneityTerm().evaluate(DOSE, SHARE)[0] == pytest.approx(variance / mean**2)
    assert pb.HomogeneityTerm().evaluate(np.zeros(40), SHARE)[0] == 0


def test_a_dvh_limit_costs_nothing_once_it_is_met():
    above = SHARE[DOSE > 30].sum()
    assert pb.DVHLimitTerm(30.0, above).evaluate(DOSE, SHARE)[0] == 0
    assert pb.DVHLimitTerm(30.0, above - 0.1).evaluate(DOSE, SHARE)[0] > 0
    assert pb.DVHLimitTerm(30.0, above - 1e-9, minimum=True).evaluate(DOSE, SHARE)[0] == 0
    assert pb.DVHLimitTerm(30.0, above + 0.1, minimum=True).evaluate(DOSE, SHARE)[0] > 0
    _, gradient = pb.DVHLimitTerm(30.0, above - 0.1).evaluate(DOSE, SHARE)
    crossing = np.flatnonzero(gradient)
    assert SHARE[crossing].sum() >= 0.1 > SHARE[crossing].sum() - SHARE[crossing].max()
    assert (DOSE[crossing] <= np.sort(DOSE[DOSE > 30])[len(crossing) - 1]).all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: pb.SquaredDeviationTerm(0.0), "the dose of a squared deviation is 0.0 Gy; it must be positive"),
        (lambda: pb.EUDTerm(-1.0, a=2), "the limit of an EUD is -1.0 Gy; it must be positive"),
        (lambda: pb.EUDTerm(20.0, a=0), "the exponent a of an EUD is 0; it must be finite and not 0"),
        (lambda: pb.DVHLimitTerm(20.0, 1.5), "the volume of a DVH limit is 1.5; it must be a share from 0 to 1"),
        (lambda: pb.HomogeneityTerm(weight=-1), "the weight of HomogeneityTerm is -1; it must be positive"),
    ],
)
def test_bad_numbers_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_mixed_prescription_does_what_its_terms_ask():
    plan = random_plan(4)
    optimizer = pb.PlanOptimizer(plan)
    ptv, organ = plan.structures["PTV"], plan.structures["organ"]
    optimizer.add_objective(ptv, pb.KLDivergenceTerm(dose_range=(48, 52)))
    optimizer.add_objective(plan.structures["body"], pb.MaximumDoseTerm(52))
    plain = optimizer.optimize().dose
    optimizer.add_objective(ptv, pb.HomogeneityTerm(weight=2))
    optimizer.add_objective(organ, pb.EUDTerm(15.0, a=1.0, weight=0.5))
    mixed = optimizer.optimize().dose
    in_ptv, in_organ = ptv.share > 0.5, organ.share > 0.5
    assert mixed[in_organ].mean() < plain[in_organ].mean()
    assert mixed[in_ptv].mean() == pytest.approx(50, abs=2)


@pytest.mark.parametrize("a", [1e-9, 0.5, 1.0, 52.0, 150.0, 1000.0, 1e6, -1e-9, -0.5, -52.0, -150.0, -1e6])
@pytest.mark.parametrize("minimum", [False, True])
@pytest.mark.parametrize(
    "dose", [[0.0] * 4, [0.3] * 4, [0.0, 50.0, 50.0, 50.0], [100.0] * 4, [1e-9, 1.0, 1e3, 1e6]], ids=str
)
def test_an_eud_of_any_exponent_is_a_number(a, minimum, dose):
    dose, share = np.array(dose), np.full(4, 0.25)
    value, gradient = pb.EUDTerm(45.0, a, minimum=minimum).evaluate(dose, share)
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()
    eud = 45.0 * (1 + np.sqrt(value) * (-1 if minimum else 1))
    if value:
        assert max(dose.min(), 4.4e-5) - 1e-9 <= eud <= dose.max() * (1 + 1e-9) + 5e-5


def test_an_eud_of_a_high_exponent_is_the_extreme_dose():
    assert 45 * (1 + pb.EUDTerm(45.0, 1e5).evaluate(DOSE, SHARE)[0] ** 0.5) == pytest.approx(DOSE.max(), rel=1e-3)
    assert 45 * (1 - pb.EUDTerm(45.0, -1e5, minimum=True).evaluate(DOSE, SHARE)[0] ** 0.5) == pytest.approx(
        DOSE.min(), rel=1e-3
    )


@pytest.mark.parametrize("term", TERMS, ids=lambda term: type(term).__name__)
@pytest.mark.parametrize("dose", [0.0, 1e-300, 1e-150, 1e-8, 1e4], ids=str)
def test_every_term_is_a_number_for_doses_of_any_scale(term, dose):
    doses = np.array([dose, 2 * dose, dose, 0.0])
    value, gradient = term.evaluate(doses, np.array([0.5, 0.3, 0.2 - 1e-12, 1e-12]))
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()
