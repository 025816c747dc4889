"""Segments written into OpenTPS plans: what OpenTPS's own functions and its engine read out of them."""

import math
from dataclasses import replace

import numpy as np
import pytest
from opentps.core.data.plan import PhotonPlan, PlanPhotonSegment
from opentps_objects import add_beam, add_segment, center, make_ct, make_roi, square, with_design

from opentps_brimstone.adapters.segments import (
    BeamFluence,
    SegmentError,
    align_beamlets,
    fluence_of_segments,
    merged_plan,
    split_beamlets,
    write_segments,
)
from opentps_brimstone.engine.compute import compute_beamlets, compute_dose
from opentps_brimstone.sequencing import (
    AGILITY,
    HD_120,
    MILLENNIUM_120,
    MLC,
    Aperture,
    JawPositions,
    SequencedBeam,
)

# -------------------------------------------------------------------------------------------------- a simple sequencer


def sweeps(fluence: BeamFluence, mlc: MLC, index: int = 0, levels: int = 4, jaws: JawPositions | None = None):
    """Apertures of a beam by leaves that sweep from left to right (Bortfeld et al. 1994), one for each level."""
    width, height = fluence.spacing_mm
    low = fluence.xy_mm.min(axis=0)
    column, row = np.round((fluence.xy_mm - low) / fluence.spacing_mm).astype(int).T
    x, y = low[0] + width * np.arange(column.max() + 1), low[1] + height * np.arange(row.max() + 1)
    wanted = np.zeros((len(y), len(x)))
    wanted[row, column] = fluence.mu
    unit = wanted.max() / levels
    steps = np.diff(np.pad(np.round(wanted / unit).astype(int), ((0, 0), (1, 1))), axis=1)
    openings = [_row_openings(line) for line in steps]
    apertures = []
    for number in range(max(map(len, openings))):
        left, right = np.zeros(mlc.n_pairs), np.zeros(mlc.n_pairs)
        for y_row, row_openings in zip(y, openings, strict=True):
            if number < len(row_openings):
                begin, end = row_openings[number]
                for pair in range(mlc.n_pairs):
                    if abs(mlc.leaf_centers_mm[pair] - y_row) < max(height, mlc.leaf_widths_mm[pair]) / 2:
                        left[pair], right[pair] = x[0] - width / 2 + begin * width, x[0] - width / 2 + end * width
        apertures.append(Aperture(left, right, unit))
    return SequencedBeam(tuple(apertures), mlc, jaws or JawPositions(), index, x, y, fluence.spacing_mm, wanted)


def _row_openings(steps):
    """Column edges between which a row is open, for each unit of fluence."""
    rises = np.repeat(np.arange(len(steps)), np.maximum(steps, 0))
    falls = np.repeat(np.arange(len(steps)), np.maximum(-steps, 0))
    return list(zip(rises.tolist(), falls.tolist(), strict=True))


def sequenced(plan, mlc, levels=4):
    fluences = fluence_of_segments(plan)
    return [sweeps(fluence, mlc, index, levels) for index, fluence in enumerate(fluences)]


def matched_to(plan, field_mm=400.0):
    fluence = fluence_of_segments(plan)[0]
    return MLC.matched(fluence.xy_mm[:, 1], fluence.spacing_mm[1], field_mm=field_mm)


# --------------------------------------------------------------------------------------------------------------- cases


