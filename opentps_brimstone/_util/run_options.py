"""How a calculation is run: options that every step takes and that change no result."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from opentps_brimstone._util.threads import thread_count

__all__ = ["RunOptions"]


@dataclass(frozen=True)
class RunOptions:
    """Threads, cache and progress of a calculation.

    Parameters
    ----------
    threads : int, optional
        Threads of the optimizer and processes of OpenTPS's dose engine. Default: the cores this process may use.
    cache : bool or BeamletCache
        Where doses computed earlier are looked up and new ones kept; True is the user's own cache.
    progress : bool or callable
        Whether to show progress bars on standard error; a callable is called with the steps done and their total.

    Raises
    ------
    ValueError
        If ``threads`` is not an integer of 1 or more.
    """

    threads: int | None = None
    cache: bool | Any = True
    progress: bool | Callable[[int, int], Any] = False

    def __post_init__(self) -> None:
        thread_count(self.threads, "the number of threads or processes")

    def keywords(self) -> dict[str, Any]:
        """Give the options as the keywords that public functions take."""
        return {"processes": self.threads, "cache": self.cache, "progress": self.progress}
