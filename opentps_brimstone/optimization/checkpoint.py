"""Checkpoint files, from which an optimization can be resumed in another process with the same result."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from opentps_brimstone._typing import AnyArray
from opentps_brimstone._util.errors import BrimstoneError

__all__ = ["CheckpointError", "OptimizationState", "load_checkpoint"]

_FORMAT = 2


class CheckpointError(BrimstoneError, ValueError):
    """A checkpoint is unreadable or belongs to another optimization.

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
    run.npz is not a checkpoint, or is damaged
    """


class OptimizationState:
    """State of an optimization after an iteration; valid while the callback that got it runs.

    Iterations are counted from 1, over all levels. `arrays` returns what to save, by name.
    """

    def __init__(self, iteration: int, arrays: Callable[[], Mapping[str, AnyArray]]) -> None:
        self.iteration = iteration
        self._arrays = arrays

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a checkpoint: plain arrays in an npz file, which replaces an earlier one only once it is complete.

        Parameters
        ----------
        path : path
            For ``PlanOptimizer.optimize(resume_from=path)``.
        """
        target = Path(path)
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}-", suffix=".part")
        try:
            with os.fdopen(handle, "wb") as file:
                np.savez(file, allow_pickle=False, format=np.array(_FORMAT), **self._arrays())
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(target)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise


def load_checkpoint(path: str | os.PathLike[str], fingerprint: str) -> dict[str, AnyArray]:
    """Read the arrays of a checkpoint, by name.

    Raises
    ------
    CheckpointError
        If the file is not a checkpoint, is damaged, or was written for another optimization than the fingerprint's.
    FileNotFoundError
        If the file does not exist.
    """
    try:
        with Path(path).open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
            version = int(arrays["format"]) if "format" in arrays else None
    except FileNotFoundError:
        raise
    except Exception as error:  # zipfile and NumPy raise many kinds for a damaged file
        raise CheckpointError(f"{path} is not a checkpoint, or is damaged: {error}") from error
    if version is None or "fingerprint" not in arrays:
        raise CheckpointError(f"{path} is not a checkpoint of this package")
    if version != _FORMAT:
        raise CheckpointError(f"{path} has the checkpoint format {version}; this version reads {_FORMAT}")
    if str(arrays["fingerprint"]) != fingerprint:
        raise CheckpointError(
            f"{path} belongs to another optimization: its plan, its objectives or its settings differ from this one's"
        )
    return arrays
