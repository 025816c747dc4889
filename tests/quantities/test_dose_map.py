"""Maps from dose to a quantity: inverse, composition, and what is refused."""

from __future__ import annotations

import pickle
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from quantity_cases import central_differences

from opentps_brimstone.quantities import DoseMap, PreviousDose

ratios = st.floats(0.3, 30.0)
fractions = st.integers(1, 40)
doses = st.floats(0.0, 150.0)


@st.composite
def maps(draw):
    previous = draw(st.none() | st.builds(PreviousDose, doses, fractions, st.floats(0.0, 1.0)))
    g = draw(st.floats(0.1, 1.0))
    kind = draw(st.sampled_from(["physical_dose", "bed", "eqd2", "effect", "constant_rbe"]))
    if kind == "physical_dose":
        return DoseMap.physical_dose(previous)
    if kind == "constant_rbe":
        return DoseMap.constant_rbe(draw(st.floats(0.5, 5.0)))
    if kind == "effect":
        alpha = draw(st.floats(0.01, 1.0))
        return DoseMap.effect(alpha, alpha / draw(ratios), draw(fractions), g, previous)
    return getattr(DoseMap, kind)(draw(ratios), draw(fractions), g, previous)


@given(maps(), doses)
@settings(deadline=None)
def test_inverse_undoes_the_map(quantity, dose):
    assert quantity.inverse(quantity.value(dose)) == pytest.approx(dose, rel=1e-9, abs=1e-9)


@given(maps(), doses)
@settings(deadline=None)
def test_slope_agrees_with_central_differences(quantity, dose):
    found = central_differences(lambda d: quantity.value(d)[0], np.array([dose]), 1e-3)
    assert quantity.slope(dose) == pytest.approx(found[0], rel=1e-7)
    assert quantity.slope(dose) > 0


@given(ratios, fractions, doses, st.floats(0.1, 1.0))
@settings(deadline=None)
def test_quantities_of_the_linear_quadratic_model_are_one_up_to_a_factor(ratio, n, dose, g):
    bed = DoseMap.bed(ratio, n, g).value(dose)
    assert DoseMap.eqd2(ratio, n, g).value(dose) == pytest.approx(bed / (1 + 2 / ratio), rel=1e-13)
    assert DoseMap.effect(0.3, 0.3 / ratio, n, g).value(dose) == pytest.approx(0.3 * bed, rel=1e-13)


def test_inverse_cancels_no_digits():
    """Against exact arithmetic, where the textbook formula loses half of them or all."""
    small = DoseMap(0.0, 1.0, 1e-9).inverse(2.0)
    exact = Fraction(2) - Fraction(1, 10**9) * 4 + 2 * Fraction(1, 10**18) * 8
    assert small == pytest.approx(float(exact), rel=1e-15)
    assert DoseMap.eqd2(3.0, 25).inverse(1e-14) == pytest.approx(1e-14 * 5 / 3, rel=1e-14)
    assert DoseMap(0.0, 1.1, 0.0).inverse(2.2) == pytest.approx(2.0, rel=1e-15)
    assert DoseMap(1.0, 0.0, 0.25).inverse([1.0, 5.0]).tolist() == [0.0, 4.0]
    assert DoseMap.eqd2([3.0, 1.0], 25).inverse(0.0).tolist() == [0.0, 0.0]


def test_courses_add_up_in_any_number():
    first, second = PreviousDose(30.0, 10, 0.25), PreviousDose(8.0, 1)
    now = DoseMap.eqd2(2.0, 20)
    assert now.after(37.5, 0.25).value(40.0) == DoseMap.eqd2(2.0, 20, previous=first).value(40.0)
    both = DoseMap.eqd2(2.0, 20, previous=first).after(DoseMap.eqd2(2.0, second.number_of_fractions).value(second.dose))
    assert both.value(40.0) == pytest.approx(68.125 + 8 * 10 / 4)
    assert DoseMap.physical_dose(first).value(1.0) == pytest.approx(1 + 0.75 * 30)
    assert DoseMap.bed(2.0, 20, previous=first).value(0.0) == pytest.approx(0.75 * 75)
    assert DoseMap.effect(0.2, 0.1, 20, previous=first).value(0.0) == pytest.approx(0.75 * 15)


