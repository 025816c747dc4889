"""Progress of long work: a bar on a terminal, or a function of whoever asked for it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from opentps_brimstone._util.answers import asks_to_stop

__all__ = ["Progress", "following"]

Progress = bool | Callable[[int, int], Any]
"""Whether to show a bar on standard error, or what is called with the steps done and their total."""


@contextlib.contextmanager
def following(progress: Progress, total: int, title: str, unit: str) -> Iterator[Callable[[int], bool]]:
    """Follow work of many steps.

    Parameters
    ----------
    progress : bool or callable
        A callable gets the steps done and their total, and may return False to stop the work.
    total : int
    title, unit : str
        What a bar says: what is done, and what its steps are.

    Yields
    ------
    callable
        To be called with the number of steps done so far; tells whether to go on.

    Examples
    --------
    >>> with following(lambda done, total: print(f"{done} of {total}"), 3, "dose", "beam") as report:
    ...     report(1)
    1 of 3
    True
    """
    if callable(progress):
        yield lambda done: not asks_to_stop(progress(done, total), "progress")
        return
    if not progress:
        yield lambda _: True
        return
    from tqdm import tqdm

    with tqdm(total=total, desc=title, unit=unit) as bar:

        def show(done: int) -> bool:
            bar.update(done - bar.n)
            return True

        yield show
