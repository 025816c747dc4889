"""The dose influence matrix with its voxel grid and beamlet layout."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from opentps_brimstone._typing import BoolArray, FloatArray, IntArray

__all__ = ["EFFORTS", "BeamletLayout", "DoseInfluence", "VoxelGrid", "WholeDose"]

_ENTRIES_AT_ONCE = 2_000_000
_SAME_PLACE_MM = 1e-3

EFFORTS = ("full", "half", "rough")
"""What a `WholeDose` is computed with: all directions, half of them, or a third in longer steps."""


@dataclass(frozen=True)
class VoxelGrid:
    """A regular grid of voxels.

    Attributes
    ----------
    shape : tuple of int
        Voxels along x, y and z.
    spacing_mm : tuple of float
        Distance of neighboring voxels along x, y and z, in mm.
    origin_mm : tuple of float
        Center of voxel [0, 0, 0], in mm.

    Examples
    --------
    >>> grid = VoxelGrid((4, 3, 2), (2.0, 2.0, 3.0), origin_mm=(-3.0, 0.0, 0.0))
    >>> grid.n_voxels
    24
    """

    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    origin_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def __post_init__(self) -> None:
        if len(self.shape) != 3 or any(int(n) != n or n < 1 for n in self.shape):
            raise ValueError(f"a voxel grid needs three whole, positive sizes, not {self.shape}")
        if len(self.spacing_mm) != 3 or not all(np.isfinite(s) and s > 0 for s in self.spacing_mm):
            raise ValueError(f"a voxel grid needs three positive spacings in mm, not {self.spacing_mm}")
        if len(self.origin_mm) != 3 or not all(np.isfinite(o) for o in self.origin_mm):
            raise ValueError(f"a voxel grid needs three finite origin coordinates in mm, not {self.origin_mm}")
        object.__setattr__(self, "shape", tuple(int(n) for n in self.shape))
        object.__setattr__(self, "spacing_mm", tuple(float(s) for s in self.spacing_mm))
        object.__setattr__(self, "origin_mm", tuple(float(o) for o in self.origin_mm))

    @property
    def n_voxels(self) -> int:
        """Number of voxels."""
        return int(np.prod(self.shape))

    @property
    def description(self) -> str:
        """Numbers and sizes of the voxels, for people."""
        return "{} x {} x {} voxels of {:g} x {:g} x {:g} mm".format(*self.shape, *self.spacing_mm)


@dataclass(frozen=True)
class BeamletLayout:
    """Positions of the beamlets.

    Beamlets with the same index form one fluence map: the pyramid interpolates only among them. An OpenTPS beam
    with several segments has one index for each segment.

    Attributes
    ----------
    xy_mm : ndarray, shape (n_beamlets, 2)
        Centers in the beam's eye view, at the isocenter plane, in mm.
    beam_index : ndarray of int, shape (n_beamlets,)
        Fluence map of each beamlet: 0, 1, … in this order, without gaps.
    spacing_mm : ndarray, shape (n_beams, 2)
        Beamlet spacing in x and y of each fluence map, in mm.

    Examples
    --------
    >>> layout = BeamletLayout([(0.0, 0.0), (5.0, 0.0), (0.0, 0.0)], beam_index=[0, 0, 1], spacing_mm=5.0)
    >>> layout.n_beamlets, layout.n_beams
    (3, 2)
    >>> layout.spacing_mm
    array([[5., 5.],
           [5., 5.]])
    """

    xy_mm: FloatArray
    beam_index: IntArray
    spacing_mm: FloatArray

    def __post_init__(self) -> None:
        xy = np.array(self.xy_mm, dtype=np.float64)
        beam = np.array(self.beam_index)
        if xy.ndim != 2 or xy.shape[1] != 2 or not len(xy):
            raise ValueError(f"beamlet positions must have the shape (beamlets, 2), not {xy.shape}")
        if not np.isfinite(xy).all():
            worst = int(np.flatnonzero(~np.isfinite(xy).all(axis=1))[0])
            raise ValueError(f"beamlet {worst} is at {tuple(xy[worst])} mm; positions must be finite")
        if beam.shape != (len(xy),):
            raise ValueError(f"beam_index must have one entry for each of the {len(xy)} beamlets, not {beam.shape}")
        if not np.array_equal(beam, beam.astype(np.int64)):
            raise ValueError("beam_index must hold whole numbers")
        beam = beam.astype(np.int64)
        steps = np.diff(beam, prepend=0)
        if beam[0] != 0 or ((steps != 0) & (steps != 1)).any():
            raise ValueError("beam_index must start at 0 and rise by one from beam to beam")
        spacing = np.array(self.spacing_mm, dtype=np.float64)
        n_beams = int(beam[-1]) + 1
        try:
            spacing = np.array(np.broadcast_to(spacing, (n_beams, 2)))
        except ValueError:
            raise ValueError(
                f"beamlet spacing must be one number, an (x, y) pair, or {n_beams} pairs, not {spacing.shape}"
            ) from None
        if not (np.isfinite(spacing) & (spacing > 0)).all():
            raise ValueError(f"beamlet spacings must be positive, not {spacing.min()} mm")
        for array in (xy, beam, spacing):
            array.flags.writeable = False
        object.__setattr__(self, "xy_mm", xy)
        object.__setattr__(self, "beam_index", beam)
        object.__setattr__(self, "spacing_mm", spacing)

    def has_same_beamlets(self, other: BeamletLayout) -> bool:
        """Tell whether another layout has beamlets at the same places of the same fluence maps, in the same order."""
        return np.array_equal(self.beam_index, other.beam_index) and np.allclose(
            self.xy_mm, other.xy_mm, rtol=0.0, atol=_SAME_PLACE_MM
        )

    @property
    def n_beamlets(self) -> int:
        """Number of beamlets."""
        return len(self.xy_mm)

    @property
    def n_beams(self) -> int:
        """Number of fluence maps."""
        return len(self.spacing_mm)


class WholeDose(Protocol):
    """Computes the dose of beamlet weights with what a dose influence matrix leaves out."""

    def __call__(self, weights: FloatArray, *, effort: str = "full") -> FloatArray:
        """Dose in Gy per fraction, shape (nx, ny, nz), of weights in MU per fraction, shape (n_beamlets,).

        With half the effort it may be off by some tenths of a percent of the maximum, and a rough one by one percent.
        """
        ...


class DoseInfluence:
    """Dose of every beamlet in every voxel.

    Parameters
    ----------
    matrix : scipy sparse matrix or array, shape (n_voxels, n_beamlets)
        Gy per MU and fraction. Rows are voxels in C order of the grid's [x, y, z], columns are beamlets. A float32
        csc_matrix is used without a copy and never changed; anything else is converted.
    grid : VoxelGrid
    layout : BeamletLayout
    whole_dose : WholeDose, optional
        Computes the dose of weights if the matrix leaves some of it out, such as scatter from far away.

    Attributes
    ----------
    matrix : scipy csc_matrix of float32
    grid : VoxelGrid
    layout : BeamletLayout
    core_folder : Path or None
        Where the optimizer keeps the matrix in its own form, in files that processes map together; None: in memory.

    Raises
    ------
    ValueError
        If the shape does not fit grid and layout, or an entry is NaN, infinite or negative.

    Examples
    --------
    >>> grid = VoxelGrid((2, 1, 1), (5.0, 5.0, 5.0))
    >>> layout = BeamletLayout([(0.0, 0.0), (5.0, 0.0)], beam_index=[0, 0], spacing_mm=5.0)
    >>> influence = DoseInfluence(np.array([[0.5, 0.0], [0.25, 0.25]]), grid, layout)
    >>> influence.dose([2.0, 4.0], number_of_fractions=10).ravel().tolist()
    [10.0, 15.0]
    """

    def __init__(
        self, matrix: Any, grid: VoxelGrid, layout: BeamletLayout, whole_dose: WholeDose | None = None
    ) -> None:
        matrix = sp.csc_matrix(matrix, dtype=np.float32)
        if matrix.shape[0] != grid.n_voxels:
            raise ValueError(
                f"the dose influence matrix has {matrix.shape[0]} rows; the grid {grid.shape} needs {grid.n_voxels}"
            )
        if matrix.shape[1] != layout.n_beamlets:
            raise ValueError(
                f"the dose influence matrix has {matrix.shape[1]} columns for {layout.n_beamlets} beamlets"
            )
        _check_entries(matrix)
        if not matrix.has_canonical_format:
            # Duplicate entries are summed; the caller's matrix stays unchanged.
            matrix = matrix.copy()
            matrix.sum_duplicates()
        self.matrix = matrix
        self.grid = grid
        self.layout = layout
        self.core_folder: Path | None = None
        self.whole_dose = whole_dose

    def __repr__(self) -> str:
        return (
            f"DoseInfluence({self.grid.n_voxels} voxels by {self.layout.n_beamlets} beamlets of "
            f"{self.layout.n_beams} beams, {self.matrix.nnz} nonzeros)"
        )

    @property
    def reached(self) -> BoolArray:
        """Voxels that any beamlet gives a dose, shape (nx, ny, nz)."""
        return self.reached_by(range(self.layout.n_beams))

    def reached_by(self, beams: Iterable[int]) -> BoolArray:
        """Voxels that any beamlet of some beams gives a dose.

        Parameters
        ----------
        beams : iterable of int
            Their numbers, from 0.

        Returns
        -------
        ndarray of bool, shape (nx, ny, nz)
        """
        rows = np.zeros(self.grid.n_voxels, dtype=bool)
        matrix = self.matrix
        for beam in beams:
            columns = np.searchsorted(self.layout.beam_index, (beam, beam + 1))
            first, last = (int(matrix.indptr[column]) for column in columns)
            for begin in range(first, last, _ENTRIES_AT_ONCE):  # other threads wait within one assignment
                rows[matrix.indices[begin : min(begin + _ENTRIES_AT_ONCE, last)]] = True
        return rows.reshape(self.grid.shape)

    def check_weights(self, weights: npt.ArrayLike) -> FloatArray:
        """Convert beamlet weights to an array; check its size, and that they are finite and not negative.

        Parameters
        ----------
        weights : array_like, shape (n_beamlets,)
            MU.

        Returns
        -------
        ndarray, shape (n_beamlets,)

        Raises
        ------
        ValueError
            If their number is wrong, or one is negative or not finite.
        """
        w = np.asarray(weights, dtype=np.float64)
        if w.shape != (self.layout.n_beamlets,):
            raise ValueError(f"expected {self.layout.n_beamlets} beamlet weights, got an array of shape {w.shape}")
        bad = np.flatnonzero(~(np.isfinite(w) & (w >= 0)))
        if len(bad):
            raise ValueError(f"beamlet {bad[0]} has the weight {w[bad[0]]} MU; weights must be finite and not negative")
        return w

    def dose(self, weights: npt.ArrayLike, number_of_fractions: int = 1) -> FloatArray:
        """Dose of beamlet weights.

        Parameters
        ----------
        weights : array_like, shape (n_beamlets,)
            MU per fraction.
        number_of_fractions : int
            Doses are summed over this many.

        Returns
        -------
        ndarray, shape (nx, ny, nz)
            Gy over all fractions.

        Raises
        ------
        ValueError
            If the weights are wrong, or so high that a dose is not a number.
        """
        w = self.check_weights(weights)
        with np.errstate(over="ignore", invalid="ignore"):
            dose = self._product(w * number_of_fractions)
        if not np.isfinite(dose.max(initial=0.0)):
            raise ValueError(f"the weights, up to {w.max():g} MU, are too high for a dose: it would not be finite")
        return dose.reshape(self.grid.shape)

    def _product(self, weights: FloatArray) -> FloatArray:
        """Multiply in double precision, some columns at a time: SciPy copies its operand to that precision."""
        matrix = self.matrix
        dose = np.zeros(matrix.shape[0])
        ends = np.searchsorted(matrix.indptr, np.arange(_ENTRIES_AT_ONCE, matrix.nnz, _ENTRIES_AT_ONCE))
        for first, last in itertools.pairwise(np.unique(np.concatenate([[0], ends, [matrix.shape[1]]]))):
            entries = slice(matrix.indptr[first], matrix.indptr[last])
            start = matrix.indptr[first : last + 1] - matrix.indptr[first]
            shape = (matrix.shape[0], last - first)
            part = sp.csc_matrix((matrix.data[entries], matrix.indices[entries], start), shape=shape, copy=False)
            dose += part @ weights[first:last]
        return dose


def _check_entries(matrix: sp.csc_matrix) -> None:
    lowest = matrix.data.min(initial=0.0)
    highest = matrix.data.max(initial=0.0)
    if lowest >= 0 and np.isfinite(highest):
        return
    at = int(np.flatnonzero(~(np.isfinite(matrix.data) & (matrix.data >= 0)))[0])
    beamlet = int(np.searchsorted(matrix.indptr, at, side="right")) - 1
    raise ValueError(
        f"the dose influence matrix has the entry {matrix.data[at]} at voxel {matrix.indices[at]}, beamlet {beamlet}; "
        "entries must be finite and not negative"
    )
