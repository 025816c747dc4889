"""What belongs to a CT and what does not: one rule for structure sets, doses and plans, and one word to override it."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import numpy as np
import pydicom
import pytest
from made_ct import ROIS, MadeCT, ball, made, made_ct, made_structures, volume_cc, write_case
from pydicom.uid import generate_uid
from rt_plan_files import open_field, plan_dataset, save

import opentps_brimstone as pb
from opentps_brimstone.cli.program import main
from opentps_brimstone.dicom import read_rt_plan
from opentps_brimstone.dicom.errors import DicomError
from opentps_brimstone.dicom.header import frames_of_reference
from opentps_brimstone.dicom.identity import IDENTITIES, Identity, contradictions
from opentps_brimstone.dicom.rt_dose import write_rt_dose
from opentps_brimstone.request.reader import parse_prescription
from opentps_brimstone.workflow.references import checked_references


def read(folder: Path, **options) -> pb.Series:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return pb.Series.from_dicom(folder, **options)


@pytest.mark.parametrize(
    ("one", "other", "kinds"),
    [
        (Identity("1", "A^B"), Identity("1", "C"), []),
        (Identity("1", "A^B"), Identity("2", "A^B"), ["patient"]),
        (Identity("", "A^B"), Identity("2", "a b"), []),
        (Identity("", "A^B"), Identity("2", "C"), ["patient"]),
        (Identity("", ""), Identity("2", "C"), []),
        (Identity(study="1.2"), Identity(study="1.3"), ["study"]),
        (Identity(frames=frozenset(["1", "2"])), Identity(frames=frozenset(["2"])), []),
        (Identity(frames=frozenset(["1"])), Identity(frames=frozenset(["2"])), ["frame_of_reference"]),
        (Identity(frames=frozenset(["1"])), Identity(), []),
    ],
)
def test_the_rule(one: Identity, other: Identity, kinds: list[str]) -> None:
    assert list(contradictions(one, other)) == kinds
    assert list(contradictions(other, one)) == kinds


# ------------------------------------------------------------------------------------------------- structure sets


def of_another_patient(ct: MadeCT):
    structures = made_structures(ct)
    structures.PatientID = "P2"
    return structures


def of_another_frame(ct: MadeCT):
    return made_structures(ct, frame=generate_uid())


def of_another_series_alone(ct: MadeCT):
    structures = made_structures(made_ct())
    del structures.ReferencedFrameOfReferenceSequence[0].FrameOfReferenceUID
    for roi in structures.StructureSetROISequence:
        roi.ReferencedFrameOfReferenceUID = ""
    return structures


@pytest.mark.parametrize(
    ("make", "kind", "message"),
    [
        (of_another_patient, "patient", "PatientID is 'P2', not 'P1'"),
        (of_another_frame, "frame_of_reference", "FrameOfReferenceUID is .*, not .*: coordinates are not the same"),
        (of_another_series_alone, "series", "it refers to the series"),
    ],
)
def test_a_structure_set_that_does_not_belong_is_refused_unless_it_is_accepted(
    tmp_path: Path, make, kind: str, message: str
) -> None:
    ct = made_ct()
    write_case(tmp_path, ct, make(ct))
    with pytest.raises(DicomError, match=rf"rs.dcm .* does not belong to series 2 .*{message}.*--accept"):
        pb.Series.from_dicom(tmp_path)
    others = [each for each in IDENTITIES if each != kind]
    with pytest.raises(DicomError, match="does not belong"):
        pb.Series.from_dicom(tmp_path, accept=others)
    with pytest.warns(UserWarning) as caught:
        series = pb.Series.from_dicom(tmp_path, accept=kind)
    assert str(caught[0].message).startswith("rs.dcm is taken although its")
    assert series.structures.keys() == ["PTV", "BODY"]


def test_a_structure_set_of_another_study_is_taken_with_a_word(tmp_path: Path) -> None:
    ct = made_ct()
    structures = made_structures(ct)
    structures.StudyInstanceUID = "1.2.3"
    write_case(tmp_path, ct, structures)
    with pytest.warns(UserWarning, match=r"rs.dcm is taken although its StudyInstanceUID is 1.2.3, not"):
        assert len(pb.Series.from_dicom(tmp_path).structures) == 2


def test_beside_one_that_belongs_others_are_left_out_and_named(tmp_path: Path) -> None:
    ct = made_ct()
    write_case(tmp_path, ct)
    stranger = of_another_patient(ct)
    stranger.save_as(tmp_path / "stranger.dcm", enforce_file_format=True)
    with pytest.warns(UserWarning, match=r"stranger.dcm .* is left out: its PatientID is 'P2', not 'P1'"):
        assert len(pb.Series.from_dicom(tmp_path).structures) == 2


def test_structures_in_another_frame_are_left_out_and_named(tmp_path: Path) -> None:
    ct = made_ct()
    structures = made_structures(ct, (*ROIS, ("GTV_MR", "GTV", ball(6.0, (9.0, 9.0, 0.0)))))
    structures.ReferencedFrameOfReferenceSequence.append(made(FrameOfReferenceUID="1.2.9"))
    structures.StructureSetROISequence[2].ReferencedFrameOfReferenceUID = "1.2.9"
    write_case(tmp_path, ct, structures)
    with pytest.warns(UserWarning, match=r"'GTV_MR' is left out: its frame of reference is 1.2.9, not that of the CT"):
        series = pb.Series.from_dicom(tmp_path)
    assert series.structures.keys() == ["PTV", "BODY"]
    with pytest.raises(KeyError, match=r"'GTV_MR' cannot be used: its frame of reference is 1.2.9"):
        series.structures["GTV_MR"]
    with pytest.warns(UserWarning, match=r"'GTV_MR' taken although its frame of reference is 1.2.9"):
        assert "GTV_MR" in pb.Series.from_dicom(tmp_path, accept=["frame_of_reference"]).structures


def test_the_ct_that_outlines_are_drawn_on_is_taken(tmp_path: Path) -> None:
    """A structure set that names two series of one frame."""
    frame = generate_uid()
    first = made_ct(FrameOfReferenceUID=frame)
    second = made_ct(FrameOfReferenceUID=frame, StudyInstanceUID=first.slices[0].StudyInstanceUID)
    structures = made_structures(first)
    study = structures.ReferencedFrameOfReferenceSequence[0].RTReferencedStudySequence[0]
    study.RTReferencedSeriesSequence.append(made(SeriesInstanceUID=second.slices[0].SeriesInstanceUID))
    second.write(tmp_path / "second")
    series = read(write_case(tmp_path, first, structures))
    assert series.dicom["SeriesInstanceUID"] == first.slices[0].SeriesInstanceUID


def test_a_structure_set_of_another_series_in_the_same_frame_is_told_of(tmp_path: Path) -> None:
    ct = made_ct()
    structures = made_structures(ct, images=False)
    study = structures.ReferencedFrameOfReferenceSequence[0].RTReferencedStudySequence[0]
    study.RTReferencedSeriesSequence[0].SeriesInstanceUID = "1.2.7"
    with pytest.warns(UserWarning, match=r"was drawn on another series \(1.2.7\) in the same frame of reference"):
        pb.Series.from_dicom(write_case(tmp_path, ct, structures))


# ---------------------------------------------------------------------------------------------- numbers of structures


def test_structures_of_one_number_are_left_out_and_named(tmp_path: Path) -> None:
    ct = made_ct()
    structures = made_structures(ct, (*ROIS, ("Cord", "ORGAN", ball(6.0, (0.0, 15.0, 0.0)))))
    structures.StructureSetROISequence[1].ROINumber = 1
    write_case(tmp_path, ct, structures)
    with pytest.warns(UserWarning) as caught:
        series = pb.Series.from_dicom(tmp_path)
    said = " ".join(str(each.message) for each in caught)
    assert "'PTV' is left out: 2 structures have the ROI number 1" in said
    assert "'BODY' is left out: 2 structures have the ROI number 1" in said
    assert "outlines of ROI number 2 are left out" in said
    assert series.structures.keys() == ["Cord"]


def test_ambiguous_numbers_may_be_matched_by_order(tmp_path: Path) -> None:
    ct = made_ct()
    structures = made_structures(ct)
    structures.StructureSetROISequence[1].ROINumber = 1
    write_case(tmp_path, ct, structures)
    with pytest.warns(UserWarning, match="structures are matched by their order"):
        series = pb.Series.from_dicom(tmp_path, accept="roi_number")
    volumes = [volume_cc(structure, series.grid) for structure in series.structures]
    assert volumes == pytest.approx([4 / 3 * np.pi * 0.9**3, np.pi * 9 * 2.4], rel=0.03)


# ------------------------------------------------------------------------------------------------- slices


@pytest.mark.parametrize(("keyword", "kind"), [("PatientID", "patient"), ("FrameOfReferenceUID", "frame_of_reference")])
def test_slices_of_a_series_must_agree(tmp_path: Path, keyword: str, kind: str) -> None:
    ct = made_ct(edit=lambda dataset, number: number == 3 and setattr(dataset, keyword, "1.9"))
    write_case(tmp_path, ct)
    with pytest.raises(DicomError, match=rf"ct003.dcm: {keyword} is '?1.9'?, not .* in ct000.dcm of the same series"):
        pb.Series.from_dicom(tmp_path)
    assert read(tmp_path, accept=[kind]).grid.shape[2] == 8


# ------------------------------------------------------------------------------------------------- plans and doses


@pytest.fixture
def series(tmp_path: Path) -> pb.Series:
    return read(write_case(tmp_path / "ct"))


def test_a_plan_must_belong_to_the_ct(series: pb.Series, tmp_path: Path) -> None:
    dataset = plan_dataset(open_field())
    dataset.PatientID, dataset.FrameOfReferenceUID = "P1", "1.2.5"
    dataset.StudyInstanceUID = series.dicom["StudyInstanceUID"]
    path = save(dataset, tmp_path / "plan.dcm")
    with pytest.raises(DicomError, match=r"plan.dcm: does not belong to the CT: its FrameOfReferenceUID is 1.2.5"):
        read_rt_plan(path, series=series)
    with pytest.raises(DicomError, match="does not belong to the CT"):
        pb.compute_dose(path, series, progress=False)
    with pytest.warns(UserWarning, match=r"its FrameOfReferenceUID is 1.2.5, .* the plan is taken all the same"):
        assert read_rt_plan(path, series=series, accept=["frame_of_reference"]).beams
    dataset.FrameOfReferenceUID, dataset.PatientID = series.dicom["FrameOfReferenceUID"], "P7"
    with pytest.raises(DicomError, match=r"its PatientID is 'P7', not 'P1'"):
        read_rt_plan(dataset, series=series)


def test_a_dose_must_belong_to_the_ct(series: pb.Series, tmp_path: Path) -> None:
    path = tmp_path / "dose.dcm"
    write_rt_dose(np.ones((2, 2, 2)), pb.VoxelGrid((2, 2, 2), (2.0, 2.0, 2.0)), path, patient_id="P2")
    with pytest.raises(DicomError, match=r"dose.dcm: the dose does not belong to the CT: its PatientID is 'P2'"):
        pb.dose_from_dataset(path, series=series)
    with pytest.warns(UserWarning, match="the dose is taken all the same"):
        pb.dose_from_dataset(path, series=series, accept=("patient", "frame_of_reference"))


def test_what_is_written_is_for_the_patient_of_the_ct(tmp_path: Path) -> None:
    ct = made_ct()
    structures = made_structures(ct, frame=generate_uid())
    structures.PatientID, structures.StudyInstanceUID = "P2", "1.2.3"
    folder = write_case(tmp_path, ct, structures)
    kinds = ("patient", "frame_of_reference")
    with pytest.warns(UserWarning, match="taken although"):
        series = pb.Series.from_dicom(folder, accept=kinds)
    with pytest.raises(ValueError, match="do not belong together"):
        checked_references(folder, series)
    references = checked_references(folder, series, frozenset(kinds))
    for keyword in ("PatientID", "StudyInstanceUID"):
        assert references["structure_set"].get(keyword) == references["ct"].get(keyword)
    assert frames_of_reference(references["structure_set"]) == {ct.slices[0].FrameOfReferenceUID}
    assert pydicom.dcmread(folder / "rs.dcm").PatientID == "P2"


# ------------------------------------------------------------------------------------------------- files, command line


def test_unknown_kinds_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="accept names 'frame'; it may name patient, study, series, frame_of_ref"):
        pb.Series.from_dicom(write_case(tmp_path), accept="frame")


def test_a_prescription_file_says_what_to_accept() -> None:
    text = """
        input = {accept = ["patient", "roi_number"], patient_position = "FFS", series = "2"}
        plan.fractions = 25
        beams = [{gantry_angle = 0}]
        targets = [{structure = "PTV", dose_gy = 50}]
        prescription.goals = ["PTV D95 >= 50 Gy"]
        """
    asked = parse_prescription(text)
    assert asked.accept == ("patient", "roi_number")
    assert asked.choice.keywords() == {
        "series": "2",
        "structure_set": None,
        "accept": ("patient", "roi_number"),
        "patient_position": "FFS",
    }
    with pytest.raises(ValueError, match=r"line 2: input, accept 1: this is 'patience'; it may be 'patient', "):
        parse_prescription(text.replace('"patient"', '"patience"'))
    with pytest.raises(ValueError, match=r"input, patient_position: .*'FFX'"):
        parse_prescription(text.replace('"FFS"', '"FFX"'))


def test_the_command_says_how_to_choose_and_takes_it(tmp_path: Path, capsys) -> None:
    ct = made_ct()
    write_case(tmp_path, ct)
    made_structures(ct, (("GTV", "GTV", ball(9.0)),)).save_as(tmp_path / "second.dcm", enforce_file_format=True)
    assert main(["prescription", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert re.search(r"not clear which structure set.*structure_set in the table \[input\].*--structure-set", said)
    assert main(["prescription", str(tmp_path), "--structure-set", "second"]) == 0
    text = capsys.readouterr().out
    assert '[input]\nstructure_set = "second"\n' in text
    assert parse_prescription(text).structure_set == "second"


def test_the_command_accepts_contradictions(tmp_path: Path, capsys) -> None:
    ct = made_ct(position=None)
    write_case(tmp_path, ct, of_another_patient(ct))
    command = ["prescription", str(tmp_path), "--patient-position", "HFP"]
    assert main(command) == 2
    assert "--accept" in capsys.readouterr().err
    assert main([*command, "--accept", "patient"]) == 0
    asked = parse_prescription(capsys.readouterr().out)
    assert asked.accept == ("patient",)
    assert asked.patient_position == "HFP"
