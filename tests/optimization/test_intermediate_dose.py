"""A dose of either sign beside that of the beamlets: optimized with, shown and judged like any other."""

from __future__ import annotations

import numpy as np
import pytest
from gradients import assert_gradient
from problems import add_objectives, random_plan

import opentps_brimstone as pb
from opentps_brimstone.optimization.core_plan import assemble
from opentps_brimstone.optimization.core_settings import level_settings
from opentps_brimstone.optimization.run import fingerprint


def plan_with(more, *, seed=0, number_of_fractions=5):
    plan = random_plan(seed, number_of_fractions=number_of_fractions)
    plan.set_intermediate_dose(more)
    return plan


def optimizer_with(more, **settings):
    optimizer = pb.PlanOptimizer(plan_with(more), pb.OptimizerSettings(**settings))
    add_objectives(optimizer)
    return optimizer


def signed(seed=0, scale=6.0):
    """Less than 0 in half of the voxels, and in some less than beamlets make up for."""
    plan = random_plan(seed)
    more = np.random.default_rng(seed + 7).normal(0.0, scale, plan.grid.shape)
    more[::4, ::3] -= 60.0
    return more


@pytest.mark.parametrize("more", [np.abs(signed()), signed()], ids=["positive", "of both signs"])
@pytest.mark.parametrize("grid", [0, 1])
@pytest.mark.parametrize("slope_variance", [False, True])
def test_its_gradient_agrees_with_central_differences(more, grid, slope_variance):
    settings = pb.OptimizerSettings(precision="reference", slope_variance=slope_variance)
    plan = plan_with(more)
    optimizer = pb.PlanOptimizer(plan, settings)
    add_objectives(optimizer)
    optimizer.add_objective(plan.structures["organ"], pb.MeanDoseTerm(1.0, quantity="eqd2", alpha_beta=3.0))
    assembled = assemble(plan, optimizer.prescription.objectives, settings)
    limit = assembled.uniform_weight / settings.uniform_share
    objective = assembled.core.objective(level_settings(settings, 0, grid, assembled.reference_dose, limit))
    rng = np.random.default_rng(1)
    n = assembled.core.matrix_shape(grid)[1]
    for _ in range(3):
        objective.add_searched_direction(rng.normal(size=n))
    assert_gradient(objective, objective.parameter(limit * rng.uniform(0.05, 0.7, n)), rng, directions=12)


def test_wide_doses_end_at_the_dose():
    """Where all is smoothed widely, an offset below 0 leaves less dose than beamlets give to the wide kernel."""
    settings = pb.OptimizerSettings(precision="reference", dynamic_covariance=False, slope_variance=False)
    plan = plan_with(np.full(random_plan(0).grid.shape, -3.0))
    optimizer = pb.PlanOptimizer(plan, settings)
    add_objectives(optimizer)
    assembled = assemble(plan, optimizer.prescription.objectives, settings)
    limit = assembled.uniform_weight / settings.uniform_share
    objective = assembled.core.objective(level_settings(settings, 0, 0, assembled.reference_dose, limit))
    rng = np.random.default_rng(2)
    x = objective.parameter(limit * rng.uniform(0.05, 0.7, len(assembled.beamlets)))
    assert_gradient(objective, x, rng, directions=12)


