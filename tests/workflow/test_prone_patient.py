"""A prone patient with an implant, from the folder to the files: positions, densities and notes arrive in all."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pydicom
import pytest
from made_ct import ROIS, ball, made, made_ct, made_structures, rod, write_case

import opentps_brimstone as pb
from opentps_brimstone.request.reader import parse_prescription
from opentps_brimstone.workflow.patient_case import plan_folder

PRESCRIPTION = """
plan = {fractions = 25, dose_grid_mm = 6.0, leave_out = ["Couch top"]}
input = {patient_position = "HFP"}
beams = [{gantry_angle = 0}, {gantry_angle = 90, collimator_angle = 20}]
targets = [{structure = "PTV", dose_gy = 50}]
prescription.goals = ["PTV D95 >= 45 Gy"]
beamlets.spacing_mm = 10.0
machine = {mlc = "matched", energy_mv = 10}
planner.rounds = 1
"""


@pytest.mark.slow
def test_a_prone_patient_with_an_implant(tmp_path: Path) -> None:
    ct = made_ct(position=None)
    rois = (*ROIS, ("Implant", "ORGAN", ball(8.0, (-12.0, 0.0, 0.0))), ("Couch top", "SUPPORT", rod(6.0, (0.0, 28.0))))
    structures = made_structures(ct, rois)
    structures.RTROIObservationsSequence[2].ROIPhysicalPropertiesSequence = [
        made(ROIPhysicalProperty="REL_MASS_DENSITY", ROIPhysicalPropertyValue="4.5")
    ]
    structures.StudyInstanceUID = "1.2.3"
    folder = write_case(tmp_path / "case", ct, structures)
    result = plan_folder(folder, parse_prescription(PRESCRIPTION), tmp_path / "out", verify="none")

    plan = pydicom.dcmread(tmp_path / "out" / "rtplan.dcm")
    points = [beam.ControlPointSequence[0] for beam in plan.BeamSequence]
    angles = [(p.GantryAngle, p.PatientSupportAngle, p.BeamLimitingDeviceAngle) for p in points]
    assert [tuple(map(float, each)) for each in angles] == [(0.0, 0.0, 0.0), (90.0, 0.0, 20.0)]
    assert plan.PatientSetupSequence[0].PatientPosition == "HFP"

    report = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    for note in ("the density 4.5 g/cm³", "energy is 10 MV", "seem to be couch", "StudyInstanceUID is 1.2.3"):
        assert any(note in each for each in result.notes)
        assert note in report

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        series = pb.Series.from_dicom(folder, patient_position="HFP")
        again = pb.compute_dose(
            tmp_path / "out" / "rtplan.dcm", series, dose_grid_mm=6.0, scatter="opentps", progress=False
        )
        planned = pb.dose_from_dataset(tmp_path / "out" / "rtdose.dcm", series=series)
    assert np.abs(np.asarray(again) - planned).max() < 0.03 * planned.max()
