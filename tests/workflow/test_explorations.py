from __future__ import annotations

import json
import re
from functools import partial

import numpy as np
import pytest
from small_case import BEAMLET_MM, small_phantom

from opentps_brimstone._util.run_options import RunOptions
from opentps_brimstone.cli import main
from opentps_brimstone.dicom.series_writer import write_dicom_folder
from opentps_brimstone.request.reader import parse_prescription
from opentps_brimstone.workflow import explorations
from opentps_brimstone.workflow.explorations import ANGLES_FILES, EXPLORE_FILES, choose_angles, explore_case
from opentps_brimstone.workflow.patient_case import case_with_angles
from opentps_brimstone.workflow.phantom_case import PhantomSettings, phantom_case

SETTINGS = PhantomSettings(beamlet_mm=BEAMLET_MM, mlc=None)
PRESCRIPTION = """
plan.fractions = 5
plan.dose_grid_mm = 10.0
beamlets.spacing_mm = 12.0
beams = [{gantry_angle = 0}, {gantry_angle = 120}, {gantry_angle = 240}]
targets = [{structure = "Tumor", dose_gy = 20}]
prescription.goals = ["Tumor D90 >= 18 Gy", "Organ Dmean <= 12 Gy"]
"""


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENTPS_BRIMSTONE_CACHE", str(tmp_path / "cache"))


def small(angles=None):
    from dataclasses import replace

    phantom = small_phantom()
    return phantom_case(phantom if angles is None else replace(phantom, gantry_angles=tuple(angles)), SETTINGS)


def outside_references(page):
    return [address for address in re.findall(r'(?:src|href)="([^"]*)"', page) if not address.startswith("data:")]


def test_a_trade_off_is_written(tmp_path):
    folder = tmp_path / "out"
    result = explore_case(small(), folder, 5, workers=1, options=RunOptions(threads=1))
    assert sorted(path.name for path in folder.iterdir()) == sorted(EXPLORE_FILES)
    record = json.loads((folder / "tradeoff.json").read_text())
    assert record["criteria"] == ["Tumor D90 (Gy)", "Organ Dmean (Gy)"]
    assert len(record["values"]) + len(record["dominated"]) == 5
    with np.load(folder / "tradeoff.npz") as weights:
        shares = np.array(record["mixed"]["shares"])
        assert weights["mixed"] == pytest.approx(shares @ weights["beamlet_weights"])
    page = (folder / "tradeoff.html").read_text(encoding="utf-8")
    assert "Small cylinder" in page and "not a medical device" in page and outside_references(page) == []
    assert result.passed == result.goals.all_met and "Tumor D90" in result.summary()


def test_directions_are_chosen_for_a_patient(tmp_path):
    patient = tmp_path / "patient"
    write_dicom_folder(small_phantom(), patient)
    make = case_with_angles(patient, parse_prescription(PRESCRIPTION, "presc.toml"), options=RunOptions(threads=1))
    folder = tmp_path / "out"
    result = choose_angles(make, folder, 2, 4, workers=1, options=RunOptions(threads=1))
    assert sorted(path.name for path in folder.iterdir()) == sorted(ANGLES_FILES)
    record = json.loads((folder / "angles.json").read_text())
    assert record["candidates"] == [0.0, 90.0, 180.0, 270.0] and len(record["gantry_angles"]) == 2
    assert [plan.dose_influence.layout.n_beams for plan in [result.selection.plan]] == [4]
    page = (folder / "angles.html").read_text(encoding="utf-8")
    chosen = ", ".join(f"{angle:g}°" for angle in record["gantry_angles"])
    assert chosen in page and "own directions" in page and outside_references(page) == []
    assert len(result.judged) == 2 and result.judged[0][1][0].goal.structure == "Tumor"


def test_what_is_wrong_is_said_before_work(tmp_path):
    with pytest.raises(ValueError, match="5 of 4 directions cannot be chosen"):
        choose_angles(small, tmp_path / "out", 5, 4)
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError):
        explore_case(small(), tmp_path / "file", 5)


def test_commands_hand_on_what_they_are_given(tmp_path, monkeypatch, capsys):
    asked = {}

    def fake(name, *arguments, **options):
        asked[name] = arguments, options
        raise ValueError("enough")

    for name in ("explore_case", "choose_angles"):
        monkeypatch.setattr(explorations, name, partial(fake, name))
    out = str(tmp_path / "out")
    common = ["--case", "prostate", "--grid", "8", "--workers", "2", "--quiet", "--out", out]
    assert main(["explore", *common, "--plans", "7", "--criterion", "PTV D95", "--criterion", "Rectum D10"]) == 2
    (case, folder), options = asked["explore_case"]
    assert case.name == "prostate" and folder == out
    assert options["plans"] == 7 and options["criteria"] == ["PTV D95", "Rectum D10"] and options["workers"] == 2
    assert main(["angles", *common, "--beams", "3", "--candidates", "9"]) == 2
    (make, folder), options = asked["choose_angles"]
    assert len(make([0.0, 10.0]).structures) == 4 and (options["beams"], options["candidates"]) == (3, 9)
    capsys.readouterr()
    assert main(["angles", "folder"]) == 2
    assert "needs --prescription" in capsys.readouterr().err
