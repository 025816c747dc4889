"""Fluence of a beam as apertures: leaves where they must be, nothing lost, and clear errors."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import example, given, settings, strategies as st
from sequencing_checks import least_total_of_rows, least_total_without_collision, matrices

from opentps_brimstone.model.influence import BeamletLayout
from opentps_brimstone.sequencing import (
    AGILITY,
    HD_120,
    METHODS,
    MILLENNIUM_120,
    MLC,
    Aperture,
    JawPositions,
    SequencedBeam,
    SequencingSettings,
    open_shares,
    quantize,
    sequence_beam,
    sequence_plan,
)

APART = dataclasses.replace(AGILITY, name="apart", interdigitation=False, minimum_position_mm=-210.0)


def beamlets(shape, spacing=5.0, offset=(0.0, 0.0)):
    """Centers of a grid of beamlets whose edges are multiples of the spacing, row after row from the lowest."""
    rows, columns = shape
    x = (np.arange(columns) - columns // 2 + 0.5) * spacing + offset[0]
    y = (np.arange(rows) - rows // 2 + 0.5) * spacing + offset[1]
    return np.column_stack([np.tile(x, rows), np.repeat(y, columns)])


def open_cells(beam, offset_x):
    """Cells of the grid that each aperture opens, read off its tips; every tip must be at a cell's edge."""
    rows, columns = beam.wanted.shape
    middle = np.searchsorted(beam.mlc.leaf_centers_mm, beam.y_mm - 0.01)
    assert np.allclose(beam.mlc.leaf_centers_mm[middle], beam.y_mm)
    left = np.array([aperture.left_mm[middle] for aperture in beam.apertures]).reshape(-1, rows)
    right = np.array([aperture.right_mm[middle] for aperture in beam.apertures]).reshape(-1, rows)
    edges = (np.stack([left, right]) - offset_x) / 5.0 + columns // 2
    edges = np.where(right > left, edges, 0)
    assert np.abs(edges - np.round(edges)).max(initial=0) < 1e-9
    cells = np.arange(columns)
    return (cells >= np.round(edges[0])[..., None]) & (cells < np.round(edges[1])[..., None])


def assert_leaves_can_stand_so(mlc, aperture):
    left, right = aperture.left_mm, aperture.right_mm
    over = mlc.maximum_over_axis_mm if mlc.maximum_over_axis_mm is not None else np.inf
    assert left.min() >= mlc.minimum_position_mm
    assert right.max() <= mlc.maximum_position_mm
    assert left.max() <= over
    assert right.min() >= -over
    assert (right - left).min() >= mlc.minimum_gap_mm
    if mlc.maximum_leaf_span_mm is not None:
        assert np.ptp(left) <= mlc.maximum_leaf_span_mm
        assert np.ptp(right) <= mlc.maximum_leaf_span_mm
    if not mlc.interdigitation:
        assert (left[1:] <= right[:-1]).all()
        assert (left[:-1] <= right[1:]).all()


@pytest.mark.slow
@settings(max_examples=1000, deadline=None)
@given(matrices(), st.floats(-60, 60), st.sampled_from([MILLENNIUM_120, AGILITY]))
@example(np.random.default_rng(0).integers(0, 51, (25, 25)), 0.0, MILLENNIUM_120)
@example(np.zeros((1, 1), dtype=int), 0.0, AGILITY)
def test_segments_sum_to_the_matrix_obey_the_mlc_and_take_the_least_total(matrix, offset_x, interdigitating):
    levels = int(matrix.max())
    if levels < 2:
        matrix, levels = matrix * 2, max(2, 2 * levels)
    xy = beamlets(matrix.shape, offset=(offset_x, 0.0))
    for mlc, least in (
        (interdigitating, least_total_of_rows(matrix)),
        (APART, least_total_without_collision(matrix)),
    ):
        beam = sequence_beam(xy, matrix.ravel(), 5.0, mlc, levels=levels)
        for aperture in beam.apertures:
            assert_leaves_can_stand_so(mlc, aperture)
            assert aperture.mu == round(aperture.mu) > 0
        mu = np.array([aperture.mu for aperture in beam.apertures])
        assert (np.tensordot(mu, open_cells(beam, offset_x), axes=1) == matrix).all()
        assert beam.mu == least


