"""What rough fluence costs, and what smooth fluence is worth."""

from __future__ import annotations

import numpy as np
import pytest
from problems import add_objectives, random_influence, random_plan

import opentps_brimstone as pb
from opentps_brimstone.optimization.core_plan import _neighbors, assemble
from opentps_brimstone.optimization.core_settings import level_settings

SMALL_JUMP = 0.2


def field_jumps(weights: np.ndarray, n_beams: int = 3) -> np.ndarray:
    """Differences between beamlets next to each other, in full square fields."""
    side = round((len(weights) / n_beams) ** 0.5)
    fields = weights.reshape(n_beams, side, side)
    return np.concatenate([np.diff(fields, axis=axis).ravel() for axis in (1, 2)])


def total_variation(weights: np.ndarray) -> float:
    return float(np.abs(field_jumps(weights)).sum())


def objective(plan: pb.Plan, grid: int = 0, **changes):
    settings = pb.OptimizerSettings(precision="reference", slope_variance=False, **changes)
    optimizer = pb.PlanOptimizer(plan, settings)
    add_objectives(optimizer)
    assembled = assemble(plan, optimizer.prescription.objectives, settings, include_all=True)
    limit = assembled.uniform_weight / settings.uniform_share
    level = level_settings(settings, 3 if grid else 0, grid, assembled.reference_dose, limit)
    return assembled, assembled.core.objective(level)


def extra_cost(plan: pb.Plan, weights: np.ndarray, grid: int = 0, weight: float = 2.0) -> float:
    costs = []
    for changes in ({}, {"roughness_weight": weight}):
        _, each = objective(plan, grid, **changes)
        costs.append(each.cost(each.parameter(weights)))
    return costs[1] - costs[0]


def test_the_cost_of_roughness_is_its_definition():
    plan = random_plan(1)
    assembled, _ = objective(plan)
    unit = assembled.uniform_weight
    weights = np.random.default_rng(0).uniform(0.1, 4.0, plan.dose_influence.layout.n_beamlets) * unit
    jumps = field_jumps(weights) / unit
    expected = 2.0 / len(weights) * (np.sqrt(jumps**2 + SMALL_JUMP**2) - SMALL_JUMP).sum()
    assert extra_cost(plan, weights) == pytest.approx(expected, rel=1e-9)


def test_uniform_fluence_is_not_rough():
    plan = random_plan(1)
    assembled, _ = objective(plan)
    assert extra_cost(plan, np.full(75, assembled.uniform_weight)) == pytest.approx(0.0, abs=1e-12)


def test_the_gradient_of_roughness_agrees_with_central_differences():
    plan = random_plan(2)
    rng = np.random.default_rng(2)
    x = rng.uniform(-3, 1, plan.dose_influence.layout.n_beamlets)
    _, without = objective(plan)
    _, with_it = objective(plan, roughness_weight=5.0)
    gradient = with_it.cost_and_gradient(x)[1] - without.cost_and_gradient(x)[1]
    assert with_it.cost_and_gradient(x)[0] == with_it.cost(x)
    for _ in range(8):
        along, step = rng.normal(size=len(x)), 1e-4
        ahead, behind = (with_it.cost(x + s * along) - without.cost(x + s * along) for s in (step, -step))
        assert gradient @ along == pytest.approx((ahead - behind) / (2 * step), rel=1e-5)


def test_the_same_fluence_is_as_rough_on_a_coarser_grid():
    """A ramp across a large field: 16 jumps in each of 17 rows, and 8 of twice the size along edges twice as long."""
    small = random_plan(3)
    influence = random_influence(3, n_beams=1, beamlets_per_side=17)
    plan = pb.Plan.from_influence(influence, list(small.structures.values()))
    assembled, _ = objective(plan, roughness_weight=1.0)
    n_coarse = assembled.core.matrix_shape(1)[1]
    assert n_coarse == 81
    ramp = np.repeat(np.linspace(0.2, 4.2, 9), 9) * assembled.uniform_weight
    fine = assembled.core.transfer(ramp, 1, 0)
    jump = SMALL_JUMP * (np.hypot(0.25 / SMALL_JUMP, 1) - 1)
    assert extra_cost(plan, fine, weight=1.0) == pytest.approx(16 * 17 * jump / 289, rel=1e-6)
    coarser_jump = SMALL_JUMP * (np.hypot(0.5 / SMALL_JUMP, 1) - 1)
    assert extra_cost(plan, ramp, grid=1, weight=1.0) == pytest.approx(2 * 8 * 9 * coarser_jump / 289, rel=1e-6)


def test_neighbors_share_an_edge_and_a_field():
    layout = pb.BeamletLayout(
        [(0.0, 0.0), (5.0, 0.0), (5.0, 4.0), (20.0, 4.0), (0.0, 0.0)], [0, 0, 0, 0, 1], [[5.0, 4.0], [5.0, 4.0]]
    )
    pairs = {tuple(sorted(pair)) for pair in _neighbors(layout).tolist()}
    assert pairs == {(0, 1), (1, 2)}
    alone = pb.BeamletLayout([(0.0, 0.0), (0.0, 0.0)], [0, 1], 5.0)
    assert _neighbors(alone).shape == (0, 2)


@pytest.mark.parametrize("search", ["lbfgs", "conjugate_gradient"])
@pytest.mark.parametrize("line_search", ["interpolated", "brent"])
def test_it_makes_fluence_smooth_and_keeps_the_targets_dose(search, line_search):
    found = {}
    for weight in (0.0, 0.3):
        plan = random_plan(4)
        settings = pb.OptimizerSettings(
            search=search, line_search=line_search, roughness_weight=weight, cg_tolerance=1e-4, threads=1
        )
        optimizer = pb.PlanOptimizer(plan, settings)
        add_objectives(optimizer)
        result = optimizer.optimize()
        d95 = float(np.quantile(result.dose[plan.structures["PTV"].share == 1], 0.05))
        found[weight] = (total_variation(result.beamlet_weights), d95)
    assert found[0.3][0] < 0.5 * found[0.0][0]
    assert found[0.3][1] == pytest.approx(found[0.0][1], rel=0.03)


def test_it_is_the_same_on_any_number_of_threads_and_after_a_checkpoint(tmp_path):
    def optimizer(threads):
        made = pb.PlanOptimizer(random_plan(5), pb.OptimizerSettings(roughness_weight=0.1, threads=threads))
        add_objectives(made)
        return made

    expected = optimizer(1).optimize()
    path = tmp_path / "run.npz"
    last = expected.iterations // 2
    optimizer(2).optimize(callback=[pb.Checkpoint(path, every_iterations=1), lambda iteration, **_: iteration < last])
    resumed = optimizer(2).optimize(resume_from=path)
    assert np.array_equal(resumed.beamlet_weights, expected.beamlet_weights)
    assert resumed.final_cost == expected.final_cost
