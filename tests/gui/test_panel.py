"""The Brimstone panel: from a drawn target to segments, files and back, with mouse and keyboard."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from gui_window import require_window

require_window()

import pyqtgraph as pg  # noqa: E402
from PyQt5.QtCore import QEvent, QPointF, Qt  # noqa: E402
from PyQt5.QtGui import QDesktopServices, QMouseEvent  # noqa: E402
from PyQt5.QtTest import QTest  # noqa: E402
from PyQt5.QtWidgets import QApplication, QFileDialog  # noqa: E402

from opentps_brimstone.adapters.plan import voxel_grid  # noqa: E402
from opentps_brimstone.gui.asked import Asked, organ  # noqa: E402
from opentps_brimstone.gui.limits import Limit  # noqa: E402
from opentps_brimstone.gui.request_file import write_request  # noqa: E402
from opentps_brimstone.integration.photon_plan import plan_terms  # noqa: E402
from opentps_brimstone.request.reader import read_prescription  # noqa: E402
from opentps_brimstone.workflow.patient_case import patient_case  # noqa: E402


@pytest.fixture
def panel(planner):
    """The panel of a window, on a plan of its own."""
    made = planner.extension.panel
    planner.open("Brimstone")
    made._ct = None
    made.use_ct(made.ct_box.selectedData)
    return made


def idle(user, panel, timeout_ms: int = 60_000) -> None:
    user.bot.waitUntil(lambda: not panel.planner.is_busy, timeout=timeout_ms)


def ask(user, panel, structure: str, preset: str, dose_gy: float) -> None:
    tab = panel.objectives_tab
    panel.tabs.setCurrentIndex(1)
    tab.choose(structure)
    tab.preset.setCurrentText(preset)
    tab.dose_gy.setValue(dose_gy)
    user.click(tab.apply_button)


def ask_all(user, panel) -> None:
    panel.tabs.setCurrentIndex(0)
    panel.plan_tab.beamlet_mm.setValue(10)
    ask(user, panel, "PTV", "target", 60)
    ask(user, panel, "OAR", "organ at risk", 20)
    ask(user, panel, "BODY", "falling body", 60)


def optimize(user, panel) -> None:
    ask_all(user, panel)
    panel.tabs.setCurrentIndex(2)
    user.click(panel.run_tab.start_button)
    idle(user, panel)


def beam_mu(panel) -> dict:
    """Read the column of MU in the table of beams, under what it is of."""
    table = panel.plan_tab.beams
    return {
        "of": table.horizontalHeaderItem(4).text(),
        **{row: table.item(row, 4).text() for row in range(table.rowCount())},
    }


def dose_of_tree(user):
    """Give the last dose in the patient's tree."""
    from opentps.core.data.images import DoseImage

    return user.controller.currentPatient.getPatientDataOfType(DoseImage)[-1]


def right_click(user, data) -> dict:
    """Right-click an entry of the patient's tree and return the entries of its menu, closed again."""
    tree, place = user.select(data)
    tree.customContextMenuRequested.emit(place)
    user.bot.waitUntil(lambda: QApplication.activePopupWidget() is not None)
    menu = QApplication.activePopupWidget()
    menu.close()
    return {action.text(): action for action in menu.actions()}


def drag(plot, handle, dose_gy: float, percent: float) -> None:
    """Drag a point of a target DVH with the mouse."""
    view, viewport = plot.plotItem.vb, plot.viewport()

    def at(x: float, y: float):
        return plot.mapFromScene(view.mapViewToScene(pg.Point(x, y)))

    start, end = at(handle.pos().x(), handle.pos().y()), at(dose_gy, percent)
    QTest.mouseMove(viewport, start)
    QTest.mousePress(viewport, Qt.LeftButton, pos=start)
    for step in range(1, 11):
        place = start + (end - start) * step / 10
        move = QMouseEvent(QEvent.MouseMove, QPointF(place), Qt.NoButton, Qt.LeftButton, Qt.NoModifier)
        QApplication.sendEvent(viewport, move)
        QTest.qWait(5)
    QTest.mouseRelease(viewport, Qt.LeftButton, pos=end)


# ------------------------------------------------------------------------------------------------- plan


