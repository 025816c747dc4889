"""The core's order of voxels, in which neighbors in space follow each other.

The core's dose matrix consists of tiles of rows. The fuller a tile, the less there is to read, so its rows should be
voxels that a beamlet reaches together: a brick that is about as wide as it is high and deep.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from opentps_brimstone._core import BRICK_VOXELS, REGION_VOXELS
from opentps_brimstone._typing import AnyIntArray, IntArray

__all__ = ["consecutive", "order_in_bricks"]


def order_in_bricks(voxel_ijk: AnyIntArray, spacing_mm: Sequence[float]) -> tuple[npt.NDArray[np.uint32], int]:
    """Arrange voxels so that every `BRICK_VOXELS` consecutive rows are a compact brick.

    The grid index of each voxel is given, for any subset of a grid. The row of each voxel is returned, and the number
    of rows, a multiple of `BRICK_VOXELS`: bricks at the border of the voxels have empty rows.
    """
    rest = np.ascontiguousarray(voxel_ijk.T, dtype=np.int32)
    key = np.zeros(len(voxel_ijk), dtype=np.int64)
    extent = np.array(spacing_mm, dtype=np.float64)
    bits = REGION_VOXELS.bit_length() - 1
    for bit in range(bits):
        # Double the region along its shortest side: its voxels differ in the lowest remaining bit.
        axis = int(np.argmin(extent))
        extent[axis] *= 2.0
        key |= (rest[axis] & 1) << bit
        rest[axis] >>= 1
    region = np.ravel_multi_index(tuple(rest), tuple(rest.max(axis=1, initial=0) + 1))
    key |= region.astype(np.int64) << bits
    lane_bits = BRICK_VOXELS.bit_length() - 1
    brick, bricks = consecutive(key >> lane_bits)
    row = brick * BRICK_VOXELS + (key & (BRICK_VOXELS - 1))
    return row.astype(np.uint32), len(bricks) * BRICK_VOXELS


def consecutive(key: AnyIntArray) -> tuple[IntArray, IntArray]:
    """Relabel keys from 0 on, without sorting; return each key's new label, and the distinct keys, ascending.

    The highest key should not greatly exceed their number.
    """
    occurs = np.zeros(int(key.max(initial=-1)) + 1, dtype=bool)
    occurs[key] = True
    number_of = np.cumsum(occurs) - 1
    return number_of[key], np.flatnonzero(occurs)
