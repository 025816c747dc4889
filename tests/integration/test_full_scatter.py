"""Dose influence with full scatter: what is near in a matrix, what is far computed with whole fields."""

from __future__ import annotations

import numpy as np
import pytest
from small_case import small_phantom

import opentps_brimstone as pb
from opentps_brimstone.adapters.phantom import to_opentps
from opentps_brimstone.integration.photon_plan import plan_from_opentps
from opentps_brimstone.sequencing import ApertureSettings, sequence_plan

QUIET = {"progress": False}


def full_plan(beamlet_mm=10.0):
    phantom = small_phantom(10.0)
    series = pb.Series(phantom.ct_hu, phantom.grid.spacing_mm, phantom.grid.origin_mm, phantom.structures)
    plan = pb.Plan(series, number_of_fractions=5)
    for angle in (0.0, 120.0, 240.0):
        plan.add_beam(gantry_angle=angle)
    plan.compute_dose_influence(beamlet_spacing_mm=beamlet_mm, scatter="full", **QUIET)
    return plan


def add_terms(plan):
    optimizer = pb.PlanOptimizer(plan)
    optimizer.add_objective(plan.structures["Tumor"], pb.KLDivergenceTerm(dose_range=(19.5, 21.5)))
    optimizer.add_objective(plan.structures["Organ"], pb.KLDivergenceTerm(dose_range=(0.0, 10.0), weight=0.3))
    return optimizer


def test_with_what_is_far_it_is_the_dose_of_the_whole_fluence():
    plan = full_plan()
    plan.beamlet_weights = np.random.default_rng(0).uniform(5, 20, plan.dose_influence.layout.n_beamlets)
    near = np.asarray(plan.get_dose())
    whole = plan.update_intermediate_dose()
    wanted = np.asarray(pb.compute_dose(plan, **QUIET))
    np.testing.assert_allclose(plan.get_dose(), wanted, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(whole, wanted, rtol=1e-5)
    tumor = plan.structures["Tumor"].share > 0.9
    assert 0.85 < near[tumor].mean() / wanted[tumor].mean() < 0.99
    half = plan.update_intermediate_dose(effort="half")
    assert abs(half - wanted).max() < 0.02 * wanted.max()
    assert abs(half - wanted).max() > 0


def test_it_is_forgotten_with_the_dose_influence():
    plan = full_plan()
    plan.beamlet_weights = np.ones(plan.dose_influence.layout.n_beamlets)
    plan.update_intermediate_dose()
    plan.compute_dose_influence(beamlet_spacing_mm=10.0, **QUIET)
    assert plan.intermediate_dose is None
    assert plan.dose_influence.whole_dose is None


def test_small_and_large_beamlets_give_the_same_field():
    doses = []
    for size in (5.0, 10.0):
        plan = full_plan(size)
        plan._beamlets_of = lambda *_, size=size: np.array(
            [(x, y) for y in np.arange(-20 + size / 2, 20, size) for x in np.arange(-20 + size / 2, 20, size)]
        )
        plan.compute_dose_influence(beamlet_spacing_mm=size, scatter="full", **QUIET)
        plan.beamlet_weights = np.ones(plan.dose_influence.layout.n_beamlets)
        plan.update_intermediate_dose()
        per_machine_mu = pb.engine.calibration.calibrate(size, plan.grid.spacing_mm).engine_mu(1.0)
        doses.append(per_machine_mu * np.asarray(plan.get_dose()))
    np.testing.assert_allclose(*doses, rtol=1e-4, atol=1e-4 * doses[0].max())


def test_optimized_dvhs_are_those_of_the_final_dose():
    plan = full_plan()
    result = add_terms(plan).optimize()
    final = np.asarray(pb.compute_dose(plan, **QUIET))
    np.testing.assert_allclose(result.dose, final, rtol=1e-5, atol=1e-5)
    assert result.last_update_gy < 0.005 * 21.5
    tumor = plan.structures["Tumor"].share
    assert np.average(final, weights=tumor) == pytest.approx(20.5, abs=0.5)


def test_plans_of_opentps_have_it_too():
    phantom = small_phantom(10.0)
    ct, _, photon_plan = to_opentps(phantom, 12.0)
    plan = plan_from_opentps(photon_plan, ct, phantom.structures, scatter="full", **QUIET)
    result = pb.GoalPlanner(plan, phantom.goals).optimize()
    final = np.asarray(pb.compute_dose(plan, **QUIET))
    np.testing.assert_allclose(result.dose, final, rtol=1e-5, atol=1e-5)
    assert result.goals.all_met
    again = pb.evaluate(final, plan.structures, phantom.goals, grid=plan.grid)
    assert again.all_met
    with pytest.raises(ValueError, match="leave out the beamlets given"):
        plan_from_opentps(photon_plan, ct, phantom.structures, scatter="full", beamlets=object(), **QUIET)


def test_with_a_beam_model_it_is_the_dose_of_segments_to_come():
    """What leaves let through counts with the MU that the fluence needs, opening by opening."""
    plan = full_plan()
    plan.compute_dose_influence(beamlet_spacing_mm=10.0, scatter="full", beam_model="Kernels_6MV", **QUIET)
    field = np.concatenate([beam.beamlet_xy_mm for beam in plan.beams])
    mu = 5.0 + np.abs(field[:, 0])
    plan.beamlet_weights = mu
    whole = plan.update_intermediate_dose()
    opened = np.asarray(pb.compute_dose(plan, beam_model="Kernels_6MV", progress=False))
    layout = plan.dose_influence.layout
    beams = sequence_plan(layout, mu, "millennium-120", levels=ApertureSettings.levels)
    leaking = np.asarray(pb.compute_dose(plan, segments=beams, beam_model="Kernels_6MV", progress=False))
    inside = plan.ct_hu > -500
    far = inside & (opened < 0.03 * opened.max())
    assert whole[far].sum() > 1.02 * opened[far].sum()
    assert whole[far].sum() == pytest.approx(leaking[far].sum(), rel=0.05)
    assert np.array_equal(whole, plan.update_intermediate_dose())
    np.testing.assert_allclose(plan.update_intermediate_dose(2 * mu), 2 * whole, rtol=1e-12)
