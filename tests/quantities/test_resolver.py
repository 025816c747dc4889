"""Resolving: modes, chains, custom quantities, scenarios, and what is refused."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import textwrap
import tracemalloc
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest
import scipy.sparse as sp
from quantity_cases import DIRECT, INDIRECT, central_differences, make_dij

import opentps_brimstone.quantities as room
from opentps_brimstone.quantities import QUANTITIES, FluenceDependentQuantity, QuantityResolver

W = np.array([1.0, 2.0, 0.5, 3.0])
G = np.linspace(-1.0, 2.0, 7)

SPECIFIED = """
from opentps_brimstone.quantities import QuantityResolver

resolver = QuantityResolver(dij)

# Compute physical dose for a given fluence vector
dose = resolver.get("physical_dose")(fluence)

# Compute RBE-weighted dose (resolver handles the dependency chain automatically)
rbe_dose = resolver.get("rbe_x_dose")(fluence)
"""


@pytest.mark.parametrize("biology", [("alpha_dose", "sqrt_beta_dose"), ()])
def test_the_example_of_the_specification_runs(biology):
    dij = make_dij(("physical_dose", "alphax", "betax", *biology))
    names = {"dij": dij, "fluence": W}
    exec(textwrap.dedent(SPECIFIED), names)
    np.testing.assert_allclose(names["dose"], dij.physical_dose @ W)
    if not biology:
        np.testing.assert_allclose(names["rbe_dose"], names["dose"], rtol=1e-12)
    assert names["rbe_dose"].shape == (7,)


@pytest.mark.parametrize("module", ["", *(f".{found.name}" for found in pkgutil.iter_modules(room.__path__))])
def test_examples_of_docstrings_run(module):
    assert doctest.testmod(importlib.import_module(room.__name__ + module)).failed == 0


# --------------------------------------------------------------------------------------------------------------- modes


@pytest.mark.parametrize("name", sorted(INDIRECT))
def test_a_matrix_is_used_where_it_is_there(name):
    indirect = QuantityResolver(make_dij(INDIRECT[name])).get(name)
    assert indirect.mode == "indirect"
    matrix = np.full((7, 4), 0.25)
    dij = make_dij(INDIRECT[name])
    setattr(dij, name, matrix)
    direct = QuantityResolver(dij).get(name)
    assert direct.mode == "direct"
    np.testing.assert_allclose(direct(W), matrix @ W)
    np.testing.assert_allclose(direct.compute_chain_derivative(G, W), matrix.T @ G)


def test_linear_quantities_of_photons_agree_in_both_modes():
    dij = make_dij(("physical_dose", "alphax", "betax", "number_of_fractions"))
    factors = {"alpha_dose": dij.alphax, "sqrt_beta_dose": np.sqrt(dij.betax / dij.number_of_fractions)}
    indirect = QuantityResolver(dij)
    direct = QuantityResolver(
        SimpleNamespace(**{name: factor[:, None] * dij.physical_dose for name, factor in factors.items()})
    )
    for name in (*factors, "effect"):
        np.testing.assert_allclose(direct.get(name)(W), indirect.get(name)(W), rtol=1e-13)
        np.testing.assert_allclose(
            direct.get(name).compute_chain_derivative(G, W),
            indirect.get(name).compute_chain_derivative(G, W),
            rtol=1e-12,
            atol=1e-14,
        )


@pytest.mark.parametrize("make", [sp.csr_matrix, sp.csc_array, sp.coo_matrix, sp.lil_array, sp.dok_array, np.asmatrix])
@pytest.mark.filterwarnings("ignore:.*the matrix subclass:PendingDeprecationWarning")
def test_kinds_of_matrices_make_no_difference(make):
    dense = make_dij(DIRECT["let"])
    other = SimpleNamespace(physical_dose=make(dense.physical_dose), let_dose=make(dense.let_dose))
    wanted, found = QuantityResolver(dense).get("let"), QuantityResolver(other).get("let")
    np.testing.assert_allclose(found(W), wanted(W), rtol=1e-14)
    derivative = found.compute_chain_derivative(G, W)
    assert type(derivative) is np.ndarray
    assert derivative.shape == (4,)
    np.testing.assert_allclose(derivative, wanted.compute_chain_derivative(G, W), rtol=1e-12)


@pytest.mark.parametrize("kind", [sp.csr_array, sp.csc_matrix])
@pytest.mark.parametrize("at_once", [1, 3, 1000])
def test_matrices_of_single_precision_are_multiplied_in_double_precision(monkeypatch, kind, at_once):
    monkeypatch.setattr("opentps_brimstone.quantities.matrices._ENTRIES_AT_ONCE", at_once)
    dense = make_dij(("physical_dose",)).physical_dose.astype(np.float32)
    dense[[0, 3]] = 0.0
    dense[:, 1] = 0.0
    dose = QuantityResolver(SimpleNamespace(physical_dose=kind(dense))).get("physical_dose")
    np.testing.assert_allclose(dose(W), dense.astype(float) @ W, rtol=1e-14)
    np.testing.assert_allclose(dose.compute_chain_derivative(G, W), dense.T.astype(float) @ G, rtol=1e-13)


@pytest.mark.parametrize("kind", [sp.csr_array, sp.csc_array])
def test_a_matrix_of_single_precision_is_never_copied_as_a_whole(monkeypatch, kind):
    monkeypatch.setattr("opentps_brimstone.quantities.matrices._ENTRIES_AT_ONCE", 10_000)
    matrix = kind(np.ones((1000, 300), dtype=np.float32))
    dose = QuantityResolver(SimpleNamespace(physical_dose=matrix)).get("physical_dose")
    w, g = np.ones(300), np.ones(1000)
    tracemalloc.start()
    try:
        dose(w)
        dose.compute_chain_derivative(g, w)
        assert tracemalloc.get_traced_memory()[1] < 0.2 * 8 * matrix.nnz
    finally:
        tracemalloc.stop()


def test_a_matrix_without_entries_gives_nothing():
    for matrix in (sp.csr_array((7, 4), dtype=np.float32), sp.csc_array((7, 4), dtype=np.float32)):
        dose = QuantityResolver(SimpleNamespace(physical_dose=matrix)).get("physical_dose")
        assert dose(W).tolist() == [0.0] * 7
        assert dose.compute_chain_derivative(G, W).tolist() == [0.0] * 4


def test_whole_numbers_are_numbers():
    dij = SimpleNamespace(physical_dose=np.array([[1, 2], [3, 4]]), alphax=1, betax=sp.eye_array(2).diagonal())
    assert QuantityResolver(dij).get("effect")([1, 1]).tolist() == [12.0, 56.0]
    sparse = SimpleNamespace(physical_dose=sp.csr_array(dij.physical_dose))
    assert QuantityResolver(sparse).get("physical_dose")([1, 1]).tolist() == [3.0, 7.0]


def test_parameters_follow_from_each_other():
    given = {"physical_dose": np.ones((2, 1)), "number_of_fractions": 3}
    by_beta = QuantityResolver(SimpleNamespace(**given, alphax=0.3, betax=np.array([0.1, 0.05])))
    by_ratio = QuantityResolver(SimpleNamespace(**given, alphax=0.3, alpha_beta=np.array([3.0, 6.0])))
    for name in ("effect", "rbe_x_dose", "bed", "eqd2"):
        np.testing.assert_allclose(by_beta.get(name)([9.0]), by_ratio.get(name)([9.0]), rtol=1e-14)


def test_parameters_may_be_given_on_the_grid():
    flat = make_dij(DIRECT["eqd2"], n_voxels=24)
    grid = SimpleNamespace(**vars(flat) | {"alpha_beta": flat.alpha_beta.reshape(2, 3, 4)})
    np.testing.assert_array_equal(QuantityResolver(grid).get("eqd2")(W), QuantityResolver(flat).get("eqd2")(W))


# ---------------------------------------------------------------------------------------------------------- scenarios


def test_one_scenario_gives_plain_arrays():
    dij = make_dij(("physical_dose",))
    with_holes = np.array([None, dij.physical_dose, None], dtype=object)
    for matrices in (dij.physical_dose, [dij.physical_dose], with_holes):
        dose = QuantityResolver(SimpleNamespace(physical_dose=matrices)).get("physical_dose")
        np.testing.assert_array_equal(dose(W), dij.physical_dose @ W)
        np.testing.assert_array_equal(dose.compute_chain_derivative(G, W), dij.physical_dose.T @ G)
        np.testing.assert_array_equal(dose.compute_chain_derivative([G], W), dij.physical_dose.T @ G)


def test_several_scenarios_give_one_array_each():
    dij = make_dij(("physical_dose",), scenarios=3)
    dose = QuantityResolver(dij).get("physical_dose")
    assert [values.tolist() for values in dose(W)] == [(matrix @ W).tolist() for matrix in dij.physical_dose]
    stacked = np.array([G, 2 * G, -G])
    wanted = [matrix.T @ g for matrix, g in zip(dij.physical_dose, stacked, strict=True)]
    for incoming in (stacked, list(stacked), tuple(stacked)):
        np.testing.assert_array_equal(dose.compute_chain_derivative(incoming, W), wanted)
    for wrong in (G, [G, G], 1.0):
        with pytest.raises(ValueError, match="there are 3 scenarios: give an array for each"):
            dose.compute_chain_derivative(wrong, W)


def test_scenarios_must_agree():
    dij = make_dij(DIRECT["let"], scenarios=3)
    dij.let_dose = dij.let_dose[:2]
    with pytest.raises(ValueError, match="physical_dose has 3 scenarios and let_dose has 2"):
        QuantityResolver(dij).get("let")
    dij = make_dij(("physical_dose",), scenarios=2)
    dij.physical_dose[1] = np.ones((7, 5))
    with pytest.raises(ValueError, match=r"physical_dose of scenario 1 has the shape \(7, 5\); the first has \(7, 4\)"):
        QuantityResolver(dij).get("physical_dose")
    with pytest.raises(ValueError, match="physical_dose has no scenario"):
        QuantityResolver(SimpleNamespace(physical_dose=[])).get("physical_dose")


# ------------------------------------------------------------------------------------------------- custom quantities


class DoseToThePower(FluenceDependentQuantity):
    identifier = "dose_to_the_power"
    dependencies = ("physical_dose",)
    parameters: ClassVar = {"power": 2.0}

    def _compute_quantity_single_scenario(self, scenario_index):
        dose = self.dependency("physical_dose", scenario_index)
        dose **= self.parameter("power")  # what it is given is its own
        return dose

    def _compute_chain_derivative_single_scenario(self, d_quantity, scenario_index):
        power = self.parameter("power")
        d_quantity *= power * self.dependency("physical_dose", scenario_index) ** (power - 1)
        return self.dependency_derivative("physical_dose", d_quantity, scenario_index)


class DoseThrice(FluenceDependentQuantity):
    """By an array that is used again after it is changed."""

    identifier = "dose_thrice"
    dependencies = ("physical_dose",)

    def _compute_quantity_single_scenario(self, scenario_index):
        return 3 * self.dependency("physical_dose", scenario_index)

    def _compute_chain_derivative_single_scenario(self, d_quantity, scenario_index):
        found = self.dependency_derivative("physical_dose", d_quantity, scenario_index)
        d_quantity *= 2
        found += self.dependency_derivative("physical_dose", d_quantity, scenario_index)
        return found


class WeightSquared(FluenceDependentQuantity):
    identifier = "weight_squared"

    def _compute_quantity_single_scenario(self, scenario_index):
        return self.fluence**2

    def _compute_chain_derivative_single_scenario(self, d_quantity, scenario_index):
        return 2 * self.fluence * d_quantity


@pytest.mark.parametrize(("extra", "power"), [({}, 2.0), ({"power": 3}, 3.0)])
@pytest.mark.parametrize("scenarios", [1, 2])
def test_a_quantity_of_ones_own(monkeypatch, extra, power, scenarios):
    monkeypatch.setitem(QUANTITIES, "dose_to_the_power", DoseToThePower)
    dij = make_dij(("physical_dose",), scenarios=scenarios)
    vars(dij).update(extra)
    resolver = QuantityResolver(dij)
    quantity = resolver.get("dose_to_the_power")
    doses = np.reshape(resolver.get("physical_dose")(W), (scenarios, 7))
    for _ in range(2):
        np.testing.assert_allclose(np.reshape(quantity(W), (scenarios, 7)), doses**power)
        found = np.reshape(quantity.compute_chain_derivative([G] * scenarios, W), (scenarios, 4)).sum(axis=0)
        wanted = central_differences(lambda w: (np.reshape(quantity(w), (scenarios, 7)) @ G).sum(), W)
        np.testing.assert_allclose(found, wanted, rtol=1e-7)
    np.testing.assert_array_equal(np.reshape(resolver.get("physical_dose")(W), (scenarios, 7)), doses)


def test_an_array_may_be_used_again(monkeypatch):
    monkeypatch.setitem(QUANTITIES, "dose_thrice", DoseThrice)
    dij = make_dij(("physical_dose",))
    found = QuantityResolver(dij).get("dose_thrice").compute_chain_derivative(G, W)
    np.testing.assert_allclose(found, 3 * dij.physical_dose.T @ G, rtol=1e-13)


def test_what_a_quantity_does_to_its_arguments_is_not_remembered(monkeypatch):
    monkeypatch.setitem(QUANTITIES, "dose_to_the_power", DoseToThePower)
    resolver = QuantityResolver(make_dij(("physical_dose",)))
    quantity, changed = resolver.get("dose_to_the_power"), 2 * resolver.get("physical_dose")(W) * G
    once, given = quantity.compute_chain_derivative(G, W), G.copy()
    fresh = QuantityResolver(make_dij(("physical_dose",))).get("dose_to_the_power")
    np.testing.assert_array_equal(
        quantity.compute_chain_derivative(changed, W), fresh.compute_chain_derivative(changed, W)
    )
    np.testing.assert_array_equal(quantity.compute_chain_derivative(given, W), once)
    np.testing.assert_array_equal(given, G)


def test_a_quantity_of_the_fluence_alone(monkeypatch):
    monkeypatch.setitem(QUANTITIES, "weight_squared", WeightSquared)
    quantity = QuantityResolver(SimpleNamespace()).get("weight_squared")
    assert quantity([1.0, 3.0]).tolist() == [1.0, 9.0]
    assert quantity.compute_chain_derivative([1.0, 1.0], [1.0, 3.0]).tolist() == [2.0, 6.0]


def test_half_a_quantity_is_refused(monkeypatch):
    class Half(FluenceDependentQuantity):
        identifier = "half"

        def _compute_quantity_single_scenario(self, scenario_index):
            return self.fluence

    monkeypatch.setitem(QUANTITIES, "half", Half)
    with pytest.raises(TypeError, match="Half must implement both _compute_quantity_single_scenario and"):
        QuantityResolver(SimpleNamespace()).get("half")


def test_a_quantity_under_another_name_is_refused(monkeypatch):
    monkeypatch.setitem(QUANTITIES, "squared", WeightSquared)
    with pytest.raises(ValueError, match="WeightSquared as 'squared'; its identifier is 'weight_squared'"):
        QuantityResolver(SimpleNamespace()).get("squared")


# ------------------------------------------------------------------------------------------------------------ refused


def test_an_unknown_quantity_is_told_which_there_are():
    with pytest.raises(ValueError, match=r"unknown quantity 'eqd3'; there are physical_dose, let, .*, bed, eqd2"):
        QuantityResolver(SimpleNamespace()).get("eqd3")


def test_a_circle_is_told(monkeypatch):
    def depends(name, *on):
        members = {"identifier": name, "dependencies": on}
        members |= {
            method: lambda self, *_: None
            for method in ("_compute_quantity_single_scenario", "_compute_chain_derivative_single_scenario")
        }
        monkeypatch.setitem(QUANTITIES, name, type(name, (FluenceDependentQuantity,), members))

    depends("one", "two")
    depends("two", "three")
    depends("three", "two")
    resolver = QuantityResolver(SimpleNamespace())
    for _ in range(2):  # the first failure leaves nothing behind
        with pytest.raises(ValueError, match="in a circle: one -> two -> three -> two"):
            resolver.get("one")
    depends("four", "fifth")
    with pytest.raises(ValueError, match=r"unknown quantity 'fifth', which four depends on; there are"):
        resolver.get("four")


@pytest.mark.parametrize(
    ("name", "attributes", "message"),
    [
        ("physical_dose", (), "'physical_dose' needs the matrix physical_dose .* which the SimpleNamespace does not"),
        ("let", ("physical_dose",), r"'let_dose' \(in let -> let_dose\) needs the matrix let_dose"),
        ("rbe_x_dose", ("alphax", "betax"), r"\(in rbe_x_dose -> effect -> alpha_dose -> physical_dose\) needs"),
        ("effect", ("physical_dose", "betax"), "'alpha_dose' needs alphax .linear coefficient of photons in 1/Gy."),
        ("effect", ("physical_dose", "alphax"), "'sqrt_beta_dose' needs betax .* nor alphax and alpha_beta to derive"),
        ("rbe_x_dose", ("alpha_dose", "sqrt_beta_dose"), "'rbe_x_dose' needs alphax"),
        ("bed", ("physical_dose", "number_of_fractions"), "'bed' needs alpha_beta .* nor alphax and betax"),
        ("eqd2", ("physical_dose", "alpha_beta"), "'eqd2' needs number_of_fractions"),
    ],
)
def test_what_is_missing_is_named(name, attributes, message):
    with pytest.raises(ValueError, match=message):
        QuantityResolver(make_dij(attributes)).get(name)


def test_what_was_missing_may_be_given_afterwards():
    dij = make_dij(DIRECT["rbe_x_dose"])
    given = {name: vars(dij).pop(name) for name in ("sqrt_beta_dose", "alphax")}
    resolver = QuantityResolver(dij)
    for name, value in given.items():
        with pytest.raises(ValueError, match="needs"):
            resolver.get("rbe_x_dose")
        setattr(dij, name, value)
    assert resolver.get("rbe_x_dose")(W).shape == (7,)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("alpha_beta", 0.0, "alpha_beta is 0.0; it must be positive"),
        (
            "alpha_beta",
            [3.0, -2.0, 3, 3, 3, 0, 3],
            "alpha_beta is -2.0 for voxel 1 .and so for 1 more.; it must be pos",
        ),
        ("alpha_beta", [3.0, 3, 3, np.nan, 3, 3, 3], "alpha_beta is nan for voxel 3; it must be positive and finite"),
        ("alpha_beta", [3.0, 2.0], "alpha_beta has 2 entries; it must be one number, or one for each of the 7 voxels"),
        ("alpha_beta", np.ones((7, 1)), r"alpha_beta has the shape \(7, 1\)"),
        ("number_of_fractions", 0, "number_of_fractions is 0.0; it must be a whole number from 1"),
        ("number_of_fractions", 2.5, "number_of_fractions is 2.5; it must be a whole"),
        ("physical_dose", np.ones(7), r"physical_dose has the shape \(7,\); it must be \(voxels, beamlets\)"),
        ("physical_dose", np.full((7, 4), np.inf), "physical_dose has an entry that is not finite"),
        ("physical_dose", sp.csr_array([[np.nan]]), "physical_dose has an entry that is not finite"),
    ],
)
def test_wrong_values_are_told(name, value, message):
    dij = make_dij(DIRECT["eqd2"])
    setattr(dij, name, value)
    with pytest.raises(ValueError, match=message):
        QuantityResolver(dij).get("eqd2")


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("physical_dose", "dose.mhd", "physical_dose is a str; it must be a sparse matrix or an array"),
        ("physical_dose", [[1.0, 2.0]], "physical_dose is a list; it must be"),
        ("physical_dose", np.ones((7, 4), dtype=complex), "physical_dose has the type complex128"),
        ("alpha_beta", {"PTV": 10.0}, "alpha_beta has the type object; it must hold real numbers"),
        ("alpha_beta", [[1.0], [1.0, 2.0]], "alpha_beta is not an array of numbers"),
    ],
)
def test_wrong_kinds_are_told(name, value, message):
    dij = make_dij(DIRECT["eqd2"])
    setattr(dij, name, value)
    with pytest.raises(TypeError, match=message):
        QuantityResolver(dij).get("eqd2")


@pytest.mark.parametrize(("alphax", "betax"), [(0.0, 0.1), (-1.0, 0.1), (np.nan, 0.1), (0.1, -0.1), (0.1, np.inf)])
def test_wrong_tissue_is_told(alphax, betax):
    dij = SimpleNamespace(physical_dose=np.ones((1, 1)), alphax=alphax, betax=betax)
    with pytest.raises(ValueError, match=r"(alphax|betax) is .*; it must be (positive|0 or more)"):
        QuantityResolver(dij).get("effect")


def test_alpha_beta_does_not_follow_from_no_beta():
    dij = SimpleNamespace(physical_dose=np.ones((2, 1)), alphax=0.1, betax=np.array([0.1, 0.0]), number_of_fractions=3)
    with pytest.raises(ValueError, match=r"betax is 0.0 for voxel 1; it must be positive where alpha_beta is derived"):
        QuantityResolver(dij).get("bed")


def test_matrices_must_fit_each_other():
    dij = make_dij(DIRECT["let"])
    dij.let_dose = dij.let_dose[:, :3]
    with pytest.raises(ValueError, match=r"physical_dose has the shape \(7, 4\) and let_dose \(7, 3\)"):
        QuantityResolver(dij).get("let")


@pytest.mark.parametrize(
    ("fluence", "message"),
    [
        (W[:3], r"the fluence has the shape \(3,\); it must be \(4,\), one for each beamlet"),
        (W[:, None], r"the fluence has the shape \(4, 1\)"),
        (1.0, r"the fluence has the shape \(\)"),
        ([1.0, np.nan, 0.0, 0.0], "the fluence is nan for beamlet 1; it must be finite"),
    ],
)
def test_a_wrong_fluence_is_told(fluence, message):
    dose = QuantityResolver(make_dij(("physical_dose",))).get("physical_dose")
    for call in (dose, lambda w: dose.compute_chain_derivative(G, w)):
        with pytest.raises(ValueError, match=message):
            call(fluence)


@pytest.mark.parametrize("name", ["physical_dose", "let"])
@pytest.mark.parametrize(
    ("d_quantity", "message"),
    [
        (G[:3], r"d_quantity has the shape \(3,\); it must be \(7,\), that of "),
        (np.where(G > 1, np.inf, G), "d_quantity is inf for voxel 5 .and so for 1 more.; it must be finite"),
    ],
)
def test_a_wrong_incoming_derivative_is_told(name, d_quantity, message):
    quantity = QuantityResolver(make_dij(DIRECT["let"])).get(name)
    with pytest.raises(ValueError, match=message):
        quantity.compute_chain_derivative(d_quantity, W)


def test_an_effect_that_no_dose_has_is_told():
    dij = SimpleNamespace(physical_dose=np.array([[1.0]]), alphax=0.1, betax=0.1)
    dose = QuantityResolver(dij).get("rbe_x_dose")
    assert dose([-0.2]) == pytest.approx(-0.2)
    dij = SimpleNamespace(alpha_dose=np.array([[1.0]]), sqrt_beta_dose=np.array([[0.0]]), alphax=0.1, betax=0.1)
    with pytest.raises(ValueError, match=r"the effect is -2.0 for voxel 0; .* check for negative weights"):
        QuantityResolver(dij).get("rbe_x_dose")([-2.0])


def test_representations_say_what_it_is():
    resolver = QuantityResolver(make_dij(INDIRECT["effect"]))
    assert repr(resolver) == "QuantityResolver(of a SimpleNamespace)"
    assert repr(resolver.get("effect")) == "Effect('effect', indirect, of a SimpleNamespace)"
