from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread
from recorded_log import recorded_messages
from small_case import BEAMLET_MM, OFF_EDGES_MM, small_phantom

from opentps_brimstone._util.run_options import RunOptions
from opentps_brimstone._util.silence import silent_opentps
from opentps_brimstone.engine.beam_model import read_beam_model
from opentps_brimstone.engine.cache import BeamletCache
from opentps_brimstone.engine.reference_field import ReferenceField
from opentps_brimstone.evaluation import evaluate
from opentps_brimstone.goal_planning.settings import GoalPlannerSettings
from opentps_brimstone.integration.deliverable import LARGEST_DIFFERENCE, LEAST_GAMMA_PASS_PERCENT
from opentps_brimstone.optimization.settings import OptimizerSettings
from opentps_brimstone.phantoms import PHANTOMS
from opentps_brimstone.report.apertures import save_apertures
from opentps_brimstone.request.prescription_file import MachineRequest
from opentps_brimstone.sequencing import SequencingSettings
from opentps_brimstone.workflow.case import SEQUENCING_MARGIN, decided_machine, planning_margin
from opentps_brimstone.workflow.files import DEMO_FILES, FLUENCE_FILES
from opentps_brimstone.workflow.phantom_case import PhantomSettings, phantom_case, run_demo

ALIGNED_MM = 10.0  # two leaves of the Millennium
FLUENCE = PhantomSettings(beamlet_mm=BEAMLET_MM, mlc=None)


def _between_edges():
    return replace(small_phantom(), isocenter_mm=OFF_EDGES_MM)


@pytest.fixture(scope="module")
def demo(cache_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo") / "made" / "here"
    with pytest.MonkeyPatch.context() as patch, recorded_messages() as said:
        patch.setenv("OPENTPS_BRIMSTONE_CACHE", str(cache_folder))
        result = run_demo(small_phantom(), folder, FLUENCE, RunOptions(threads=2))
    return result, said


@pytest.fixture(scope="module")
def delivered(cache_folder, tmp_path_factory):
    """A deliverable plan; more pressure spares the organ by fluence that is too steep for such wide beamlets."""
    folder = tmp_path_factory.mktemp("delivered") / "out"
    settings = PhantomSettings(
        beamlet_mm=ALIGNED_MM,
        sequencing=SequencingSettings(levels=20),
        planner=GoalPlannerSettings(margin=SEQUENCING_MARGIN, mean_weight=0.1),
    )
    with pytest.MonkeyPatch.context() as patch, recorded_messages() as said:
        patch.setenv("OPENTPS_BRIMSTONE_CACHE", str(cache_folder))
        result = run_demo(_between_edges(), folder, settings, RunOptions(threads=2))
    return result, said


def test_plan_meets_its_goals_and_agrees_with_the_recalculation(demo):
    result, _ = demo
    assert [row.met for row in result.goals] == [True, True], str(result.goals)
    assert result.difference <= LARGEST_DIFFERENCE
    assert result.passed
    summary = result.summary()
    assert str(result.goals) in summary and "recalculated dose agrees with that of the fluence" in summary


def test_folder_holds_the_files_and_nothing_else(demo):
    result, _ = demo
    assert sorted(path.name for path in result.folder.iterdir()) == sorted(FLUENCE_FILES)
    assert [path.name for path in result.folder.parent.iterdir()] == [result.folder.name]


def test_progress_is_told(demo):
    result, said = demo
    assert said[0].startswith("Small cylinder: 5 fields, ")
    assert f"{len(result.optimization.beamlet_weights)} beamlets" in said[0]
    told = [line.split()[0] for line in said[1:]]
    assert [word for word in told if word != "round"] == ["doses", "optimized", "OpenTPS's"]
    assert told.count("round") == len(result.optimization.rounds)
    assert list(result.times_s) == ["beamlets", "optimization", "recalculation"]


def test_the_dose_is_the_engines_and_opentps_reads_it_back(demo):
    result, _ = demo
    with silent_opentps():
        from opentps.core.io.dicomIO import readDicomDose

        image = readDicomDose(str(result.folder / "rtdose.dcm"))
    grid = result.grid
    np.testing.assert_allclose(image.imageArray, result.dose, atol=1e-5 * result.dose.max())
    np.testing.assert_allclose(np.array(image.origin, float), grid.origin_mm)
    np.testing.assert_allclose(np.array(image.spacing, float), grid.spacing_mm)
    np.testing.assert_allclose(result.dose, result.optimization.dose, atol=1e-4 * image.imageArray.max())
    assert str(image.referencePlan) == result.photon_plan.SOPInstanceUID


def test_the_saved_plan_is_the_one_that_was_planned(demo):
    result, _ = demo
    with silent_opentps():
        from opentps.core.io.serializedObjectIO import loadRTPlan

        plan = loadRTPlan(str(result.folder / "plan.tps"), "Photon")
    np.testing.assert_array_equal(plan.beamletMUs, result.optimization.beamlet_weights)
    assert plan.numberOfFractionsPlanned == 5
    assert [beam.name for beam in plan.beams] == ["G000", "G072", "G144", "G216", "G288"]


def test_a_second_run_is_the_same_and_leaves_other_files_alone(demo, tmp_path):
    first, _ = demo
    entries = {entry.key for entry in BeamletCache().entries}
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "dvh.csv").write_text("old")
    (tmp_path / "rtplan.dcm").write_text("of another plan")
    second = run_demo(small_phantom(), tmp_path, FLUENCE, RunOptions(threads=1))
    assert {entry.key for entry in BeamletCache().entries} == entries
    np.testing.assert_array_equal(second.optimization.beamlet_weights, first.optimization.beamlet_weights)
    np.testing.assert_array_equal(second.dose, first.dose)
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert (tmp_path / "dvh.csv").read_text() == (first.folder / "dvh.csv").read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted((*FLUENCE_FILES, "notes.txt"))


