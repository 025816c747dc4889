"""Apertures, and beams made of them: the result of sequencing."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from opentps_brimstone._typing import FloatArray
from opentps_brimstone.sequencing.mlc import MLC, TOLERANCE_MM


@dataclass(frozen=True)
class JawPositions:
    """Edges of the negative and the positive jaw along x and y; None if the machine has no such jaws."""

    x_mm: tuple[float, float] | None = None
    y_mm: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        for axis, pair in (("X", self.x_mm), ("Y", self.y_mm)):
            if pair is not None and not (np.isfinite(pair).all() and pair[0] < pair[1]):
                raise ValueError(f"the {axis} jaws cannot be at {pair[0]} and {pair[1]} mm")


@dataclass(frozen=True, eq=False)
class Aperture:
    """One position of the leaves, and the monitor units delivered through it.

    Attributes
    ----------
    left_mm, right_mm : ndarray, shape (n_pairs,)
        Tips of the left and right banks in x, for all leaf pairs of the MLC from the lowest y.
    mu : float
        Monitor units per fraction.
    """

    left_mm: FloatArray
    right_mm: FloatArray
    mu: float

    def __post_init__(self) -> None:
        left, right = np.array(self.left_mm, dtype=np.float64), np.array(self.right_mm, dtype=np.float64)
        if left.ndim != 1 or left.shape != right.shape:
            raise ValueError(f"an aperture needs as many left as right leaves, not {left.shape} and {right.shape}")
        if not (np.isfinite(left).all() and np.isfinite(right).all()):
            raise ValueError("leaf positions must be finite")
        if not (np.isfinite(self.mu) and self.mu >= 0):
            raise ValueError(f"an aperture cannot have {self.mu} MU")
        left.flags.writeable = right.flags.writeable = False
        object.__setattr__(self, "left_mm", left)
        object.__setattr__(self, "right_mm", right)
        object.__setattr__(self, "mu", float(self.mu))


def open_shares(
    aperture: Aperture, mlc: MLC, jaws: JawPositions, xy_mm: npt.ArrayLike, spacing_mm: npt.ArrayLike
) -> FloatArray:
    """Compute the share of each beamlet's area, from 0 to 1, that an aperture leaves open, shape (n_beamlets,).

    Beamlets are given by their centers in the beam's eye view and their size in x and y. Fluence under the aperture is
    the share times its MU; leakage and penumbra are left to the dose engine.
    """
    xy = np.asarray(xy_mm, dtype=np.float64)
    width, height = np.broadcast_to(np.asarray(spacing_mm, dtype=np.float64), (2,))
    boundaries = np.asarray(mlc.leaf_boundaries_mm)
    low_y, high_y = boundaries[:-1], boundaries[1:]
    left, right = aperture.left_mm, aperture.right_mm
    if jaws.x_mm is not None:
        left, right = np.maximum(left, jaws.x_mm[0]), np.minimum(right, jaws.x_mm[1])
    if jaws.y_mm is not None:
        low_y, high_y = np.maximum(low_y, jaws.y_mm[0]), np.minimum(high_y, jaws.y_mm[1])
    x, y = xy[:, :1], xy[:, 1:]
    across = np.minimum(high_y, y + height / 2) - np.maximum(low_y, y - height / 2)
    along = np.minimum(right, x + width / 2) - np.maximum(left, x - width / 2)
    area = np.where(across > TOLERANCE_MM, across, 0.0) * np.where(along > TOLERANCE_MM, along, 0.0)
    shares: FloatArray = np.minimum(area.sum(axis=1) / (width * height), 1.0)
    return shares


class Openings(NamedTuple):
    """What the leaf pairs of an aperture leave open, limited by the jaws; a number for each open pair, in mm."""

    left: FloatArray
    right: FloatArray
    low: FloatArray
    high: FloatArray


@dataclass(frozen=True, eq=False)
class SequencedBeam:
    """A beam sequenced into apertures.

    Attributes
    ----------
    apertures : tuple of Aperture
        In the order of delivery.
    jaws : JawPositions
        The same for all apertures.
    beam_index : int
        Which fluence map of the plan's beamlet layout it is.
    x_mm, y_mm : ndarray, shapes (n_columns,) and (n_rows,)
        Centers of the columns and rows of the beamlet grid, ascending.
    spacing_mm : tuple of float
        Beamlet size in x and y.
    wanted : ndarray, shape (n_rows, n_columns)
        Fluence to deliver, in MU per fraction; 0 in cells without a beamlet.

    Raises
    ------
    ValueError
        If an aperture is not possible with the MLC; the message names aperture and leaves.
    """

    apertures: tuple[Aperture, ...]
    mlc: MLC
    jaws: JawPositions
    beam_index: int
    x_mm: FloatArray
    y_mm: FloatArray
    spacing_mm: tuple[float, float]
    wanted: FloatArray

    def __post_init__(self) -> None:
        for number, aperture in enumerate(self.apertures):
            if len(aperture.left_mm) != self.mlc.n_pairs:
                raise ValueError(
                    f"aperture {number} of beam {self.beam_index} has {len(aperture.left_mm)} leaf pairs; "
                    f"{self.mlc.name} has {self.mlc.n_pairs}"
                )
            for violation in self.mlc.violations(aperture.left_mm, aperture.right_mm):
                raise ValueError(f"aperture {number} of beam {self.beam_index} cannot be set: {violation}")

    @property
    def mu(self) -> float:
        """Sum of the monitor units of all apertures, per fraction."""
        return float(sum(aperture.mu for aperture in self.apertures))

    def scaled(self, factor: float) -> SequencedBeam:
        """Multiply fluence and MU, for the MU of another calibration."""
        apertures = tuple(replace(aperture, mu=factor * aperture.mu) for aperture in self.apertures)
        return replace(self, apertures=apertures, wanted=factor * self.wanted)

    @property
    def grid_xy_mm(self) -> FloatArray:
        """Centers of the grid's cells, row after row, shape (n_rows * n_columns, 2)."""
        x, y = np.meshgrid(self.x_mm, self.y_mm)
        return np.column_stack([x.ravel(), y.ravel()])

    def openings(self, aperture: Aperture) -> Openings:
        """Rectangles that an aperture of this beam leaves open."""
        boundaries = np.asarray(self.mlc.leaf_boundaries_mm)
        x_jaws, y_jaws = (jaw or (-np.inf, np.inf) for jaw in (self.jaws.x_mm, self.jaws.y_mm))
        left, right = np.maximum(aperture.left_mm, x_jaws[0]), np.minimum(aperture.right_mm, x_jaws[1])
        low, high = np.maximum(boundaries[:-1], y_jaws[0]), np.minimum(boundaries[1:], y_jaws[1])
        is_open = (right - left > TOLERANCE_MM) & (high - low > TOLERANCE_MM)
        return Openings(left[is_open], right[is_open], low[is_open], high[is_open])

    def fluence_at(self, xy_mm: npt.ArrayLike) -> FloatArray:
        """Compute the fluence in MU per fraction that the apertures deliver at the centers of beamlets."""
        fluence = np.zeros(len(np.asarray(xy_mm)))
        for aperture in self.apertures:
            fluence += aperture.mu * open_shares(aperture, self.mlc, self.jaws, xy_mm, self.spacing_mm)
        return fluence

    @property
    def delivered(self) -> FloatArray:
        """Fluence that the apertures deliver on the beamlet grid, in MU per fraction, shape (n_rows, n_columns)."""
        return self.fluence_at(self.grid_xy_mm).reshape(self.wanted.shape)
