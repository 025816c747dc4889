from __future__ import annotations

import copy

import numpy as np
import pydicom
import pymedphys
import pytest
from opentps.core.data import Patient
from opentps.core.data.plan import PhotonPlan
from opentps_objects import add_beam, add_segment
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian
from rt_plan_files import (
    ISOCENTER,
    SMALL_MLC,
    add_aperture,
    assert_same_plan,
    assert_valid,
    make_item,
    random_aperture,
    sequenced_plan,
)

from opentps_brimstone import VoxelGrid
from opentps_brimstone.adapters.segments import fluence_of_segments, write_segments
from opentps_brimstone.dicom import read_rt_plan, write_rt_dose, write_rt_plan
from opentps_brimstone.sequencing import AGILITY, MILLENNIUM_120, Aperture, JawPositions, open_shares, sequence_beam

INFINITE = (-np.inf, np.inf)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "plan.dcm"


def structure_set():
    dataset = make_item(
        SOPClassUID="1.2.840.10008.5.1.4.1.1.481.3",
        SOPInstanceUID="1.2.3.4",
        StudyInstanceUID="1.2.3",
        Modality="RTSTRUCT",
        PatientName="Müller^Jürgen",
        PatientID="007",
        PatientBirthDate="19600229",
        PatientSex="M",
        StudyID="9",
        StructureSetROISequence=[make_item(ROINumber=3, ROIName="PTV"), make_item(ROINumber=4, ROIName="Cord")],
        ReferencedFrameOfReferenceSequence=[make_item(FrameOfReferenceUID="1.2.9")],
    )
    dataset.SpecificCharacterSet = "ISO_IR 100"
    return dataset


def ct_slice(**values):
    known = {
        "SOPClassUID": "1.2.840.10008.5.1.4.1.1.2",
        "SOPInstanceUID": "1.2.3.5",
        "StudyInstanceUID": "1.2.3",
        "Modality": "CT",
        "PatientID": "007",
        "FrameOfReferenceUID": "1.2.9",
    }
    return make_item(**{**known, **values})


# ------------------------------------------------------------------------------------------------- what is in the file


def test_segments_are_pairs_of_control_points_with_rising_meterset(path):
    plan = sequenced_plan()
    write_rt_plan(plan, path)
    dataset = pydicom.dcmread(path)
    for item, beam in zip(dataset.BeamSequence, plan.beams, strict=True):
        points = item.ControlPointSequence
        assert item.NumberOfControlPoints == len(points) == 2 * len(beam)
        assert item.BeamType == "STATIC"
        assert [point.ControlPointIndex for point in points] == list(range(len(points)))
        mu = np.array([segment.mu for segment in beam.beamSegments])
        given = np.array([point.CumulativeMetersetWeight for point in points], dtype=float) * mu.sum()
        np.testing.assert_allclose(given[0::2], np.cumsum(mu) - mu, atol=1e-9)
        np.testing.assert_allclose(given[1::2], np.cumsum(mu), atol=1e-9)
        for index, segment in enumerate(beam.beamSegments):
            for point in points[2 * index : 2 * index + 2]:
                leaves = point.BeamLimitingDevicePositionSequence[2]
                assert leaves.RTBeamLimitingDeviceType == "MLCX"
                np.testing.assert_allclose(leaves.LeafJawPositions, segment.Xmlc_mm[:, 2:].T.ravel(), atol=0.001)
                assert all(len(str(value)) <= 16 for value in leaves.LeafJawPositions)


def test_angles_are_iecs(path):
    write_rt_plan(sequenced_plan(), path)
    points = [beam.ControlPointSequence for beam in pydicom.dcmread(path).BeamSequence]
    first = points[1][0]
    assert (first.GantryAngle, first.PatientSupportAngle, first.BeamLimitingDeviceAngle) == (320, 350, 15)
    assert "GantryAngle" not in points[1][1]


