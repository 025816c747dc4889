from __future__ import annotations

import numpy as np
import pytest
from dicom_folder import circle, cylinder, rectangle, sphere
from hypothesis import given, settings, strategies as st

from opentps_brimstone.model.contours import ContourStack
from opentps_brimstone.model.influence import VoxelGrid

GRID = VoxelGrid((24, 22, 20), (2.5, 3.0, 4.0), (-28.0, -31.0, -39.0))


def volume_on(grid: VoxelGrid, contours: ContourStack) -> float:
    return float(contours.share_on(grid).sum() * np.prod(grid.spacing_mm))


def stack(outlines, step: float) -> ContourStack:
    return ContourStack([(z, [vertices]) for z, vertices in outlines], step)


# ------------------------------------------------------------------------------------------------- volumes


@pytest.mark.parametrize("step", [1.0, 3.0, 5.0])
@pytest.mark.parametrize("radius", [15.0, 20.0, 25.0])
def test_spheres_have_their_volume_wherever_the_slices_lie(radius: float, step: float) -> None:
    exact = 4 / 3 * np.pi * radius**3
    for phase in np.linspace(0, 1, 13)[:-1]:
        contours = stack(sphere(radius, (np.arange(-40, 40) + phase) * step), step)
        assert contours.volume_mm3 == pytest.approx(exact, rel=0.01), phase
        assert volume_on(GRID, contours) == pytest.approx(contours.volume_mm3, rel=1e-3)


@pytest.mark.parametrize("step", [1.0, 3.0, 5.0])
def test_no_rounding_is_left_outside(step: float) -> None:
    share = stack(sphere(20.0, (np.arange(-40, 40) + 0.3) * step), step).share_on(GRID)
    centers = np.meshgrid(
        *(o + s * np.arange(n) for o, s, n in zip(GRID.origin_mm, GRID.spacing_mm, GRID.shape, strict=True)),
        indexing="ij",
    )
    far = np.sqrt(sum(c**2 for c in centers)) > 20.0 + step + np.linalg.norm(GRID.spacing_mm)
    assert far.any()
    assert not share[far].any()
    assert share[share > 0].min() > 1e-9


def test_layers_of_one_spacing_would_be_wrong() -> None:
    """Why the ends are treated as they are."""
    contours = stack(sphere(20.0, np.arange(-40, 40) * 5.0), 5.0)
    plain = 5.0 * contours.areas_mm2.sum()
    exact = 4 / 3 * np.pi * 20**3
    assert plain / exact < 0.985
    assert contours.volume_mm3 == pytest.approx(exact, rel=1e-3)


@pytest.mark.parametrize("step", [1.0, 3.0, 5.0])
def test_cylinders_with_and_without_a_hole_have_their_volume(step: float) -> None:
    planes = (np.arange(round(60 / step)) + 0.5) * step - 30
    full = stack(cylinder(20.0, planes), step)
    assert full.volume_mm3 == pytest.approx(np.pi * 400 * 60, rel=1e-3)
    hollow = ContourStack([(z, [circle(20.0), circle(8.0, (3.0, -2.0))]) for z in planes], step)
    exact = np.pi * (400 - 64) * 60
    assert hollow.volume_mm3 == pytest.approx(exact, rel=1e-3)
    assert volume_on(GRID, hollow) == pytest.approx(exact, rel=1e-3)
    assert volume_on(VoxelGrid((60, 60, 70), (1.0, 1.0, 1.0), (-29.5, -29.5, -34.5)), hollow) == pytest.approx(
        exact, rel=1e-3
    )


def test_ellipsoids_and_cones_along_z() -> None:
    planes = np.arange(-20, 20) * 4.0 + 1.3
    ellipsoid = stack([(z, circle(15 * np.sqrt(1 - (z / 30) ** 2), n=200)) for z in planes if abs(z) < 30], 4.0)
    assert ellipsoid.volume_mm3 == pytest.approx(4 / 3 * np.pi * 15**2 * 30, rel=2e-3)
    cone = stack([(z, circle(0.5 * (40 - z))) for z in planes if 0 < z < 40], 4.0)
    low = planes[planes > 0][0] - 2.0  # cut flat, half a spacing below the first plane
    assert cone.volume_mm3 == pytest.approx(np.pi / 3 * 0.25 * (40 - low) ** 3, rel=0.01)


@settings(max_examples=25, deadline=None)
@given(
    radius=st.floats(4, 30),
    center=st.tuples(st.floats(-15, 15), st.floats(-15, 15)),
    spacing=st.tuples(st.floats(1.5, 6), st.floats(1.5, 6), st.floats(1.5, 6)),
)
def test_a_grid_that_holds_it_keeps_the_volume(radius, center, spacing) -> None:
    contours = stack(cylinder(radius, np.arange(0.0, 30.0, 3.0), center), 3.0)
    shape = tuple(int(np.ceil(110 / s)) for s in spacing)
    origin = (-50.0, -50.0, -20.0)
    share = contours.share_on(VoxelGrid(shape, spacing, origin))
    assert share.min() >= 0
    assert share.max() <= 1
    assert share.sum() * np.prod(spacing) == pytest.approx(contours.volume_mm3, rel=2e-3)


# ------------------------------------------------------------------------------------------------- shapes


def test_shares_of_a_box_are_exact() -> None:
    box = ContourStack([(z, [rectangle(0.5, 3.0, 1.0, 2.25)]) for z in (0.0, 1.0)], 1.0)
    share = box.share_on(VoxelGrid((4, 4, 3), (1.0, 1.0, 1.0), (0.0, 0.0, -0.25)))
    across = [0.0, 1.0, 1.0, 0.5]
    down = [0.0, 0.5, 0.75, 0.0]
    along = [0.75 + 0.0, 1.0, 0.25]  # from z = -0.5 to 1.5
    np.testing.assert_allclose(share, np.einsum("i,j,k", across, down, along), atol=1e-12)


