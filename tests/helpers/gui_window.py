"""OpenTPS's real window for tests, and what a user does in it with mouse and keyboard."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

REQUIRE = "OPENTPS_BRIMSTONE_REQUIRE_GUI"


def why_no_window() -> str:
    """Say why OpenTPS's window cannot be tested here; empty if it can."""
    from opentps_brimstone.gui.environment import missing_libraries, missing_packages

    if packages := [*missing_packages(), *(["pytest-qt"] if importlib.util.find_spec("pytestqt") is None else [])]:
        return f"packages of the window are not installed: {', '.join(packages)}"
    if libraries := missing_libraries():
        return f"system libraries of the window are missing: {', '.join(libraries)}"
    if not shutil.which("Xvfb"):
        return "Xvfb, which stands in for a screen, is not installed"
    return ""


def require_window() -> None:
    """Skip a module of tests where there can be no window, unless the environment says that there must be one."""
    reason = why_no_window()
    if reason and os.environ.get(REQUIRE) == "1":
        pytest.fail(f"{REQUIRE}=1, and {reason}", pytrace=False)
    if reason:
        pytest.skip(reason, allow_module_level=True)


def start_display(size: str = "1500x1000x24") -> str:
    """Start an X server of the tests' own and return its name.

    It ends by itself when its last window is gone, and is nobody's child: ended sooner, it would take the process along
    that has windows on it, test report and all.
    """
    read, write = os.pipe()
    subprocess.run(
        ["sh", "-c", f"Xvfb -displayfd {write} -screen 0 {size} -nolisten tcp -terminate >/dev/null 2>&1 &"],
        pass_fds=(write,),
        check=True,
    )
    os.close(write)
    with os.fdopen(read) as answer:
        return f":{answer.readline().strip()}"


def write_patient(folder: Path) -> Path:
    """Write a small patient as DICOM: CT of 30 x 30 x 16 voxels of 6 mm, PTV, OAR on the left, BODY."""
    import pydicom
    from dicom_folder import cylinder, sphere, write_ct, write_structures
    from pydicom.uid import generate_uid

    n, nz, step = 30, 16, 6.0
    origin = (-(n - 1) / 2 * step, -(n - 1) / 2 * step, -(nz - 1) / 2 * step)
    x = origin[0] + step * np.arange(n)
    z = origin[2] + step * np.arange(nz)
    hu = np.full((n, n, nz), -1000.0)
    hu[np.hypot(*np.meshgrid(x, x, indexing="ij")) < 75] = 0.0
    files = write_ct(folder, hu, (step, step, step), origin, name="CT")
    rois = {
        "BODY": ("EXTERNAL", cylinder(75, z)),
        "PTV": ("PTV", sphere(24, z, (0.0, 0.0, 0.0))),
        "OAR": ("ORGAN", cylinder(12, z[3:-3], (42.0, 0.0))),
    }
    path = folder / "rs.dcm"
    write_structures(path, rois, files)
    head, structures = pydicom.dcmread(files[0], stop_before_pixels=True), pydicom.dcmread(path)
    structures.SeriesInstanceUID = generate_uid()
    structures.SeriesDescription = "structures"
    structures.PatientID, structures.PatientName = head.PatientID, head.PatientName
    structures.StudyInstanceUID = head.StudyInstanceUID
    colors = ([120, 180, 120], [230, 40, 40], [60, 120, 255])
    for item, color in zip(structures.ROIContourSequence, colors, strict=True):
        item.ROIDisplayColor = color
    structures.save_as(path)
    return folder