@settings(max_examples=25, deadline=None)
@given(matrices(max_size=15), st.sampled_from(list(METHODS)), st.booleans(), st.integers(2, 20))
def test_the_fluence_read_off_the_leaves_is_the_quantized_fluence(matrix, method, tongue, levels):
    matrix = matrix * 0.173
    tongue = tongue and METHODS[method].without_tongue_and_groove is not None
    xy = beamlets(matrix.shape)
    beam = sequence_beam(
        xy, matrix.ravel(), 5.0, MILLENNIUM_120, method=method, levels=levels, avoid_tongue_and_groove=tongue
    )
    quantized = quantize(matrix, levels)
    assert np.allclose(beam.delivered, quantized.matrix * quantized.step_mu, atol=1e-9)
    assert np.allclose(beam.fluence_at(xy), beam.delivered.ravel())
    assert (beam.wanted == matrix).all()
    outside = beamlets((80, 80))
    far = (np.abs(outside[:, 0]) > 5.0 * matrix.shape[1]) | (np.abs(outside[:, 1]) > 5.0 * matrix.shape[0])
    assert (beam.fluence_at(outside[far]) == 0).all()


def test_beamlets_may_be_irregular_and_in_any_order():
    xy = np.array([[12.5, 2.5], [-2.5, -2.5], [2.5, -2.5], [2.5, 12.5]])
    beam = sequence_beam(xy, [4.0, 1.0, 2.0, 3.0], 5.0, "agility", levels=4, beam_index=3)
    assert beam.beam_index == 3
    assert beam.wanted.shape == (4, 4)
    assert beam.fluence_at(xy).tolist() == [4.0, 1.0, 2.0, 3.0]
    assert beam.delivered.sum() == 10.0


def test_two_narrow_leaves_may_lie_over_one_row():
    xy = beamlets((6, 6))
    weights = np.arange(36.0)
    beam = sequence_beam(xy, weights, 5.0, HD_120, levels=35)
    assert np.allclose(beam.fluence_at(xy), weights)
    assert beam.apertures[0].left_mm.shape == (60,)
    fine = beamlets((12, 6), spacing=2.5)
    assert np.allclose(sequence_beam(fine, np.repeat(weights, 2), 2.5, HD_120, levels=35).mu, beam.mu, atol=1e9)


def test_rows_under_one_wide_leaf_are_refused_or_share_their_mean():
    xy = beamlets((4, 3), offset=(0.0, 105.0))
    weights = np.repeat([1.0, 3.0, 2.0, 2.0], 3)
    with pytest.raises(
        ValueError,
        match=r"rows at y = 102.5, 107.5 mm are under one leaf of Varian Millennium 120.*share_wide_leaves=True",
    ):
        sequence_beam(xy[xy[:, 1] > 100], weights[xy[:, 1] > 100], 5.0, MILLENNIUM_120)
    xy = beamlets((4, 3), offset=(0.0, 110.0))
    shared = sequence_beam(xy, weights, 5.0, MILLENNIUM_120, share_wide_leaves=True)
    assert shared.fluence_at(xy).tolist() == [2.0] * 12


def test_jaws_close_around_the_field():
    xy = beamlets((6, 8))
    weights = np.where((np.abs(xy[:, 0] - 5) < 10) & (xy[:, 1] > -5), 1.0, 0.0)
    beam = sequence_beam(xy, weights, 5.0, MILLENNIUM_120)
    assert beam.jaws == JawPositions((-5.0, 15.0), (-5.0, 15.0))
    assert sequence_beam(xy, weights, 5.0, AGILITY).jaws == JawPositions(None, (-5.0, 15.0))
    aside = sequence_beam(xy + np.array([60.0, 0.0]), weights, 5.0, MILLENNIUM_120)
    assert aside.jaws.x_mm == (20.0, 75.0)  # an X1 jaw crosses the axis by 20 mm at most


def test_closed_leaves_meet_outside_the_field():
    xy = beamlets((6, 8))
    weights = np.where(xy[:, 1] > 0, 1.0, 0.0)
    weights[xy[:, 1] == 7.5] = 0.0
    for mlc in (MILLENNIUM_120, AGILITY):
        (aperture,) = sequence_beam(xy, weights, 5.0, mlc).apertures
        closed = aperture.left_mm == aperture.right_mm
        assert closed.sum() == mlc.n_pairs - 2
        assert (np.abs(aperture.left_mm[closed]) == 30.0).all()


