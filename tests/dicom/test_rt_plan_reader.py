from __future__ import annotations

import io
import os
import warnings

import numpy as np
import pydicom
import pytest
from pydicom.dataelem import DataElement
from rt_plan_files import (
    BOUNDARIES,
    FIRST,
    ISOCENTER,
    arc_field,
    assert_same_plan,
    assert_valid,
    beam_dataset,
    conformal_field,
    control_points,
    device,
    make_item,
    open_field,
    plan_dataset,
    save,
    sequenced_plan,
    sliding_window_field,
    step_and_shoot_field,
)

from opentps_brimstone.dicom import RTPlanError, RTPlanWarning, read_rt_plan, write_rt_plan
from opentps_brimstone.sequencing import MLC, Aperture, JawPositions, open_shares

# How many damaged files the reader is given.
DAMAGED_FILES = int(os.environ.get("OPENTPS_BRIMSTONE_DAMAGED_FILES", "2000"))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "plan.dcm"


def read(dataset, path, **options):
    return read_rt_plan(save(dataset, path), **options)


def fluence(plan, xy_mm, spacing_mm=1.0):
    """Fluence of segments on beamlets of the beam's eye view."""
    total = np.zeros(len(xy_mm))
    for segment in plan.beamSegments:
        bank = segment.Xmlc_mm
        mlc = MLC("file", (*bank[:, 0], bank[-1, 1]))
        jaws = JawPositions(tuple(segment.x_jaw_mm), tuple(segment.y_jaw_mm))
        aperture = Aperture(bank[:, 2], bank[:, 3], segment.mu)
        total += segment.mu * open_shares(aperture, mlc, jaws, xy_mm, spacing_mm)
    return total


# ---------------------------------------------------------------------------------------------------- kinds of plans


@pytest.mark.parametrize("names", [("ASYMX", "ASYMY"), ("X", "Y"), ("ASYMX", "Y")])
def test_static_field_of_jaws_alone(path, names):
    plan = read(plan_dataset(open_field(names), mu=120), path)
    (segment,) = plan.beamSegments
    assert (segment.x_jaw_mm, segment.y_jaw_mm, segment.mu) == ([-50, 40], [-30, 60], 120)
    assert plan.beams[0].isocenterPosition_mm == list(ISOCENTER)
    plan.createBeamletsFromSegments()
    xy = np.reshape(plan.beams[0].beamletsXY_mm, (-1, 2))
    # 90 x 90 mm of beamlets of 2.5 mm.
    assert len(xy) == 36 * 36
    np.testing.assert_allclose(xy.mean(axis=0), [-5, 15])
    plan.simplify()
    assert len(plan.beamlets) == 36 * 36


def test_a_field_of_jaws_alone_is_written_as_one(path, tmp_path):
    plan = read(plan_dataset(open_field()), path)
    write_rt_plan(plan, tmp_path / "again.dcm")
    beam = pydicom.dcmread(tmp_path / "again.dcm").BeamSequence[0]
    assert [item.RTBeamLimitingDeviceType for item in beam.BeamLimitingDeviceSequence] == ["ASYMX", "ASYMY"]
    assert_same_plan(read_rt_plan(tmp_path / "again.dcm"), plan)


def test_static_conformal_field_with_angles(path):
    plan = read(plan_dataset(conformal_field(), fractions=20), path)
    assert (plan.numberOfFractionsPlanned, plan.SAD_mm, plan.treatmentMachineName) == (20, 1000, "linac")
    assert (plan.patient.name, plan.patient.id, plan.patient.sex) == ("Doe^Jane", "4711", "F")
    assert plan.name == "other system"
    beam, (segment,) = plan.beams[0], plan.beamSegments
    # OpenTPS turns the other way.
    assert (segment.gantryAngle_degree, segment.couchAngle_degree) == (270, 10)
    assert (beam.gantryAngle_degree, beam.couchAngle_degree) == (270, 10)
    assert segment.beamLimitingDeviceAngle_degree == 30
    np.testing.assert_array_equal(segment.Xmlc_mm[:, 0], BOUNDARIES[:-1])
    np.testing.assert_array_equal(segment.Xmlc_mm[:, 1], BOUNDARIES[1:])
    np.testing.assert_array_equal(segment.Xmlc_mm[:, 2], [-20, -30, -35, -30, -20])
    np.testing.assert_array_equal(segment.Xmlc_mm[:, 3], [20, 30, 35.5, 30, 20])
    # Half of a leaf.
    assert (segment.xBeamletSpacing_mm, beam.nominalEnergy_MV) == (5, 6)
    plan.createBeamletsFromSegments()
    assert len(segment) == 2 * (8 + 12 + 14 + 12 + 8)


