"""Boxes for leaf tips: whatever is chosen from them, every limit of the MLC holds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from opentps_brimstone.model.influence import BeamletLayout
from opentps_brimstone.sequencing import MLC, JawTravel, sequence_plan
from opentps_brimstone.sequencing.aperture_fluence import ApertureFluence
from opentps_brimstone.sequencing.aperture_limits import least_opening_mm, on_raster, tip_boxes, tips_on_raster
from opentps_brimstone.sequencing.aperture_search import Limits, close_and_open, with_less_cost


@st.composite
def machines(draw):
    """MLCs with and without interdigitation, gaps, spans, narrow travel and jaws."""
    gap = draw(st.sampled_from([0.0, 0.5, 3.0]))
    return MLC(
        "drawn",
        tuple(5.0 * np.arange(-6, 7)),
        minimum_position_mm=-draw(st.sampled_from([25.3, 40.0, 200.0])),
        maximum_position_mm=200.0,
        maximum_leaf_span_mm=draw(st.sampled_from([None, 31.7, 60.0])),
        minimum_gap_mm=gap,
        interdigitation=draw(st.booleans()),
        maximum_over_axis_mm=draw(st.sampled_from([None, 26.4])),
        x_jaws=JawTravel(200.0, 100.0),
    )


def beam_of(mlc, random, columns=8, rows=6, levels=3):
    """One beam's segments of random fluence with hills, and their model."""
    x, y = np.meshgrid(5.0 * (np.arange(columns) - columns // 2), 5.0 * (np.arange(rows) - rows // 2) + 2.5)
    xy = np.column_stack([x.ravel(), y.ravel()])
    layout = BeamletLayout(xy, np.zeros(len(xy), dtype=int), 5.0)
    places = random.uniform(-15, 15, (2, 2))
    fluence = sum(np.exp(-((xy - place) ** 2).sum(axis=1) / random.uniform(40, 300)) for place in places)
    beams = sequence_plan(layout, np.round(fluence * random.uniform(0.3, 1.5, len(xy)), 2), mlc, levels=levels)
    return ApertureFluence(layout, beams)


def violations(model, segments):
    """Those of all apertures, before `SequencedBeam` refuses them."""
    found = []
    for grid, each in zip(model.grids, segments, strict=True):
        for number in range(len(each.mu)):
            aperture = grid.aperture(each.left_mm[number], each.right_mm[number], each.opened[number], 1.0)
            found += grid.beam.mlc.violations(aperture.left_mm, aperture.right_mm)
    return found


@settings(max_examples=60, deadline=None)
@given(mlc=machines(), raster=st.sampled_from([0.625, 1.25]), seed=st.integers(0, 2**32 - 1), corners=st.booleans())
def test_every_choice_from_the_boxes_obeys_the_mlc(mlc, raster, seed, corners):
    random = np.random.default_rng(seed)
    try:
        model = beam_of(mlc, random)
    except ValueError:  # no decomposition fits this machine
        return
    segments = model.segments()
    grid = model.grids[0]
    for _ in range(3):
        (each,) = segments
        boxes = tip_boxes(grid, each, raster, 8.0)
        share = random.uniform(size=(2, *each.opened.shape))
        share = np.round(share) if corners else share
        left = boxes.left_low + share[0] * (boxes.left_high - boxes.left_low)
        right = boxes.right_low + share[1] * (boxes.right_high - boxes.right_low)
        segments = [replace(each, left_mm=left, right_mm=right)]
        assert violations(model, segments) == []
        assert violations(model, [tips_on_raster(segments[0], raster)]) == []


@settings(max_examples=10, deadline=None)
@given(mlc=machines(), seed=st.integers(0, 2**32 - 1))
def test_every_aperture_of_a_search_obeys_the_mlc(mlc, seed):
    random = np.random.default_rng(seed)
    try:
        model = beam_of(mlc, random)
    except ValueError:
        return
    segments = model.segments()
    wanted = random.uniform(0, 1, model.n_beamlets)

    def cost(fluence):
        off = fluence - wanted
        return float(off @ off), 2 * off

    limits = Limits(0.625, 8.0, least_mu=0.01)
    before = cost(model.fluence(segments))[0]
    for _ in range(2):
        segments, after, _ = with_less_cost(model, cost, segments, limits, 8)
        assert violations(model, segments) == []
        assert after <= before * (1 + 1e-6)
        segments = close_and_open(model, cost, segments, limits)
        assert violations(model, segments) == []
        before = cost(model.fluence(segments))[0]
        assert before <= after * (1 + 1e-6)
    opened = segments[0].right_mm - segments[0].left_mm
    assert opened[segments[0].opened].min() >= least_opening_mm(mlc, 0.625) - 1e-9
    assert segments[0].mu.min() >= 0.01 - 1e-9


def test_limits_on_the_raster_are_narrower_by_less_than_a_step():
    mlc = MLC("odd", (0.0, 5.0), -24.7, 31.2, 30.1, 0.4, maximum_over_axis_mm=10.9)
    narrower = on_raster(mlc, 1.0)
    assert (narrower.minimum_position_mm, narrower.maximum_position_mm) == (-24.0, 31.0)
    assert (narrower.maximum_leaf_span_mm, narrower.minimum_gap_mm, narrower.maximum_over_axis_mm) == (30.0, 1.0, 10.0)
    assert least_opening_mm(mlc, 1.0) == pytest.approx(2.0)
