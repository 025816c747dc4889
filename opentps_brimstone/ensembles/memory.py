"""Memory that an ensemble takes on one machine, known before it is taken."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from opentps_brimstone._util.errors import BrimstoneError
from opentps_brimstone._util.memory import available_bytes, in_units

if TYPE_CHECKING:
    from opentps_brimstone.ensembles.variants import Task
    from opentps_brimstone.model.plan import Plan

__all__ = ["EnsembleMemory", "EnsembleMemoryError"]

# Python with NumPy, SciPy and this package, without what processes share of it.
_PROCESS_BYTES = 80 * 2**20
# Doses and their slopes on all grids, at the nodes of a line and in histograms; measured, see the page on ensembles.
_VOXEL_BYTES = 240
_GRID_VOXEL_BYTES = 16
# Of the optimizer's form of the matrix, on all grids.
_NONZERO_BYTES = 5


class EnsembleMemoryError(BrimstoneError, MemoryError):
    """So many workers would not fit into memory.

    Examples
    --------
    >>> issubclass(EnsembleMemoryError, MemoryError)
    True
    """


@dataclass(frozen=True)
class EnsembleMemory:
    """Memory of the workers on one machine.

    Attributes
    ----------
    workers : int
    shared : int
        Bytes that all workers map together: the plan's files, and the optimizer's form of the matrix.
    each : int
        Bytes that a search takes besides, at most.

    Examples
    --------
    >>> memory = EnsembleMemory(workers=4, shared=4 * 2**30, each=2**29)
    >>> print(memory)
    4 workers share 4 GiB and take up to 512 MiB each, 6 GiB in all
    """

    workers: int
    shared: int
    each: int

    @classmethod
    def of(cls, plan: Plan, tasks: Sequence[Task], workers: int) -> EnsembleMemory:
        """Estimate the memory that the tasks of a plan take.

        Parameters
        ----------
        plan : Plan
        tasks : sequence of Task
        workers : int
            At most as many work at a time.

        Returns
        -------
        EnsembleMemory
        """
        influence = plan.dose_influence
        names = {name for task in tasks for name in task.variant.structures}
        voxels = np.count_nonzero(np.logical_or.reduce([plan.structures[name].touched for name in names]))
        of_beams = [_nonzeros(plan, task.variant.beams) for task in tasks if not task.share_core]
        # The first worker that needs the optimizer's matrix has it in its own memory until it is written.
        together = 2 * influence.matrix.nnz if any(task.share_core for task in tasks) else 0
        search = _PROCESS_BYTES + _VOXEL_BYTES * voxels + _GRID_VOXEL_BYTES * influence.grid.n_voxels
        return cls(
            workers=min(workers, len(tasks)),
            shared=tasks[0].files.nbytes + _NONZERO_BYTES * together,
            each=int(search) + _NONZERO_BYTES * max(of_beams, default=0),
        )

    @property
    def total(self) -> int:
        """Bytes of all workers."""
        return self.shared + self.workers * self.each

    def check(self) -> None:
        """Raise an `EnsembleMemoryError` if the machine does not have as much."""
        there = available_bytes()
        if there is None or self.total <= there:
            return
        fit = max(0, there - self.shared) // self.each
        raise EnsembleMemoryError(
            f"{self}; there are {in_units(there)}: "
            + (f"give workers={fit}" if fit else "not even one worker fits; the dose grid may be coarser")
        )

    def __str__(self) -> str:
        workers = "1 worker maps" if self.workers == 1 else f"{self.workers} workers share"
        takes = "takes" if self.workers == 1 else "take"
        return (
            f"{workers} {in_units(self.shared)} and {takes} up to {in_units(self.each)} each, "
            f"{in_units(self.total)} in all"
        )


def _nonzeros(plan: Plan, beams: tuple[int, ...] | None) -> int:
    """Entries of the matrix in the columns of some beams."""
    matrix, layout = plan.dose_influence.matrix, plan.dose_influence.layout
    if beams is None:
        return int(matrix.nnz)
    ends = np.searchsorted(layout.beam_index, [(beam, beam + 1) for beam in beams])
    return int(np.diff(matrix.indptr[ends].astype(np.int64), axis=1).sum())