def test_step_and_shoot_with_jaws_given_once(path):
    plan = read(plan_dataset(step_and_shoot_field(), mu=200), path)
    first, second = plan.beamSegments
    np.testing.assert_allclose([first.mu, second.mu], [50, 150])
    assert first.x_jaw_mm == second.x_jaw_mm == [-40, 40]
    assert first.y_jaw_mm == second.y_jaw_mm == [-25, 25]
    np.testing.assert_array_equal(second.Xmlc_mm[:, 2:], [[0, 20], [0, 30], [-5, 35], [0, 30], [0, 20]])
    assert [segment.controlPointIndex for segment in plan.beamSegments] == [0, 1]


def test_sliding_window_gives_the_fluence_of_its_motion(path):
    """A window of 20 mm sweeping 180 mm opens a point for 20/180 of the meterset."""
    y = np.zeros(61)
    x = np.linspace(-60, 60, 61)
    for travel, tolerance in ((10.0, 0.5), (1.0, 0.05)):
        plan = read(plan_dataset(sliding_window_field(), mu=90), path, maximum_travel_mm=travel)
        assert len(plan.beamSegments) == 10 * np.ceil(18 / travel)
        assert sum(segment.mu for segment in plan.beamSegments) == pytest.approx(90)
        found = fluence(plan, np.column_stack([x, y]))
        assert found.mean() == pytest.approx(10, rel=0.02)
        np.testing.assert_allclose(found, 10, rtol=tolerance)


@pytest.mark.parametrize(
    ("start", "direction", "middles"),
    [(170, "CW", [172, 176, 180, 184, 188]), (190, "CC", [188, 184, 180, 176, 172]), (350, "CW", [352, 356, 0, 4, 8])],
)
def test_arc_segments_stand_in_the_middle_of_their_intervals(path, start, direction, middles):
    plan = read(plan_dataset(arc_field(start=start, direction=direction), mu=50), path)
    gantry = [(-segment.gantryAngle_degree) % 360 for segment in plan.beamSegments]
    np.testing.assert_allclose(gantry, middles)
    np.testing.assert_allclose([segment.mu for segment in plan.beamSegments], 10)
    np.testing.assert_allclose(plan.beamSegments[0].Xmlc_mm[:, 2:], np.tile([-19.5, 11], (5, 1)))
    # No X jaws on this machine.
    assert plan.beamSegments[0].x_jaw_mm == [-np.inf, np.inf]
    plan.createBeamletsFromSegments()
    assert all(len(segment) for segment in plan.beamSegments)


@pytest.mark.parametrize(("direction", "first"), [("CW", 183), ("CC", 177), ("NONE", 180)])
def test_an_arc_of_two_control_points_is_cut(path, direction, first):
    beam = arc_field(start=180, count=2, step=0, direction=direction)
    beam.ControlPointSequence[1].BeamLimitingDevicePositionSequence = []
    beam.ControlPointSequence[0].GantryRotationDirection = direction
    plan = read(plan_dataset(beam), path)
    gantry = [(-segment.gantryAngle_degree) % 360 for segment in plan.beamSegments]
    assert gantry[0] == pytest.approx(first)
    assert len(gantry) == (1 if direction == "NONE" else 60)
    assert sum(segment.mu for segment in plan.beamSegments) == pytest.approx(100)


def test_plans_of_other_systems_are_written_as_valid_files(path, tmp_path):
    fields = [open_field, conformal_field, step_and_shoot_field, sliding_window_field, arc_field]
    plan = read(plan_dataset(*(field(number=number) for number, field in enumerate(fields, start=1))), path)
    write_rt_plan(plan, tmp_path / "again.dcm")
    assert_same_plan(read_rt_plan(tmp_path / "again.dcm"), plan)
    assert_valid(tmp_path / "again.dcm")


def test_several_beams_and_setup_beams(path):
    fields = [open_field(number=1), arc_field(number=4), conformal_field(number=2), step_and_shoot_field(number=3)]
    dataset = plan_dataset(*fields)
    dataset.BeamSequence[2].TreatmentDeliveryType = "SETUP"
    # What a setup field is made of is not looked at.
    dataset.BeamSequence[2].ControlPointSequence = []
    plan = read(dataset, path)
    assert [(beam.id, beam.name) for beam in plan.beams] == [(1, "open"), (4, "arc"), (3, "step")]


