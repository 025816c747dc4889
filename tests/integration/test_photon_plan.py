import copy

import numpy as np
import pytest
from opentps_objects import (
    add_beam,
    add_objective,
    add_segment,
    center,
    make_ct,
    make_objective,
    make_roi,
    mixed_plan,
    pencil_beams,
    section_six_plan,
    with_design,
)

from opentps_brimstone._util.run_options import RunOptions
from opentps_brimstone.adapters.beamlets import dose_influence_from_sparse_beamlets
from opentps_brimstone.adapters.density_table import DEFAULT_DENSITY_TABLE
from opentps_brimstone.adapters.doubts import OpenTPSWarning
from opentps_brimstone.adapters.plan import voxel_grid
from opentps_brimstone.engine import compute_beamlets, compute_dose
from opentps_brimstone.integration.photon_plan import optimize_photon_plan, plan_from_opentps
from opentps_brimstone.model.plan import Plan
from opentps_brimstone.model.structure import Structure
from opentps_brimstone.optimization.terms import KLDivergenceTerm, MaximumDoseTerm


@pytest.fixture(scope="module")
def organ(ct):
    return make_roi(ct, (2, 8, 5), (5, 11, 9), "organ")


@pytest.fixture
def plan(ct):
    return mixed_plan(center(ct))


def asked(target, organ):
    return [
        (target, KLDivergenceTerm(dose_range=(19, 21))),
        (target, MaximumDoseTerm(21)),
        (organ, KLDivergenceTerm(dvh=[(0, 1), (4, 0.3), (15, 0)], weight=0.1)),
    ]


# ------------------------------------------------------------------------------------------------- whole chain, real


def test_plan_of_section_six_goes_through_the_whole_chain(tmp_path):
    """36 beamlets made of an MLC, real engine twice, no planDesign."""
    ct = make_ct(shape=(16, 16, 16), spacing=(4.0, 4.0, 4.0))
    plan = section_six_plan(center(ct))
    target = make_roi(ct, (6, 6, 6), (10, 10, 10), "PTV")
    hu = ct.imageArray.copy()
    planned, result = optimize_photon_plan(
        plan, ct, [(target, KLDivergenceTerm(dose_range=(1.9, 2.1)))], progress=False, cache=False, return_result=True
    )
    assert planned is plan
    assert plan.numberOfBeamlets == 36
    np.testing.assert_array_equal(plan.beamletMUs, result.beamlet_weights)
    np.testing.assert_array_equal(ct.imageArray, hu)
    recalculated = compute_dose(ct, plan, progress=False).imageArray
    assert np.abs(recalculated - result.dose).max() <= 1e-4 * recalculated.max()
    assert recalculated[target.imageArray].mean() == pytest.approx(2.0, rel=0.05)


def test_couch_collimator_and_several_segments_recalculated():
    """Real engine, several fractions: what was optimized is what is recalculated."""
    ct = make_ct(shape=(14, 16, 12), spacing=(5.0, 4.0, 5.0))
    plan = mixed_plan(center(ct), couch=20.0, collimator=35.0)
    plan.numberOfFractionsPlanned = 5
    target = make_roi(ct, (5, 6, 4), (9, 10, 8), "PTV")
    angles = [(s.gantryAngle_degree, s.couchAngle_degree, s.beamLimitingDeviceAngle_degree) for s in plan.beamSegments]
    _, result = optimize_photon_plan(
        plan, ct, [(target, KLDivergenceTerm(dose_range=(9, 11)))], progress=False, cache=False, return_result=True
    )
    assert [len(segment) for segment in plan.beamSegments] == [36, 4, 1, 7]
    assert angles == [
        (s.gantryAngle_degree, s.couchAngle_degree, s.beamLimitingDeviceAngle_degree) for s in plan.beamSegments
    ]
    recalculated = compute_dose(ct, plan, progress=False).imageArray
    assert np.abs(recalculated - result.dose).max() <= 1e-4 * recalculated.max()
    assert recalculated[target.imageArray].mean() == pytest.approx(10, rel=0.05)


# -------------------------------------------------------------------------------------------------- given beamlets


def test_mu_give_the_dose_of_the_result(plan, ct, target, organ, beamlets, no_engine):
    returned = optimize_photon_plan(plan, ct, asked(target, organ), beamlets=beamlets, progress=False)
    assert returned is plan
    dose = dose_influence_from_sparse_beamlets(beamlets, plan).dose(plan.beamletMUs)
    assert dose[target.imageArray].mean() == pytest.approx(20, rel=0.05)
    assert dose[organ.imageArray].mean() < 10


