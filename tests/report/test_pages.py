from __future__ import annotations

import csv
import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.image import imread
from matplotlib.table import Table
from matplotlib.text import Text

from opentps_brimstone import BeamletLayout
from opentps_brimstone.engine.monitor_units import Calibration
from opentps_brimstone.evaluation import evaluate, format_table
from opentps_brimstone.integration.deliverable import DeliverablePlan
from opentps_brimstone.model.dose import DoseArray
from opentps_brimstone.model.previous_course import PreviousCourse
from opentps_brimstone.optimization.result import OptimizationResult
from opentps_brimstone.phantoms import c_shape
from opentps_brimstone.report.figure import report_figure
from opentps_brimstone.report.files import REPORT_FILES, save_dvhs, save_report
from opentps_brimstone.report.plan_report import PlanReport
from opentps_brimstone.sequencing import MLC, sequence_plan
from opentps_brimstone.sequencing.segment_weights import SegmentWeights


def synthetic_dose(phantom):
    """Dose that falls off from the target as a plan's does."""
    x, y, z = np.meshgrid(
        *(
            o + s * np.arange(n)
            for o, s, n in zip(phantom.origin_mm, phantom.spacing_mm, phantom.grid.shape, strict=True)
        ),
        indexing="ij",
    )
    radius = np.hypot(x, y)
    return 52 * np.exp(-(((radius - 26) / 22) ** 4)) * (np.abs(z) < 45) + 5 * np.exp(-((radius / 120) ** 2))


HISTORY = {
    "iteration": list(range(1, 41)),
    "level": [3] * 10 + [2] * 10 + [1] * 10 + [0] * 10,
    "cost": list(np.tile(np.geomspace(2, 0.3, 10), 4)),
}


def make_report(n_beams=9, **changes):
    phantom = c_shape(8.0)
    dose = synthetic_dose(phantom)
    xy = np.stack(np.meshgrid(np.arange(-30, 31, 10.0), np.arange(-40, 41, 10.0)), -1).reshape(-1, 2)
    layout = BeamletLayout(np.tile(xy, (n_beams, 1)), np.repeat(np.arange(n_beams), len(xy)), np.array(10.0))
    calibration = Calibration(0.012, (10.0, 10.0), (8.0, 8.0, 8.0))
    report = PlanReport(
        title="TG-119 C-shape, synthetic dose",
        ct_hu=phantom.ct_hu,
        dose=dose,
        grid=phantom.grid,
        structures=phantom.structures,
        goals=evaluate(dose, phantom.structures, phantom.goals),
        fluence_goals=evaluate(1.01 * dose, phantom.structures, phantom.goals),
        prescription_gy=50.0,
        isocenter_mm=phantom.isocenter_mm,
        layout=layout,
        number_of_fractions=25,
        optimization=OptimizationResult(
            success=True,
            message="converged",
            final_cost=0.3,
            iterations=40,
            beamlet_weights=np.random.default_rng(5).gamma(2, 20, layout.n_beamlets),
            dose=dose,
            convergence_history=HISTORY,
        ),
        calibration=calibration,
        difference=2e-5,
        beam_names=[f"gantry {40 * i}°" for i in range(n_beams)],
        objectives=phantom.objectives,
    )
    return replace(report, **changes)


def deliverable_of(report):
    """The report of the same plan with segments of a matched MLC."""
    mlc = MLC.matched(report.layout.xy_mm[:, 1], 10.0)
    beams = sequence_plan(report.layout, report.optimization.beamlet_weights, mlc, levels=3)
    return DeliverablePlan(
        photon_plan=SimpleNamespace(name="synthetic"),
        sequenced_beams=beams,
        calibration=report.calibration,
        planned_calibration=report.calibration,
        weights=SegmentWeights(np.zeros(0), 2.0, 1.0, 10),
        dose=report.dose,
        optimized_dose=report.dose,
        grid=report.grid,
        gamma=np.full(report.grid.shape, 0.5),
        difference=report.difference,
        check=None,
        times_s={},
    )


def texts(figure):
    cells = [cell for table in figure.findobj(Table) for cell in table.get_celld().values()]
    return [text.get_text() for text in (*figure.findobj(Text), *(cell.get_text() for cell in cells))]


