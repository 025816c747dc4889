from __future__ import annotations

import numpy as np
import pytest

from opentps_brimstone.model.grid import grid_with_spacing, mean_on_grid, same_grid, share_on_grid
from opentps_brimstone.model.influence import VoxelGrid

GRID = VoxelGrid((12, 10, 8), (1.0, 1.5, 3.0), (-5.0, 2.0, 100.0))


def box(grid: VoxelGrid) -> np.ndarray:
    low = np.array(grid.origin_mm) - np.array(grid.spacing_mm) / 2
    return np.array([low, low + np.array(grid.spacing_mm) * grid.shape])


@pytest.mark.parametrize("spacing", [2.0, 0.7, (3.0, 3.0, 3.0), (1.0, 4.0, 2.5), 12.0])
def test_a_grid_of_another_spacing_covers_the_same_box(spacing) -> None:
    other = grid_with_spacing(GRID, spacing)
    (low, high), (other_low, other_high) = box(GRID), box(other)
    assert (other_low <= low + 1e-9).all()
    assert (other_high >= high - 1e-9).all()
    assert (other_high - other_low < high - low + np.array(other.spacing_mm)).all()
    np.testing.assert_allclose(other_low + other_high, low + high)


def test_axes_that_keep_their_spacing_keep_their_voxels() -> None:
    other = grid_with_spacing(GRID, (2.0, 1.5, 3.0))
    assert other.shape[1:] == GRID.shape[1:]
    assert other.origin_mm[1:] == GRID.origin_mm[1:]
    assert same_grid(grid_with_spacing(GRID, GRID.spacing_mm), GRID)


@pytest.mark.parametrize("spacing", [2.0, 0.7, (1.0, 4.0, 2.5)])
def test_volume_and_mean_are_kept(spacing) -> None:
    rng = np.random.default_rng(3)
    image = rng.uniform(size=GRID.shape)
    other = grid_with_spacing(GRID, spacing)
    share = share_on_grid(image, GRID, other)
    assert share.sum() * np.prod(other.spacing_mm) == pytest.approx(image.sum() * np.prod(GRID.spacing_mm))
    np.testing.assert_allclose(mean_on_grid(np.full(GRID.shape, -150.0), GRID, other), -150.0)


def test_a_linear_image_stays_linear() -> None:
    x = GRID.origin_mm[0] + np.arange(12) * 1.0
    image = np.broadcast_to(x[:, None, None], GRID.shape)
    other = grid_with_spacing(GRID, (3.0, 1.5, 3.0))
    expected = other.origin_mm[0] + 3.0 * np.arange(other.shape[0])
    np.testing.assert_allclose(mean_on_grid(image, GRID, other)[:, 0, 0], expected)


def test_what_is_outside() -> None:
    beyond = VoxelGrid((2, 1, 1), (10.0, 10.0, 10.0), (200.0, 2.0, 100.0))
    assert share_on_grid(np.ones(GRID.shape), GRID, beyond).sum() == 0
    with pytest.raises(ValueError, match=r"extends beyond the image .* by a voxel or more"):
        mean_on_grid(np.ones(GRID.shape), GRID, beyond)


@pytest.mark.parametrize(
    ("spacing", "message"),
    [
        (0.0, "the grid spacing along x is 0 mm; it must be above 0 and at most 12 mm"),
        ((1.0, 1.0, 30.0), "the grid spacing along z is 30 mm; it must be above 0 and at most 24 mm"),
        ((1.0, np.nan, 3.0), "the grid spacing along y is nan mm"),
        ((1.0, 2.0), "must be one number or three"),
    ],
)
def test_bad_spacings_are_refused(spacing, message) -> None:
    with pytest.raises(ValueError, match=message):
        grid_with_spacing(GRID, spacing)
