"""Matrices of voxels by beamlets, one for each scenario."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import scipy.sparse as sp
from array_api_compat import array_namespace, is_array_api_obj, is_torch_array

from opentps_brimstone.quantities.arrays import Array, as_array, library

__all__ = ["checked_matrices", "library_of_matrix", "product"]

_ENTRIES_AT_ONCE = 2_000_000


def checked_matrices(given: Any, name: str) -> tuple[Any, ...]:
    """Give the matrices of all scenarios, ready for products: dense, or sparse by rows or columns.

    `given` is one matrix of shape (n_voxels, n_beamlets) or a sequence of them; an array of objects is read in C order
    without its None. What is not a matrix, does not fit the first, or is not finite is an error that names it.
    """
    several = _scenarios(given)
    if not several:
        raise ValueError(f"{name} has no scenario; give at least one matrix")
    names = [name if len(several) == 1 else f"{name} of scenario {index}" for index in range(len(several))]
    matrices = tuple(_checked(matrix, its) for matrix, its in zip(several, names, strict=True))
    for matrix, its in zip(matrices, names, strict=True):
        if matrix.shape != matrices[0].shape:
            raise ValueError(f"{its} has the shape {tuple(matrix.shape)}; the first has {tuple(matrices[0].shape)}")
        if library_of_matrix(matrix) != library_of_matrix(matrices[0]):
            raise TypeError(f"{its} and the first are of different array libraries; give them in one")
    return matrices


def library_of_matrix(matrix: Any) -> str:
    """Name the library whose vectors a matrix is multiplied by: NumPy for those of SciPy."""
    return library(_entries(matrix))


def _scenarios(given: Any) -> list[Any]:
    if isinstance(given, list | tuple):
        return list(given)
    if isinstance(given, np.ndarray) and given.dtype == object:
        return [matrix for matrix in given.flat if matrix is not None]
    return [given]


def _is_sparse(matrix: Any) -> bool:
    """Tell whether it is a matrix of scipy.sparse or of cupyx.scipy.sparse."""
    return hasattr(matrix, "tocsr") and hasattr(matrix, "nnz")


def _entries(matrix: Any) -> Array:
    return matrix.data if _is_sparse(matrix) else matrix


def _checked(matrix: Any, name: str) -> Any:
    if _is_sparse(matrix):
        ready = matrix if matrix.format in ("csr", "csc") else matrix.tocsr()
    elif isinstance(matrix, np.ndarray):
        ready = np.asarray(matrix)
    elif is_array_api_obj(matrix):
        ready = matrix
    else:
        raise TypeError(f"{name} is a {type(matrix).__name__}; it must be a sparse matrix or an array")
    if ready.ndim != 2:
        raise ValueError(f"{name} has the shape {tuple(ready.shape)}; it must be (voxels, beamlets)")
    return _checked_entries(ready, name)


def _checked_entries(matrix: Any, name: str) -> Any:
    entries = _entries(matrix)
    xp = array_namespace(entries)
    if not xp.isdtype(entries.dtype, "real floating"):
        converted = as_array(entries, name)
        matrix, entries = (matrix.astype(converted.dtype) if _is_sparse(matrix) else converted), converted
    if not bool(xp.all(xp.isfinite(entries))):
        raise ValueError(f"{name} has an entry that is not finite")
    return matrix


def product(matrix: Any, vector: Array) -> Array:
    """Multiply one of `checked_matrices`, or its transpose, by a vector of its library."""
    if is_torch_array(vector):  # PyTorch multiplies only what has one type
        xp = array_namespace(vector)
        return xp.astype(matrix @ xp.astype(vector, matrix.dtype), vector.dtype)
    if sp.issparse(matrix) and matrix.dtype != vector.dtype:
        return _product_in_parts(matrix, vector)
    return matrix @ vector


def _product_in_parts(matrix: Any, vector: Array) -> Array:
    """Multiply some rows or columns at a time: SciPy copies what it multiplies to the higher precision."""
    edges = np.searchsorted(matrix.indptr, np.arange(0, matrix.nnz, _ENTRIES_AT_ONCE)[1:])
    edges = np.unique(np.concatenate([[0], edges, [len(matrix.indptr) - 1]]))
    parts = list(itertools.pairwise(edges.tolist()))
    if matrix.format == "csr":
        return np.concatenate([_part(matrix, first, last) @ vector for first, last in parts])
    result = np.zeros(matrix.shape[0], np.result_type(matrix.dtype, vector.dtype))
    for first, last in parts:
        result += _part(matrix, first, last) @ vector[first:last]
    return result


def _part(matrix: Any, first: int, last: int) -> Any:
    """Take some rows of a matrix by rows, or columns of one by columns, without copying its numbers."""
    start, end = matrix.indptr[first], matrix.indptr[last]
    content = (matrix.data[start:end], matrix.indices[start:end], matrix.indptr[first : last + 1] - start)
    if matrix.format == "csr":
        return sp.csr_array(content, shape=(last - first, matrix.shape[1]), copy=False)
    return sp.csc_array(content, shape=(matrix.shape[0], last - first), copy=False)