def test_the_deliverable_plan_passes(delivered):
    result, said = delivered
    made, phantom = result.deliverable, small_phantom()
    assert made.difference == result.difference <= LARGEST_DIFFERENCE
    assert made.gamma_pass_percent >= LEAST_GAMMA_PASS_PERCENT
    assert result.goals.records() == evaluate(made.dose, phantom.structures, phantom.goals).records()
    assert result.goals.all_met, str(result.goals)
    assert result.passed
    assert said[0].startswith("Small cylinder: 5 fields, ")
    told = [line.split()[0] for line in said[1:] if not line.startswith("round")]
    assert told == ["doses", "optimized", "sequencing", "calibration", "weights", "recalculation", "OpenTPS's"]
    assert list(result.times_s) == ["beamlets", "optimization", "segments"]
    assert result.facts["densities"] == "from HU by the table UCL_Toshiba (MCsquare, OpenTPS 2.0)"


def test_the_summary_of_a_deliverable_plan(delivered):
    result, _ = delivered
    made, summary = result.deliverable, result.summary()
    mu = sum(beam.mu for beam in result.machine_beams.values())
    assert f"{made.n_segments} segments of Varian Millennium 120 in 5 beams" in summary
    assert f"{mu:.1f} MU per fraction" in summary
    assert f"gamma 2 %/2 mm {made.gamma_pass_percent:.2f} % pass" in summary
    rows = zip(result.goals, result.fluence_goals, strict=True)
    told = [(str(now.goal).split(), f"{now.value:.2f}", f"{before.value:.2f}") for now, before in rows]
    goal, *values = next(row for row in told if row[1] != row[2])
    (line,) = (line for line in summary.splitlines() if line.split()[:5] == goal)
    assert line.split()[5:] == [values[0], "Gy", values[1], "Gy", "yes"]
    text = (result.folder / "goals.txt").read_text(encoding="utf-8")
    assert line in text and f"segments: {made.n_segments} in 5 beams" in text and "gamma 2 %/2 mm: " in text


def test_the_verdict_needs_goals_and_agreement(delivered):
    result, _ = delivered
    gamma = result.deliverable.gamma.copy()
    gamma[np.isfinite(gamma)] = 2.0
    other = replace(result, deliverable=replace(result.deliverable, gamma=gamma))
    assert not other.passed and "DOES NOT AGREE" in other.summary()
    missed = evaluate(result.dose, small_phantom().structures, ["Tumor D90 >= 30 Gy"])
    assert not replace(result, goals=missed).passed


