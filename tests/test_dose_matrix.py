from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from opentps_brimstone import _core


def core_matrix(matrix: sp.csc_matrix, row_map=None, columns=None) -> _core.DoseMatrix:
    n = matrix.shape[0]
    row_map = np.arange(n, dtype=np.int32) if row_map is None else row_map
    columns = np.arange(matrix.shape[1]) if columns is None else columns
    return _core.DoseMatrix(
        n,
        matrix.indptr.astype(np.int64),
        matrix.indices,
        matrix.data,
        row_map,
        int(row_map.max(initial=-1)) + 1,
        columns,
    )


def random_matrix(seed: int, rows: int, columns: int, density: float) -> sp.csc_matrix:
    rng = np.random.default_rng(seed)
    return sp.random(rows, columns, density, format="csc", dtype=np.float32, random_state=rng)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    rows=st.integers(1, 5000),
    columns=st.integers(1, 40),
    density=st.sampled_from([0.0, 0.01, 0.3]),
    n_rhs=st.integers(1, 12),
)
def test_products_agree_with_scipy(seed, rows, columns, density, n_rhs):
    matrix = random_matrix(seed, rows, columns, density)
    core = core_matrix(matrix)
    rng = np.random.default_rng(seed)
    w = rng.uniform(0, 1, (columns, n_rhs))
    r = rng.normal(size=(rows, n_rhs))
    exact = matrix.astype(np.float64)
    assert core.shape == matrix.shape
    np.testing.assert_allclose(core.multiply(w, 2), exact @ w, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(core.multiply_transposed(r, 2), exact.T @ r, rtol=1e-10, atol=1e-10)


def test_rows_and_columns_can_be_left_out():
    matrix = random_matrix(1, 3000, 30, 0.1)
    kept_rows = np.flatnonzero(np.random.default_rng(2).uniform(size=3000) < 0.4)
    row_map = np.full(3000, -1, dtype=np.int32)
    row_map[kept_rows] = np.arange(len(kept_rows))
    columns = np.array([3, 4, 20, 29])
    core = core_matrix(matrix, row_map, columns)
    expected = matrix[kept_rows][:, columns].astype(np.float64)
    w = np.random.default_rng(3).uniform(size=4)
    np.testing.assert_allclose(core.multiply(w), expected @ w, rtol=1e-12)


def test_wide_indices_give_the_same_matrix():
    matrix = random_matrix(4, 2500, 12, 0.2)
    wide = matrix.copy()
    wide.indices = wide.indices.astype(np.int64)
    w = np.random.default_rng(0).uniform(size=12)
    np.testing.assert_array_equal(core_matrix(matrix).multiply(w), core_matrix(wide).multiply(w))


@pytest.mark.parametrize("n_rhs", [1, 2, 10])
def test_products_are_bitwise_the_same_for_any_number_of_threads(n_rhs):
    matrix = random_matrix(7, 30_000, 200, 0.02)
    core = core_matrix(matrix)
    rng = np.random.default_rng(8)
    w, r = rng.uniform(size=(200, n_rhs)), rng.normal(size=(30_000, n_rhs))
    for threads in (2, 3, 8):
        assert np.array_equal(core.multiply(w, 1), core.multiply(w, threads))
        assert np.array_equal(core.multiply_transposed(r, 1), core.multiply_transposed(r, threads))


def test_a_matrix_that_is_none_is_refused():
    matrix = random_matrix(9, 100, 5, 0.1)
    with pytest.raises(ValueError, match=r"row -?\d+ of 50"):
        _core.DoseMatrix(
            50, matrix.indptr.astype(np.int64), matrix.indices, matrix.data, np.arange(50, dtype=np.int32), 50, [0]
        )
    with pytest.raises(ValueError, match="column 5 is not in the matrix"):
        core_matrix(matrix, columns=[5])
    with pytest.raises(ValueError, match="must have 100 entries, not 99"):
        core_matrix(matrix, row_map=np.zeros(99, dtype=np.int32))
    with pytest.raises(ValueError, match="expected an array of 5 rows"):
        core_matrix(matrix).multiply(np.ones(4))


def test_memory_is_close_to_six_bytes_per_nonzero():
    matrix = random_matrix(11, 20_000, 100, 0.1)
    core = core_matrix(matrix)
    assert core.nonzeros == matrix.nnz
    assert core.nbytes < 6.5 * matrix.nnz