def test_angles_that_change_within_a_beam_stand_in_every_control_point_with_the_way_round(path):
    plan = sequenced_plan(beams=1)
    for segment, gantry, collimator in zip(plan.beamSegments, (185.0, 175.0, 10.0), (350.0, 10.0, 10.0), strict=True):
        segment.gantryAngle_degree, segment.beamLimitingDeviceAngle_degree = gantry, collimator
    write_rt_plan(plan, path)
    points = pydicom.dcmread(path).BeamSequence[0].ControlPointSequence
    # IEC 175, 185, 350: not through 180, where gantries stop.
    assert [point.GantryAngle for point in points] == [175, 175, 185, 185, 350, 350]
    assert [point.GantryRotationDirection for point in points] == ["NONE", "CC", "NONE", "CW", "NONE", "NONE"]
    # The collimator turns counter-clockwise, as the source sees it, when its angle grows.
    assert [point.BeamLimitingDeviceRotationDirection for point in points] == ["NONE", "CC", *["NONE"] * 4]
    assert all("PatientSupportAngle" not in point for point in points[1:])
    assert_valid(path)
    assert_same_plan(read_rt_plan(path), plan)


def test_of_two_structures_of_one_name_the_first_is_prescribed_to(path):
    """As it is the first that keeps its name when a structure set is read."""
    doubled = structure_set()
    doubled.StructureSetROISequence.append(make_item(ROINumber=9, ROIName="PTV"))
    (target,) = write_rt_plan(
        sequenced_plan(), path, prescription={"PTV": 60}, structure_set=doubled
    ).DoseReferenceSequence
    assert target.ReferencedROINumber == 3


def test_fractions_prescription_and_description(path):
    plan = sequenced_plan()
    write_rt_plan(
        plan,
        path,
        prescription={"PTV": 50.0, "boost": 60.0},
        description="A phantom.",
        calibration="1 Gy per 100 MU",
        machine="a machine of a long name",
        label="a label of a long name",
        nominal_energy_mv=10,
        dose_rate_mu_per_min=400,
        beam_doses_gy=[1.25, 0.75],
    )
    dataset = pydicom.dcmread(path)
    (group,) = dataset.FractionGroupSequence
    assert (group.NumberOfFractionsPlanned, group.NumberOfBeams) == (25, 2)
    assert [item.BeamDose for item in group.ReferencedBeamSequence] == [1.25, 0.75]
    for item, beam in zip(group.ReferencedBeamSequence, plan.beams, strict=True):
        assert item.ReferencedBeamNumber == beam.id
        assert float(item.BeamMeterset) == pytest.approx(sum(segment.mu for segment in beam.beamSegments), abs=1e-9)
    targets = dataset.DoseReferenceSequence
    assert [(target.DoseReferenceDescription, target.TargetPrescriptionDose) for target in targets] == [
        ("PTV", 50),
        ("boost", 60),
    ]
    assert {target.DoseReferenceStructureType for target in targets} == {"SITE"}
    assert dataset.RTPlanDescription == (
        "Research plan of opentps-brimstone, not for treatment. A phantom. 1 Gy per 100 MU"
    )
    assert (dataset.ApprovalStatus, dataset.PlanIntent) == ("UNAPPROVED", "RESEARCH")
    assert dataset.RTPlanGeometry == "TREATMENT_DEVICE"
    assert dataset.RTPlanLabel == "a label of a lon"
    beam = dataset.BeamSequence[0]
    assert beam.TreatmentMachineName == "a machine of a l"
    assert (beam.ControlPointSequence[0].NominalBeamEnergy, beam.ControlPointSequence[0].DoseRateSet) == (10, 400)
    assert_valid(path)


