"""Quantities of a plan are those of all its fractions."""

from __future__ import annotations

import numpy as np
import pytest

import opentps_brimstone as pb
from opentps_brimstone.quantities import DoseMap, QuantityResolver

SHAPE = (3, 2, 2)
W = np.array([2.0, 1.0, 4.0])


@pytest.fixture
def influence():
    matrix = np.random.default_rng(2).uniform(0.1, 1.0, (12, 3)) * (np.arange(12) % 4 != 0)[:, None]
    layout = pb.BeamletLayout([(0.0, 0.0), (5.0, 0.0), (10.0, 0.0)], beam_index=[0, 0, 0], spacing_mm=5.0)
    return pb.DoseInfluence(matrix, pb.VoxelGrid(SHAPE, (5.0, 5.0, 5.0)), layout)


@pytest.fixture
def plan(influence):
    plan = pb.Plan.from_influence(influence, [pb.Structure("PTV", np.ones(SHAPE), is_target=True)], 25)
    plan.beamlet_weights = W
    return plan


def test_dose_is_that_of_the_plan(plan):
    dose = QuantityResolver(plan).get("physical_dose")
    np.testing.assert_allclose(dose(W), plan.get_dose().ravel(), rtol=1e-14)
    g = np.linspace(-1.0, 1.0, 12)
    wanted = 25 * (plan.dose_influence.matrix.T.astype(float) @ g)
    np.testing.assert_allclose(dose.compute_chain_derivative(g, W), wanted, rtol=1e-12)


def test_a_dose_influence_alone_is_of_one_fraction(influence):
    dose = QuantityResolver(influence).get("physical_dose")
    np.testing.assert_allclose(dose(W), influence.dose(W).ravel(), rtol=1e-14)
    with pytest.raises(ValueError, match=r"'eqd2' needs alpha_beta .* which the DoseInfluence does not have"):
        QuantityResolver(influence).get("eqd2")


def test_quantities_take_the_fractions_of_the_plan(plan):
    plan.alphax, plan.betax = 0.2, 0.05
    resolver, dose = QuantityResolver(plan), plan.get_dose().ravel()
    np.testing.assert_allclose(resolver.get("eqd2")(W), DoseMap.eqd2(4.0, 25).value(dose), rtol=1e-13)
    np.testing.assert_allclose(resolver.get("bed")(W), DoseMap.bed(4.0, 25).value(dose), rtol=1e-13)
    np.testing.assert_allclose(resolver.get("effect")(W), DoseMap.effect(0.2, 0.05, 25).value(dose), rtol=1e-13)
    np.testing.assert_allclose(resolver.get("rbe_x_dose")(W), dose, rtol=1e-13, atol=1e-14)


def test_matrices_of_a_plan_are_per_fraction(plan):
    """Those of photons, handed over as matrices of one fraction, give the same effect."""
    plan.alphax, plan.betax = 0.2, 0.05
    names = ("alpha_dose", "sqrt_beta_dose", "effect", "rbe_x_dose")
    resolver = QuantityResolver(plan)
    wanted = {name: resolver.get(name) for name in names}
    matrix = plan.dose_influence.matrix.astype(float)
    plan.alpha_dose, plan.sqrt_beta_dose, plan.let_dose = 0.2 * matrix, np.sqrt(0.05) * matrix, 3.0 * matrix
    found = QuantityResolver(plan)
    g = np.linspace(-1.0, 1.0, 12)
    for name in names:
        np.testing.assert_allclose(found.get(name)(W), wanted[name](W), rtol=1e-12)
        derivatives = [each.compute_chain_derivative(g, W) for each in (found.get(name), wanted[name])]
        np.testing.assert_allclose(*derivatives, rtol=1e-11)
    modes = [(found.get(name).mode, wanted[name].mode) for name in names[:2]]
    assert modes == [("direct", "indirect")] * 2
    reached = plan.get_dose().ravel() > 0
    np.testing.assert_allclose(found.get("let")(W), 3.0 * reached, rtol=1e-12)


def test_matrices_may_be_with_the_dose_influence(plan):
    plan.dose_influence.let_dose = 2.0 * plan.dose_influence.matrix.astype(float)
    np.testing.assert_allclose(QuantityResolver(plan).get("let_dose")(W), 2 * plan.get_dose().ravel(), rtol=1e-13)


def test_binding_a_plan_computes_no_dose_influence(no_engine):
    series = pb.Series(
        np.zeros((5, 5, 5)), (5, 5, 5), (0, 0, 0), [pb.Structure("PTV", np.ones((5, 5, 5)), is_target=True)]
    )
    resolver = QuantityResolver(pb.Plan(series, number_of_fractions=5))
    with pytest.raises(ValueError, match="the plan has no beams"):
        resolver.get("physical_dose")
    with pytest.raises(ValueError, match="unknown quantity"):
        resolver.get("dose")
