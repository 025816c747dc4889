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


@pytest.fixture
def planner(user, patient_folder):
    """A user with Brimstone, a patient, a design and objectives."""
    user.extension = add_to_gui(user.controller)
    user.load(patient_folder)
    user.design()
    user.objectives(USUAL)
    return user


def optimize(user, name: str, algorithm: str = ALGORITHM):
    panel = user.open("Plan optimization")
    panel._algoBox.setCurrentText(algorithm)
    panel._fractionsSpin.setValue(30)
    user.type(panel._planNameEdit, name)
    user.click(panel._runButton)


def doses(user):
    return user.controller.currentPatient.getPatientDataOfType(DoseImage)


def test_two_plans_of_one_design(planner):
    before = planner.ct.imageArray.copy()
    optimize(planner, "first")
    optimize(planner, "second")
    assert planner.tree()[-4:] == ["plan - first", "Dose - first dose", "plan - second", "Dose - second dose"]
    np.testing.assert_array_equal(planner.ct.imageArray, before)
    first, second = planner.controller.currentPatient.plans
    assert first.planDesign is not second.planDesign
    assert first.numberOfFractionsPlanned == 30
    in_target = doses(planner)[0].imageArray[14:16, 14:16, 7:9]
    assert in_target.min() > 55
    assert in_target.max() < 68
    assert (doses(planner)[0].imageArray > 0).mean() > 0.2  # not cropped to the objectives' ROIs
