"""What OpenTPS's window does wrong to a photon user, and that it does not happen with the extension.

Each pair tests the defect in OpenTPS itself, so that a release without it is noticed and the remedy can go, and the
remedy.
"""

from __future__ import annotations

import copy

import numpy as np
import pytest
from gui_window import USUAL, require_window

require_window()

from opentps.core.data.images import CTImage  # noqa: E402
from opentps.core.data.plan import PhotonPlan, PlanPhotonBeam  # noqa: E402
from PyQt5.QtWidgets import QLabel  # noqa: E402

from opentps_brimstone import add_to_gui  # noqa: E402


@pytest.fixture
def photon_plan():
    plan = PhotonPlan(name="photons")
    for gantry in (0.0, 90.0):
        beam = PlanPhotonBeam()
        beam.gantryAngle_degree = gantry
        beam.isocenterPosition_mm = [1.0, 2.0, 3.0]
        plan.appendBeam(beam)
    return plan


def test_opentps_turns_a_ct_into_densities_in_place():
    from opentps.core.processing.doseCalculation.photons.cccDoseCalculator import CCCDoseCalculator

    from opentps_brimstone.adapters.density_table import DEFAULT_DENSITY_TABLE

    ct = CTImage(imageArray=np.zeros((4, 4, 4)), spacing=(5, 5, 5))
    calculator = CCCDoseCalculator(batchSize=1)
    calculator.ctCalibration = DEFAULT_DENSITY_TABLE.to_opentps()
    calculator._ct = ct
    calculator.fromHU2Densities(ct)
    assert ct.imageArray.mean() == pytest.approx(1.0)


def test_the_dose_panel_leaves_the_ct_alone(user, patient_folder):
    extension = add_to_gui(user.controller)
    user.load(patient_folder)
    user.design(angles=(0,))
    user.objectives(USUAL)
    panel = user.open("Plan optimization")
    panel._algoBox.setCurrentText("Brimstone (KL-DVH)")
    user.click(panel._runButton)
    before = user.ct.imageArray.copy()
    dose_panel = user.open("Dose computation")
    assert dose_panel._roiComboBox.isHidden()  # "Overwrite outside this ROI" does nothing for photons
    user.click(dose_panel._runButton)
    assert user.tree()[-1] == "Dose - New plan dose, recalculated"
    np.testing.assert_array_equal(user.ct.imageArray, before)
    planned, recalculated = user.controller.currentPatient.images[-2:]
    np.testing.assert_allclose(recalculated.imageArray, planned.imageArray, atol=0.005 * planned.imageArray.max())
    extension.remove()
    assert not dose_panel._roiComboBox.isHidden()


def test_opentps_names_no_gantry_convention(user):
    panel = user.open("Plan design")
    panel._modalityComboBox.setCurrentText("IMRT")
    assert not [label for label in panel.findChildren(QLabel) if "IEC" in label.text()]


def test_the_side_of_entry_is_named(user, patient_folder):
    add_to_gui(user.controller)
    user.load(patient_folder)
    user.design(angles=(0, 90))
    user.bot.wait(50)
    label = user.panel("Plan design").findChild(QLabel, "brimstone_gantry_convention")
    assert label.isVisible()
    assert "Beam 1: front (IEC gantry 0°, couch 0°)" in label.text()
    assert "Beam 2: patient's right (IEC gantry 270°, couch 0°)" in label.text()
    user.panel("Plan design")._modalityComboBox.setCurrentText("IMPT")
    assert not label.isVisible()


def test_opentps_cannot_show_photon_beams(user, patient_folder, photon_plan):
    user.load(patient_folder)
    with pytest.raises(AttributeError, match=r"isocenterPosition|gantryAngle"):
        user.controller.plan = photon_plan


def test_photon_beams_are_drawn_from_the_side_they_enter(user, patient_folder, photon_plan):
    from opentps.core.processing.imageProcessing import imageTransform3D

    add_to_gui(user.controller)
    user.load(patient_folder)
    photon_plan.patient = user.controller.currentPatient
    user.double_click(photon_plan)
    assert user.controller.plan is photon_plan
    viewer = user.window.viewerPanel._viewerGrid.gridElements[0].cachedStaticImage3DViewer
    assert len(viewer._rtPlanLayer._beamLayers) == 2
    second = photon_plan.beams[1]
    inside = imageTransform3D.dicomCoordinate2iecGantry(second, second.isocenterPosition)
    drawn = imageTransform3D.iecGantryCoordinatetoDicom(second, [inside[0], inside[1], inside[2] - 500])
    # OpenTPS's 90° enters from low x, the patient's right.
    np.testing.assert_allclose(np.subtract(drawn, second.isocenterPosition_mm), [-500, 0, 0], atol=1e-6)
    assert not hasattr(PlanPhotonBeam, "gantryAngle")


def test_opentps_shares_isocenter_and_beamlets_of_a_design(user, patient_folder):
    user.load(patient_folder)
    user.design(angles=(0,))
    panel = user.panel("Plan optimization")
    design = copy.copy(panel.selectedPlanStructure)
    design.ct = user.ct
    mask = user.controller.currentPatient.rtStructs[0].contours[1]
    design.defineTargetMaskAndPrescription([mask], [60.0])
    first, second = design.buildPlan(), design.buildPlan()
    assert first.planDesign is second.planDesign
    assert design.isocenterPosition_mm is not None  # that of the first target, whatever the next one is
    assert design.ROI_cropping