def test_leaves_that_overlap_by_rounding_are_closed(path):
    dataset = plan_dataset(step_and_shoot_field())
    for point in dataset.BeamSequence[0].ControlPointSequence[2:]:
        point.BeamLimitingDevicePositionSequence[0].LeafJawPositions = [0, 0, 20.05, 0, 0, 20, 30, 20, 30, 20]
    plan = read(dataset, path)
    np.testing.assert_allclose(plan.beamSegments[1].Xmlc_mm[2, 2:], [20.025, 20.025])


# --------------------------------------------------------------------------------------------- what files leave out


def without(keyword, where=lambda dataset: dataset):
    def change(dataset):
        delattr(where(dataset), keyword)

    return change


def beam_of(dataset):
    return dataset.BeamSequence[0]


def point_of(dataset, index=0):
    return dataset.BeamSequence[0].ControlPointSequence[index]


def group_of(dataset):
    return dataset.FractionGroupSequence[0]


@pytest.mark.parametrize(
    ("change", "mu", "said"),
    [
        (without("FractionGroupSequence"), 100, "no fraction group; meterset weights are taken as MU, for one frac"),
        (without("NumberOfFractionsPlanned", group_of), 80, "the number of fractions is not said; one is taken"),
        (
            without("BeamMeterset", lambda d: group_of(d).ReferencedBeamSequence[0]),
            100,
            r"beam 1 \('step'\) has no meterset; its meterset weights are taken as MU",
        ),
        (without("FinalCumulativeMetersetWeight", beam_of), 80, None),
        (without("ReferencedPatientSetupNumber", beam_of), 80, None),
        (without("PatientSetupSequence"), 80, "the patient's position is not said"),
        (without("RadiationType", beam_of), 80, "does not say its radiation; photons are taken"),
        (without("PrimaryDosimeterUnit", beam_of), 80, None),
        (without("TreatmentDeliveryType", beam_of), 80, None),
        (without("NumberOfControlPoints", beam_of), 80, None),
        (without("NumberOfWedges", beam_of), 80, None),
        (without("SourceAxisDistance", beam_of), 80, None),
        (without("TreatmentMachineName", beam_of), 80, None),
        (without("NominalBeamEnergy", point_of), 80, "has no NominalBeamEnergy; 6 MV is taken"),
        (without("PatientSupportAngle", point_of), 80, "has no PatientSupportAngle; 0 is taken"),
        (without("BeamLimitingDeviceAngle", point_of), 80, "has no BeamLimitingDeviceAngle; 0 is taken"),
        (without("GantryRotationDirection", point_of), 80, None),
        (without("ControlPointIndex", point_of), 80, None),
        (without("CumulativeMetersetWeight", point_of), 80, None),
        (without("CumulativeMetersetWeight", lambda d: point_of(d, 3)), 80, None),
        (without("PatientName"), 80, None),
        (without("SOPClassUID"), 80, None),
    ],
)
def test_missing_values(path, change, mu, said):
    dataset = plan_dataset(step_and_shoot_field(), mu=80)
    change(dataset)
    # As old systems write: no preamble, implicit value representations.
    del dataset.file_meta
    dataset.save_as(path, implicit_vr=True, little_endian=True)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", RTPlanWarning)
        plan = read_rt_plan(path)
    notes = [str(warning.message) for warning in caught if warning.category is RTPlanWarning]
    assert len(notes) == (said is not None)
    if said is not None:
        with pytest.warns(RTPlanWarning, match=said):
            read_rt_plan(path)
    assert [segment.mu for segment in plan.beamSegments] == pytest.approx([mu / 4, 3 * mu / 4])
    assert plan.SAD_mm == 1000
    assert plan.beams[0].nominalEnergy_MV == 6


