"""Every axial position of a patient: an asymmetric phantom lies, is irradiated and is exported as it should be."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pydicom
import pytest
from made_ct import ORIGIN, SHAPE, SPACING, ball, made_ct, made_structures, rod, water_cylinder, write_case
from rt_plan_files import FIRST, beam_dataset, conformal_field, control_points, device, plan_dataset, save

import opentps_brimstone as pb
from opentps_brimstone.dicom import read_rt_plan, write_rt_plan
from opentps_brimstone.dicom.errors import DicomError
from opentps_brimstone.model.beam import beams_eye_axes
from opentps_brimstone.model.patient_position import POSITIONS, machine_angles, supine_angles

# Where the patient's left, back and head point in the room: X to the right of a person facing the gantry, Y toward the
# gantry, Z up (IEC 61217). Feet first, the head points away from the gantry; prone, the back points up; on the left
# side, the left points down.
X, Y, Z = np.eye(3)
LYING = {
    "HFS": (X, -Z, Y),
    "HFP": (-X, Z, Y),
    "FFS": (-X, -Z, -Y),
    "FFP": (X, Z, -Y),
    "HFDL": (-Z, -X, Y),
    "HFDR": (Z, X, Y),
    "FFDL": (-Z, X, -Y),
    "FFDR": (Z, -X, -Y),
}
# How scanners store the slices of such patients, seen as they lie from the foot end of the couch, or the head end.
COSINES = [(1, 0, 0, 0, 1, 0), (-1, 0, 0, 0, -1, 0), (-1, 0, 0, 0, 1, 0), (1, 0, 0, 0, -1, 0), (0, 1, 0, -1, 0, 0)]


def in_room(gantry: float, couch: float, collimator: float) -> np.ndarray:
    """Rows: x and y of the beam's eye view, and the direction to the source, in axes fixed to the couch."""

    def about_z(angle: float) -> np.ndarray:
        c, s = np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))
        return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])

    c, s = np.cos(np.deg2rad(gantry)), np.sin(np.deg2rad(gantry))
    about_y = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
    return (about_z(-couch) @ about_y @ about_z(collimator)).T


def test_all_positions_are_known() -> None:
    assert set(LYING) == set(POSITIONS)
    for left, back, head in LYING.values():
        np.testing.assert_array_equal(np.cross(left, back), head)


@pytest.mark.parametrize("position", POSITIONS)
def test_angles_mean_the_same_direction_in_the_patient(position: str) -> None:
    couches = (0.0, 25.0, 340.0) if "D" not in position else (0.0,)
    for angles in itertools.product((0.0, 35.0, 180.0, 290.0), couches, (0.0, 20.0)):
        expected = in_room(*angles) @ np.array(LYING[position]).T
        supine = supine_angles(position, *angles)
        np.testing.assert_allclose(np.array(beams_eye_axes(*supine)), expected, atol=1e-12)
        np.testing.assert_allclose(machine_angles(position, *supine), angles, atol=1e-9)


@pytest.mark.parametrize("position", ["HFDL", "HFDR", "FFDL", "FFDR"])
def test_a_patient_on_the_side_is_irradiated_at_couch_zero_only(position: str) -> None:
    with pytest.raises(ValueError, match=rf"position {position} \(.*side\) is irradiated with the couch at 0 degrees"):
        supine_angles(position, 0.0, 10.0, 0.0)


# ------------------------------------------------------------------------------------------------- images


def asymmetric() -> np.ndarray:
    """A patient with something dense on the left, in front, near the head."""
    hu = water_cylinder()
    hu[11:13, 3:5, 6] = 500.0
    hu[4, 9:11, 1:3] = -300.0
    return hu


@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize("cosines", COSINES)
def test_the_image_is_in_the_patients_axes(tmp_path: Path, position: str, cosines) -> None:
    ct = made_ct(asymmetric(), cosines=cosines, position=position)
    series = pb.Series.from_dicom(write_case(tmp_path, ct))
    np.testing.assert_array_equal(series.ct_hu, asymmetric())
    assert series.grid == pb.VoxelGrid(SHAPE, SPACING, ORIGIN)
    assert series.patient_position == position