def test_fractions_share_the_dose(ct, target, organ, no_engine):
    mu = []
    for fractions in (1, 10):
        plan = mixed_plan(center(ct))
        plan.numberOfFractionsPlanned = fractions
        beamlets = pencil_beams(plan, ct)
        _, result = optimize_photon_plan(
            plan, ct, asked(target, organ), beamlets=beamlets, progress=False, return_result=True
        )
        assert result.dose[target.imageArray].mean() == pytest.approx(20, rel=0.05)
        mu.append(plan.beamletMUs)
    np.testing.assert_allclose(mu[0], 10 * mu[1], rtol=1e-6, atol=1e-9)


def test_objectives_of_the_plan_design(plan, ct, target, organ, beamlets, no_engine):
    with_design(plan, ct, target, 20.0)
    plan.planDesign.beamlets = beamlets
    add_objective(plan.planDesign.objectives, target, "DMin", 19.5, 5.0)
    add_objective(plan.planDesign.objectives, target, "DMax", 20.5, 5.0)
    add_objective(plan.planDesign.objectives, organ, "DMean", 4.0, 1.0)
    matrix = beamlets.toSparseMatrix()
    before = matrix.data.copy()
    _, result = optimize_photon_plan(plan, ct, progress=False, return_result=True)
    assert result.dose[target.imageArray].mean() == pytest.approx(20, rel=0.03)
    assert plan.planDesign.beamlets is beamlets
    assert beamlets.toSparseMatrix() is matrix
    np.testing.assert_array_equal(matrix.data, before)


def test_list_of_objectives_of_opentps(plan, ct, target, beamlets, no_engine):
    listed = [make_objective(target, "DUniform", 20.0)]
    _, result = optimize_photon_plan(plan, ct, listed, beamlets=beamlets, progress=False, return_result=True)
    assert result.dose[target.imageArray].mean() == pytest.approx(20, rel=0.03)


def test_objectives_can_be_used_again(plan, ct, target, organ, beamlets, no_engine):
    objectives = asked(target, organ)
    optimize_photon_plan(plan, ct, objectives, beamlets=beamlets, progress=False)
    first = plan.beamletMUs
    optimize_photon_plan(plan, ct, objectives, beamlets=beamlets, progress=False)
    np.testing.assert_array_equal(plan.beamletMUs, first)


def test_structures_instead_of_rois(plan, ct, target, beamlets, no_engine):
    structure = Structure("PTV", target.imageArray.astype(float) * 0.5, is_target=True)
    optimize_photon_plan(
        plan, ct, [(structure, KLDivergenceTerm(dose_range=(19, 21)))], beamlets=beamlets, progress=False
    )
    assert plan.beamletMUs.max() > 0


def test_start_from_given_weights_and_watch(plan, ct, target, organ, beamlets, no_engine):
    seen = []

    def stop_at_once(**state):
        seen.append(state["iteration"])
        return False

    start = np.full(48, 7.0)
    optimize_photon_plan(
        plan, ct, asked(target, organ), beamlets=beamlets, initial_weights=start, callback=stop_at_once, progress=False
    )
    assert seen == [1]


def test_spacing_that_opentps_exchanged(plan, ct, target, organ, beamlets, no_engine):
    beamlets.doseSpacing = np.array(ct.spacing)[[1, 0, 2]]
    made = plan_from_opentps(plan, ct, [target, organ], beamlets=beamlets)
    assert made.dose_influence.grid.spacing_mm == (5.0, 4.0, 5.0)


def test_beamlets_of_the_design_that_do_not_fit_are_not_used(plan, ct, target, beamlets, monkeypatch):
    asked_of_engine = []

    def engine(ct, plan, options, wanted):
        asked_of_engine.append(options.run)
        return dose_influence_from_sparse_beamlets(beamlets, plan, voxel_grid(ct))

    monkeypatch.setattr("opentps_brimstone.engine.compute.beamlet_influence", engine)
    with_design(plan, ct, target)
    other = copy.deepcopy(beamlets)
    other.doseOrigin = np.array(ct.origin) + 1
    plan.planDesign.beamlets = other
    plan_from_opentps(plan, ct, [target], processes=1, cache=False)
    assert asked_of_engine == [RunOptions(threads=1, cache=False, progress=True)]


def test_what_looks_wrong_is_warned_of(ct, target, organ, no_engine):
    """Beamlets computed by OpenTPS, which left densities in the CT."""
    converted = copy.deepcopy(ct)
    converted.imageArray = DEFAULT_DENSITY_TABLE.mass_density(ct.imageArray)
    plan = mixed_plan(center(ct))
    with pytest.warns(OpenTPSWarning, match="the CT 'CT' holds densities and not HU"):
        optimize_photon_plan(
            plan, converted, asked(target, organ), beamlets=pencil_beams(plan, ct), progress=False, max_iterations=1
        )
    with pytest.warns(OpenTPSWarning, match="the CT 'CT' holds densities and not HU"):
        plan_from_opentps(plan, converted, [target], beamlets=pencil_beams(plan, ct))


# ------------------------------------------------------------------------------------------------- plan_from_opentps


