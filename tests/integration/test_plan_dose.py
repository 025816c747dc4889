"""Doses of plans, segments and RT Plans: full scatter in one convolution, beamlets as in OpenTPS, what MU are worth."""

import dataclasses

import numpy as np
import pytest
from opentps_objects import add_beam, add_segment
from rt_plan_files import add_aperture
from small_case import small_phantom

import opentps_brimstone as pb
from opentps_brimstone.adapters.images import ct_image
from opentps_brimstone.dicom.rt_plan_writer import write_rt_plan
from opentps_brimstone.engine import DoseCanceledError, compute_dose as compute_dose_image
from opentps_brimstone.engine.beam_model import read_beam_model
from opentps_brimstone.engine.calibration import calibrate
from opentps_brimstone.engine.water_tank import MARGIN_MM, add_open_field, water_tank
from opentps_brimstone.integration.plan_dose import compute_dose
from opentps_brimstone.sequencing import MLC, Aperture, JawPositions, SequencedBeam

QUIET = {"progress": False}
LEAVES = MLC("leaves", tuple(np.arange(-60.0, 61.0, 10.0)))


@pytest.fixture(scope="module")
def series():
    phantom = small_phantom(6.0)
    return pb.Series(phantom.ct_hu, phantom.grid.spacing_mm, phantom.grid.origin_mm, phantom.structures)


@pytest.fixture
def plan(series):
    made = pb.Plan(series, number_of_fractions=4, dose_grid_mm=6.0)
    for angle in (0.0, 115.0):
        made.add_beam(gantry_angle=angle)
    made.compute_dose_influence(beamlet_spacing_mm=10.0, progress=False)
    rng = np.random.default_rng(0)
    made.beamlet_weights = rng.uniform(5.0, 20.0, made.dose_influence.layout.n_beamlets)
    return made


@pytest.fixture(scope="module")
def tank():
    """A tank with enough water for all scatter, and one MU of the engine in its open field."""
    field = pb.engine.reference_field.ReferenceField()
    return field, water_tank(field, (5.0, 5.0, 5.0), MARGIN_MM["full"])


def middle(series):
    """Tissue where the doses of both beams are high."""
    return np.asarray(series.structures["Tumor"].share) > 0.9


# ------------------------------------------------------------------------------------------------- MU


@pytest.mark.parametrize("scatter", ["full", "opentps"])
def test_100_mu_of_the_machine_give_1_gy(tank, scatter):
    field, water = tank
    photon_plan = add_open_field(water, field, (5.0, 5.0))
    for beamlet in photon_plan.beamlets:
        beamlet._mu *= 100.0
    table = water.density_table
    dose = compute_dose(photon_plan, water.ct, scatter=scatter, mu="machine", density_table=table, **QUIET)
    image = ct_image(np.asarray(dose), dose.grid, "dose")
    assert water.dose_at_point(image) == pytest.approx(1.0, rel=5e-3)


def test_engine_mu_give_the_same_dose_in_the_reference_field_with_either_scatter(tank):
    field, water = tank
    photon_plan = add_open_field(water, field, (5.0, 5.0))
    doses = [
        compute_dose(photon_plan, water.ct, scatter=scatter, density_table=water.density_table, **QUIET)
        for scatter in ("full", "opentps")
    ]
    full, beamlets = (water.dose_at_point(ct_image(np.asarray(dose), dose.grid, "dose")) for dose in doses)
    assert full == pytest.approx(beamlets, rel=5e-3)
    assert beamlets == pytest.approx(calibrate(5.0, 5.0).gy_per_engine_mu, rel=5e-3)


# ------------------------------------------------------------------------------------------------- plans


def test_beamlets_are_the_dose_that_a_plan_knows(plan):
    dose = compute_dose(plan, scatter="opentps", **QUIET)
    np.testing.assert_allclose(dose, plan.get_dose(), rtol=1e-5, atol=1e-6)
    assert dose.grid == plan.grid


def test_full_scatter_reaches_where_beamlets_do_not(plan, series):
    full, beamlets = compute_dose(plan, **QUIET), plan.get_dose()
    inside = middle(series)
    assert full[inside].mean() == pytest.approx(beamlets[inside].mean(), rel=0.12)
    body = np.asarray(plan.ct_hu) > -500
    assert (full[body] > 0).all()
    assert not (beamlets[body] > 0).all()


