from __future__ import annotations

import numpy as np
import pydicom
import pytest

from opentps_brimstone import VoxelGrid
from opentps_brimstone._util.silence import silent_opentps
from opentps_brimstone.dicom.rt_dose import write_rt_dose
from opentps_brimstone.dicom.rt_dose_reader import dose_from_dataset

GRID = VoxelGrid((5, 7, 4), (2.5, 3.0, 4.0), (-10.25, 20.0, -33.3))


@pytest.fixture
def dose():
    return np.random.default_rng(7).gamma(2.0, 10.0, GRID.shape)


@pytest.fixture
def path(tmp_path, dose):
    path = tmp_path / "dose.dcm"
    write_rt_dose(dose, GRID, path)
    dataset = pydicom.dcmread(path)
    store(dataset, dose.transpose(2, 1, 0), bits=32)
    dataset.save_as(path)
    return path


def store(dataset, frames, bits):
    """Frames of rows and columns with unsigned numbers of so many bits."""
    scaling = float(f"{frames.max() / (2**bits - 1000):.8g}")
    dataset.DoseGridScaling = f"{scaling:.8g}"
    dataset.BitsAllocated = dataset.BitsStored = bits
    dataset.HighBit = bits - 1
    dataset.NumberOfFrames, dataset.Rows, dataset.Columns = frames.shape
    dataset.PixelData = np.rint(frames / scaling).astype(f"<u{bits // 8}").tobytes()


def assert_same(found, dose, grid=GRID):
    assert found.grid.shape == grid.shape
    np.testing.assert_allclose(found.grid.spacing_mm, grid.spacing_mm)
    np.testing.assert_allclose(found.grid.origin_mm, grid.origin_mm)
    np.testing.assert_allclose(np.asarray(found), dose, atol=1e-8 * dose.max())


def test_what_the_package_writes_is_read(tmp_path, dose):
    write_rt_dose(dose, GRID, tmp_path / "ours.dcm")
    found = dose_from_dataset(tmp_path / "ours.dcm")
    assert (found.grid.shape, found.grid.spacing_mm) == (GRID.shape, GRID.spacing_mm)
    np.testing.assert_allclose(np.asarray(found), dose, atol=1e-5 * dose.max())


@pytest.mark.parametrize("kind", [str, lambda path: path, pydicom.dcmread])
def test_a_file_or_what_was_read_of_it(path, dose, kind):
    assert_same(dose_from_dataset(kind(path)), dose)


def test_what_opentps_writes_is_read(tmp_path, dose):
    with silent_opentps():
        from opentps.core.data import Patient
        from opentps.core.data.images import DoseImage
        from opentps.core.io.dicomIO import writeRTDose

        image = DoseImage(imageArray=dose, origin=GRID.origin_mm, spacing=GRID.spacing_mm, name="dose")
        image.patient = Patient(name="p")
        writeRTDose(image, str(tmp_path), "theirs.dcm")
    (path,) = tmp_path.glob("*.dcm")
    found = dose_from_dataset(path)
    assert found.grid.shape == GRID.shape
    np.testing.assert_allclose(found.grid.origin_mm, GRID.origin_mm)
    np.testing.assert_allclose(np.asarray(found), dose, atol=1e-4 * dose.max())


def stored_as(path, dose, cosines, frame_offsets_fall=False):
    """The same dose, stored with other directions of columns and rows."""
    dataset = pydicom.dcmread(path)
    along_columns, along_rows = np.array(cosines[:3]), np.array(cosines[3:])
    normal = np.cross(along_columns, along_rows) * (-1 if frame_offsets_fall else 1)
    first = np.array(GRID.origin_mm, dtype=float)
    stored = dose
    for direction in (along_columns, along_rows, normal):
        axis = int(np.abs(direction).argmax())
        if direction[axis] < 0:
            stored = np.flip(stored, axis)
            first[axis] += GRID.spacing_mm[axis] * (GRID.shape[axis] - 1)
    axes = [int(np.abs(direction).argmax()) for direction in (normal, along_rows, along_columns)]
    frames = stored.transpose(axes)
    spacing = [GRID.spacing_mm[axis] for axis in axes]
    dataset.PixelSpacing = spacing[1:]
    dataset.ImageOrientationPatient = list(cosines)
    dataset.ImagePositionPatient = first.tolist()
    dataset.GridFrameOffsetVector = [(-1 if frame_offsets_fall else 1) * spacing[0] * i for i in range(len(frames))]
    store(dataset, frames, bits=32)
    return dataset


