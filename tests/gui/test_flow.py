"""Brimstone in OpenTPS's own flow: its list of algorithms, its objectives, its tree."""

from __future__ import annotations

import numpy as np
import pytest
from gui_window import USUAL, require_window

require_window()

from opentps.core.data.images import DoseImage  # noqa: E402
from PyQt5.QtCore import QTimer  # noqa: E402
from PyQt5.QtWidgets import QApplication  # noqa: E402

from opentps_brimstone import add_to_gui  # noqa: E402
from opentps_brimstone.gui.optimization_panel import ALGORITHM  # noqa: E402
from opentps_brimstone.gui.run_dialog import RunDialog  # noqa: E402


def optimize(user, name: str, algorithm: str = ALGORITHM) -> None:
    panel = user.open("Plan optimization")
    panel._algoBox.setCurrentText(algorithm)
    panel._fractionsSpin.setValue(30)
    user.type(panel._planNameEdit, name)
    user.click(panel._runButton)


def doses(user):
    return user.controller.currentPatient.getPatientDataOfType(DoseImage)


def in_target(dose) -> np.ndarray:
    return dose.imageArray[14:16, 14:16, 7:9]


def test_two_plans_of_one_design(planner):
    before = planner.ct.imageArray.copy()
    optimize(planner, "first")
    optimize(planner, "second")
    assert planner.tree()[-4:] == ["plan - first", "Dose - first dose", "plan - second", "Dose - second dose"]
    np.testing.assert_array_equal(planner.ct.imageArray, before)
    first, second = planner.controller.currentPatient.plans
    assert first.planDesign is not second.planDesign
    assert first.planDesign.beamlets is not second.planDesign.beamlets
    assert first.numberOfFractionsPlanned == 30
    kept = doses(planner)[0].imageArray.copy()
    own = first.planDesign.beamlets.toDoseImage().imageArray * first.numberOfFractionsPlanned
    np.testing.assert_allclose(own, kept, atol=0.01 * kept.max())
    assert in_target(doses(planner)[0]).min() > 55
    assert in_target(doses(planner)[0]).max() < 68
    assert (kept > 0).mean() > 0.2  # not cropped to the objectives' ROIs


def test_an_algorithm_of_opentps_spares_the_ct_as_well(planner):
    before = planner.ct.imageArray.copy()
    planner.panel("Plan optimization")._optiConfig["maxIter"] = 30
    optimize(planner, "theirs", "Scipy-LBFGS (recommended)")
    np.testing.assert_array_equal(planner.ct.imageArray, before)
    assert planner.tree()[-2:] == ["plan - theirs", "Dose - theirs dose"]
    assert in_target(doses(planner)[-1]).min() > 50
    assert (doses(planner)[-1].imageArray > 0).mean() > 0.2


def test_stopped_before_the_first_iteration_nothing_stays(planner, monkeypatch, tmp_path):
    monkeypatch.setenv("OPENTPS_BRIMSTONE_CACHE", str(tmp_path))  # so that it takes longer than a mouse does
    tree = planner.tree()
    planner.in_dialog(RunDialog, lambda dialog: planner.click(dialog.stop_button))
    design = planner.panel("Plan optimization").selectedPlanStructure
    state = (design.isocenterPosition_mm, design.beamlets, design.ROI_cropping)
    optimize(planner, "stopped")
    assert planner.extension.optimization.words == "stopped before there was a plan"
    assert planner.tree() == tree
    assert (design.isocenterPosition_mm, design.beamlets, design.ROI_cropping) == state


@pytest.mark.parametrize(
    ("cells", "says"),
    [
        ({"PTV": {"min": "60,0"}}, "Objectives, PTV, Dmin (Gy): '60,0' is not a number; write 60.0"),
        ({"OAR": {"max": "-5"}}, "Objectives, OAR, Dmax (Gy): -5; it must be at least 0"),
        ({"OAR": {"weight max": "x"}}, "Objectives, OAR, weight of Dmax (Gy): 'x' is not a number"),
        ({"PTV": {"prescription": "None"}}, "Objectives, PTV: it is ticked as target and has no prescription"),
    ],
)
def test_a_wrong_cell_is_named_and_nothing_stays(planner, cells, says):
    with planner.bot.captureExceptions():  # OpenTPS itself prints "could not convert string to float"
        planner.objectives(cells)
    tree = planner.tree()
    assert says in planner.message_of(lambda: optimize(planner, "wrong"))
    assert planner.tree() == tree


def test_the_dialog_shows_how_the_dvhs_walk(planner):
    seen = []

    def look(dialog):
        QTimer.singleShot(0, lambda: seen.append(dialog))

    planner.in_dialog(RunDialog, look)
    optimize(planner, "seen")
    (dialog,) = seen
    assert {"PTV", "OAR"} <= set(dialog.watch.last.dvhs)
    assert dialog.watch.costs[0][0] == 0  # what is typed are limits, which decide at the finest level


def right_click_beside_all(user) -> list[type]:
    """Right-click the empty tree of patients' data; return what was raised."""
    tree = user.panel("Patient data")._patientDataSelection._patientDataTree
    with user.bot.captureExceptions() as raised:
        tree.customContextMenuRequested.emit(tree.rect().center())
    return [kind for kind, *_ in raised]


def test_taken_away_opentps_is_as_it_was(user, patient_folder):
    panel = user.panel("Plan optimization")
    names = [panel._algoBox.itemText(n) for n in range(panel._algoBox.count())]
    tabs = [item.panelName for item in user.window.mainToolbar.items]
    extension = add_to_gui(user.controller)
    assert add_to_gui(user.controller) is extension
    assert [panel._algoBox.itemText(n) for n in range(panel._algoBox.count())] == [*names, ALGORITHM]
    assert "Brimstone" in [item.panelName for item in user.window.mainToolbar.items]
    assert ALGORITHM not in type(panel)._optiAlgos
    assert right_click_beside_all(user) == []
    extension.remove()
    assert right_click_beside_all(user) == [IndexError]  # of OpenTPS's menu, which is there again
    assert [panel._algoBox.itemText(n) for n in range(panel._algoBox.count())] == names
    assert [item.panelName for item in user.window.mainToolbar.items] == tabs
    assert "_optiAlgos" not in vars(panel)


def test_no_beams_and_a_window_closed_while_it_runs(user, patient_folder):
    add_to_gui(user.controller)
    user.load(patient_folder)
    user.design(angles=())
    user.objectives(USUAL)
    assert "it has no beams" in user.message_of(lambda: optimize(user, "none"))
    user.design()
    user.panel("Plan optimization")._planStructureComboBox.setCurrentIndex(1)
    user.objectives(USUAL)
    user.in_dialog(RunDialog, lambda _: user.window.close())
    optimize(user, "closed")
    assert QApplication.activeModalWidget() is None
    assert not user.window.isVisible()
