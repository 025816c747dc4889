"""Costs and gradients of the core against their definition and central differences."""

from __future__ import annotations

import numpy as np
import pytest
from gradients import assert_gradient, central_difference
from problems import add_objectives, random_plan

import opentps_brimstone as pb
from opentps_brimstone import _core
from opentps_brimstone.optimization.core_plan import assemble
from opentps_brimstone.optimization.core_settings import bin_settings, level_settings


@pytest.mark.parametrize("direction", ["calc_target", "target_calc"])
@pytest.mark.parametrize("slope_variance", [False, True])
@pytest.mark.parametrize("dynamic_covariance", [False, True])
@pytest.mark.parametrize(
    ("tail_length", "target_smoothing"), [(0.0, "calculated"), (0.05, "calculated"), (0.0, "half")]
)
def test_gradient_agrees_with_central_differences(
    direction, slope_variance, dynamic_covariance, tail_length, target_smoothing
):
    for seed in range(3):
        settings = pb.OptimizerSettings(
            precision="reference",
            slope_variance=slope_variance,
            dynamic_covariance=dynamic_covariance,
            tail_length=tail_length,
            target_smoothing=target_smoothing,
        )
        plan = random_plan(seed)
        optimizer = pb.PlanOptimizer(plan, settings)
        add_objectives(optimizer, direction)
        assembled = assemble(plan, optimizer.prescription.objectives, settings)
        limit = assembled.uniform_weight / settings.uniform_share
        objective = assembled.core.objective(level_settings(settings, 0, 0, assembled.reference_dose, limit))
        rng = np.random.default_rng(seed)
        n = len(assembled.beamlets)
        for _ in range(3):
            objective.add_searched_direction(rng.normal(size=n))
        if dynamic_covariance:
            assert np.ptp(objective.variance) > 0
        # ŵ up to 0.7, so that the slope variance lies inside its bounds for many beamlets.
        x = objective.parameter(limit * rng.uniform(0.05, 0.7, n))
        assert_gradient(objective, x, rng, directions=12)


def test_prescription_gradient_is_per_mu_of_a_fraction():
    plan = random_plan(5, number_of_fractions=25)
    optimizer = pb.PlanOptimizer(plan, pb.OptimizerSettings(precision="reference"))
    add_objectives(optimizer)
    w = np.random.default_rng(0).uniform(5, 15, plan.dose_influence.layout.n_beamlets)
    cost, gradient = optimizer.prescription.evaluate(w)
    assert cost > 0
    along = np.ones_like(w) / np.sqrt(len(w))
    estimate = central_difference(lambda v: optimizer.prescription.evaluate(v)[0], w, along, 1e-5)
    assert estimate == pytest.approx(gradient @ along, rel=1e-5)


def reference_cost(dose, share, points, direction, bins) -> float:
    """KL divergence from its definition with dense NumPy, narrow kernel only for the calculated DVH."""
    delta, d_ref, eps = bins["bin_width"], bins["reference_dose"], bins["floor"]
    edge = 5 * np.sqrt(bins["variance_max"]) + 3 * delta
    b = np.arange(-np.ceil(edge / delta), np.ceil((max(dose.max(), points[-1, 0]) + edge) / delta) + 1) * delta

    def kernel(sigma):
        half = int(np.ceil(5 * sigma / delta))
        z = np.arange(-half, half + 1) * delta / sigma
        k = np.exp(-0.5 * z**2)
        return k / k.sum()

    hat = np.maximum(0, 1 - np.abs(dose[:, None] - b[None, :]) / delta)
    p = np.convolve(share @ hat, kernel(np.sqrt(bins["variance_min"])), "same")
    fine = np.linspace(points[0, 0], points[-1, 0], 20001)
    middle = (fine[1:] + fine[:-1]) / 2
    mass = -np.diff(np.interp(fine, *points.T))
    raw = mass @ np.maximum(0, 1 - np.abs(middle[:, None] - b[None, :]) / delta)
    q = sum(0.5 * np.convolve(raw, kernel(np.sqrt(bins[v])), "same") for v in ("variance_min", "variance_max"))
    p, q = p * d_ref / delta, q / q.sum() * d_ref / delta
    if direction == "target_calc":
        return float(np.sum(q * np.log(q / (p + eps) + eps)) * delta / d_ref)
    return float(np.sum(p * np.log(p / (q + eps) + eps)) * delta / d_ref)


@pytest.mark.parametrize("direction", ["calc_target", "target_calc"])
def test_kl_divergence_is_its_definition(direction):
    rng = np.random.default_rng(3)
    dose = rng.normal(50, 4, 300)
    share = rng.uniform(0, 1, 300)
    share /= share.sum()
    points = np.array([(45.0, 1.0), (50.0, 0.7), (55.0, 0.0)])
    bins = {
        "reference_dose": 55.0,
        "bin_width": 0.3,
        "variance_min": 0.9,
        "variance_max": 3.6,
        "target_smoothing": _core.TargetSmoothing.half,
        "kernel_reach": 5.0,
        "floor": 1e-3,
        "tail_length": 0.0,
    }
    term = _core.KlDivergenceTerm(
        share=share,
        target=points,
        direction=getattr(_core.KlDirection, direction),
        weight=2.0,
        bins=_core.BinSettings(**bins),
    )
    cost = term.cost(dose, np.zeros_like(dose))
    assert cost == pytest.approx(2.0 * reference_cost(dose, share, points, direction, bins), rel=2e-4)
    histogram = term.histogram(dose, np.full_like(dose, 0.3))
    assert histogram.sum() == pytest.approx(1.0, abs=1e-12)
    center = (np.arange(len(histogram)) - term.first_bin) * bins["bin_width"]
    assert histogram @ center == pytest.approx(share @ dose, abs=1e-9)


