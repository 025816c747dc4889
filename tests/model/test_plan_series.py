"""Plans made of a series: beams, lazily computed dose influence, and OpenTPS's objects and back."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from dicom_folder import cylinder, water_box

import opentps_brimstone as pb
from opentps_brimstone.adapters.plan import layout_from_opentps
from opentps_brimstone.model.contours import ContourStack

SHAPE, SPACING, ORIGIN = (22, 18, 12), (6.0, 6.0, 6.0), (-63.0, -51.0, -33.0)
GRID = pb.VoxelGrid(SHAPE, SPACING, ORIGIN)
CENTER = (20.0, 5.0)


def make_series(**changes) -> pb.Series:
    planes = np.array([-9.0, -3.0, 3.0, 9.0])
    target = ContourStack([(z, [outline]) for z, outline in cylinder(11.0, planes, CENTER)], 6.0)
    organ = np.zeros(SHAPE)
    organ[4:7, 6:10, 4:8] = 1
    structures = [pb.Structure.from_contours("PTV", target, GRID, True), pb.Structure("Organ", organ)]
    return pb.Series(water_box(SHAPE), SPACING, ORIGIN, changes.get("structures", structures))


def make_plan(*angles: float, **options) -> pb.Plan:
    plan = pb.Plan(make_series(), **options)
    for angle in angles or (0.0, 90.0):
        plan.add_beam(angle)
    return plan


@pytest.fixture
def engine(monkeypatch):
    """Grids of the doses that the dose engine is asked for, call by call."""
    from opentps_brimstone.engine.collapsed_cones import ConeEngine

    asked = []
    real = ConeEngine.beamlets

    def counting(self, fields, *options):
        asked.append(self.grid)
        return real(self, fields, *options)

    monkeypatch.setattr(ConeEngine, "beamlets", counting)
    return asked


@pytest.fixture(scope="module")
def computed() -> pb.Plan:
    """Four beams of 8 mm beamlets."""
    plan = make_plan(0.0, 90.0, 200.0, number_of_fractions=4)
    plan.add_beam(310.0, couch_angle=20.0, collimator_angle=30.0, name="turned")
    plan.compute_dose_influence("PTV", beamlet_spacing_mm=8.0, margin_mm=4.0, progress=False)
    return plan


def copied(plan: pb.Plan) -> pb.Plan:
    return copy.deepcopy(plan)


# ------------------------------------------------------------------------------------------------- before a dose


def test_beams_know_their_angles_and_the_center_of_the_target(no_engine) -> None:
    plan = make_plan()
    turned = plan.add_beam(gantry_angle=-30, couch_angle=370.0, collimator_angle=np.float32(15), name="oblique")
    assert [beam.name for beam in plan.beams] == ["G000", "G090", "oblique"]
    assert (turned.gantry_angle, turned.couch_angle, turned.collimator_angle) == (330.0, 10.0, 15.0)
    np.testing.assert_allclose(turned.isocenter, [*CENTER, 0.0], atol=0.1)
    given = pb.Plan(make_series()).add_beam(0.0, isocenter=(1, 2, 3))
    assert given.isocenter.tolist() == [1.0, 2.0, 3.0]
    assert repr(plan) == "Plan(beams: G000, G090, oblique, structures: PTV, Organ, 1 fraction)"


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"gantry_angle": "90"}, TypeError, "gantry_angle must be a number of degrees, got '90'"),
        ({"gantry_angle": True}, TypeError, "gantry_angle must be a number"),
        ({"gantry_angle": np.nan}, ValueError, "gantry_angle must be a finite number of degrees, got nan"),
        ({"gantry_angle": 0, "couch_angle": np.inf}, ValueError, "couch_angle must be a finite number"),
        ({"gantry_angle": 0, "collimator_angle": None}, TypeError, "collimator_angle must be a number"),
        ({"gantry_angle": 0, "isocenter": (0, 0)}, ValueError, r"three finite numbers x, y, z in mm, got \(0, 0\)"),
        (
            {"gantry_angle": 0, "isocenter": (0, 0, 80)},
            ValueError,
            r"\[0.0, 0.0, 80.0\] mm of the new beam lies outside the CT, which reaches from \[-66.0, -54.0",
        ),
    ],
)
def test_bad_beams_are_refused(arguments, error, message) -> None:
    plan = pb.Plan(make_series())
    plan.add_beam(0.0, isocenter=(0, 0, 0))
    with pytest.raises(error, match=message):
        plan.add_beam(**arguments)
    assert len(plan.beams) == 1


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"beamlet_spacing_mm": 0}, ValueError, "beamlet_spacing_mm is 0; it must be positive, in mm"),
        ({"margin_mm": -1.0}, ValueError, "margin_mm is -1.0; it must be 0 or more"),
        ({"dose_grid_mm": -3.0}, ValueError, "grid spacing along x is -3 mm"),
        ({"target": "GTV"}, KeyError, "there is no structure 'GTV'; there are 'PTV', 'Organ'"),
        ({"target": []}, ValueError, "the list of targets is empty"),
        ({"target": pb.Structure("PTV", np.ones(SHAPE))}, ValueError, "structure 'PTV' is not the plan's"),
        ({"processes": 0}, ValueError, "processes must be an integer of 1 or more"),
    ],
)
def test_bad_options_are_refused_before_the_engine_starts(arguments, error, message) -> None:
    with pytest.raises(error, match=message):
        make_plan().compute_dose_influence(**arguments)


def test_a_plan_needs_beams_and_targets(no_engine) -> None:
    with pytest.raises(ValueError, match="the plan has no beams: add some with add_beam"):
        pb.Plan(make_series()).dose_influence  # noqa: B018
    plan = make_plan()
    plan.structures["PTV"].is_target = False
    with pytest.raises(ValueError, match=r"no structure is a target \(there are PTV, Organ\)"):
        plan.compute_dose_influence()


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: pb.Plan("CT"), TypeError, "a Plan is made from a Series, not str"),
        (lambda: pb.Plan(make_series(structures=[])), ValueError, "no structures; a plan needs at least one"),
        (lambda: pb.Plan(make_series(), 0), ValueError, "number of fractions is 0"),
        (lambda: pb.Plan(make_series(), dose_grid_mm=(1, 2)), ValueError, "one number or three"),
    ],
)
def test_bad_plans_are_refused(make, error, message) -> None:
    with pytest.raises(error, match=message):
        make()


def test_a_matrix_goes_in_by_its_own_door() -> None:
    influence = pb.DoseInfluence(
        np.ones((1, 1)), pb.VoxelGrid((1, 1, 1), (1, 1, 1)), pb.BeamletLayout([[0, 0]], [0], 1)
    )
    with pytest.raises(TypeError, match=r"not DoseInfluence; Plan.from_influence takes a DoseInfluence"):
        pb.Plan(influence)
    plan = pb.Plan.from_influence(influence, [pb.Structure("PTV", np.ones((1, 1, 1)))])
    with pytest.raises(ValueError, match="this plan's beams came with it"):
        plan.add_beam(0.0)
    with pytest.raises(ValueError, match="it cannot be computed again"):
        plan.compute_dose_influence()
    with pytest.raises(ValueError, match="made from a matrix: without a CT and beam angles"):
        plan.to_opentps()


# ------------------------------------------------------------------------------------------------- dose influence


def test_doses_are_those_of_opentps_for_the_same_plan(computed: pb.Plan) -> None:
    from opentps_brimstone.engine import compute_dose

    plan = copied(computed)
    rng = np.random.default_rng(1)
    plan.beamlet_weights = rng.uniform(0, 3, plan.dose_influence.layout.n_beamlets)
    ct, _, photon_plan = plan.to_opentps()
    dose = plan.get_dose()
    np.testing.assert_allclose(compute_dose(ct, photon_plan, progress=False).imageArray, dose, atol=1e-6 * np.max(dose))
    assert dose.grid == plan.grid == GRID


@pytest.mark.parametrize(("gantry", "axis", "high"), [(0, 1, False), (90, 0, True), (180, 1, True), (270, 0, False)])
def test_beams_enter_where_iec_says(gantry: float, axis: int, high: bool) -> None:
    """At gantry 90 from the patient's left, which is DICOM's +x for a patient lying head first supine."""
    plan = pb.Plan(make_series())
    plan.add_beam(gantry)
    plan.compute_dose_influence(beamlet_spacing_mm=10.0, progress=False)
    plan.beamlet_weights = np.ones(plan.dose_influence.layout.n_beamlets)
    place = np.rint((np.array([*CENTER, 3.0]) - ORIGIN) / SPACING).astype(int)
    along = np.moveaxis(np.asarray(plan.get_dose()), axis, 0)[(slice(4, -4), *np.delete(place, axis))]
    falling = (along[::-1] if high else along)[2:]  # beyond the build-up
    assert (np.diff(falling) < 0).all()
    assert falling[-1] < 0.9 * falling[0]


def test_the_dose_influence_is_computed_once_and_when_needed(engine) -> None:
    plan = make_plan(0.0)
    assert not engine
    first = plan.dose_influence
    assert plan.dose_influence is first
    plan.prepare(plan.structures)
    assert len(engine) == 1
    plan.beamlet_weights = np.ones(first.layout.n_beamlets)
    plan.add_beam(90.0)
    assert plan.beamlet_weights is None
    assert plan.dose_influence.layout.n_beams == 2
    assert len(engine) == 2


def test_the_optimizer_covers_what_has_a_target_term(engine) -> None:
    series = make_series()
    series.structures["Organ"].is_target = True  # a target that nothing is asked of
    plan = pb.Plan(series, 2)
    plan.add_beam(0.0)
    plan.add_beam(180.0)
    optimizer = pb.PlanOptimizer(plan)
    optimizer.add_objective(series.structures["PTV"], pb.KLDivergenceTerm(dose_range=(9.5, 10.5)))
    result = optimizer.optimize()
    assert len(engine) == 1
    np.testing.assert_allclose(plan.beams[0].isocenter, [*CENTER, 0.0], atol=0.1)
    xy = plan.beams[0].beamlet_xy_mm
    assert np.abs(xy).max() < 11 + 7.5 + 6.0
    share = plan.structures["PTV"].share
    assert np.average(np.asarray(result.dose), weights=share) == pytest.approx(10.0, abs=0.5)
    # The series' structure knows the DVH too.
    assert series.structures["PTV"].get_dvh() is plan.structures["PTV"].get_dvh()


def test_a_dose_grid_of_another_spacing(engine) -> None:
    series = make_series()
    plan = pb.Plan(series, dose_grid_mm=12.0)
    assert plan.grid.shape == (11, 9, 6)
    own = plan.structures["PTV"]
    assert own.share.sum() * 12**3 == pytest.approx(np.pi * 121 * 24, rel=5e-3)
    plan.add_beam(0.0)
    optimizer = pb.PlanOptimizer(plan)
    optimizer.add_objective(structure=series.structures["PTV"], objective=pb.KLDivergenceTerm(dose_range=(9, 11)))
    influence = plan.compute_dose_influence(dose_grid_mm=(6.0, 6.0, 12.0), beamlet_spacing_mm=10.0)
    assert influence.grid.shape == plan.grid.shape == plan.ct_hu.shape == (22, 18, 6)
    assert plan.structures["PTV"] is own
    assert own.share.shape == (22, 18, 6)
    assert optimizer.optimize().dose.shape == (22, 18, 6)
    assert engine[0].shape == (22, 18, 6)


def test_a_structure_off_the_dose_grid_is_told_of_in_time(no_engine) -> None:
    faraway = ContourStack([(300.0, [np.array([(0, 0), (9, 0), (9, 9)])])], 6.0)
    series = make_series(structures=[*make_series().structures, pb.Structure.from_contours("far", faraway, GRID)])
    optimizer = pb.PlanOptimizer(pb.Plan(series))
    with pytest.raises(ValueError, match="the mask of 'far' is empty: it has nothing on the grid VoxelGrid"):
        optimizer.add_objective(series.structures["far"], pb.KLDivergenceTerm(dose_range=(0, 5)))


def test_a_structure_off_the_dose_grid_does_not_stop_the_others(computed: pb.Plan) -> None:
    faraway = ContourStack([(300.0, [np.array([(0, 0), (9, 0), (9, 9)])])], 6.0)
    plan = copied(computed)
    plan.structures["far"] = pb.Structure.from_contours("far", faraway, plan.grid)
    plan.beamlet_weights = np.ones(plan.dose_influence.layout.n_beamlets)
    with pytest.warns(UserWarning, match="no DVH of 'far': the mask of 'far' is empty"):
        plan.update_histograms()
    assert plan.structures["PTV"].get_dvh()[1][0] == 1.0


# ------------------------------------------------------------------------------------------------- OpenTPS


def test_the_opentps_plan_has_beams_beamlets_and_mu(computed: pb.Plan) -> None:
    plan = copied(computed)
    weights = np.linspace(0, 2, plan.dose_influence.layout.n_beamlets)
    plan.beamlet_weights = weights
    ct, rois, photon_plan = plan.to_opentps()
    np.testing.assert_array_equal(photon_plan.beamletMUs, weights)
    np.testing.assert_array_equal(layout_from_opentps(photon_plan).xy_mm, plan.dose_influence.layout.xy_mm)
    assert [beam.name for beam in photon_plan.beams] == ["G000", "G090", "G200", "turned"]
    assert [beam.gantryAngle_degree for beam in photon_plan.beams] == [0.0, 270.0, 160.0, 50.0]
    turned = photon_plan.beams[3][0]
    assert (turned.couchAngle_degree, turned.beamLimitingDeviceAngle_degree) == (340.0, 30.0)
    assert photon_plan.numberOfFractionsPlanned == 4
    assert list(rois) == ["PTV", "Organ"]
    np.testing.assert_array_equal(ct.imageArray, plan.series.ct_hu)


def test_there_and_back_nothing_is_lost(computed: pb.Plan, monkeypatch) -> None:
    plan = copied(computed)
    plan.beamlet_weights = np.linspace(0, 2, plan.dose_influence.layout.n_beamlets)
    ct, rois, photon_plan = plan.to_opentps()
    before = copy.deepcopy(photon_plan)
    again = pb.Plan.from_opentps(photon_plan, ct, list(rois.values()), progress=False)
    np.testing.assert_array_equal(again.beamlet_weights, plan.beamlet_weights)
    for one, other in zip(again.beams, plan.beams, strict=True):
        assert (one.name, one.gantry_angle) == (other.name, other.gantry_angle)
        assert (one.couch_angle, one.collimator_angle) == (other.couch_angle, other.collimator_angle)
        np.testing.assert_allclose(one.isocenter, other.isocenter)
        np.testing.assert_array_equal(one.intensity_map, other.intensity_map)
    assert again.number_of_fractions == plan.number_of_fractions
    assert again.grid == plan.grid
    np.testing.assert_array_equal(again.series.ct_hu, plan.ct_hu)
    np.testing.assert_allclose(again.get_dose(), plan.get_dose())

    third_ct, _, third = again.to_opentps()
    assert third is not photon_plan
    np.testing.assert_array_equal(third_ct.imageArray, ct.imageArray)
    np.testing.assert_array_equal(third.beamletMUs, before.beamletMUs)
    again.beamlet_weights = np.ones(len(before.beamletMUs))
    assert (again.to_opentps().plan.beamletMUs == 1).all()
    np.testing.assert_array_equal(photon_plan.beamletMUs, before.beamletMUs)


def test_what_only_opentps_knows_stays(computed: pb.Plan) -> None:
    photon_plan = copied(computed).to_opentps().plan
    ct, rois, _ = computed.to_opentps()
    photon_plan.treatmentMachineName = "Linac 7"
    photon_plan.beams[1].seriesInstanceUID = "1.2.3"
    photon_plan.beams[2][0].x_jaw_mm = [-40.0, 35.0]
    plan = pb.Plan.from_opentps(photon_plan, ct, [rois["PTV"]], progress=False)
    again = plan.to_opentps().plan
    assert again.treatmentMachineName == "Linac 7"
    assert again.beams[1].seriesInstanceUID == "1.2.3"
    assert again.beams[2][0].x_jaw_mm == [-40.0, 35.0]
    with pytest.raises(ValueError, match="this plan's beams came with it"):
        plan.add_beam(0.0)
