"""Arrays of any library that follows the array API standard: NumPy, PyTorch, CuPy."""

from __future__ import annotations

from typing import Any

import numpy as np
from array_api_compat import array_namespace, device, is_array_api_obj, is_numpy_array

__all__ = ["Array", "as_array", "check", "copy_of", "first_index", "in_library_of", "library", "same"]

# An array of any of these libraries; they share no type.
Array = Any


def as_array(values: Any, name: str) -> Array:
    """Copy real numbers into an array of floats of their own library; what is not an array becomes one of NumPy."""
    if not is_array_api_obj(values):
        values = _in_numpy(values, name)
    xp = array_namespace(values)
    if xp.isdtype(values.dtype, "real floating"):
        return xp.asarray(values, copy=True)
    if xp.isdtype(values.dtype, ("integral", "bool")):
        return xp.astype(values, xp.float64)
    raise TypeError(f"{name} has the type {values.dtype}; it must hold real numbers")


def _in_numpy(values: Any, name: str) -> Array:
    try:
        return np.asarray(values)
    except ValueError as error:
        raise TypeError(f"{name} is not an array of numbers: {error}") from None


def copy_of(array: Array) -> Array:
    """Copy an array within its library."""
    return array_namespace(array).asarray(array, copy=True)


def library(array: Array) -> str:
    """Name the library of an array."""
    return type(array).__module__.partition(".")[0]


def same(one: Array, other: Array) -> bool:
    """Tell whether two arrays agree in library, device, type, shape and every number."""
    if type(one) is not type(other) or one.dtype != other.dtype or one.shape != other.shape:
        return False
    return device(one) == device(other) and bool(array_namespace(one).all(one == other))


def first_index(mask: Array) -> int:
    """Index of the first entry that is true, counted through the array in C order."""
    xp = array_namespace(mask)
    return int(xp.argmax(xp.astype(xp.reshape(mask, (-1,)), xp.int64)))


def check(valid: Array, values: Array, name: str, entry: str, wanted: str) -> None:
    """Refuse an array with an entry that is not as `wanted`, naming the first and how many there are."""
    xp = array_namespace(valid)
    wrong = int(xp.sum(xp.astype(~valid, xp.int64)))
    if not wrong:
        return
    where = first_index(~valid)
    others = f" (and so for {wrong - 1} more)" if wrong > 1 else ""
    at = f" for {entry} {where}{others}" if values.ndim else ""
    raise ValueError(f"{name} is {float(xp.reshape(values, (-1,))[where])}{at}; it must be {wanted}")


def in_library_of(array: Array, values: float | Array, name: str) -> float | Array:
    """Give numbers as something that can be combined with an array; only NumPy's change their library."""
    if isinstance(values, float):
        return values
    xp = array_namespace(array)
    if is_numpy_array(values):
        return xp.asarray(np.array(values), device=device(array))  # PyTorch warns of arrays that are only for reading
    if array_namespace(values) is not xp:
        raise TypeError(
            f"{name} is an array of {library(values)} and meets one of {library(array)}; give both in one library"
        )
    return values