def test_beams_are_typed_and_their_sides_named(planner, panel):
    tab = panel.plan_tab
    assert tab.beams.rowCount() == 7
    tab.beam_set.setCurrentIndex(1)
    tab.beam_set.activated.emit(1)
    assert [beam.gantry for beam in panel.planner.request.beams] == [0, 72, 144, 216, 288]
    tab.beams.item(1, 0).setText("90")
    assert tab.beams.item(1, 3).text() == "left"
    tab.beams.selectRow(4)
    planner.click(tab.remove_button)
    planner.click(tab.add_button)
    assert [beam.gantry for beam in panel.planner.request.beams] == [0, 90, 144, 216, 256]
    said = planner.message_of(lambda: tab.beams.item(0, 0).setText("front"))
    assert "Plan, beams, gantry of beam 1: 'front' is not a number of degrees" in said
    assert tab.beams.item(0, 0).text() == "0"


def test_the_isocenter_is_picked_or_typed(planner, panel):
    tab = panel.plan_tab
    number = tab.isocenter.findText("OAR")
    tab.isocenter.setCurrentIndex(number)
    tab.isocenter.activated.emit(number)
    np.testing.assert_allclose(panel.planner.request.isocenter_mm, (42, 0, 0), atol=1.0)
    planner.type(tab.isocenter_mm, "1; -2.5; 3")
    planner.bot.keyClick(tab.isocenter_mm, Qt.Key_Return)
    assert panel.planner.request.isocenter_mm == (1.0, -2.5, 3.0)

    def wrong():
        planner.type(tab.isocenter_mm, "__import__('os')")
        planner.bot.keyClick(tab.isocenter_mm, Qt.Key_Return)

    assert "write three numbers in mm" in planner.message_of(wrong)
    assert panel.planner.request.isocenter_mm == (1.0, -2.5, 3.0)


# ------------------------------------------------------------------------------------------------- objectives


def test_objectives_in_numbers_and_words(planner, panel):
    ask_all(planner, panel)
    tab, request = panel.objectives_tab, panel.planner.request
    assert request.targets == ("PTV",)
    tab.choose("OAR")
    assert "every voxel at most 20 Gy" in tab.words.text()
    tab.points.item(2, 0).setText("12")
    tab.points.item(2, 1).setText("5")
    assert panel.planner.request.of("OAR").points[2] == (12.0, 0.05)
    tab.structures.item(2, 2).setText("0.5")
    assert panel.planner.request.of("OAR").weight == 0.5
    said = planner.message_of(lambda: tab.structures.item(2, 2).setText("-1"))
    assert "weight of 'OAR' is -1; it must be positive" in said
    assert panel.planner.request.of("OAR").weight == 0.5
    tab.goals.setPlainText("heart Dmax < 3 Gy")
    assert "there are BODY, PTV, OAR" in planner.message_of(lambda: planner.click(tab.goals_button))
    ask(planner, panel, "PTV", "ring around targets", 30)
    assert panel.planner.request.of("ring 5-25 mm").maximum_gy == 30
    panel.planner.undo()
    assert panel.planner.request.of("ring 5-25 mm") is None


def terms_by_structure(terms) -> dict[str, set]:
    """What terms ask of structures, to be compared."""
    found: dict[str, set] = {}
    for structure, term in terms:
        asks = getattr(term, "limit_gy", None) or tuple(map(tuple, term.dvh))
        found.setdefault(structure.name, set()).add((type(term).__name__, term.weight, asks))
    return found