class User:
    """Somebody in front of a window of OpenTPS.

    Parameters
    ----------
    qtbot
        Of pytest-qt.
    """

    _expects_message = False  # of all windows: a message may be any one's

    def __init__(self, qtbot) -> None:
        from opentps.core.data import PatientList
        from opentps.gui.viewController import ViewController
        from PyQt5.QtCore import QTimer
        from PyQt5.QtTest import QTest

        self.bot = qtbot
        self.controller = ViewController(PatientList())
        self.window = self.controller.mainWindow
        self.window.show()
        QTest.qWaitForWindowExposed(self.window)
        self.unexpected: list[str] = []
        self._guard = QTimer()
        self._guard.timeout.connect(self._click_away_unexpected)
        self._guard.start(250)

    def leave(self) -> None:
        """Close the window; no message was left unread."""
        self._guard.stop()
        self.window.close()
        assert self.unexpected == []

    def _click_away_unexpected(self) -> None:
        """A message nobody waits for would stop the tests for good."""
        from PyQt5.QtWidgets import QApplication, QMessageBox

        box = QApplication.activeModalWidget()
        if isinstance(box, QMessageBox) and not User._expects_message:
            self.unexpected.append(f"{box.text()} {box.informativeText()}")
            box.reject()

    # --------------------------------------------------------------------------------------------- hands

    def click(self, button) -> None:
        from PyQt5.QtCore import Qt

        self.bot.mouseClick(button, Qt.LeftButton)

    def type(self, field, text: str) -> None:
        field.setFocus()
        field.selectAll()
        self.bot.keyClicks(field, text)

    def in_dialog(self, kind, act, timeout_ms: int = 20_000) -> None:
        """Act on the next modal dialog of a kind, from a timer: the dialog has an event loop of its own."""
        from PyQt5.QtCore import QTimer
        from PyQt5.QtWidgets import QApplication

        left = [timeout_ms]

        def look() -> None:
            dialog = QApplication.activeModalWidget()
            if isinstance(dialog, kind):
                act(dialog)
            elif left[0] > 0:
                left[0] -= 20
                QTimer.singleShot(20, look)

        QTimer.singleShot(20, look)

    def message_of(self, act) -> str:
        """Do something that shows a message box, click it away, and return its text."""
        from PyQt5.QtWidgets import QMessageBox

        texts = []

        def read(box) -> None:
            texts.append(f"{box.text()} {box.informativeText()}")
            self.click(box.button(QMessageBox.Ok))

        User._expects_message = True
        self.in_dialog(QMessageBox, read)
        act()
        self.bot.waitUntil(lambda: bool(texts), timeout=20_000)
        User._expects_message = False
        return texts[0]

    # --------------------------------------------------------------------------------------------- OpenTPS

    def panel(self, name: str):
        return next(item.panel for item in self.window.mainToolbar.items if item.panelName == name)

    def open(self, name: str):
        """Open a tab of the toolbar."""
        from PyQt5.QtWidgets import QAbstractButton

        tabs = self.window.mainToolbar.findChildren(QAbstractButton, "qt_toolbox_toolboxbutton")
        self.click(next(tab for tab in tabs if tab.text() == name))
        return self.panel(name)

    def load(self, folder: Path) -> None:
        """Do what 'Load data' does after its file dialog."""
        from opentps.core.io.dataLoader import loadData

        loadData(self.controller.patientList, [str(folder)])

    @property
    def ct(self):
        from opentps.core.data.images import CTImage

        return self.controller.currentPatient.getPatientDataOfType(CTImage)[0]

    def tree(self) -> list[str]:
        """Read the entries of the patient's tree."""
        model = self.panel("Patient data")._patientDataSelection._patientDataTree.model()
        return [model.item(row).text() for row in range(model.rowCount())]

    def select(self, data):
        """Click an entry of the patient's tree; return tree and place."""
        from PyQt5.QtCore import Qt

        tree = self.open("Patient data")._patientDataSelection._patientDataTree
        self.bot.wait(50)
        item = next(
            tree.model().item(row) for row in range(tree.model().rowCount()) if tree.model().item(row).data is data
        )
        center = tree.visualRect(item.index()).center()
        self.bot.mouseClick(tree.viewport(), Qt.LeftButton, pos=center)
        return tree, center

    def double_click(self, data) -> None:
        """Double-click an entry of the patient's tree."""
        from PyQt5.QtCore import Qt

        tree, center = self.select(data)
        self.bot.mouseDClick(tree.viewport(), Qt.LeftButton, pos=center)
        self.bot.wait(100)

    def design(self, angles=(0, 120, 240), spacing_mm: float = 10.0):
        """Make a photon plan design with OpenTPS's dialogs."""
        from opentps.gui.panels.planDesignPanel.beamDialog import BeamDialog

        panel = self.open("Plan design")
        panel._modalityComboBox.setCurrentText("IMRT")
        for box in (panel._xBeamletSpacing, panel._yBeamletSpacing):
            box.setValue(spacing_mm)
        for angle in angles:

            def fill(dialog, angle=angle) -> None:
                dialog.GantryAngle.setValue(angle)
                self.click(dialog.AddButton)

            self.in_dialog(BeamDialog, fill)
            self.click(panel._beamButton)
        self.click(panel._runButton)
        return panel

    def objectives(self, cells: dict[str, dict[str, str]], target: str = "PTV") -> None:
        """Type objectives into OpenTPS's table: texts by ROI and column."""
        panel = self.open("Plan optimization")
        self.click(panel._objectivesWidget._objectiveButton)
        window = panel._objectivesWidget._roiWindow
        table = window._roitTable
        rows = {table.item(row, 0).text(): row for row in range(table.rowCount())}
        columns = {
            "prescription": table._PrescriptionCol,
            "weight min": table._weightMinCol,
            "min": table._dMinCol,
            "weight max": table._weightMaxCol,
            "max": table._dMaxCol,
            "weight mean": table._weightMeanCol,
            "mean": table._dMeanCol,
        }
        tick = table.cellWidget(rows[target], table._TargetCol)
        if not tick.isChecked():
            tick.click()
        for roi, texts in cells.items():
            for column, text in texts.items():
                table.item(rows[roi], columns[column]).setText(text)
        window.hide()


USUAL = {
    "PTV": {"prescription": "60", "weight min": "100", "min": "60", "weight max": "100", "max": "63"},
    "OAR": {"weight max": "10", "max": "20"},
}