@pytest.mark.parametrize("direction", ["calc_target", "target_calc"])
def test_halving_the_bins_hardly_changes_the_cost(direction):
    for seed in range(4):
        plan = random_plan(seed)
        optimizer = pb.PlanOptimizer(plan)
        add_objectives(optimizer, direction)
        w = np.random.default_rng(seed).uniform(50, 150, plan.dose_influence.layout.n_beamlets)
        for level in range(4):
            costs = []
            for bins_per_sigma in (4.0, 8.0):
                settings = pb.OptimizerSettings(precision="reference", bins_per_sigma=bins_per_sigma).single_grid()
                assembled = assemble(plan, optimizer.prescription.objectives, settings, include_all=True)
                bins = bin_settings(settings, level, assembled.reference_dose)
                costs.append(assembled.core.evaluate(bins, w, 0.5)[0])
            assert costs[0] == pytest.approx(costs[1], rel=0.01)


def test_maximum_dose_term_is_its_definition():
    plan = random_plan(1)
    optimizer = pb.PlanOptimizer(plan)
    optimizer.add_objective(plan.structures["PTV"], pb.KLDivergenceTerm(dose_range=(48, 52)))
    w = np.full(plan.dose_influence.layout.n_beamlets, 150.0)
    without, _ = optimizer.prescription.evaluate(w)
    optimizer.add_objective(plan.structures["body"], pb.MaximumDoseTerm(20, weight=7))
    with_guard, _ = optimizer.prescription.evaluate(w)
    share = plan.structures["body"].share
    excess = np.maximum(0, plan.dose_influence.dose(w) - 20) / 52
    assert excess.any()
    # The core's dose is that of a matrix rounded to 16 bits.
    assert with_guard - without == pytest.approx(7 * (share * excess**2).sum() / share.sum(), rel=2e-3)


@pytest.mark.parametrize(
    ("term", "definition"),
    [
        (pb.MinimumDoseTerm(45, weight=7), lambda d, v: 7 * v @ np.maximum(0, (45 - d) / 52) ** 2),
        (pb.MeanDoseTerm(3, weight=7), lambda d, v: 7 * max(0, (v @ d - 3) / 52) ** 2),
        (pb.MeanDoseTerm(49, weight=7), lambda d, v: 0.0),
    ],
)
def test_dose_terms_are_their_definitions_and_have_their_gradients(term, definition):
    plan = random_plan(1)
    optimizer = pb.PlanOptimizer(plan, pb.OptimizerSettings(precision="reference"))
    optimizer.add_objective(plan.structures["PTV"], pb.KLDivergenceTerm(dose_range=(48, 52)))
    optimizer.add_objective(plan.structures["organ"], pb.MaximumDoseTerm(1000))  # the same voxels in each prescription
    w = np.random.default_rng(3).uniform(100, 200, plan.dose_influence.layout.n_beamlets)
    without, gradient_without = optimizer.prescription.evaluate(w)
    optimizer.add_objective(plan.structures["organ"], term)
    cost, gradient = optimizer.prescription.evaluate(w)
    share = plan.structures["organ"].share
    expected = definition(plan.dose_influence.dose(w).ravel(), share.ravel() / share.sum())
    assert cost - without == pytest.approx(expected, rel=2e-3, abs=1e-12)
    if expected == 0:
        np.testing.assert_array_equal(gradient, gradient_without)
        return

    def term_alone(weights):
        with_it = optimizer.prescription.evaluate(weights)[0]
        return with_it - kl_alone.prescription.evaluate(weights)[0]

    kl_alone = pb.PlanOptimizer(plan, pb.OptimizerSettings(precision="reference"))
    kl_alone.add_objective(plan.structures["PTV"], pb.KLDivergenceTerm(dose_range=(48, 52)))
    kl_alone.add_objective(plan.structures["organ"], pb.MaximumDoseTerm(1000))
    along = np.random.default_rng(4).normal(size=len(w))
    estimate = central_difference(term_alone, w, along, 1e-3)
    assert estimate == pytest.approx((gradient - gradient_without) @ along, rel=1e-5)


def test_the_fast_gradient_is_the_reference_gradient():
    plan = random_plan(2)
    gradients = []
    for precision in ("fast", "reference"):
        optimizer = pb.PlanOptimizer(plan, pb.OptimizerSettings(precision=precision))
        add_objectives(optimizer)
        w = np.random.default_rng(5).uniform(100, 300, plan.dose_influence.layout.n_beamlets)
        gradients.append(optimizer.prescription.evaluate(w))
    (fast, fast_gradient), (reference, reference_gradient) = gradients
    assert fast == pytest.approx(reference, rel=1e-6)
    error = np.linalg.norm(fast_gradient - reference_gradient)
    assert error < 1e-4 * np.linalg.norm(reference_gradient)
