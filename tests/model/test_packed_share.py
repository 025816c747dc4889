from __future__ import annotations

import pickle
import tracemalloc

import numpy as np
import pytest
import scipy.sparse as sp

import opentps_brimstone as pb
from opentps_brimstone.model.packed_share import PackedShare


def shares(kind: str) -> np.ndarray:
    share = np.zeros((20, 18, 16))
    box = share[4:9, 5:12, 6:8]
    box[:] = 1.0 if kind == "whole" else np.random.default_rng(1).uniform(0.0, 1.0, box.shape)
    return share


@pytest.mark.parametrize(("kind", "bytes_of_box"), [("whole", 70), ("part", 560)])
def test_shares_come_back_as_they_were(kind, bytes_of_box):
    share = shares(kind)
    packed = PackedShare(share)
    assert packed.inside.nbytes == bytes_of_box
    np.testing.assert_array_equal(packed.share, share)
    assert not packed.share.flags.writeable
    index, found = packed.flat()
    np.testing.assert_array_equal(index, np.flatnonzero(share))
    np.testing.assert_array_equal(found, share.ravel()[index])
    again = pickle.loads(pickle.dumps(packed))
    np.testing.assert_array_equal(again.share, share)


def test_shares_are_expanded_once_as_long_as_they_are_held():
    packed = PackedShare(shares("part"))
    held = packed.share
    assert packed.share is held


def test_many_structures_take_less_memory_than_their_voxels():
    """Sixty organs on a grid: planning them takes less than a number for every fourth voxel and organ."""
    side, n_organs = 40, 60
    shape = (side,) * 3
    index = np.arange(side**3).reshape(shape)
    middle = side // 2
    columns = [
        sp.csc_matrix(
            (np.full(side, 0.01, np.float32), (index[:, middle + a, middle + b], np.zeros(side, int))),
            shape=(side**3, 1),
        )
        for a in range(4)
        for b in range(4)
    ]
    matrix = sp.hstack(columns).tocsc()
    box = np.zeros(shape, bool)
    box[middle : middle + 4, middle : middle + 4, middle : middle + 4] = True
    tracemalloc.start()
    target = pb.Structure("PTV", box, is_target=True)
    organs = [pb.Structure(f"O{i}", np.roll(box, 4 + i % 5, axis=0)) for i in range(n_organs)]
    plan = pb.Plan.from_dose_influence(
        matrix,
        [target, *organs],
        grid_shape=shape,
        spacing_mm=(5.0,) * 3,
        beamlet_xy_mm=[(5.0 * a, 5.0 * b) for a in range(4) for b in range(4)],
        beam_index=[0] * 16,
        beamlet_spacing_mm=5.0,
    )
    optimizer = pb.PlanOptimizer(plan, pb.OptimizerSettings(threads=1))
    optimizer.add_objective(target, pb.KLDivergenceTerm(dose_range=(50, 53)))
    for organ in organs:
        optimizer.add_objective(organ, pb.MeanDoseTerm(5))
    optimizer.optimize()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * n_organs * side**3 / 4
