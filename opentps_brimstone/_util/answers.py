"""What functions of users answer: go on, or stop."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["asks_to_stop"]


def asks_to_stop(answer: Any, who: str = "a callback") -> bool:
    """Whether an answer is False: Python's, NumPy's, or an array's that holds only it.

    Anything that is not a truth value, such as None, goes on. Several truth values in an array are a TypeError.

    Examples
    --------
    >>> asks_to_stop(np.max([10.0, 20.0]) < 5.0), asks_to_stop(None)
    (True, False)
    """
    if getattr(answer, "dtype", None) == np.bool_:
        if np.size(answer) != 1:
            raise TypeError(
                f"{who} returned {np.size(answer)} truth values {answer!r}; return one, such as numpy.all(...)"
            )
        return not np.asarray(answer).item()
    return answer is False
