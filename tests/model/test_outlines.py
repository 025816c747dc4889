"""Outlines and planes that nearly coincide."""

from __future__ import annotations

import numpy as np
import pytest
from dicom_folder import circle, rectangle

from opentps_brimstone.model.contours import ContourStack
from opentps_brimstone.model.influence import VoxelGrid
from opentps_brimstone.model.outlines import nearly_coincide, same_outline, traced_once
from opentps_brimstone.model.structure import Structure

ROUND = circle(20.0, n=100)


@pytest.mark.parametrize(
    "other",
    [
        ROUND.copy(),
        ROUND[::-1],
        np.roll(ROUND, 7, axis=0),
        np.concatenate([ROUND, ROUND[:1]]),
        np.round(ROUND, 1),
        circle(20.0, n=260),
        np.repeat(ROUND, 2, axis=0),
    ],
)
def test_an_outline_drawn_twice_counts_once(other: np.ndarray) -> None:
    assert same_outline(ROUND, other)
    stack = ContourStack([(0.0, [ROUND, other]), (3.0, [ROUND])], slice_spacing_mm=3.0)
    assert [len(outlines) for _, outlines in stack.planes] == [1, 1]
    assert stack.volume_mm3 == pytest.approx(np.pi * 400 * 6, rel=1e-3)
    assert not stack.thin_rims_mm


@pytest.mark.parametrize("other", [circle(18.5), circle(20.0, (2.0, 0.0)), circle(5.0), rectangle(-20, 20, -20, 20)])
def test_other_outlines_stay(other: np.ndarray) -> None:
    assert not same_outline(ROUND, other)
    assert not nearly_coincide(ROUND, other)


def test_a_thin_rim_is_said() -> None:
    stack = ContourStack([(0.0, [ROUND, circle(20.6)]), (3.0, [ROUND])], slice_spacing_mm=3.0)
    assert stack.thin_rims_mm == [0.0]


def test_an_outline_traced_twice_in_one_line_counts_once() -> None:
    twice = np.concatenate([ROUND, np.round(ROUND, 1)])
    np.testing.assert_array_equal(traced_once(twice), ROUND)
    assert ContourStack([(0.0, [twice])], slice_spacing_mm=2.0).volume_mm3 == pytest.approx(np.pi * 800, rel=1e-3)


@pytest.mark.parametrize("off", [0.0, 0.02, 0.1, 0.25])
def test_planes_that_nearly_coincide_are_one(off: float) -> None:
    """A hole whose plane was rounded otherwise than that of its outline."""
    planes = [(z, [circle(20.0)]) for z in np.arange(0.0, 15.0, 3.0)]
    planes += [(z + off, [circle(10.0)]) for z in np.arange(0.0, 15.0, 3.0)]
    stack = ContourStack(planes, slice_spacing_mm=3.0)
    assert len(stack.planes) == 5
    assert stack.volume_mm3 == pytest.approx(np.pi * (400 - 100) * 15, rel=2e-3)


def test_planes_closer_than_the_slices_of_the_ct_stay_planes() -> None:
    """A structure drawn on a finer image."""
    stack = ContourStack([(z, [ROUND]) for z in np.arange(0.0, 10.0, 0.5)], slice_spacing_mm=10.0)
    assert len(stack.planes) == 20


def test_the_volume_inside_a_grid_is_that_of_the_shares() -> None:
    stack = ContourStack([(z, [circle(12.0, (5.0, 0.0))]) for z in np.arange(-9.0, 10.0, 3.0)], slice_spacing_mm=3.0)
    grid = VoxelGrid((8, 8, 5), (4.0, 3.0, 3.5), (-14.0, -10.0, -4.0))
    assert stack.volume_within_mm3(grid) == pytest.approx(stack.share_on(grid).sum() * 4 * 3 * 3.5, rel=1e-9)


# ------------------------------------------------------------------------------------------------- masks


@pytest.mark.parametrize("step", [1.0, 2.0, 3.0])
def test_a_mask_has_the_volume_of_its_structure(step: float) -> None:
    radius = 20.0
    planes = [(z, [circle(np.sqrt(radius**2 - z**2))]) for z in np.arange(-19.5, 20.0, 1.5) if abs(z) < radius]
    n = round(60 / step)
    grid = VoxelGrid((n, n, n), (step,) * 3, ((step - 60) / 2,) * 3)
    structure = Structure.from_contours("ball", ContourStack(planes, 1.5), grid)
    volume = 4 / 3 * np.pi * radius**3
    assert structure.mask.sum() * step**3 == pytest.approx(volume, rel=0.03)
    assert structure.touched.sum() * step**3 > 1.1 * volume
    assert not np.any(structure.mask & ~structure.touched)
    at = (np.arange(n) - (n - 1) / 2) * step
    inside = at[:, None, None] ** 2 + at[:, None] ** 2 + at**2 < radius**2
    assert np.mean(structure.mask != inside) < 0.01 * step


def test_a_structure_smaller_than_a_voxel_has_the_voxel_it_fills_most() -> None:
    share = np.zeros((3, 3, 3))
    share[1, 1, 1], share[1, 1, 2] = 0.3, 0.2
    assert np.argwhere(Structure("dot", share).mask).tolist() == [[1, 1, 1]]


def test_yes_and_no_stay_yes_and_no() -> None:
    mask = np.random.default_rng(3).random((4, 4, 4)) > 0.5
    structure = Structure("organ", mask)
    np.testing.assert_array_equal(structure.mask, mask)
    np.testing.assert_array_equal(structure.touched, mask)
