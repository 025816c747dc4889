"""Points within a structure at which a dose is read, finer than its voxels where the structure is small."""

from __future__ import annotations

import itertools
import math

import numpy as np
import scipy.sparse as sp
from scipy import ndimage

from opentps_brimstone._typing import FloatArray, IntArray
from opentps_brimstone.model.influence import VoxelGrid
from opentps_brimstone.model.packed_share import PackedShare

__all__ = ["DoseSamples", "divided", "fine_grid", "parts_per_voxel"]

# A structure of more voxels than this is read at its voxels: its DVH moves by less than its voxels are apart in dose.
_SMALL = 600
# Most smoothings of a body that is known by its shares of voxels, and their width, in voxels.
_SMOOTHINGS, _SMOOTHING = 30, 0.4
# Points to aim at in a small structure, and most parts of a voxel's edge.
_POINTS, _MOST_PARTS = 20_000, 10


def parts_per_voxel(packed: PackedShare) -> int:
    """Parts of a voxel's edge so that a structure has enough points; 1 for one that is large."""
    voxels = np.count_nonzero(packed.inside)
    return 1 if voxels > _SMALL else min(_MOST_PARTS, math.ceil((_POINTS / voxels) ** (1 / 3)))


class DoseSamples:
    """Points of a structure, with their volumes and how the dose there follows from the voxels'.

    Parameters
    ----------
    parts : int
        Of every voxel's edge.
    fine : ndarray, shape (parts * bx, parts * by, parts * bz)
        Shares of the parts of the voxels in a box of the grid.
    start : sequence of int
        First voxel of the box.
    shape : tuple of int
        Of the grid.

    Attributes
    ----------
    volumes : ndarray, shape (n,)
        In voxels of the grid.
    """

    def __init__(self, parts: int, fine: FloatArray, start: tuple[int, ...], shape: tuple[int, ...]) -> None:
        index = np.nonzero(fine)
        self.volumes: FloatArray = fine[index] / parts**3
        within = _spread(len(self.volumes))
        places = [first - 0.5 + (at + off) / parts for first, at, off in zip(start, index, within, strict=True)]
        self._voxels, self._weights = _trilinear(places, shape)

    def doses(self, dose: FloatArray) -> FloatArray:
        """Doses at the points, linear between the voxels' centers, in Gy."""
        read: FloatArray = self._weights @ dose.ravel()[self._voxels]
        return read


def _spread(n: int) -> FloatArray:
    """Places of points within their parts of voxels, from 0 to 1, so that no two lie in a plane along the grid.

    The sequence is that of M. Roberts, The unreasonable effectiveness of quasirandom sequences (2018).
    """
    root = 1.2207440846057596  # of x⁴ = x + 1
    steps = 1.0 / root ** np.arange(1, 4)
    return np.asarray((0.5 + np.arange(n) * steps[:, None]) % 1.0, dtype=np.float64)


def _trilinear(places: list[FloatArray], shape: tuple[int, ...]) -> tuple[IntArray, sp.csr_matrix]:
    """Voxels around points, in voxel units, and the weight of each for every point; constant outside the grid."""
    low, part = [], []
    for place, n in zip(places, shape, strict=True):
        inside = np.clip(place, 0.0, n - 1.0)
        first = np.minimum(inside.astype(np.intp), max(n - 2, 0))
        low.append(first)
        part.append(inside - first)
    columns, weights = [], []
    for corner in itertools.product((0, 1), repeat=3):
        at = [np.minimum(first + step, n - 1) for first, step, n in zip(low, corner, shape, strict=True)]
        columns.append(np.ravel_multi_index(tuple(at), shape))
        weights.append(math.prod(p if step else 1.0 - p for p, step in zip(part, corner, strict=True)))
    voxels, column = np.unique(np.stack(columns, axis=1).ravel(), return_inverse=True)
    n_points = len(places[0])
    row_start = np.arange(n_points + 1) * 8
    matrix = sp.csr_matrix((np.stack(weights, axis=1).ravel(), column, row_start), shape=(n_points, len(voxels)))
    return voxels, matrix


def divided(share: FloatArray, parts: int) -> FloatArray:
    """Divide voxels into parts, and fill those that make one smooth body with the voxels' shares.

    The body is smoothed, and every voxel filled up to its share where that is highest, until nothing moves: its surface
    shrinks as that of a drop whose volume in each voxel is known.
    """
    room = 2 * parts  # the filter must not see the box's end
    padded = np.pad(share, 2)
    filled = np.flatnonzero(padded)
    wanted = padded.ravel()[filled, None] * parts**3
    fine = np.asarray(np.kron(padded, np.ones((parts,) * 3)), dtype=np.float64)
    for _ in range(_SMOOTHINGS):
        before = fine
        depth = _blocks(ndimage.gaussian_filter(fine, _SMOOTHING * parts, mode="constant"), parts)[filled]
        rank = np.argsort(np.argsort(-depth, axis=1, kind="stable"), axis=1, kind="stable")
        blocks = np.zeros((padded.size, parts**3))
        blocks[filled] = np.clip(wanted - rank, 0.0, 1.0)
        fine = _from_blocks(blocks, padded.shape, parts)
        if np.array_equal(fine, before):
            break
    inner = slice(room, -room)
    return np.ascontiguousarray(fine[inner, inner, inner])


def fine_grid(grid: VoxelGrid, box: tuple[slice, ...], parts: int) -> VoxelGrid:
    """Grid of the parts of the voxels in a box."""
    spacing = [step / parts for step in grid.spacing_mm]
    origin = [
        start + (part.start - 0.5) * step + fine / 2
        for start, part, step, fine in zip(grid.origin_mm, box, grid.spacing_mm, spacing, strict=True)
    ]
    shape = [(part.stop - part.start) * parts for part in box]
    return VoxelGrid((shape[0], shape[1], shape[2]), (spacing[0], spacing[1], spacing[2]), (*origin,))


def _blocks(fine: FloatArray, parts: int) -> FloatArray:
    nx, ny, nz = (n // parts for n in fine.shape)
    apart = fine.reshape(nx, parts, ny, parts, nz, parts).transpose(0, 2, 4, 1, 3, 5)
    return np.ascontiguousarray(apart).reshape(nx * ny * nz, parts**3)


def _from_blocks(blocks: FloatArray, shape: tuple[int, ...], parts: int) -> FloatArray:
    nx, ny, nz = shape
    apart = blocks.reshape(nx, ny, nz, parts, parts, parts).transpose(0, 3, 1, 4, 2, 5)
    return np.ascontiguousarray(apart).reshape(nx * parts, ny * parts, nz * parts)
