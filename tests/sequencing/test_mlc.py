"""Multileaf collimators: published dimensions, and rules that leaves must keep."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import pytest

from opentps_brimstone.sequencing import AGILITY, HD_120, MILLENNIUM_120, MLC, MLCS, JawTravel, get_mlc


@pytest.mark.parametrize(
    ("mlc", "widths", "reach"),
    [
        (MILLENNIUM_120, [10.0] * 10 + [5.0] * 40 + [10.0] * 10, 200.0),
        (HD_120, [5.0] * 14 + [2.5] * 32 + [5.0] * 14, 110.0),
    ],
)
def test_mlcs_by_varian_have_their_published_leaves(mlc, widths, reach):
    assert mlc.n_pairs == 60
    assert mlc.leaf_widths_mm.tolist() == widths
    assert mlc.leaf_boundaries_mm[0] == -reach
    assert mlc.leaf_boundaries_mm[-1] == reach
    assert mlc.maximum_leaf_span_mm == 150.0
    assert mlc.interdigitation
    assert mlc.x_jaws is not None
    assert mlc.y_jaws is not None


def test_agility_has_its_published_leaves():
    assert AGILITY.n_pairs == 80
    assert AGILITY.leaf_widths_mm.tolist() == [5.0] * 80
    assert AGILITY.leaf_boundaries_mm[0] == -200.0
    assert AGILITY.left_travel_mm == (-200.0, 150.0)
    assert AGILITY.right_travel_mm == (-150.0, 200.0)
    assert AGILITY.x_jaws is None
    assert AGILITY.y_jaws is not None
    assert AGILITY.interdigitation


def test_presets_are_found_by_identifier():
    assert {name: get_mlc(name) for name in MLCS} == MLCS
    with pytest.raises(ValueError, match=r"no MLC 'millenium'; there are millennium-120, hd-120, agility"):
        get_mlc("millenium")


def test_a_position_belongs_to_one_pair():
    assert [MILLENNIUM_120.pair_at(y) for y in (-200.0, -190.5, -190.0, -0.1, 0.0, 199.9, 200.0)] == [
        0,
        0,
        1,
        29,
        30,
        59,
        59,
    ]
    with pytest.raises(ValueError, match=r"no leaf of Varian HD120 is at y = 110.5 mm; they cover -110 to 110 mm"):
        HD_120.pair_at(110.5)


@pytest.mark.parametrize(
    ("rows", "width", "contained"),
    [([2.5, -7.5], 5.0, (-200.0, 200.0)), ([0.0, 5.0], 5.0, (-202.5, 202.5)), ([1.0], 4.0, (-201.0, 203.0))],
)
def test_a_matched_mlc_has_the_rows_as_leaves(rows, width, contained):
    mlc = MLC.matched(rows, width)
    assert set(rows) <= set(mlc.leaf_centers_mm.tolist())
    assert np.allclose(mlc.leaf_widths_mm, width)
    assert (mlc.leaf_boundaries_mm[0], mlc.leaf_boundaries_mm[-1]) == contained
    assert MLC.matched([305.0], 10.0).leaf_boundaries_mm[-1] == 310.0


def test_a_matched_mlc_needs_rows_on_one_grid():
    with pytest.raises(ValueError, match=r"row at 7 mm is 2 mm off the grid of 5 mm from 0 mm"):
        MLC.matched([0.0, 5.0, 7.0], 5.0)
    with pytest.raises(ValueError, match="must be given, and be finite"):
        MLC.matched([], 5.0)
    with pytest.raises(ValueError, match="positive width, not 0 mm"):
        MLC.matched([0.0], 0)


CLOSED = np.zeros(3)
THREE = MLC("three", (-15.0, -5.0, 5.0, 15.0), -50.0, 50.0, maximum_leaf_span_mm=60.0, maximum_over_axis_mm=30.0)


@pytest.mark.parametrize(
    ("mlc", "left", "right", "message"),
    [
        (THREE, [-51.0, 0, 0], CLOSED, r"left leaf 0 of three would be at -51.00 mm; it travels from -50 to 30 mm"),
        (THREE, CLOSED, [0, 50.5, 0], r"right leaf 1 of three would be at 50.50 mm; it travels from -30 to 50 mm"),
        (THREE, [-50.0, 0, 20], [30.0] * 3, r"left leaves of three would be 70.00 mm apart; 60 mm are possible"),
        (THREE, [1.0, 0, 0], CLOSED, r"leaf pair 0 of three would be -1.00 mm open; its minimum gap is 0 mm"),
        (
            dataclasses.replace(THREE, minimum_gap_mm=5.0),
            CLOSED,
            [5.0, 4.0, 5.0],
            r"leaf pair 1 of three would be 4.00 mm open; its minimum gap is 5 mm",
        ),
        (
            dataclasses.replace(THREE, interdigitation=False),
            [0.0, -10.0, 0.0],
            [9.0, 9.0, 9.0],
            None,
        ),
        (
            dataclasses.replace(THREE, interdigitation=False),
            [0.0, 0.0, 10.0],
            [9.0, 9.0, 12.0],
            r"opposing leaves of the pairs 1 and 2 of three would collide",
        ),
        (
            dataclasses.replace(THREE, interdigitation=False),
            [0.0, -9.0, -9.0],
            [9.0, -1.0, -1.0],
            r"opposing leaves of the pairs 0 and 1 of three would collide",
        ),
        (THREE, [0.0, 0.0, 10.0], [9.0, 9.0, 12.0], None),
    ],
)
def test_what_leaves_cannot_do_is_told(mlc, left, right, message):
    violations = list(mlc.violations(left, right))
    if message is None:
        assert violations == []
    else:
        assert len(violations) == 1
        assert re.search(message, violations[0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"leaf_boundaries_mm": (0.0,)}, "needs at least two leaf boundaries, not 1"),
        ({"leaf_boundaries_mm": (0.0, 5.0, 5.0)}, "must be finite and ascending"),
        ({"minimum_position_mm": 60.0}, "cannot travel from 60.0 to 50.0 mm"),
        ({"minimum_gap_mm": -1.0}, "minimum gap of the MLC 'three' cannot be -1.0 mm"),
        ({"maximum_leaf_span_mm": 0.0}, "maximum leaf span of the MLC 'three' cannot be 0.0 mm"),
        ({"maximum_over_axis_mm": np.nan}, "travel over the axis of the MLC 'three' cannot be nan mm"),
    ],
)
def test_an_impossible_mlc_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(THREE, **change)


def test_impossible_jaws_are_refused():
    with pytest.raises(ValueError, match="opens by a positive distance, not 0 mm"):
        JawTravel(0, 0)
    with pytest.raises(ValueError, match="opens 200 mm may cross the axis by at most that, not 201 mm"):
        JawTravel(200, 201)
