from __future__ import annotations

import logging
import sys
from pathlib import Path

import numpy as np
import pytest
from small_case import BEAMLET_MM, small_phantom

from opentps_brimstone.beamlet_cache import BeamletCache
from opentps_brimstone.demo import DEMO_FILES, LARGEST_DIFFERENCE, run_demo, silent_opentps
from opentps_brimstone.phantoms import PHANTOMS


@pytest.fixture(scope="module")
def cache_folder(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def own_cache(cache_folder, monkeypatch):
    monkeypatch.setenv("OPENTPS_BRIMSTONE_CACHE", str(cache_folder))


@pytest.fixture(scope="module")
def demo(cache_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo") / "made" / "here"
    said: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPENTPS_BRIMSTONE_CACHE", str(cache_folder))
        result = run_demo(small_phantom(), folder, beamlet_mm=BEAMLET_MM, threads=2, say=said.append)
    return result, said


def test_plan_meets_its_goals_and_agrees_with_the_recalculation(demo):
    result, _ = demo
    assert [row.met for row in result.goals] == [True, True], str(result.goals)
    assert result.difference <= LARGEST_DIFFERENCE
    assert result.passed
    summary = result.summary()
    assert str(result.goals) in summary and "Recalculated dose agrees" in summary


def test_folder_holds_the_files_and_nothing_else(demo):
    result, _ = demo
    assert sorted(path.name for path in result.folder.iterdir()) == sorted(DEMO_FILES)
    assert [path.name for path in result.folder.parent.iterdir()] == [result.folder.name]


def test_progress_is_told(demo):
    result, said = demo
    assert said[0].startswith("Small cylinder: 5 fields, ")
    assert f"{len(result.optimization.beamlet_weights)} beamlets" in said[0]
    told = [line.split()[0] for line in said[1:]]
    assert [word for word in told if word != "round"] == ["beamlet", "optimised", "recalculated"]
    assert told.count("round") == len(result.optimization.rounds)
    assert list(result.times_s) == ["preparation", "beamlets", "optimisation", "recalculation"]


def test_the_dose_is_the_engines_and_opentps_reads_it_back(demo):
    result, _ = demo
    with silent_opentps():
        from opentps.core.io.dicomIO import readDicomDose

        image = readDicomDose(str(result.folder / "dose.dcm"))
    grid = result.report.grid
    np.testing.assert_allclose(image.imageArray, result.report.dose, atol=1e-5 * result.report.dose.max())
    np.testing.assert_allclose(np.array(image.origin, float), grid.origin_mm)
    np.testing.assert_allclose(np.array(image.spacing, float), grid.spacing_mm)
    np.testing.assert_allclose(result.report.dose, result.optimization.dose, atol=1e-4 * image.imageArray.max())
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
    assert len(entries) == 5
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "dvh.csv").write_text("old")
    second = run_demo(small_phantom(), tmp_path, beamlet_mm=BEAMLET_MM, threads=1)
    assert {entry.key for entry in BeamletCache().entries} == entries
    np.testing.assert_array_equal(second.optimization.beamlet_weights, first.optimization.beamlet_weights)
    np.testing.assert_array_equal(second.report.dose, first.report.dose)
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert (tmp_path / "dvh.csv").read_text() == (first.folder / "dvh.csv").read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted((*DEMO_FILES, "notes.txt"))


@pytest.mark.parametrize("stage", ["opentps_brimstone.engine.compute_dose", "opentps_brimstone.demo.save_report"])
def test_an_interrupt_leaves_no_file(stage, tmp_path, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(stage, interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_demo(small_phantom(), tmp_path / "out", beamlet_mm=BEAMLET_MM)
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_computed_for_a_folder_that_cannot_be(tmp_path, monkeypatch):
    def computing(*_, **__):
        raise AssertionError("computed before the folder was checked")

    monkeypatch.setattr("opentps_brimstone.demo._run", computing)
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
    ("options", "complaint"),
    [
        ({"case": "nothing"}, "case 'nothing' is unknown; it may be multitarget"),
        ({"grid_mm": 60.0}, "the C-shape needs 22 mm or finer"),
        ({"threads": 0}, "the number of threads is 0"),
        ({"beamlet_mm": -1.0}, "beamlet spacing is -1 mm"),
    ],
)
def test_wrong_options_are_named_before_any_work(options, complaint, tmp_path):
    with pytest.raises(ValueError, match=complaint):
        run_demo(out=tmp_path / "out", **options)
    assert list(tmp_path.iterdir()) == []


def test_the_folder_is_named_after_the_case(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(PHANTOMS, "small", small_phantom)
    folders: list[Path] = []
    monkeypatch.setattr("opentps_brimstone.demo._run", lambda phantom, folder, *_: folders.append(folder))
    run_demo("small", grid_mm=10.0)
    assert folders == [Path("brimstone-small")]


def test_opentps_prints_nothing_and_leaves_logging_alone(capsys):
    root, opentps = logging.getLogger(), logging.getLogger("opentps")
    before = (root.handlers[:], root.level, opentps.level)
    with silent_opentps():
        print("printed by OpenTPS")
        root.addHandler(logging.StreamHandler(sys.stdout))
        root.setLevel(logging.DEBUG)
        logging.getLogger("opentps.core").error("logged by OpenTPS")
    assert (root.handlers, root.level, opentps.level) == before
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""
