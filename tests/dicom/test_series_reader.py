from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom_folder import change, circle, cylinder, rectangle, sphere, write_ct, write_structures
from pydicom.uid import generate_uid

import opentps_brimstone as pb
from opentps_brimstone.dicom.errors import DicomError

SHAPE, SPACING, ORIGIN = (9, 8, 6), (4.0, 4.0, 5.0), (-16.0, -14.0, -12.5)
PLANES = ORIGIN[2] + SPACING[2] * np.arange(SHAPE[2])


def values() -> np.ndarray:
    return np.arange(np.prod(SHAPE), dtype=float).reshape(SHAPE) - 200


@pytest.fixture(scope="module")
def original(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("original")
    files = write_ct(folder, values(), SPACING, ORIGIN)
    rois = {
        "PTV": ("PTV", cylinder(8.0, PLANES[1:5])),
        "Bladder": ("ORGAN", cylinder(5.0, PLANES[2:4], (4.0, 0.0))),
    }
    write_structures(folder / "rs.dcm", rois, files)
    return folder


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "case"))


def slices(folder: Path) -> list[Path]:
    return sorted(folder.glob("CT_*.dcm"))


# ------------------------------------------------------------------------------------------------- what is read


def test_ct_and_structures_are_where_they_were_written(folder: Path) -> None:
    series = pb.Series.from_dicom(folder)
    np.testing.assert_array_equal(series.ct_hu, values())
    assert series.grid == pb.VoxelGrid(SHAPE, SPACING, ORIGIN)
    assert series.structures.keys() == ["PTV", "Bladder"]
    assert [structure.is_target for structure in series.structures] == [True, False]
    volume = series.structures["PTV"].share.sum() * np.prod(SPACING)
    assert volume == pytest.approx(np.pi * 64 * 20, rel=0.005)
    header = pydicom.dcmread(slices(folder)[0])
    assert series.dicom["FrameOfReferenceUID"] == header.FrameOfReferenceUID
    assert series.dicom["StructureSetUID"] == pydicom.dcmread(folder / "rs.dcm").SOPInstanceUID


@pytest.mark.parametrize("step", [1.0, 3.0, 5.0])
def test_volumes_of_masks_are_the_analytic_ones(tmp_path: Path, step: float) -> None:
    n = round(60 / step)
    shape, spacing = (30, 30, n), (2.0, 2.0, step)
    origin = (-29.0, -29.0, -30 + step / 2)
    planes = origin[2] + step * np.arange(n)
    files = write_ct(tmp_path, np.zeros(shape), spacing, origin)
    inner = planes[np.abs(planes) < 15]
    length = len(inner) * step
    hollow = [(z, outline) for z in inner for outline in (circle(20.0), circle(9.0))]
    rois = {"ball": ("", sphere(21.0, planes)), "rod": ("", cylinder(17.0, inner)), "pipe": ("", hollow)}
    write_structures(tmp_path / "rs.dcm", rois, files)
    series = pb.Series.from_dicom(tmp_path)
    exact = {
        "ball": 4 / 3 * np.pi * 21**3,
        "rod": np.pi * 17**2 * length,
        "pipe": np.pi * (400 - 81) * length,
    }
    for grid in (series.grid, series.dose_grid(3.0), series.dose_grid((2.0, 3.0, 2.5))):
        for structure in series.structures:
            volume = structure.on_grid(grid).share.sum() * np.prod(grid.spacing_mm)
            assert volume == pytest.approx(exact[structure.name], rel=0.01), (structure.name, grid)


def test_hu_are_rescaled_slice_by_slice(folder: Path) -> None:
    def halve(dataset) -> None:
        dataset.RescaleSlope, dataset.RescaleIntercept = "0.5", "-100"

    change(slices(folder)[2], halve)
    expected = values()
    expected[:, :, 2] = expected[:, :, 2] * 0.5 - 100
    np.testing.assert_array_equal(pb.Series.from_dicom(folder).ct_hu, expected)


def test_padding_is_air(folder: Path) -> None:
    def pad(dataset) -> None:
        dataset.add_new("PixelPaddingValue", "SS", int(values()[3, 3, 0]))

    change(slices(folder)[0], pad)
    assert pb.Series.from_dicom(folder).ct_hu[3, 3, 0] == -1024


