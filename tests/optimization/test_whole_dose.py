"""Optimization where the matrix leaves out a part of the dose that can be computed."""

from __future__ import annotations

import numpy as np
import pytest
from problems import add_objectives, random_influence, random_plan

import opentps_brimstone as pb
from opentps_brimstone.goal_planning.settings import GoalPlannerSettings
from opentps_brimstone.optimization.settings import OptimizerSettings
from opentps_brimstone.optimization.whole_dose import largest_shift, settings_of_stage


class Whole:
    """Near dose by a matrix, and as much again as a tenth of it spread widely; rough ones are off by a percent."""

    def __init__(self, influence):
        self.near = influence.matrix.toarray().astype(float)
        shape = (*influence.grid.shape, -1)
        mean = self.near.reshape(shape).mean(axis=(0, 1, 2))
        self.far = np.ones((len(self.near), 1)) * mean * 0.5
        self.far[::7] -= 0.02 * self.near[::7]
        self.efforts = []

    def __call__(self, weights, *, effort="full"):
        self.efforts.append(effort)
        error = {"full": 0.0, "half": 0.002, "rough": 0.01}[effort]
        return ((1 + error) * ((self.near + self.far) @ weights)).reshape(10, 9, 8)


def plan_with_far_part():
    influence = random_influence(0)
    whole = Whole(influence)
    known = pb.DoseInfluence(influence.matrix, influence.grid, influence.layout, whole)
    return pb.Plan.from_influence(known, list(random_plan(0).structures), 5), whole


def optimizer_of(plan, **settings):
    optimizer = pb.PlanOptimizer(plan, OptimizerSettings(**settings))
    add_objectives(optimizer)
    return optimizer