def test_plan_and_dose_are_dicom_files_that_belong_together(delivered):
    import pydicom

    from opentps_brimstone.dicom import read_rt_plan

    result, _ = delivered
    made, folder = result.deliverable, result.folder
    assert sorted(path.name for path in folder.iterdir()) == sorted(DEMO_FILES)
    plan, dose = (pydicom.dcmread(folder / name) for name in ("rtplan.dcm", "rtdose.dcm"))
    assert dose.ReferencedRTPlanSequence[0].ReferencedSOPInstanceUID == plan.SOPInstanceUID
    assert (plan.PatientID, plan.FrameOfReferenceUID) == (dose.PatientID, dose.FrameOfReferenceUID)
    metersets = [float(beam.BeamMeterset) for beam in plan.FractionGroupSequence[0].ReferencedBeamSequence]
    assert sum(metersets) == pytest.approx(made.machine_mu)
    assert [float(each.TargetPrescriptionDose) for each in plan.DoseReferenceSequence] == [20.0]
    values = dose.pixel_array.transpose(2, 1, 0) * float(dose.DoseGridScaling)
    np.testing.assert_allclose(values, made.dose, atol=1e-5 * made.dose.max())
    read = read_rt_plan(folder / "rtplan.dcm")
    assert sum(segment.mu for segment in read.beamSegments) == pytest.approx(made.machine_mu)
    assert len(read.beamSegments) == made.n_segments
    assert read.numberOfFractionsPlanned == 5


def test_the_saved_segments_give_the_dose(delivered):
    result, _ = delivered
    with silent_opentps():
        from opentps.core.io.serializedObjectIO import loadRTPlan

        from opentps_brimstone.adapters.phantom import to_opentps
        from opentps_brimstone.adapters.segments import merged_plan
        from opentps_brimstone.engine.compute import compute_dose

        plan = loadRTPlan(str(result.folder / "plan.tps"), "Photon")
        ct = to_opentps(_between_edges(), ALIGNED_MM).ct
        dose = compute_dose(ct, merged_plan(plan), progress=False).imageArray
    in_body = np.asarray(ct.imageArray) > -890  # what reaches the air in structures at its surface is computed too
    np.testing.assert_allclose(dose[in_body], result.dose[in_body], atol=1e-6 * dose.max())


def test_report_and_pictures_show_what_is_delivered(delivered, tmp_path):
    result, _ = delivered
    beams = list(result.machine_beams.values())
    assert sum(beam.mu for beam in beams) == pytest.approx(result.deliverable.machine_mu)
    fluence = result.machine_fluence
    for beam in beams:
        mine = fluence[result.layout.beam_index == beam.beam_index]
        assert mine.sum() == pytest.approx(beam.delivered.sum())
    whole = imread(result.folder / "apertures.png")
    save_apertures(beams[:1], result.beam_names, tmp_path / "one.png")
    one = imread(tmp_path / "one.png")
    np.testing.assert_array_equal(whole[: len(one)], one)
    assert len(whole) == len(beams) * len(one)
    assert all(strip[..., :3].std() > 0.1 for strip in np.split(whole, len(beams)))


