"""Robust objectives of OpenTPS, planned for the worst of its error scenarios."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import scipy.sparse as sp
from opentps.core.data import SparseBeamlets
from opentps.core.processing.planOptimization.planOptimization import IntensityModulationOptimizer
from opentps_objects import add_objective, center, mixed_plan, pencil_beams, with_design

import opentps_brimstone as pb
from opentps_brimstone.adapters.beamlets import scenarios_of_design
from opentps_brimstone.adapters.plan import voxel_grid
from opentps_brimstone.engine.compute import compute_beamlets
from opentps_brimstone.model.example import water_plan

SHIFT_MM = 6.0


@pytest.fixture(autouse=True)
def registered():
    pb.register()
    yield
    pb.unregister()


def robust_plan(ct, target, *, robust=True):
    """A plan with scenarios of the patient displaced, as OpenTPS computes them: beamlets on the CT moved, put back."""
    plan = with_design(mixed_plan(center(ct)), ct, target, 20.0)
    plan.planDesign.beamlets = pencil_beams(plan, ct)
    plan.planDesign.ROI_cropping = False
    scenarios = []
    for axis, sign in ((0, 1), (0, -1), (1, 1), (1, -1)):
        moved = copy.deepcopy(ct)
        shift = np.zeros(3)
        shift[axis] = sign * SHIFT_MM
        moved.origin = np.asarray(ct.origin) + shift
        beamlets = pencil_beams(plan, moved)
        beamlets.doseOrigin = np.asarray(ct.origin)
        scenarios.append(beamlets)
    plan.planDesign.robustness.scenarios = scenarios
    add_objective(plan.planDesign.objectives, target, "DMin", 19.5, robust=robust)
    add_objective(plan.planDesign.objectives, target, "DMax", 20.5, robust=robust)
    return plan


def penalties(plan, target):
    """OpenTPS's sum of both objectives in the nominal scenario and the others."""
    inside = np.flip(target.imageArray.astype(bool), (0, 1)).ravel(order="F")
    found = []
    for beamlets in (plan.planDesign.beamlets, *plan.planDesign.robustness.scenarios):
        dose = (beamlets.toSparseMatrix() @ plan.beamletMUs)[inside] * plan.numberOfFractionsPlanned
        found.append(np.mean(np.maximum(0, 19.5 - dose) ** 2) + np.mean(np.maximum(0, dose - 20.5) ** 2))
    return np.array(found)


def test_the_worst_scenario_counts(ct, target):
    found = {}
    for robust in (False, True):
        plan = robust_plan(ct, target, robust=robust)
        optimizer = IntensityModulationOptimizer(method="Brimstone", plan=plan)
        optimizer.thresholdSpotRemoval = 1e-3
        optimizer.optimize()
        found[robust] = penalties(plan, target)
        matrices = (plan.planDesign.beamlets, *plan.planDesign.robustness.scenarios)
        assert {each.toSparseMatrix().shape[1] for each in matrices} == {plan.numberOfBeamlets}
    assert found[False][0] < found[True][0]  # what robustness costs as planned
    assert found[True].max() < 0.6 * found[False].max()


def test_scenarios_of_opentps_are_those_of_the_same_shifts():
    plan = water_plan()
    plan.compute_scenarios([pb.Scenario(), pb.Scenario((3.0, 0.0, 0.0)), pb.Scenario((0.0, 0.0, -3.0))], progress=False)
    ct, _, photon_plan = plan.to_opentps()
    scenarios = []
    for each in plan.scenarios[1:]:
        # As computeRobustScenarioBeamlets does with robustMode="Simulation".
        moved = copy.deepcopy(ct)
        moved.origin = np.asarray(ct.origin) + each.scenario.shift_mm
        beamlets = compute_beamlets(moved, photon_plan, progress=False)
        beamlets.doseOrigin = np.asarray(ct.origin)
        scenarios.append(beamlets)
    photon_plan.planDesign.robustness.scenarios = scenarios
    found = scenarios_of_design(photon_plan, voxel_grid(ct))
    assert [scenario.name for scenario, _ in found] == ["nominal", "OpenTPS's scenario 1", "OpenTPS's scenario 2"]
    for (_, theirs), own in zip(found[1:], plan.scenarios[1:], strict=True):
        dose = own.dose_influence.matrix.toarray()
        np.testing.assert_allclose(theirs.matrix.toarray(), dose, atol=1e-4 * dose.max())
        assert np.abs(dose - plan.dose_influence.matrix).max() > 0.05 * dose.max()


def test_optimize_photon_plan_takes_the_scenarios_too(ct, target):
    plan = robust_plan(ct, target)
    worst = {}
    for robust in (True, False):
        asked = [
            (target, pb.KLDivergenceTerm(dose_range=(19.5, 20.5))),
            (target, pb.MinimumDoseTerm(19.5, weight=1e4)),
            (target, pb.MaximumDoseTerm(20.5, weight=1e4)),
        ]
        if robust:
            asked = [(roi, pb.robust_term(term, group="target")) for roi, term in asked]
        trial = copy.deepcopy(plan)
        pb.optimize_photon_plan(trial, ct, asked, beamlets=trial.planDesign.beamlets, progress=False)
        worst[robust] = penalties(trial, target).max()
    assert worst[True] < 0.7 * worst[False]


def test_scenarios_that_do_not_fit_are_named(ct, target):
    plan = robust_plan(ct, target)
    good = plan.planDesign.robustness.scenarios
    fewer = SparseBeamlets()
    fewer.setUnitaryBeamlets(sp.csc_matrix(good[1].toSparseMatrix())[:, :-1])
    plan.planDesign.robustness.scenarios = [good[0], fewer]
    with pytest.raises(ValueError, match=r"robustness\.scenarios\[1\]: the beamlets have \d+ columns"):
        IntensityModulationOptimizer(method="Brimstone", plan=plan).optimize()
    plan.planDesign.robustness.scenarios = ["one"]
    with pytest.raises(
        TypeError, match=r"robustness\.scenarios\[0\]: beamlets must be OpenTPS SparseBeamlets, got str"
    ):
        IntensityModulationOptimizer(method="Brimstone", plan=plan).optimize()
    plan.planDesign.robustness.scenarios = []
    robust = pb.robust_term(pb.KLDivergenceTerm(dose_range=(19.5, 20.5)))
    with pytest.raises(ValueError, match=r"planDesign\.robustness\.scenarios has none"):
        pb.optimize_photon_plan(plan, ct, [(target, robust)], progress=False)
    assert voxel_grid(ct).n_voxels == good[0].toSparseMatrix().shape[0]
