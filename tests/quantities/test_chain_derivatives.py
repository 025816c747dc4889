"""Derivatives agree with central differences, whatever was asked before."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from quantity_cases import DIRECT, INDIRECT, central_differences, make_dij

from opentps_brimstone.quantities import QUANTITIES, QuantityResolver

CASES = [("direct", name) for name in DIRECT] + [("indirect", name) for name in INDIRECT]


def test_every_quantity_is_tried():
    assert DIRECT.keys() == QUANTITIES.keys()


def relative_error(found, wanted):
    return np.abs(np.asarray(found) - wanted).max() / np.abs(wanted).max()


@pytest.mark.parametrize("scenarios", [1, 3])
@pytest.mark.parametrize(("mode", "name"), CASES)
def test_derivative_agrees_with_central_differences(mode, name, scenarios):
    attributes = (DIRECT if mode == "direct" else INDIRECT)[name]
    quantity = QuantityResolver(make_dij(attributes, seed=5, scenarios=scenarios)).get(name)
    generator = np.random.default_rng(1)
    w = generator.uniform(1.0, 5.0, 4)
    g = generator.normal(size=(scenarios, 7))
    found = quantity.compute_chain_derivative(list(g) if scenarios > 1 else g[0], w)
    for scenario in range(scenarios):

        def function(weights, scenario=scenario):
            values = quantity(weights)
            return g[scenario] @ (values[scenario] if scenarios > 1 else values)

        own = found[scenario] if scenarios > 1 else found
        assert relative_error(own, central_differences(function, w)) < 1e-8


@st.composite
def programs(draw):
    """Calls of quantities with one of a few fluences and incoming derivatives, in any order."""
    identifiers = st.sampled_from(sorted(QUANTITIES))
    calls = st.tuples(identifiers, st.integers(0, 2), st.one_of(st.none(), st.integers(0, 2)))
    return draw(st.lists(calls, min_size=1, max_size=12)), draw(st.integers(0, 1000)), draw(st.sampled_from([1, 2]))


@given(programs(), st.sampled_from(["matrices", "photons"]))
@settings(deadline=None, max_examples=60)
def test_results_depend_on_nothing_that_was_asked_before(program, what):
    calls, seed, scenarios = program
    photons = ("physical_dose", "let_dose", "alphax", "betax", "number_of_fractions")
    names = photons if what == "photons" else (*photons, "alpha_dose", "sqrt_beta_dose", "alpha_beta")
    dij = make_dij(names, seed=seed, scenarios=scenarios)
    generator = np.random.default_rng(seed + 1)
    fluences = generator.uniform(0.0, 3.0, (3, 4))
    incoming = [list(g) if scenarios > 1 else g[0] for g in generator.normal(size=(3, scenarios, 7))]
    shared = QuantityResolver(dij)
    fluence = np.empty(4)  # one array for all calls, as an optimizer has it
    for name, at, by in calls:
        fluence[:] = fluences[at]
        used, fresh = shared.get(name), QuantityResolver(dij).get(name)
        if by is None:
            found, wanted = used(fluence), fresh(fluences[at])
        else:
            found = used.compute_chain_derivative(incoming[by], fluence)
            wanted = fresh.compute_chain_derivative(incoming[by], fluences[at])
        np.testing.assert_array_equal(found, wanted)
        for array in found if scenarios > 1 else [found]:
            array[:] = np.nan  # what was given away is the caller's


@given(st.integers(0, 10_000), st.sampled_from(CASES), st.integers(1, 3))
@settings(deadline=None, max_examples=40)
def test_derivative_agrees_for_any_matrices(seed, case, scenarios):
    mode, name = case
    attributes = (DIRECT if mode == "direct" else INDIRECT)[name]
    quantity = QuantityResolver(make_dij(attributes, seed=seed, scenarios=scenarios)).get(name)
    generator = np.random.default_rng(seed)
    w, g = generator.uniform(1.0, 5.0, 4), generator.normal(size=(scenarios, 7))

    def function(weights):
        return sum(one @ values for one, values in zip(g, np.reshape(quantity(weights), (scenarios, 7)), strict=True))

    found = quantity.compute_chain_derivative(list(g) if scenarios > 1 else g[0], w)
    total = np.reshape(found, (scenarios, 4)).sum(axis=0)
    wanted = central_differences(function, w)
    scale = np.abs(np.reshape(found, (scenarios, 4))).max()
    assert np.abs(total - wanted).max() < 1e-6 * scale
