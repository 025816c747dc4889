import contextlib
import copy
import io

import numpy as np
import pytest
from opentps.core.data import ROIContour
from opentps.core.data.images import CTImage, ROIMask
from opentps.core.data.plan import PhotonPlan, PlanPhotonBeam
from opentps_objects import (
    add_beam,
    add_segment,
    contours_of_cylinder,
    make_ct,
    make_objective,
    make_roi,
    mixed_plan,
    open_mlc,
    placement,
    section_six_plan,
    square,
)

from opentps_brimstone.adapters.plan import (
    ensure_beamlets,
    layout_from_opentps,
    plan_isocenters,
    remove_beamlets,
    structure_from_roi,
    validate_photon_plan,
    voxel_grid,
    write_beamlet_mu,
)
from opentps_brimstone.model.influence import VoxelGrid

ORIGIN = (0.0, 0.0, 0.0)


def one_beam(xy=((0, 0),)):
    plan = PhotonPlan(name="one")
    add_segment(add_beam(plan, ORIGIN, name="AP"), xy)
    return plan


# ------------------------------------------------------------------------------------------------------ layout


def test_layout_follows_the_beamlets_of_the_plan():
    plan = mixed_plan(ORIGIN)
    layout = layout_from_opentps(plan)
    np.testing.assert_array_equal(layout.xy_mm, [(b._x, b._y) for b in plan.beamlets])
    np.testing.assert_array_equal(layout.beam_index, np.repeat([0, 1, 2, 3], [36, 4, 1, 7]))
    np.testing.assert_array_equal(layout.spacing_mm, [(5, 5), (5, 4), (5, 4), (5, 5)])


def test_layout_leaves_couch_and_collimator_alone():
    plan = mixed_plan(ORIGIN, couch=20.0, collimator=35.0)
    layout_from_opentps(plan)
    segments = plan.beamSegments
    assert [s.couchAngle_degree for s in segments] == [0.0, 20.0, 20.0, 0.0]
    assert [s.beamLimitingDeviceAngle_degree for s in segments] == [0.0, 35.0, 0.0, 90.0]


def test_layout_of_mlc_does_not_change_the_plan(capsys):
    plan = section_six_plan(ORIGIN)
    assert layout_from_opentps(plan).n_beamlets == 36
    assert plan.numberOfBeamlets == 0
    assert capsys.readouterr().out == ""


# ---------------------------------------------------------------------------------------------- beamlets of an MLC


def test_beamlets_are_those_of_opentps():
    plan, theirs = section_six_plan(ORIGIN), section_six_plan(ORIGIN)
    with contextlib.redirect_stdout(io.StringIO()):
        theirs.createBeamletsFromSegments()
    ensure_beamlets(plan)
    assert plan.numberOfBeamlets == 36
    np.testing.assert_array_equal([(b._x, b._y) for b in plan.beamlets], [(b._x, b._y) for b in theirs.beamlets])
    np.testing.assert_array_equal(plan.beamletMUs, 100.0)
    assert plan.beamSegments[0].mu == 100.0


def test_beamlets_that_exist_stay():
    plan = one_beam(square(10))
    before = plan.beamlets
    add_segment(plan.beams[0])
    open_mlc(plan.beams[0].beamSegments[1])
    ensure_beamlets(plan)
    assert all(old is new for old, new in zip(before, plan.beamlets[: len(before)], strict=True))
    assert plan.numberOfBeamlets == len(before) + 36


def test_segment_without_mu_and_jaws_and_with_lists():
    plan = one_beam()
    segment = add_segment(plan.beams[0])
    open_mlc(segment)
    segment.Xmlc_mm = segment.Xmlc_mm.tolist()
    segment.x_jaw_mm, segment.y_jaw_mm = [], []
    ensure_beamlets(plan)
    assert len(segment) == 36
    np.testing.assert_array_equal(segment.beamletMUs, 1.0)


def test_sample_on_the_edge_of_two_leaves_is_one_beamlet():
    plan = PhotonPlan(name="edges")
    segment = add_segment(add_beam(plan, ORIGIN))
    segment.Xmlc_mm = np.array([[-12.5, -2.5, -15, 15], [-2.5, 7.5, -15, 15], [7.5, 12.5, -15, 15]])
    ensure_beamlets(plan)
    positions = [(b._x, b._y) for b in plan.beamlets]
    assert len(positions) == len(set(positions)) == 36


def test_error_leaves_all_segments_unchanged():
    plan = section_six_plan(ORIGIN)
    closed = add_segment(plan.beams[0])
    open_mlc(closed)
    closed.Xmlc_mm[:, 2:] = 0
    with pytest.raises(
        ValueError, match=r"segment 1 of beam 1 \('AP'\) has no beamlets, and its MLC opening holds none"
    ):
        ensure_beamlets(plan)
    assert plan.numberOfBeamlets == 0


# ---------------------------------------------------------------------------------------------------- bad plans


def test_not_a_photon_plan():
    with pytest.raises(TypeError, match="must be an OpenTPS PhotonPlan, got dict"):
        validate_photon_plan({})


def test_no_beams():
    with pytest.raises(ValueError, match="the plan 'empty' has no beams"):
        validate_photon_plan(PhotonPlan(name="empty"))


def test_beam_without_segments():
    plan = one_beam()
    plan.appendBeam(PlanPhotonBeam())
    plan.beams[1].name = "LAO"
    with pytest.raises(ValueError, match=r"beam 2 \('LAO'\) has no segments"):
        validate_photon_plan(plan)


def test_segment_with_neither_beamlets_nor_mlc():
    plan = one_beam()
    add_segment(plan.beams[0])
    with pytest.raises(ValueError, match=r"segment 1 of beam 1 \('AP'\) has neither beamlets nor an MLC"):
        validate_photon_plan(plan)


@pytest.mark.parametrize("mlc", [[[0, 1, 2]], [0, 1, 2, 3], [[0, np.nan, -5, 5]]])
def test_mlc_of_the_wrong_form(mlc):
    plan = one_beam()
    add_segment(plan.beams[0]).Xmlc_mm = mlc
    with pytest.raises(ValueError, match="Xmlc_mm must be rows of four finite numbers"):
        validate_photon_plan(plan)


def test_each_beam_may_have_its_isocenter():
    plan = one_beam()
    add_segment(add_beam(plan, (0, 5, 0), name="PA"), [(0, 0)])
    validate_photon_plan(plan)
    assert plan_isocenters(plan).tolist() == [[0.0, 0.0, 0.0], [0.0, 5.0, 0.0]]


def test_no_isocenter():
    plan = one_beam()
    plan.beams[0].isocenterPosition_mm = None
    with pytest.raises(ValueError, match="the isocenter must be three finite numbers x, y, z in mm"):
        validate_photon_plan(plan)


@pytest.mark.parametrize(
    ("name", "value"), [("xBeamletSpacing_mm", 0), ("yBeamletSpacing_mm", -5), ("gantryAngle_degree", np.nan)]
)
def test_numbers_of_a_segment(name, value):
    plan = one_beam()
    setattr(plan.beams[0].beamSegments[0], name, value)
    with pytest.raises(ValueError, match=rf"segment 0 of beam 1 \('AP'\): {name} must be"):
        validate_photon_plan(plan)


# ------------------------------------------------------------------------------------------------------------ MU


def test_mu_written_to_every_beamlet():
    plan = mixed_plan(ORIGIN)
    mu = np.arange(48, dtype=float)
    write_beamlet_mu(plan, mu)
    np.testing.assert_array_equal(plan.beamletMUs, mu)
    assert [s.mu for s in plan.beamSegments] == [None, None, 40.0, None]
    assert plan.numberOfBeamlets == 48


def test_segment_with_equal_mu_is_pure():
    plan = mixed_plan(ORIGIN)
    write_beamlet_mu(plan, np.repeat([0.0, 3.0, 4.0, 5.0], [36, 4, 1, 7]))
    assert [s.mu for s in plan.beamSegments] == [0.0, 3.0, 4.0, 5.0]
    assert plan.numberOfBeamlets == 48


def test_mu_of_a_plan_with_only_an_mlc():
    plan = section_six_plan(ORIGIN)
    write_beamlet_mu(plan, np.linspace(0, 1, 36))
    np.testing.assert_array_equal(plan.beamletMUs, np.linspace(0, 1, 36))


@pytest.mark.parametrize("bad", [-1e-9, np.nan, np.inf])
def test_impossible_mu(bad):
    plan = mixed_plan(ORIGIN)
    mu = np.ones(48)
    mu[17] = bad
    before = plan.beamletMUs
    with pytest.raises(ValueError, match=f"beamlet 17 has {bad}"):
        write_beamlet_mu(plan, mu)
    np.testing.assert_array_equal(plan.beamletMUs, before)


def test_wrong_number_of_mu():
    with pytest.raises(ValueError, match=r"MU must be one number for each of the 48 beamlets, got .* \(47,\)"):
        write_beamlet_mu(mixed_plan(ORIGIN), np.ones(47))


def test_weak_beamlets_are_removed_as_by_opentps():
    plan = mixed_plan(ORIGIN)
    write_beamlet_mu(plan, np.r_[np.linspace(0, 1, 36), 0, 0, 2, 3, 0, np.ones(7)])
    mu, positions = plan.beamletMUs, layout_from_opentps(plan).xy_mm
    kept = remove_beamlets(plan, 0.1)
    np.testing.assert_array_equal(kept, mu > 0.1)
    np.testing.assert_array_equal(plan.beamletMUs, mu[kept])
    np.testing.assert_array_equal(layout_from_opentps(plan).xy_mm, positions[kept])
    assert [len(beam) for beam in plan.beams] == [1, 1, 1]


def test_empty_beams_are_removed():
    plan = mixed_plan(ORIGIN)
    write_beamlet_mu(plan, np.r_[np.zeros(41), np.ones(7)])
    remove_beamlets(plan, 0.0)
    assert [beam.name for beam in plan.beams] == ["third"]


# ---------------------------------------------------------------------------------------------------------- ROIs


@pytest.fixture
def ct():
    return make_ct(shape=(20, 18, 10), spacing=(3.0, 4.0, 5.0), origin=(-30.0, -20.0, 10.0))


def test_grid_of_an_image(ct):
    assert voxel_grid(ct) == VoxelGrid((20, 18, 10), (3.0, 4.0, 5.0), (-30.0, -20.0, 10.0))


def test_rotated_image(ct):
    turned = CTImage(imageArray=ct.imageArray, name="tilted", angles=(0.1, 0, 0))
    with pytest.raises(ValueError, match="the image 'tilted' is rotated"):
        voxel_grid(turned)


def test_mask_on_the_dose_grid(ct):
    roi = make_roi(ct, (5, 4, 3), (9, 9, 6), "PTV")
    structure = structure_from_roi(roi, ct, is_target=True)
    np.testing.assert_array_equal(structure.mask, roi.imageArray)
    assert (structure.name, structure.is_target) == ("PTV", True)


def opentps_mask(roi, ct):
    """The mask OpenTPS's own optimizers would use."""
    objective = make_objective(roi, "DMax")
    objective._updateMaskVec(ct.spacing, ct.gridSize, ct.origin)
    return np.flip(objective.maskVec.reshape(ct.gridSize, order="F"), (0, 1))


def test_mask_on_another_grid_is_resampled(ct):
    fine = make_ct(shape=(40, 40, 40), spacing=(1.5, 1.5, 1.5), origin=(-28.0, -15.0, 12.0))
    roi = make_roi(fine, (10, 10, 5), (30, 25, 25), "PTV")
    before = copy.deepcopy(roi.imageArray)
    mask = structure_from_roi(roi, ct).mask
    np.testing.assert_array_equal(mask, opentps_mask(roi, ct))
    volume = mask.sum() * 3 * 4 * 5
    assert volume == pytest.approx(roi.imageArray.sum() * 1.5**3, rel=0.25)
    np.testing.assert_array_equal(roi.imageArray, before)
    np.testing.assert_array_equal(roi.spacing, 1.5)


def test_contour(ct):
    corners = [(-15.0, -4.0), (6.0, -4.0), (6.0, 24.0), (-15.0, 24.0)]
    roi = ROIContour(name="PTV")
    roi.polygonMesh = [np.array([(x, y, z) for x, y in corners]).ravel().tolist() for z in (20.0, 25.0, 30.0)]
    mask = structure_from_roi(roi, ct).mask
    assert mask.any(axis=(0, 1)).tolist() == [z in (2, 3, 4) for z in range(10)]
    assert mask.any(axis=(1, 2)).nonzero()[0].tolist() == list(range(5, 13))


@pytest.mark.parametrize("spacing", [2.0, 3.0, 5.0, 8.0])
def test_contours_stay_where_they_are(spacing):
    """A cylinder: its mask's center and volume."""
    where = placement(spacing)
    grid = VoxelGrid(tuple(where["gridSize"].tolist()), (spacing,) * 3, tuple(where["origin"].tolist()))
    mask = structure_from_roi(contours_of_cylinder(radius=20.0), grid).mask
    middle = np.array(grid.origin_mm) + spacing * np.argwhere(mask).mean(axis=0)
    np.testing.assert_allclose(middle[:2], 0, atol=1e-9)
    in_a_plane = mask.sum(axis=(0, 1)).max() * spacing**2
    assert in_a_plane == pytest.approx(np.pi * 20**2, rel=0.12)


def test_contour_on_one_slice(ct):
    roi = ROIContour(name="flat")
    roi.polygonMesh = [[0.0, 0.0, 20.0, 6.0, 0.0, 20.0, 6.0, 6.0, 20.0]]
    with pytest.raises(ValueError, match="the ROI 'flat' has its contours on a single slice"):
        structure_from_roi(roi, ct)


def test_contour_without_points(ct):
    roi = ROIContour(name="nothing")
    roi.polygonMesh = []
    with pytest.raises(ValueError, match="the ROI 'nothing' has no closed outline"):
        structure_from_roi(roi, ct)


def test_empty_mask(ct):
    with pytest.raises(ValueError, match="the ROI 'PTV' is empty on the dose grid"):
        structure_from_roi(make_roi(ct, (0, 0, 0), (0, 0, 0), "PTV"), ct)


def test_mask_without_data(ct):
    with pytest.raises(ValueError, match="the ROI 'PTV' has no mask"):
        structure_from_roi(ROIMask(name="PTV"), ct)


def test_not_a_roi(ct):
    with pytest.raises(TypeError, match="an ROI must be an OpenTPS ROIMask or ROIContour, got CTImage"):
        structure_from_roi(ct, ct)
