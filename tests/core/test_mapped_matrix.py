from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from test_dose_matrix import FAST, REFERENCE, compact_matrix, core_matrix, random_matrix

from opentps_brimstone import _core


def remade(core: _core.DoseMatrix, **changed) -> _core.DoseMatrix:
    rows, columns = core.shape
    return _core.DoseMatrix.from_arrays(
        rows=rows, columns=columns, nonzeros=core.nonzeros, arrays={**core.arrays(), **changed}
    )


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    rows=st.integers(1, 4000),
    columns=st.integers(1, 30),
    density=st.sampled_from([0.0, 0.01, 0.3]),
)
def test_a_matrix_of_another_s_arrays_gives_bitwise_the_same_products(seed, rows, columns, density):
    core = core_matrix(random_matrix(seed, rows, columns, density))
    again = remade(core)
    rng = np.random.default_rng(seed)
    w, r = rng.uniform(0, 1, (columns, 2)), rng.normal(size=(rows, 2))
    for precision in (FAST, REFERENCE):
        assert np.array_equal(again.multiply(w, precision), core.multiply(w, precision))
        assert np.array_equal(again.multiply_transposed(r, precision), core.multiply_transposed(r, precision))
    assert (again.shape, again.nonzeros, again.nbytes) == (core.shape, core.nonzeros, core.nbytes)


def test_arrays_are_mapped_not_copied(tmp_path):
    core = core_matrix(compact_matrix(1, 5000, 20))
    mapped = {}
    for name, array in core.arrays().items():
        assert not array.flags.writeable
        np.save(tmp_path / f"{name}.npy", array)
        mapped[name] = np.asarray(np.load(tmp_path / f"{name}.npy", mmap_mode="r"))
    w = np.ones(20)
    expected = core.multiply(w)
    again = remade(core, **mapped)
    address = mapped["value"].ctypes.data
    del mapped, core
    assert again.arrays()["value"].ctypes.data == address
    assert np.array_equal(again.multiply(w), expected)


def damaged(name: str, array: np.ndarray) -> list[np.ndarray]:
    """Arrays of the same kind that do not belong to the matrix."""
    shorter, longer = array[:-1].copy(), np.concatenate([array, array[-1:]])
    if name == "value":
        return [shorter, longer]
    high = array.copy()
    high[len(high) // 2] = np.nan if name == "step" else np.iinfo(array.dtype).max
    return [shorter, longer, high]


@pytest.mark.parametrize("density", [0.002, 0.2])  # entry by entry, and in tiles
def test_arrays_that_do_not_belong_together_are_refused(density):
    core = core_matrix(random_matrix(5, 3000, 21, density))
    refused = 0
    for name, array in core.arrays().items():
        for wrong in damaged(name, array) if len(array) else []:
            with pytest.raises(ValueError, match="does not belong to this dose matrix"):
                remade(core, **{name: wrong})
            refused += 1
        with pytest.raises(ValueError, match=f"no array '{name}' of the right shape and type"):
            remade(core, **{name: array.astype(np.complex64)})
    assert refused > 20
    with pytest.raises(ValueError, match="does not belong"):
        _core.DoseMatrix.from_arrays(rows=3000, columns=40, nonzeros=1, arrays=core.arrays())
    with pytest.raises(ValueError, match="does not belong"):
        _core.DoseMatrix.from_arrays(rows=100, columns=21, nonzeros=1, arrays=core.arrays())