def test_names_of_files_and_other_files_do_not_matter(folder: Path) -> None:
    below = folder / "images"
    below.mkdir()
    for number, path in enumerate(slices(folder)):
        path.rename(below / f"{(7 * number) % 10}.img")
    shutil.copy(below / "0.img", folder / "copy.dcm")
    (folder / "notes.txt").write_text("no DICOM")
    (folder / "empty.dcm").write_bytes(b"")
    np.testing.assert_array_equal(pb.Series.from_dicom(folder).ct_hu, values())


def test_a_doubled_slice_with_the_same_pixels_is_passed_over(folder: Path) -> None:
    copy = folder / "double.dcm"
    shutil.copy(slices(folder)[1], copy)
    change(copy, lambda dataset: setattr(dataset, "SOPInstanceUID", generate_uid()))
    np.testing.assert_array_equal(pb.Series.from_dicom(folder).ct_hu, values())


@pytest.mark.parametrize(("across", "down"), [(-1, 1), (1, -1), (-1, -1)])
def test_images_stored_the_other_way_round_are_turned(folder: Path, across: int, down: int) -> None:
    for path in slices(folder):

        def turn(dataset) -> None:
            pixels = dataset.pixel_array[::down, ::across]
            dataset.PixelData = np.ascontiguousarray(pixels).tobytes()
            dataset.ImageOrientationPatient = [across, 0, 0, 0, down, 0]
            x, y, z = (float(value) for value in dataset.ImagePositionPatient)
            x = x if across > 0 else x + SPACING[0] * (SHAPE[0] - 1)
            y = y if down > 0 else y + SPACING[1] * (SHAPE[1] - 1)
            dataset.ImagePositionPatient = [x, y, z]

        change(path, turn)
    series = pb.Series.from_dicom(folder)
    np.testing.assert_array_equal(series.ct_hu, values())
    assert series.grid == pb.VoxelGrid(SHAPE, SPACING, ORIGIN)


def test_pixels_that_are_not_square(folder: Path) -> None:
    for path in slices(folder):
        change(path, lambda dataset: setattr(dataset, "PixelSpacing", [3.0, 4.5]))
    assert pb.Series.from_dicom(folder).spacing_mm == (4.5, 3.0, 5.0)


def test_a_ct_without_structures(folder: Path) -> None:
    (folder / "rs.dcm").unlink()
    with pytest.warns(UserWarning, match="no RT Structure Set"):
        series = pb.Series.from_dicom(folder)
    assert len(series.structures) == 0
    with pytest.raises(KeyError, match="there are none at all"):
        series.structures["PTV"]
    with pytest.raises(ValueError, match="the series has no structures"):
        pb.Plan(series)


# ------------------------------------------------------------------------------------------------- slices in error


def tilt(dataset) -> None:
    dataset.ImageOrientationPatient = [1, 0, 0, 0, 0.966, 0.259]


def shift(dataset) -> None:
    dataset.ImagePositionPatient = [-10.0, ORIGIN[1], float(dataset.ImagePositionPatient[2])]


def lift(dataset) -> None:
    dataset.ImagePositionPatient = [*ORIGIN[:2], float(dataset.ImagePositionPatient[2]) + 2.0]


def setting(**tags):
    def edit(dataset) -> None:
        for keyword, value in tags.items():
            setattr(dataset, keyword, value)

    return edit


