"""RT Plans for the tests: OpenTPS plans with whole leaf banks, and datasets as other systems write them."""

from __future__ import annotations

import os
import shutil
import subprocess

import numpy as np
import pytest
from opentps.core.data.plan import PhotonPlan
from opentps_objects import add_beam
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from opentps_brimstone.sequencing import MLC

ISOCENTER = (1.5, -20.25, 33.0)
SMALL_MLC = MLC("small", tuple(np.arange(-25.0, 26.0, 10.0)))


# ------------------------------------------------------------------------------------------------------ OpenTPS plans


def add_aperture(beam, mlc, left, right, mu, jaws=((-100.0, 100.0), (-100.0, 100.0)), collimator=0.0):
    """A segment with the whole leaf bank of an MLC."""
    segment = beam.createBeamSegment()
    edges = np.array(mlc.leaf_boundaries_mm)
    segment.Xmlc_mm = np.column_stack([edges[:-1], edges[1:], left, right])
    segment.x_jaw_mm, segment.y_jaw_mm = list(jaws[0]), list(jaws[1])
    segment.mu = mu
    segment.beamLimitingDeviceAngle_degree = collimator
    segment.controlPointIndex = len(beam) - 1
    return segment


def random_aperture(rng, mlc, step_mm=0.01):
    """Leaves anywhere between -60 and 60 mm; a third of the pairs is closed."""
    left = np.round(rng.uniform(-60, 20, mlc.n_pairs) / step_mm) * step_mm
    width = np.round(rng.uniform(0, 40, mlc.n_pairs) / step_mm) * step_mm
    return left, left + np.where(rng.random(mlc.n_pairs) < 1 / 3, 0.0, width)


def sequenced_plan(mlc=SMALL_MLC, beams=2, segments=3, seed=1, jaws=((-100.0, 100.0), (-80.0, 60.0))):
    """A plan of random apertures, with gantry, couch and collimator angles in OpenTPS's sense."""
    rng = np.random.default_rng(seed)
    plan = PhotonPlan(name="small plan")
    plan.rtPlanName = "small plan"
    plan.treatmentMachineName = "linac"
    plan._numberOfFractionsPlanned = 25
    spacing = float(mlc.leaf_widths_mm.min()) / 2
    for number in range(beams):
        beam = add_beam(
            plan, ISOCENTER, gantry=40.0 * number, couch=10.0 * number, spacing=(spacing, spacing), name=f"F{number}"
        )
        beam.id = number + 1
        for _ in range(segments):
            left, right = random_aperture(rng, mlc)
            add_aperture(beam, mlc, left, right, rng.uniform(0.5, 60), jaws, collimator=15.0 * number)
    return plan


def assert_same_plan(found, expected):
    """Angles, jaws, MU to 1e-6 and leaves to 0.01 mm; jaws that one plan has at infinity do not exist in it."""
    assert found.numberOfFractionsPlanned == expected.numberOfFractionsPlanned
    assert [beam.name for beam in found.beams] == [beam.name for beam in expected.beams]
    assert [len(beam) for beam in found.beams] == [len(beam) for beam in expected.beams]
    for beam, other in zip(found.beams, expected.beams, strict=True):
        assert beam.id == other.id
        np.testing.assert_allclose(beam.isocenterPosition_mm, other.isocenterPosition_mm, atol=1e-3)
        assert (beam.xBeamletSpacing_mm, beam.yBeamletSpacing_mm) == (
            other.xBeamletSpacing_mm,
            other.yBeamletSpacing_mm,
        )
    for segment, other in zip(found.beamSegments, expected.beamSegments, strict=True):
        np.testing.assert_allclose(segment.Xmlc_mm, other.Xmlc_mm, rtol=0, atol=0.01)
        np.testing.assert_allclose(segment.mu, other.mu, rtol=0, atol=1e-6)
        np.testing.assert_allclose(segment.x_jaw_mm, other.x_jaw_mm, atol=0.01)
        np.testing.assert_allclose(segment.y_jaw_mm, other.y_jaw_mm, atol=0.01)
        for angle in ("gantryAngle_degree", "couchAngle_degree", "beamLimitingDeviceAngle_degree"):
            np.testing.assert_allclose(getattr(segment, angle), getattr(other, angle), atol=1e-9)
        np.testing.assert_allclose(segment.isocenterPosition_mm, other.isocenterPosition_mm, atol=1e-3)
        assert segment.controlPointIndex == other.controlPointIndex


