"""Quantities have the values that hand calculation gives."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from opentps_brimstone.quantities import DoseMap, PreviousDose, QuantityResolver


def of_one_voxel(identifier, dose, **parameters):
    """Value and slope of a quantity in a voxel of that dose."""
    quantity = QuantityResolver(SimpleNamespace(physical_dose=np.array([[dose]]), **parameters)).get(identifier)
    value = quantity([1.0])
    slope = quantity.compute_chain_derivative([1.0], [1.0])
    return value.item(), slope.item() / dose


def test_bed():
    assert of_one_voxel("bed", 60.0, alpha_beta=10.0, number_of_fractions=30) == pytest.approx((72.0, 1.4))
    bed = DoseMap.bed(10.0, 30)
    assert (bed.value(60.0), bed.slope(60.0)) == pytest.approx((72.0, 1.4))


def test_eqd2():
    assert of_one_voxel("eqd2", 60.0, alpha_beta=3.0, number_of_fractions=20) == pytest.approx((72.0, 1.8))
    eqd2 = DoseMap.eqd2(3.0, 20)
    assert (eqd2.value(60.0), eqd2.slope(60.0)) == pytest.approx((72.0, 1.8))


@pytest.mark.parametrize("alpha_beta", [0.5, 1.5, 3.0, 10.0, 100.0])
def test_eqd2_of_fractions_of_2_gy_is_the_dose(alpha_beta):
    slope = (2 + alpha_beta / 2) / (1 + alpha_beta / 2)
    found = of_one_voxel("eqd2", 60.0, alpha_beta=alpha_beta, number_of_fractions=30)
    assert found == pytest.approx((60.0, slope))
    eqd2 = DoseMap.eqd2(alpha_beta, 30)
    assert (eqd2.value(60.0), eqd2.slope(60.0)) == pytest.approx((60.0, slope))


def test_effect_of_photons_and_its_bed():
    tissue = {"alphax": 0.2, "betax": 0.05, "number_of_fractions": 25}
    assert of_one_voxel("effect", 50.0, **tissue) == pytest.approx((15.0, 0.4))
    assert of_one_voxel("bed", 50.0, **tissue)[0] == pytest.approx(75.0)
    effect = DoseMap.effect(0.2, 0.05, 25)
    assert (effect.value(50.0), effect.slope(50.0)) == pytest.approx((15.0, 0.4))


def test_inverse_of_eqd2():
    assert DoseMap.eqd2(2.0, 25).inverse(45.0) == pytest.approx(46.5891053163818, rel=1e-14)


def test_cumulative_eqd2():
    before = PreviousDose(30.0, 10)
    recovered = PreviousDose(30.0, 10, recovery=0.25)
    assert DoseMap.eqd2(2.0, 10).value(30.0) == pytest.approx(37.5)
    assert DoseMap.eqd2(2.0, 20, previous=before).value(0.0) == pytest.approx(37.5)
    assert DoseMap.eqd2(2.0, 20, previous=recovered).value(0.0) == pytest.approx(28.125)
    assert DoseMap.eqd2(2.0, 20, previous=recovered).value(40.0) == pytest.approx(68.125)


def test_mean_of_eqd2_is_not_eqd2_of_the_mean():
    doses, shares = np.array([10.0, 20.0, 30.0]), np.array([0.2, 0.3, 0.5])
    eqd2 = DoseMap.eqd2(2.0, 10)
    assert shares @ eqd2.value(doses) == pytest.approx(26.25)
    assert eqd2.value(shares @ doses) == pytest.approx(24.725)
    np.testing.assert_allclose(eqd2.slope(doses), [1.0, 1.5, 2.0])


def test_effect_and_rbe_weighted_dose_of_matrices():
    dij = SimpleNamespace(
        alpha_dose=np.array([[0.5, 0.1], [0.2, 0.4]]),
        sqrt_beta_dose=np.array([[0.2, 0.05], [0.1, 0.15]]),
        alphax=np.array([0.1, 0.2]),
        betax=np.array([0.05, 0.02]),
    )
    w, g = np.array([2.0, 3.0]), np.array([1.0, 2.0])
    resolver = QuantityResolver(dij)
    effect, rbe_x_dose = resolver.get("effect"), resolver.get("rbe_x_dose")
    np.testing.assert_allclose(effect(w), [1.6025, 2.0225], rtol=1e-14)
    np.testing.assert_allclose(effect.compute_chain_derivative(g, w), [1.38, 1.345], rtol=1e-14)
    np.testing.assert_allclose(rbe_x_dose(w), [4.74891294, 6.23053872], rtol=2e-9)
    np.testing.assert_allclose(rbe_x_dose.compute_chain_derivative(g, w), [2.72161892, 2.91864316], rtol=2e-9)


def test_dose_averaged_let():
    dij = SimpleNamespace(physical_dose=np.array([[0.5, 0.2], [0.2, 0.4]]), let_dose=np.array([[1.0, 0.6], [0.6, 0.4]]))
    let = QuantityResolver(dij).get("let")
    w = np.array([2.0, 3.0])
    np.testing.assert_allclose(let(w), [2.375, 1.5], rtol=1e-14)
    np.testing.assert_allclose(let.compute_chain_derivative([1.0, 2.0], w), [0.2578125, -0.171875], rtol=1e-13)


def test_let_without_dose_is_0_and_so_is_its_derivative():
    dij = SimpleNamespace(physical_dose=np.array([[0.0, 0.0], [1.0, 0.0]]), let_dose=np.array([[0.0, 2.0], [3.0, 1.0]]))
    let = QuantityResolver(dij).get("let")
    np.testing.assert_array_equal(let([1.0, 1.0]), [0.0, 4.0])
    np.testing.assert_array_equal(let.compute_chain_derivative([5.0, 0.0], [1.0, 1.0]), [0.0, 0.0])


def test_rbe_weighted_dose_holds_without_beta_and_for_tiny_effects():
    dij = SimpleNamespace(
        alpha_dose=np.array([[0.3], [1e-17], [0.0]]),
        sqrt_beta_dose=np.zeros((3, 1)),
        alphax=np.array([0.1, 0.2, 0.2]),
        betax=np.array([0.0, 0.05, 0.05]),
    )
    rbe_x_dose = QuantityResolver(dij).get("rbe_x_dose")
    np.testing.assert_allclose(rbe_x_dose([1.0]), [3.0, 5e-17, 0.0], rtol=1e-14)


@pytest.mark.parametrize("fractions", [1, 5, 30])
def test_rbe_weighted_dose_of_photons_is_their_dose(fractions):
    tissue = {"alphax": 0.15, "betax": 0.05, "number_of_fractions": fractions}
    assert of_one_voxel("rbe_x_dose", 42.0, **tissue) == pytest.approx((42.0, 1.0))
