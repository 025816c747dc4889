"""Files that every other program reads: without preamble, with types left open, among bystanders, compressed."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pydicom
import pytest
from made_ct import (
    CT_CLASS,
    ROIS,
    SHAPE,
    ball,
    bare,
    made_ct,
    made_structures,
    new_dataset,
    rod,
    volume_cc,
    water_cylinder,
    write_case,
)
from pydicom.filewriter import write_dataset
from pydicom.uid import ImplicitVRLittleEndian, JPEGLSLossless, RLELossless, generate_uid
from rt_plan_files import assert_same_plan, conformal_field, plan_dataset

import opentps_brimstone as pb
from opentps_brimstone.dicom import read_rt_plan
from opentps_brimstone.dicom.errors import DicomError

BODY_CC = np.pi * 30**2 * 24 / 1000


def read(folder: Path) -> pb.Series:
    """Nothing of these files is worth a warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return pb.Series.from_dicom(folder)


@pytest.mark.parametrize("implicit", [False, True])
def test_files_without_preamble_and_meta_header(tmp_path: Path, implicit: bool) -> None:
    write_case(tmp_path)
    for path in tmp_path.iterdir():
        if implicit:
            dataset = pydicom.dcmread(path)
            dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
            dataset.save_as(path, implicit_vr=True)
        bare(path)
        assert path.read_bytes()[:2] == b"\x08\x00"
    (tmp_path / "notes.txt").write_text("DICOM files of a patient, exported on a Monday")
    (tmp_path / "short").write_bytes(b"\x08\x00")
    series = read(tmp_path)
    np.testing.assert_array_equal(series.ct_hu, water_cylinder())
    assert series.structures.keys() == ["PTV", "BODY"]


def test_a_meta_header_without_transfer_syntax(tmp_path: Path) -> None:
    write_case(tmp_path)
    for path in tmp_path.glob("ct*"):
        dataset = pydicom.dcmread(path)
        del dataset.file_meta.TransferSyntaxUID
        dataset.save_as(path, implicit_vr=False, little_endian=True)
    np.testing.assert_array_equal(read(tmp_path).ct_hu, water_cylinder())


def test_long_outlines_whose_type_was_left_open(tmp_path: Path) -> None:
    write_case(tmp_path, rois=(ROIS[0], ("BODY", "EXTERNAL", rod(30.0, n=3000))))
    raw = (tmp_path / "rs.dcm").read_bytes()
    assert b"\x06\x30\x50\x00UN" in raw
    series = read(tmp_path)
    assert volume_cc(series.structures["BODY"], series.grid) == pytest.approx(BODY_CC, rel=1e-3)


@pytest.mark.parametrize("keyword", ["ROIContourSequence", "StructureSetROISequence", "RTROIObservationsSequence"])
@pytest.mark.parametrize("points", [60, 700])
def test_sequences_whose_type_was_left_open(tmp_path: Path, monkeypatch, keyword: str, points: int) -> None:
    ct = made_ct()
    dataset = made_structures(ct, (("PTV", "PTV", ball(9.0, n=points)), ("BODY", "EXTERNAL", rod(30.0, n=points))))
    encoded = pydicom.filebase.DicomBytesIO()
    encoded.is_implicit_VR, encoded.is_little_endian = True, True
    part = pydicom.Dataset()
    setattr(part, keyword, dataset[keyword].value)
    write_dataset(encoded, part)
    header = 8  # tag and length of the sequence itself
    with monkeypatch.context() as changed:
        changed.setattr(pydicom.config, "replace_un_with_known_vr", False)
        dataset.add_new(keyword, "UN", encoded.getvalue()[header:])
        write_case(tmp_path, ct, dataset)
    series = read(tmp_path)
    assert series.structures.keys() == ["PTV", "BODY"]
    assert series.structures["PTV"].is_target
    assert volume_cc(series.structures["BODY"], series.grid) == pytest.approx(BODY_CC, rel=1e-3)


def test_numbers_of_the_ct_whose_type_was_left_open(tmp_path: Path) -> None:
    def open_types(dataset, _) -> None:
        for keyword in ("ImagePositionPatient", "PixelSpacing", "RescaleSlope"):
            text = "\\".join(map(str, np.atleast_1d(dataset[keyword].value)))
            dataset.add_new(keyword, "UN", (text + " " * (len(text) % 2)).encode())

    series = read(write_case(tmp_path, made_ct(edit=open_types)))
    np.testing.assert_array_equal(series.ct_hu, water_cylinder())


