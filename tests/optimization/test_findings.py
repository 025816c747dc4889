"""A result says what kept targets from their dose."""

from __future__ import annotations

import numpy as np
import pytest
from pencil_plans import part, pencil_matrix, pencil_optimizer, pencil_plan, ptv, without_dose_in

import opentps_brimstone as pb


def two_voxels(ratio, dose_range=(49, 51), **settings):
    """A target of two voxels with a beamlet each, the second that many times weaker."""
    target = pb.Structure("PTV", np.ones((2, 1, 1)), is_target=True)
    plan = pb.Plan.from_dose_influence(
        np.array([[1.0, 0.0], [0.0, 1.0 / ratio]]),
        [target],
        grid_shape=(2, 1, 1),
        spacing_mm=(5.0,) * 3,
        beamlet_xy_mm=[(0, 0), (5, 0)],
        beam_index=[0, 0],
        beamlet_spacing_mm=5.0,
    )
    optimizer = pb.PlanOptimizer(plan, pb.OptimizerSettings(**settings))
    optimizer.add_objective(target, pb.KLDivergenceTerm(dose_range=dose_range))
    return optimizer.optimize()


def test_a_binding_ceiling_is_named_and_no_success():
    result = two_voxels(15)
    assert not result.success
    assert "50.0% of 'PTV' gets less than 46.64 Gy" in result.message
    assert "1 of 2 beamlets are at the ceiling" in result.message
    assert "note" in result._repr_html_()
    raised = two_voxels(15, uniform_share=0.02)
    assert raised.success
    assert np.asarray(raised.dose).min() > 47


def test_a_dose_out_of_the_beamlets_reach_is_named_and_no_success():
    result = two_voxels(40)
    assert not result.success
    assert "the beamlets cannot give it to 50.0%" in result.message


def test_beamlets_left_out_are_named():
    result = two_voxels(300)
    assert not result.success
    assert "1 of 2 beamlets are left out" in result.message


def test_a_part_of_a_target_that_no_beam_reaches_is_no_success():
    hidden = part("hidden", (slice(5, 7), slice(5, 11), slice(2, 6)))
    result = pencil_optimizer(pencil_plan(matrix=without_dose_in(hidden))).optimize()
    assert not result.success
    assert "the beamlets cannot give it to 33.3%" in result.message


def test_a_target_beaten_by_other_objectives_is_no_success():
    plan = pencil_plan()
    optimizer = pb.PlanOptimizer(plan)
    optimizer.add_objective(plan.structures["PTV"], pb.KLDivergenceTerm(dose_range=(50, 53), weight=0.01))
    optimizer.add_objective(plan.structures["PTV"], pb.MaximumDoseTerm(20.0, weight=1e5))
    result = optimizer.optimize()
    assert not result.success
    assert "'PTV' gets less than" in result.message


def test_a_plan_that_reaches_its_targets_says_nothing_of_them():
    result = pencil_optimizer().optimize()
    assert result.success
    assert "PTV" not in result.message


def test_an_organ_without_dose_is_a_note():
    lens = part("Lens", (slice(0, 2), slice(0, 2), slice(0, 1)))
    plan = pencil_plan([ptv(), part("Cord", (slice(11, 14), slice(5, 11), slice(2, 6))), lens], without_dose_in(lens))
    optimizer = pencil_optimizer(plan)
    optimizer.add_objective(plan.structures["Lens"], pb.MaximumDoseTerm(6.0))
    optimizer.add_objective(plan.structures["Lens"], pb.KLDivergenceTerm(dvh=[(0, 1), (5, 0)]))
    optimizer.add_objective(plan.structures["Lens"], pb.EUDTerm(5.0, a=10))
    result = optimizer.optimize()
    assert result.success
    assert "no beamlet gives dose to 'Lens'" in result.notes
    planned = pb.GoalPlanner(plan, ["PTV D95 >= 50 Gy", "Lens Dmax <= 6 Gy"]).optimize()
    assert "no beamlet gives dose to 'Lens'" in planned.notes
    assert planned.goals[1].met


def test_a_target_without_dose_is_an_error():
    with pytest.raises(ValueError, match="'PTV' gets no dose from any of the 100 beamlets"):
        pencil_optimizer(pencil_plan(matrix=without_dose_in(ptv()))).optimize()


def test_doses_in_centigray_are_warned_of():
    plan = pencil_plan(matrix=pencil_matrix()[0])
    optimizer = pb.PlanOptimizer(plan)
    optimizer.add_objective(plan.structures["PTV"], pb.KLDivergenceTerm(dose_range=(5000, 5300)))
    with pytest.warns(UserWarning, match="5300 cGy would be 53 Gy"):
        optimizer.optimize()
    optimizer = pencil_optimizer(plan)
    optimizer.add_objective(plan.structures["Cord"], pb.MaximumDoseTerm(4500.0))
    with pytest.warns(UserWarning, match="4500 cGy would be 45 Gy"):
        optimizer.optimize()