def test_plan_from_opentps(plan, ct, target, organ, beamlets, no_engine):
    with_design(plan, ct, target, 20.0)
    plan.numberOfFractionsPlanned = 3
    made = Plan.from_opentps(plan, ct, [target, organ], beamlets=beamlets)
    assert made.structures.keys() == ["PTV", "organ"]
    assert [s.is_target for s in made.structures.values()] == [True, False]
    assert made.number_of_fractions == 3
    assert made.dose_influence.layout.n_beams == 4


# ------------------------------------------------------------------------------------------------------- bad input


def test_plan_is_unchanged_after_an_error(plan, ct, target, organ, beamlets):
    before = plan.beamletMUs
    with pytest.raises(KeyboardInterrupt):
        optimize_photon_plan(plan, ct, asked(target, organ), beamlets=beamlets, callback=_interrupt, progress=False)
    np.testing.assert_array_equal(plan.beamletMUs, before)


def _interrupt(**state):
    raise KeyboardInterrupt


def test_isocenters_of_their_own(plan, ct, target, organ):
    """Beamlets that OpenTPS may have computed at one isocenter are refused; ours are at those of their beams."""
    add_segment(add_beam(plan, np.add(center(ct), (5.0, 0.0, 0.0)), name="astray"), [(0, 0)])
    ours = compute_beamlets(ct, plan, cache=False, progress=False)
    theirs = copy.copy(ours)
    del theirs.isocenters
    with pytest.raises(ValueError, match=r"beamlets given may all be of one isocenter.*'astray' has its isocenter at"):
        optimize_photon_plan(plan, ct, asked(target, organ), beamlets=theirs, progress=False)
    optimize_photon_plan(plan, ct, asked(target, organ), beamlets=ours, progress=False)


def test_no_target(plan, ct, organ, no_engine):
    with pytest.raises(ValueError, match=r"no objective is on a target \(structures: 'organ'\)"):
        optimize_photon_plan(plan, ct, [(organ, KLDivergenceTerm(dose_range=(0, 5)))])


def test_plan_without_objectives(plan, ct, no_engine):
    with pytest.raises(ValueError, match="the plan 'mixed' has no planDesign"):
        optimize_photon_plan(plan, ct)
    with pytest.raises(ValueError, match="the list of objectives is empty"):
        optimize_photon_plan(plan, ct, [])


def test_something_else_as_objective(plan, ct, target, no_engine):
    with pytest.raises(TypeError, match=r"objective 0 must be a pair \(ROI or Structure, ObjectiveTerm\)"):
        optimize_photon_plan(plan, ct, [(target, 50.0)])


def test_an_option_that_the_engine_does_not_have(plan, ct, target, organ, no_engine):
    with pytest.raises(TypeError, match="'kernel' is not an option of the dose engine; see compute_beamlets"):
        optimize_photon_plan(plan, ct, asked(target, organ), kernel="Kernels_6MV")


def test_structure_of_another_grid(plan, ct, no_engine):
    structure = Structure("PTV", np.ones((4, 4, 4)), is_target=True)
    with pytest.raises(ValueError, match=r"structure 'PTV' has the shape \(4, 4, 4\), but the dose grid has"):
        optimize_photon_plan(plan, ct, [(structure, KLDivergenceTerm(dose_range=(19, 21)))])


def test_two_structures_of_one_name(plan, ct, target, organ, no_engine):
    namesake = make_roi(ct, (2, 2, 2), (4, 4, 4), "PTV")
    with pytest.raises(ValueError, match="two structures are called 'PTV'"):
        optimize_photon_plan(plan, ct, [*asked(target, organ), (namesake, MaximumDoseTerm(10))])


@pytest.mark.parametrize("weights", [np.ones(47), -np.ones(48), np.full(48, np.nan)])
def test_impossible_initial_weights(plan, ct, target, organ, weights, no_engine):
    with pytest.raises(ValueError, match=r"initial_weights must be (one number for each of the 48|finite)"):
        optimize_photon_plan(plan, ct, asked(target, organ), initial_weights=weights)


def test_given_beamlets_that_do_not_fit(plan, ct, target, organ, beamlets, no_engine):
    def attempt():
        optimize_photon_plan(plan, ct, asked(target, organ), beamlets=beamlets)

    beamlets.doseOrigin = np.array(ct.origin) + 5
    with pytest.raises(ValueError, match="the beamlets given have their origin at"):
        attempt()
    beamlets.doseSpacing = np.array([5.0, 5.0, 5.0])
    with pytest.raises(ValueError, match="the beamlets given have voxels of"):
        attempt()
    beamlets.doseGridSize = np.array([16, 18, 15])
    with pytest.raises(ValueError, match="the beamlets given are on a grid of"):
        attempt()
    beamlets.setUnitaryBeamlets(beamlets.toSparseMatrix()[:, :40])
    with pytest.raises(ValueError, match="the beamlets given are 40, but the plan has 48"):
        attempt()