def test_beams_outside_the_fraction_group_and_fraction_groups(path):
    dataset = plan_dataset(open_field(number=1), conformal_field(number=2))
    del dataset.FractionGroupSequence[0].ReferencedBeamSequence[0]
    with pytest.warns(RTPlanWarning, match=r"beam 1 \('open'\) is not in fraction group 1 and left out"):
        plan = read(dataset, path)
    assert [beam.id for beam in plan.beams] == [2]
    second = make_item(
        FractionGroupNumber=2,
        NumberOfFractionsPlanned=5,
        ReferencedBeamSequence=[make_item(ReferencedBeamNumber=1, BeamMeterset=10)],
    )
    dataset.FractionGroupSequence.append(second)
    with pytest.raises(RTPlanError, match=r"has the groups \[1, 2\]; say with fraction_group which one to read"):
        read(dataset, path)
    with pytest.warns(RTPlanWarning, match=r"beam 2 \('conformal'\) is not in fraction group 2"):
        plan = read(dataset, path, fraction_group=2)
    assert [(beam.id, plan.numberOfFractionsPlanned) for beam in plan.beams] == [(1, 5)]
    with pytest.raises(RTPlanError, match=r"has no group 3; there are \[1, 2\]"):
        read(dataset, path, fraction_group=3)


def test_jaws_without_positions_are_open(path):
    dataset = plan_dataset(conformal_field())
    point = point_of(dataset)
    point.BeamLimitingDevicePositionSequence = point.BeamLimitingDevicePositionSequence[1:]
    with pytest.warns(RTPlanWarning, match=r"beam 1 \('conformal'\) has X jaws without positions"):
        plan = read(dataset, path)
    assert plan.beamSegments[0].x_jaw_mm == [-np.inf, np.inf]


def test_modifiers(path):
    dataset = plan_dataset(conformal_field())
    beam_of(dataset).NumberOfBoli = 1
    with pytest.warns(RTPlanWarning, match="has a bolus, which is left out"):
        read(dataset, path)
    beam_of(dataset).NumberOfBoli = 0
    beam_of(dataset).NumberOfWedges = 1
    with pytest.raises(
        RTPlanError, match=r"NumberOfWedges \(300A,00D0\) says that the beam has a wedge, which OpenTPS"
    ):
        read(dataset, path)
    with pytest.warns(RTPlanWarning, match="has a wedge, which is left out"):
        read(dataset, path, ignore_modifiers=True)
    point_of(dataset).WedgePositionSequence = [make_item(ReferencedWedgeNumber=1, WedgePosition="OUT")]
    assert len(read(dataset, path).beams) == 1
    beam_of(dataset).PrimaryFluenceModeSequence = [make_item(FluenceMode="NON_STANDARD")]
    with pytest.warns(RTPlanWarning, match="non-standard fluence mode"):
        read(dataset, path)


# -------------------------------------------------------------------------------------------------------- bad input


def put(where, **values):
    def change(dataset):
        for keyword, value in values.items():
            setattr(where(dataset), keyword, value)

    return change


def leaves_of(dataset, index=2):
    return point_of(dataset, index).BeamLimitingDevicePositionSequence[0]


def mlc_of(dataset):
    return beam_of(dataset).BeamLimitingDeviceSequence[2]


def beam_twice(dataset):
    dataset.BeamSequence.append(dataset.BeamSequence[0])


def jaws_only_in_x(dataset):
    dataset.BeamSequence = [
        beam_dataset(
            1,
            "half",
            [device("ASYMX")],
            control_points({**FIRST, "devices": {"ASYMX": [-5, 5]}}, {"CumulativeMetersetWeight": 1}),
        )
    ]


def second_bank(dataset):
    beam_of(dataset).BeamLimitingDeviceSequence.append(device("MLCX", BOUNDARIES))


def beamless(dataset):
    dataset.BeamSequence = []
    dataset.ApplicationSetupSequence = [make_item(ApplicationSetupNumber=1)]


