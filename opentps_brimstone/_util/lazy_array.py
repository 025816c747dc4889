"""Arrays computed on first use."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from opentps_brimstone._typing import AnyArray

__all__ = ["LazyArray"]


class LazyArray(np.lib.mixins.NDArrayOperatorsMixin):
    """Stands for an ndarray that is computed on first use, then kept.

    It supports what an ndarray does: NumPy's functions, arithmetic, indexing, attributes and methods. `numpy.asarray`
    gives the ndarray itself.

    Parameters
    ----------
    compute : callable
        Returns the ndarray.
    """

    def __init__(self, compute: Callable[[], AnyArray]) -> None:
        self._compute: Callable[[], AnyArray] | None = compute
        self._array: AnyArray | None = None

    def materialize(self) -> AnyArray:
        """Compute the array unless that has been done."""
        if self._array is None:
            assert self._compute is not None
            self._array = self._compute()
            self._compute = None
        return self._array

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> AnyArray:
        array = self.materialize()
        if dtype is not None and array.dtype != dtype:
            return array.astype(dtype)
        return array.copy() if copy else array

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        given = tuple(x.materialize() if isinstance(x, LazyArray) else x for x in inputs)
        return getattr(ufunc, method)(*given, **options)

    def __array_function__(self, function: Any, _: Any, args: Any, options: Any) -> Any:
        return function(*_materialized(args), **{name: _materialized(value) for name, value in options.items()})

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.materialize(), name)

    def __getitem__(self, index: Any) -> Any:
        return self.materialize()[index]

    def __setitem__(self, index: Any, value: Any) -> None:
        self.materialize()[index] = value

    def __len__(self) -> int:
        return len(self.materialize())

    def __iter__(self) -> Iterator[Any]:
        return iter(self.materialize())

    def __repr__(self) -> str:
        return repr(self.materialize())


def _materialized(value: Any) -> Any:
    if isinstance(value, LazyArray):
        return value.materialize()
    if isinstance(value, tuple | list):
        return type(value)(_materialized(item) for item in value)
    return value
