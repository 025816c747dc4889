"""The order in which the core keeps voxels: neighbors in space follow each other.

The core's dose matrix is made of tiles of 16 rows. The fuller a tile, the less there is to read, so its rows should be
voxels that one beamlet reaches together: a brick that is about as wide as it is high and deep.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from opentps_brimstone._typing import IntArray

# Voxels in a brick, the rows of a tile, and in the compact region around it that the core works on at once.
BRICK_VOXELS = 16
_REGION_VOXELS = 1024


def order_in_bricks(
    voxel_ijk: npt.NDArray[np.integer[Any]], spacing_mm: Sequence[float]
) -> tuple[npt.NDArray[np.uint32], int]:
    """Find a row for every voxel, so that each 16 rows are a compact brick.

    Parameters
    ----------
    voxel_ijk : ndarray of int, shape (n, 3)
        Grid index of each voxel; any subset of a grid.
    spacing_mm : sequence of 3 floats
        Distance of neighboring voxels, in mm: thin voxels are stacked higher.

    Returns
    -------
    row : ndarray of int, shape (n,)
        The row of each voxel.
    n_rows : int
        A multiple of 16; bricks that hold only some of the voxels leave rows without any.
    """
    rest = np.ascontiguousarray(voxel_ijk.T, dtype=np.int32)
    key = np.zeros(len(voxel_ijk), dtype=np.int64)
    extent = np.array(spacing_mm, dtype=np.float64)
    bits = _REGION_VOXELS.bit_length() - 1
    for bit in range(bits):
        # Double the region along its shortest side: its voxels differ in the lowest bits that are left.
        axis = int(np.argmin(extent))
        extent[axis] *= 2.0
        key |= (rest[axis] & 1) << bit
        rest[axis] >>= 1
    region = np.ravel_multi_index(tuple(rest), tuple(rest.max(axis=1, initial=0) + 1))
    key |= region.astype(np.int64) << bits
    lane_bits = BRICK_VOXELS.bit_length() - 1
    brick, bricks = numbered(key >> lane_bits)
    row = brick * BRICK_VOXELS + (key & (BRICK_VOXELS - 1))
    return row.astype(np.uint32), len(bricks) * BRICK_VOXELS


def numbered(key: npt.NDArray[np.integer[Any]]) -> tuple[IntArray, IntArray]:
    """Find each key its number among those that occur; without sorting, as keys are not much larger than many.

    Parameters
    ----------
    key : ndarray of int, shape (n,)
        At least 0.

    Returns
    -------
    number : ndarray of int, shape (n,)
        Of each key, from 0.
    keys : ndarray of int, shape (n_keys,)
        Those that occur, ascending.
    """
    occurs = np.zeros(int(key.max(initial=-1)) + 1, dtype=bool)
    occurs[key] = True
    number_of = np.cumsum(occurs) - 1
    return number_of[key], np.flatnonzero(occurs)
