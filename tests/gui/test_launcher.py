"""`opentps-brimstone gui FOLDER`: the real window, with a DICOM folder loaded."""

from __future__ import annotations

from gui_window import require_window

require_window()

from PyQt5.QtCore import QTimer  # noqa: E402
from PyQt5.QtWidgets import QApplication, QMainWindow, QMessageBox  # noqa: E402

from opentps_brimstone.cli import main  # noqa: E402
from opentps_brimstone.gui.panel import TITLE  # noqa: E402

MOST_MS = 60_000


def test_the_command_opens_the_window_with_a_folder(qapp, patient_folder):
    said, seen = [], {}

    def look() -> None:
        """Click the disclaimer away, look at the window, and close it: the command ends with it."""
        box = QApplication.activeModalWidget()
        if isinstance(box, QMessageBox):
            said.append(box.text())
            box.accept()
        elif said:
            window = next(w for w in qapp.topLevelWidgets() if isinstance(w, QMainWindow) and w.isVisible())
            panels = {item.panelName: item.panel for item in window.mainToolbar.items}
            tree = panels["Patient data"]._patientDataSelection._patientDataTree.model()
            seen["tree"] = [tree.item(row).text() for row in range(tree.rowCount())]
            seen["structures"] = sorted(panels[TITLE].planner.session.structures())
            seen["words"] = panels[TITLE].planner.words()
            window.close()
            qapp.quit()

    looks, late = QTimer(), QTimer()
    looks.timeout.connect(look)
    late.setSingleShot(True)
    late.timeout.connect(qapp.closeAllWindows)
    late.timeout.connect(qapp.quit)
    # Or closing the window would ask to quit a second time, and later tests' dialogs would end at once.
    qapp.setQuitOnLastWindowClosed(False)
    looks.start(100)
    late.start(MOST_MS)
    try:
        assert main(["gui", str(patient_folder)]) == 0
    finally:
        looks.stop()
        late.stop()
        qapp.setQuitOnLastWindowClosed(True)
    assert "not a medical device" in said[0]
    assert len(said) == 1
    assert seen == {"tree": ["CT - CT"], "structures": ["BODY", "OAR", "PTV"], "words": "not planned yet"}
