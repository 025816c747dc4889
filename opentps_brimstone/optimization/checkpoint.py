"""Stopping an optimization and going on later, in another process too, as if nothing had happened."""

from __future__ import annotations

import os
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from opentps_brimstone._typing import AnyArray
from opentps_brimstone._util.errors import BrimstoneError
from opentps_brimstone.optimization.callbacks.base import OptimizationCallback
from opentps_brimstone.optimization.state import CHECKPOINT_FORMAT, OptimizationState

__all__ = ["Checkpoint", "CheckpointError", "OptimizationState", "load_checkpoint"]


class CheckpointError(BrimstoneError, ValueError):
    """A checkpoint that cannot be read, or belongs to another optimization.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "run.npz"
    ...     _ = path.write_text("something else")
    ...     try:
    ...         load_checkpoint(path, "")
    ...     except CheckpointError as error:
    ...         print(str(error).split(":")[0].removeprefix(f"{folder}/"))
    run.npz is no checkpoint, or damaged
    """


class Checkpoint(OptimizationCallback):
    """Keep a checkpoint on disk while an optimization runs.

    Parameters
    ----------
    path : path
        The npz file to write; its folder must exist.
    every_iterations : int, optional
        Write after each so many iterations.
    every_s : float, optional
        Write when so many seconds have passed since the last one, 10 by default. Give one of the two.

    Raises
    ------
    ValueError
        When the folder does not exist, or an interval is not positive.

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
            raise ValueError(f"the checkpoint {self.path} is to be in {self.path.parent}, which is no folder")
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
        """Look at nothing."""

    def on_state(self, state: OptimizationState) -> None:
        """Write a checkpoint when it is time."""
        if self.every_iterations is not None:
            due = state.iteration % self.every_iterations == 0
        else:
            assert self.every_s is not None
            due = time.monotonic() - self._last >= self.every_s
        if due:
            state.save(self.path)
            self._last = time.monotonic()


def load_checkpoint(path: str | os.PathLike[str], fingerprint: str) -> dict[str, AnyArray]:
    """Read a checkpoint.

    Parameters
    ----------
    path : path
        Written by `Checkpoint`.
    fingerprint : str
        Of the optimization that is to go on.

    Returns
    -------
    dict
        Arrays by name.

    Raises
    ------
    CheckpointError
        When the file is no checkpoint, is damaged, or was written for another plan, prescription or settings.
    FileNotFoundError
        When there is no such file.
    """
    try:
        with Path(path).open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (zipfile.BadZipFile, ValueError, EOFError, KeyError, OSError) as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise CheckpointError(f"{path} is no checkpoint, or damaged: {error}") from error
    if "format" not in arrays or "fingerprint" not in arrays:
        raise CheckpointError(f"{path} is no checkpoint of this package")
    if int(arrays["format"]) != CHECKPOINT_FORMAT:
        raise CheckpointError(
            f"{path} has the checkpoint format {int(arrays['format'])}; this version reads {CHECKPOINT_FORMAT}"
        )
    if str(arrays["fingerprint"]) != fingerprint:
        raise CheckpointError(
            f"{path} belongs to another optimization: its plan, its objectives or its settings differ from this one's"
        )
    return arrays
