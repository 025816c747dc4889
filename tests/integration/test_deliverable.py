"""From optimized beamlets to a deliverable plan, with the real engine."""

import contextlib
import html
import io
from dataclasses import replace

import numpy as np
import pytest
from recorded_log import recorded_messages
from small_case import OFF_EDGES_MM, small_phantom

from opentps_brimstone.adapters.copies import copy_plan
from opentps_brimstone.adapters.phantom import to_opentps
from opentps_brimstone.adapters.plan import layout_from_opentps, write_beamlet_mu
from opentps_brimstone.adapters.segments import align_beamlets, fluence_of_segments, merged_plan, split_beamlets
from opentps_brimstone.dicom.rt_plan_writer import write_rt_plan
from opentps_brimstone.engine import compute_dose
from opentps_brimstone.engine.calibration import ReferenceField
from opentps_brimstone.engine.errors import DoseCanceledError
from opentps_brimstone.evaluation import DVHGoal, evaluate
from opentps_brimstone.evaluation.goals import FAIL_COLOR, PASS_COLOR
from opentps_brimstone.integration.deliverable import _sequencing, make_deliverable
from opentps_brimstone.integration.photon_plan import optimize_photon_plan, plan_from_opentps
from opentps_brimstone.model.influence import BeamletLayout, DoseInfluence
from opentps_brimstone.optimization.robust_terms import robust_term
from opentps_brimstone.sequencing import MILLENNIUM_120, MLC, ApertureSettings, SequencingSettings, sequence_plan
from opentps_brimstone.sequencing.segment_weights import optimize_segment_weights, segment_influence

BEAMLET_MM = 10.0
# The terms look at the centers of voxels of 10 mm; the ends of the target, between them, get less.
GOALS = (DVHGoal.parse("Tumor D80 >= 18 Gy"), DVHGoal.parse("Organ Dmean <= 12 Gy"))


@pytest.fixture(scope="module")
def phantom():
    """Three fields; the isocenter is where beamlet edges and voxel boundaries meet nowhere."""
    return replace(small_phantom(), gantry_angles=(0.0, 110.0, 240.0), isocenter_mm=OFF_EDGES_MM, goals=GOALS)


@pytest.fixture(scope="module", autouse=True)
def common_cache(tmp_path_factory):
    """Beamlets of this module are computed once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPENTPS_BRIMSTONE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def optimized(phantom, *, aligned):
    """A plan with optimized beamlets: as OpenTPS builds it, or on the leaves with couch and collimator turned."""
    with contextlib.redirect_stdout(io.StringIO()):
        ct, _, plan = to_opentps(phantom, BEAMLET_MM)
        if aligned:
            for beam, couch in zip(plan.beams, (0.0, 350.0, 10.0), strict=True):
                beam.couchAngle_degree = beam.beamSegments[0].couchAngle_degree = couch
            plan = align_beamlets(plan, MILLENNIUM_120, collimator_angle=20.0)
    terms = [(phantom.structure(name), term) for name, term in phantom.objectives]
    optimize_photon_plan(plan, ct, terms, progress=False)
    return ct, plan, terms


@pytest.fixture(scope="module", params=["as OpenTPS builds it", "on the leaves"])
def delivered(request, phantom):
    """Plan, what became of it, and what was said."""
    aligned = request.param == "on the leaves"
    ct, plan, terms = optimized(phantom, aligned=aligned)
    before = np.array(plan.beamletMUs)
    mlc = "millennium-120" if aligned else "matched"
    with recorded_messages() as said:
        deliverable = make_deliverable(plan, ct, terms, mlc=mlc, levels=20, progress=False)
    np.testing.assert_array_equal(plan.beamletMUs, before)
    return ct, plan, deliverable, said


def test_dose_from_the_segments_alone(delivered, phantom):
    _, plan, deliverable, said = delivered
    assert deliverable.passed
    assert deliverable.difference <= 1e-4
    assert deliverable.gamma_pass_percent >= 99.0
    assert evaluate(deliverable.optimized_dose, phantom.structures, phantom.goals).all_met
    assert evaluate(deliverable.dose, phantom.structures, phantom.goals).all_met
    assert deliverable.photon_plan is not plan
    assert deliverable.photon_plan.numberOfBeamlets == 0
    steps = ["sequencing", "calibration", "weights", "recalculation", "OpenTPS's program"]
    assert [text.split(" (")[0] for text in said if " s): " in text] == steps
    assert deliverable.check.mode in {"full", "sample"}
    assert deliverable.check.passed


def test_dose_of_the_plan_that_was_handed_out(delivered):
    """OpenTPS's functions and program agree with the plan that the user gets, with its engine MU."""
    ct, _, deliverable, _ = delivered
    merged = merged_plan(deliverable.photon_plan)
    dose = compute_dose(ct, merged, progress=False).imageArray
    in_body = np.asarray(ct.imageArray) > -900
    atol = 1e-6 * dose.max()
    np.testing.assert_allclose(dose[in_body], deliverable.dose[in_body], rtol=1e-6, atol=atol)
    program = compute_dose(ct, merged, engine="opentps", progress=False).imageArray
    # Voxels of 10 mm are coarse for the program's way of sampling the edges of beamlets.
    assert np.sqrt(np.mean((program - deliverable.dose)[in_body] ** 2)) < 0.03 * dose.max()
    assert program[in_body].sum() == pytest.approx(deliverable.dose[in_body].sum(), rel=2e-2)