@pytest.mark.parametrize(
    "stage",
    [
        "opentps_brimstone.goal_planning.planner.GoalPlanner.optimize",
        "opentps_brimstone.engine.compute.photon_dose",
        "opentps_brimstone.dicom.write_rt_dose",
    ],
)
def test_an_interrupt_leaves_no_file(stage, tmp_path, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(stage, interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_demo(small_phantom(), tmp_path / "out", PhantomSettings(beamlet_mm=ALIGNED_MM))
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_computed_for_a_folder_that_cannot_be(tmp_path, monkeypatch):
    def computing(*_, **__):
        raise AssertionError("computed before the folder was checked")

    monkeypatch.setattr("opentps_brimstone.workflow.phantom_case.plan_case", computing)
    file = tmp_path / "file"
    file.write_text("mine")
    with pytest.raises(NotADirectoryError, match="is a file; give another one"):
        run_demo(small_phantom(), file)
    with pytest.raises(NotADirectoryError, match="cannot be made"):
        run_demo(small_phantom(), file / "below")
    (tmp_path / "report.png").mkdir()
    with pytest.raises(IsADirectoryError, match=r"report\.png is a folder"):
        run_demo(small_phantom(), tmp_path)

    def forbidden(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.mkdtemp", forbidden)
    with pytest.raises(PermissionError, match=f"cannot be written in {tmp_path}: Permission denied"):
        run_demo(small_phantom(), tmp_path / "out")


@pytest.mark.parametrize(
    ("case", "settings", "complaint"),
    [
        ("nothing", {}, "case 'nothing' is unknown; it may be multitarget"),
        ("c-shape", {"grid_mm": 60.0}, "TG-119 C-shape needs 22 mm or finer"),
        ("c-shape", {"beamlet_mm": -1.0}, "beamlet spacing is -1 mm"),
        ("c-shape", {"mlc": "millenium"}, "there is no MLC 'millenium'; there are millennium-120, hd-120, agility"),
        (
            "c-shape",
            {"beamlet_mm": 7.0, "grid_mm": 12.0},
            "no rows of 7 mm lie on the leaves of Varian Millennium 120",
        ),
    ],
)
def test_wrong_options_are_named_before_any_work(case, settings, complaint, tmp_path, no_engine):
    with pytest.raises(ValueError, match=complaint):
        run_demo(case, tmp_path / "out", PhantomSettings(**settings))
    assert list(tmp_path.iterdir()) == []


def test_margin_and_levels_are_decided_at_one_place():
    delivered, fluence = (
        phantom_case(small_phantom(), PhantomSettings(beamlet_mm=ALIGNED_MM)),
        phantom_case(small_phantom(), FLUENCE),
    )
    assert delivered.planner == GoalPlannerSettings(margin=planning_margin(segments=True))
    assert fluence.planner == GoalPlannerSettings(margin=planning_margin(segments=False)) == GoalPlannerSettings()
    assert delivered.machine.sequencing == SequencingSettings()
    assert delivered.optimizer == OptimizerSettings()
    own = replace(FLUENCE, planner=GoalPlannerSettings(margin=0.02))
    assert phantom_case(small_phantom(), own).planner.margin == 0.02


def test_the_folder_is_named_after_the_case(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(PHANTOMS, "small", small_phantom)
    folders: list[Path] = []
    monkeypatch.setattr("opentps_brimstone.workflow.phantom_case.plan_case", lambda *_: None)
    monkeypatch.setattr("opentps_brimstone.workflow.phantom_case.write_case", lambda _, folder: folders.append(folder))
    run_demo("small", settings=PhantomSettings(beamlet_mm=10.0, grid_mm=10.0))
    assert folders == [Path("brimstone-small")]


def test_fluence_is_planned_with_full_scatter(tmp_path):
    settings = replace(FLUENCE, scatter="full", verify="none", planner=GoalPlannerSettings(rounds=2))
    result = run_demo(small_phantom(), tmp_path / "out", settings, RunOptions(threads=2))
    assert result.difference <= LARGEST_DIFFERENCE
    np.testing.assert_allclose(result.dose, result.optimization.dose, rtol=1e-4, atol=1e-4)
    assert result.optimization.last_update_gy is not None
    assert any("scatter through the whole patient" in note for note in result.notes)


def test_reach_of_scatter_and_refinement_go_together():
    full = decided_machine(MachineRequest(scatter="full"), "native", segments=True)
    assert (full.scatter, full.refine) == ("full", True)
    model = decided_machine(MachineRequest(beam_model="Kernels_6MV"), "native", segments=True)
    assert (model.scatter, model.refine, model.reference) == ("full", True, read_beam_model("Kernels_6MV").output)
    alone = decided_machine(MachineRequest(scatter="full"), "native", segments=False)
    assert (alone.scatter, alone.refine) == ("full", False)
    assert decided_machine(MachineRequest(), "opentps", segments=True).scatter == "opentps"


@pytest.mark.parametrize(
    ("machine", "engine", "complaint"),
    [
        ({"scatter": "full", "refine": False}, "native", "ask for refinement, too, or for scatter='opentps'"),
        ({"scatter": "full"}, "opentps", "needs engine='native'"),
        ({"scatter": "opentps", "beam_model": "Kernels_6MV"}, "native", r"beam_model=\.\.\. needs"),
        ({"beam_model": "linac"}, "native", "there is no beam model 'linac'"),
        (
            {"beam_model": "Kernels_6MV", "reference": ReferenceField(gy_per_mu=0.02)},
            "native",
            "'Kernels_6MV' says itself what a MU is, 1 cGy/MU .*; not 2 cGy/MU",
        ),
    ],
)
def test_what_does_not_go_together_is_told_before_work(machine, engine, complaint):
    with pytest.raises(ValueError, match=complaint):
        decided_machine(MachineRequest(**machine), engine, segments=True)
