"""What OpenTPS's window does to a photon user's disadvantage, absorbed one by one on this window's objects.

What is wrong in "Plan optimization" (the CT becomes densities in place, dose is cropped to ROIs, plans share the
beamlets of their design, errors are printed on the terminal only) is absorbed by `optimization_panel`, which replaces
the flow.
Each function here absorbs one more defect and returns what undoes it. tests/gui/test_defects.py says of every one when
OpenTPS no longer has it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from PyQt5.QtWidgets import QLabel

from opentps_brimstone.adapters.angles import iec_from_opentps
from opentps_brimstone.engine.errors import DoseCanceledError
from opentps_brimstone.gui.messages import tell
from opentps_brimstone.gui.request import side_of_entry
from opentps_brimstone.gui.run_dialog import RunDialog
from opentps_brimstone.gui.watch import Watch

__all__ = ["absorb", "draw_photon_beams", "name_gantry_convention", "spare_ct_in_dose_panel"]

Undo = Callable[[], None]


def absorb(view_controller: Any, register_running: Callable[[Any], None]) -> list[Undo]:
    """Absorb all defects in a window.

    Parameters
    ----------
    view_controller : opentps ViewController
    register_running : callable
        Is told of a dialog that runs, or of None.

    Returns
    -------
    list of callable
        Each undoes one.
    """
    panels = {item.panelName: item.panel for item in view_controller.mainWindow.mainToolbar.items}
    return [
        spare_ct_in_dose_panel(panels["Dose computation"], register_running),
        name_gantry_convention(panels["Plan design"]),
        draw_photon_beams(view_controller),
    ]


# ------------------------------------------------------------------------------------------------- dose panel


def spare_ct_in_dose_panel(panel: Any, register_running: Callable[[Any], None]) -> Undo:
    """Compute photon doses without turning the CT's HU into densities, and hide what does nothing for photons.

    OpenTPS's ``CCCDoseCalculator.computeDose`` converts the image it is given in place: a second dose on the same CT
    takes densities for HU. Its choice "Overwrite outside this ROI" has no effect on photons.

    Parameters
    ----------
    panel : opentps DoseComputationPanel
    register_running : callable

    Returns
    -------
    callable
    """

    def compute(*_: Any) -> None:
        if str(panel._radiationType).upper() != "PHOTON":
            panel._computeDose()
            return
        try:
            _photon_dose(panel, register_running)
        except DoseCanceledError:
            pass
        except Exception as error:  # Qt would print it on the terminal only
            tell(panel, "The dose was not computed", error)

    def show_what_counts(*_: Any) -> None:
        photon = str(panel._radiationType).upper() == "PHOTON"
        for widget in (panel._roiLabel, panel._roiComboBox):
            widget.setVisible(not photon)
        if photon:  # our engine chooses its own number of processes
            panel._batchSize.hide()
            panel._simuPhotonLabel.hide()

    panel._runButton.clicked.disconnect(panel._computeDose)
    panel._runButton.clicked.connect(compute)
    panel._planComboBox.selectedDataEvent.connect(show_what_counts)

    def undo() -> None:
        panel._runButton.clicked.disconnect(compute)
        panel._runButton.clicked.connect(panel._computeDose)
        panel._planComboBox.selectedDataEvent.disconnect(show_what_counts)
        for widget in (panel._roiLabel, panel._roiComboBox):
            widget.setVisible(True)

    return undo


def _photon_dose(panel: Any, register_running: Callable[[Any], None]) -> None:
    from opentps_brimstone.engine import compute_dose

    ct, plan = panel.selectedCT, panel.selectedPlan
    if ct is None:
        raise ValueError("CT: there is none; load a CT first")
    if plan is None:
        raise ValueError("Plan: there is none; optimize or load a plan first")
    watch = Watch(1.0)
    dialog = RunDialog(
        panel, f"Dose of {plan.name}", lambda: compute_dose(ct, plan, progress=watch.on_progress), watch, {}, 1.0
    )
    register_running(dialog)
    try:
        dialog.run()
    finally:
        register_running(None)
    if dialog.error is not None:
        raise dialog.error
    dose = dialog.result
    dose.name = f"{plan.name} dose, recalculated"
    dose.referencePlan, dose.referenceCT = plan, ct
    dose.patient = ct.patient


# ------------------------------------------------------------------------------------------------- gantry angles


def name_gantry_convention(panel: Any) -> Undo:
    """Say under the list of beams from which side each photon beam enters, and its IEC angles.

    OpenTPS's photon engine turns the gantry against IEC 61217: at its 90° the beam enters from the patient's right,
    which is IEC 270°, and its dialogs name no convention.

    Parameters
    ----------
    panel : opentps PlanDesignPanel

    Returns
    -------
    callable
    """
    label = QLabel(panel)
    label.setObjectName("brimstone_gantry_convention")
    label.setWordWrap(True)
    label.setStyleSheet("color: #804000;")
    panel.layout.insertWidget(panel.layout.indexOf(panel._beams) + 1, label)

    def refresh(*_: Any) -> None:
        photon = panel.selectedModality == "IMRT"
        label.setVisible(photon)
        if photon:
            label.setText("\n".join([_CONVENTION, *(_beam_words(each) for each in panel._beamDescription)]))

    model = panel._beams.model()
    model.rowsInserted.connect(lambda *_: _soon(refresh))
    model.rowsRemoved.connect(lambda *_: _soon(refresh))
    panel._modalityComboBox.currentTextChanged.connect(refresh)
    refresh()

    def undo() -> None:
        panel._modalityComboBox.currentTextChanged.disconnect(refresh)
        panel.layout.removeWidget(label)
        label.setParent(None)

    return undo


_CONVENTION = "OpenTPS's photon angles turn against IEC 61217. These beams enter from:"


def _soon(act: Callable[[], None]) -> None:
    """Act when OpenTPS has also updated its own list, which it does after the widget's."""
    from PyQt5.QtCore import QTimer

    QTimer.singleShot(0, act)


def _beam_words(beam: dict[str, Any]) -> str:
    angles = iec_from_opentps(beam["GantryAngle"], beam["CouchAngle"])
    side = side_of_entry(angles.gantry, angles.couch)
    return f"{beam['BeamName']}: {side} (IEC gantry {angles.gantry:g}°, couch {angles.couch:g}°)"


# ------------------------------------------------------------------------------------------------- beams in views


def draw_photon_beams(view_controller: Any) -> Undo:
    """Give photon beams the three names by which OpenTPS's views draw beams; without them a double click fails.

    The layers of the 2-D and 3-D views read ``isocenterPosition``, ``gantryAngle`` and ``couchAngle``, which proton
    beams have and photon beams do not, and draw angles after IEC. They are set on the beams of a plan just before it is
    shown.

    Parameters
    ----------
    view_controller : opentps ViewController

    Returns
    -------
    callable
    """

    def name_angles(plan: Any) -> None:
        for beam in plan or ():
            if hasattr(beam, "beamSegments"):
                angles = iec_from_opentps(beam.gantryAngle_degree, beam.couchAngle_degree)
                beam.isocenterPosition = np.asarray(beam.isocenterPosition_mm, dtype=float)
                beam.gantryAngle, beam.couchAngle = angles.gantry, angles.couch

    # Before the views' own slots, whichever of them are connected when.
    view_controller.planChangedSignal._slots.insert(0, name_angles)
    return lambda: view_controller.planChangedSignal.disconnect(name_angles)