def test_segments_mu_and_fluence_belong_together(delivered):
    _, plan, deliverable, _ = delivered
    segments = deliverable.photon_plan.beamSegments
    assert len(segments) == deliverable.n_segments > len(plan.beams)
    assert deliverable.segments_per_beam == pytest.approx(len(segments) / len(plan.beams))
    machine = np.array([segment.mu for segment in deliverable.machine_plan().beamSegments])
    assert machine.sum() == pytest.approx(deliverable.machine_mu)
    assert machine.min() >= 1.0 - 1e-9
    np.testing.assert_allclose(machine / 0.1, np.round(machine / 0.1), atol=1e-6)
    np.testing.assert_allclose(deliverable.calibration.engine_mu(machine), [segment.mu for segment in segments])
    for beam, fluence in zip(deliverable.sequenced_beams, fluence_of_segments(deliverable.photon_plan), strict=True):
        cell = np.prod(fluence.spacing_mm) / np.prod(beam.spacing_mm)
        assert fluence.mu.sum() * cell == pytest.approx(beam.delivered.sum())
    for fact in (deliverable.summary(), str(deliverable.calibration)):
        assert "1 cGy/MU in a 10 x 10 cm field, 10 cm deep in water" in fact


def test_weights_win_back_what_levels_lost(delivered):
    _, _, deliverable, _ = delivered
    assert deliverable.weights.cost_after < deliverable.weights.cost_before


def test_a_plan_file_has_machine_mu(delivered, tmp_path):
    _, _, deliverable, _ = delivered
    dataset = write_rt_plan(
        deliverable.machine_plan(),
        tmp_path / "plan.dcm",
        mlc=deliverable.sequenced_beams[0].mlc,
        calibration=str(deliverable.calibration),
    )
    metersets = [float(beam.BeamMeterset) for beam in dataset.FractionGroupSequence[0].ReferencedBeamSequence]
    assert sum(metersets) == pytest.approx(deliverable.machine_mu)
    assert "1 cGy/MU in a 10 x 10 cm field" in dataset.RTPlanDescription


def test_write_back_and_another_dose_per_mu(delivered, phantom):
    """The plan given gets the segments; with twice the dose per MU, half the MU. Robust terms are as others."""
    ct, plan, usual, _ = delivered
    own = copy_plan(plan, as_new=True)
    terms = [(phantom.structure(name), robust_term(term, group="all")) for name, term in phantom.objectives]
    options = {"minimum_mu": 0.5, "step_mu": 0.05, "reference": ReferenceField(gy_per_mu=0.02), "write_back": True}
    mlc = usual.sequenced_beams[0].mlc
    written = make_deliverable(own, ct, terms, mlc=mlc, levels=20, progress=False, **options)
    assert written.photon_plan is own
    assert len(own.beamSegments) == written.n_segments == usual.n_segments
    assert written.machine_mu == pytest.approx(usual.machine_mu / 2)
    np.testing.assert_allclose(written.dose, usual.dose, rtol=1e-6, atol=1e-6)