def modulated_plan(isocenter, *, spacing=(5.0, 5.0), offset=(0.0, 0.0), angles=((0.0, 0.0, 0.0),), half=17.5, seed=1):
    """Beams with an irregular field and random MU, some of them 0."""
    rng = np.random.default_rng(seed)
    plan = PhotonPlan(name="modulated")
    plan.numberOfFractionsPlanned = 1
    for gantry, couch, collimator in angles:
        beam = add_beam(plan, isocenter, gantry, couch, spacing, name=f"G{gantry:g}")
        count = [int(half // step) for step in spacing]
        xy = [
            (offset[0] + i * spacing[0], offset[1] + j * spacing[1])
            for j in range(-count[1], count[1] + 1)
            for i in range(-count[0], count[0] + 1)
            if math.hypot(i * spacing[0], j * spacing[1]) <= half
        ]
        segment = add_segment(beam, xy, collimator=collimator)
        for beamlet, mu in zip(segment.beamlets, rng.integers(0, 5, len(xy)) * 10.0, strict=True):
            beamlet._mu = mu
        segment.isPure()
    return plan


def total_fluence(plan, spacing):
    """MU of each cell of the beamlet grid, by its number."""
    return [
        {tuple(np.round(xy / spacing, 3)): mu for xy, mu in zip(f.xy_mm, f.mu, strict=True) if mu > 0}
        for f in fluence_of_segments(plan)
    ]


ANGLES = ((0.0, 0.0, 0.0), (270.0, 20.0, 35.0), (130.0, 0.0, 90.0))


# --------------------------------------------------------------------------------------- OpenTPS reads what was written


@pytest.mark.parametrize(
    ("mlc", "spacing", "offset", "sampled"),
    [
        ("matched", (5.0, 5.0), (0.0, 0.0), (2.5, 2.5)),
        ("matched", (4.0, 6.0), (0.0, 0.0), (2.0, 3.0)),
        (MILLENNIUM_120, (5.0, 5.0), (2.5, 2.5), (2.5, 5.0)),
        (MILLENNIUM_120, (5.0, 5.0), (0.0, 2.5), (2.5, 5.0)),
        (AGILITY, (4.0, 5.0), (2.0, 2.5), (2.0, 5.0)),
        (HD_120, (2.5, 2.5), (1.25, 1.25), (1.25, 2.5)),
        (HD_120, (5.0, 5.0), (2.5, 2.5), (2.5, 2.5)),
        (HD_120, (5.0, 5.0), (22.5, -52.5), (2.5, 2.5)),
        (MILLENNIUM_120, (5.0, 10.0), (-32.5, 125.0), (2.5, 10.0)),
    ],
)
def test_opentps_reads_the_fluence_out_of_the_segments(mlc, spacing, offset, sampled):
    """Rows that straddle leaves of a real MLC, rows on them, leaves of other widths, fields off the axis."""
    plan = modulated_plan([0, 0, 0], spacing=spacing, offset=offset)
    before = fluence_of_segments(plan)[0]
    assert write_segments(plan, sequenced(plan, matched_to(plan) if mlc == "matched" else mlc)) == sampled
    assert plan.numberOfBeamlets == 0
    merged = merged_plan(plan)
    assert len(merged.beams[0].beamSegments) == 1
    after = {(round(b._x, 3), round(b._y, 3)): b._mu for b in merged.beamlets}
    parts = [round(size / small) for size, small in zip(spacing, sampled, strict=True)]
    expected = {}
    for (x, y), mu in zip(before.xy_mm, before.mu, strict=True):
        for i in range(parts[0]):
            for j in range(parts[1]):
                part = (x + (i - (parts[0] - 1) / 2) * sampled[0], y + (j - (parts[1] - 1) / 2) * sampled[1])
                if mu > 0:
                    expected[round(part[0], 3), round(part[1], 3)] = mu
    assert after == pytest.approx(expected, rel=1e-9)


def test_a_leaf_wider_than_the_beamlets_moves_all_its_rows():
    """Two rows of 5 mm lie on each of Millennium's outer leaves."""
    plan = PhotonPlan(name="outer")
    add_segment(add_beam(plan, [0, 0, 0]), [(x, y) for x in (-2.5, 2.5, 7.5) for y in (112.5, 117.5)], mu=3.0)
    assert write_segments(plan, sequenced(plan, MILLENNIUM_120, levels=1)) == (5.0, 5.0)
    (fluence,) = fluence_of_segments(plan)
    assert sorted(map(tuple, fluence.xy_mm.tolist())) == [(x, y) for x in (-2.5, 2.5, 7.5) for y in (112.5, 117.5)]
    np.testing.assert_array_equal(fluence.mu, 3.0)


def test_segments_hold_all_that_a_plan_file_needs():
    plan = modulated_plan([3.0, -4.0, 5.0], offset=(2.5, 2.5), angles=ANGLES)
    beams = sequenced(plan, MILLENNIUM_120)
    beams[1] = replace(beams[1], jaws=JawPositions((-20.0, 20.0), (-20.0, 20.0)))
    write_segments(plan, beams)
    for (gantry, couch, collimator), beam, wanted in zip(ANGLES, plan.beams, beams, strict=True):
        assert [s.controlPointIndex for s in beam.beamSegments] == list(range(len(wanted.apertures)))
        for segment, aperture in zip(beam.beamSegments, wanted.apertures, strict=True):
            assert (segment.gantryAngle_degree, segment.couchAngle_degree) == (gantry, couch)
            assert segment.beamLimitingDeviceAngle_degree == collimator
            assert list(segment.isocenterPosition_mm) == [3.0, -4.0, 5.0]
            assert segment.Xmlc_mm.shape == (60, 4)
            np.testing.assert_array_equal(segment.Xmlc_mm[:, 2], aperture.left_mm)
            np.testing.assert_array_equal(segment.Xmlc_mm[:, 3], aperture.right_mm)
            assert segment.mu == aperture.mu
    assert plan.beams[0].beamSegments[0].x_jaw_mm == [-math.inf, math.inf]
    assert plan.beams[1].beamSegments[0].y_jaw_mm == [-20.0, 20.0]


def test_jaws_cut_what_the_leaves_leave_open():
    plan = PhotonPlan(name="jaws")
    add_segment(add_beam(plan, [0, 0, 0]), square(20.0), mu=1.0)
    (beam,) = sequenced(plan, AGILITY, levels=1)
    write_segments(plan, [replace(beam, jaws=JawPositions((-10.0, 15.0), (-5.0, 20.0)))])
    (fluence,) = fluence_of_segments(plan)
    assert (fluence.xy_mm - 2.5).min(axis=0).tolist() == [-10.0, -5.0]
    assert (fluence.xy_mm + 2.5).max(axis=0).tolist() == [15.0, 20.0]


def test_a_beam_without_mu_vanishes():
    plan = modulated_plan([0, 0, 0], offset=(2.5, 2.5), angles=ANGLES[:2])
    beams = sequenced(plan, MILLENNIUM_120)
    beams[0] = replace(beams[0], apertures=tuple(replace(a, mu=0.0) for a in beams[0].apertures))
    write_segments(plan, beams)
    assert [beam.name for beam in plan.beams] == ["G270"]


def test_smaller_beamlets_may_be_asked_for():
    plan = modulated_plan([0, 0, 0], offset=(2.5, 2.5))
    fluence = fluence_of_segments(plan)[0]
    beams = sequenced(plan, MILLENNIUM_120)
    assert write_segments(plan, beams, spacing_mm=(1.25, 2.5)) == (1.25, 2.5)
    assert fluence_of_segments(plan)[0].mu.sum() == pytest.approx(8 * fluence.mu.sum())
    with pytest.raises(SegmentError, match="exactly with beamlets of 2 mm: aperture 0 of beam 0 has an edge at x = "):
        write_segments(modulated_plan([0, 0, 0], offset=(2.5, 2.5)), beams, spacing_mm=(2.0, 5.0))


def test_split_beamlets_are_those_opentps_makes_of_the_segments():
    plan = modulated_plan([0, 0, 0], offset=(2.5, 2.5), angles=ANGLES[:2])
    beams = sequenced(plan, MILLENNIUM_120)
    split = split_beamlets(plan, beams, (2.5, 5.0))
    assert split.numberOfBeamlets == 2 * plan.numberOfBeamlets
    write_segments(plan, beams)
    for cut, fluence in zip(split.beams, fluence_of_segments(plan), strict=True):
        assert set(map(tuple, fluence.xy_mm.tolist())) < {(b._x, b._y) for b in cut.beamSegments[0].beamlets}


# --------------------------------------------------------------------------------------------------------- dose, real


@pytest.mark.parametrize("aligned", [False, True])
def test_dose_of_the_segments_is_that_of_their_fluence(aligned):
    """From the segments alone through OpenTPS's functions and engine, against beamlets of the same size."""
    ct = make_ct(shape=(12, 14, 12), spacing=(6.0, 5.0, 6.0))
    offset = (2.5, 2.5) if aligned else (0.0, 0.0)
    plan = modulated_plan(center(ct), offset=offset, angles=ANGLES[:2], half=8)
    fluences = fluence_of_segments(plan)
    spacing = write_segments(plan, sequenced(plan, MILLENNIUM_120 if aligned else matched_to(plan)))
    from_segments = compute_dose(ct, merged_plan(plan), progress=False).imageArray

    reference = PhotonPlan(name="reference")
    reference.numberOfFractionsPlanned = 1
    for (gantry, couch, collimator), fluence in zip(ANGLES, fluences, strict=False):
        segment = add_segment(add_beam(reference, center(ct), gantry, couch, spacing), collimator=collimator)
        parts = np.round(np.divide(fluence.spacing_mm, spacing)).astype(int)
        for (x, y), mu in zip(fluence.xy_mm, fluence.mu, strict=True):
            for i in range(parts[0]) if mu > 0 else ():
                for j in range(parts[1]):
                    segment.appendBeamlet(
                        x + (i - (parts[0] - 1) / 2) * spacing[0], y + (j - (parts[1] - 1) / 2) * spacing[1], mu
                    )
    beamlets = compute_beamlets(ct, reference, progress=False, cache=False)
    expected = beamlets.toDoseImage().imageArray
    assert expected.max() > 0
    assert np.abs(from_segments - expected).max() <= 1e-4 * expected.max()


# ----------------------------------------------------------------------------------------------------- what goes wrong


def test_edges_off_the_raster():
    plan = modulated_plan([0, 0, 0], offset=(2.5, 2.5))
    (beam,) = sequenced(plan, MILLENNIUM_120)
    shifted = tuple(replace(a, left_mm=a.left_mm + 0.7, right_mm=a.right_mm + 0.7) for a in beam.apertures)
    before = plan.beams[0].beamSegments
    with pytest.raises(SegmentError, match=r"cannot sample the segments exactly .* in x: aperture 0 of beam 0 has an "):
        write_segments(plan, [replace(beam, apertures=shifted)])
    assert plan.beams[0].beamSegments == before


def test_rows_off_the_leaves():
    """Rows in the middle between leaves: nothing but half leaves would do."""
    mlc = MLC("odd", tuple(np.arange(-50.0, 51.0, 5.0) + 0.3))
    aperture = Aperture(np.full(20, -10.0), np.full(20, 10.0), 5.0)
    plan = modulated_plan([0, 0, 0])
    beam = SequencedBeam((aperture,), mlc, JawPositions(), 0, np.zeros(1), np.zeros(1), (5.0, 5.0), np.zeros((1, 1)))
    with pytest.raises(SegmentError, match=r"in y: aperture 0 of beam 0 has an edge at y = -\d+.7 mm, which is no"):
        write_segments(plan, [beam])


def test_fields_beyond_the_square_that_opentps_adds_up():
    """HD120's leaf bank is 220 mm high; OpenTPS takes that for the width too."""
    plan = PhotonPlan(name="wide")
    add_segment(add_beam(plan, [0, 0, 0]), [(x, 1.25) for x in np.arange(-60.0, 115.1, 5.0) + 2.5], mu=1.0)
    beams = sequenced(plan, HD_120, levels=1)
    beams = [replace(beams[0], spacing_mm=(5.0, 2.5))]
    with pytest.raises(SegmentError, match=r"reach from -60 to 120 mm in x; OpenTPS adds up segments from -.* to 10.*"):
        write_segments(plan, beams)


def test_beams_that_are_not_the_plans():
    plan = modulated_plan([0, 0, 0], offset=(2.5, 2.5), angles=ANGLES[:2])
    beams = sequenced(plan, MILLENNIUM_120)
    with pytest.raises(ValueError, match="the plan has 2 beams; the sequenced beams are for 1, counted from 0"):
        write_segments(plan, beams[1:])
    add_segment(plan.beams[1], [(0.0, 0.0)])
    with pytest.raises(ValueError, match=r"beam 2 \('G270'\) has 2 segments; OpenTPS adds up"):
        write_segments(plan, beams)


def test_a_closed_aperture_with_mu():
    plan = modulated_plan([0, 0, 0], offset=(2.5, 2.5))
    closed = Aperture(np.zeros(60), np.zeros(60), 2.0)
    (beam,) = sequenced(plan, MILLENNIUM_120)
    with pytest.raises(SegmentError, match="aperture 0 of beam 0 is closed and has 2 MU"):
        write_segments(plan, [replace(beam, apertures=(closed, *beam.apertures))])
    with pytest.raises(ValueError, match="no aperture has any MU"):
        write_segments(plan, [replace(beam, apertures=())])


def test_fluence_needs_one_kind_of_segments():
    plan = modulated_plan([0, 0, 0])
    add_segment(plan.beams[0], [(0.0, 0.0)], collimator=30.0)
    with pytest.raises(ValueError, match="different angles or beamlet sizes"):
        fluence_of_segments(plan)


# -------------------------------------------------------------------------------------------------- aligned beamlets


def target_plan(ct, target, angles=ANGLES, margin=5.0):
    plan = PhotonPlan(name="target")
    with_design(plan, ct, target)
    plan.planDesign.targetMargin = margin
    for gantry, couch, collimator in angles:
        add_segment(add_beam(plan, center(ct), gantry, couch), [(0.0, 0.0)], collimator=collimator)
    return plan


def test_aligned_beamlets_lie_on_leaves_and_cover_the_target():
    ct = make_ct(shape=(24, 24, 24), spacing=(4.0, 4.0, 4.0))
    target = make_roi(ct, (9, 10, 8), (17, 14, 14), "PTV")
    plan = target_plan(ct, target)
    aligned = align_beamlets(plan, MILLENNIUM_120)
    assert plan.numberOfBeamlets == 3
    for beam in aligned.beams:
        xy = np.array([(b._x, b._y) for b in beam.beamSegments[0].beamlets])
        np.testing.assert_array_equal(xy % 5.0, [[0.0, 2.5]] * len(xy))
        assert len(np.unique(xy, axis=0)) == len(xy) > 30
    dose = compute_dose(ct, aligned, progress=False).imageArray[target.imageArray]
    assert dose.min() > 0.85 * dose.max()


def test_aligned_beamlets_are_where_buildplan_puts_them_to_half_a_row():
    ct = make_ct(shape=(24, 24, 24), spacing=(4.0, 4.0, 4.0))
    target = make_roi(ct, (9, 10, 8), (17, 14, 14), "PTV")
    design = target_plan(ct, target).planDesign
    design.gantryAngles, design.couchAngles, design.beamNames = [0.0, 270.0], [0.0, 0.0], ["A", "B"]
    design.isocenterPosition_mm = center(ct)
    design.xBeamletSpacing_mm = design.yBeamletSpacing_mm = 5.0
    design.calibration = None
    plan = design.buildPlan()
    for built, placed in zip(plan.beams, align_beamlets(plan, AGILITY).beams, strict=True):
        theirs, ours = (np.array(beam.beamletsXY_mm) for beam in (built, placed))
        distance = np.abs(theirs[:, None] - ours[None]).max(axis=2)
        assert distance.min(axis=1).max() <= 2.5
        assert distance.min(axis=0).max() <= 7.5
        np.testing.assert_array_equal(theirs[:, 0] % 5.0, np.zeros(len(theirs)))
        np.testing.assert_array_equal(ours[:, 0] % 5.0, np.zeros(len(ours)))


def test_collimator_angle_of_aligned_beamlets():
    """The long side of a target lies along y; with the collimator at 90° along x."""
    ct = make_ct(shape=(20, 20, 28), spacing=(4.0, 4.0, 4.0))
    target = make_roi(ct, (9, 9, 4), (11, 11, 24), "PTV")
    plan = target_plan(ct, target, angles=((0.0, 0.0, 0.0),), margin=0.0)
    for collimator, expected in ((None, [10.0, 75.0]), (90.0, [80.0, 5.0])):  # a column in the middle, but two rows
        aligned = align_beamlets(plan, MILLENNIUM_120, collimator_angle=collimator)
        extent = np.ptp(np.array(aligned.beams[0].beamletsXY_mm), axis=0)
        np.testing.assert_array_equal(extent, expected)


def test_beamlets_that_no_leaves_can_carry():
    ct = make_ct(shape=(20, 20, 28), spacing=(4.0, 4.0, 4.0))
    plan = target_plan(ct, make_roi(ct, (9, 9, 4), (11, 11, 24), "PTV"), angles=ANGLES[:1])
    plan.beams[0].beamSegments[0].yBeamletSpacing_mm = 4.0
    with pytest.raises(ValueError, match=r"sees the target .* no rows of 4 mm lie on the leaves of Varian"):
        align_beamlets(plan, MILLENNIUM_120)
    small = MLC("small", (-10.0, 0.0, 10.0))
    with pytest.raises(ValueError, match=r"beam 'beam' sees the target from y = .* cover -10 to 10 mm"):
        align_beamlets(plan, small)
    plan.planDesign = None
    with pytest.raises(ValueError, match="has no target"):
        align_beamlets(plan, MILLENNIUM_120)


# ------------------------------------------------------------------------- what of OpenTPS's behavior is absorbed here


def bank(left, right, leaf=5.0, half=50.0):
    low = np.arange(-half, half, leaf)
    tips = np.zeros((len(low), 2))
    tips[len(low) // 2] = left, right
    return np.column_stack([low, low + leaf, tips])


def opentps_beamlets(left, right, spacing, **options):
    segment = PlanPhotonSegment()
    segment.Xmlc_mm = bank(left, right, **options)
    segment.x_jaw_mm = segment.y_jaw_mm = [-100.0, 100.0]
    segment.xBeamletSpacing_mm = segment.yBeamletSpacing_mm = spacing
    segment.mu = 1.0
    segment.createBeamletsFromSegments()
    return segment, [(b._x, b._y) for b in segment.beamlets]


def test_opentps_samples_at_half_odd_multiples():
    """If this fails OpenTPS has changed: read the module's description again."""
    assert opentps_beamlets(0.0, 10.0, 5.0)[1] == [(2.5, 2.5), (7.5, 2.5)]
    # A pair open by one spacing is dropped, an edge off the raster moved.
    assert opentps_beamlets(0.0, 5.0, 5.0)[1] == []
    assert opentps_beamlets(2.6, 12.4, 5.0)[1] == [(7.5, 2.5)]


def test_opentps_adds_up_segments_on_a_square_without_its_last_row():
    segment, beamlets = opentps_beamlets(40.0, 50.0, 5.0)
    assert beamlets == [(42.5, 2.5), (47.5, 2.5)]
    with pytest.raises(IndexError):
        segment.beamletMatrixRepresentation()
    segment, _ = opentps_beamlets(-60.0, -50.0, 5.0)
    assert np.argwhere(segment.beamletMatrixRepresentation()).tolist() == [[11, 0], [11, 19]]