def without(*keywords):
    def edit(dataset) -> None:
        for keyword in keywords:
            delattr(dataset, keyword)

    return edit


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (tilt, r"ImageOrientationPatient \(0020,0037\) is 1, 0, 0, 0, 0.966, 0.259, an oblique slice"),
        (setting(ImageOrientationPatient=[-1, 0, 0, 0, 1, 0]), "different ImageOrientationPatient"),
        (
            setting(PatientPosition="FFS"),
            "the slices of this series have different PatientPosition: FFS, HFS",
        ),
        (setting(Rows=4, Columns=18), r"CT_CT_0003.dcm: Rows \(0028,0010\) is 4, but 8 in CT_CT_0001.dcm"),
        (setting(PixelSpacing=[2, 2]), r"PixelSpacing \(0028,0030\) is 2, 2 mm, but 4, 4 mm in CT_CT_0001.dcm"),
        (shift, r"ImagePositionPatient \(0020,0032\) starts at x, y = -10, -14 mm, but at -16, -14 mm"),
        (lift, "not evenly spaced: 7 mm between z = -7.5 and -0.5 mm, 3 mm between z = -0.5 and 2.5 mm, else 5 mm"),
        (without("RescaleSlope"), r"CT_CT_0003.dcm: RescaleSlope \(0028,1053\) is missing"),
        (setting(RescaleSlope="0"), r"RescaleSlope \(0028,1053\) is 0"),
        (without("ImagePositionPatient"), r"CT_CT_0003.dcm: ImagePositionPatient \(0020,0032\) is missing"),
        (setting(ImagePositionPatient=[1, 2]), r"ImagePositionPatient \(0020,0032\) is \[1.0, 2.0\]; 3 finite"),
        (without("PixelData"), r"CT_CT_0003.dcm: PixelData \(7FE0,0010\) is missing"),
        (setting(PixelData=b"\0\0"), r"CT_CT_0003.dcm: PixelData \(7FE0,0010\) cannot be read"),
        (
            setting(PhotometricInterpretation="RGB"),
            r"PhotometricInterpretation \(0028,0004\) is RGB; a CT slice has MONOCHROME1",
        ),
        (setting(RescaleType="OD"), r"RescaleType \(0028,1054\) is OD; the CT must be in HU"),
        (without("SeriesInstanceUID"), r"CT_CT_0003.dcm: SeriesInstanceUID \(0020,000E\) is missing"),
    ],
)
def test_a_slice_in_error_is_named(folder: Path, edit, message: str) -> None:
    change(slices(folder)[2], edit)
    with pytest.raises(DicomError, match=message):
        pb.Series.from_dicom(folder)


def test_missing_slices_are_named(folder: Path) -> None:
    slices(folder)[2].unlink()
    with pytest.raises(DicomError, match=r"slices of the CT are missing: 1 between z = -7.5 and 2.5 mm \(spacing 5 mm"):
        pb.Series.from_dicom(folder)


def test_one_slice_is_no_volume(folder: Path) -> None:
    for path in slices(folder)[1:]:
        path.unlink()
    with pytest.raises(DicomError, match="one slice only"):
        pb.Series.from_dicom(folder)


def test_two_images_in_a_series(folder: Path) -> None:
    copy = folder / "phase.dcm"
    shutil.copy(slices(folder)[1], copy)
    change(copy, setting(SOPInstanceUID=generate_uid(), RescaleIntercept="5"))
    with pytest.raises(DicomError, match=r"both at z = -7.5 mm and differ; the series holds more than one image"):
        pb.Series.from_dicom(folder)


def test_folders_without_ct(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="there is no such folder"):
        pb.Series.from_dicom(tmp_path / "nowhere")
    with pytest.raises(DicomError, match="no CT image in this folder"):
        pb.Series.from_dicom(tmp_path)


def test_a_damaged_file_is_named(folder: Path) -> None:
    path = folder / "rs.dcm"
    path.write_bytes(path.read_bytes()[:700])
    with pytest.raises(DicomError, match=r"rs.dcm"):
        pb.Series.from_dicom(folder)


# ------------------------------------------------------------------------------------------------- which CT


def add_series(folder: Path, offset: float, frame: str | None = None) -> list[Path]:
    other = folder / f"other{offset:g}"
    return write_ct(other, values() + offset, SPACING, ORIGIN, frame=frame)


def test_the_series_of_the_structure_set_is_taken(folder: Path) -> None:
    add_series(folder, 1000.0)
    np.testing.assert_array_equal(pb.Series.from_dicom(folder).ct_hu, values())


def test_a_series_may_be_chosen(folder: Path) -> None:
    other = add_series(folder, 1000.0)
    write_structures(folder / "rs2.dcm", {"GTV": ("GTV", cylinder(5.0, PLANES))}, other, label="second")
    with pytest.raises(DicomError, match=r"not clear which CT to take; there are series 1 .*; series 1 .*series="):
        pb.Series.from_dicom(folder)
    uid = pydicom.dcmread(other[0]).SeriesInstanceUID
    with pytest.warns(UserWarning, match=r"rs.dcm \(label 'plan', 20240102\) is left out: it refers to the series"):
        chosen = pb.Series.from_dicom(folder, series=uid)
    assert chosen.ct_hu.min() == values().min() + 1000
    assert chosen.structures.keys() == ["GTV"]
    with pytest.raises(DicomError, match="no CT is called 'planning CT'; there are series 1"):
        pb.Series.from_dicom(folder, series="planning CT")