@pytest.mark.parametrize("more", [3.0, -3.0])
def test_it_is_what_doses_are_shifted_by(more):
    """A term whose value is known from the sum, in every voxel."""
    plan = random_plan(3)
    w = np.random.default_rng(0).uniform(100, 200, plan.dose_influence.layout.n_beamlets)
    prescription = pb.PlanOptimizer(plan, pb.OptimizerSettings(precision="reference")).prescription
    for structure in plan.structures:
        prescription.add(structure, pb.MaximumDoseTerm(20.0, weight=1.0))
    prescription.add(plan.structures["PTV"], pb.KLDivergenceTerm(dose_range=(48, 52), weight=1e-9))
    plan.set_intermediate_dose(np.full(plan.grid.shape, more))
    cost, _ = prescription.evaluate(w)
    dose = np.maximum(plan.dose_influence.dose(w) + more, 0.0)
    np.testing.assert_array_equal(plan.dose_of(w), dose)
    over = np.maximum(dose - 20.0, 0.0) / 52.0
    wanted = sum(np.vdot(s.share, over**2) / s.share.sum() for s in plan.structures)
    assert cost - prescription.settings.cost_offset == pytest.approx(wanted, rel=1e-6)
    plan.set_intermediate_dose(None)
    assert prescription.evaluate(w)[0] != cost


@pytest.mark.parametrize("line_search", ["interpolated", "brent"])
def test_what_beamlets_give_less_it_gives_more(line_search):
    plan = random_plan(0)
    more = np.where(plan.structures["PTV"].share > 0, 5.0, 0.5)
    target = plan.structures["PTV"].share
    means = []
    for given in (more, None):
        result = optimizer_with(given, line_search=line_search).optimize()
        of_beamlets = plan.dose_influence.dose(result.beamlet_weights, 5)
        means.append([np.average(dose, weights=target) for dose in (result.dose, of_beamlets)])
    assert means[0][0] == pytest.approx(means[1][0], rel=0.01)
    assert means[1][1] - means[0][1] == pytest.approx(5.0, abs=0.5)


def test_a_signed_one_is_optimized_with_and_in_every_dose_of_the_result():
    more = signed(scale=1.0)
    optimizer = optimizer_with(more)
    doses = []

    def keep(beamlet_weights, dose, level, **_):
        if level == 0:
            doses.append((np.array(beamlet_weights), np.array(dose)))

    result = optimizer.optimize(callback=keep)
    plan = optimizer.plan
    wanted = np.maximum(plan.dose_influence.dose(result.beamlet_weights, 5) + more, 0.0)
    np.testing.assert_array_equal(result.dose, wanted)
    np.testing.assert_array_equal(plan.get_dose(), wanted)
    target = plan.structures["PTV"]
    axis, volume = target.get_dvh()
    between, share = target.sample(wanted)
    above = share[between >= 50.0].sum() / share.sum()
    assert np.interp(50.0, axis, volume) == pytest.approx(above, abs=0.02)
    weights, dose = doses[-1]
    in_any = np.logical_or.reduce([structure.touched for structure in plan.structures])
    np.testing.assert_allclose(dose[in_any], plan.dose_of(weights)[in_any], rtol=1e-5, atol=1e-3)


def test_histograms_of_the_dose_before_are_forgotten():
    optimizer = optimizer_with(None)
    optimizer.optimize()
    plan = optimizer.plan
    before = plan.structures["PTV"].get_dvh()
    plan.set_intermediate_dose(np.full(plan.grid.shape, 1.0))
    with pytest.raises(ValueError, match="'PTV' has no DVH"):
        plan.structures["PTV"].get_dvh()
    plan.update_histograms()
    assert plan.structures["PTV"].get_dvh()[0].max() == pytest.approx(before[0].max() + 1.0)


def test_without_one_nothing_changes():
    """A dose of 0 goes the way of an offset; what it finds is bitwise what is found without."""
    plain, with_zero = optimizer_with(None), optimizer_with(np.zeros(random_plan(0).grid.shape))
    found, same = plain.optimize(), with_zero.optimize()
    np.testing.assert_array_equal(found.beamlet_weights, same.beamlet_weights)
    assert found.convergence_history["cost"] == same.convergence_history["cost"]


