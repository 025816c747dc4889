"""Keeping a checkpoint on disk."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from opentps_brimstone.optimization.callbacks.base import OptimizationCallback

if TYPE_CHECKING:
    from opentps_brimstone.optimization.checkpoint import OptimizationState

__all__ = ["Checkpoint"]


class Checkpoint(OptimizationCallback):
    """Keeps a checkpoint on disk while an optimization runs.

    Parameters
    ----------
    path : path
        The npz file to write; its folder must exist.
    every_iterations : int, optional
        Iterations from one checkpoint to the next.
    every_s : float, optional
        Seconds from one checkpoint to the next, 10 by default. Give one of the two.

    Raises
    ------
    ValueError
        If the folder does not exist, or an interval is not positive.

    Examples
    --------
    >>> import opentps_brimstone as pb
    >>> keep = pb.Checkpoint("run.npz", every_iterations=20)  # then: optimizer.optimize(callback=keep)
    >>> keep.path.name
    'run.npz'
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        every_iterations: int | None = None,
        every_s: float | None = None,
    ) -> None:
        self.path = Path(path)
        if not self.path.parent.is_dir():
            raise ValueError(f"the checkpoint {self.path} is to be in {self.path.parent}, which is not a folder")
        if every_iterations is not None and every_s is not None:
            raise ValueError("give every_iterations or every_s, not both")
        if every_iterations is not None and every_iterations < 1:
            raise ValueError(f"every_iterations is {every_iterations}; it must be at least 1")
        if every_s is not None and not every_s > 0:
            raise ValueError(f"every_s is {every_s}; it must be positive")
        self.every_iterations = every_iterations
        self.every_s = 10.0 if every_iterations is None and every_s is None else every_s
        self._last = time.monotonic()

    def on_iteration(self, *_: Any, **__: Any) -> None:
        """Do nothing; saving happens in `on_state`."""

    def on_state(self, state: OptimizationState) -> None:
        """Write a checkpoint if it is due."""
        if self.every_iterations is not None:
            due = state.iteration % self.every_iterations == 0
        else:
            assert self.every_s is not None
            due = time.monotonic() - self._last >= self.every_s
        if due:
            state.save(self.path)
            self._last = time.monotonic()