def test_values_of_a_plan_whose_type_was_left_open(tmp_path: Path, monkeypatch) -> None:
    dataset = plan_dataset(conformal_field())
    beam = dataset.BeamSequence[0]
    point = beam.ControlPointSequence[0]
    texts = [
        (beam, "BeamNumber"),
        (beam, "NumberOfControlPoints"),
        (point, "GantryAngle"),
        (point, "IsocenterPosition"),
    ]
    texts += [(item, "LeafJawPositions") for item in point.BeamLimitingDevicePositionSequence]
    texts += [(dataset.PatientSetupSequence[0], "PatientPosition")]
    expected = read_rt_plan(dataset)
    with monkeypatch.context() as changed:
        changed.setattr(pydicom.config, "replace_un_with_known_vr", False)
        for item, keyword in texts:
            value = item[keyword].value
            text = value if isinstance(value, str) else "\\".join(map(str, np.atleast_1d(value)))
            item[keyword] = pydicom.DataElement(keyword, "UN", (text + " " * (len(text) % 2)).encode())
        dataset.save_as(tmp_path / "plan.dcm", enforce_file_format=True)
    assert (tmp_path / "plan.dcm").read_bytes().count(b"UN\0\0") == len(texts)
    assert_same_plan(read_rt_plan(tmp_path / "plan.dcm"), expected)


def test_remarks_of_pydicom_are_not_ours(tmp_path: Path) -> None:
    """A whole number with a fraction, as some scanners write the exposure."""
    write_case(tmp_path, made_ct(edit=lambda dataset, _: setattr(dataset, "Exposure", 10)))
    for path in tmp_path.glob("ct*"):
        raw = path.read_bytes()
        at = raw.index(b"\x18\x00\x52\x11IS")
        path.write_bytes(raw[: at + 6] + b"\x04\x00" + b"14.5" + raw[at + 10 :])
    read(tmp_path)


# ------------------------------------------------------------------------------------------------- bystanders


def localizer(dataset, _) -> None:
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]


def screen_capture(dataset, _) -> None:
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.7"


def several_frames(dataset, _) -> None:
    dataset.NumberOfFrames = 2


def coronal(dataset, _) -> None:
    dataset.ImageOrientationPatient = [1, 0, 0, 0, 0, -1]


def report(dataset, _) -> None:
    dataset.ImageType = ["DERIVED", "SECONDARY", "OTHER"]
    dataset.Rows, dataset.Columns, dataset.PixelData = 2, 2, bytes(8)