def test_a_missing_position_is_said_and_may_be_given(tmp_path: Path) -> None:
    write_case(tmp_path, made_ct(position=None))
    with pytest.warns(UserWarning, match=r"PatientPosition \(0018,5100\) is missing; .* head first supine \(HFS\)"):
        assert pb.Series.from_dicom(tmp_path).patient_position == "HFS"
    assert pb.Series.from_dicom(tmp_path, patient_position="ffp").patient_position == "FFP"


def test_the_user_knows_better(tmp_path: Path) -> None:
    write_case(tmp_path, made_ct(position="HFP"))
    with pytest.warns(UserWarning, match="PatientPosition is HFP; it is taken as HFS, as asked"):
        assert pb.Series.from_dicom(tmp_path, patient_position="HFS").patient_position == "HFS"
    with pytest.raises(ValueError, match=r"is 'SITTING'; it may be HFS \(head first supine\), HFP"):
        pb.Series.from_dicom(tmp_path, patient_position="SITTING")


def test_a_patient_who_sits_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DicomError, match=r"PatientPosition \(0018,5100\) is SITTING; .* HFS, HFP, FFS, FFP"):
        pb.Series.from_dicom(write_case(tmp_path, made_ct(position="SITTING")))


# ------------------------------------------------------------------------------------------------- beams

ROIS = (("PTV", "PTV", ball(9.0)), ("BODY", "EXTERNAL", rod(30.0)))


def entry_side(dose: np.ndarray) -> np.ndarray:
    """The patient axis, with its sign, on whose side a beam through the middle gives more dose."""
    middle = np.array(SHAPE) // 2
    low = [dose[5, middle[1], middle[2]], dose[middle[0], 4, middle[2]]]
    high = [dose[10, middle[1], middle[2]], dose[middle[0], 9, middle[2]]]
    change = np.array(high) - np.array(low)
    found = np.zeros(3)
    axis = int(np.argmax(np.abs(change)))
    found[axis] = np.sign(change[axis])
    return found


@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize("gantry", [0.0, 90.0])
def test_a_beam_enters_where_the_gantry_stands(tmp_path: Path, position: str, gantry: float) -> None:
    ct = made_ct(position=position)
    files = ct.write(tmp_path)
    structures = made_structures(ct, ROIS)
    structures.save_as(tmp_path / "rs.dcm", enforce_file_format=True)
    series = pb.Series.from_dicom(tmp_path)
    plan = pb.Plan(series)
    plan.add_beam(gantry, collimator_angle=10.0)
    plan.compute_dose_influence(beamlet_spacing_mm=10.0, progress=False)
    plan.beamlet_weights = np.ones(plan.dose_influence.layout.n_beamlets)
    source = Z if gantry == 0.0 else X  # in the room
    toward_source = np.array(LYING[position]) @ source
    np.testing.assert_array_equal(entry_side(plan.get_dose()), toward_source)

    # And so it leaves us again: with the machine's angles and the patient's position.
    photon_plan = plan.to_opentps().plan
    assert photon_plan.patientPosition == position
    for segment in photon_plan.beamSegments:
        segment.Xmlc_mm = np.array([[-10.0, 0.0, -5.0, 5.0], [0.0, 10.0, -5.0, 8.0]])
        segment.x_jaw_mm, segment.y_jaw_mm, segment.mu = [-20.0, 20.0], [-20.0, 20.0], 50.0
    written = write_rt_plan(photon_plan, tmp_path / "plan.dcm", structure_set=structures, ct=files[0])
    point = written.BeamSequence[0].ControlPointSequence[0]
    angles = (point.GantryAngle, point.PatientSupportAngle, point.BeamLimitingDeviceAngle)
    assert tuple(map(float, angles)) == (gantry, 0.0, 10.0)
    assert written.PatientSetupSequence[0].PatientPosition == position
    dose = pb.compute_dose(tmp_path / "plan.dcm", series, progress=False)
    np.testing.assert_array_equal(entry_side(dose), toward_source)