PLACE_2 = r"plan.dcm, beam 1 \('step'\), control point 2: "


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (put(lambda d: d, SOPClassUID="1.2.840.10008.5.1.4.1.1.481.8"), "is an RT Ion Plan; only photon plans"),
        (put(lambda d: d, SOPClassUID="1.2.840.10008.5.1.4.1.1.2"), "is not an RT Plan but CT Image Storage"),
        (beamless, r"BeamSequence \(300A,00B0\) is missing or empty: the plan has no external beams; it is a brachy"),
        (put(beam_of, RadiationType="ELECTRON"), r"beam 1 \('step'\): RadiationType \(300A,00C6\) is ELECTRON; only"),
        (put(beam_of, RadiationType="PROTON"), "is PROTON; only photon beams can be read"),
        (put(beam_of, PrimaryDosimeterUnit="MINUTE"), "is MINUTE; only beams in monitor units"),
        (put(beam_of, NumberOfBlocks=2), "says that the beam has a block, which OpenTPS cannot calculate"),
        (put(beam_of, NumberOfCompensators=1), "says that the beam has a compensator"),
        (put(beam_of, TreatmentDeliveryType="ODD"), "is 'ODD', which is not a known kind of delivery"),
        (put(beam_of, TreatmentDeliveryType="SETUP"), "has no treatment beam with monitor units"),
        (
            put(lambda d: d.PatientSetupSequence[0], PatientPosition="SITTING"),
            "is SITTING; beams are understood for HFS, HFP",
        ),
        (put(beam_of, SourceAxisDistance=-1), "must be positive, got -1 mm"),
        (beam_twice, r"BeamNumber \(300A,00C0\) is 1 in two items of BeamSequence"),
        (without("BeamNumber", beam_of), r"BeamNumber \(300A,00C0\) is missing in item 1 of BeamSequence"),
        (put(lambda d: group_of(d).ReferencedBeamSequence[0], ReferencedBeamNumber=7), "refers to beam 7, which the"),
        (put(lambda d: group_of(d).ReferencedBeamSequence[0], BeamMeterset=-5), "must not be negative, got -5"),
        (put(lambda d: group_of(d).ReferencedBeamSequence[0], BeamMeterset=1e9), "numbers between -1e.06 and 1e.06"),
        (put(group_of, NumberOfFractionsPlanned=-3), "must be an integer from 1 to 1000, got -3"),
        (put(beam_of, NumberOfControlPoints=5), "is 5, but ControlPointSequence has 4 items"),
        (put(beam_of, FinalCumulativeMetersetWeight=90), "is 90, but the last control point has 100"),
        (
            put(lambda d: point_of(d, 2), CumulativeMetersetWeight=20),
            PLACE_2 + r"CumulativeMetersetWeight \(300A,0134\) falls from 25 to 20; it must rise",
        ),
        (without("CumulativeMetersetWeight", lambda d: point_of(d, 2)), PLACE_2 + r"Cumulative.* is missing"),
        (put(point_of, CumulativeMetersetWeight=5), "control point 0: .* must be 0, got 5"),
        (put(lambda d: point_of(d, 2), ControlPointIndex=1), PLACE_2 + r".* is 1; control points must be numbered"),
        (
            put(leaves_of, LeafJawPositions=[0, 0, 9, 0, 0, 20, 30, 8.5, 30, 20]),
            PLACE_2 + r"LeafJawPositions \(300A,011C\) has leaves that overlap: of pair 2, the left is at 9 and the",
        ),
        (put(leaves_of, LeafJawPositions=[0, 0, 20, 30]), PLACE_2 + "LeafJawPositions .* must hold 10 numbers, got 4"),
        (put(leaves_of, LeafJawPositions=[0] * 9 + [5e6]), "must hold numbers between -1000 and 1000, got 5000000.0"),
        (put(leaves_of, LeafJawPositions=None), PLACE_2 + "LeafJawPositions .* is missing"),
        (put(leaves_of, RTBeamLimitingDeviceType="MLCY"), PLACE_2 + ".* is MLCY: OpenTPS's segments cannot have"),
        (put(leaves_of, RTBeamLimitingDeviceType="MLCX1"), PLACE_2 + ".* is 'MLCX1'; it must be one of X, ASYMX"),
        (put(mlc_of, LeafPositionBoundaries=[0, 10, 20]), "has 3 positions, which does not fit 5 leaf pairs"),
        (put(mlc_of, LeafPositionBoundaries=[0, 10, 9, 20, 30, 40]), "goes from 10 to 9 mm at leaf pair 1; it must"),
        (without("LeafPositionBoundaries", mlc_of), r"LeafPositionBoundaries \(300A,00BE\) is missing"),
        (second_bank, "is MLCX beside MLCX; one such device is possible"),
        (jaws_only_in_x, "has neither leaves .* nor jaws in x and y, so the field has no edges"),
        (without("BeamLimitingDevicePositionSequence", point_of), "control point 0: .* has no positions of MLCX"),
        (without("BeamLimitingDeviceSequence", beam_of), "positions of MLCX, whose leaf boundaries the beam does not"),
        (
            put(lambda d: point_of(d).BeamLimitingDevicePositionSequence[1], LeafJawPositions=[5, -5]),
            "has y jaws that are closed, at 5 and -5 mm",
        ),
        (without("GantryAngle", point_of), r"control point 0: GantryAngle \(300A,011E\) is missing"),
        (put(point_of, GantryRotationDirection="LEFT"), "is 'LEFT'; it must be CW, CC or NONE"),
        (put(lambda d: point_of(d, 2), TableTopPitchAngle=2.0), PLACE_2 + ".* is 2 degrees; OpenTPS knows only 0"),
        (without("IsocenterPosition", point_of), r"control point 0: IsocenterPosition \(300A,012C\) is missing"),
        (put(lambda d: point_of(d, 2), IsocenterPosition=[0, 0, 0]), PLACE_2 + ".* moves from .* one isocenter"),
        (put(lambda d: point_of(d, 2), NominalBeamEnergy=18), PLACE_2 + ".* changes from 6 to 18 MV within a beam"),
        (put(beam_of, ControlPointSequence=[]), "must have two items or more, got 0"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(path, change, said):
    dataset = plan_dataset(step_and_shoot_field())
    change(dataset)
    with pytest.raises(RTPlanError, match=said):
        read(dataset, path)


def test_the_error_has_its_place_as_values(path):
    dataset = plan_dataset(step_and_shoot_field(number=7))
    point_of(dataset, 2).CumulativeMetersetWeight = 20
    with pytest.raises(RTPlanError) as caught:
        read(dataset, path)
    error = caught.value
    assert isinstance(error, ValueError)
    assert (error.path, error.beam, error.control_point) == (str(path), "7 ('step')", 2)
    assert error.tag == "CumulativeMetersetWeight (300A,0134)"


def test_names_are_what_can_be_written(path, tmp_path):
    dataset = plan_dataset(open_field())
    beam_of(dataset).BeamName = "left\tlateral\x00"
    plan = read(dataset, path)
    assert plan.beams[0].name == "left lateral"
    write_rt_plan(plan, tmp_path / "again.dcm")
    assert read_rt_plan(tmp_path / "again.dcm").beams[0].name == "left lateral"


def test_files_that_are_no_plan(path, tmp_path):
    with pytest.raises(FileNotFoundError):
        read_rt_plan(path)
    with pytest.raises(OSError, match="directory"):
        read_rt_plan(tmp_path)
    for content in (b"", b"This is a text, and no DICOM file at all.", bytes(range(256)) * 10):
        path.write_bytes(content)
        with pytest.raises(RTPlanError, match="DICOM file"):
            read_rt_plan(path)
    dataset = plan_dataset(open_field())
    save(dataset, path)
    for name in ("maximum_travel_mm", "maximum_turn_degrees", "beamlet_spacing_mm"):
        with pytest.raises(ValueError, match=f"{name} must be 0.1 or more, got 0"):
            read_rt_plan(path, **{name: 0})


# ---------------------------------------------------------------------------------------------------- damaged files


def encoded(dataset):
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def elements(dataset):
    """Every element of a dataset and of its sequences: the dataset it stands in, its tag, itself not yet decoded."""
    found = []
    for tag in list(dataset.keys()):
        element = dataset.get_item(tag)
        if element.VR == "SQ":
            element = dataset[tag]
            for item in element.value:
                found += elements(item)
        found.append((dataset, tag, element))
    return found


WRONG_VALUES = [
    b"", b"NaN ", b"inf ", b"-1", b"0 ", b"1e400 ", b"-1e30 ", b"99999999999999", b"1\\2 ", b"abc ", b"\\\\\\ ",
    b"\xff\xfe\x00\x01", b"\x00" * 8, b"ASYMX ", b"MLCX", b"1.5 ", b"-0 ", b"180 ", b"2147483648", b"PHOTON",
]  # fmt: skip
WRONG_TYPES = ["DS", "IS", "LO", "UN", "OB", "FL", "US", "AT", "PN", "UI", "SQ", "CS", "ZZ"]


def change_element(rng, parent, tag, raw):
    """Remove, empty, replace or retype an element, or lose, repeat or turn round the items of a sequence."""
    kind = rng.integers(4)
    if kind == 0 or (raw.VR != "SQ" and not raw.is_raw):
        del parent._dict[tag]
    elif raw.VR == "SQ":
        items = list(raw.value)
        chosen = rng.permutation(len(items))
        chosen = (chosen[:-1], chosen, [*chosen, *chosen[:1]], [])[rng.integers(4)]
        parent._dict[tag] = DataElement(tag, "SQ", [items[index] for index in chosen])
    elif kind == 1:
        parent._dict[tag] = raw._replace(VR=str(rng.choice(WRONG_TYPES)))
    else:
        old = raw.value or b""
        half = len(old) // 4 * 2
        like_old = [old[:half], old + old, rng.bytes(6), old.replace(b".", b"-"), old.replace(b"1", b"9")]
        candidates = [*WRONG_VALUES, *like_old]
        new = candidates[rng.integers(len(candidates))]
        new += b" " * (len(new) % 2)
        parent._dict[tag] = raw._replace(value=new, length=len(new))


def change_bytes(rng, content):
    """Flip bytes, cut, lose or repeat a part of a file."""
    kind = rng.integers(4)
    content = bytearray(content)
    low, high = sorted(rng.integers(0, len(content), 2))
    if kind == 0:
        for place in rng.integers(0, len(content), rng.integers(1, 20)):
            content[place] = rng.integers(256)
    elif kind == 1:
        del content[low:]
    elif kind == 2:
        del content[low : min(high, low + 200)]
    else:
        content[low:low] = content[low : min(high, low + 200)]
    return bytes(content)


class Victim:
    """A plan file to make damaged ones of; it stays as it is."""

    def __init__(self, content):
        self.content = content
        self.dataset = pydicom.dcmread(io.BytesIO(content))
        self.places = elements(self.dataset)
        self.contents = {id(parent): (parent, dict(parent._dict)) for parent, _, _ in self.places}

    def damaged(self, rng):
        if rng.random() < 0.25:
            return change_bytes(rng, self.content)
        for place in rng.choice(len(self.places), rng.integers(1, 4), replace=False):
            change_element(rng, *self.places[place])
        try:
            return encoded(self.dataset)
        except Exception:
            # pydicom would not write it; damage the file below its eyes.
            return change_bytes(rng, self.content)
        finally:
            for parent, contents in self.contents.values():
                parent._dict = dict(contents)


def assert_sound(plan):
    """Nothing in a plan that was read would hurt what works on it."""
    assert plan.beams
    for segment in plan.beamSegments:
        assert np.isfinite(segment.Xmlc_mm).all()
        assert np.abs(segment.Xmlc_mm).max() <= 2000
        assert (segment.Xmlc_mm[:, 2] <= segment.Xmlc_mm[:, 3]).all()
        assert 0 < segment.mu <= 1e6
        assert segment.x_jaw_mm[0] < segment.x_jaw_mm[1]
        assert segment.y_jaw_mm[0] < segment.y_jaw_mm[1]
        assert segment.xBeamletSpacing_mm >= 0.25
        assert 0 <= segment.gantryAngle_degree < 360


@pytest.mark.filterwarnings("ignore")
def test_damaged_files_never_raise_anything_else(path, tmp_path):
    rng = np.random.default_rng(20)
    write_rt_plan(sequenced_plan(segments=2), path)
    files = [
        Victim(path.read_bytes()),
        Victim(encoded(plan_dataset(open_field(), conformal_field(number=2)))),
        Victim(encoded(plan_dataset(step_and_shoot_field()))),
        Victim(encoded(plan_dataset(arc_field(count=3)))),
    ]
    again = tmp_path / "again.dcm"
    refused = 0
    for number in range(DAMAGED_FILES):
        path.write_bytes(files[number % len(files)].damaged(rng))
        try:
            plan = read_rt_plan(path)
        except RTPlanError as error:
            assert str(error).startswith(str(path))
            refused += 1
            continue
        assert_sound(plan)
        if number % 10 == 0:
            write_rt_plan(plan, again)
            assert_same_plan(read_rt_plan(again), plan)
    # Both happen: much damage is harmless, much is not.
    assert 0.2 * DAMAGED_FILES < refused < 0.9 * DAMAGED_FILES


def test_the_damage_is_real():
    """The files of the test above differ from what they were made of, and from each other."""
    victim = Victim(encoded(plan_dataset(step_and_shoot_field())))
    rng = np.random.default_rng(21)
    changed = [victim.damaged(rng) for _ in range(50)]
    assert sum(other != victim.content for other in changed) >= 47
    assert len(set(changed)) >= 45
    assert encoded(victim.dataset) == victim.content