def test_bad_input_is_told_before_the_engine_starts(phantom, monkeypatch):
    def refuse(*args, **options):
        raise AssertionError("the dose engine was started")

    with contextlib.redirect_stdout(io.StringIO()):
        ct, _, plan = to_opentps(phantom, BEAMLET_MM)
    terms = [(phantom.structure(name), term) for name, term in phantom.objectives]
    for name in ("beamlet_influence", "photon_dose"):
        monkeypatch.setattr(f"opentps_brimstone.engine.compute.{name}", refuse)
    options = {"progress": False}
    with pytest.raises(
        ValueError,
        match=r"do not sit on the leaves of wide: the row at .* is 5 mm off",
    ):
        make_deliverable(plan, ct, terms, mlc=MLC("wide", tuple(np.arange(-100.0, 101.0, 10.0))), **options)
    with pytest.raises(ValueError, match="there is no MLC 'millenium'; there are millennium-120, "):
        make_deliverable(plan, ct, terms, mlc="millenium", **options)
    with pytest.raises(ValueError, match="2 or more levels, not 1"):
        make_deliverable(plan, ct, terms, mlc="matched", levels=1, **options)
    with pytest.raises(ValueError, match="2 or more levels, not 1"):
        make_deliverable(plan, ct, terms, mlc="matched", sequencing=SequencingSettings(), levels=1, **options)
    with pytest.raises(ValueError, match="there is no sequencing method 'engle'"):
        make_deliverable(plan, ct, terms, mlc="matched", method="engle", **options)
    with pytest.raises(ValueError, match="step_mu is -1; it must be 0 or more"):
        make_deliverable(plan, ct, terms, mlc="matched", step_mu=-1, **options)
    with pytest.raises(ValueError, match="the list of objectives is empty"):
        make_deliverable(plan, ct, [], mlc="matched", **options)
    write_beamlet_mu(plan, np.zeros(plan.numberOfBeamlets))
    with pytest.raises(ValueError, match="no aperture has any MU"):
        make_deliverable(plan, ct, terms, mlc="matched", sequencing=SequencingSettings(levels=3), **options)