def test_figure_has_every_part():
    report = make_report()
    figure = report_figure(report)
    figure.draw_without_rendering()
    titles = [ax.get_title() for ax in figure.findobj(Axes)]
    for wanted in ("axial, z = 0 mm", "coronal, y = 0 mm", "sagittal, x = 0 mm", "dose-volume histograms",
                   "convergence", "goals", "dose statistics (Gy)", *report.beam_names):  # fmt: skip
        assert wanted in titles
    shown = texts(figure)
    met = sum(result.met for result in report.goals)
    assert f"{met} of 3 goals met" in shown
    assert report.title in shown
    for row in report.goals.rows():
        assert set(row) <= set(shown)


def test_values_of_the_fluence_stand_beside_those_of_the_segments(tmp_path):
    report = make_report()
    assert "fluence" not in report.goal_rows()[0]
    report, fluence = replace(report, deliverable=deliverable_of(report)), report.fluence_goals
    table = format_table(*report.goal_rows())
    lines = table.splitlines()
    assert lines[0].split() == ["structure", "metric", "goal", "value", "fluence", "met"]
    for line, result, other in zip(lines[2:], report.goals, fluence, strict=True):
        verdict = "yes" if result.met else "NO"
        assert line.split()[-5:] == [f"{result.value:.2f}", "Gy", f"{other.value:.2f}", "Gy", verdict]
    shown = texts(report_figure(report))
    assert "fluence" in shown and {f"{other.value:.2f} Gy" for other in fluence} <= set(shown)
    save_report(report, tmp_path)
    document = json.loads((tmp_path / "goals.json").read_text(encoding="utf-8"))
    assert document["fluence_goals"] == fluence.records() and document["goals"] == report.goals.records()
    assert table in (tmp_path / "goals.txt").read_text(encoding="utf-8")


def test_fluence_and_segments_are_shown_in_machine_mu():
    report = make_report()
    np.testing.assert_allclose(report.machine_fluence, 1.2 * report.optimization.beamlet_weights)
    delivered = replace(report, deliverable=deliverable_of(report))
    assert sum(beam.mu for beam in delivered.machine_beams.values()) == pytest.approx(delivered.deliverable.machine_mu)
    shown = texts(report_figure(delivered))
    for number, beam in delivered.machine_beams.items():
        mine = delivered.machine_fluence[report.layout.beam_index == number]
        np.testing.assert_allclose(mine, 1.2 * delivered.deliverable.sequenced_beams[number].delivered.ravel())
        assert f"gantry {40 * number}°\n{len(beam.apertures)} segments\n{beam.mu:.0f} MU" in shown


def test_long_facts_and_names_get_the_room_they_need(monkeypatch):
    usual = report_figure(make_report())
    facts = {f"fact {number}": "which takes up some of the line" for number in range(15)}
    names = [f"gantry {40 * i}°\n12 segments\n300 MU" for i in range(9)]
    monkeypatch.setattr(PlanReport, "facts", facts)
    roomy = report_figure(make_report(beam_names=names))
    assert roomy.get_size_inches()[1] > usual.get_size_inches()[1] + 0.5
    (head,) = (text for text in texts(roomy) if "fact 0" in text)
    for number in range(15):
        assert f"fact {number}: which takes up some of the line" in head
    assert head.count("\n") >= 3


def test_planes_meet_at_the_isocenter():
    figure = report_figure(make_report(isocenter_mm=(16.0, -8.0, 24.0)))
    shown = texts(figure)
    assert {"axial, z = 24 mm", "coronal, y = -8 mm", "sagittal, x = 16 mm"} <= set(shown)


def test_maps_of_many_beams_take_several_rows():
    few, many = report_figure(make_report(5)), report_figure(make_report(11))
    assert many.get_size_inches()[1] > few.get_size_inches()[1]
    assert "gantry 400°" in texts(many)


def test_target_dvhs_are_those_of_the_kl_terms():
    targets = make_report().target_dvhs
    assert set(targets) == {"PTV", "Core", "Body"}
    np.testing.assert_allclose(targets["Body"][0], (0, 1))


