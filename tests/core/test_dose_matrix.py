from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings, strategies as st

from opentps_brimstone import _core

FAST = _core.Precision.fast
REFERENCE = _core.Precision.reference


def core_matrix(matrix: sp.csc_matrix, row_map=None, columns=None, threads=1) -> _core.DoseMatrix:
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
        threads,
    )


def random_matrix(seed: int, rows: int, columns: int, density: float) -> sp.csc_matrix:
    rng = np.random.default_rng(seed)
    return sp.random(rows, columns, density, format="csc", dtype=np.float32, random_state=rng)


def compact_matrix(seed: int, rows: int, columns: int, length: int = 300) -> sp.csc_matrix:
    """Columns that are long runs of rows, as beamlets are once voxels are in order."""
    rng = np.random.default_rng(seed)
    start = rng.integers(0, rows - length, columns)
    row = (start[:, None] + np.arange(length)).ravel()
    value = rng.uniform(0.01, 1.0, len(row)).astype(np.float32)
    return sp.csc_matrix((value, row, np.arange(columns + 1) * length), shape=(rows, columns))


def quantized(matrix: sp.csc_matrix) -> sp.csc_matrix:
    """What is stored: multiples of each column's highest value / 65535, as float64."""
    result = matrix.astype(np.float64)
    for c in range(matrix.shape[1]):
        part = slice(matrix.indptr[c], matrix.indptr[c + 1])
        column = matrix.data[part]
        if len(column) and column.max() > 0:
            step = np.float32(column.max()) / np.float32(65535)
            result.data[part] = np.rint(column / step).astype(np.float64) * np.float64(step)
    return result


