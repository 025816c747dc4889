"""Pictures of apertures and fluence show what they say."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.collections import PatchCollection
from matplotlib.figure import Figure

from opentps_brimstone.sequencing import AGILITY, MILLENNIUM_120, sequence_beam
from opentps_brimstone.visualization.apertures import plot_aperture, plot_apertures, plot_fluence_comparison


@pytest.fixture(params=[MILLENNIUM_120, AGILITY], ids=lambda mlc: mlc.name)
def beam(request):
    x, y = np.meshgrid(np.arange(-17.5, 20, 5), np.arange(-12.5, 15, 5))
    weights = np.random.default_rng(0).uniform(0, 8, x.size)
    return sequence_beam(np.column_stack([x.ravel(), y.ravel()]), weights, 5.0, request.param, levels=5)


def blocks(ax):
    (leaves,) = (collection for collection in ax.collections if isinstance(collection, PatchCollection))
    return [path.get_extents() for path in leaves.get_paths()]


def test_an_aperture_shows_each_leaf_at_its_tip(beam):
    aperture = beam.apertures[0]
    ax = Figure().subplots()
    plot_aperture(beam, aperture, ax=ax)
    boundaries = np.asarray(beam.mlc.leaf_boundaries_mm)
    low, high = ax.get_ylim()
    seen = np.flatnonzero((boundaries[1:] > low) & (boundaries[:-1] < high))
    drawn = blocks(ax)
    assert len(drawn) == 2 * len(seen)
    left, right = ax.get_xlim()
    for pair, left_leaf, right_leaf in zip(seen, drawn[::2], drawn[1::2], strict=True):
        assert (left_leaf.y0, left_leaf.y1) == pytest.approx((boundaries[pair], boundaries[pair + 1]))
        assert left_leaf.x1 == pytest.approx(np.clip(aperture.left_mm[pair], left, right))
        assert right_leaf.x0 == pytest.approx(np.clip(aperture.right_mm[pair], left, right))
    jaws = [line.get_xdata()[0] for line in ax.lines if line.get_xdata()[0] == line.get_xdata()[1]]
    assert jaws == list(beam.jaws.x_mm or ())
    assert ax.get_aspect() == 1.0


def test_all_apertures_are_shown_with_their_monitor_units(beam):
    figure = Figure()
    plot_apertures(beam, columns=3, figure=figure)
    shown = [ax.get_title() for ax in figure.axes if ax.get_visible()]
    assert shown == [f"{k}: {aperture.mu:.3g} MU" for k, aperture in enumerate(beam.apertures, start=1)]
    assert f"{len(beam.apertures)} apertures of {beam.mlc.name}, {beam.mu:.4g} MU" in figure.get_suptitle()


def test_the_comparison_shows_wanted_delivered_and_difference(beam):
    figure = Figure()
    plot_fluence_comparison(beam, figure=figure)
    wanted, delivered, difference = (ax.images[0] for ax in figure.axes[:3])
    assert np.array_equal(wanted.get_array(), beam.wanted)
    assert np.allclose(delivered.get_array(), beam.delivered)
    assert np.allclose(difference.get_array(), beam.delivered - beam.wanted)
    assert wanted.get_clim() == delivered.get_clim()
    assert difference.get_clim()[0] == -difference.get_clim()[1]
    assert wanted.get_extent() == [-20, 20, -15, 15]


def test_a_beam_without_fluence_has_pictures():
    empty = sequence_beam([[0.0, 2.5], [5.0, 2.5]], [0.0, 0.0], 5.0, AGILITY)
    figure = Figure()
    plot_apertures(empty, figure=figure)
    assert "0 apertures" in figure.get_suptitle()
    plot_fluence_comparison(empty, figure=figure)
    figure.canvas.draw()
