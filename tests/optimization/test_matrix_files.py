from __future__ import annotations

import numpy as np
import pytest
from problems import add_objectives, random_plan

import opentps_brimstone as pb
from opentps_brimstone.optimization import matrix_files


def optimized(plan: pb.Plan, **options) -> pb.OptimizationResult:
    optimizer = pb.PlanOptimizer(plan)
    add_objectives(optimizer)
    return optimizer.optimize(**options)


@pytest.mark.parametrize("beams", [None, [0, 2]])
def test_plans_on_kept_matrices_are_bitwise_those_without(tmp_path, monkeypatch, beams):
    expected = optimized(random_plan(1), beams=beams)
    plan = random_plan(1)
    plan.dose_influence.core_folder = tmp_path
    written = []
    write = matrix_files._write
    monkeypatch.setattr(matrix_files, "_write", lambda matrix, path: (written.append(path), write(matrix, path)))
    first, second = optimized(plan, beams=beams), optimized(plan, beams=beams)
    assert len(written) == len(set(written)) > 1  # the finest grid's matrix, and those of coarser ones, once each
    for found in (first, second):
        assert np.array_equal(found.beamlet_weights, expected.beamlet_weights)
        assert found.final_cost == expected.final_cost


def test_matrices_of_other_voxels_are_others(tmp_path):
    plan = random_plan(1)
    plan.dose_influence.core_folder = tmp_path
    optimized(plan)
    few = pb.PlanOptimizer(plan)
    few.add_objective(plan.structures["PTV"], pb.KLDivergenceTerm(dose_range=(48, 52)))
    found = few.optimize()
    plan.dose_influence.core_folder = None
    assert np.array_equal(few.optimize().beamlet_weights, found.beamlet_weights)


def test_a_matrix_that_cannot_be_written_leaves_nothing(tmp_path, monkeypatch):
    plan = random_plan(1)
    plan.dose_influence.core_folder = tmp_path

    def full(*_, **__):
        raise OSError("no space left")

    monkeypatch.setattr(matrix_files.np, "save", full)
    with pytest.raises(OSError, match="no space left"):
        optimized(plan)
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == []
