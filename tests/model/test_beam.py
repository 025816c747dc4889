from __future__ import annotations

import numpy as np
import pytest
from dicom_folder import sphere

import opentps_brimstone as pb
from opentps_brimstone.adapters.angles import opentps_from_iec
from opentps_brimstone.model.beam import beamlets_on_target, beams_eye_axes
from opentps_brimstone.model.contours import ContourStack

GRID = pb.VoxelGrid((40, 40, 40), (2.0, 2.0, 2.0), (-39.0, -39.0, -39.0))


def ball(radius: float, center=(0.0, 0.0, 0.0)) -> np.ndarray:
    planes = np.arange(-39.0, 40, 2.0)
    return ContourStack([(z, [o]) for z, o in sphere(radius, planes, center)], 2.0).share_on(GRID)


@pytest.mark.parametrize("angles", [(0, 0, 0), (90, 0, 0), (37, 0, 20), (200, 70, 0), (310, 340, 95)])
def test_axes_are_those_that_opentps_gives_its_engine(angles) -> None:
    from opentps.core.io.CCCdoseEngineIO import getRotatedVersors

    turned = opentps_from_iec(*angles)
    theirs = getRotatedVersors(turned.gantry, turned.couch, turned.collimator)
    # The engine's axes run to the back, to the left and to the head, and its third versor runs with the beam.
    in_patient = [np.array([vector[1], vector[0], vector[2]]) for vector in theirs]
    in_patient[2] *= -1
    for ours, engine in zip(beams_eye_axes(*angles), in_patient, strict=True):
        np.testing.assert_allclose(ours, engine, atol=1e-12)


def test_gantry_90_comes_from_the_patients_left() -> None:
    for gantry, source in ((0, (0, -1, 0)), (90, (1, 0, 0)), (180, (0, 1, 0)), (270, (-1, 0, 0))):
        np.testing.assert_allclose(beams_eye_axes(gantry, 0, 0)[2], source, atol=1e-12)


@pytest.mark.parametrize("gantry", [0.0, 90.0, 33.0])
def test_beamlets_cover_the_projection_and_its_margin(gantry: float) -> None:
    xy = beamlets_on_target(ball(15.0), GRID, (0, 0, 0), (gantry, 0, 0), 5.0, 5.0)
    np.testing.assert_allclose((xy / 5.0) % 1, 0.5)  # edges at multiples, as leaves' are
    assert len(np.unique(xy, axis=0)) == len(xy)
    reach = np.hypot(*xy.T).max()
    assert 15 + 5 - 2.5 * np.sqrt(2) < reach <= 15 + 7.5 + 2.0
    everywhere = np.stack(np.meshgrid(*[np.arange(-27.5, 28, 5)] * 2), axis=-1).reshape(-1, 2)
    near = everywhere[np.hypot(*everywhere.T) < 15 + 7.5 - 2.0]
    assert {tuple(p) for p in near} <= {tuple(p) for p in xy}


def test_the_projection_diverges() -> None:
    """A target between source and isocenter casts a larger shadow there."""
    near = beamlets_on_target(ball(6.0, (0.0, -30.0, 0.0)), GRID, (0, 30.0, 0), (0, 0, 0), 1.0, 0.0)
    far = beamlets_on_target(ball(6.0, (0.0, -30.0, 0.0)), GRID, (0, -30.0, 0), (0, 0, 0), 1.0, 0.0)
    width = [np.ptp(xy[:, 0]) for xy in (near, far)]
    assert width[0] / width[1] == pytest.approx(1000 / 940, abs=0.08)
    assert width[0] >= width[1]


def test_a_target_beside_the_isocenter_is_found_on_its_side() -> None:
    share = ball(6.0, (20.0, 5.0, -10.0))
    front = beamlets_on_target(share, GRID, (0, 0, 0), (0, 0, 0), 2.0, 0.0).mean(axis=0)
    np.testing.assert_allclose(front, (20, -10), atol=1.0)  # seen from the front: x to the left, y to the head
    left = beamlets_on_target(share, GRID, (0, 0, 0), (90, 0, 0), 2.0, 0.0).mean(axis=0)
    np.testing.assert_allclose(left, (5, -10), atol=1.0)
    turned = beamlets_on_target(share, GRID, (0, 0, 0), (0, 0, 90), 2.0, 0.0).mean(axis=0)
    np.testing.assert_allclose(turned, (-10, -20), atol=1.0)


def test_small_beamlets_leave_no_holes() -> None:
    xy = beamlets_on_target(ball(12.0), GRID, (0, 0, 0), (45, 0, 0), 1.0, 0.0)
    assert len(xy) == pytest.approx(np.pi * 12.5**2, rel=0.1)


# ------------------------------------------------------------------------------------------------- maps and doses


def matrix_plan() -> pb.Plan:
    xy = [(-5, 0), (0, 0), (5, 0), (0, 5), (-2.5, 2.5), (2.5, 2.5)]
    matrix = np.arange(8 * 6, dtype=float).reshape(8, 6)
    return pb.Plan.from_dose_influence(
        matrix,
        [pb.Structure("PTV", np.ones((2, 2, 2)), is_target=True)],
        grid_shape=(2, 2, 2),
        spacing_mm=(5.0, 5.0, 5.0),
        beamlet_xy_mm=xy,
        beam_index=[0, 0, 0, 0, 1, 1],
        beamlet_spacing_mm=5.0,
        number_of_fractions=3,
    )


def test_the_intensity_map_shows_the_weights_where_the_beamlets_are() -> None:
    plan = matrix_plan()
    with pytest.raises(ValueError, match="beam 1 has no intensity map yet"):
        plan.beams[0].intensity_map  # noqa: B018
    with pytest.raises(ValueError, match="beam 2 has no dose yet"):
        plan.beams[1].get_dose()
    plan.beamlet_weights = [1, 2, 3, 4, 5, 6]
    first, second = plan.beams
    np.testing.assert_array_equal(first.intensity_map, [[1, np.nan], [2, 4], [3, np.nan]])
    assert first.x_mm.tolist() == [-5, 0, 5]
    assert first.y_mm.tolist() == [0, 5]
    np.testing.assert_array_equal(second.intensity_map, [[5], [6]])
    assert (first.n_beamlets, second.n_beamlets) == (4, 2)


def test_doses_of_beams_add_up() -> None:
    plan = matrix_plan()
    plan.beamlet_weights = [1, 2, 3, 4, 5, 6]
    parts = [beam.get_dose() for beam in plan.beams]
    assert parts[0].grid == plan.grid
    np.testing.assert_allclose(parts[0] + parts[1], plan.get_dose())
    assert plan.beams[1].beamlets.shape == (8, 2)
    np.testing.assert_allclose(np.asarray(parts[1]).ravel(), 3 * plan.beams[1].beamlets.toarray() @ [5, 6])


def test_a_matrix_does_not_tell_angles() -> None:
    beam = matrix_plan().beams[0]
    assert beam.gantry_angle is None
    assert repr(beam) == "Beam('beam 1')"
    with pytest.raises(ValueError, match="does not tell its isocenter"):
        beam.isocenter  # noqa: B018