def test_patient_study_and_frame_are_those_of_structure_set_and_ct(path, tmp_path):
    structures = structure_set()
    structures.file_meta = FileMetaDataset()
    structures.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    structures.save_as(tmp_path / "rs.dcm", enforce_file_format=True)
    write_rt_plan(
        sequenced_plan(), path, prescription={"PTV": 60}, structure_set=tmp_path / "rs.dcm", ct=ct_slice(), label="C"
    )
    dataset = pydicom.dcmread(path)
    assert (str(dataset.PatientName), dataset.PatientID) == ("Müller^Jürgen", "007")
    assert (dataset.PatientBirthDate, dataset.PatientSex) == ("19600229", "M")
    assert (dataset.StudyInstanceUID, dataset.FrameOfReferenceUID, dataset.StudyID) == ("1.2.3", "1.2.9", "9")
    assert dataset.RTPlanGeometry == "PATIENT"
    assert dataset.ReferencedStructureSetSequence[0].ReferencedSOPInstanceUID == "1.2.3.4"
    (target,) = dataset.DoseReferenceSequence
    assert (target.DoseReferenceStructureType, target.ReferencedROINumber) == ("VOLUME", 3)
    assert_valid(path)


def test_the_plans_own_patient_is_taken(path):
    plan = sequenced_plan()
    plan.patient = Patient(name="Doe^Jane", id="12", birthDate="19700101", sex="F")
    write_rt_plan(plan, path)
    dataset = pydicom.dcmread(path)
    assert (dataset.PatientName, dataset.PatientID, dataset.PatientSex) == ("Doe^Jane", "12", "F")
    write_rt_plan(plan, path, patient_id="X")
    assert pydicom.dcmread(path).PatientID == "X"


def test_the_dose_belongs_to_the_plan(path, tmp_path):
    plan = write_rt_plan(sequenced_plan(), path, structure_set=structure_set())
    grid = VoxelGrid((5, 7, 3), (2.5, 3.0, 4.0), (-10.25, 20.0, -33.3))
    for rt_plan in (plan, path):
        write_rt_dose(np.ones(grid.shape), grid, tmp_path / "dose.dcm", rt_plan=rt_plan)
        dose = pydicom.dcmread(tmp_path / "dose.dcm")
        assert dose.ReferencedRTPlanSequence[0].ReferencedSOPInstanceUID == plan.SOPInstanceUID
        for keyword in ("PatientID", "PatientName", "StudyInstanceUID", "StudyDate", "FrameOfReferenceUID"):
            assert dose[keyword].value == plan[keyword].value
        assert dose.SeriesInstanceUID != plan.SeriesInstanceUID
        assert_valid(tmp_path / "dose.dcm")
    with pytest.raises(ValueError, match=r"the RT Plan is .* and plan_uid says 1\.2"):
        write_rt_dose(np.ones(grid.shape), grid, tmp_path / "other.dcm", rt_plan=plan, plan_uid="1.2")
    with pytest.raises(ValueError, match="the RT Plan must have the modality RTPLAN, not 'RTDOSE'"):
        write_rt_dose(np.ones(grid.shape), grid, tmp_path / "other.dcm", rt_plan=tmp_path / "dose.dcm")
    assert not (tmp_path / "other.dcm").exists()


# ------------------------------------------------------------------------------------------------------- round trip


@pytest.mark.parametrize(
    ("mlc", "jaws"),
    [
        (SMALL_MLC, ((-100.0, 100.0), (-80.0, 60.0))),
        (SMALL_MLC, (INFINITE, INFINITE)),
        (MILLENNIUM_120, ((-62.5, 61.0), (-80.0, 60.0))),
        (AGILITY, (INFINITE, (-80.0, 60.0))),
    ],
)
def test_writing_and_reading_back_changes_nothing(path, tmp_path, mlc, jaws):
    plan = sequenced_plan(mlc, jaws=jaws)
    before = copy.deepcopy(plan)
    write_rt_plan(plan, path)
    assert_same_plan(plan, before)
    assert_valid(path)
    back = read_rt_plan(path)
    assert_same_plan(back, plan)
    assert (back.name, back.rtPlanName, back.treatmentMachineName) == ("small plan", "small plan", "linac")
    write_rt_plan(back, tmp_path / "again.dcm")
    again = read_rt_plan(tmp_path / "again.dcm")
    assert_same_plan(again, back)
    for segment, other in zip(again.beamSegments, back.beamSegments, strict=True):
        np.testing.assert_array_equal(segment.Xmlc_mm, other.Xmlc_mm)
    assert again.patient.id == back.patient.id