# -------------------------------------------------------------------------------------------------------- validation


def assert_valid(path):
    """No error from dciodvfy of dicom3tools."""
    program = shutil.which("dciodvfy")
    if program is None:
        if os.environ.get("OPENTPS_BRIMSTONE_REQUIRE_DCIODVFY") == "1":
            pytest.fail("dciodvfy (Debian's dicom3tools) is not installed, and is required")
        pytest.skip("dciodvfy (Debian's dicom3tools) is not installed")
    run = subprocess.run([program, str(path)], capture_output=True, text=True, errors="replace", check=False)
    said = run.stdout + run.stderr
    assert run.returncode == 0, said
    assert "Error" not in said, said
    assert "Abort" not in said, said


# ------------------------------------------------------------------------------------------- files of other systems


def make_item(**values):
    item = Dataset()
    for keyword, value in values.items():
        setattr(item, keyword, value)
    return item


def device(kind, boundaries=None):
    item = make_item(RTBeamLimitingDeviceType=kind, NumberOfLeafJawPairs=1)
    if boundaries is not None:
        item.NumberOfLeafJawPairs = len(boundaries) - 1
        item.LeafPositionBoundaries = [float(edge) for edge in boundaries]
    return item


def positions(**devices):
    """Beam limiting device positions of a control point."""
    return [
        make_item(RTBeamLimitingDeviceType=kind, LeafJawPositions=[float(x) for x in place])
        for kind, place in devices.items()
    ]


def control_points(*points):
    """Control points; each a dict of keywords, with `devices` for the positions."""
    items = []
    for index, values in enumerate(points):
        item = make_item(ControlPointIndex=index)
        for keyword, value in values.items():
            if keyword == "devices":
                item.BeamLimitingDevicePositionSequence = positions(**value)
            else:
                setattr(item, keyword, value)
        items.append(item)
    return items


FIRST = {
    "NominalBeamEnergy": 6,
    "GantryAngle": 0,
    "GantryRotationDirection": "NONE",
    "BeamLimitingDeviceAngle": 0,
    "BeamLimitingDeviceRotationDirection": "NONE",
    "PatientSupportAngle": 0,
    "PatientSupportRotationDirection": "NONE",
    "TableTopEccentricAngle": 0,
    "IsocenterPosition": [1.5, -20.25, 33.0],
    "CumulativeMetersetWeight": 0,
}


def beam_dataset(number, name, devices, points, **values):
    beam = make_item(
        BeamNumber=number,
        BeamName=name,
        BeamType="STATIC",
        RadiationType="PHOTON",
        TreatmentMachineName="linac",
        PrimaryDosimeterUnit="MU",
        SourceAxisDistance=1000,
        BeamLimitingDeviceSequence=devices,
        TreatmentDeliveryType="TREATMENT",
        NumberOfWedges=0,
        NumberOfCompensators=0,
        NumberOfBoli=0,
        NumberOfBlocks=0,
        FinalCumulativeMetersetWeight=1,
        NumberOfControlPoints=len(points),
        ControlPointSequence=points,
        ReferencedPatientSetupNumber=1,
    )
    for keyword, value in values.items():
        setattr(beam, keyword, value)
    return beam


def plan_dataset(*beams, mu=100.0, fractions=30):
    """An RT Plan of some beams, each with the same MU."""
    dataset = make_item(
        SOPClassUID="1.2.840.10008.5.1.4.1.1.481.5",
        SOPInstanceUID=generate_uid(),
        StudyInstanceUID=generate_uid(),
        SeriesInstanceUID=generate_uid(),
        Modality="RTPLAN",
        PatientName="Doe^Jane",
        PatientID="4711",
        PatientBirthDate="19500101",
        PatientSex="F",
        RTPlanLabel="other system",
        RTPlanGeometry="TREATMENT_DEVICE",
        PatientSetupSequence=[make_item(PatientSetupNumber=1, PatientPosition="HFS")],
        BeamSequence=list(beams),
        FractionGroupSequence=[
            make_item(
                FractionGroupNumber=1,
                NumberOfFractionsPlanned=fractions,
                NumberOfBeams=len(beams),
                NumberOfBrachyApplicationSetups=0,
                ReferencedBeamSequence=[
                    make_item(ReferencedBeamNumber=beam.BeamNumber, BeamMeterset=mu) for beam in beams
                ],
            )
        ],
    )
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    return dataset