def test_objectives_of_opentps_are_read_as_by_the_registered_method(planner, panel, tmp_path, monkeypatch):
    panel.tabs.setCurrentIndex(1)
    before = panel.planner.request
    planner.objectives({"BODY": {"max": "63"}, "OAR": {"mean": "8"}})
    optimization = planner.open("Plan optimization")
    planner.type(optimization._planNameEdit, "registered")
    optimization._algoBox.setCurrentText("Brimstone (KL-DVH)")
    planner.click(optimization._runButton)
    registered = planner.controller.currentPatient.plans[-1]
    planner.open("Brimstone")
    said = planner.message_of(lambda: planner.click(panel.objectives_tab.from_opentps_button))
    planner.objectives({"OAR": {"mean": "None"}, "BODY": {"max": "None"}})
    planner.open("Brimstone")

    theirs = plan_terms(registered, None, voxel_grid(planner.ct))
    request, structures = panel.planner.request, panel.planner.session.structures()
    ours = [(structures[each.structure], term) for each in request.asked for term in each.terms()]
    assert terms_by_structure(ours) == terms_by_structure(theirs)
    volumes = {structure.name: structure.share.sum() for structure, _ in theirs}
    assert {name: structures[name].share.sum() for name in volumes} == pytest.approx(
        volumes, rel=0.06
    )  # voxels of 6 mm
    assert request.targets == ("PTV",)
    assert request.of("PTV").prescribed_gy == 60

    assert "PTV: you typed at least 60 Gy (weight 100); at most 63 Gy (weight 100). Asked: PTV: all of it" in said
    assert "OAR: you typed at most 20 Gy (weight 10); on average at most 8 Gy (weight 1)." in said
    assert "BODY: you typed at most 63 Gy (weight 1). Asked: BODY outside targets: nothing below 0 Gy" in said
    assert "BODY: every voxel at most 62.97 Gy (limit, weight 1e+07)" in said
    panel.objectives_tab.choose("BODY")
    assert panel.objectives_tab.words.text().startswith("BODY: every voxel at most 62.97 Gy")

    path = tmp_path / "opentps.toml"
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_, **__: (str(path), ""))
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_, **__: (str(path), ""))
    planner.click(panel.objectives_tab.save_button)
    panel.planner.undo()
    assert panel.planner.request == before
    planner.click(panel.objectives_tab.load_button)
    assert panel.planner.request == request


def test_what_the_panel_saves_is_what_the_command_plans(planner, panel, patient_folder, tmp_path):
    ask_all(planner, panel)
    ask(planner, panel, "PTV", "ring around targets", 30)
    outside = Asked("BODY outside targets", False, ((0.0, 1.0), (40.0, 0.0)), limits=(Limit("mean", 9.0, 5.0),))
    panel.planner.ask(panel.planner.request.asking(outside))
    request = panel.planner.request
    write_request(request, tmp_path / "asked.toml")
    case = patient_case(patient_folder, read_prescription(tmp_path / "asked.toml"))
    assert {name for name, _ in case.terms} == {"PTV", "OAR", "BODY", "ring 5-25 mm", "BODY outside targets"}
    there = {structure.name: structure.share.sum() for structure in case.structures}
    shown = panel.planner.session.structures()
    for name in ("ring 5-25 mm", "BODY outside targets"):
        assert there[name] == pytest.approx(shown[name].share.sum(), rel=0.05)


def test_limits_are_added_changed_and_taken_away(planner, panel):
    ask_all(planner, panel)
    tab, limits = panel.objectives_tab, panel.objectives_tab.limits
    tab.choose("OAR")
    limits.kind.setCurrentText("volume at most")
    limits.dose_gy.setValue(12)
    planner.click(limits.add_button)
    assert panel.planner.request.of("OAR").limits[1] == Limit("volume maximum", 12.0, 1000.0, 0.1)
    limits.table.item(1, 1).setText("11")
    limits.table.item(1, 2).setText("5")
    limits.table.item(1, 3).setText("200")
    assert panel.planner.request.of("OAR").limits[1] == Limit("volume maximum", 11.0, 200.0, 0.05)
    said = planner.message_of(lambda: limits.table.item(1, 2).setText("150"))
    assert "limit of 'OAR': volume is 150 %; it must be from 0 to 100" in said
    assert limits.table.item(1, 2).text() == "5"
    limits.table.selectRow(1)
    planner.click(limits.remove_button)
    assert [each.kind for each in panel.planner.request.of("OAR").limits] == ["maximum"]
    panel.planner.undo()
    assert len(panel.planner.request.of("OAR").limits) == 2


def test_a_request_is_saved_and_loaded(planner, panel, tmp_path, monkeypatch):
    ask_all(planner, panel)
    tab, saved = panel.objectives_tab, panel.planner.request
    path = tmp_path / "wanted.toml"
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_, **__: (str(path), ""))
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_, **__: (str(path), ""))
    planner.click(tab.save_button)
    planner.click(tab.remove_button)
    assert panel.planner.request != saved
    planner.click(tab.load_button)
    assert panel.planner.request == saved
    path.write_text("[plan]\nfractions = 0\n")
    assert "fractions" in planner.message_of(lambda: planner.click(tab.load_button))
    assert panel.planner.request == saved


# ------------------------------------------------------------------------------------------------- run


def test_nothing_asked_is_named(planner, panel):
    panel.tabs.setCurrentIndex(2)
    said = planner.message_of(lambda: planner.click(panel.run_tab.start_button))
    assert "Objectives: no structure is a target" in said


