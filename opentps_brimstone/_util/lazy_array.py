"""Arrays computed on first use."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from opentps_brimstone._typing import AnyArray

__all__ = ["LazyArray"]

_OWN = ("_compute", "_array")


class LazyArray(np.lib.mixins.NDArrayOperatorsMixin):
    """Stands for an ndarray that is computed on first use, then kept.

    It supports what an ndarray does: NumPy's functions, arithmetic, also in place, indexing, attributes and methods.
    `numpy.asarray` gives the ndarray itself; copies and pickles are ndarrays.

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

    def own_copy(self) -> LazyArray:
        """Return a lazy array of the same values that is copied on first use: changes in place are its own."""
        return LazyArray(lambda: self.materialize().copy())

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> AnyArray:
        array = self.materialize()
        if dtype is not None and array.dtype != dtype:
            return array.astype(dtype)
        return array.copy() if copy else array

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        out = options.get("out")
        result = getattr(ufunc, method)(*_materialized(inputs), **_materialized(options))
        if out is None:
            return result
        return out[0] if len(out) == 1 else out

    def __array_function__(self, function: Any, _: Any, args: Any, options: Any) -> Any:
        result = function(*_materialized(args), **_materialized(options))
        out = options.get("out")
        return out if isinstance(out, LazyArray) else result

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name in _OWN:
            raise AttributeError(name)
        return getattr(self.materialize(), name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _OWN:
            object.__setattr__(self, name, value)
        else:
            setattr(self.materialize(), name, value)

    def __getitem__(self, index: Any) -> Any:
        return self.materialize()[_materialized(index)]

    def __setitem__(self, index: Any, value: Any) -> None:
        self.materialize()[_materialized(index)] = _materialized(value)

    def __len__(self) -> int:
        return len(self.materialize())

    def __iter__(self) -> Iterator[Any]:
        return iter(self.materialize())

    def __contains__(self, value: Any) -> bool:
        return value in self.materialize()

    def __bool__(self) -> bool:
        return bool(self.materialize())

    def __int__(self) -> int:
        return int(self.materialize())

    def __float__(self) -> float:
        return float(self.materialize())

    def __complex__(self) -> complex:
        return complex(self.materialize())

    def __index__(self) -> int:
        return self.materialize().__index__()

    def __copy__(self) -> AnyArray:
        return self.materialize().copy()

    def __deepcopy__(self, _memo: Any) -> AnyArray:
        return self.materialize().copy()

    def __reduce__(self) -> Any:
        return self.materialize().__reduce__()

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.materialize().__reduce_ex__(protocol)

    def __repr__(self) -> str:
        return repr(self.materialize())

    def __str__(self) -> str:
        return str(self.materialize())

    def __format__(self, specification: str) -> str:
        return format(self.materialize(), specification)


def _materialized(value: Any) -> Any:
    if isinstance(value, LazyArray):
        return value.materialize()
    if isinstance(value, tuple | list):
        return type(value)(_materialized(item) for item in value)
    if isinstance(value, dict):
        return {name: _materialized(item) for name, item in value.items()}
    return value
