"""Fluence of segments as a function of leaves and MU, and its derivatives."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from opentps_brimstone.engine.beam_model import read_beam_model
from opentps_brimstone.engine.finite_source import from_finite_source
from opentps_brimstone.engine.fluence import FluenceMap
from opentps_brimstone.integration.fluences import leaf_openings
from opentps_brimstone.model.influence import BeamletLayout
from opentps_brimstone.sequencing import HD_120, MILLENNIUM_120, sequence_plan
from opentps_brimstone.sequencing.aperture_fluence import ApertureFluence, LeafEdges

BLURRED = LeafEdges(transmission=0.02, tip_offset_mm=0.7, blur_mm=1.1)


def two_beams(mlc=MILLENNIUM_120, levels=4, seed=3):
    """Layout of two beams of 9 x 6 and 7 x 5 beamlets, and segments of random fluence."""
    random = np.random.default_rng(seed)
    xy, beam = [], []
    for number, (columns, rows) in enumerate(((9, 6), (7, 5))):
        x, y = np.meshgrid(5.0 * (np.arange(columns) - columns // 2), 5.0 * (np.arange(rows) - rows // 2) + 2.5)
        xy.append(np.column_stack([x.ravel(), y.ravel()]))
        beam += [number] * x.size
    layout = BeamletLayout(np.concatenate(xy), np.array(beam), 5.0)
    return layout, sequence_plan(layout, random.uniform(0, 10, layout.n_beamlets), mlc, levels=levels)


def moved(segments, rng, by_mm=1.3):
    """Move tips off the edges of beamlets, and change MU."""
    changed = []
    for each in segments:
        shift = rng.uniform(0.2, by_mm, each.left_mm.shape)
        left, right = each.left_mm + shift, each.right_mm - shift
        changed.append(replace(each, left_mm=left, right_mm=right, mu=each.mu * rng.uniform(0.5, 2, each.mu.shape)))
    return changed


@pytest.mark.parametrize("mlc", [MILLENNIUM_120, HD_120])
def test_without_edges_it_is_what_segments_leave_open(mlc):
    layout, beams = two_beams(mlc)
    model = ApertureFluence(layout, beams)
    segments = moved(model.segments(), np.random.default_rng(1))
    expected = np.concatenate(
        [
            beam.fluence_at(layout.xy_mm[layout.beam_index == number])
            for number, beam in enumerate(model.beams(segments))
        ]
    )
    np.testing.assert_allclose(model.fluence(segments), expected, rtol=1e-12, atol=1e-12)
    assert expected.max() > 1.0


def test_edges_are_those_of_a_beam_model():
    """Means of the fluence that the dose engine sees over each beamlet, but for the wide second source."""
    model = replace(read_beam_model("Kernels_6MV"), extra_focal=None)
    head = model.collimator
    edges = LeafEdges(head.leaf_transmission, head.leaf_tip_offset_mm, model.penumbra_sigma_mm(1000.0))
    layout, beams = two_beams()
    fluence = ApertureFluence(layout, beams, edges)
    segments = moved(fluence.segments(), np.random.default_rng(2))
    for number, beam in enumerate(fluence.beams(segments)):
        seen = from_finite_source(
            FluenceMap.of([opening.fluence(head) for opening in leaf_openings(beam)]), model, 1000.0
        )
        mine = layout.beam_index == number
        x, y = layout.xy_mm[mine].T
        low_x, high_x = seen.x_edges_mm[:-1], seen.x_edges_mm[1:]
        low_y, high_y = seen.y_edges_mm[:-1], seen.y_edges_mm[1:]
        in_x = (np.minimum(high_x, x[:, None] + 2.5) - np.maximum(low_x, x[:, None] - 2.5)).clip(min=0) / 5
        in_y = (np.minimum(high_y, y[:, None] + 2.5) - np.maximum(low_y, y[:, None] - 2.5)).clip(min=0) / 5
        means = np.einsum("by,yx,bx->b", in_y, seen.mu, in_x)
        np.testing.assert_allclose(fluence.fluence(segments)[mine], means, atol=0.005 * means.max())


@pytest.mark.parametrize("edges", [LeafEdges(), LeafEdges(0.02, 0.7, 0.0), BLURRED])
def test_derivatives_agree_with_central_differences(edges):
    layout, beams = two_beams()
    model = ApertureFluence(layout, beams, edges)
    rng = np.random.default_rng(5)
    segments = moved(model.segments(), rng)
    weight, wanted = rng.normal(size=layout.n_beamlets), rng.uniform(0, 9, layout.n_beamlets)

    def cost(given):
        off = model.fluence(given) - wanted
        return float(weight @ off + off @ off)

    slope = weight + 2 * (model.fluence(segments) - wanted)
    found = model.derivatives(segments, slope)
    step = 1e-4
    for beam, (each, derivatives) in enumerate(zip(segments, found, strict=True)):
        scale = max(np.abs(derivatives[0]).max(), np.abs(derivatives[1]).max())
        assert scale > 1.0
        for name, derivative in zip(("left_mm", "right_mm", "mu"), derivatives, strict=True):
            for _ in range(12):
                at = tuple(rng.integers(size) for size in derivative.shape)
                values = []
                for sign in (1, -1):
                    array = getattr(each, name).copy()
                    array[at] += sign * step
                    values.append(cost([*segments[:beam], replace(each, **{name: array}), *segments[beam + 1 :]]))
                difference = (values[0] - values[1]) / (2 * step)
                allowed = np.abs(derivative).max() if name == "mu" else scale
                assert derivative[at] == pytest.approx(difference, rel=1e-3, abs=1e-5 * allowed)


def test_beams_that_are_not_those_of_the_layout_are_refused():
    layout, beams = two_beams()
    with pytest.raises(ValueError, match="there are 2 fluence maps; the sequenced beams must be theirs"):
        ApertureFluence(layout, beams[::-1])
