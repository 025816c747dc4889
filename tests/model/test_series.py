from __future__ import annotations

import numpy as np
import pytest
from dicom_folder import cylinder

import opentps_brimstone as pb
from opentps_brimstone.model.contours import ContourStack

SHAPE, SPACING, ORIGIN = (20, 20, 12), (2.0, 2.0, 3.0), (-19.0, -19.0, -16.5)
GRID = pb.VoxelGrid(SHAPE, SPACING, ORIGIN)


def rod(radius: float = 9.0) -> ContourStack:
    return ContourStack([(z, [outline]) for z, outline in cylinder(radius, np.arange(-10.5, 11, 3.0))], 3.0)


def half_mask() -> np.ndarray:
    mask = np.zeros(SHAPE)
    mask[:10, 4:9, 3:7] = 1
    return mask


def make_series(**changes) -> pb.Series:
    arguments = {
        "ct_hu": np.linspace(-1000, 1000, int(np.prod(SHAPE))).reshape(SHAPE),
        "spacing_mm": SPACING,
        "origin_mm": ORIGIN,
        "structures": [pb.Structure.from_contours("PTV", rod(), GRID, True), pb.Structure("Organ", half_mask())],
    }
    return pb.Series(**(arguments | changes))


def test_structures_are_found_by_name_number_and_turn() -> None:
    structures = make_series().structures
    assert [structure.name for structure in structures] == structures.keys() == ["PTV", "Organ"]
    assert structures["PTV"] is structures["ptv"] is structures[0] is structures.values()[0]
    assert structures.get("organ") is structures["Organ"] is structures[-1]
    assert structures.get("nothing") is None
    assert len(structures) == 2
    assert "ORGAN" in structures
    assert structures[0] in structures
    assert "Liver" not in structures


def test_an_unknown_structure_is_answered_with_those_there_are() -> None:
    series = make_series()
    with pytest.raises(KeyError, match="no structure 'Organs'; there are 'PTV', 'Organ'; do you mean 'Organ'"):
        series.structures["Organs"]
    with pytest.raises(KeyError, match=r"there is no structure 'Liver'; there are 'PTV', 'Organ'$"):
        pb.Plan(series).structures["Liver"]


def test_names_that_differ_only_in_case_must_be_exact() -> None:
    one, two = pb.Structure("ptv", np.ones(SHAPE)), pb.Structure("PTV", np.ones(SHAPE))
    structures = make_series(structures=[one, two]).structures
    assert structures["ptv"] is one
    assert structures["PTV"] is two
    with pytest.raises(KeyError, match="there is no structure 'Ptv'"):
        structures["Ptv"]


def test_mass_density_is_that_of_the_dose_engine() -> None:
    from opentps_brimstone.engine.ct_input import mass_density

    series = make_series()
    expected = mass_density(series.ct_hu, None, None)
    np.testing.assert_array_equal(series.mass_density, expected)
    assert (np.diff(series.mass_density.ravel()) >= 0).all()
    assert series.ct_volume is series.ct_hu


def test_the_arrays_cannot_be_changed_behind_the_series() -> None:
    hu = np.zeros(SHAPE)
    series = make_series(ct_hu=hu)
    hu[:] = 5
    assert not series.ct_hu.any()
    for array in (series.ct_hu, series.mass_density, series.structures["PTV"].share):
        with pytest.raises(ValueError, match="read-only"):
            array[0, 0, 0] = 1


@pytest.mark.parametrize("spacing", [3.0, (2.5, 4.0, 5.0), 1.0])
def test_structures_keep_their_volume_on_any_grid(spacing) -> None:
    series = make_series()
    other = series.on_grid(spacing)
    voxel = np.prod(other.spacing_mm)
    assert other.structures["PTV"].share.sum() * voxel == pytest.approx(np.pi * 81 * 24, rel=2e-3)
    assert other.structures["Organ"].share.sum() * voxel == pytest.approx(10 * 5 * 4 * 12)
    assert other.structures["PTV"].is_target
    assert other.ct_hu.mean() == pytest.approx(series.ct_hu.mean(), abs=25)