def test_segments_that_open_all_beamlets_give_the_dose_of_even_weights(series):
    plan = pb.Plan(series, number_of_fractions=2, dose_grid_mm=6.0)
    plan.add_beam(gantry_angle=30.0, collimator_angle=20.0)
    plan.compute_dose_influence(beamlet_spacing_mm=10.0, progress=False)
    beam = plan.beams[0]
    xy = beam.beamlet_xy_mm
    plan.beamlet_weights = np.full(len(xy), 7.0)
    left, right = np.zeros(LEAVES.n_pairs), np.zeros(LEAVES.n_pairs)
    for pair, center in enumerate(LEAVES.leaf_centers_mm):
        row = xy[np.abs(xy[:, 1] - center) < 1.0, 0]
        if len(row):
            left[pair], right[pair] = row.min() - 5.0, row.max() + 5.0
    x, y = np.unique(xy[:, 0]), np.unique(xy[:, 1])
    apertures = (Aperture(left, right, 3.0), Aperture(left, right, 4.0))
    segments = SequencedBeam(apertures, LEAVES, JawPositions(), 0, x, y, (10.0, 10.0), np.zeros((len(y), len(x))))
    for scatter in ("full", "opentps"):
        np.testing.assert_allclose(
            compute_dose(plan, segments=[segments], scatter=scatter, **QUIET),
            compute_dose(plan, scatter=scatter, **QUIET),
            rtol=1e-4,
            atol=1e-5,
        )
    with pytest.raises(ValueError, match="segments are for beam 3, but the plan has 1 beams"):
        compute_dose(plan, segments=[dataclasses.replace(segments, beam_index=3)], **QUIET)


def test_beams_of_a_plan_may_have_isocenters_of_their_own(series, tmp_path):
    """The same fields, told apart by their isocenters alone, in beamlets, in OpenTPS's plan and in an RT Plan."""
    places = [(0.0, 0.0, 0.0), (12.0, -6.0, 6.0)]
    plan = pb.Plan(series, number_of_fractions=2, dose_grid_mm=6.0)
    for place in places:
        plan.add_beam(gantry_angle=30.0, isocenter=place)
    plan.compute_dose_influence(beamlet_spacing_mm=10.0, progress=False)
    plan.beamlet_weights = np.ones(plan.dose_influence.layout.n_beamlets)
    alone = []
    for place in places:
        single = pb.Plan(series, number_of_fractions=2, dose_grid_mm=6.0)
        single.add_beam(gantry_angle=30.0, isocenter=place)
        single.compute_dose_influence(beamlet_spacing_mm=10.0, progress=False)
        single.beamlet_weights = np.ones(single.dose_influence.layout.n_beamlets)
        alone.append(single.get_dose())
    np.testing.assert_allclose(plan.get_dose(), alone[0] + alone[1], rtol=1e-5, atol=1e-6)
    ct, _, photon_plan = plan.to_opentps()
    dose = compute_dose(photon_plan, ct, scatter="opentps", **QUIET)
    body = np.asarray(plan.ct_hu) > -500
    np.testing.assert_allclose(dose[body], plan.get_dose()[body], atol=2e-3 * dose.max())
    written = write_rt_plan(apertures_plan(places), tmp_path / "rtplan.dcm", mlc=LEAVES, patient_id="phantom")
    assert [tuple(beam.ControlPointSequence[0].IsocenterPosition) for beam in written.BeamSequence] == places


def test_an_opentps_plan_is_what_it_stands_for(plan):
    ct, _, photon_plan = plan.to_opentps()
    for scatter in ("full", "opentps"):
        ours, theirs = (compute_dose(*given, scatter=scatter, **QUIET) for given in ((plan,), (photon_plan, ct)))
        body = np.asarray(plan.ct_hu) > -500
        np.testing.assert_allclose(theirs[body], ours[body], atol=2e-3 * ours.max())
    image = compute_dose_image(ct, photon_plan, **QUIET).imageArray
    np.testing.assert_allclose(compute_dose(photon_plan, ct, scatter="opentps", **QUIET), image, rtol=1e-6)


# ------------------------------------------------------------------------------------------------- RT Plans