def test_a_dragged_point_is_followed(planner, panel):
    optimize(planner, panel)
    board, session = panel.board, panel.planner.session
    assert session.planned.result.success
    before = session.planned
    hot = before.dvhs["OAR"][0][-1]
    handle = next(h for h in board.dvh.handles if h.structure == "OAR" and h.number == 2)
    began = time.perf_counter()
    drag(board.dvh, handle, 5.5, 7.0)
    planner.bot.waitUntil(lambda: session.planned is not before, timeout=20_000)
    idle(planner, panel)
    assert time.perf_counter() - began < 10  # 1.5 s on a quiet machine
    assert session.request.of("OAR").points[2][0] == pytest.approx(5.5, abs=0.6)
    assert not session.is_stale
    assert session.ghost is before
    last = before.course.frames[-1]
    for name, share in last.dvhs.items():  # pale curves are what the last plan did
        np.testing.assert_allclose(board.dvh._ghosts[name].getData()[1], 100 * share)
    planner.click(board.ghosts)
    assert board.dvh._ghosts == {}
    asked = session.request
    planner.click(panel.run_tab.undo_button)
    idle(planner, panel)
    assert session.request == before.request
    assert panel.run_tab.redo_button.isEnabled()
    planner.click(panel.run_tab.redo_button)
    idle(planner, panel)
    assert session.request == session.planned.request == asked
    assert not panel.run_tab.redo_button.isEnabled()
    planner.click(board.ghosts)
    assert set(board.dvh._ghosts) == set(last.dvhs)
    assert hot > 0


def test_the_run_is_played_back(planner, panel):
    optimize(planner, panel)
    board, frames = panel.board, panel.planner.session.planned.course.frames
    end = np.array(board.dvh._curves["PTV"].getData()[1])
    board.replay.setValue(0)
    assert board.replay_words.text() == f"iteration {frames[0].iteration}"
    assert not np.allclose(board.dvh._curves["PTV"].getData()[1], end)
    board.replay.setValue(board.replay.maximum())
    np.testing.assert_allclose(board.dvh._curves["PTV"].getData()[1], end)


def test_a_change_while_it_runs_leads_to_a_plan_of_what_is_asked_now(planner, panel):
    ask_all(planner, panel)
    planner.click(panel.run_tab.start_button)
    panel.planner.ask(panel.planner.request.asking(organ("OAR", 10.0)))
    idle(planner, panel)
    assert panel.planner.session.planned.request == panel.planner.request
    assert not panel.planner.session.is_stale


def test_a_window_closed_while_a_plan_is_optimized_stops_it_and_leaves_nothing(planner, panel):
    ask_all(planner, panel)
    tree, request = planner.tree(), panel.planner.request
    planner.click(panel.run_tab.start_button)
    assert panel.planner.is_busy
    planner.extension.eventFilter(planner.window, QEvent(QEvent.Close))
    assert not panel.planner.is_busy
    assert panel.planner.session.planned is None
    assert (planner.tree(), panel.planner.request) == (tree, request)
    planner.click(panel.run_tab.start_button)  # and a window that stays open is usable
    idle(planner, panel)
    assert panel.planner.session.planned.result.success


def test_beams_tell_the_mu_of_their_beamlets(planner, panel):
    assert beam_mu(panel) == {"of": "MU", **dict.fromkeys(range(7), "")}
    optimize(planner, panel)
    found = beam_mu(panel)
    assert found.pop("of") == "fluence"
    plan = panel.planner.session.planned.plan
    in_beam = [plan.beamlet_weights[plan.dose_influence.layout.beam_index == number].sum() for number in range(7)]
    np.testing.assert_allclose([float(text) for text in found.values()], in_beam, atol=0.51)
    panel.plan_tab.beams.item(0, 0).setText("5")
    assert beam_mu(panel) == {"of": "MU", **dict.fromkeys(range(7), "")}


# ------------------------------------------------------------------------------------------------- deliver


