from __future__ import annotations

import os
import signal
import threading
from dataclasses import replace

import numpy as np
import pytest
from problems import add_objectives, random_plan

import opentps_brimstone as pb
from opentps_brimstone import _core


def optimized(seed=0, *, settings=None, plan=None, **options):
    plan = plan or random_plan(seed)
    optimizer = pb.PlanOptimizer(plan, settings)
    add_objectives(optimizer)
    return plan, optimizer.optimize(**options)


@pytest.mark.parametrize("search", ["lbfgs", "conjugate_gradient"])
def test_a_plan_meets_its_prescription(search):
    plan, result = optimized(1, settings=pb.OptimizerSettings(search=search))
    assert result.success
    assert result.message == "converged at all 4 levels"
    ptv = plan.structures["PTV"].share > 0.5
    assert result.dose[ptv].mean() == pytest.approx(50, abs=1.5)
    assert np.percentile(result.dose[ptv], 5) > 44
    assert result.dose[plan.structures["organ"].share > 0.5].mean() < 0.75 * result.dose[ptv].mean()
    history = result.convergence_history
    assert result.iterations == len(history["cost"]) == history["iteration"][-1]
    assert history["level"] == sorted(history["level"], reverse=True)
    assert set(history["level"]) == {0, 1, 2, 3}
    assert (np.diff(history["time_s"]) >= 0).all()
    optimizer = pb.PlanOptimizer(plan)
    add_objectives(optimizer)
    uniform = np.full_like(result.beamlet_weights, result.beamlet_weights.mean())
    cost_of = optimizer.prescription.evaluate
    assert cost_of(result.beamlet_weights)[0] < 0.5 * cost_of(uniform)[0]
    np.testing.assert_array_equal(plan.beamlet_weights, result.beamlet_weights)
    np.testing.assert_array_equal(plan.get_dose(), result.dose)


@pytest.mark.parametrize("precision", ["fast", "reference"])
@pytest.mark.parametrize(
    ("search", "line_search"),
    [("lbfgs", "interpolated"), ("conjugate_gradient", "interpolated"), ("conjugate_gradient", "brent")],
)
def test_bitwise_the_same_on_every_run_and_for_any_number_of_threads(search, line_search, precision):
    settings = pb.OptimizerSettings(search=search, line_search=line_search, precision=precision)
    results = [optimized(1, settings=replace(settings, threads=threads))[1] for threads in (1, 1, 2, 2, 3)]
    for other in results[1:]:
        assert np.array_equal(results[0].beamlet_weights, other.beamlet_weights)
        assert results[0].convergence_history["cost"] == other.convergence_history["cost"]


def test_bitwise_the_same_on_every_vector_path():
    in_use = _core.vector_path()
    results = []
    try:
        for path in _core.vector_paths():
            _core.use_vector_path(path)
            results.append(optimized(1)[1])
    finally:
        _core.use_vector_path(in_use)
    for other in results[1:]:
        assert np.array_equal(results[0].beamlet_weights, other.beamlet_weights)
        assert results[0].convergence_history["cost"] == other.convergence_history["cost"]


@pytest.mark.parametrize("tail_length", [0.001, 0.02, 0.1])
@pytest.mark.parametrize("weight", [1.0, 100.0])
def test_a_tail_draws_in_without_drowning_all_else(tail_length, weight):
    plan = random_plan(0)
    optimizer = pb.PlanOptimizer(plan, pb.OptimizerSettings(tail_length=tail_length))
    optimizer.add_objective(plan.structures["PTV"], pb.KLDivergenceTerm(dose_range=(48, 52), weight=weight))
    optimizer.add_objective(plan.structures["organ"], pb.KLDivergenceTerm(dvh=[(0, 1), (20, 0.4), (40, 0)]))
    result = optimizer.optimize()
    assert np.isfinite(result.beamlet_weights).all()
    assert np.isfinite(result.convergence_history["cost"]).all()
    assert result.dose[plan.structures["PTV"].share > 0.5].mean() == pytest.approx(50, abs=3)


def test_both_line_searches_find_equally_good_plans():
    costs = {"interpolated": [], "brent": []}
    for seed in range(3):
        plan = random_plan(seed, refinement=2)
        for name, found in costs.items():
            settings = pb.OptimizerSettings(search="conjugate_gradient", line_search=name)
            optimizer = pb.PlanOptimizer(plan, settings)
            add_objectives(optimizer)
            found.append(optimizer.prescription.evaluate(optimizer.optimize(tolerance=3e-4).beamlet_weights)[0])
    # Which local minimum is found hangs on the last bits: single plans differ, not their mean.
    assert np.mean(costs["interpolated"]) == pytest.approx(np.mean(costs["brent"]), rel=0.1)