def test_a_structure_set_may_be_chosen(folder: Path) -> None:
    write_structures(folder / "rs2.dcm", {"GTV": ("GTV", cylinder(5.0, PLANES))}, slices(folder), label="second")
    with pytest.raises(DicomError, match=r"which structure set to take; .*rs.dcm \(label 'plan', 20240102\); rs2.dcm"):
        pb.Series.from_dicom(folder)
    for name in ("second", "rs2.dcm", "rs2"):
        assert pb.Series.from_dicom(folder, structure_set=name).structures.keys() == ["GTV"]
    with pytest.raises(DicomError, match="no structure set is called 'third'"):
        pb.Series.from_dicom(folder, structure_set="third")


def test_a_structure_set_of_another_ct_is_refused(folder: Path) -> None:
    change(folder / "rs.dcm", without("ReferencedFrameOfReferenceSequence"))
    change(folder / "rs.dcm", lambda d: [setattr(r, "ReferencedFrameOfReferenceUID", "1.2.3") for r in rois_of(d)])
    with pytest.raises(DicomError, match=r"rs.dcm .* does not belong to series 1"):
        pb.Series.from_dicom(folder)


def rois_of(dataset):
    return dataset.StructureSetROISequence


def test_a_structure_set_that_says_nothing_belongs_to_the_only_ct(folder: Path) -> None:
    change(folder / "rs.dcm", without("ReferencedFrameOfReferenceSequence"))
    change(folder / "rs.dcm", lambda d: [setattr(r, "ReferencedFrameOfReferenceUID", "") for r in rois_of(d)])
    assert pb.Series.from_dicom(folder).structures.keys() == ["PTV", "Bladder"]


def test_other_coordinates_are_refused(folder: Path) -> None:
    def move(dataset) -> None:
        dataset.ReferencedFrameOfReferenceSequence[0].FrameOfReferenceUID = "1.2.3"
        for roi in rois_of(dataset):
            roi.ReferencedFrameOfReferenceUID = "1.2.3"

    change(folder / "rs.dcm", move)
    with pytest.raises(DicomError, match=r"rs.dcm .* does not belong to .*: FrameOfReferenceUID is 1.2.3"):
        pb.Series.from_dicom(folder)


# ------------------------------------------------------------------------------------------------- structures


def rewritten(folder: Path, rois, **options) -> Path:
    write_structures(folder / "rs.dcm", rois, slices(folder), **options)
    return folder


@pytest.mark.parametrize(
    ("name", "kind", "target"),
    [
        ("anything", "PTV", True),
        ("anything", "GTV", True),
        ("ptv_60", "", True),
        ("PTV", "ORGAN", True),
        ("ITV lung", "NONE", True),
        ("PTV ring", "AVOIDANCE", False),
        ("opt PTV", "", False),
        ("Bladder", "ORGAN", False),
    ],
)
def test_targets_are_known_by_type_or_name(folder: Path, name: str, kind: str, target: bool) -> None:
    series = pb.Series.from_dicom(rewritten(folder, {name: (kind, cylinder(5.0, PLANES[1:4]))}))
    assert series.structures[name].is_target is target


def test_structures_that_cannot_be_used_are_left_out_with_a_reason(folder: Path) -> None:
    square = rectangle(-4, 4, -4, 4)
    rois = {
        "PTV": ("PTV", [(z, square) for z in PLANES[1:4]]),
        "Empty": ("ORGAN", []),
        "Marker": ("ISOCENTER", [(0.0, np.zeros((1, 2)))]),
    }
    marker = "'Marker' is left out: it has no closed outline of three or more points, only POINT"
    with (
        pytest.warns(UserWarning, match="'Empty' is left out: it has no outlines"),
        pytest.warns(UserWarning, match=marker),
    ):
        series = pb.Series.from_dicom(rewritten(folder, rois))
    assert series.structures.keys() == ["PTV"]
    with pytest.raises(KeyError, match="structure 'Empty' cannot be used: it has no outlines"):
        series.structures["Empty"]
    with pytest.raises(KeyError, match="cannot be used"):
        pb.Plan(series).structures["Marker"]