def test_from_a_plan_to_files_and_back(planner, panel, tmp_path, monkeypatch):
    optimize(planner, panel)
    ct = planner.ct.imageArray.copy()
    tab = panel.deliver_tab
    panel.tabs.setCurrentIndex(3)
    tab.verify.setCurrentText("sample")
    planner.click(tab.make_button)
    idle(planner, panel, 120_000)
    delivered = panel.planner.delivered
    assert delivered.deliverable.passed
    assert f"<b>gamma 2 %/2 mm</b>: {delivered.deliverable.gamma_pass_percent:.2f} % pass" in tab.facts.text()
    found = beam_mu(panel)
    assert found.pop("of") == "MU"
    assert sum(map(float, found.values())) == pytest.approx(delivered.deliverable.machine_mu, abs=0.5 * len(found))
    assert "agrees with the optimized dose" in tab.facts.text()
    assert "<b>OpenTPS's program</b>: a sample, 32 of" in tab.facts.text()
    eye = panel.board.beams_eye
    eye.segment.setValue(1)
    assert eye.words.text().startswith(f"segment 1 of {eye.segment.maximum()}: ")

    pages = []
    monkeypatch.setattr(QDesktopServices, "openUrl", lambda url: pages.append(Path(url.toLocalFile())) or True)
    panel.planner.ask(replace(panel.planner.request, goals=("PTV D95 >= 20 Gy",)))
    assert panel.planner.delivered is delivered  # goals judge a plan, and change none
    planner.click(tab.report_button)
    page = pages[0].read_text()
    assert "PTV D95 &gt;= 20 Gy" in page
    assert "1 of 1 goals met" in page

    planner.click(tab.write_button)
    assert planner.tree()[-2:] == ["plan - Brimstone plan", "Dose - Brimstone plan dose of segments, recalculated"]
    written, dose = planner.controller.currentPatient.plans[-1], dose_of_tree(planner)
    planner.double_click(dose)
    assert planner.controller.secondaryImage is dose
    for element in planner.window.viewerPanel._viewerGrid.gridElements[:3]:  # 2-D views, with the dose over the CT
        viewer = element.cachedStaticImage3DViewer
        assert viewer.primaryImage is planner.ct
        assert viewer.secondaryImage is dose

    from_menu = tmp_path / "from menu"
    from_menu.mkdir()
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_, **__: str(from_menu))
    entries = right_click(planner, written)
    assert "rtplan.dcm" in planner.message_of(entries["Export RT Plan and RT Dose …"].trigger)
    assert sorted(path.name for path in from_menu.iterdir()) == ["rtdose.dcm", "rtplan.dcm"]

    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_, **__: str(tmp_path))
    assert "rtplan.dcm" in planner.message_of(lambda: planner.click(tab.export_button))
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_, **__: (str(tmp_path / "rtplan.dcm"), ""))
    planner.click(tab.import_button)
    imported = planner.controller.currentPatient.plans[-1]
    mu = sum(segment.mu for beam in imported.beams for segment in beam.beamSegments)
    assert mu == pytest.approx(delivered.deliverable.machine_mu, rel=1e-4)
    entries = right_click(planner, imported)
    assert {"Rename", "Delete", "Export serialized"} < set(entries)
    assert not entries["Export RT Plan and RT Dose: first make segments in Brimstone"].isEnabled()
    planner.double_click(imported)
    assert planner.controller.plan is imported
    np.testing.assert_array_equal(planner.ct.imageArray, ct)

    panel.planner.ask(panel.planner.request.asking(organ("OAR", 10.0)))
    idle(planner, panel)
    assert panel.planner.delivered is None  # the segments were those of another plan


def test_making_segments_tells_how_far_it_is_and_is_stopped(planner, panel):
    optimize(planner, panel)
    tab, planned = panel.deliver_tab, panel.planner.session.planned
    panel.tabs.setCurrentIndex(3)
    planner.click(tab.make_button)
    planner.bot.waitUntil(lambda: "making segments, dose" in panel.words.text(), timeout=60_000)
    assert tab.bar.maximum() > 1
    planner.click(tab.stop_button)
    idle(planner, panel)
    assert panel.planner.delivered is None
    assert panel.planner.session.planned is planned
    assert tab.facts.text() == "no segments yet"


def test_another_collimator_is_asked_for_and_needs_no_other_plan(planner, panel):
    optimize(planner, panel)
    tab = panel.deliver_tab
    tab.mlc.setCurrentText("millennium-120")
    tab.mlc.activated[str].emit("millennium-120")
    assert panel.planner.request.mlc == "millennium-120"
    assert not panel.planner.session.is_stale
    assert tab.mlc.currentText() == "millennium-120"
