"""Beamlet rows that sit on leaves."""

from __future__ import annotations

import numpy as np
import pytest

from opentps_brimstone.sequencing import AGILITY, HD_120, MILLENNIUM_120, MLCS, leaf_aligned_beamlets, leaf_rows
from opentps_brimstone.sequencing.alignment import leaf_pairs_of_rows


@pytest.mark.parametrize("name", MLCS)
@pytest.mark.parametrize("interval", [(-37.0, 41.0), (0.0, 0.0), (-60.0, -20.0), (3.0, 3.5)])
def test_rows_cover_the_interval_and_sit_on_leaves(name, interval):
    rows, height = leaf_rows(MLCS[name], *interval)
    assert rows[0] - height / 2 <= interval[0] < rows[0] + height / 2 + 1e-9
    assert rows[-1] - height / 2 - 1e-9 <= interval[1] <= rows[-1] + height / 2
    pairs = leaf_pairs_of_rows(MLCS[name], rows, height)
    boundaries = np.asarray(MLCS[name].leaf_boundaries_mm)
    assert np.allclose(boundaries[pairs[:, 0]], rows - height / 2)
    assert np.allclose(boundaries[pairs[:, 1]], rows + height / 2)


def test_rows_are_as_high_as_the_widest_leaf_there():
    assert leaf_rows(HD_120, -30, 30)[1] == 2.5
    assert leaf_rows(HD_120, -50, 30)[1] == 5.0
    assert leaf_rows(MILLENNIUM_120, -100, 100)[1] == 5.0
    assert leaf_rows(MILLENNIUM_120, -101, 100)[1] == 10.0
    assert leaf_rows(HD_120, -30, 30, 5.0)[1] == 5.0


def test_rows_that_cannot_sit_on_leaves_are_refused():
    with pytest.raises(ValueError, match=r"is 1 mm off the leaf edges; place leaf-aligned beamlets"):
        leaf_rows(AGILITY, -20, 20, 7.0)
    with pytest.raises(ValueError, match=r"no leaf of Varian HD120 is at y = 130 mm"):
        leaf_rows(HD_120, -20, 130)
    with pytest.raises(ValueError, match="cannot cover 5 to 3 mm"):
        leaf_rows(AGILITY, 5, 3)
    with pytest.raises(ValueError, match="positive height, not 0 mm"):
        leaf_rows(AGILITY, 3, 5, 0)


def test_two_rows_may_fill_one_leaf():
    assert leaf_pairs_of_rows(MILLENNIUM_120, [102.5, 107.5], 5.0).tolist() == [[50, 51], [50, 51]]
    with pytest.raises(ValueError, match=r"is 2.5 mm off the leaf edges"):
        leaf_pairs_of_rows(MILLENNIUM_120, [105.0], 5.0)


def test_beamlets_cover_a_target_and_its_margin():
    angle = np.linspace(0, 2 * np.pi, 300)
    outline = np.column_stack([30 * np.cos(angle) + 4, 22 * np.sin(angle) - 7])
    xy, (width, height) = leaf_aligned_beamlets(MILLENNIUM_120, outline, 2.5, margin_mm=3.0)
    assert (width, height) == (2.5, 5.0)
    assert np.allclose(xy[:, 0] % 2.5, 0)
    assert np.allclose((xy[:, 1] / 5.0 - 0.5) % 1, 0)
    assert len(np.unique(xy, axis=0)) == len(xy)
    for shift in ((0, 0), (3, 0), (-3, 0), (0, 3), (0, -3)):
        inside = (np.abs(xy[None] - (outline + shift)[:, None]) <= [width / 2 + 1e-9, height / 2 + 1e-9]).all(axis=2)
        assert inside.any(axis=1).all()
    assert len(xy) * width * height < 1.25 * np.pi * 33 * 25 + 60 * 10


def test_a_single_point_takes_one_beamlet():
    xy, _ = leaf_aligned_beamlets(AGILITY, [[1.0, 1.0]], 5.0)
    assert xy.tolist() == [[0.0, 2.5]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([[1.0, np.nan]], 5.0), r"needs finite \(x, y\) points"),
        (([], 5.0), r"needs finite \(x, y\) points, not an array of \(0,\)"),
        (([[0.0, 0.0]], -5.0), "positive spacing, not -5.0 mm"),
    ],
)
def test_a_target_that_is_none_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        leaf_aligned_beamlets(AGILITY, *arguments)
    with pytest.raises(ValueError, match="a margin cannot be -1 mm"):
        leaf_aligned_beamlets(AGILITY, [[0.0, 0.0]], 5.0, margin_mm=-1)