def test_segments_without_mu_are_left_out(path):
    plan = sequenced_plan(beams=1, segments=4)
    plan.beamSegments[2].mu = 0.0
    write_rt_plan(plan, path)
    back = read_rt_plan(path)
    kept = [segment for segment in plan.beamSegments if segment.mu]
    np.testing.assert_allclose([s.mu for s in back.beamSegments], [s.mu for s in kept], atol=1e-9)


def test_beams_without_numbers_are_counted(path):
    plan = sequenced_plan()
    for beam in plan.beams:
        beam.id = 0
    write_rt_plan(plan, path)
    assert [beam.BeamNumber for beam in pydicom.dcmread(path).BeamSequence] == [1, 2]


def test_jaws_that_a_machine_does_not_have_are_left_out(path):
    plan = sequenced_plan(AGILITY, jaws=((-100.0, 100.0), (-80.0, 60.0)))
    write_rt_plan(plan, path, mlc=AGILITY)
    beam = pydicom.dcmread(path).BeamSequence[0]
    assert [item.RTBeamLimitingDeviceType for item in beam.BeamLimitingDeviceSequence] == ["ASYMY", "MLCX"]
    plan.beamSegments[1].x_jaw_mm = [-10, 100]
    with pytest.raises(ValueError, match=r"segment 1: the X jaws at \[-10.0, 100.0\] mm cover what the leaves leave"):
        write_rt_plan(plan, path, mlc=AGILITY)


# --------------------------------------------------------------------------------------------------------- pymedphys


def test_pymedphys_reads_our_fluence_off_the_file(path):
    """The meterset map is the fluence, seen with both axes reversed: pymedphys follows Elekta's own signs."""
    rng = np.random.default_rng(5)
    jaws = JawPositions(y_mm=(-72.0, 55.5))
    plan = PhotonPlan(name="Agility")
    apertures = []
    for gantry in (0.0, 320.0):
        beam = add_beam(plan, ISOCENTER, gantry=gantry, name=f"G{gantry:.0f}")
        apertures.append([Aperture(*random_aperture(rng, AGILITY, step_mm=0.1), rng.uniform(5, 50)) for _ in range(3)])
        for aperture in apertures[-1]:
            add_aperture(beam, AGILITY, aperture.left_mm, aperture.right_mm, aperture.mu, (INFINITE, jaws.y_mm), 15.0)
    write_rt_plan(plan, path, mlc=AGILITY)
    delivery = pymedphys.Delivery.from_dicom(path)
    grid = pymedphys.metersetmap.grid()
    y, x = (axis.ravel() for axis in np.meshgrid(grid["jaw"], grid["mlc"], indexing="ij"))
    # IEC 0 and 40 degrees.
    maps = delivery.metersetmap(gantry_angles=[0.0, 40.0])
    for found, segments in zip(maps, apertures, strict=True):
        fluence = sum(
            segment.mu * open_shares(segment, AGILITY, jaws, np.column_stack([-x, -y]), 1.0) for segment in segments
        )
        # Where a tip moves inside a pixel both give its open share.
        np.testing.assert_allclose(found.ravel(), fluence, atol=1e-6 * fluence.max())
        assert found.max() > 5


