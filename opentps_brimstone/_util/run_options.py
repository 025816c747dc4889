"""How a calculation is run: options that every step takes and that change no result."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

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
        If ``threads`` is less than 1.
    """

    threads: int | None = None
    cache: bool | Any = True
    progress: bool | Callable[[int, int], Any] = False

    def __post_init__(self) -> None:
        if self.threads is not None and self.threads < 1:
            raise ValueError(f"the number of threads is {self.threads}; it must be 1 or more")

    def keywords(self) -> dict[str, Any]:
        """Give the options as the keywords that public functions take."""
        return {"processes": self.threads, "cache": self.cache, "progress": self.progress}
