from __future__ import annotations

import math

import numpy as np
import pydicom
import pytest

from opentps_brimstone import Structure
from opentps_brimstone.dicom.series_writer import STRUCTURE_SET_FILE, structure_outlines, write_dicom_folder
from opentps_brimstone.model.influence import VoxelGrid
from opentps_brimstone.model.series import Series
from opentps_brimstone.phantoms import head_neck

GRID = VoxelGrid((20, 16, 6), (2.0, 3.0, 4.0), (-19.0, 5.0, -100.0))


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    phantom = head_neck(6.0)
    folder = tmp_path_factory.mktemp("dicom") / "made"
    return phantom, folder, write_dicom_folder(phantom, folder)


def test_folder_is_read_back_as_what_was_written(written):
    phantom, folder, _ = written
    series = Series.from_dicom(folder)
    assert (series.grid.shape, series.grid.spacing_mm) == (phantom.grid.shape, phantom.grid.spacing_mm)
    np.testing.assert_allclose(series.grid.origin_mm, phantom.grid.origin_mm)
    np.testing.assert_array_equal(series.ct_hu, np.rint(phantom.ct_hu))
    assert [s.name for s in series.structures] == [s.name for s in phantom.structures]
    for original in phantom.structures:
        read = series.structures[original.name]
        assert read.is_target == original.is_target
        on_slices = (original.share.max(axis=(0, 1)) == 1) & (np.roll(original.share.max(axis=(0, 1)), 1) == 1)
        on_slices &= np.roll(original.share.max(axis=(0, 1)), -1) == 1
        shares = read.on_grid(phantom.grid).share
        np.testing.assert_allclose(
            shares.sum(axis=(0, 1))[on_slices], original.share.sum(axis=(0, 1))[on_slices], rtol=0.02
        )


def test_files_refer_to_each_other(written):
    phantom, folder, paths = written
    assert sorted(path.name for path in folder.iterdir()) == [path.name for path in paths]
    slices = [pydicom.dcmread(path) for path in paths[:-1]]
    structures = pydicom.dcmread(folder / STRUCTURE_SET_FILE)
    assert len(slices) == phantom.grid.shape[2]
    assert [float(image.ImagePositionPatient[2]) for image in slices] == pytest.approx(
        [phantom.grid.origin_mm[2] + 6.0 * k for k in range(len(slices))]
    )
    for keyword in ("SeriesInstanceUID", "StudyInstanceUID", "FrameOfReferenceUID", "PatientID"):
        assert len({image[keyword].value for image in slices}) == 1, keyword
    assert structures.StudyInstanceUID == slices[0].StudyInstanceUID
    assert structures.SeriesInstanceUID != slices[0].SeriesInstanceUID
    uids = {image.SOPInstanceUID for image in slices}
    assert len(uids) == len(slices)
    frame = structures.ReferencedFrameOfReferenceSequence[0]
    series = frame.RTReferencedStudySequence[0].RTReferencedSeriesSequence[0]
    assert {item.ReferencedSOPInstanceUID for item in series.ContourImageSequence} == uids
    types = [item.RTROIInterpretedType for item in structures.RTROIObservationsSequence]
    assert types == ["PTV", "ORGAN", "ORGAN", "ORGAN", "ORGAN"]


def test_outlines_enclose_the_area_of_the_voxels_and_holes_are_holes():
    x = GRID.origin_mm[0] + 2.0 * np.arange(20)[:, None]
    y = GRID.origin_mm[1] + 3.0 * np.arange(16)[None, :]
    radius = np.hypot(x, y - 27.5)
    ring = np.where((radius < 15) & (radius > 6), 1.0, 0.0)
    share = np.repeat(ring[:, :, None], 6, axis=2) * np.array([0, 0.2, 0.5, 1, 1, 0])
    lines = structure_outlines(Structure("ring", share), GRID)
    assert sorted({k for k, _ in lines}) == [2, 3, 4]
    for k in (2, 3, 4):
        areas = [
            np.sum(v[:, 0] * np.roll(v[:, 1], -1) - np.roll(v[:, 0], -1) * v[:, 1]) / 2 for j, v in lines if j == k
        ]
        assert len(areas) == 2 and min(areas) < 0 < max(areas)
        assert sum(areas) == pytest.approx(ring.sum() * 6.0, rel=0.01)


def test_a_cylinders_outline_is_a_circle():
    grid = VoxelGrid((30, 30, 2), (2.0, 2.0, 2.0), (-29.0, -29.0, 0.0))
    fine = (np.arange(300) + 0.5) / 300 * 60 - 30
    disc = (np.hypot(fine[:, None], fine[None, :]) < 12).reshape(30, 10, 30, 10).mean(axis=(1, 3))
    lines = structure_outlines(Structure("disc", np.repeat(disc[:, :, None], 2, axis=2)), grid)
    radii = np.hypot(*lines[0][1].T)
    assert len(lines) == 2
    np.testing.assert_allclose(radii, 12.0, atol=0.5)
    assert radii.mean() == pytest.approx(math.sqrt(disc.sum() * 4 / math.pi), abs=0.1)


def test_a_series_with_a_name_for_the_patient(tmp_path):
    mask = np.zeros(GRID.shape)
    mask[5:10, 5:10, 2:4] = 1
    series = Series(
        np.full(GRID.shape, -3.0), GRID.spacing_mm, GRID.origin_mm, [Structure("GTV", mask, is_target=True)]
    )
    write_dicom_folder(series, tmp_path / "a" / "b", patient_id="anonymous")
    again = Series.from_dicom(tmp_path / "a" / "b")
    assert again.dicom["PatientID"] == "anonymous"
    assert again.structures["GTV"].on_grid(GRID).share.sum() == pytest.approx(50, rel=0.02)


def test_what_cannot_be_written_is_named_and_nothing_is_written(tmp_path):
    mask = np.full(GRID.shape, 0.4)
    thin = Series(np.zeros(GRID.shape), GRID.spacing_mm, GRID.origin_mm, [Structure("thin", mask)])
    with pytest.raises(ValueError, match="structure 'thin' fills no voxel to half"):
        write_dicom_folder(thin, tmp_path / "out")
    dense = Series(np.full(GRID.shape, 40_000.0), GRID.spacing_mm, GRID.origin_mm)
    with pytest.raises(ValueError, match=r"the CT goes from 40000\.0 to 40000\.0 HU; CT images hold -32768 to 32767"):
        write_dicom_folder(dense, tmp_path / "out")
    assert not (tmp_path / "out").exists()