def test_protraction_of_this_course_is_not_that_of_the_one_before():
    before = PreviousDose(30.0, 10)
    assert DoseMap.bed(2.0, 20, 0.5, before).value(0.0) == pytest.approx(75.0)
    assert DoseMap.bed(2.0, 20, 0.5, before).value(40.0) == pytest.approx(75.0 + 40 * (1 + 0.5))


def test_coefficients_per_voxel():
    previous = PreviousDose(np.array([0.0, 30.0, 30.0]), 10, 0.25)
    quantity = DoseMap.eqd2(np.array([2.0, 2.0, 3.0]), np.array([20, 20, 20]), previous=previous)
    assert not quantity.is_uniform
    assert DoseMap.eqd2(2.0, 20).is_uniform
    np.testing.assert_allclose(quantity.value([40.0, 40.0, 0.0]), [40.0, 68.125, 0.75 * 30 * 6 / 5])
    np.testing.assert_allclose(quantity.value(40.0)[:2], [40.0, 68.125])
    np.testing.assert_allclose(quantity.inverse([40.0, 68.125, 27.0]), [40.0, 40.0, 0.0], atol=1e-12)


def test_a_map_is_frozen_and_has_its_own_numbers():
    ratio = np.array([2.0, 3.0])
    quantity = DoseMap.eqd2(ratio, 20)
    wanted = quantity.value([40.0, 40.0])
    ratio[:] = 100.0
    np.testing.assert_array_equal(quantity.value([40.0, 40.0]), wanted)
    with pytest.raises(AttributeError):
        quantity.c0 = 1.0
    with pytest.raises(ValueError, match="read-only"):
        quantity.c1[0] = 1.0
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(quantity)).value([40.0, 40.0]), wanted)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: DoseMap.bed(0.0, 30), r"alpha/beta is 0.0; it must be positive, and finite"),
        (lambda: DoseMap.eqd2([3.0, np.nan], 30), "alpha/beta is nan for voxel 1; it must be positive"),
        (lambda: DoseMap.effect(-0.1, 0.1, 1), "alpha is -0.1; it must be positive"),
        (lambda: DoseMap.effect(0.1, -0.1, 1), "beta is -0.1; it must be 0 or more"),
        (lambda: DoseMap.eqd2(3.0, 0), "the number of fractions is 0.0; it must be positive"),
        (lambda: DoseMap.eqd2(3.0, 1.5), "the number of fractions is 1.5; it must be a whole number from 1"),
        (lambda: DoseMap.eqd2(3.0, 5, 0.0), "the Lea-Catcheside factor is 0.0; it must be above 0 and at most 1"),
        (lambda: DoseMap.constant_rbe(0.0), "the RBE is 0.0; it must be positive"),
        (lambda: DoseMap(np.inf), "c0 is inf; it must be finite"),
        (lambda: DoseMap(0.0, -1.0), "c1 is -1.0; it must be 0 or more"),
        (lambda: DoseMap(0.0, [1.0, 0.0], 0.0), r"c1 \+ c2 is 0.0 for voxel 1; it must be positive"),
        (lambda: DoseMap([0.0], [1.0, 1.0]), r"the coefficients have the shapes \[\(1,\), \(2,\)\]; they must be"),
        (lambda: DoseMap().after(-1.0), "what was given before is -1.0; it must be 0 or more"),
        (lambda: DoseMap().after(1.0, 1.5), "the recovery is 1.5; it must be a share from 0 to 1"),
        (lambda: DoseMap().value([1.0, np.nan]), "the dose is nan for voxel 1; it must be finite"),
        (lambda: DoseMap([1.0, 2.0]).value([1.0]), r"the dose has the shape \(1,\), the coefficients \(2,\)"),
        (lambda: DoseMap([1.0, 2.0]).inverse([1.0, 1.0]), "less what was given before is -1.0 for voxel 1; it must be"),
        (lambda: PreviousDose(-1.0, 5), "the previous dose is -1.0; it must be 0 Gy or more"),
        (lambda: PreviousDose([1.0, np.nan], 5), "the previous dose is nan for voxel 1"),
        (lambda: PreviousDose(1.0, 0), "the number of previous fractions is 0; it must be a whole number from 1"),
        (lambda: PreviousDose(1.0, 2.5), "the number of previous fractions is 2.5"),
        (lambda: PreviousDose(1.0, 5, -0.1), "the recovery is -0.1; it must be a share from 0 to 1"),
    ],
)
def test_what_is_out_of_range_is_told(make, message):
    with pytest.raises(ValueError, match=message):
        make()
