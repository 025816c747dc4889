"""Draw the pictures of docs/window.md: ``xvfb-run -s "-screen 0 1500x1000x24" python docs/window_pictures.py``.

OpenTPS's window is driven as a user drives it, on the C-shape of TG-119; needs the extra ``gui``.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from opentps.gui.main import app, viewController
from PIL import Image
from PyQt5.QtCore import QTimer
from PyQt5.QtTest import QTest
from PyQt5.QtWidgets import QAbstractScrollArea, QApplication, QWidget

import opentps_brimstone as pb
from opentps_brimstone.dicom.series_writer import write_dicom_folder
from opentps_brimstone.gui.opentps_data import load_folder
from opentps_brimstone.gui.run_dialog import RunDialog
from opentps_brimstone.phantoms import make_phantom

FOLDER = Path(__file__).parent / "pictures"


def picture(name: str, widget: QWidget) -> None:
    """Save a picture of a widget, small enough for a repository."""
    QTest.qWait(300)
    path = FOLDER / f"window-{name}.png"
    corner = widget.mapToGlobal(widget.rect().topLeft())
    # Off the screen: VTK does not draw into a widget's own picture.
    screen = QApplication.primaryScreen().grabWindow(0, corner.x(), corner.y(), widget.width(), widget.height())
    screen.save(str(path))
    with Image.open(path) as image:
        small = image.convert("RGB").quantize(256, dither=Image.Dither.NONE)
    small.save(path, optimize=True)


def wait_for(happens: Callable[[], bool], most_s: float = 600.0) -> None:
    """Let the window live until something happens."""
    began = time.perf_counter()
    while not happens():
        QTest.qWait(30)
        if time.perf_counter() - began > most_s:
            raise TimeoutError


def scroll_down(widget: QWidget) -> None:
    """Show the end of a page that is scrolled."""
    QTest.qWait(100)
    while widget is not None:
        if isinstance(widget, QAbstractScrollArea):
            widget.verticalScrollBar().setValue(widget.verticalScrollBar().maximum())
        widget = widget.parentWidget()


class Planner:
    """Somebody who plans the C-shape."""

    def __init__(self, folder: Path) -> None:
        self.controller = viewController()
        self.window = self.controller.mainWindow
        self.window.resize(1400, 900)
        self.window.show()
        self.extension = pb.add_to_gui(self.controller)
        load_folder(self.controller, str(folder))
        self.panel = self.extension.panel
        self.open("Brimstone")

    def open(self, name: str) -> Any:
        """Open a tab of the toolbar."""
        toolbar = self.window.mainToolbar
        number = [item.panelName for item in toolbar.items].index(name)
        toolbar.setCurrentIndex(number)
        return toolbar.items[number].panel

    def idle(self) -> None:
        """Wait until nothing runs."""
        wait_for(lambda: not self.panel.planner.is_busy)

    def ask(self, structure: str, preset: str, dose_gy: float) -> None:
        """Ask a preset of a structure."""
        tab = self.panel.objectives_tab
        tab.choose(structure)
        tab.preset.setCurrentText(preset)
        tab.dose_gy.setValue(dose_gy)
        tab.apply_button.click()

    def plan(self) -> None:
        """Plan: beams, objectives, a run."""
        panel = self.panel
        panel.plan_tab.fractions.setValue(25)
        panel.plan_tab.beamlet_mm.setValue(7)
        panel.plan_tab.name.setText("C-shape")
        panel.plan_tab.name.editingFinished.emit()
        panel.plan_tab.beam_set.activated.emit(3)
        picture("plan", self.window)
        panel.tabs.setCurrentIndex(1)
        self.ask("PTV", "target", 50)
        self.ask("Core", "organ at risk", 25)
        self.ask("Body", "falling body", 50)
        panel.objectives_tab.goals.setPlainText("PTV D95 >= 50 Gy\nPTV D10 <= 55 Gy\nCore D10 <= 25 Gy")
        panel.objectives_tab.goals_button.click()
        panel.objectives_tab.choose("Core")
        picture("objectives", self.window)
        panel.tabs.setCurrentIndex(2)
        panel.run_tab.start_button.click()
        wait_for(lambda: panel.planner.watch is not None and panel.planner.watch.progress is not None)
        wait_for(lambda: panel.planner.watch is None or len(panel.planner.watch.frames) > 6)
        picture("running", self.window)
        self.idle()
        picture("planned", self.window)

    def explore(self) -> None:
        """Move a target and play the run back."""
        panel = self.panel
        panel.board.enlarge_button.click()
        panel.board.dvh.point_moved.emit("Core", 1, 11.0, 0.75)
        self.idle()
        panel.board.dvh.point_moved.emit("Core", 2, 17.0, 0.4)
        self.idle()
        picture("followed", self.window)
        panel.board.tabs.setCurrentIndex(1)
        panel.board.replay.setValue(panel.board.replay.maximum() // 2)
        picture("replay", self.window)
        panel.board.replay.setValue(panel.board.replay.maximum())

    def deliver(self) -> None:
        """Make segments and put them into OpenTPS's views."""
        panel = self.panel
        panel.tabs.setCurrentIndex(3)
        panel.deliver_tab.make_button.click()
        self.idle()
        panel.board.tabs.setCurrentIndex(2)
        panel.board.beams_eye.segment.setValue(3)
        picture("delivered", self.window)
        panel.board.enlarge_button.click()
        panel.deliver_tab.write_button.click()
        patient = self.controller.currentPatient
        self.controller.plan, self.controller.secondaryImage = patient.plans[-1], patient.images[-1]
        self.open("Patient data")
        picture("views", self.window)

    def opentps_flow(self) -> None:
        """Use OpenTPS's own panels."""
        design = self.open("Plan design")
        design._modalityComboBox.setCurrentText("IMRT")
        for number, angle in enumerate((0, 90, 225)):
            design._beams.addItem(f"Beam {number + 1}:  G={angle}°,  C=0°")
            design._beamDescription.append(
                {"BeamType": "beam", "BeamName": f"Beam {number + 1}", "GantryAngle": angle, "CouchAngle": 0}
            )
        scroll_down(design)
        picture("design", self.window)
        design._runButton.click()
        optimization = self.open("Plan optimization")
        table = optimization._objectivesWidget._roiWindow._roitTable
        table.updateTable()
        rows = {table.item(row, 0).text(): row for row in range(table.rowCount())}
        table.cellWidget(rows["PTV"], table._TargetCol).setChecked(True)
        for name, column, text in (
            ("PTV", table._PrescriptionCol, "50"),
            ("PTV", table._dMinCol, "50"),
            ("PTV", table._dMaxCol, "54"),
            ("Core", table._dMaxCol, "30"),
        ):
            table.item(rows[name], column).setText(text)
        optimization._algoBox.setCurrentText("Brimstone (KL-DVH)")

        def look() -> None:
            dialog = QApplication.activeModalWidget()
            if isinstance(dialog, RunDialog) and len(dialog.watch.frames) > 3:
                picture("flow", dialog)
            else:
                QTimer.singleShot(5, look)

        QTimer.singleShot(5, look)
        optimization._runButton.click()


def main() -> None:
    """Draw all pictures."""
    with tempfile.TemporaryDirectory() as folder:
        write_dicom_folder(make_phantom("c-shape", 5.0), folder)
        planner = Planner(Path(folder))
    planner.plan()
    planner.explore()
    planner.deliver()
    planner.opentps_flow()
    planner.window.close()
    app.quit()


if __name__ == "__main__":
    main()