def test_sequenced_fluence_comes_back_from_the_file(path):
    """Fluence, apertures, OpenTPS's segments, file: pymedphys and OpenTPS's own functions find the fluence in it."""
    x, y = np.meshgrid(np.arange(-17.5, 20, 5), np.arange(-22.5, 25, 5))
    xy = np.column_stack([x.ravel(), y.ravel()])
    mu = np.random.default_rng(3).integers(0, 7, len(xy)) * 2.5
    plan = PhotonPlan(name="sequenced")
    segment = add_segment(add_beam(plan, ISOCENTER, gantry=320.0, name="G040"), xy)
    segment.beamletMUs = mu
    sequenced = sequence_beam(xy, mu, 5.0, AGILITY, levels=6)
    write_segments(plan, [sequenced])
    write_rt_plan(plan, path, mlc=AGILITY)

    np.testing.assert_allclose(sequenced.fluence_at(xy), mu, atol=1e-9)
    grid = pymedphys.metersetmap.grid()
    found = pymedphys.Delivery.from_dicom(path).metersetmap()
    for (x_mm, y_mm), wanted in zip(xy, mu, strict=True):
        inside = np.ix_(np.abs(-grid["jaw"] - y_mm) < 2, np.abs(-grid["mlc"] - x_mm) < 2)
        np.testing.assert_allclose(found[inside], wanted, atol=1e-6)
    # Outside the field there is nothing; a pixel on its edge is half in it.
    assert found.sum() == pytest.approx(25 * mu.sum(), rel=1e-6)

    (fluence,) = fluence_of_segments(read_rt_plan(path))
    cells = np.floor(fluence.xy_mm / 5) * 5 + 2.5
    total = [fluence.mu[np.all(cells == cell, axis=1)].sum() for cell in xy]
    np.testing.assert_allclose(np.array(total) * np.prod(fluence.spacing_mm), 25 * mu, atol=1e-6)


# ------------------------------------------------------------------------------------------------------- bad input


def spoil(**values):
    def change(plan):
        for name, value in values.items():
            setattr(plan.beamSegments[4], name, value)

    return change


def overlapping(plan):
    plan.beamSegments[4].Xmlc_mm[2, 2:] = [10.0, 8.5]


def other_boundaries(plan):
    plan.beamSegments[4].Xmlc_mm[:, :2] += 0.5


def gap_in_bank(plan):
    plan.beamSegments[4].Xmlc_mm[1, 1] -= 1


def fluence_only(plan):
    beam = plan.beams[1]
    segment = add_segment(beam, [(0, 0), (10, 0)])
    beam._beamSegments = [segment]


def modulated(plan):
    plan.beamSegments[4].appendBeamlet(0, 0, 1.0)
    plan.beamSegments[4].appendBeamlet(10, 0, 2.0)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (fluence_only, r"beam 2 \('F1'\), segment 0 was never sequenced: it has no leaf positions .*sequencing first"),
        (modulated, r"beam 2 \('F1'\), segment 1 was never sequenced: its beamlets have different MU"),
        (overlapping, r"beam 2 \('F1'\), segment 1: the leaves of pair 2 overlap by 1.50 mm, left at 10.00 and right"),
        (other_boundaries, r"beam 2 \('F1'\), segment 1 has other leaf boundaries than segment 0"),
        (gap_in_bank, r"segment 1: the leaves in Xmlc_mm must lie side by side in rising order of y"),
        (spoil(mu=-1.0), r"beam 2 \('F1'\), segment 1 has -1.0 MU; they must be finite and not negative"),
        (spoil(mu=np.nan), r"segment 1 has nan MU"),
        (spoil(Xmlc_mm=np.ones((5, 3))), r"Xmlc_mm must be rows of four finite numbers"),
        (spoil(x_jaw_mm=[5, -5]), r"segment 1: the X jaws must be two rising positions in mm, got \[5.0, -5.0\]"),
        (spoil(y_jaw_mm=[-np.inf, 5]), r"segment 1: one of the Y jaws is at infinity"),
        (spoil(y_jaw_mm=[]), r"beam 2 \('F1'\): some of its segments have jaws that others do not have"),
        (spoil(gantryAngle_degree=np.inf), r"segment 1: gantry angle must be a finite number of degrees, got inf"),
        (spoil(Xmlc_mm=np.array([[-50.0, 50, -50, 50]])), r"has other leaf boundaries than segment 0"),
        (lambda plan: plan.beams[1]._beamSegments.clear(), r"beam 2 \('F1'\) has no segments"),
        (lambda plan: plan._beams.clear(), r"the plan 'small plan' has no beams"),
        (lambda plan: setattr(plan, "_numberOfFractionsPlanned", 0), r"numberOfFractionsPlanned must be 1 or more"),
        (lambda plan: setattr(plan.beams[1], "isocenterPosition_mm", [0, 0]), r"isocenter must be three finite"),
    ],
)
def test_what_cannot_be_delivered_is_refused(path, change, said):
    plan = sequenced_plan()
    change(plan)
    with pytest.raises(ValueError, match=said):
        write_rt_plan(plan, path)
    assert not path.exists()