def test_ctrl_c_leaves_the_plan_as_it_was(delivered, phantom):
    ct, plan, usual, _ = delivered
    before = np.array(plan.beamletMUs)
    terms = [(phantom.structure(name), term) for name, term in phantom.objectives]

    def press(**_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_deliverable(
            plan,
            ct,
            terms,
            mlc=usual.sequenced_beams[0].mlc,
            levels=20,
            write_back=True,
            callback=press,
            progress=False,
        )
    np.testing.assert_array_equal(plan.beamletMUs, before)


def test_settings_for_sequencing_are_not_overridden_unsaid():
    given = SequencingSettings(levels=30, minimum_area_mm2=50.0)
    assert _sequencing(given, levels=None, method=None) == given
    assert _sequencing(given, levels=12, method="engel") == replace(given, levels=12, method="engel")
    assert _sequencing(None, levels=None, method=None) == SequencingSettings()


def test_beamlets_are_taken_as_they_are(delivered, phantom, monkeypatch):
    """A dose influence matrix needs no detour by OpenTPS's beamlets, and gives the same plan."""
    ct, plan, usual, _ = delivered
    terms = [(phantom.structure(name), term) for name, term in phantom.objectives]
    structures = [phantom.structure(name) for name in dict(phantom.objectives)]
    influence = plan_from_opentps(plan, ct, structures, progress=False).dose_influence
    options = {"mlc": usual.mlc, "levels": 20, "progress": False}
    monkeypatch.setattr("opentps_brimstone.adapters.beamlets.sparse_beamlets_from_dose_influence", pytest.fail)
    made = make_deliverable(plan, ct, terms, beamlets=influence, **options)
    np.testing.assert_array_equal(made.dose, usual.dose)
    np.testing.assert_array_equal(made.optimized_dose, usual.optimized_dose)
    few = DoseInfluence(influence.matrix[:, :2], influence.grid, BeamletLayout(np.zeros((2, 2)), [0, 1], 10.0))
    with pytest.raises(ValueError, match=r"the beamlets given are 2, but the plan has \d+ beamlets"):
        make_deliverable(plan, ct, terms, beamlets=few, **options)


def test_how_it_is_shown(delivered):
    _, _, deliverable, _ = delivered
    assert repr(deliverable) == (
        f"<DeliverablePlan {deliverable.photon_plan.name!r}: {deliverable.n_segments} segments of "
        f"{deliverable.mlc.name}, {deliverable.machine_mu:.1f} MU, passed>"
    )
    page = deliverable._repr_html_()
    for name, value in deliverable.facts().items():
        assert f">{html.escape(name)}</td>" in page and f">{html.escape(value)}</td>" in page
    assert page.count(PASS_COLOR) == 6 and FAIL_COLOR not in page
    gamma = np.where(np.isfinite(deliverable.gamma), 2.0, np.nan)
    failed = replace(deliverable, gamma=gamma)
    assert repr(failed).endswith("FAILED>") and FAIL_COLOR in failed._repr_html_()
    odd = copy_plan(deliverable.photon_plan)
    odd.name = "<script>"
    assert "<script>" not in replace(deliverable, photon_plan=odd)._repr_html_()


# ---------------------------------------------------------------------------------------------- refined by their dose


@pytest.fixture(scope="module")
def refined(delivered, phantom):
    ct, plan, usual, _ = delivered
    terms = [(phantom.structure(name), term) for name, term in phantom.objectives]
    settings = ApertureSettings(levels=8, rounds=3, iterations=30)
    made = make_deliverable(
        plan, ct, terms, mlc=usual.mlc, refine=settings, goals=phantom.goals, verify="sample", progress=False
    )
    return made, usual


def test_refined_segments_give_the_optimized_dose_with_fewer(refined, phantom):
    made, usual = refined
    assert made.difference <= 1e-6
    assert made.check.passed
    assert made.gamma_pass_percent >= 98.0  # beamlets and voxels of 10 mm are coarse for 15 segments
    assert evaluate(made.dose, phantom.structures, phantom.goals).all_met
    assert made.n_segments < usual.n_segments
    machine = np.array([segment.mu for segment in made.machine_plan().beamSegments])
    assert machine.min() >= 1.0 - 1e-9
    np.testing.assert_allclose(machine / 0.1, np.round(machine / 0.1), atol=1e-6)
    cell = BEAMLET_MM / 8
    assert made.photon_plan.beamSegments[0].xBeamletSpacing_mm == cell
    for segment in made.photon_plan.beamSegments:
        tips = segment.Xmlc_mm[segment.Xmlc_mm[:, 3] - segment.Xmlc_mm[:, 2] > 0.1, 2:]
        np.testing.assert_allclose(tips / cell, np.round(tips / cell), atol=1e-6)


def test_a_stopped_refinement_is_an_error_that_leaves_the_plan_as_it_was(delivered, phantom):
    ct, plan, usual, _ = delivered
    before = np.array(plan.beamletMUs)
    terms = [(phantom.structure(name), term) for name, term in phantom.objectives]

    def stop(done, total):
        return total > 20  # that of a dose, not of the rounds

    with pytest.raises(DoseCanceledError, match="stopped"):
        make_deliverable(plan, ct, terms, mlc=usual.mlc, refine=True, write_back=True, progress=stop)
    np.testing.assert_array_equal(plan.beamletMUs, before)


def test_refinement_needs_this_packages_engine(delivered, phantom):
    ct, plan, usual, _ = delivered
    terms = [(phantom.structure(name), term) for name, term in phantom.objectives]
    with pytest.raises(ValueError, match=r"refine computes the dose of whole segments .* not engine='opentps'"):
        make_deliverable(plan, ct, terms, mlc=usual.mlc, refine=True, engine="opentps", progress=False)


def test_without_refinement_segments_are_bitwise_those_of_its_steps(delivered, phantom):
    """Leaves as sequenced, and MU as `optimize_segment_weights` gives them."""
    ct, plan, usual, _ = delivered
    terms = [(phantom.structure(name), term) for name, term in phantom.objectives]
    layout = layout_from_opentps(plan)
    sequenced = sequence_plan(layout, np.array(plan.beamletMUs), usual.mlc, levels=20)
    ratio = usual.planned_calibration.gy_per_engine_mu / usual.calibration.gy_per_engine_mu
    sequenced = [beam.scaled(ratio) for beam in sequenced]
    structures = [structure for structure, _ in terms]
    split = split_beamlets(plan, sequenced, usual.calibration.beamlet_mm)
    cells = plan_from_opentps(split, ct, structures, progress=False).dose_influence
    weights = optimize_segment_weights(
        segment_influence(cells, sequenced),
        terms,
        [aperture.mu for beam in sequenced for aperture in beam.apertures],
        number_of_fractions=phantom.number_of_fractions,
        wanted_dose=usual.optimized_dose,
        minimum_engine_mu=float(usual.calibration.engine_mu(1.0)),
        step_engine_mu=float(usual.calibration.engine_mu(0.1)),
    )
    np.testing.assert_array_equal(weights.mu, usual.weights.mu)
    kept = [
        aperture
        for beam, mu in zip(
            sequenced, np.split(weights.mu, np.cumsum([len(beam.apertures) for beam in sequenced])[:-1]), strict=True
        )
        for aperture, each in zip(beam.apertures, mu, strict=True)
        if each > 0
    ]
    made = [aperture for beam in usual.sequenced_beams for aperture in beam.apertures]
    assert len(kept) == len(made)
    for ours, theirs in zip(kept, made, strict=True):
        np.testing.assert_array_equal(ours.left_mm, theirs.left_mm)
        np.testing.assert_array_equal(ours.right_mm, theirs.right_mm)
