from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest
from small_case import BEAMLET_MM, small_phantom

import opentps_brimstone as pb
from opentps_brimstone._util.run_options import RunOptions
from opentps_brimstone.cli import main
from opentps_brimstone.optimization.robustness import Robustness
from opentps_brimstone.workflow import robustness
from opentps_brimstone.workflow.phantom_case import PhantomSettings, phantom_case
from opentps_brimstone.workflow.robustness import ROBUSTNESS_FILES, judge_robustness

SETTINGS = PhantomSettings(beamlet_mm=BEAMLET_MM, mlc=None)


def test_a_case_is_planned_and_judged_with_and_without_robust_terms(tmp_path):
    folder = tmp_path / "out"
    scenarios = pb.setup_scenarios((6.0, 0.0, 0.0), 3.0)
    result = judge_robustness(phantom_case(small_phantom(), SETTINGS), folder, scenarios, options=RunOptions(threads=1))
    assert sorted(path.name for path in folder.iterdir()) == sorted(ROBUSTNESS_FILES)
    (_, plain), (_, robust) = result.judged
    assert plain.goals[0][0].value != robust.goals[0][0].value
    assert result.passed == robust.all_met
    record = json.loads((folder / "robustness.json").read_text())
    names = ["nominal", "x +6 mm", "x -6 mm", "density +3 %", "density -3 %"]
    assert [each["name"] for each in record["scenarios"]] == names
    worst = record["plans"]["with robust terms (worst case)"][0]
    assert worst["worst"] in worst["values"].values()
    page = (folder / "robustness.html").read_text(encoding="utf-8")
    assert "x +6 mm" in page and "not a medical device" in page and f"{worst['worst']:.2f}" in page
    assert [a for a in re.findall(r'(?:src|href)="([^"]*)"', page) if not a.startswith("data:")] == []


def test_the_command_hands_on_what_it_is_given(tmp_path, monkeypatch, capsys):
    asked = []

    def fake(*arguments):
        asked.append(arguments)
        raise ValueError("enough")

    monkeypatch.setattr(robustness, "judge_robustness", fake)
    common = ["robustness", "--case", "prostate", "--grid", "8", "--quiet", "--out", str(tmp_path / "out")]
    assert main([*common, "--shift", "5", "--density", "2", "--kind", "cvar", "--alpha", "0.2"]) == 2
    case, folder, scenarios, own, _ = asked[0]
    assert case.name == "prostate" and folder == str(tmp_path / "out")
    assert scenarios == pb.setup_scenarios(5.0, 2.0) and own == Robustness("cvar", 0.2)
    for wrong, message in (
        (["--shift", "-1"], "shift_mm is -1.0"),
        (["--shift", "0"], "give --shift or --density"),
        (["--density", "100"], "density_percent is 100.0"),
        (["--kind", "cvar"], "alpha of 'cvar' is None"),
    ):
        capsys.readouterr()
        assert main([*common, *wrong]) == 2
        assert message in capsys.readouterr().err
    assert len(asked) == 1


def test_what_is_wrong_is_said_before_work(tmp_path):
    case = replace(phantom_case(small_phantom(), SETTINGS), prepare=lambda _: pytest.fail("worked"))
    with pytest.raises(ValueError, match="the list of scenarios is empty"):
        judge_robustness(case, tmp_path / "out", [])
    with pytest.raises(ValueError, match="the only scenario is the nominal one"):
        judge_robustness(case, tmp_path / "out", [pb.Scenario()])
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError):
        judge_robustness(case, tmp_path / "file", pb.setup_scenarios(3.0))