def apertures_plan(isocenters=((0.0, 0.0, 0.0), (0.0, 0.0, 0.0))):
    """A plan of two beams with leaves anywhere, in machine MU."""
    from opentps.core.data.plan import PhotonPlan

    plan = PhotonPlan(name="apertures")
    plan.rtPlanName = "apertures"
    plan._numberOfFractionsPlanned = 5
    rng = np.random.default_rng(4)
    for number, isocenter in enumerate(isocenters):
        beam = add_beam(plan, isocenter, gantry=50.0 + 80.0 * number, spacing=(2.5, 5.0), name=f"F{number}")
        beam.id = number + 1
        for _ in range(2):
            left = rng.uniform(-33.3, -5.0, LEAVES.n_pairs)
            width = rng.uniform(11.1, 30.0, LEAVES.n_pairs)
            add_aperture(beam, LEAVES, left, left + width, 40.0)
    return plan


def test_an_rt_plan_is_computed_from_its_file(series, tmp_path):
    photon_plan = apertures_plan()
    dataset = write_rt_plan(photon_plan, tmp_path / "rtplan.dcm", mlc=LEAVES, patient_id="phantom")
    expected = compute_dose(photon_plan, series, mu="machine", dose_grid_mm=6.0, **QUIET)
    assert expected.grid == series.dose_grid(6.0)
    assert expected.max() > 0.5
    for given in (tmp_path / "rtplan.dcm", str(tmp_path / "rtplan.dcm"), dataset):
        dose = compute_dose(given, series, dose_grid_mm=6.0, **QUIET)
        np.testing.assert_allclose(dose, expected, rtol=1e-3, atol=1e-3 * expected.max())
    sampled = compute_dose(tmp_path / "rtplan.dcm", series, scatter="opentps", dose_grid_mm=6.0, **QUIET)
    inside = expected > 0.5 * expected.max()
    assert sampled[inside].mean() == pytest.approx(expected[inside].mean(), rel=0.15)


def test_beams_may_have_isocenters_of_their_own(series, tmp_path):
    together = apertures_plan(((0.0, 0.0, 0.0), (12.0, -6.0, 18.0)))
    write_rt_plan(apertures_plan(), tmp_path / "a.dcm", mlc=LEAVES, patient_id="phantom")
    apart = []
    for number in (0, 1):
        single = apertures_plan(((0.0, 0.0, 0.0), (12.0, -6.0, 18.0)))
        single._beams = [single.beams[number]]
        apart.append(compute_dose(single, series, mu="machine", dose_grid_mm=6.0, **QUIET))
    whole = compute_dose(together, series, mu="machine", dose_grid_mm=6.0, **QUIET)
    np.testing.assert_allclose(whole, apart[0] + apart[1], rtol=1e-5, atol=1e-6)


def test_closed_leaves_give_nothing_but_what_is_open_counts_exactly(series):
    """An opening far from any multiple of the beamlet spacing is no problem for a whole field."""
    from opentps.core.data.plan import PhotonPlan

    def plan(left, right):
        made = PhotonPlan(name="slit")
        made._numberOfFractionsPlanned = 1
        beam = add_beam(made, (0.0, 0.0, 0.0), spacing=(5.0, 5.0))
        add_aperture(beam, LEAVES, np.full(LEAVES.n_pairs, left), np.full(LEAVES.n_pairs, right), 100.0)
        return made

    options = {"mu": "machine", "dose_grid_mm": 6.0, **QUIET}
    whole = compute_dose(plan(-11.3, 8.9), series, **options)
    parts = compute_dose(plan(-11.3, 0.7), series, **options) + compute_dose(plan(0.7, 8.9), series, **options)
    np.testing.assert_allclose(parts, whole, rtol=1e-3, atol=1e-4 * whole.max())
    assert not compute_dose(plan(4.0, 4.0), series, **options).any()


# ------------------------------------------------------------------------------------------------- beam models


MODEL = read_beam_model("Kernels_6MV")


def model(**changes):
    return dataclasses.replace(MODEL, **changes)


