"""Optimizing the MU of segments on doses computed by a formula."""

import functools

import numpy as np
import pytest
from problems import random_influence, random_plan

import opentps_brimstone as pb
from opentps_brimstone.sequencing import MLC, sequence_plan
from opentps_brimstone.sequencing.segment_weights import (
    _rounded,
    fitted_mu,
    optimize_segment_weights,
    segment_influence,
)


@functools.cache
def case(levels=3, seed=3):
    """A plan with optimized beamlets, and its segments with the terms they are asked for."""
    plan = random_plan(seed)
    structures = plan.structures
    terms = [
        (structures["PTV"], pb.KLDivergenceTerm(dose_range=(48, 52))),
        (structures["organ"], pb.KLDivergenceTerm(dvh=[(0, 1), (20, 0.4), (40, 0)], weight=0.5)),
        (structures["body"], pb.MaximumDoseTerm(50, weight=300)),
    ]
    optimizer = pb.PlanOptimizer(plan)
    for structure, term in terms:
        optimizer.add_objective(structure, term)
    weights = optimizer.optimize().beamlet_weights
    for _, term in terms:
        term.structure = None
    layout = plan.dose_influence.layout
    beams = sequence_plan(layout, weights, MLC.matched(layout.xy_mm[:, 1], 5.0), levels=levels)
    return plan, terms, beams


def start_of(beams):
    return np.array([aperture.mu for beam in beams for aperture in beam.apertures])


def test_doses_of_segments_are_those_of_their_fluence():
    plan, _, beams = case()
    influence = plan.dose_influence
    segments = segment_influence(influence, beams)
    start = start_of(beams)
    assert segments.layout.n_beams == segments.layout.n_beamlets == len(start)
    fluence = np.concatenate(
        [beam.fluence_at(influence.layout.xy_mm[influence.layout.beam_index == beam.beam_index]) for beam in beams]
    )
    np.testing.assert_allclose(segments.dose(start), influence.dose(fluence), rtol=1e-4, atol=1e-6)


def test_cost_falls_and_is_that_of_the_mu():
    plan, terms, beams = case()
    segments = segment_influence(plan.dose_influence, beams)
    found = optimize_segment_weights(segments, terms, start_of(beams))
    assert found.cost_after < 0.9 * found.cost_before
    assert found.iterations > 0
    checked = pb.PlanOptimizer(pb.Plan.from_influence(segments, plan.structures.values()))
    for structure, term in terms:
        checked.add_objective(structure, term)
    assert checked.prescription.evaluate(found.mu)[0] == pytest.approx(found.cost_after)
    assert checked.prescription.evaluate(start_of(beams))[0] == pytest.approx(found.cost_before)


def test_mu_fitted_to_a_dose():
    """The dose of known MU is found again; MU fitted to the beamlets' dose come nearer to it than the levels."""
    plan, terms, beams = case()
    segments = segment_influence(plan.dose_influence, beams)
    known = np.linspace(0.0, 20.0, segments.layout.n_beamlets)
    np.testing.assert_allclose(
        segments.dose(fitted_mu(segments, segments.dose(known, 5), 5)), segments.dose(known), atol=1e-6
    )
    wanted = plan.get_dose()
    start = start_of(beams)
    near = optimize_segment_weights(segments, terms, start, wanted_dose=wanted)
    judged = wanted > 0.1 * wanted.max()
    fitted = segments.dose(fitted_mu(segments, wanted))
    assert np.sum((fitted - wanted)[judged] ** 2) < 0.9 * np.sum((segments.dose(start) - wanted)[judged] ** 2)
    assert near.cost_after < near.cost_before


