"""Resampling that conserves volume: every new voxel gets the shares of the old ones that it covers."""

from __future__ import annotations

import math

import numpy as np

from opentps_brimstone._typing import FloatArray
from opentps_brimstone.model.influence import VoxelGrid

__all__ = ["OnGrid", "grid_with_spacing", "mean_on_grid", "same_grid", "share_on_grid", "voxel_edges"]


# Grids closer than this are the same.
_SAME_MM = 1e-3
# A grid may be smaller than the box it covers by this part of a voxel.
_ROUNDING = 1e-6


class OnGrid:
    """Something on a grid of voxels."""

    grid: VoxelGrid

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Voxel spacing along x, y and z."""
        return self.grid.spacing_mm

    @property
    def origin_mm(self) -> tuple[float, float, float]:
        """Center of voxel [0, 0, 0]."""
        return self.grid.origin_mm


def same_grid(first: VoxelGrid, second: VoxelGrid) -> bool:
    """Whether two grids have the same voxels, to a thousandth of a millimeter."""
    return (
        first.shape == second.shape
        and np.allclose(first.origin_mm, second.origin_mm, rtol=0, atol=_SAME_MM)
        and np.allclose(first.spacing_mm, second.spacing_mm, rtol=0, atol=_SAME_MM / max(first.shape))
    )


def grid_with_spacing(grid: VoxelGrid, spacing_mm: float | tuple[float, float, float]) -> VoxelGrid:
    """Grid of another spacing that covers the same box, with the same center.

    Where the spacing does not divide the box, the grid extends beyond both sides equally. Along an axis whose spacing
    is unchanged, voxels keep their places. A spacing larger than the box is a ValueError.

    Examples
    --------
    >>> grid_with_spacing(VoxelGrid((4, 4, 4), (1.0, 1.0, 3.0)), (2.0, 3.0, 3.0))
    VoxelGrid(shape=(2, 2, 4), spacing_mm=(2.0, 3.0, 3.0), origin_mm=(0.5, 0.0, 0.0))
    """
    try:
        steps = tuple(float(step) for step in np.broadcast_to(np.asarray(spacing_mm, dtype=np.float64), (3,)))
    except ValueError:
        raise ValueError(f"the grid spacing must be one number or three, in mm, not {spacing_mm!r}") from None
    extents = [n * step for n, step in zip(grid.shape, grid.spacing_mm, strict=True)]
    for letter, step, extent in zip("xyz", steps, extents, strict=True):
        if not (math.isfinite(step) and 0 < step <= extent):
            raise ValueError(
                f"the grid spacing along {letter} is {step:g} mm; it must be above 0 and at most {extent:g} mm, "
                "the size of the image"
            )
    shape, origin = [], []
    for n, old, start, step, extent in zip(grid.shape, grid.spacing_mm, grid.origin_mm, steps, extents, strict=True):
        unchanged = math.isclose(step, old, rel_tol=1e-9)
        count = n if unchanged else math.ceil(extent / step - _ROUNDING)
        middle = start + (n - 1) * old / 2
        shape.append(count)
        origin.append(start if unchanged else middle - (count - 1) * step / 2)
    return VoxelGrid((shape[0], shape[1], shape[2]), (steps[0], steps[1], steps[2]), (origin[0], origin[1], origin[2]))


def share_on_grid(share: FloatArray, source: VoxelGrid, grid: VoxelGrid) -> FloatArray:
    """Bring volume shares from their `source` grid to another; the volume inside the new grid is conserved."""
    return np.clip(_resampled(share, source, grid, fill_up=False), 0.0, 1.0)


def mean_on_grid(image: FloatArray, source: VoxelGrid, grid: VoxelGrid) -> FloatArray:
    """Mean of an image, such as HU, over every voxel of another grid.

    A voxel partly outside `source` has the mean of its part inside; one that lies outside entirely is a ValueError.
    """
    return _resampled(image, source, grid, fill_up=True)


def _resampled(image: FloatArray, source: VoxelGrid, grid: VoxelGrid, *, fill_up: bool) -> FloatArray:
    values = np.asarray(image, dtype=np.float64)
    for axis in (2, 1, 0):
        overlap = _overlap(source, grid, axis)
        if fill_up:
            covered = overlap.sum(axis=1, keepdims=True)
            if covered.min() <= 0:
                raise ValueError(f"the grid {grid} extends beyond the image on {source} by a voxel or more")
            overlap = overlap / covered
        values = np.moveaxis(np.tensordot(overlap, values, axes=(1, axis)), 0, axis)
    return np.ascontiguousarray(values)


def _overlap(source: VoxelGrid, grid: VoxelGrid, axis: int) -> FloatArray:
    """Part of each new voxel filled by each old one along an axis, shape (new, old)."""
    new_low, new_high = voxel_edges(grid, axis)
    old_low, old_high = voxel_edges(source, axis)
    common = np.minimum(new_high[:, None], old_high) - np.maximum(new_low[:, None], old_low)
    part: FloatArray = np.clip(common, 0.0, None) / grid.spacing_mm[axis]
    return part


def voxel_edges(grid: VoxelGrid, axis: int) -> tuple[FloatArray, FloatArray]:
    """Lower and upper edge of every voxel along an axis, in mm."""
    low = grid.origin_mm[axis] + (np.arange(grid.shape[axis], dtype=np.float64) - 0.5) * grid.spacing_mm[axis]
    return low, low + grid.spacing_mm[axis]