def test_files(tmp_path):
    report = make_report()
    paths = save_report(report, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(REPORT_FILES)
    assert paths == [tmp_path / name for name in REPORT_FILES]
    picture = imread(tmp_path / "report.png")
    assert picture.shape[1] > 1800
    assert picture[..., :3].std() > 0.1


def test_dvh_file_holds_the_dvhs(tmp_path):
    report = make_report()
    save_report(report, tmp_path)
    with (tmp_path / "dvh.csv").open(encoding="utf-8") as file:
        head, *rows = csv.reader(file)
    assert head == ["dose_gy", "PTV", "Core", "Body"]
    table = np.array(rows, dtype=float)
    np.testing.assert_allclose(np.diff(table[:, 0]), 0.1, atol=1e-9)
    assert (table[0, 1:] == 100).all() and (table[-1, 1:] == 0).all()
    assert (np.diff(table[:, 1:], axis=0) <= 0).all()
    for column, structure in enumerate(report.structures, start=1):
        for dose, volume in zip(table[100::100, 0], table[100::100, column], strict=True):
            (asked,) = evaluate(report.dose, [structure], [f"{structure.name} V{dose:g} >= 0 %"])
            assert volume == pytest.approx(asked.value, abs=1e-3)


def test_goal_files_hold_the_goals(tmp_path):
    report = make_report()
    save_report(report, tmp_path)
    document = json.loads((tmp_path / "goals.json").read_text(encoding="utf-8"))
    assert document["goals"] == report.goals.records()
    assert document["all_met"] == report.goals.all_met
    text = (tmp_path / "goals.txt").read_text(encoding="utf-8")
    assert str(report.goals) in text and "dose grid: 8 x 8 x 8 mm" in text
    assert "Dose statistics (Gy)\n\nstructure  min" in text


def test_reports_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"dose has the grid \(2, 2, 2\)"):
        make_report(dose=np.zeros((2, 2, 2)))
    with pytest.raises(ValueError, match="there are 9 beams and 1 names"):
        make_report(beam_names=["one"])


def test_the_verdict_needs_goals_and_agreement():
    report = make_report()
    met = evaluate(report.dose, report.structures, ["PTV D50 >= 1 Gy"])
    good = replace(report, goals=met, fluence_goals=met)
    assert (
        good.passed
        and "agrees" in good.summary()
        and "recalculated dose agrees with that of the fluence" in (good.summary())
    )
    assert not replace(good, difference=2e-4).passed
    assert "DOES NOT AGREE" in replace(good, difference=2e-4).summary()
    missed = evaluate(report.dose, report.structures, ["PTV D50 >= 99 Gy"])
    assert not replace(good, goals=missed).passed
    made = deliverable_of(report)
    delivered = replace(good, deliverable=made)
    assert delivered.passed and "gamma 2 %/2 mm 100.00 % pass" in delivered.summary()
    assert f"{made.n_segments} segments of {made.mlc.name} in 9 beams" in delivered.summary()
    far = replace(good, deliverable=replace(made, gamma=np.full(report.grid.shape, 1.5)))
    assert not far.passed and "dose of the segments DOES NOT AGREE with the optimized one" in far.summary()


def with_history(report):
    """The same report, of structures that got 40 Gy in 20 fractions before."""
    before = DoseArray(np.full(report.grid.shape, 40.0), report.grid)
    for structure in report.structures:
        structure.alpha_beta = 2.0
        structure.previous_dose = PreviousCourse(before, 20, recovery=0.25)
    return report


def test_both_courses_stand_beside_this_one(tmp_path):
    report = with_history(make_report())
    row = report.eqd2_rows(2)[0]
    target = report.structures[0]
    now = report.eqd2(target, before=False)[target.share > 0]
    assert row[:2] == [target.name, "2"]
    assert row[2:5] == ["30.00"] * 3
    assert float(row[7]) == pytest.approx(now.max(), abs=0.01)
    assert float(row[10]) == pytest.approx(now.max() + 30.0, abs=0.01)
    assert "Core: up to 40.0 Gy in 20 fractions before, of whose effect 25% has recovered." in report.summary()
    figure = report_figure(report)
    assert "cumulative EQD2" in texts(figure)
    both, alone = report.eqd2_dvhs(), report.eqd2_dvhs(before=False)
    for axis, volume in both.values():
        assert (volume[axis < 30.0 - 1e-6] == 1.0).all()
    assert alone["PTV"][1][700] == 0.0 < both["PTV"][1][700]
    save_dvhs(report, tmp_path / "dvh.json")
    written = json.loads((tmp_path / "dvh.json").read_text())["eqd2"]["structures"]["PTV"]
    assert set(written) == {"cumulative_percent", "this_course_percent"}
    np.testing.assert_allclose(
        report.cumulative_eqd2()[target.share == 1], now[target.share[target.share > 0] == 1] + 30
    )


def test_reports_without_a_history_have_no_eqd2():
    report = make_report()
    assert not report.has_previous_dose
    assert "EQD2" not in report.summary()
    assert not any("EQD2" in text for text in texts(report_figure(report)))