def test_fractions_divide_the_weights_and_keep_the_dose():
    _, one = optimized(3)
    _, many = optimized(plan=random_plan(3, number_of_fractions=25))
    np.testing.assert_allclose(many.beamlet_weights * 25, one.beamlet_weights, rtol=1e-12)
    np.testing.assert_allclose(many.dose, one.dose, rtol=1e-9)


def test_beamlets_that_miss_the_target_take_no_part():
    # A target in one corner: most pencils through the grid pass it by.
    influence = random_plan(4).dose_influence
    corner = np.zeros(influence.grid.shape)
    corner[2:4, 2:4, 1:3] = 1
    body = 1.0 - corner
    plan = pb.Plan.from_influence(influence, [pb.Structure("PTV", corner, is_target=True), pb.Structure("body", body)])
    optimizer = pb.PlanOptimizer(plan)
    optimizer.add_objective(plan.structures["PTV"], pb.KLDivergenceTerm(dose_range=(19, 21)))
    optimizer.add_objective(plan.structures["body"], pb.KLDivergenceTerm(dvh=[(0, 1), (20, 0)], weight=0.1))
    target_dose = influence.matrix.T @ corner.ravel()
    misses = target_dose <= 0.01 * target_dose.max()
    assert misses.sum() > 10
    result = optimizer.optimize()
    assert (result.beamlet_weights[misses] == 0).all()
    assert (result.beamlet_weights[~misses] > 0).all()

    # Weights that the user gave them stay, and their dose is counted.
    start = np.where(misses, 30.0, result.beamlet_weights)
    again = optimizer.optimize(initial_weights=start)
    np.testing.assert_allclose(again.beamlet_weights[misses], 30.0)
    np.testing.assert_array_equal(again.dose, influence.dose(again.beamlet_weights))
    assert not np.array_equal(again.beamlet_weights[~misses], result.beamlet_weights[~misses])


def test_starting_from_good_weights_at_the_finest_level_only():
    plan, first = optimized(5)
    optimizer = pb.PlanOptimizer(plan)
    add_objectives(optimizer)
    first_cost, _ = optimizer.prescription.evaluate(first.beamlet_weights)
    settings = pb.OptimizerSettings(start_level=0)
    _, second = optimized(plan=plan, settings=settings, initial_weights=first.beamlet_weights)
    assert set(second.convergence_history["level"]) == {0}
    assert second.iterations < first.iterations
    second_cost, _ = optimizer.prescription.evaluate(second.beamlet_weights)
    assert second_cost <= first_cost * 1.02


def test_a_callback_sees_every_iteration_and_can_stop():
    calls = []

    class Recorder(pb.OptimizationCallback):
        def on_iteration(self, **state):
            calls.append(state)
            return len(calls) < 7

    _, result = optimized(0, callback=Recorder())
    assert len(calls) == 7
    assert not result.success
    assert result.message == "stopped by the callback"
    assert [c["iteration"] for c in calls] == list(range(1, 8))
    assert calls[0]["beamlet_weights"].shape == result.beamlet_weights.shape
    np.testing.assert_allclose(calls[-1]["beamlet_weights"], result.beamlet_weights, rtol=1e-9)


def test_a_function_without_an_answer_does_not_stop():
    seen = []
    _, result = optimized(0, callback=lambda **state: seen.append(state["cost"]))
    assert result.success
    assert seen == result.convergence_history["cost"]


def test_an_exception_in_a_callback_reaches_the_caller_and_leaves_the_plan():
    plan = random_plan(0)

    def fail(**_):
        raise RuntimeError("from the callback")

    with pytest.raises(RuntimeError, match="from the callback"):
        optimized(plan=plan, callback=fail)
    assert plan.beamlet_weights is None


def test_ctrl_c_ends_the_optimization_and_leaves_the_plan():
    plan = random_plan(0, refinement=3)
    optimizer = pb.PlanOptimizer(plan, pb.OptimizerSettings(line_search="brent", max_iterations=100_000))
    add_objectives(optimizer)
    press = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT))

    def start_once(iteration, **_):
        if iteration == 1:
            press.start()

    # With this tolerance it would go on for many seconds.
    with pytest.raises(KeyboardInterrupt):
        optimizer.optimize(tolerance=1e-15, callback=start_once)
    press.join()
    assert plan.beamlet_weights is None
    assert optimizer.optimize(max_iterations=2).iterations == 8