def without_place(dataset, _) -> None:
    del dataset.ImagePositionPatient, dataset.ImageOrientationPatient


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (report, "it is a secondary image among primary ones"),
        (without_place, "it has no place in the patient"),
        (localizer, "it is a localizer"),
        (screen_capture, "it is not a CT image but Secondary Capture Image Storage"),
        (several_frames, "it has 2 slices in one file"),
        (coronal, "it is not an axial slice"),
    ],
)
def test_bystanders_in_the_series_are_passed_over_and_named(tmp_path: Path, edit, reason: str) -> None:
    ct = made_ct()
    first = ct.slices[0]
    write_case(tmp_path, ct)
    same = {key: first.get(key) for key in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")}
    made_ct(planes=[4.0], edit=edit, **same).write(tmp_path, "other")
    with pytest.warns(UserWarning, match=f"other000.dcm passed over: {reason}"):
        series = pb.Series.from_dicom(tmp_path)
    np.testing.assert_array_equal(series.ct_hu, water_cylinder())


def test_a_localizer_in_a_series_of_its_own_is_not_a_ct_to_choose_from(tmp_path: Path) -> None:
    made_ct(planes=[0.0], edit=localizer).write(tmp_path, "scout")
    assert read(write_case(tmp_path)).grid.shape == SHAPE


def test_a_folder_of_bystanders_says_what_they_are(tmp_path: Path) -> None:
    made_ct(edit=screen_capture).write(tmp_path)
    with pytest.raises(DicomError, match=r"no CT image in this folder:\n.*ct000.dcm: it is not a CT image but"):
        pb.Series.from_dicom(tmp_path)


def test_other_modalities_are_none_of_our_business(tmp_path: Path) -> None:
    ct = made_ct()
    other = new_dataset("1.2.840.10008.5.1.4.1.1.4", "MR", SeriesInstanceUID=ct.slices[0].SeriesInstanceUID, Rows=4)
    other.save_as(write_case(tmp_path, ct) / "mr.dcm", enforce_file_format=True)
    assert read(tmp_path).grid.shape == SHAPE


def test_slices_of_one_sop_instance_are_told_apart_by_their_place(tmp_path: Path) -> None:
    uid = generate_uid()
    write_case(tmp_path, made_ct(edit=lambda dataset, _: setattr(dataset, "SOPInstanceUID", uid)))
    assert read(tmp_path).grid.shape == SHAPE


# ------------------------------------------------------------------------------------------------- compression


def test_run_length_encoded_slices(tmp_path: Path) -> None:
    ct = made_ct()
    for dataset in ct.slices:
        dataset.compress(RLELossless)
    np.testing.assert_array_equal(read(write_case(tmp_path, ct)).ct_hu, water_cylinder())


@pytest.mark.parametrize("syntax", ["JPEGLosslessProcess14_1", "JPEGLSLossless", "JPEG2000Lossless"])
def test_slices_that_the_extra_compressed_decodes(tmp_path: Path, syntax: str) -> None:
    gdcm = pytest.importorskip("gdcm")
    write_case(tmp_path)
    for path in tmp_path.glob("ct*"):
        reader, writer, change = gdcm.ImageReader(), gdcm.ImageWriter(), gdcm.ImageChangeTransferSyntax()
        reader.SetFileName(str(path))
        assert reader.Read()
        change.SetTransferSyntax(gdcm.TransferSyntax(getattr(gdcm.TransferSyntax, syntax)))
        change.SetInput(reader.GetImage())
        assert change.Change()
        writer.SetFileName(str(path))
        writer.SetFile(reader.GetFile())
        writer.SetImage(change.GetOutput())
        assert writer.Write()
    np.testing.assert_array_equal(read(tmp_path).ct_hu, water_cylinder())


def test_a_missing_decoder_is_named(tmp_path: Path) -> None:
    ct = made_ct()
    for dataset in ct.slices:
        dataset.file_meta.TransferSyntaxUID = JPEGLSLossless
        dataset.PixelData = pydicom.encaps.encapsulate([b"\xff\xd8nothing that decodes\xff\xd9"])
        dataset["PixelData"].VR = "OB"
    with pytest.raises(DicomError, match=r"is compressed \(JPEG-LS Lossless .*install opentps-brimstone\[compressed\]"):
        pb.Series.from_dicom(write_case(tmp_path, ct))


# ------------------------------------------------------------------------------------------------- rounded places


def test_a_dose_whose_offsets_were_rounded(tmp_path: Path) -> None:
    from opentps_brimstone.dicom.rt_dose import write_rt_dose

    grid = pb.VoxelGrid((4, 4, 10), (2.0, 2.0, 10 / 3), (0.0, 0.0, -15.04))
    write_rt_dose(np.random.default_rng(1).random(grid.shape), grid, tmp_path / "dose.dcm")
    dataset = pydicom.dcmread(tmp_path / "dose.dcm")
    exact = np.array(dataset.GridFrameOffsetVector, dtype=float)
    for offsets in (np.round(exact, 1), np.round(exact + grid.origin_mm[2], 1)):
        dataset.GridFrameOffsetVector = [f"{each:.1f}" for each in offsets]
        found = pb.dose_from_dataset(dataset)
        np.testing.assert_allclose(found.grid.origin_mm, grid.origin_mm)
        assert found.grid.spacing_mm[2] == pytest.approx(10 / 3, abs=0.01)
    dataset.GridFrameOffsetVector = [*exact[:-1], exact[-1] + 1.0]
    with pytest.raises(DicomError, match="frames must be evenly spaced"):
        pb.dose_from_dataset(dataset)


def test_a_dose_without_preamble(tmp_path: Path) -> None:
    from opentps_brimstone.dicom.rt_dose import write_rt_dose

    dose = np.random.default_rng(1).random((4, 3, 5))
    write_rt_dose(dose, pb.VoxelGrid((4, 3, 5), (2.0, 2.0, 3.0)), tmp_path / "dose.dcm")
    bare(tmp_path / "dose.dcm")
    np.testing.assert_allclose(pb.dose_from_dataset(tmp_path / "dose.dcm"), dose, atol=1e-4)


def test_what_is_not_a_dicom_file(tmp_path: Path) -> None:
    for content in (b"", b"text", b"\x08\x00\x05\x00zz" * 30):
        path = tmp_path / "file.dcm"
        path.write_bytes(content)
        with pytest.raises(DicomError, match="is not a DICOM file"):
            pb.dose_from_dataset(path)
        with pytest.raises(DicomError, match=r"is not a DICOM file|is not an RT Plan"):
            read_rt_plan(path)


def test_the_class_of_a_ct_slice_is_ours_too() -> None:
    from opentps_brimstone.dicom import folder

    assert folder.CT_CLASS == CT_CLASS