def test_on_its_own_grid_a_series_is_itself() -> None:
    series = make_series()
    assert series.on_grid(series.spacing_mm) is series
    structure = series.structures["Organ"]
    assert structure.on_grid(series.grid) is structure
    coarse = structure.on_grid(series.dose_grid(4.0))
    assert coarse.on_grid(series.grid) is structure
    assert coarse.on_grid(coarse.grid) is coarse


def test_a_target_is_one_on_every_grid() -> None:
    series = make_series()
    plan = pb.Plan(series, dose_grid_mm=4.0)
    plan.structures["Organ"].is_target = True
    assert series.structures["Organ"].is_target


def test_the_dose_grid_is_no_finer_than_needed() -> None:
    assert make_series().dose_grid().spacing_mm == (3.0, 3.0, 3.0)
    assert make_series(spacing_mm=(2.5, 4.0, 5.0), structures=[]).dose_grid().spacing_mm == (2.5, 4.0, 5.0)
    assert make_series().dose_grid((2.0, 4.0, 3.0)).spacing_mm == (2.0, 4.0, 3.0)
    thin = pb.Series(np.zeros((10, 10, 2)), (1.0, 1.0, 1.0))
    assert thin.dose_grid().spacing_mm == (3.0, 3.0, 2.0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ct_hu": np.zeros((4, 4))}, r"3-D array \[x, y, z\], not of shape \(4, 4\)"),
        ({"ct_hu": np.full(SHAPE, np.nan)}, "4800 voxels that are NaN or infinite"),
        ({"spacing_mm": (2.0, 0.0, 3.0)}, "three positive spacings"),
        ({"structures": [pb.Structure("a", np.ones((3, 3, 3)))]}, r"'a' has the grid \(3, 3, 3\); that of the CT"),
        ({"structures": [pb.Structure("a", half_mask())] * 2}, "two structures are named 'a'"),
    ],
)
def test_bad_series_are_refused(changes, message) -> None:
    with pytest.raises(ValueError, match=message):
        make_series(**changes)


def test_a_mask_without_a_place_cannot_be_moved() -> None:
    with pytest.raises(ValueError, match="'x' does not say where its voxels are"):
        pb.Structure("x", np.ones((3, 3, 3))).on_grid(GRID).share  # noqa: B018
    with pytest.raises(ValueError, match=r"the mask of 'x' has the grid \(3, 3, 3\)"):
        pb.Structure("x", np.ones((3, 3, 3)), grid=GRID)


# ------------------------------------------------------------------------------------------------- OpenTPS


def test_there_and_back_through_opentps_nothing_is_lost() -> None:
    series = make_series()
    series.dicom["FrameOfReferenceUID"] = "1.2.3"
    again = pb.Series.from_opentps(*series.to_opentps(), targets=["PTV"])
    np.testing.assert_array_equal(again.ct_hu, series.ct_hu)
    assert again.grid == series.grid
    assert again.dicom["FrameOfReferenceUID"] == "1.2.3"
    assert [s.is_target for s in again.structures] == [True, False]
    for structure in series.structures:
        np.testing.assert_array_equal(again.structures[structure.name].share, structure.share)
    layers = again.structures["PTV"].contours.layers
    for one, other in zip(layers, series.structures["PTV"].contours.layers, strict=True):
        assert (one.z_mm, one.low_mm, one.high_mm) == (other.z_mm, other.low_mm, other.high_mm)
        np.testing.assert_array_equal(one.outlines[0], other.outlines[0])


def test_rois_opentps_cannot_hold_or_give() -> None:
    from opentps.core.data import ROIContour

    faint = make_series(structures=[pb.Structure("faint", np.full(SHAPE, 0.3))])
    with pytest.raises(ValueError, match="'faint' fills no voxel"):
        faint.to_opentps()
    ct, _ = faint_free_ct()
    with pytest.raises(ValueError, match="'hollow' has no closed outline"):
        pb.Series.from_opentps(ct, [ROIContour(name="hollow")])


def faint_free_ct():
    return make_series(structures=[]).to_opentps()