def test_other_python_threads_run_meanwhile():
    plan = random_plan(0, refinement=3)
    settings = pb.OptimizerSettings(search="conjugate_gradient", line_search="brent", threads=1)
    optimizer = pb.PlanOptimizer(plan, settings)
    add_objectives(optimizer)
    ended = threading.Event()
    turns = []

    def count() -> None:
        while not ended.wait(0.001):
            turns.append(None)

    counter = threading.Thread(target=count)
    counter.start()
    seen_at = []
    try:
        optimizer.optimize(callback=lambda **_: seen_at.append(len(turns)), max_iterations=10)
    finally:
        ended.set()
        counter.join()
    # Between two callbacks only the core runs: the other thread had its turns there.
    assert max(np.diff(seen_at)) >= 3


def test_too_few_iterations_are_told():
    _, result = optimized(0, max_iterations=2)
    assert not result.success
    assert result.message == "the finest level did not converge in 2 iterations"
    assert result.iterations == 8


def test_no_target_term_is_refused():
    plan = random_plan(0)
    optimizer = pb.PlanOptimizer(plan)
    with pytest.raises(ValueError, match="no target term: the objectives are on nothing"):
        optimizer.optimize()
    optimizer.add_objective(plan.structures["organ"], pb.KLDivergenceTerm(dose_range=(0, 20)))
    with pytest.raises(ValueError, match="no target term: the objectives are on 'organ'"):
        optimizer.optimize()


@pytest.mark.parametrize("name", ["PTV", "organ"])
def test_a_target_without_dose_is_refused_and_an_organ_noted(name):
    plan = random_plan(0)
    influence = plan.dose_influence
    matrix = influence.matrix.tolil()
    matrix[plan.structures[name].touched.ravel(), :] = 0
    silent_influence = pb.DoseInfluence(matrix.tocsc(), influence.grid, influence.layout)
    silent = pb.Plan.from_influence(silent_influence, plan.structures)
    optimizer = pb.PlanOptimizer(silent)
    add_objectives(optimizer)
    if name == "PTV":
        with pytest.raises(ValueError, match="'PTV' gets no dose from any of the 75 beamlets"):
            optimizer.optimize()
    else:
        assert "no beamlet gives dose to 'organ'" in optimizer.optimize().message


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (np.ones(3), "expected 75 beamlet weights"),
        (np.full(75, np.nan), "beamlet 0 has the weight nan"),
        (np.where(np.arange(75) == 9, -1.0, 1.0), "beamlet 9 has the weight -1.0 MU"),
    ],
)
def test_bad_start_weights_are_refused(weights, message):
    with pytest.raises(ValueError, match=message):
        optimized(0, initial_weights=weights)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"number_of_levels": 6}, "number_of_levels is 6; it must be from 1 to 5"),
        ({"grid_of_level": (1, 0, 0, 0)}, "grid_of_level is .*non-decreasing"),
        ({"variance_ratio": 1.0}, "variance_ratio is 1.0; it must be above 1"),
        ({"cg_tolerance": (1e-3, 1e-3)}, "cg_tolerance is .*one or 4"),
        ({"line_search": "golden"}, "line_search is 'golden'"),
        ({"kl_direction": "both"}, "kl_direction is 'both'"),
        ({"threads": 0}, "threads is 0"),
        ({"uniform_share": 1.0}, "uniform_share is 1.0"),
        ({"start_level": 4}, "start_level is 4"),
        ({"roughness_weight": -0.1}, "roughness_weight is -0.1; it must be at least 0"),
    ],
)
def test_bad_settings_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        pb.OptimizerSettings(**change)


def test_a_callback_must_be_callable():
    with pytest.raises(TypeError, match="a callback must be callable"):
        optimized(0, callback=42)


def test_the_callers_matrix_is_not_changed():
    plan = random_plan(0)
    before = plan.dose_influence.matrix.copy()
    optimized(plan=plan)
    for name in ("data", "indices", "indptr"):
        assert np.array_equal(getattr(before, name), getattr(plan.dose_influence.matrix, name))


def test_notebooks_show_the_result_with_its_convergence():
    _, result = optimized(0)
    shown = result._repr_html_()
    assert result.message in shown
    assert f"{result.final_cost:.4g}" in shown
    assert shown.count("<svg") == 1


def test_optimizer_and_prescription_show_what_is_asked():
    plan = random_plan(0)
    optimizer = pb.PlanOptimizer(plan, pb.OptimizerSettings(threads=1))
    optimizer.add_objective(plan.structures["PTV"], pb.SquaredDeviationTerm(50.0))
    assert repr(optimizer.prescription) == "Prescription(PTV: SquaredDeviationTerm(weight=1.0, dose_gy=50.0))"
    assert repr(optimizer).endswith("[SquaredDeviationTerm(weight=1.0, dose_gy=50.0)], OptimizerSettings(threads=1))")