def assert_whole(plan, whole, result):
    wanted = 5 * ((whole.near + whole.far) @ result.beamlet_weights).reshape(plan.grid.shape)
    np.testing.assert_allclose(result.dose, wanted, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(plan.get_dose(), wanted, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("levels", [1, 4])
def test_the_result_is_that_of_the_whole_matrix(levels):
    plan, whole = plan_with_far_part()
    result = optimizer_of(plan, number_of_levels=levels).optimize(tolerance=1e-5)
    assert_whole(plan, whole, result)
    assert result.success
    assert result.last_update_gy <= 0.003 * 52
    assert whole.efforts[0] == "half"
    assert set(whole.efforts[1:]) == {"full"}
    exact = pb.DoseInfluence(whole.near + whole.far, plan.grid, plan.dose_influence.layout)
    direct = pb.Plan.from_influence(exact, list(random_plan(0).structures), 5)
    wanted = optimizer_of(direct, number_of_levels=levels).optimize(tolerance=1e-5)
    own_cost, _ = optimizer_of(direct).prescription.evaluate(result.beamlet_weights)
    best_cost, _ = optimizer_of(direct).prescription.evaluate(wanted.beamlet_weights)
    assert own_cost < 1.03 * best_cost


def test_from_given_weights_all_levels_run_with_their_far_part():
    plan, whole = plan_with_far_part()
    start = np.full(plan.dose_influence.layout.n_beamlets, 5.0)
    seen = []
    optimizer_of(plan).optimize(initial_weights=start, callback=lambda level, **_: seen.append(level))
    assert set(seen) == {0, 1, 2, 3}
    np.testing.assert_array_equal(whole.efforts[:2], ["half", "full"])


def test_iterations_and_levels_go_on_from_stage_to_stage():
    plan, _ = plan_with_far_part()
    seen = []
    result = optimizer_of(plan).optimize(callback=lambda iteration, level, **_: seen.append((iteration, level)))
    numbers, levels = zip(*seen, strict=True)
    assert list(numbers) == list(range(1, len(seen) + 1)) == result.convergence_history["iteration"]
    assert list(levels) == sorted(levels, reverse=True)
    assert set(levels) == {0, 1, 2, 3}
    assert result.convergence_history["time_s"] == sorted(result.convergence_history["time_s"])


@pytest.mark.parametrize("level", [2, 0])
def test_a_checkpoint_of_any_stage_is_resumed_bitwise(tmp_path, level):
    path = tmp_path / "run.npz"
    plan, _ = plan_with_far_part()

    class Save(pb.OptimizationCallback):
        def on_iteration(self, level, **_):
            self.level = level
            return True

        def on_state(self, state):
            if self.level == level and not path.exists():
                state.save(path)

    wanted = optimizer_of(plan).optimize(callback=Save())
    fresh, _ = plan_with_far_part()
    found = optimizer_of(fresh).optimize(resume_from=path)
    np.testing.assert_array_equal(found.beamlet_weights, wanted.beamlet_weights)
    np.testing.assert_array_equal(found.dose, wanted.dose)
    assert found.convergence_history["cost"] == wanted.convergence_history["cost"]


def test_what_was_set_before_is_back_after_an_error():
    plan, _ = plan_with_far_part()
    more = np.full(plan.grid.shape, 0.25)
    plan.set_intermediate_dose(more)

    def fail(level, **_):
        if level == 0:
            raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough") as caught:
        optimizer_of(plan).optimize(callback=fail)
    np.testing.assert_array_equal(plan.intermediate_dose, more)
    assert caught.value.result_so_far.dose.mean() > 0


def test_a_callback_that_stops_at_once_gets_the_whole_dose():
    plan, whole = plan_with_far_part()
    result = optimizer_of(plan).optimize(callback=lambda **_: False)
    assert result.message == "stopped by the callback"
    assert_whole(plan, whole, result)


def test_goals_are_met_by_the_whole_dose():
    plan, whole = plan_with_far_part()
    goals = ["PTV D95 >= 47 Gy", "PTV D2 <= 56 Gy", "organ Dmean <= 40 Gy"]
    result = pb.GoalPlanner(plan, goals).optimize()
    assert_whole(plan, whole, result)
    assert result.goals[0].met
    assert whole.efforts[0] == "rough"
    assert whole.efforts[-1] == "full"
    assert result.last_update_gy < 0.005 * 47
    assert [row.value for row in result.goals] == pytest.approx(
        [row.value for row in pb.evaluate(result.dose, plan.structures, goals, grid=plan.grid)]
    )


def test_goals_that_the_full_dose_misses_are_planned_for_again(monkeypatch):
    """Half of the target gets more than is known until the dose is computed in full."""

    def planned():
        plan, whole = plan_with_far_part()
        target = next(structure for structure in plan.structures if structure.is_target)
        half = (np.cumsum(target.share > 0).reshape(plan.grid.shape) % 2) * (target.share > 0)

        def with_more(weights, *, effort="full"):
            return whole(weights, effort=effort) * (1 + 0.12 * half * (effort == "full"))

        plan.dose_influence.whole_dose = with_more
        goals = ["PTV D95 >= 47 Gy", "PTV D2 <= 72 Gy"]
        return pb.GoalPlanner(plan, goals, GoalPlannerSettings(rounds=3)).optimize(), whole

    result, whole = planned()
    assert whole.efforts.count("full") == len(result.rounds) - 2 > 1
    assert result.message == f"ended after {len(result.rounds)} rounds"
    monkeypatch.setattr("opentps_brimstone.goal_planning.planner._ROUNDS_AFTER", 0)
    given_up, _ = planned()
    assert len(given_up.rounds) == 3
    assert given_up.goals[1].value > result.goals[1].value + 1.0


def test_the_change_of_dvhs_is_the_largest_of_any_structure():
    mask = np.zeros((10, 10, 10))
    mask[:5] = 1
    structures = [pb.Structure("a", mask), pb.Structure("b", 1 - mask)]
    dose = np.random.default_rng(0).uniform(0, 50, mask.shape)
    assert largest_shift(dose, dose, structures) == 0
    assert largest_shift(dose, dose + 0.4 * mask - 0.1, structures) == pytest.approx(0.3)
    hot = dose + np.where((mask > 0) & (dose > 48.5), 20.0, 0.0)
    assert largest_shift(dose, hot, structures) > 15


def test_stages_have_the_levels_they_need():
    settings = OptimizerSettings(cg_tolerance=(1e-3, 2e-3, 3e-3, 4e-3))
    first = settings_of_stage(0, settings, every_level=True)
    assert (first.number_of_levels, first.cg_tolerance) == (3, (2e-3, 3e-3, 4e-3))
    assert first.level_sigma == settings.level_sigma[1:]
    assert first.grid_of_level == settings.grid_of_level[1:]
    assert settings_of_stage(1, settings, every_level=False).start_level == 0
    assert settings_of_stage(1, settings, every_level=True) is settings
    only = OptimizerSettings(number_of_levels=1)
    assert settings_of_stage(0, only, every_level=True) is only


def test_what_cannot_be_computed_is_refused():
    plain = random_plan(0)
    plain.beamlet_weights = np.ones(plain.dose_influence.layout.n_beamlets)
    with pytest.raises(ValueError, match="leaves nothing out: compute it with scatter='full'"):
        plain.update_intermediate_dose()
    plan, _ = plan_with_far_part()
    with pytest.raises(ValueError, match="no beamlet weights yet"):
        plan.update_intermediate_dose()
    with pytest.raises(ValueError, match="effort"):
        plan.update_intermediate_dose(plain.beamlet_weights, effort="some")