def test_a_beam_without_mu_is_refused(path):
    plan = sequenced_plan()
    for segment in plan.beams[0].beamSegments:
        segment.mu = 0.0
    with pytest.raises(ValueError, match=r"beam 1 \('F0'\) gives no monitor units; remove it"):
        write_rt_plan(plan, path)


def test_leaves_must_be_those_of_the_mlc(path):
    plan = sequenced_plan()
    with pytest.raises(ValueError, match="has 5 leaf pairs; Elekta Agility has 80"):
        write_rt_plan(plan, path, mlc=AGILITY)
    for segment in plan.beamSegments:
        segment.Xmlc_mm[:, :2] += 2.5
    with pytest.raises(ValueError, match=r"has a leaf boundary at -22.5 mm; small has it at -25 mm"):
        write_rt_plan(plan, path, mlc=SMALL_MLC)
    plan = sequenced_plan(MILLENNIUM_120)
    plan.beamSegments[1].Xmlc_mm[7, 2:] = [-170, -165]
    with pytest.raises(ValueError, match=r"segment 1: the left leaves of Varian Millennium 120 would be .* mm apart"):
        write_rt_plan(plan, path, mlc=MILLENNIUM_120)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"prescription": {"PVT": 50}, "structure_set": "own"}, "prescribed to 'PVT', which is not in .* PTV, Cord"),
        ({"prescription": {"PTV": 0}}, "the dose prescribed to 'PTV' must be positive, not 0 Gy"),
        ({"nominal_energy_mv": -6}, "the nominal energy must be positive, not -6"),
        ({"dose_rate_mu_per_min": 0}, "the dose rate must be positive, not 0"),
        ({"beam_doses_gy": [1.0]}, "there are 2 beams and 1 beam doses"),
        ({"beam_doses_gy": [1.0, np.nan]}, "the dose of beam 2 cannot be nan Gy"),
        ({"structure_set": ct_slice()}, "the structure set must have the modality RTSTRUCT, not 'CT'"),
        ({"ct": make_item(Modality="CT")}, "the CT has no SOPClassUID"),
        (
            {"structure_set": "own", "ct": ct_slice(PatientID="008")},
            "do not belong together: PatientID is '007', not '008'",
        ),
        (
            {"structure_set": "own", "ct": ct_slice(FrameOfReferenceUID="1.5")},
            "FrameOfReferenceUID is .*, not 1.5: coordinates",
        ),
    ],
)
def test_what_does_not_belong_to_the_plan_is_refused(path, options, said):
    if options.get("structure_set") == "own":
        options = {**options, "structure_set": structure_set()}
    with pytest.raises(ValueError, match=said):
        write_rt_plan(sequenced_plan(), path, **options)
    assert not path.exists()


def test_only_photon_plans_are_written_and_references_must_be_dicom(path, tmp_path):
    with pytest.raises(TypeError, match="must be an OpenTPS PhotonPlan, got dict"):
        write_rt_plan({}, path)
    (tmp_path / "text").write_text("no DICOM")
    with pytest.raises(ValueError, match=r"the CT .*text is not a DICOM file"):
        write_rt_plan(sequenced_plan(), path, ct=tmp_path / "text")
    with pytest.raises(FileNotFoundError):
        write_rt_plan(sequenced_plan(), path, ct=tmp_path / "nothing")