def save(dataset, path):
    dataset.save_as(path, enforce_file_format=True)
    return path


BOUNDARIES = np.arange(-25.0, 26.0, 10.0)


def open_field(names=("ASYMX", "ASYMY"), number=1):
    """A field of jaws alone, as Varian writes a static one: everything at control point 0."""
    devices = {names[0]: [-50, 40], names[1]: [-30, 60]}
    points = control_points({**FIRST, "devices": devices}, {"CumulativeMetersetWeight": 1})
    return beam_dataset(number, "open", [device(name) for name in names], points)


def conformal_field(number=1):
    """Jaws and a static MLC, with the jaws of older systems."""
    left, right = [-20, -30, -35, -30, -20], [20, 30, 35.5, 30, 20]
    devices = {"X": [-40, 40], "Y": [-25, 25], "MLCX": left + right}
    points = control_points(
        {**FIRST, "GantryAngle": 90, "BeamLimitingDeviceAngle": 30, "PatientSupportAngle": 350, "devices": devices},
        {"CumulativeMetersetWeight": 1},
    )
    return beam_dataset(number, "conformal", [device("X"), device("Y"), device("MLCX", BOUNDARIES)], points)


def step_and_shoot_field(number=1):
    """Two segments in paired control points; the jaws are given once, weights run to 100."""
    first, second = [-20, -30, -35, -30, -20, 0, 0, 0, 0, 0], [0, 0, -5, 0, 0, 20, 30, 35, 30, 20]
    points = control_points(
        {**FIRST, "devices": {"ASYMX": [-40, 40], "ASYMY": [-25, 25], "MLCX": first}},
        {"CumulativeMetersetWeight": 25, "devices": {"MLCX": first}},
        {"CumulativeMetersetWeight": 25, "devices": {"MLCX": second}},
        {"CumulativeMetersetWeight": 100, "devices": {"MLCX": second}},
    )
    devices = [device("ASYMX"), device("ASYMY"), device("MLCX", BOUNDARIES)]
    return beam_dataset(number, "step", devices, points, FinalCumulativeMetersetWeight=100)


def sliding_window_field(number=1, intervals=10, width=20.0):
    """A window of constant width that sweeps over 200 mm at constant speed."""
    points = []
    for index in range(intervals + 1):
        left = -100 + 180 * index / intervals
        leaves = [left] * 5 + [left + width] * 5
        point = {"CumulativeMetersetWeight": index / intervals, "devices": {"MLCX": leaves}}
        if index == 0:
            point = {**FIRST, "devices": {"ASYMX": [-110, 110], "ASYMY": [-25, 25], "MLCX": leaves}}
        points.append(point)
    devices = [device("ASYMX"), device("ASYMY"), device("MLCX", BOUNDARIES)]
    return beam_dataset(number, "sliding", devices, control_points(*points), BeamType="DYNAMIC")


def arc_field(number=1, start=170.0, step=4.0, count=6, direction="CW"):
    """An arc as Elekta's machines have it: no X jaws, leaves and gantry move, jaws do not."""
    points = []
    for index in range(count):
        sense = 1 if direction == "CW" else -1
        last = index == count - 1
        leaves = [-20.0 + index] * 5 + [10.0 + 2 * index] * 5
        point = {
            "GantryAngle": (start + sense * step * index) % 360,
            "GantryRotationDirection": "NONE" if last else direction,
            "CumulativeMetersetWeight": index / (count - 1),
            "devices": {"MLCX": leaves},
        }
        if index == 0:
            point = {**FIRST, **point, "devices": {"ASYMY": [-25, 25], "MLCX": leaves}}
        points.append(point)
    devices = [device("ASYMY"), device("MLCX", BOUNDARIES)]
    return beam_dataset(number, "arc", devices, control_points(*points), BeamType="DYNAMIC")