def test_closed_leaves_that_cannot_touch_gape_under_jaws_only():
    gaping = dataclasses.replace(MILLENNIUM_120, minimum_gap_mm=4.0)
    xy = beamlets((6, 8))
    weights = np.where((xy[:, 1] > 0) & (xy[:, 1] != 7.5), 1.0, 0.0)
    beam = sequence_beam(xy, weights, 5.0, gaping)
    assert np.allclose(beam.fluence_at(xy), weights)
    with pytest.raises(
        ValueError, match=r"closed leaf pair 41 of Elekta Agility, at y = 7.5 mm, would leave 4 mm open"
    ):
        sequence_beam(xy, weights, 5.0, dataclasses.replace(AGILITY, minimum_gap_mm=4.0))
    apart = dataclasses.replace(gaping, name="apart", interdigitation=False)
    with pytest.raises(ValueError, match=r"closed leaf pair 31 of apart, at y = 7.5 mm, would leave 4 mm open"):
        sequence_beam(xy, weights, 5.0, apart)
    whole = sequence_beam(xy, np.where(xy[:, 1] > 0, 1.0, 0.0), 5.0, apart)
    assert np.allclose(whole.fluence_at(xy), xy[:, 1] > 0)
    assert (whole.apertures[0].right_mm - whole.apertures[0].left_mm).min() == 4.0


def test_small_apertures_are_dropped_and_the_others_fitted():
    random = np.random.default_rng(1)
    xy = beamlets((10, 10))
    weights = random.uniform(0, 5, 100)
    full = sequence_beam(xy, weights, 5.0, AGILITY, levels=16)
    for options in ({"minimum_engine_mu": 0.9}, {"minimum_area_mm2": 400.0}, {"maximum_apertures": 6}):
        beam = sequence_beam(xy, weights, 5.0, AGILITY, levels=16, **options)
        assert 0 < len(beam.apertures) < len(full.apertures)
        for aperture in beam.apertures:
            area = open_shares(aperture, AGILITY, beam.jaws, xy, (5.0, 5.0)).sum() * 25.0
            assert area >= options.get("minimum_area_mm2", 0.0)
            assert aperture.mu >= options.get("minimum_engine_mu", 0.0)
        assert len(beam.apertures) <= options.get("maximum_apertures", 99)
        # Fitted: no other weights of the same apertures come nearer to the fluence.
        shares = np.array([open_shares(a, AGILITY, beam.jaws, xy, (5.0, 5.0)) for a in beam.apertures])
        mu = np.array([aperture.mu for aperture in beam.apertures])
        slope = shares @ (shares.T @ mu - weights)
        assert np.allclose(slope[mu > 1e-9], 0, atol=1e-6)


def test_nothing_to_deliver_gives_no_aperture():
    beam = sequence_beam(beamlets((3, 3)), np.zeros(9), 5.0, "millennium-120")
    assert beam.apertures == ()
    assert beam.mu == 0.0
    assert (beam.delivered == 0).all()


def test_a_plan_is_sequenced_beam_after_beam():
    first, second = beamlets((4, 4)), beamlets((2, 6), spacing=2.5)
    layout = BeamletLayout(
        np.concatenate([first, second]), np.repeat([0, 1], [16, 12]), np.array([[5.0, 5.0], [2.5, 2.5]])
    )
    weights = np.arange(28.0)
    beams = sequence_plan(layout, weights, MLC.matched([1.25], 2.5), levels=27)
    assert [beam.beam_index for beam in beams] == [0, 1]
    assert np.allclose(beams[1].fluence_at(second), weights[16:])
    assert np.abs(beams[0].fluence_at(first) - weights[:16]).max() <= 15 / 27 / 2 + 1e-9
    with pytest.raises(ValueError, match=r"expected 28 beamlet weights, got an array of shape \(27,\)"):
        sequence_plan(layout, weights[1:], "hd-120")


GRID = beamlets((4, 4))