@pytest.mark.parametrize("hotter", [0.85, 1.2])
def test_optimized_mu_keep_to_the_dose_of_the_beamlets(hotter):
    """Where the terms ask for another dose, they get what a quarter more deviation can give."""
    plan, _, beams = case()
    terms = [(plan.structures["PTV"], pb.KLDivergenceTerm(dose_range=(48 * hotter, 52 * hotter)))]
    segments = segment_influence(plan.dose_influence, beams)
    wanted = plan.get_dose()
    judged = wanted > 0.1 * wanted.max()

    def deviation(mu):
        return float(np.linalg.norm((segments.dose(mu) - wanted)[judged]))

    found = optimize_segment_weights(segments, terms, start_of(beams), wanted_dose=wanted)
    free = optimize_segment_weights(segments, terms, start_of(beams))
    least = deviation(fitted_mu(segments, wanted))
    assert deviation(free.mu) > 1.5 * least
    assert deviation(found.mu) == pytest.approx(1.25 * least, rel=1e-3)
    assert (found.mu >= 0).all()
    assert free.cost_after < found.cost_after < found.cost_before


def test_mu_of_several_fractions():
    plan, terms, beams = case()
    segments = segment_influence(plan.dose_influence, beams)
    once = optimize_segment_weights(segments, terms, start_of(beams))
    often = optimize_segment_weights(segments, terms, start_of(beams) / 10, number_of_fractions=10)
    np.testing.assert_allclose(10 * often.mu, once.mu, rtol=1e-5, atol=1e-6)


def test_never_worse_than_the_start():
    """From MU that were optimized already, with no iterations left to improve them."""
    plan, terms, beams = case()
    segments = segment_influence(plan.dose_influence, beams)
    best = optimize_segment_weights(segments, terms, start_of(beams), settings=pb.OptimizerSettings(start_level=0))
    again = optimize_segment_weights(
        segments, terms, best.mu, settings=pb.OptimizerSettings(max_iterations=1, start_level=3)
    )
    assert again.cost_after <= again.cost_before == pytest.approx(best.cost_after)


def test_small_mu_vanish_and_the_others_are_rounded():
    plan, terms, beams = case(levels=6)
    segments = segment_influence(plan.dose_influence, beams)
    free = optimize_segment_weights(segments, terms, start_of(beams))
    least = float(np.quantile(free.mu[free.mu > 0], 0.1))
    found = optimize_segment_weights(
        segments, terms, start_of(beams), minimum_engine_mu=least, step_engine_mu=least / 8
    )
    assert np.count_nonzero(found.mu) < np.count_nonzero(free.mu)
    assert found.mu[found.mu > 0].min() >= least * (1 - 1e-9)
    np.testing.assert_allclose(found.mu / (least / 8), np.round(found.mu / (least / 8)), atol=1e-9)
    assert found.cost_after < found.cost_before


@pytest.mark.parametrize("factor", [1.0, 1.7911, 0.9409, 1.736])
def test_a_least_mu_that_is_a_multiple_of_the_step_is_not_rounded_up(factor):
    """In whatever unit: machine MU become engine MU by a factor."""
    minimum, step = 1.0 / factor, 0.1 / factor
    mu = np.array([0.0, 1.0, 1.04, 1.06, 0.99]) / factor
    np.testing.assert_allclose(_rounded(mu, minimum, step) * factor, [0, 1.0, 1.0, 1.1, 1.0])


def test_limits_that_leave_nothing():
    plan, terms, beams = case()
    segments = segment_influence(plan.dose_influence, beams)
    with pytest.raises(ValueError, match=r"no segment reaches 1e\+09 MU per fraction"):
        optimize_segment_weights(segments, terms, start_of(beams), minimum_engine_mu=1e9)
    with pytest.raises(ValueError, match="step_engine_mu is -1; it must be 0 or more"):
        optimize_segment_weights(segments, terms, start_of(beams), step_engine_mu=-1)


def test_beams_and_fluence_maps_belong_together():
    _, _, beams = case()
    with pytest.raises(ValueError, match="there are 3 fluence maps and 2 sequenced beams"):
        segment_influence(random_influence(3), beams[:2])
    layout = random_influence(3).layout
    shifted = pb.BeamletLayout(layout.xy_mm + 1.0, layout.beam_index, layout.spacing_mm)
    influence = random_influence(3)
    with pytest.raises(ValueError, match="aperture 0 of beam 0 leaves part of a beamlet open"):
        segment_influence(pb.DoseInfluence(influence.matrix, influence.grid, shifted), beams)
