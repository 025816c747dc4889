from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

from opentps_brimstone import VoxelGrid
from opentps_brimstone.model.dose import DoseArray, grid_of

GRID = VoxelGrid((4, 4, 4), (2.0, 3.0, 4.0), (1.0, 2.0, 3.0))


@pytest.fixture
def dose():
    return DoseArray(np.random.default_rng(1).random(GRID.shape), GRID)


@pytest.mark.parametrize(
    "whole",
    [
        lambda d: d.copy(),
        copy.copy,
        copy.deepcopy,
        lambda d: pickle.loads(pickle.dumps(d)),
        lambda d: 2 * d,
        lambda d: d + d,
        lambda d: d - np.ones(GRID.shape),
        np.sqrt,
    ],
)
def test_the_whole_dose_keeps_its_grid(dose, whole):
    assert isinstance(whole(dose), DoseArray)
    assert whole(dose).grid == GRID
    np.testing.assert_array_equal(np.asarray(whole(dose)), whole(np.asarray(dose)))


@pytest.mark.parametrize(
    "part",
    [
        lambda d: d[1],
        lambda d: d[::-1],
        lambda d: d[d > 0.5],
        lambda d: d.T,
        lambda d: d.transpose(1, 0, 2),
        lambda d: np.flip(d, 0),
        lambda d: np.roll(d, 1),
        lambda d: d.reshape(16, 4),
        lambda d: d.ravel(),
        lambda d: d.sum(axis=0),
        lambda d: d > 0.5,
        np.asarray,
        lambda d: d + DoseArray(d, VoxelGrid(GRID.shape, (1.0, 1.0, 1.0))),
    ],
)
def test_what_need_not_lie_on_the_same_voxels_has_no_grid(dose, part):
    assert getattr(part(dose), "grid", None) is None
    plain = np.asarray(dose)
    np.testing.assert_array_equal(np.asarray(part(dose)), np.asarray(part(plain)))


def test_arithmetic_in_place_changes_the_dose_and_keeps_its_grid(dose):
    expected = np.asarray(dose) * 3
    same = dose
    same *= 3
    assert same is dose
    assert dose.grid == GRID
    np.testing.assert_array_equal(np.asarray(dose), expected)


def test_it_counts_like_any_array(dose):
    plain = np.asarray(dose)
    assert dose.max() == plain.max()
    assert dose.mean() == plain.mean()
    assert dose[1, 2, 3] == plain[1, 2, 3]
    assert np.percentile(dose, 40) == np.percentile(plain, 40)


def test_the_given_array_is_not_changed():
    values = np.zeros(GRID.shape)
    DoseArray(values, GRID)[...] = 1.0
    made = DoseArray(values, GRID)
    made += 1
    assert not values.any()


def test_a_dose_must_fit_its_grid(dose):
    with pytest.raises(ValueError, match=r"the dose has the grid \(4, 4\); it should be \(4, 4, 4\)"):
        DoseArray(np.ones((4, 4)), GRID)
    with pytest.raises(ValueError, match=r"the dose has the grid \(4, 4, 4\); it should be \(2, 2, 2\)"):
        grid_of(dose, VoxelGrid((2, 2, 2), (1.0, 1.0, 1.0)))


def test_a_given_grid_wins_over_the_one_carried(dose):
    other = VoxelGrid(GRID.shape, (1.0, 1.0, 1.0))
    assert grid_of(dose) == GRID
    assert grid_of(dose, other) == other
    assert grid_of(np.asarray(dose)) is None