@pytest.mark.parametrize(
    ("xy", "weights", "message"),
    [
        (GRID, -np.eye(4).ravel(), r"beamlet 0 of beam 2 has a fluence of -1.0 MU; it must be finite and not negative"),
        (GRID, np.full(16, np.nan), r"beamlet 0 of beam 2 has a fluence of nan MU"),
        (GRID, np.ones(15), r"beam 2 has 16 beamlets, and fluence of shape \(15,\)"),
        (GRID[:, :1], np.ones(16), r"beam 2 needs finite \(x, y\) centers of its beamlets, not an array of shape"),
        (GRID[[0, 0]], np.ones(2), r"beam 2 has two beamlets at \(-7.5, -7.5\) mm"),
        (np.array([[0.0, 0], [7, 0]]), np.ones(2), r"beamlet 1 of beam 2 is at x = 7 mm, 2 mm off the grid of 5 mm"),
        (
            GRID + np.array([0.0, 2.5]),
            np.ones(16),
            (
                r"the row at y = -5 mm \(-7.5 to -2.5 mm\) is 2.5 mm off the leaf edges; place leaf-aligned beamlets "
                r"\(leaf_aligned_beamlets\) or sequence for MLC.matched"
            ),
        ),
        (
            GRID + np.array([0.0, 200.0]),
            np.ones(16),
            r"row at y = 202.5 mm \(200 to 205 mm\) lies outside the leaves of Elekta",
        ),
        (
            beamlets((1, 82)),
            np.ones(82),
            r"field of beam 2 reaches from x = -205 to 205 mm; the leaves of Elekta Agility",
        ),
    ],
)
def test_fluence_that_cannot_be_sequenced_is_refused(xy, weights, message):
    with pytest.raises(ValueError, match=message):
        sequence_beam(xy, weights, 5.0, AGILITY, beam_index=2)


def test_leaves_that_cannot_reach_are_named():
    wide = np.zeros((2, 34))
    wide[0, 0] = wide[1, -1] = 1.0
    with pytest.raises(
        ValueError, match=r"aperture 0 of beam 0 cannot be set: the left leaves of Varian Millennium 120 would be 165"
    ):
        sequence_beam(beamlets(wide.shape), wide.ravel(), 5.0, MILLENNIUM_120)
    aside = np.eye(1, 4, 3)
    with pytest.raises(
        ValueError, match=r"left leaf 40 of Elekta Agility would be at 175.00 mm; .* narrower, or split"
    ):
        sequence_beam(beamlets(aside.shape, offset=(170.0, 0.0)), aside.ravel(), 5.0, AGILITY)


def test_a_field_that_jaws_do_not_clear_is_refused():
    narrow = dataclasses.replace(AGILITY, y_jaws=dataclasses.replace(AGILITY.y_jaws, outer_mm=120.0))
    with pytest.raises(ValueError, match=r"reaches from y = -125 to 125 mm; the Y jaws open 120 mm to each side"):
        sequence_beam(beamlets((50, 1)), np.ones(50), 5.0, narrow)


def test_a_beamlet_narrower_than_the_gap_is_refused():
    gaping = dataclasses.replace(AGILITY, minimum_gap_mm=6.0)
    with pytest.raises(
        ValueError, match=r"minimum gap of Elekta Agility, 6 mm, is wider than the beamlets of beam 0, 5 mm"
    ):
        sequence_beam(GRID, np.ones(16), 5.0, gaping)


def test_a_rule_that_leaves_nothing_is_refused():
    with pytest.raises(ValueError, match=r"no aperture of beam 0 has 0 MU and opens 1e\+06 mm²"):
        sequence_beam(GRID, np.ones(16), 5.0, AGILITY, minimum_area_mm2=1e6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"levels": 1}, "in 2 or more levels, not 1"),
        ({"levels": 2.5}, "in 2 or more levels, not 2.5"),
        ({"method": "galvin"}, "no sequencing method 'galvin'; there are engel"),
        ({"minimum_engine_mu": -1.0}, "minimum_engine_mu cannot be -1.0"),
        ({"minimum_area_mm2": np.nan}, "minimum_area_mm2 cannot be nan"),
        ({"maximum_apertures": 0}, "at least 1, or None, not 0"),
    ],
)
def test_settings_are_checked(options, message):
    with pytest.raises(ValueError, match=message):
        SequencingSettings(**options)
    with pytest.raises(ValueError, match=message):
        sequence_beam(GRID, np.ones(16), 5.0, AGILITY, **options)


def test_options_and_collimators_that_do_not_exist_are_named():
    with pytest.raises(TypeError, match="sequencing option 'level' is unknown; it may be method, levels"):
        sequence_beam(GRID, np.ones(16), 5.0, AGILITY, level=3)
    with pytest.raises(ValueError, match="no MLC 'hd'; there are millennium-120"):
        sequence_beam(GRID, np.ones(16), 5.0, "hd")
    with pytest.raises(ValueError, match="'engel' cannot keep opposing leaves"):
        sequence_beam(GRID, np.ones(16), 5.0, APART, method="engel")