def test_a_hole_and_an_island_in_it() -> None:
    outlines = [rectangle(-10, 10, -10, 10), rectangle(-6, 6, -6, 6), rectangle(-2, 2, -2, 2)]
    rings = ContourStack([(z, outlines) for z in (0.0, 2.0, 4.0)], 2.0)
    assert rings.volume_mm3 == pytest.approx((400 - 144 + 16) * 6)
    share = rings.share_on(VoxelGrid((21, 21, 1), (1.0, 1.0, 1.0), (-10.0, -10.0, 2.0)))[:, :, 0]
    assert share[10, 10] == share[2, 10] == 1.0
    assert share[6, 10] == 0.0


def test_a_keyhole_leaves_its_hole_out() -> None:
    keyhole = np.array(
        [
            *((-10, -10), (10, -10), (10, 10), (-10, 10), (-10, 0)),
            *((-5, 0), (-5, 5), (5, 5), (5, -5), (-5, -5), (-5, 0), (-10, 0)),
        ],
        dtype=float,
    )
    contours = ContourStack([(z, [keyhole]) for z in (0.0, 2.0)], 2.0)
    assert contours.volume_mm3 == pytest.approx((400 - 100) * 4, rel=1e-3)


def test_orientation_and_doubled_vertices_do_not_matter() -> None:
    square = rectangle(-4, 4, -4, 4)
    again = np.repeat(np.vstack([square, square[:1]]), 2, axis=0)[::-1]
    assert ContourStack([(0.0, [square])], 3.0).volume_mm3 == pytest.approx(192)
    assert ContourStack([(0.0, [again])], 3.0).volume_mm3 == pytest.approx(192)


def test_an_outline_given_twice_is_no_hole() -> None:
    square = rectangle(-4, 4, -4, 4)
    assert ContourStack([(0.0, [square, square])], 3.0).volume_mm3 == pytest.approx(192)
    assert ContourStack([(0.0, [square]), (0.01, [square])], 3.0).volume_mm3 == pytest.approx(192)


def test_pieces_beside_one_another_add() -> None:
    both = ContourStack([(0.0, [rectangle(-4, -1, 0, 3), rectangle(1, 4, 0, 3)])], 2.0)
    assert both.volume_mm3 == pytest.approx(36)


# ------------------------------------------------------------------------------------------------- planes


def test_a_single_plane_stands_for_a_slice() -> None:
    contours = ContourStack([(5.0, [rectangle(0, 2, 0, 2)])], 3.0)
    assert [(layer.low_mm, layer.high_mm) for layer in contours.layers] == [(3.5, 6.5)]


def test_outlines_on_every_second_slice_fill_the_slices_between() -> None:
    contours = ContourStack([(z, [rectangle(0, 2, 0, 2)]) for z in (0.0, 6.0, 12.0)], 3.0)
    assert contours.gaps_mm == []
    assert contours.volume_mm3 == pytest.approx(4 * 18)


def test_planes_may_lie_between_slices() -> None:
    contours = ContourStack([(z + 0.7, [rectangle(0, 2, 0, 2)]) for z in (0.0, 3.0, 6.0)], 3.0)
    share = contours.share_on(VoxelGrid((1, 1, 4), (2.0, 2.0, 3.0), (1.0, 1.0, 0.0)))
    np.testing.assert_allclose(share[0, 0], [2.3 / 3, 1, 1, 0.7 / 3], atol=1e-12)


def test_nothing_is_assumed_in_a_gap() -> None:
    square = [rectangle(0, 2, 0, 2)]
    contours = ContourStack([(z, square) for z in (0.0, 3.0, 6.0, 21.0, 24.0)], 3.0)
    assert contours.gaps_mm == [(6.0, 21.0)]
    assert contours.volume_mm3 == pytest.approx(4 * 15)
    assert ContourStack([(0.0, square), (30.0, square)], 3.0).volume_mm3 == pytest.approx(4 * 6)


def test_what_reaches_out_of_the_grid_is_cut() -> None:
    contours = stack(cylinder(20.0, np.arange(-30.0, 31.0, 3.0)), 3.0)
    share = contours.share_on(VoxelGrid((10, 40, 5), (1.0, 1.0, 1.0), (0.5, -19.5, -2.0)))
    assert share.shape == (10, 40, 5)
    assert (share[0, 20] == 1).all()
    assert contours.share_on(VoxelGrid((3, 3, 3), (1.0, 1.0, 1.0), (100.0, 100.0, 0.0))).sum() == 0


@pytest.mark.parametrize(
    ("planes", "step", "message"),
    [
        ([], 1.0, "there are no outlines"),
        ([(0.0, [[(0, 0), (1, 1)]])], 1.0, r"at z = 0 mm must have three or more finite vertices x, y; .*\(2, 2\)"),
        ([(0.0, [[(0, 0), (1, np.nan), (1, 1)]])], 1.0, "three or more finite vertices"),
        ([(np.inf, [[(0, 0), (1, 0), (1, 1)]])], 1.0, "plane is at z = inf"),
        ([(0.0, [[(0, 0), (1, 0), (1, 1)]])], 0.0, "slice spacing is 0.0 mm"),
    ],
)
def test_bad_outlines_are_refused(planes, step, message) -> None:
    with pytest.raises(ValueError, match=message):
        ContourStack(planes, step)
