"""Quantities of arrays of other libraries are those of NumPy, computed and given in that library."""

from __future__ import annotations

import importlib.util
from types import SimpleNamespace

import array_api_strict
import numpy as np
import pytest
import scipy.sparse as sp
from quantity_cases import DIRECT, INDIRECT, MATRICES, make_dij

from opentps_brimstone.quantities import DoseMap, PreviousDose, QuantityResolver

W = np.array([1.0, 2.0, 0.5, 3.0])
G = np.linspace(-1.0, 2.0, 7)
CASES = [*DIRECT.items(), *INDIRECT.items()]


# PyTorch and CuPy are large: they are tried only where somebody has them.
LIBRARIES = [name for name in ("array_api_strict", "torch", "cupy") if importlib.util.find_spec(name)]


@pytest.fixture(params=LIBRARIES)
def xp(request):
    return importlib.import_module(request.param)


def moved(dij, xp, names):
    """Move attributes into another library."""

    def move(given):
        return [xp.asarray(each) for each in given] if isinstance(given, list) else xp.asarray(given)

    return SimpleNamespace(**{name: move(given) if name in names else given for name, given in vars(dij).items()})


def to_numpy(array):
    return array.get() if hasattr(array, "get") else np.asarray(array)


@pytest.mark.parametrize("parameters", ["there", "in NumPy"])
@pytest.mark.parametrize("scenarios", [1, 2])
@pytest.mark.parametrize(("name", "attributes"), CASES)
def test_values_and_derivatives_are_those_of_numpy(xp, name, attributes, scenarios, parameters):
    dij = make_dij(attributes, scenarios=scenarios)
    quantity = QuantityResolver(dij).get(name)
    other = QuantityResolver(moved(dij, xp, vars(dij) if parameters == "there" else MATRICES)).get(name)
    w, g = xp.asarray(W), xp.asarray(G)
    pairs = [(quantity(W), other(w))]
    incoming = ([G] * scenarios, [g] * scenarios) if scenarios > 1 else (G, g)
    pairs += [(quantity.compute_chain_derivative(incoming[0], W), other.compute_chain_derivative(incoming[1], w))]
    for wanted, found in pairs:
        for one, its in zip([wanted] if scenarios == 1 else wanted, [found] if scenarios == 1 else found, strict=True):
            assert type(its) is type(w)
            np.testing.assert_allclose(to_numpy(its), one, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", sorted(DIRECT))
def test_single_precision_stays_usable(xp, name):
    dij = make_dij(DIRECT[name])
    single = SimpleNamespace(**{key: np.asarray(values, np.float32) for key, values in vars(dij).items()})
    other = QuantityResolver(moved(single, xp, vars(dij))).get(name)
    wanted = QuantityResolver(dij).get(name)
    w, g = xp.asarray(W, dtype=xp.float32), xp.asarray(G, dtype=xp.float32)
    np.testing.assert_allclose(to_numpy(other(w)), wanted(W), rtol=1e-5)
    derivative = wanted.compute_chain_derivative(G, W)
    found = to_numpy(other.compute_chain_derivative(g, w))
    np.testing.assert_allclose(found, derivative, atol=1e-5 * np.abs(derivative).max())
    if xp is not array_api_strict:  # which mixes nothing of two precisions without being told
        np.testing.assert_allclose(to_numpy(other(xp.asarray(W))), wanted(W), rtol=1e-5)


def test_arrays_of_one_library_are_not_taken_for_those_of_another():
    """A cache that goes by numbers alone would give the first library's array to the second."""
    quantity = QuantityResolver(make_dij(("physical_dose",))).get("physical_dose")
    double, single = quantity(W), quantity(np.asarray(W, np.float32))
    assert double.dtype == np.float64
    np.testing.assert_allclose(single, double, rtol=1e-6)
    low = QuantityResolver(SimpleNamespace(physical_dose=np.ones((2, 4), np.float32))).get("physical_dose")
    assert (low(np.asarray(W, np.float32)).dtype, low(W).dtype) == (np.float32, np.float64)


def test_libraries_are_not_mixed():
    strict = array_api_strict.asarray(W)
    dij = make_dij(DIRECT["eqd2"])
    quantity = QuantityResolver(dij).get("eqd2")
    with pytest.raises(TypeError, match="the fluence is an array of array_api_strict, the matrices are of numpy"):
        quantity(strict)
    with pytest.raises(TypeError, match="d_quantity is an array of array_api_strict, the fluence of numpy"):
        quantity.compute_chain_derivative(array_api_strict.asarray(G), W)
    dij.alpha_beta = array_api_strict.asarray(dij.alpha_beta)
    with pytest.raises(TypeError, match="alpha_beta is an array of array_api_strict and meets one of numpy"):
        QuantityResolver(dij).get("eqd2")(W)
    sparse = SimpleNamespace(physical_dose=sp.csr_array(dij.physical_dose))
    with pytest.raises(TypeError, match="sparse matrices of SciPy go with numpy"):
        QuantityResolver(sparse).get("physical_dose")(strict)
    mixed = make_dij(DIRECT["let"])
    mixed.let_dose = array_api_strict.asarray(mixed.let_dose)
    with pytest.raises(TypeError, match="physical_dose and let_dose are of different array libraries"):
        QuantityResolver(mixed).get("let")
    mixed.physical_dose = [mixed.physical_dose, mixed.let_dose]
    with pytest.raises(TypeError, match="physical_dose of scenario 1 and the first are of different array libraries"):
        QuantityResolver(mixed).get("physical_dose")


@pytest.mark.parametrize("coefficients", ["there", "in NumPy"])
def test_maps_take_arrays_of_any_library(xp, coefficients):
    doses, ratios = np.array([0.0, 10.0, 50.0]), np.array([2.0, 3.0, 10.0])
    wanted = DoseMap.eqd2(ratios, 20, previous=PreviousDose(doses, 10))
    before = xp.asarray(doses) if coefficients == "there" else doses
    found = DoseMap.eqd2(xp.asarray(ratios) if coefficients == "there" else ratios, 20, 1.0, PreviousDose(before, 10))
    d = xp.asarray(doses)
    for one, other in (
        (wanted.value(doses), found.value(d)),
        (wanted.slope(doses), found.slope(d)),
        (doses, found.inverse(found.value(d))),
    ):
        assert type(other) is type(d)
        np.testing.assert_allclose(to_numpy(other), one, rtol=1e-13, atol=1e-13)