def test_methods_follow_the_mlc():
    assert SequencingSettings().method_for(AGILITY) == "engel"
    assert SequencingSettings().method_for(APART) == "kalinowski"
    assert SequencingSettings(avoid_tongue_and_groove=True).method_for(AGILITY) == "sliding-window"
    assert SequencingSettings("xia-verhey").method_for(AGILITY) == "xia-verhey"


@pytest.mark.parametrize(
    ("fluence", "message"),
    [
        ([1.0, 2.0], r"needs rows and columns, not the shape \(2,\)"),
        ([[1.0, -0.5]], r"is -0.5 MU at row 0, column 1; it must be finite and not negative"),
        ([[np.inf]], "is inf MU at row 0, column 0"),
    ],
)
def test_fluence_that_cannot_be_quantized_is_refused(fluence, message):
    with pytest.raises(ValueError, match=message):
        quantize(fluence, 4)


def test_quantization_rounds_to_the_nearest_level():
    quantized = quantize([[0.0, 1.0, 2.4, 4.0]], 4)
    assert quantized.matrix.tolist() == [[0, 1, 2, 4]]
    assert quantized.step_mu == 1.0
    assert quantized.rms_error_mu == pytest.approx(0.2)
    assert quantize([[0.0]], 2).rms_error_mu == 0.0
    with pytest.raises(ValueError, match="in 2 or more levels, not 1"):
        quantize([[1.0]], 1)


def test_parts_of_beamlets_are_open_by_area():
    mlc = MLC("two", (-5.0, 0.0, 5.0))
    aperture = Aperture([-1.0, 0.0], [3.0, 0.0], 2.0)
    shares = open_shares(aperture, mlc, JawPositions(), [[0.0, -2.5], [0.0, 0.0], [4.0, -2.5], [0.0, 2.5]], 5.0)
    assert shares.tolist() == pytest.approx([3.5 / 5, 3.5 / 10, 1.5 / 5, 0.0])
    jaws = JawPositions((0.0, 2.0), (-5.0, -2.5))
    assert open_shares(aperture, mlc, jaws, [[0.0, -2.5]], 5.0)[0] == pytest.approx(2.0 * 2.5 / 25)


def test_apertures_and_beams_are_checked():
    with pytest.raises(ValueError, match=r"as many left as right leaves, not \(2,\) and \(1,\)"):
        Aperture([0.0, 0.0], [0.0], 1.0)
    with pytest.raises(ValueError, match="leaf positions must be finite"):
        Aperture([np.nan], [0.0], 1.0)
    with pytest.raises(ValueError, match=r"cannot have -1.0 MU"):
        Aperture([0.0], [0.0], -1.0)
    with pytest.raises(ValueError, match=r"the X jaws cannot be at 5.0 and -5.0 mm"):
        JawPositions((5.0, -5.0))
    beam = (JawPositions(), 1, np.zeros(1), np.zeros(1), (5.0, 5.0), np.zeros((1, 1)))
    with pytest.raises(ValueError, match="aperture 0 of beam 1 has 1 leaf pairs; Elekta Agility has 80"):
        SequencedBeam((Aperture([0.0], [0.0], 1.0),), AGILITY, *beam)
    crossed = Aperture(np.full(80, 1.0), np.zeros(80), 1.0)
    with pytest.raises(ValueError, match="aperture 0 of beam 1 cannot be set: leaf pair 0 of Elekta Agility"):
        SequencedBeam((crossed,), AGILITY, *beam)


def test_a_beam_for_another_calibration_has_other_mu_and_the_same_leaves():
    x, y = np.meshgrid(np.arange(-10.0, 11.0, 5.0), np.arange(-7.5, 8.0, 5.0))
    weights = np.arange(x.size, dtype=float)
    beam = sequence_beam(np.column_stack([x.ravel(), y.ravel()]), weights, 5.0, HD_120, levels=5)
    scaled = beam.scaled(1.5)
    assert scaled.mu == pytest.approx(1.5 * beam.mu)
    np.testing.assert_allclose(scaled.wanted, 1.5 * beam.wanted)
    np.testing.assert_allclose(scaled.delivered, 1.5 * beam.delivered)
    for before, after in zip(beam.apertures, scaled.apertures, strict=True):
        np.testing.assert_array_equal(before.left_mm, after.left_mm)
