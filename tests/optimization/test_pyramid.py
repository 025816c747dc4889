from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from problems import add_objectives, random_plan

import opentps_brimstone as pb
from opentps_brimstone.optimization.coarse_grids import coarsen_beamlets, coarsen_voxels
from opentps_brimstone.optimization.core_plan import assemble
from opentps_brimstone.optimization.run import Course, OptimizationRun


@settings(max_examples=80, deadline=None)
@given(
    xy=st.lists(
        st.tuples(st.floats(-80, 80, allow_nan=False), st.floats(-80, 80, allow_nan=False)), min_size=1, max_size=60
    ),
    spacing=st.sampled_from([2.5, 5.0, 7.3]),
)
def test_interpolation_of_any_positions_reproduces_linear_fluence(xy, spacing):
    layout = pb.BeamletLayout(np.array(xy), np.zeros(len(xy), dtype=int), np.array([[spacing, spacing]]))
    interpolation, nodes = coarsen_beamlets(layout)
    assert interpolation.shape == (len(xy), nodes.n_beamlets)
    np.testing.assert_allclose(interpolation.sum(axis=1), 1.0, rtol=1e-12)
    assert interpolation.data.min() >= 0
    plane = 3.0 + 0.2 * nodes.xy_mm[:, 0] - 0.1 * nodes.xy_mm[:, 1]
    expected = 3.0 + 0.2 * layout.xy_mm[:, 0] - 0.1 * layout.xy_mm[:, 1]
    np.testing.assert_allclose(interpolation @ plane, expected, atol=1e-4)
    assert (nodes.spacing_mm == 2 * spacing).all()
    assert set(interpolation.indices) == set(range(nodes.n_beamlets))


def test_a_full_field_has_a_quarter_of_the_nodes_and_the_half_one_half_filter():
    x, y = np.meshgrid(np.arange(9) * 5.0, np.arange(7) * 5.0, indexing="ij")
    layout = pb.BeamletLayout(np.column_stack([x.ravel(), y.ravel()]), np.zeros(63, dtype=int), np.array([5.0, 5.0]))
    interpolation, nodes = coarsen_beamlets(layout)
    assert nodes.n_beamlets == 5 * 4
    middle = np.flatnonzero((nodes.xy_mm == (20.0, 10.0)).all(axis=1))[0]
    filter_ = interpolation[:, [middle]].toarray().reshape(9, 7)[3:6, 1:4]
    np.testing.assert_allclose(filter_, np.outer([0.5, 1, 0.5], [0.5, 1, 0.5]))


def test_beamlets_of_different_beams_are_not_mixed():
    layout = pb.BeamletLayout(np.zeros((3, 2)), np.array([0, 1, 2]), np.full((3, 2), 5.0))
    interpolation, nodes = coarsen_beamlets(layout)
    assert nodes.n_beamlets == 3
    np.testing.assert_array_equal(interpolation.toarray(), np.eye(3))


def test_blocks_of_eight_voxels():
    ijk = np.stack(np.unravel_index(np.arange(4 * 4 * 2), (4, 4, 2)), axis=1)
    voxel_of, blocks = coarsen_voxels(ijk)
    assert len(blocks) == 4
    assert (np.bincount(voxel_of) == 8).all()
    np.testing.assert_array_equal(blocks[voxel_of], ijk // 2)


def coarse_plan(seed: int):
    plan = random_plan(seed)
    optimizer = pb.PlanOptimizer(plan)
    add_objectives(optimizer)
    return plan, assemble(plan, optimizer.prescription.objectives, pb.OptimizerSettings())


def test_the_inverse_filter_gives_the_same_dose():
    _, assembled = coarse_plan(2)
    assert assembled.core.n_grids == 2
    n_rows, n_beamlets, _ = assembled.core.matrix_shape(1)
    assert n_beamlets < assembled.core.matrix_shape(0)[1] / 2
    w = np.random.default_rng(0).uniform(0, 1, n_beamlets)
    fine = assembled.core.grid_dose(0, assembled.core.transfer(w, 1, 0))[assembled.rows]
    coarse = assembled.core.grid_dose(1, w)
    block = assembled.core.rows_on_grid(assembled.rows, 1)
    count = np.bincount(block, minlength=n_rows)
    mean = np.bincount(block, fine, n_rows) / np.maximum(count, 1)
    assert np.count_nonzero(count == 0) < n_rows
    # Values are rounded to 16 bits on both grids.
    np.testing.assert_allclose(coarse, mean, rtol=1e-4, atol=1e-5 * mean.max())
    assert (coarse[count == 0] == 0).all()


def test_uniform_weights_survive_both_directions():
    _, assembled = coarse_plan(3)
    ones = np.ones(assembled.core.matrix_shape(0)[1])
    np.testing.assert_allclose(assembled.core.transfer(ones, 0, 1), 1.0, rtol=1e-12)
    np.testing.assert_allclose(assembled.core.transfer(ones, 0, 0), ones)


def test_a_search_frees_the_grids_it_has_left_and_weights_still_go_between_them():
    plan = random_plan(2)
    optimizer = pb.PlanOptimizer(plan)
    add_objectives(optimizer)
    of_two_grids = optimizer.settings
    assembled = assemble(plan, optimizer.prescription.objectives, of_two_grids)
    ones = np.ones(assembled.core.matrix_shape(1)[1])
    course = Course(of_two_grids, watch=None, show_progress=False)
    OptimizationRun(plan, optimizer.prescription, assembled, of_two_grids, None, course).optimize()
    assert assembled.core.matrix_shape(0)[1] > len(ones)
    with pytest.raises(RuntimeError, match="has left grid 1, and its matrix is gone"):
        assembled.core.matrix_shape(1)
    np.testing.assert_allclose(assembled.core.transfer(ones, 1, 0), 1.0, rtol=1e-12)


def test_rows_that_are_not_there_have_no_coarser_ones():
    _, assembled = coarse_plan(2)
    beyond = np.array([assembled.core.matrix_shape(0)[0]], dtype=np.uint32)
    with pytest.raises(ValueError, match=f"row {beyond[0]} has none on grid 1"):
        assembled.core.rows_on_grid(beyond, 1)


def test_a_grid_coarser_than_the_target_is_not_made():
    plan, _ = coarse_plan(4)
    optimizer = pb.PlanOptimizer(plan, pb.OptimizerSettings(grid_of_level=(0, 1, 2, 3, 4)))
    add_objectives(optimizer)
    assembled = assemble(plan, optimizer.prescription.objectives, optimizer.settings)
    # The target is 15 mm thin: beamlets of 5 and 10 mm make sense, of 20 mm do not.
    assert assembled.core.n_grids == 2
    assert optimizer.optimize().success


def test_callback_doses_of_coarse_levels_are_on_the_plans_grid():
    plan = random_plan(6)
    optimizer = pb.PlanOptimizer(plan)
    add_objectives(optimizer)
    seen = {}

    def keep_last(level, dose, beamlet_weights, **_):
        seen[level] = (dose.copy(), beamlet_weights.copy())

    optimizer.optimize(callback=keep_last)
    assert set(seen) == {0, 1, 2, 3}
    for level, (dose, weights) in seen.items():
        exact = plan.dose_influence.dose(weights)
        assert dose.shape == exact.shape
        tolerance = 1e-5 if level < 2 else 0.05
        assert dose.mean() == pytest.approx(exact.mean(), rel=tolerance)
