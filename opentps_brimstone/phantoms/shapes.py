"""Shapes as shares of a grid's voxels; axes as for the phantoms."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import numpy as np

from opentps_brimstone._typing import BoolArray, FloatArray
from opentps_brimstone.model.influence import VoxelGrid

__all__ = [
    "AIR_HU",
    "WATER_HU",
    "centered_grid",
    "disc",
    "ellipse",
    "ellipsoid",
    "grown",
    "half",
    "prism_share",
    "rest_of_body",
    "rounded_box",
    "solid_share",
    "water_ct",
]

Size = tuple[float, float, float]
Outline = Callable[[FloatArray, FloatArray], BoolArray]
Solid = Callable[[FloatArray, FloatArray, FloatArray], BoolArray]

WATER_HU = 0.0
AIR_HU = -1024.0

# Sub-samples of a voxel along x and along y for the volume share of a prism: shares are multiples of 1/256.
_SUBSAMPLES = 16
# Sub-samples along each of the three axes for a solid: shares are multiples of 1/512.
_SOLID_SUBSAMPLES = 8


def centered_grid(extent_mm: Size, margin_mm: float, spacing_mm: float) -> VoxelGrid:
    """Make a grid of cubic voxels around the origin, which lies on a corner of voxels.

    It holds the extent and the margin on each side. A spacing larger than the smallest extent is a ValueError.
    """
    if not (math.isfinite(spacing_mm) and 0 < spacing_mm <= min(extent_mm)):
        raise ValueError(f"the grid spacing is {spacing_mm:g} mm; it must be above 0 and at most {min(extent_mm):g} mm")
    half = [math.ceil((extent / 2 + margin_mm) / spacing_mm - 1e-9) for extent in extent_mm]
    nx, ny, nz = (2 * n for n in half)
    ox, oy, oz = (-(n - 0.5) * spacing_mm for n in half)
    return VoxelGrid((nx, ny, nz), (spacing_mm,) * 3, (ox, oy, oz))


def prism_share(
    grid: VoxelGrid,
    outline: Outline,
    length_mm: float,
    center_z_mm: float = 0.0,
) -> FloatArray:
    """Compute the share of every voxel's volume in a prism along z; exact along z, by sub-sampling in x and y.

    `outline` takes x and y in mm, as arrays that broadcast, and returns whether the points are inside.
    """
    (nx, ny, nz), spacing, origin = grid.shape, grid.spacing_mm, grid.origin_mm
    within = (np.arange(_SUBSAMPLES) + 0.5) / _SUBSAMPLES - 0.5
    x = origin[0] + spacing[0] * (np.arange(nx)[:, None] + within).reshape(-1, 1)
    y = origin[1] + spacing[1] * (np.arange(ny)[:, None] + within).reshape(1, -1)
    inside = np.broadcast_to(outline(x, y), (nx * _SUBSAMPLES, ny * _SUBSAMPLES))
    across = inside.reshape(nx, _SUBSAMPLES, ny, _SUBSAMPLES).mean(axis=(1, 3))
    z = origin[2] - center_z_mm + spacing[2] * np.arange(nz)
    top = np.minimum(z + spacing[2] / 2, length_mm / 2)
    bottom = np.maximum(z - spacing[2] / 2, -length_mm / 2)
    share: FloatArray = across[:, :, None] * np.clip((top - bottom) / spacing[2], 0, 1)
    return share


def solid_share(
    grid: VoxelGrid,
    inside: Solid,
    half_mm: Size,
    center_mm: Size = (0.0, 0.0, 0.0),
) -> FloatArray:
    """Compute the share of every voxel's volume that lies in a solid, by sub-sampling.

    `inside` takes x, y and z in mm, as arrays that broadcast, and returns whether the points are inside. The solid is
    held by a box of twice `half_mm` around the center.
    """
    within = (np.arange(_SOLID_SUBSAMPLES) + 0.5) / _SOLID_SUBSAMPLES - 0.5
    window, points = [], []
    for n, spacing, origin, half, center in zip(
        grid.shape, grid.spacing_mm, grid.origin_mm, half_mm, center_mm, strict=True
    ):
        first = max(math.floor((center - half - origin) / spacing + 0.5), 0)
        last = min(math.ceil((center + half - origin) / spacing - 0.5), n - 1)
        window.append(slice(first, last + 1))
        points.append((origin + spacing * (np.arange(first, last + 1)[:, None] + within)).ravel())
    x, y, z = np.meshgrid(*points, indexing="ij", sparse=True)
    shape = [len(along) // _SOLID_SUBSAMPLES for along in points]
    samples = np.broadcast_to(inside(x, y, z), [len(along) for along in points])
    split = samples.reshape([part for n in shape for part in (n, _SOLID_SUBSAMPLES)])
    share: FloatArray = np.zeros(grid.shape)
    share[tuple(window)] = split.mean(axis=(1, 3, 5))
    return share


def rounded_box(half_x: float, half_y: float, corner: float) -> Outline:
    """Outline of a rectangle with round corners, in mm."""

    def inside(x: FloatArray, y: FloatArray) -> BoolArray:
        beyond_x = np.maximum(np.abs(x) - (half_x - corner), 0)
        beyond_y = np.maximum(np.abs(y) - (half_y - corner), 0)
        return np.asarray(np.hypot(beyond_x, beyond_y) <= corner)

    return inside


def disc(radius: float, center_y: float = 0.0) -> Outline:
    """Outline of a disc on the line x = 0, in mm."""
    return lambda x, y: np.asarray(np.hypot(x, y - center_y) <= radius)


def ellipse(half_x: float, half_y: float) -> Outline:
    """Outline of an ellipse around the origin, in mm."""
    return lambda x, y: np.asarray((x / half_x) ** 2 + (y / half_y) ** 2 <= 1)


def ellipsoid(half_mm: Size, center_mm: Size = (0.0, 0.0, 0.0)) -> Solid:
    """Surface of an ellipsoid with axes along x, y and z, in mm."""

    def inside(x: FloatArray, y: FloatArray, z: FloatArray) -> BoolArray:
        along = zip((x, y, z), half_mm, center_mm, strict=True)
        squares: FloatArray = sum(((at - center) / half) ** 2 for at, half, center in along)  # type: ignore[assignment]
        return np.asarray(squares <= 1)

    return inside


def half(size_mm: Size) -> Size:
    """Half of a size along x, y and z."""
    return size_mm[0] / 2, size_mm[1] / 2, size_mm[2] / 2


def grown(half_mm: Size, margin_mm: float) -> Size:
    """Half a size with a margin on each side."""
    return half_mm[0] + margin_mm, half_mm[1] + margin_mm, half_mm[2] + margin_mm


def water_ct(body: FloatArray) -> FloatArray:
    """Compute the HU of a body of water in air from the share of every voxel that lies in the body; not writeable."""
    ct: FloatArray = AIR_HU + body * (WATER_HU - AIR_HU)
    ct.flags.writeable = False
    return ct


def rest_of_body(body: FloatArray, targets: Iterable[FloatArray], organs: Iterable[FloatArray]) -> FloatArray:
    """Compute the share of every voxel that is body and neither target nor organ.

    A voxel that is partly target is not rest: its dose is the target's.
    """
    rest = body.copy()
    for organ in organs:
        rest = np.clip(np.minimum(rest, body - organ), 0, 1)
    for target in targets:
        rest[target > 0] = 0.0
    return rest
