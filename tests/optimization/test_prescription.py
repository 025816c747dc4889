from __future__ import annotations

import numpy as np
import pytest
from problems import random_plan

import opentps_brimstone as pb


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "either dose_range"),
        ({"dose_range": (10, 20), "dvh": [(0, 1), (1, 0)]}, "either dose_range"),
        ({"dose_range": (20, 20)}, r"the dose range \(20, 20\) Gy is empty"),
        ({"dose_range": (30, 20)}, r"the dose range \(30, 20\) Gy is empty"),
        ({"dose_range": (-1, 20)}, "empty or negative"),
        ({"dose_range": (1, 20), "volume_fraction": 0.0}, "volume_fraction is 0.0"),
        ({"dvh": [(0, 1), (10, 0.5), (20, 0.6), (30, 0)]}, "must fall: volume share 0.6 at 20 Gy follows 0.5 at 10 Gy"),
        ({"dvh": [(0, 0.9), (10, 0)]}, "starts at volume share 1, not 0.9"),
        ({"dvh": [(0, 1), (10, 0.1)]}, "ends at volume share 0, not 0.1"),
        ({"dvh": [(10, 1), (5, 0)]}, "5 Gy follows 10 Gy"),
        ({"dvh": [(10, 1), (10, 0)]}, "all its points are at 10 Gy"),
        ({"dvh": [(0, 1)]}, "at least two"),
        ({"dvh": [(0, 1), (np.nan, 0)]}, "finite doses"),
        ({"dose_range": (1, 2), "weight": 0}, "weight of KLDivergenceTerm is 0"),
        ({"dose_range": (1, 2), "direction": "sideways"}, "direction 'sideways' is unknown"),
        ({"dose_range": (1, 2), "quantity": "LET"}, "unknown quantity 'LET'; there are physical_dose"),
    ],
)
def test_bad_terms_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        pb.KLDivergenceTerm(**arguments)


def test_the_part_outside_falls_off_on_the_open_side():
    plan = random_plan(0)
    optimizer = pb.PlanOptimizer(plan)
    cold = pb.KLDivergenceTerm(dose_range=(50, 60), volume_fraction=0.95)
    hot = pb.KLDivergenceTerm(dose_range=(0, 40), volume_fraction=0.9)
    optimizer.add_objective(plan.structures["PTV"], cold)
    optimizer.add_objective(plan.structures["organ"], hot)
    np.testing.assert_allclose(cold.dvh, [(45, 1), (50, 0.95), (60, 0)])
    np.testing.assert_allclose(hot.dvh, [(0, 1), (40, 0.1), (44, 0)])


def test_set_interval_replaces_the_target():
    term = pb.KLDivergenceTerm(dvh=[(0, 1), (10, 0)])
    term.set_interval(20, 30, 1.0)
    np.testing.assert_array_equal(term.dvh, [(20, 1), (30, 0)])
    assert repr(term) == "KLDivergenceTerm(dose_range=(20, 30), weight=1)"


def test_a_term_belongs_to_one_structure_of_the_plan():
    plan = random_plan(0)
    optimizer = pb.PlanOptimizer(plan)
    term = pb.KLDivergenceTerm(dose_range=(1, 2))
    stranger = pb.Structure("PTV", np.ones(plan.dose_influence.grid.shape))
    with pytest.raises(ValueError, match="structure 'PTV' is not the plan's"):
        optimizer.add_objective(stranger, term)
    optimizer.add_objective(plan.structures["PTV"], term)
    with pytest.raises(ValueError, match="already belongs to 'PTV'"):
        optimizer.add_objective(plan.structures["organ"], term)
    with pytest.raises(TypeError, match="must override evaluate"):
        optimizer.add_objective(plan.structures["organ"], pb.ObjectiveTerm())


def test_add_kl_divergence_term():
    plan = random_plan(0)
    prescription = pb.Prescription(plan)
    prescription.add_kl_divergence_term(plan.structures["PTV"], np.array([(45.0, 1.0), (55.0, 0.0)]), 2.0)
    low, gradient = prescription.evaluate(np.full(75, 100.0))
    assert gradient.shape == (75,)
    assert low > 0
    assert prescription.objectives[0].weight == 2.0


def test_a_dose_limit_must_be_one():
    with pytest.raises(ValueError, match="the dose limit is -1 Gy"):
        pb.MaximumDoseTerm(-1)


def test_evaluate_follows_changes_of_its_terms():
    plan = random_plan(0)
    prescription = pb.Prescription(plan)
    term = pb.KLDivergenceTerm(dose_range=(45, 55))
    prescription.add(plan.structures["PTV"], term)
    w = np.full(75, 100.0)
    first, gradient = prescription.evaluate(w)
    again, same_gradient = prescription.evaluate(w)
    assert again == first
    np.testing.assert_array_equal(gradient, same_gradient)
    term.weight = 2.0
    doubled, _ = prescription.evaluate(w)
    assert doubled - 0.1 == pytest.approx(2 * (first - 0.1))
    term.set_interval(20, 21)
    assert prescription.evaluate(w)[0] != doubled
