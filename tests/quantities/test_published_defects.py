"""What was found wrong in another implementation of the same specification (pyRadPlan 0.5.0) is right here."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from quantity_cases import central_differences, make_dij

from opentps_brimstone.quantities import QUANTITIES, QuantityResolver

BIOLOGY = ("physical_dose", "alpha_dose", "sqrt_beta_dose", "alphax", "betax")
W = np.array([1.0, 2.0, 0.5, 3.0])
G = np.linspace(-1.0, 2.0, 7)


@pytest.fixture
def resolver():
    return QuantityResolver(make_dij(BIOLOGY, seed=3))


def test_derivative_of_rbe_weighted_dose_divides_by_what_belongs_there(resolver):
    quantity = resolver.get("rbe_x_dose")
    wanted = central_differences(lambda w: G @ quantity(w), W)
    np.testing.assert_allclose(quantity.compute_chain_derivative(G, W), wanted, rtol=1e-8)


def test_derivative_of_rbe_weighted_dose_leaves_the_effect_alone(resolver):
    effect = resolver.get("effect")
    before = effect(W)
    resolver.get("rbe_x_dose").compute_chain_derivative(G, W)
    np.testing.assert_array_equal(effect(W), before)


@pytest.mark.parametrize("name", ["physical_dose", "effect", "rbe_x_dose"])
def test_twice_the_incoming_derivative_gives_twice_the_outgoing_one(resolver, name):
    quantity = resolver.get(name)
    once = quantity.compute_chain_derivative(G, W)
    np.testing.assert_allclose(quantity.compute_chain_derivative(2 * G, W), 2 * once, rtol=1e-14)


@pytest.mark.parametrize("name", ["effect", "rbe_x_dose"])
def test_derivative_is_taken_at_the_fluence_given(resolver, name):
    quantity = resolver.get(name)
    wanted = quantity.compute_chain_derivative(G, W)
    quantity(10 * W)
    resolver.get("sqrt_beta_dose")(7 * W)
    np.testing.assert_array_equal(quantity.compute_chain_derivative(G, W), wanted)
    assert np.abs(quantity.compute_chain_derivative(G, 10 * W) - wanted).max() > 0.01 * np.abs(wanted).max()


def test_every_scenario_has_its_own_derivative():
    dij = make_dij(BIOLOGY, seed=4, scenarios=3)
    several = np.array([G, -G, 2 * G])
    together = QuantityResolver(dij).get("effect").compute_chain_derivative(list(several), W)
    for scenario in range(3):
        alone = SimpleNamespace(**{name: getattr(dij, name)[scenario] for name in ("alpha_dose", "sqrt_beta_dose")})
        wanted = QuantityResolver(alone).get("effect").compute_chain_derivative(several[scenario], W)
        np.testing.assert_array_equal(together[scenario], wanted)
    assert not np.allclose(together[0], together[2])


def test_results_stay_what_they_were_after_the_next_call(resolver):
    for name in ("physical_dose", "effect"):
        quantity = resolver.get(name)
        value, derivative = quantity(W), quantity.compute_chain_derivative(G, W)
        kept = value.copy(), derivative.copy()
        quantity(2 * W)
        quantity.compute_chain_derivative(-G, 2 * W)
        np.testing.assert_array_equal((value - kept[0]).tolist() + (derivative - kept[1]).tolist(), 0.0)


def test_effect_needs_no_physical_dose():
    resolver = QuantityResolver(make_dij(("alpha_dose", "sqrt_beta_dose", "alphax", "betax")))
    assert resolver.get("effect")(W).shape == resolver.get("rbe_x_dose")(W).shape == (7,)
    with pytest.raises(ValueError, match="needs the matrix physical_dose"):
        resolver.get("physical_dose")


@pytest.mark.parametrize("name", sorted(QUANTITIES))
def test_a_quantity_is_the_one_that_was_asked_for(name):
    dij = make_dij((*BIOLOGY, "let_dose", "alpha_beta", "number_of_fractions"))
    resolver = QuantityResolver(dij)
    for other in QUANTITIES:
        resolver.get(other)(W)
    assert resolver.get(name) is resolver.get(name)
    assert resolver.get(name).identifier == name
    assert type(resolver.get(name)) is QUANTITIES[name]
