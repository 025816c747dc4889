from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
from problems import random_influence, random_plan

import opentps_brimstone as pb


def test_dvh_of_partial_volumes():
    mask = np.zeros((3, 1, 1))
    mask[:, 0, 0] = 1.0, 0.5, 0.5
    structure = pb.Structure("organ", mask)
    structure.set_dose(np.array([10.0, 20.0, 40.0]).reshape(3, 1, 1))
    dose, volume = structure.get_dvh()
    assert (np.diff(dose) >= 0).all()
    assert (np.diff(volume) <= 0).all()
    # Every voxel's dose is at the middle of its volume, with straight lines between.
    np.testing.assert_allclose(dose, [0, 10, 10, 20, 40, 40])
    np.testing.assert_allclose(volume, [1, 1, 0.75, 0.375, 0.125, 0])
    assert "10.00 … 40.00, mean 20.00" in structure._repr_html_()


def test_the_dvh_is_the_curve_of_d_and_v():
    rng = np.random.default_rng(4)
    dose = rng.uniform(20.0, 60.0, (6, 6, 6))
    for share in (rng.uniform(0.1, 1.0, dose.shape), rng.uniform(size=dose.shape) > 0.3):
        structure = pb.Structure("organ", share)
        structure.set_dose(dose)
        axis, volume = structure.get_dvh()
        for gy in rng.uniform(axis[1] + 1e-3, axis[-1] - 1e-3, 20):
            (asked,) = pb.evaluate(dose, [structure], [f"organ V{gy:.6f} >= 50 %"])
            assert 100 * np.interp(round(gy, 6), axis, volume) == pytest.approx(asked.value, abs=1e-9)
        for percent in rng.uniform(2.0, 98.0, 20).round(3):
            (asked,) = pb.evaluate(dose, [structure], [f"organ D{percent} >= 1 Gy"])
            assert np.interp(asked.value, axis, volume) == pytest.approx(percent / 100, abs=1e-9)


def test_a_dvh_needs_a_dose():
    plan = random_plan(0)
    with pytest.raises(ValueError, match="'PTV' has no DVH yet"):
        plan.structures["PTV"].get_dvh()
    with pytest.raises(ValueError, match="no beamlet weights yet"):
        plan.get_dose()
    plan.beamlet_weights = np.ones(75)
    plan.update_histograms()
    assert plan.structures["PTV"].get_dvh()[1][0] == 1.0


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (np.zeros((2, 2, 2)), "the mask of 'x' is empty"),
        (np.ones((2, 2)), "must be a 3-D array"),
        (np.full((2, 2, 2), 1.5), "has the entry 1.5"),
        (np.full((2, 2, 2), np.nan), "has the entry nan"),
    ],
)
def test_bad_masks_are_refused(mask, message):
    with pytest.raises(ValueError, match=message):
        pb.Structure("x", mask)


def plan_arguments(**changes):
    influence = random_influence(0)
    arguments = {
        "matrix": influence.matrix,
        "structures": [pb.Structure("PTV", np.ones(influence.grid.shape), is_target=True)],
        "grid_shape": influence.grid.shape,
        "spacing_mm": influence.grid.spacing_mm,
        "beamlet_xy_mm": influence.layout.xy_mm,
        "beam_index": influence.layout.beam_index,
        "beamlet_spacing_mm": 5.0,
    }
    return arguments | changes


def with_entry(value):
    matrix = random_influence(0).matrix.copy()
    matrix.data[matrix.indptr[7]] = value
    return matrix


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"matrix": with_entry(np.nan)}, "entry nan at voxel .*, beamlet 7"),
        ({"matrix": with_entry(np.inf)}, "entry inf at voxel .*, beamlet 7"),
        ({"matrix": with_entry(-1e-3)}, "entry -0.001.* at voxel .*, beamlet 7"),
        ({"matrix": sp.csc_matrix((719, 75))}, r"719 rows; the grid \(10, 9, 8\) needs 720"),
        ({"matrix": sp.csc_matrix((720, 74))}, "74 columns for 75 beamlets"),
        ({"structures": []}, "at least one structure"),
        ({"structures": [pb.Structure("PTV", np.ones((10, 9, 7)))]}, r"'PTV' has the grid \(10, 9, 7\)"),
        ({"structures": [pb.Structure("a", np.ones((10, 9, 8)))] * 2}, "two structures are named 'a'"),
        ({"spacing_mm": (5.0, 0.0, 5.0)}, "three positive spacings"),
        ({"grid_shape": (10, 72, 0)}, "three whole, positive sizes"),
        ({"beam_index": np.ones(75)}, "beam_index must start at 0"),
        ({"beam_index": np.zeros(74)}, "one entry for each of the 75 beamlets"),
        ({"beamlet_xy_mm": np.full((75, 2), np.inf)}, "beamlet 0 is at"),
        ({"beamlet_spacing_mm": -5.0}, "beamlet spacings must be positive"),
        ({"beamlet_spacing_mm": np.ones((2, 2))}, "3 pairs"),
        ({"number_of_fractions": 0}, "number of fractions is 0"),
    ],
)
def test_bad_plans_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        pb.Plan.from_dose_influence(**plan_arguments(**changes))


def test_a_plan_from_a_matrix():
    plan = pb.Plan.from_dose_influence(**plan_arguments(number_of_fractions=5))
    plan.beamlet_weights = np.full(75, 2.0)
    dose = plan.get_dose()
    expected = 10.0 * np.asarray(plan_arguments()["matrix"].sum(axis=1)).reshape(10, 9, 8)
    np.testing.assert_allclose(dose, expected, rtol=1e-5)
    assert plan.dose_influence.matrix is not None
    assert "75 beamlets" in repr(plan)


def test_weights_are_kept_as_given_and_cannot_be_changed_behind_the_plan():
    plan = random_plan(0)
    w = np.ones(75)
    plan.beamlet_weights = w
    w[:] = 7
    assert (plan.beamlet_weights == 1).all()
    with pytest.raises(ValueError, match="read-only"):
        plan.beamlet_weights[0] = 3
