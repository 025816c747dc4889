"""Where an optimization stands after an iteration."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from opentps_brimstone._typing import AnyArray

CHECKPOINT_FORMAT = 1


class OptimizationState:
    """Where an optimization stands after an iteration; valid while the callback that got it runs.

    Parameters
    ----------
    iteration : int
        From 1, over all levels.
    arrays : callable
        Returns the arrays to keep, by name.
    """

    def __init__(self, iteration: int, arrays: Callable[[], Mapping[str, AnyArray]]) -> None:
        self.iteration = iteration
        self._arrays = arrays

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a checkpoint: plain arrays in an npz file.

        The file appears whole or not at all; the one that was there before stays until then.

        Parameters
        ----------
        path : path
            ``PlanOptimizer.optimize(resume_from=path)`` goes on from it.
        """
        target = Path(path)
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}-", suffix=".part")
        try:
            with os.fdopen(handle, "wb") as file:
                np.savez(file, allow_pickle=False, format=np.array(CHECKPOINT_FORMAT), **self._arrays())
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(target)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