def test_an_outline_off_its_plane_is_left_out(folder: Path) -> None:
    def bend(dataset) -> None:
        dataset.ROIContourSequence[1].ContourSequence[0].ContourData[2] = "7.5"

    change(folder / "rs.dcm", bend)
    with pytest.warns(
        UserWarning, match="'Bladder' is left out: outline 1 is not in an axial plane: z goes from -2.5 to"
    ):
        assert pb.Series.from_dicom(folder).structures.keys() == ["PTV"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (["1", "2", "3", "4"], r"ContourData \(3006,0050\) has 4 values"),
        ([], r"ContourData \(3006,0050\) is missing"),
        (None, r"ContourData \(3006,0050\) is missing"),
        (["1", "2", "1e9"], r"ContourData \(3006,0050\) has 3 values up to 1e\+09; .* within 100000 mm"),
    ],
)
def test_one_bad_outline_is_passed_over_and_named(folder: Path, data, message: str) -> None:
    def spoil(dataset) -> None:
        contour = dataset.ROIContourSequence[0].ContourSequence[0]
        if data is None:
            del contour.ContourData
        else:
            contour.ContourData = data

    change(folder / "rs.dcm", spoil)
    with pytest.warns(UserWarning, match=f"rs.dcm: structure 'PTV': outline 1 passed over: {message}"):
        series = pb.Series.from_dicom(folder)
    assert len(series.structures["PTV"].contours.planes) == 3


def test_a_structure_of_bad_outlines_alone_is_left_out(folder: Path) -> None:
    def spoil(dataset) -> None:
        for contour in dataset.ROIContourSequence[1].ContourSequence:
            contour.ContourData = None

    change(folder / "rs.dcm", spoil)
    with pytest.warns(UserWarning, match="'Bladder' is left out: none of its outlines can be read: ContourData"):
        assert pb.Series.from_dicom(folder).structures.keys() == ["PTV"]


@pytest.mark.filterwarnings("ignore:rs.dcm. outlines of ROI number 2 are left out:UserWarning")
def test_structures_without_a_number_are_left_out(folder: Path) -> None:
    change(folder / "rs.dcm", lambda dataset: delattr(rois_of(dataset)[1], "ROINumber"))
    with pytest.warns(UserWarning, match=r"'Bladder' is left out: its ROINumber \(3006,0022\) is not a whole number"):
        assert pb.Series.from_dicom(folder).structures.keys() == ["PTV"]


def test_holes_drawn_as_xor(folder: Path) -> None:
    outlines = [(z, vertices) for z in PLANES[1:5] for vertices in (rectangle(-8, 8, -8, 8), rectangle(-4, 4, -4, 4))]
    series = pb.Series.from_dicom(rewritten(folder, {"shell": ("ORGAN", outlines)}, kind="CLOSEDPLANAR_XOR"))
    assert series.structures["shell"].share.sum() * np.prod(SPACING) == pytest.approx((256 - 64) * 20)


def test_two_structures_of_one_name(folder: Path) -> None:
    change(folder / "rs.dcm", lambda dataset: setattr(rois_of(dataset)[1], "ROIName", "PTV"))
    with pytest.warns(UserWarning, match=r"two structures are named 'PTV'; the second is called 'PTV \(ROI 2\)'"):
        assert pb.Series.from_dicom(folder).structures.keys() == ["PTV", "PTV (ROI 2)"]


def test_gaps_and_what_is_outside_are_told(folder: Path) -> None:
    low = PLANES[0] - 5 * np.arange(1, 12)
    with pytest.warns(UserWarning, match="% of structure 'long' is outside the CT"):
        pb.Series.from_dicom(rewritten(folder, {"long": ("", cylinder(5.0, [*low, *PLANES]))}))
    with pytest.warns(UserWarning, match="'split' has no outlines in z = -7.5 to 7.5 mm; nothing is assumed"):
        planes = PLANES[[0, 1, 4, 5]]
        pb.Series.from_dicom(rewritten(folder, {"split": ("", cylinder(5.0, planes))}))


def test_a_phantom_comes_back_from_the_folder_it_was_written_to(tmp_path: Path) -> None:
    from opentps_brimstone.dicom.series_writer import write_dicom_folder
    from opentps_brimstone.phantoms import make_phantom

    phantom = make_phantom("c-shape", 5.0)
    write_dicom_folder(phantom, tmp_path)
    series = pb.Series.from_dicom(tmp_path)
    assert series.grid == phantom.grid
    np.testing.assert_allclose(series.ct_hu, phantom.ct_hu, atol=0.51)
    for written in phantom.structures:
        read = series.structures[written.name]
        assert read.is_target == written.is_target
        assert read.share.sum() == pytest.approx(written.share.sum(), rel=0.02)