def test_voxels_that_no_beamlet_reaches_have_it():
    plan = random_plan(0)
    given = plan.dose_influence
    beyond = np.zeros(plan.grid.shape)
    beyond[0, 0, :] = 1.0
    shielded = given.matrix.multiply(1 - beyond.reshape(-1, 1)).tocsc()
    shielded.eliminate_zeros()
    influence = pb.DoseInfluence(shielded, given.grid, given.layout)
    assert not influence.reached[0, 0].any()
    own = pb.Plan.from_influence(influence, [*plan.structures, pb.Structure("beyond", beyond)])
    prescription = pb.Prescription(own)
    prescription.add(own.structures["PTV"], pb.KLDivergenceTerm(dose_range=(48, 52), weight=1e-9))
    prescription.add(own.structures["beyond"], pb.MeanDoseTerm(1.0))
    w = np.full(own.dose_influence.layout.n_beamlets, 100.0)
    without, _ = prescription.evaluate(w)
    assert without - prescription.settings.cost_offset == pytest.approx(0.0, abs=1e-7)
    own.set_intermediate_dose(np.full(own.grid.shape, 5.0))
    cost, _ = prescription.evaluate(w)
    assert cost - prescription.settings.cost_offset == pytest.approx(((5.0 - 1.0) / 52.0) ** 2, abs=1e-7)


def test_a_quantity_follows_from_the_sum():
    plan = plan_with(np.full(random_plan(0).grid.shape, 2.0), number_of_fractions=2)
    plan.beamlet_weights = np.full(plan.dose_influence.layout.n_beamlets, 50.0)
    dose = plan.dose_influence.dose(plan.beamlet_weights, 2) + 2.0
    np.testing.assert_allclose(plan.get_dose("bed", alpha_beta=4.0), dose * (1 + dose / 8))


def test_a_checkpoint_belongs_to_it():
    def identity(more):
        optimizer = optimizer_with(more)
        return fingerprint(optimizer.plan, optimizer.prescription.objectives, optimizer.settings)

    more = signed()
    assert identity(more) == identity(more.copy())
    assert len({identity(None), identity(more), identity(more + 1e-9)}) == 3


def test_goals_are_planned_for_with_it():
    more = np.full(random_plan(0).grid.shape, 2.0)
    plan = plan_with(more)
    goals = ["PTV D95 >= 40 Gy", "PTV Dmax <= 80 Gy"]  # rough, read between voxels
    result = pb.GoalPlanner(plan, goals, pb.GoalPlannerSettings(rounds=2)).optimize()
    wanted = plan.dose_influence.dose(result.beamlet_weights, 5) + more
    np.testing.assert_allclose(result.dose, wanted)
    table = pb.evaluate(wanted, plan.structures, goals, grid=plan.grid)
    assert [row.value for row in result.goals] == pytest.approx([row.value for row in table], rel=1e-9)
    assert table[0].met


def test_bad_ones_are_refused():
    plan = random_plan(0)
    with pytest.raises(ValueError, match=r"has the shape \(2, 2, 2\); the dose grid is \(10, 9, 8\)"):
        plan.set_intermediate_dose(np.zeros((2, 2, 2)))
    wrong = np.zeros(plan.grid.shape)
    wrong[1, 2, 3] = np.nan
    with pytest.raises(ValueError, match=r"is nan in voxel \(1, 2, 3\); it must be finite"):
        plan.set_intermediate_dose(wrong)
    with pytest.raises(ValueError, match=r"gives the targets 60.00 Gy on average; their terms ask for 50.00 Gy"):
        optimizer_with(np.full(plan.grid.shape, 60.0)).optimize()


def test_terms_on_effect_of_further_matrices_are_refused():
    plan = plan_with(np.zeros(random_plan(0).grid.shape))
    plan.alpha_dose = plan.sqrt_beta_dose = plan.dose_influence.matrix
    optimizer = pb.PlanOptimizer(plan)
    add_objectives(optimizer)
    optimizer.add_objective(plan.structures["organ"], pb.MeanDoseTerm(1.0, quantity="effect"))
    with pytest.raises(ValueError, match=r"intermediate dose, of which its matrices .* know nothing"):
        optimizer.optimize()