def test_the_ct_says_how_the_patient_of_a_plan_lies(tmp_path: Path) -> None:
    slice_of_ct = made_ct(position="FFP").slices[0]
    photon_plan = read_rt_plan(plan_dataset(conformal_field()))
    del photon_plan.patientPosition
    written = write_rt_plan(photon_plan, tmp_path / "plan.dcm", ct=slice_of_ct)
    assert written.PatientSetupSequence[0].PatientPosition == "FFP"
    written = write_rt_plan(photon_plan, tmp_path / "plan.dcm", patient_position="HFP")
    assert written.PatientSetupSequence[0].PatientPosition == "HFP"


# ------------------------------------------------------------------------------------------------- plans of others


@pytest.mark.parametrize("position", ["HFP", "FFS", "FFP"])
def test_plans_of_others_come_back_as_they_were(tmp_path: Path, position: str) -> None:
    dataset = plan_dataset(conformal_field())  # gantry 90, collimator 30, couch 350
    dataset.PatientSetupSequence[0].PatientPosition = position
    photon_plan = read_rt_plan(save(dataset, tmp_path / "plan.dcm"))
    assert photon_plan.patientPosition == position
    write_rt_plan(photon_plan, tmp_path / "again.dcm")
    again = pydicom.dcmread(tmp_path / "again.dcm")
    point = again.BeamSequence[0].ControlPointSequence[0]
    assert (point.GantryAngle, point.PatientSupportAngle, point.BeamLimitingDeviceAngle) == (90, 350, 30)
    assert again.PatientSetupSequence[0].PatientPosition == position


def test_the_position_of_a_plan_may_be_given(tmp_path: Path) -> None:
    dataset = plan_dataset(conformal_field())
    del dataset.PatientSetupSequence[0].PatientPosition
    assert read_rt_plan(dataset, patient_position="FFS").patientPosition == "FFS"


def test_a_turned_couch_and_a_patient_on_the_side_are_refused_with_the_place() -> None:
    dataset = plan_dataset(conformal_field())
    dataset.PatientSetupSequence[0].PatientPosition = "HFDL"
    with pytest.raises(DicomError, match=r"control point 0: PatientSupportAngle \(300A,0122\) is 350 degrees: .* HFDL"):
        read_rt_plan(dataset)


def test_an_arc_turns_the_same_way_for_a_prone_patient() -> None:
    leaves = [-20.0] * 2 + [20.0] * 2
    points = control_points(
        {
            **FIRST,
            "GantryAngle": 350,
            "GantryRotationDirection": "CW",
            "devices": {"ASYMX": [-30, 30], "ASYMY": [-10, 10], "MLCX": leaves},
        },
        {
            "GantryAngle": 10,
            "GantryRotationDirection": "NONE",
            "CumulativeMetersetWeight": 1,
            "devices": {"MLCX": leaves},
        },
    )
    devices = [device("ASYMX"), device("ASYMY"), device("MLCX", [-10.0, 0.0, 10.0])]
    dataset = plan_dataset(beam_dataset(1, "arc", devices, points, BeamType="DYNAMIC"))
    dataset.PatientSetupSequence[0].PatientPosition = "HFP"
    angles = [segment.gantryAngle_degree for segment in read_rt_plan(dataset).beamSegments]
    # From above, on a prone patient's back: IEC 180 for a supine one, through which the arc goes.
    iec = [(-angle) % 360 for angle in angles]
    assert all(165 < angle < 195 for angle in iec)
    assert iec == sorted(iec)


def test_another_position_than_that_of_the_ct_is_said(tmp_path: Path) -> None:
    series = pb.Series.from_dicom(write_case(tmp_path))
    dataset = plan_dataset(conformal_field())
    dataset.PatientID, dataset.StudyInstanceUID = "P1", series.dicom["StudyInstanceUID"]
    dataset.PatientSetupSequence[0].PatientPosition = "FFS"
    with pytest.warns(UserWarning, match="for a patient in position FFS, and the CT was made in position HFS"):
        read_rt_plan(dataset, series=series)
