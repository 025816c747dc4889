"""Beamlet doses as columns of a matrix whose rows are voxels in OpenTPS's order."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from opentps_brimstone._typing import AnyArray, BoolArray, IntArray
from opentps_brimstone.engine.process import BeamletDose

__all__ = ["Columns", "assembled", "row_of_index"]


@dataclass(frozen=True)
class Columns:
    """Doses of one segment's beamlets: column j has ``values[offsets[j] : offsets[j + 1]]`` in ``rows`` so sliced."""

    offsets: IntArray
    rows: npt.NDArray[np.int32]
    values: npt.NDArray[np.float32]

    @classmethod
    def from_doses(cls, doses: Sequence[BeamletDose], row_of_index: npt.NDArray[np.intp]) -> Columns:
        """Convert doses that the engine computed."""
        offsets = np.cumsum([0, *(dose.indices.size for dose in doses)], dtype=np.int64)
        rows, values = np.empty(offsets[-1], np.int32), np.empty(offsets[-1], np.float32)
        reached = np.zeros(row_of_index.size, dtype=bool)
        value_of_row = np.empty(row_of_index.size, np.float32)
        for dose, start, end in zip(doses, offsets, offsets[1:], strict=False):
            if start == end:
                continue
            # Marking rows and collecting the marks sorts them, several times faster than a sort.
            row = row_of_index.take(dose.indices, mode="clip")  # checked already, and faster than "raise"
            low, high = np.minimum.reduce(row), np.maximum.reduce(row) + 1
            reached[row] = True
            value_of_row[row] = dose.values
            found = np.flatnonzero(reached[low:high])
            np.add(found, low, out=rows[start:end], casting="unsafe")
            value_of_row[low:high].take(found, out=values[start:end], mode="clip")
            reached[low:high] = False
        return cls(offsets, rows, values)

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, AnyArray], n_beamlets: int, n_voxels: int) -> Columns | None:
        """Return cached columns, or None if these arrays are invalid."""
        try:
            columns = cls(**arrays)
        except TypeError:
            return None
        offsets, rows, values = columns.offsets, columns.rows, columns.values
        types = offsets.dtype == np.int64 and rows.dtype == np.int32 and values.dtype == np.float32
        shapes = offsets.shape == (n_beamlets + 1,) and rows.shape == values.shape == (offsets[-1],)
        if not types or not shapes or offsets[0] != 0 or np.any(np.diff(offsets) < 0):
            return None
        if rows.size and (rows.min() < 0 or rows.max() >= n_voxels):
            return None
        return columns

    def arrays(self) -> dict[str, AnyArray]:
        """Return what the cache stores, by name."""
        return {"offsets": self.offsets, "rows": self.rows, "values": self.values}

    def inside(self, kept: BoolArray | None) -> Columns:
        """Return only the entries in rows that are kept."""
        if kept is None:
            return self
        stays = kept[self.rows]
        offsets = np.concatenate([[0], np.cumsum(stays, dtype=np.int64)])[self.offsets]
        return Columns(offsets, self.rows[stays], self.values[stays])

    def matrix(self, n_voxels: int) -> Any:
        """Return the columns as a csc_matrix."""
        from scipy.sparse import csc_matrix

        return csc_matrix((self.values, self.rows, self.offsets), shape=(n_voxels, len(self.offsets) - 1))


def row_of_index(shape: tuple[int, ...]) -> npt.NDArray[np.intp]:
    """OpenTPS's matrix row of every voxel in the engine's order (z, x, y)."""
    rows = np.arange(math.prod(shape), dtype=np.intp).reshape(shape, order="F")
    return np.flip(rows, (0, 1)).transpose((2, 0, 1)).ravel()


def assembled(segments: list[Columns], n_voxels: int) -> Any:
    """Join segments to one matrix; the list is emptied meanwhile to save memory."""
    from scipy.sparse import csc_matrix

    if len(segments) == 1:
        return segments[0].matrix(n_voxels)
    counts = np.concatenate([np.diff(columns.offsets) for columns in segments])
    offsets = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
    rows, values = np.empty(offsets[-1], np.int32), np.empty(offsets[-1], np.float32)
    end = int(offsets[-1])
    while segments:
        columns = segments.pop()
        start = end - columns.rows.size
        rows[start:end], values[start:end] = columns.rows, columns.values
        end = start
    return csc_matrix((values, rows, offsets), shape=(n_voxels, counts.size))
