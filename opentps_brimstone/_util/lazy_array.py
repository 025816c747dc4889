"""Arrays that are made when somebody looks at them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from opentps_brimstone._typing import AnyArray

__all__ = ["LazyArray"]


class LazyArray(np.lib.mixins.NDArrayOperatorsMixin):
    """Stands for an ndarray that is computed at its first use, then kept.

    Whatever one does with an ndarray one can do with it: NumPy's functions, arithmetic, indexing, its attributes and
    methods. `numpy.asarray` gives the ndarray itself.

    Parameters
    ----------
    compute : callable
        Returns the ndarray.
    """

    def __init__(self, compute: Callable[[], AnyArray]) -> None:
        self._compute: Callable[[], AnyArray] | None = compute
        self._array: AnyArray | None = None

    def materialise(self) -> AnyArray:
        """Compute the array, unless that has been done.

        Returns
        -------
        ndarray
        """
        if self._array is None:
            assert self._compute is not None
            self._array = self._compute()
            self._compute = None
        return self._array

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> AnyArray:
        array = self.materialise()
        if dtype is not None and array.dtype != dtype:
            return array.astype(dtype)
        return array.copy() if copy else array

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        given = tuple(x.materialise() if isinstance(x, LazyArray) else x for x in inputs)
        return getattr(ufunc, method)(*given, **options)

    def __array_function__(self, function: Any, _: Any, args: Any, options: Any) -> Any:
        return function(*_materialised(args), **{name: _materialised(value) for name, value in options.items()})

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.materialise(), name)

    def __getitem__(self, index: Any) -> Any:
        return self.materialise()[index]

    def __setitem__(self, index: Any, value: Any) -> None:
        self.materialise()[index] = value

    def __len__(self) -> int:
        return len(self.materialise())

    def __iter__(self) -> Iterator[Any]:
        return iter(self.materialise())

    def __repr__(self) -> str:
        return repr(self.materialise())


def _materialised(value: Any) -> Any:
    if isinstance(value, LazyArray):
        return value.materialise()
    if isinstance(value, tuple | list):
        return type(value)(_materialised(item) for item in value)
    return value