@settings(max_examples=80, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    rows=st.integers(1, 5000),
    columns=st.integers(1, 40),
    density=st.sampled_from([0.0, 0.003, 0.05, 0.3, 1.0]),
    n_rhs=st.sampled_from([1, 2, 8]),
)
def test_products_agree_with_scipy(seed, rows, columns, density, n_rhs):
    matrix = random_matrix(seed, rows, columns, density)
    core = core_matrix(matrix, threads=2)
    rng = np.random.default_rng(seed)
    w = rng.uniform(0, 1, (columns, n_rhs))
    r = rng.normal(size=(rows, min(n_rhs, 2)))
    exact = quantized(matrix)
    assert core.shape == matrix.shape
    np.testing.assert_allclose(core.multiply(w, REFERENCE, 2), exact @ w, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(core.multiply_transposed(r, REFERENCE, 2), exact.T @ r, rtol=1e-10, atol=1e-10)
    # In single precision an error is relative to the sum of magnitudes.
    np.testing.assert_allclose(core.multiply(w, FAST, 2), exact @ w, rtol=2e-6, atol=1e-12)
    magnitude = exact.T @ np.abs(r)
    error = np.abs(core.multiply_transposed(r, FAST, 2) - exact.T @ r)
    assert (error <= 2e-6 * magnitude + 1e-12).all()


@pytest.mark.parametrize("make", [random_matrix, compact_matrix])
def test_sixteen_bits_are_enough_for_dose(make):
    matrix = make(3, 20_000, 400) if make is compact_matrix else make(3, 20_000, 400, 0.03)
    w = np.random.default_rng(4).uniform(0, 1, 400)
    exact = matrix.astype(np.float64) @ w
    error = np.abs(core_matrix(matrix).multiply(w, FAST) - exact)
    assert error.max() < 5e-4 * exact.max()
    assert error.max() < 5e-5 * exact.max()


@pytest.mark.parametrize("n_rhs", [1, 2, 8])
@pytest.mark.parametrize("density", [0.02, 0.4])
def test_every_vector_path_gives_bitwise_the_same(n_rhs, density):
    matrix = random_matrix(5, 3000, 31, density)
    core = core_matrix(matrix)
    rng = np.random.default_rng(6)
    w, r = rng.uniform(size=(31, n_rhs)), rng.normal(size=(3000, min(n_rhs, 2)))
    in_use = _core.vector_path()
    assert in_use == _core.vector_paths()[0]
    assert _core.vector_paths()[-1] == "portable"
    try:
        products = []
        for path in _core.vector_paths():
            _core.use_vector_path(path)
            assert _core.vector_path() == path
            products.append((core.multiply(w, FAST), core.multiply_transposed(r, FAST)))
    finally:
        _core.use_vector_path(in_use)
    for dose, sums in products[1:]:
        assert np.array_equal(dose, products[0][0])
        assert np.array_equal(sums, products[0][1])


def test_an_unknown_vector_path_is_refused():
    with pytest.raises(ValueError, match=r"vector path 'mmx' is not one of this processor's: .*portable"):
        _core.use_vector_path("mmx")


def test_rows_and_columns_can_be_left_out():
    matrix = random_matrix(1, 3000, 30, 0.1)
    kept_rows = np.flatnonzero(np.random.default_rng(2).uniform(size=3000) < 0.4)
    row_map = np.full(3000, -1, dtype=np.int32)
    row_map[kept_rows] = np.arange(len(kept_rows))
    columns = np.array([3, 4, 20, 29])
    core = core_matrix(matrix, row_map, columns)
    expected = quantized(matrix[kept_rows][:, columns].tocsc())
    w = np.random.default_rng(3).uniform(size=4)
    np.testing.assert_allclose(core.multiply(w), expected @ w, rtol=1e-12)


def test_rows_may_come_in_any_order():
    matrix = random_matrix(12, 500, 9, 0.2)
    order = np.random.default_rng(13).permutation(500).astype(np.int32)
    w = np.random.default_rng(14).uniform(size=9)
    np.testing.assert_array_equal(core_matrix(matrix, order).multiply(w)[order], core_matrix(matrix).multiply(w))


def test_wide_indices_give_the_same_matrix():
    matrix = random_matrix(4, 2500, 12, 0.2)
    wide = matrix.copy()
    wide.indices = wide.indices.astype(np.int64)
    w = np.random.default_rng(0).uniform(size=12)
    np.testing.assert_array_equal(core_matrix(matrix).multiply(w), core_matrix(wide).multiply(w))


@pytest.mark.parametrize("precision", [FAST, REFERENCE])
@pytest.mark.parametrize("n_rhs", [1, 2])
def test_products_are_bitwise_the_same_for_any_number_of_threads(n_rhs, precision):
    matrix = random_matrix(7, 30_000, 200, 0.02)
    core = core_matrix(matrix)
    rng = np.random.default_rng(8)
    w, r = rng.uniform(size=(200, n_rhs)), rng.normal(size=(30_000, n_rhs))
    for threads in (2, 3, 8):
        built = core_matrix(matrix, threads=threads)
        assert np.array_equal(core.multiply(w, precision, 1), built.multiply(w, precision, threads))
        one = core.multiply_transposed(r, precision, 1)
        assert np.array_equal(one, built.multiply_transposed(r, precision, threads))


def test_what_is_not_a_matrix_is_refused():
    matrix = random_matrix(9, 100, 5, 0.1)
    with pytest.raises(ValueError, match="of the matrix is outside its 50 rows"):
        _core.DoseMatrix(
            50, matrix.indptr.astype(np.int64), matrix.indices, matrix.data, np.arange(50, dtype=np.int32), 50, [0]
        )
    with pytest.raises(ValueError, match="column 5 is not in the matrix"):
        core_matrix(matrix, columns=[5])
    with pytest.raises(ValueError, match="must have 100 entries, not 99"):
        core_matrix(matrix, row_map=np.zeros(99, dtype=np.int32))
    with pytest.raises(ValueError, match="expected an array of 5 rows"):
        core_matrix(matrix).multiply(np.ones(4))
    with pytest.raises(ValueError, match="1, 2 or 8 right-hand sides"):
        core_matrix(matrix).multiply(np.ones((5, 3)), FAST)


@pytest.mark.parametrize("density", [0.001, 0.01, 0.1, 0.5])
def test_memory_is_at_most_five_bytes_per_nonzero(density):
    # Random patterns are the worst there is: hardly two entries in one tile.
    matrix = random_matrix(11, 50_000, 100, density)
    core = core_matrix(matrix)
    assert core.nonzeros == pytest.approx(matrix.nnz, rel=1e-3)
    overhead = 100 * 60 * 20  # of the runs, which does not grow with their length
    assert core.nbytes < 5.0 * core.nonzeros + overhead


def test_sums_over_columns_with_weights_for_the_rows():
    matrix = random_matrix(15, 700, 11, 0.2)
    weight = np.random.default_rng(16).uniform(size=(700, 3))
    sums = _core.weighted_column_sums(
        700, matrix.indptr.astype(np.int64), matrix.indices, matrix.data, weight, threads=2
    )
    np.testing.assert_allclose(sums, matrix.astype(np.float64).T @ weight, rtol=1e-12)
    with pytest.raises(ValueError, match="one row for each of the 700"):
        _core.weighted_column_sums(700, matrix.indptr.astype(np.int64), matrix.indices, matrix.data, weight[:5])
