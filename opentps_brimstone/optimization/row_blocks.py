"""Rows of the core's matrix: a block for the dose that is planned, and one for each scenario of robust terms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from opentps_brimstone import _core
from opentps_brimstone._typing import AnyIntArray, BoolArray
from opentps_brimstone.optimization.coarse_grids import coarsen_voxels
from opentps_brimstone.optimization.voxel_bricks import order_in_bricks

__all__ = ["BlockRows", "RowBlocks", "grid_index"]

RowOf = npt.NDArray[np.uint32]


@dataclass(frozen=True, eq=False)
class BlockRows:
    """Voxels in the core's order, and behind them one row that stands for all voxels without any dose.

    Attributes
    ----------
    ijk : ndarray of int, shape (n_voxels, 3)
        Index of each voxel in its grid.
    rows : ndarray of int, shape (n_voxels,)
        Row of each in the block.
    unreached : int
        Row of the voxels without dose.
    """

    ijk: AnyIntArray
    rows: RowOf
    unreached: int

    @classmethod
    def of(cls, ijk: AnyIntArray, spacing_mm: Sequence[float]) -> BlockRows:
        """Arrange voxels of a grid."""
        return cls(ijk, *order_in_bricks(ijk, spacing_mm))

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return self.unreached + _core.BRICK_VOXELS

    def row_map(self, of_interest: BoolArray) -> npt.NDArray[np.int32]:
        """For every voxel of the dose grid, in C order, its row; -1 for those that are not of interest."""
        row_map = np.full(len(of_interest), -1, dtype=np.int32)
        row_map[of_interest] = self.rows
        return row_map

    def coarser(self, spacing_mm: Sequence[float]) -> tuple[BlockRows, RowOf, AnyIntArray]:
        """Make the block of a grid with twice the spacing, which is given.

        For every row here its row there is returned, too, and for every voxel its number there.
        """
        voxel_of, ijk = coarsen_voxels(self.ijk)
        coarser = BlockRows.of(ijk, spacing_mm)
        row_of = np.full(self.n_rows, _core.NO_ROW, dtype=np.uint32)
        row_of[self.rows] = coarser.rows[voxel_of]
        row_of[self.unreached] = coarser.unreached
        return coarser, row_of, voxel_of


@dataclass(frozen=True, eq=False)
class RowBlocks:
    """The blocks of a grid, on top of each other.

    Attributes
    ----------
    planned : BlockRows
        Of all terms' voxels, in the dose that is planned.
    robust : BlockRows or None
        Of robust terms' voxels, in every other scenario.
    n_scenarios : int
        Number of the latter.
    """

    planned: BlockRows
    robust: BlockRows | None = None
    n_scenarios: int = 0

    @property
    def n_rows(self) -> int:
        """Number of rows of all blocks."""
        return self.first_row(self.n_scenarios + 1)

    def first_row(self, block: int) -> int:
        """First row of a block; block 0 is that of the dose that is planned."""
        if not block:
            return 0
        before = 0 if self.robust is None else (block - 1) * self.robust.n_rows
        return self.planned.n_rows + before

    def coarser(self, spacing_mm: Sequence[float]) -> tuple[RowBlocks, RowOf, AnyIntArray]:
        """Make the blocks of a grid with twice the spacing, as `BlockRows.coarser`; voxels are those of the first."""
        planned, row_of, voxel_of = self.planned.coarser(spacing_mm)
        if self.robust is None:
            return RowBlocks(planned), row_of, voxel_of
        robust, row_of_robust, _ = self.robust.coarser(spacing_mm)
        coarser = RowBlocks(planned, robust, self.n_scenarios)
        stands = row_of_robust != _core.NO_ROW
        parts = [row_of]
        for block in range(1, self.n_scenarios + 1):
            part = row_of_robust.copy()
            part[stands] += np.uint32(coarser.first_row(block))
            parts.append(part)
        return coarser, np.concatenate(parts), voxel_of


def grid_index(of_interest: BoolArray, shape: tuple[int, int, int]) -> npt.NDArray[np.int32]:
    """Index in the grid of each voxel of interest, shape (n_voxels, 3)."""
    voxels = np.flatnonzero(of_interest)
    ijk = np.empty((len(voxels), 3), dtype=np.int32)
    for axis, index in enumerate(np.unravel_index(voxels, shape)):
        ijk[:, axis] = index
    return ijk
