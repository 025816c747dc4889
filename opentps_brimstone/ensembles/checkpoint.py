"""Finished variants in a folder, from which an ensemble that was killed goes on."""

from __future__ import annotations

import dataclasses
import json
import os
import tempfile
from pathlib import Path

import numpy as np

from opentps_brimstone._util.output_folder import check_folder
from opentps_brimstone.ensembles.solving import Outcome

__all__ = ["FinishedVariants"]

_PLAIN = [field.name for field in dataclasses.fields(Outcome) if field.name != "beamlet_weights"]


class FinishedVariants:
    """Outcomes by the digests of their variants: the order of variants does not matter, and more may be added.

    Parameters
    ----------
    folder : path or None
        Made if it does not exist. None: nothing is kept.

    Raises
    ------
    OSError
        If the folder cannot be written.
    """

    def __init__(self, folder: str | os.PathLike[str] | None) -> None:
        self._folder = None if folder is None else Path(folder)
        if self._folder is not None:
            check_folder(self._folder, [])
            self._folder.mkdir(parents=True, exist_ok=True)

    def get(self, digest: str) -> Outcome | None:
        """Read an outcome; None if there is none, or its file is damaged and it must be computed again."""
        if self._folder is None:
            return None
        try:
            with np.load(self._path(digest), allow_pickle=False) as file:
                plain = json.loads(str(file["plain"]))
                return Outcome(beamlet_weights=file["beamlet_weights"], **plain)
        except FileNotFoundError:
            return None
        except Exception:  # zipfile, NumPy and json raise many kinds for a damaged file
            return None

    def put(self, digest: str, outcome: Outcome) -> None:
        """Write an outcome; failures are not kept, so that they are tried again."""
        if self._folder is None or outcome.beamlet_weights is None:
            return
        plain = json.dumps({name: getattr(outcome, name) for name in _PLAIN})
        handle, name = tempfile.mkstemp(dir=self._folder, suffix=".part")
        try:
            with os.fdopen(handle, "wb") as file:
                np.savez(file, allow_pickle=False, beamlet_weights=outcome.beamlet_weights, plain=np.array(plain))
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(self._path(digest))
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise

    def _path(self, digest: str) -> Path:
        assert self._folder is not None
        return self._folder / f"{digest}.npz"
