from __future__ import annotations

import numpy as np

from opentps_brimstone import _core
from opentps_brimstone.optimization.voxel_bricks import consecutive, order_in_bricks


def test_bricks_fill_the_tiles_of_the_core():
    ijk = np.stack(np.meshgrid(*[np.arange(n) for n in (5, 6, 7)], indexing="ij"), axis=-1).reshape(-1, 3)
    rows, n_rows = order_in_bricks(ijk, (2.0, 2.0, 2.0))
    assert len(np.unique(rows)) == len(ijk)
    assert rows.max() < n_rows
    assert n_rows % _core.BRICK_VOXELS == 0
    for tile in range(n_rows // _core.BRICK_VOXELS):
        inside = ijk[rows // _core.BRICK_VOXELS == tile]
        assert np.prod(np.ptp(inside, axis=0) + 1) <= _core.BRICK_VOXELS


def test_keys_are_relabeled_in_their_order():
    key = np.array([7, 2, 2, 9, 7])
    number, keys = consecutive(key)
    assert number.tolist() == [1, 0, 0, 2, 1]
    assert keys.tolist() == [2, 7, 9]
