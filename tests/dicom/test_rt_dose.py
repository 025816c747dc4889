from __future__ import annotations

import numpy as np
import pydicom
import pytest

from opentps_brimstone import VoxelGrid
from opentps_brimstone._util.silence import silent_opentps
from opentps_brimstone.dicom import write_rt_dose

GRID = VoxelGrid((5, 7, 4), (2.5, 3.0, 4.0), (-10.25, 20.0, -33.3))


@pytest.fixture
def dose():
    return np.random.default_rng(7).gamma(2.0, 10.0, GRID.shape)


# Half a step of the stored values, as a share of the maximum.
ROUNDING = {16: 0.51 / 65_000, 32: 1e-8}


@pytest.mark.parametrize("bits", [16, 32])
def test_opentps_reads_the_same_dose_in_the_same_place(tmp_path, dose, bits):
    path = tmp_path / "dose.dcm"
    write_rt_dose(dose, GRID, path, description="C-shape", plan_uid="1.2.3.4", bits=bits)
    with silent_opentps():
        from opentps.core.io.dicomIO import readDicomDose

        image = readDicomDose(str(path))
    np.testing.assert_allclose(image.imageArray, dose, rtol=0, atol=ROUNDING[bits] * dose.max())
    np.testing.assert_allclose(np.array(image.origin, dtype=float), GRID.origin_mm)
    np.testing.assert_allclose(np.array(image.spacing, dtype=float), GRID.spacing_mm)
    assert image.name == "C-shape"
    assert str(image.referencePlan) == "1.2.3.4"


def test_file_says_what_the_dose_is(tmp_path, dose):
    path = tmp_path / "dose.dcm"
    write_rt_dose(dose, GRID, path, patient_id="TG-119", frame_of_reference_uid="1.2.5")
    dataset = pydicom.dcmread(path)
    assert (dataset.Modality, dataset.DoseUnits, dataset.DoseType) == ("RTDOSE", "GY", "PHYSICAL")
    assert dataset.DoseSummationType == "PLAN"
    assert dataset.ReferencedRTPlanSequence[0].ReferencedSOPClassUID == "1.2.840.10008.5.1.4.1.1.481.5"
    assert (dataset.PatientID, dataset.FrameOfReferenceUID) == ("TG-119", "1.2.5")
    assert [float(z) for z in dataset.GridFrameOffsetVector] == [0, 4, 8, 12]
    values = dataset.pixel_array * float(dataset.DoseGridScaling)
    np.testing.assert_allclose(values[2, 6, 1], dose[1, 6, 2], rtol=0, atol=ROUNDING[16] * dose.max())


def test_a_dose_without_plan_belongs_to_the_patient_of_the_ct(tmp_path, dose):
    path = tmp_path / "dose.dcm"
    ct = pydicom.Dataset()
    known = {
        "Modality": "CT",
        "SOPClassUID": "1.2.840.10008.5.1.4.1.1.2",
        "SOPInstanceUID": "1.2.3.5",
        "StudyInstanceUID": "1.2.3",
        "PatientName": "Doe^Jane",
        "PatientID": "4711",
        "FrameOfReferenceUID": "1.2.9",
    }
    for keyword, value in known.items():
        setattr(ct, keyword, value)
    write_rt_dose(dose, GRID, path, ct=ct)
    dataset = pydicom.dcmread(path)
    for keyword in ("PatientName", "PatientID", "StudyInstanceUID", "FrameOfReferenceUID"):
        assert dataset[keyword].value == known[keyword]
    with pytest.raises(ValueError, match="different frames of reference"):
        write_rt_dose(dose, GRID, path, ct=ct, frame_of_reference_uid="1.2.8")


def test_texts_are_one_line_and_one_value(tmp_path, dose):
    path = tmp_path / "dose.dcm"
    write_rt_dose(dose, GRID, path, description="boost\\neck\nof " + 64 * "x", patient_id="A\\B")
    dataset = pydicom.dcmread(path)
    assert dataset.SeriesDescription == "boost neck of " + 50 * "x"
    assert dataset.PatientID == dataset.PatientName == "A B"


def test_no_dose_at_all_is_a_dose(tmp_path):
    path = tmp_path / "dose.dcm"
    write_rt_dose(np.zeros(GRID.shape), GRID, path)
    assert not pydicom.dcmread(path).pixel_array.any()


def test_what_is_no_dose_is_refused(tmp_path, dose):
    path = tmp_path / "dose.dcm"
    with pytest.raises(ValueError, match=r"the dose has the grid \(4, 7, 5\); it should be \(5, 7, 4\)"):
        write_rt_dose(dose.T, GRID, path)
    with pytest.raises(ValueError, match="a voxel of an RT Dose has 16 or 32 bits, not 8"):
        write_rt_dose(dose, GRID, path, bits=8)
    for wrong in (-1.0, np.nan, np.inf):
        dose[0, 0, 0] = wrong
        with pytest.raises(ValueError, match="must be finite and not negative"):
            write_rt_dose(dose, GRID, path)
    assert not path.exists()