def test_a_closed_field_of_100_mu_gives_the_transmission_in_gray(tank):
    """Behind closed leaves the reference field has its share of 1 cGy/MU."""
    from opentps.core.data.plan import PhotonPlan

    _, water = tank
    photon_plan = PhotonPlan(name="closed")
    photon_plan._numberOfFractionsPlanned = 1
    beam = add_beam(photon_plan, water.isocenter_mm, spacing=(5.0, 5.0))
    add_aperture(beam, LEAVES, np.full(LEAVES.n_pairs, 80.0), np.full(LEAVES.n_pairs, 80.0), 100.0)
    beam.beamSegments[0].x_jaw_mm, beam.beamSegments[0].y_jaw_mm = [-50.0, 50.0], [-50.0, 50.0]
    options = {"density_table": water.density_table, "mu": "machine", **QUIET}
    leaking = model(collimator=dataclasses.replace(MODEL.collimator, leaf_transmission=0.023))
    dose = compute_dose(photon_plan, water.ct, beam_model=leaking, **options)
    image = ct_image(np.asarray(dose), dose.grid, "dose")
    assert water.dose_at_point(image) == pytest.approx(0.023, rel=0.01)


def test_a_beam_model_is_named(plan, caplog):
    with caplog.at_level("INFO", "opentps_brimstone"):
        named = compute_dose(plan, beam_model="Kernels_6MV", **QUIET)
    assert "beam model 'Kernels_6MV'" in caplog.text
    np.testing.assert_array_equal(named, compute_dose(plan, beam_model=MODEL, **QUIET))
    # MU are those of the same beamlets, so the reference field has the same dose.
    plain = compute_dose(plan, **QUIET)
    assert named[plain > 0.5 * plain.max()].mean() == pytest.approx(plain[plain > 0.5 * plain.max()].mean(), rel=0.06)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scatter": "opentps"}, "needs engine='native' and scatter='full'"),
        ({"kernels": "Kernels_6MV"}, "kernels of its own: leave out kernels='Kernels_6MV'"),
        ({"beam_model": "/no/model.toml"}, "no beam model '/no/model.toml'"),
        (
            {"beam_model": model(spectrum=(1.0, 2.0))},
            "has 2 values, but the kernels in .* have 14 energies",
        ),
    ],
)
def test_beam_models_that_cannot_be_used(series, change, message, no_engine):
    with pytest.raises((ValueError, pb.engine.EngineError), match=message):
        compute_dose(apertures_plan(), series, **{"beam_model": MODEL, **QUIET, **change})


# ------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"plan": 7}, TypeError, "a dose can be computed of a Plan, .*, not of int"),
        ({"ct": None}, TypeError, "the CT is missing"),
        ({"ct": 3}, TypeError, "must be a Series or an OpenTPS CTImage with data, got int"),
        ({"mu": "gray"}, ValueError, "mu must be 'engine' or 'machine', got 'gray'"),
        ({"scatter": "no"}, ValueError, "scatter must be 'opentps' or 'full', got 'no'"),
        ({"kernels": "/none"}, pb.engine.EngineError, "no folder of kernels '/none'"),
        ({"segments": []}, TypeError, "segments are for the beams of a Plan, not for PhotonPlan"),
    ],
)
def test_bad_input_before_work(series, change, error, message, no_engine):
    given = {"plan": apertures_plan(), "ct": series, **QUIET, **change}
    with pytest.raises(error, match=message):
        compute_dose(given.pop("plan"), given.pop("ct"), **given)


def test_a_plan_without_what_a_dose_needs(plan, series, no_engine):
    with pytest.raises(ValueError, match="a Plan has a CT and a dose grid of its own"):
        compute_dose(plan, series, **QUIET)
    bare = pb.Plan(series, dose_grid_mm=6.0)
    bare.add_beam(gantry_angle=0.0)
    with pytest.raises(ValueError, match="no beamlet weights"):
        compute_dose(bare, **QUIET)
    missing = apertures_plan()
    missing.beams[0].beamSegments[0].mu = None
    with pytest.raises(ValueError, match=r"segment 0 of beam 1 .* has the MU None"):
        compute_dose(missing, series, **QUIET)


def test_an_isocenter_outside_the_ct(series):
    with pytest.raises(ValueError, match=r"isocenter .* lies outside"):
        compute_dose(apertures_plan(((0.0, 0.0, 0.0), (0.0, 0.0, 900.0))), series, mu="machine", **QUIET)


def test_beamlets_of_different_sizes_have_no_one_worth(series):
    photon_plan = apertures_plan()
    add_segment(photon_plan.beams[0], [(0.0, 0.0)]).xBeamletSpacing_mm = 7.0
    with pytest.raises(ValueError, match="different sizes of beamlets"):
        compute_dose(photon_plan, series, **QUIET)


def test_progress_may_stop_it(plan):
    with pytest.raises(DoseCanceledError):
        compute_dose(plan, progress=lambda done, total: False)
