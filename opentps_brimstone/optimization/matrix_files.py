"""The core's dose matrices in files that several processes map, so that the memory they take is shared."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from filelock import FileLock

from opentps_brimstone import _core
from opentps_brimstone._typing import AnyArray

if TYPE_CHECKING:
    from opentps_brimstone.model.influence import DoseInfluence

__all__ = ["MatrixFiles"]

# What is different about files of another version of the core's matrix.
_FORMAT = 1
_SHAPE = "shape"


class MatrixFiles:
    """Keeps the matrices of one plan: the first process that needs one writes it, the others map its files.

    Parameters
    ----------
    folder : Path or None
        For the matrices of one dose influence alone. None: every process makes its own, in memory.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._last = ""

    @classmethod
    def of(cls, influence: DoseInfluence) -> MatrixFiles:
        """Use the folder of a dose influence, if it has one."""
        return cls(influence.core_folder)

    def get(self, made_from: tuple[Any, ...], make: Callable[[], _core.DoseMatrix]) -> _core.DoseMatrix:
        """Map a matrix; make and write it before if nobody has done so yet.

        Parameters
        ----------
        made_from : tuple of arrays, numbers and texts
            What the matrix follows from, besides the dose influence.
        make : callable
            Makes the matrix.
        """
        if self._folder is None:
            return make()
        self._last = _digest(made_from)
        path = self._folder / self._last
        if not path.exists():
            with self._lock(path):
                if not path.exists():
                    _write(make(), path)
        return _mapped(path)

    def add_grid(self, core: _core.MultilevelPlan, **grid: Any) -> None:
        """Add a coarser grid to the core's plan, with a matrix that is mapped if somebody has written it already.

        Parameters
        ----------
        core : _core.MultilevelPlan
            Whose last grid has a matrix of this object.
        **grid
            As for its `add_coarser_grid`.
        """
        if self._folder is None:
            core.add_coarser_grid(**grid)
            return
        self._last = _digest((self._last, *grid.values()))
        path = self._folder / self._last
        if not path.exists():
            with self._lock(path):
                if not path.exists():
                    core.add_coarser_grid(**grid)
                    _write(core.matrix(core.n_grids - 1), path)
                    return
        core.add_coarser_grid(**grid, matrix=_mapped(path))

    def _lock(self, path: Path) -> FileLock:
        path.parent.mkdir(parents=True, exist_ok=True)
        return FileLock(f"{path}.lock")


def _digest(parts: tuple[Any, ...]) -> str:
    digest = hashlib.sha256(repr(_FORMAT).encode())
    for part in parts:
        if isinstance(part, np.ndarray):
            digest.update(f"{part.dtype}{part.shape}".encode())
            digest.update(np.ascontiguousarray(part).data)
        else:
            digest.update(repr(part).encode())
    return digest.hexdigest()[:32]


def _write(matrix: _core.DoseMatrix, path: Path) -> None:
    """Write the arrays of a matrix into a folder that appears once it is complete."""
    part = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
    try:
        for name, array in matrix.arrays().items():
            np.save(part / f"{name}.npy", array, allow_pickle=False)
        np.save(part / f"{_SHAPE}.npy", np.array([*matrix.shape, matrix.nonzeros]), allow_pickle=False)
        part.rename(path)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise


def _mapped(path: Path) -> _core.DoseMatrix:
    arrays: dict[str, AnyArray] = {
        file.stem: np.asarray(np.load(file, mmap_mode="r", allow_pickle=False)) for file in path.glob("*.npy")
    }
    rows, columns, nonzeros = (int(number) for number in arrays.pop(_SHAPE))
    return _core.DoseMatrix.from_arrays(rows=rows, columns=columns, nonzeros=nonzeros, arrays=arrays)
