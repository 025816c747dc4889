"""How many threads or processes work at a time."""

from __future__ import annotations

import os
from typing import Any

__all__ = ["thread_count"]


def thread_count(given: Any = None, name: str = "processes") -> int:
    """Return a number of threads that was given, or of the cores this process may use.

    Parameters
    ----------
    given : int, optional
    name : str
        What it is called, for the error.

    Returns
    -------
    int

    Raises
    ------
    ValueError
        If it is not an integer of 1 or more.
    """
    if given is None:
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if isinstance(given, bool) or not isinstance(given, int) or given < 1:
        raise ValueError(f"{name} must be an integer of 1 or more, got {given!r}")
    return given
