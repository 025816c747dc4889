"""Digests of what values hold, the same in every process."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import pickle
import types
from collections.abc import Mapping, Sequence, Set as AbstractSet
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["array_digest", "content_of"]

_DIGEST_BYTES = 16


def array_digest(array: npt.ArrayLike) -> str:
    """Digest of an array's type, shape and numbers."""
    values = np.asarray(array)
    digest = hashlib.blake2b(f"{values.dtype.str}{values.shape}".encode(), digest_size=_DIGEST_BYTES)
    digest.update(np.ascontiguousarray(values).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def content_of(value: Any) -> object:
    """Describe what a value holds, so that equal descriptions mean equal contents in any process.

    Arrays are told apart by all of their numbers, functions by their code and what they refer to, objects by their
    class and attributes; what holds itself is an error.

    Raises
    ------
    ValueError
        If a value holds itself, or has contents that cannot be described.

    Examples
    --------
    >>> first, second = np.zeros(5000), np.zeros(5000)
    >>> second[2500] = 1.0
    >>> content_of({"map": first}) == content_of({"map": second})
    False
    >>> content_of(np.sqrt) == content_of(np.sqrt)
    True
    """
    try:
        return _content(value)
    except RecursionError:
        raise ValueError(f"{type(value).__name__} holds itself; its contents cannot be told from another's") from None


def _content(value: Any) -> object:
    if value is None or isinstance(value, bool | int | float | complex | str | bytes):
        return (type(value).__name__, repr(value))
    if isinstance(value, np.ndarray) and value.dtype != np.object_:
        return ("array", array_digest(value))
    if isinstance(value, np.generic):
        return (str(value.dtype), repr(value.item()))
    if isinstance(value, Mapping):
        return ("mapping", tuple(sorted((repr(_content(key)), _content(item)) for key, item in value.items())))
    if isinstance(value, AbstractSet):
        return ("set", tuple(sorted(repr(_content(item)) for item in value)))
    if isinstance(value, Sequence):
        return (type(value).__name__, tuple(_content(item) for item in value))
    return _content_of_object(value)


def _content_of_object(value: Any) -> object:
    if isinstance(value, type | np.ufunc | types.BuiltinFunctionType | types.ModuleType):
        return (getattr(value, "__module__", None) or "", getattr(value, "__qualname__", value.__name__))
    if isinstance(value, types.FunctionType):
        cells = tuple(_content(cell.cell_contents) for cell in value.__closure__ or ())
        return ("function", _code(value.__code__), _content(value.__defaults__), cells)
    if isinstance(value, types.MethodType):
        return ("method", _content(value.__func__), _content(value.__self__))
    if isinstance(value, functools.partial):
        return ("partial", _content(value.func), _content(value.args), _content(value.keywords))
    kind = f"{type(value).__module__}.{type(value).__qualname__}"
    if dataclasses.is_dataclass(value):
        return (kind, tuple((each.name, _content(getattr(value, each.name))) for each in dataclasses.fields(value)))
    if vars_of := getattr(value, "__dict__", None):
        return (kind, _content(vars_of))
    try:
        return (kind, hashlib.blake2b(pickle.dumps(value), digest_size=_DIGEST_BYTES).hexdigest())
    except Exception as error:  # whatever a class raises that cannot be pickled
        raise ValueError(f"the contents of {kind} cannot be described: {error}") from error


def _code(code: types.CodeType) -> object:
    constants = tuple(_code(item) if isinstance(item, types.CodeType) else repr(item) for item in code.co_consts)
    return (code.co_code.hex(), code.co_names, code.co_varnames[: code.co_argcount], constants)