@pytest.mark.parametrize("falls", [False, True])
@pytest.mark.parametrize(
    "cosines",
    [
        (1, 0, 0, 0, 1, 0),
        (-1, 0, 0, 0, -1, 0),
        (-1, 0, 0, 0, 1, 0),
        (0, 1, 0, 0, 0, -1),
        (1, 0, 0, 0, 0, -1),
        (0, 1, 0, 1, 0, 0),
    ],
)
def test_every_orientation_along_the_patients_axes_gives_the_same_dose(path, dose, cosines, falls):
    assert_same(dose_from_dataset(stored_as(path, dose, cosines, falls)), dose)


def test_offsets_may_be_coordinates(path, dose):
    dataset = pydicom.dcmread(path)
    dataset.GridFrameOffsetVector = [GRID.origin_mm[2] + 4 * i for i in range(4)]
    assert_same(dose_from_dataset(dataset), dose)
    falling = pydicom.dcmread(path)
    top = GRID.origin_mm[2] + 12
    falling.ImagePositionPatient = [*GRID.origin_mm[:2], top]
    falling.GridFrameOffsetVector = [top - 4 * i for i in range(4)]
    assert_same(dose_from_dataset(falling), dose[:, :, ::-1])


def test_a_single_frame_is_as_thick_as_it_says(path, dose):
    dataset = pydicom.dcmread(path)
    dataset.SliceThickness = 6
    del dataset.GridFrameOffsetVector
    store(dataset, dose[:, :, :1].transpose(2, 1, 0), bits=32)
    flat = VoxelGrid((5, 7, 1), (2.5, 3.0, 6.0), GRID.origin_mm)
    assert_same(dose_from_dataset(dataset), dose[:, :, :1], flat)


def test_sixteen_bits_will_do(path, dose):
    dataset = pydicom.dcmread(path)
    store(dataset, dose.transpose(2, 1, 0), bits=16)
    found = dose_from_dataset(dataset)
    np.testing.assert_allclose(np.asarray(found), dose, atol=0.51 * float(dataset.DoseGridScaling))


@pytest.mark.parametrize(
    ("keyword", "value", "complaint"),
    [
        ("SOPClassUID", "1.2.840.10008.5.1.4.1.1.2", r"SOPClassUID \(0008,0016\) is '1.2.*'; an RT Dose has"),
        ("DoseUnits", "RELATIVE", r"DoseUnits \(3004,0002\) is 'RELATIVE'; only GY"),
        ("DoseType", "ERROR", r"DoseType \(3004,0004\) is 'ERROR'; it may be PHYSICAL or EFFECTIVE"),
        ("DoseSummationType", "BEAM", r"DoseSummationType \(3004,000[aA]\) is 'BEAM'; only the dose of a whole plan"),
        ("DoseGridScaling", None, r"DoseGridScaling \(3004,000[eE]\) is missing"),
        ("DoseGridScaling", 0, r"DoseGridScaling \(3004,000[eE]\) is 0; it must be positive"),
        ("ImageOrientationPatient", [0.8, 0.6, 0, -0.6, 0.8, 0], r"\(0020,0037\) is .* an oblique slice"),
        ("ImagePositionPatient", None, r"ImagePositionPatient \(0020,0032\) is missing"),
        ("PixelSpacing", [3, -2.5], r"PixelSpacing \(0028,0030\) is 3, -2.5 mm; it must be positive"),
        ("PixelSpacing", [3], r"PixelSpacing \(0028,0030\) is \[3.0\]; 2 finite numbers"),
        ("GridFrameOffsetVector", [0, 4, 8, 13], r"\(3004,000[cC]\) has steps from 4 to 5 mm; frames must be evenly"),
        ("GridFrameOffsetVector", [0, 4, 8], r"\(3004,000[cC]\) is \[0.0, 4.0, 8.0\]; 4 finite numbers"),
        ("GridFrameOffsetVector", [1, 5, 9, 13], r"\(3004,000[cC]\) begins with 1; it must begin with 0, or"),
        ("PixelData", None, r"PixelData \(7[fF][eE]0,0010\) is missing"),
        ("Rows", 70, r"PixelData \(7[fF][eE]0,0010\) cannot be read"),
    ],
)
def test_what_cannot_be_trusted_names_file_and_tag(path, keyword, value, complaint):
    dataset = pydicom.dcmread(path)
    if value is None:
        delattr(dataset, keyword)
    else:
        setattr(dataset, keyword, value)
    dataset.save_as(path)
    with pytest.raises(ValueError, match=complaint) as caught:
        dose_from_dataset(path)
    assert str(path) in str(caught.value)


def test_what_is_no_dicom_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no such file"):
        dose_from_dataset(tmp_path / "no.dcm")
    (tmp_path / "text.dcm").write_text("dose")
    with pytest.raises(ValueError, match=r"text\.dcm is not a DICOM file"):
        dose_from_dataset(tmp_path / "text.dcm")
