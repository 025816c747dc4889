"""Multileaf collimators: positions of the leaves and their limits of motion.

Lengths are in mm in the plane of the isocenter, in the IEC beam limiting device frame: leaves travel along x and lie
side by side along y, as the beamlets' beam's eye view. The left bank (X1, Elekta's and Varian's at negative x) opens a
field on its negative side, the right bank (X2) on its positive side.

Dimensions of the presets:

- Varian Millennium 120 and HD120: Varian's product data as used by Heath and Seuntjens, Phys. Med. Biol. 48 (2003) 4045
  (Millennium) and Borges et al., Med. Phys. 39 (2012) 415 (HD120). A bank's carriage allows its leaves at most 150 mm
  apart. Leaves may touch and pass their neighbors; Varian's minimum gap of 0.5 mm applies to leaves that move with the
  beam on, which those of step-and-shoot segments do not.
- Elekta Agility: Cosgrove et al., Physical characterisation of a new concept design of an Elekta radiation head with
  integrated 160-leaf multi-leaf collimator, ASTRO meeting 2009, and Bedford, Thomas and Smyth, J. Appl. Clin. Med.
  Phys. 14-2 (2013) 172. Leaf guides move 150 mm over the axis, and leaves extend 200 mm out of them. The prototype's
  diaphragms crossed the axis by 150 mm; 120 mm is assumed here.

They describe the machine type; set a department's own limits with `dataclasses.replace`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from opentps_brimstone._typing import FloatArray

if TYPE_CHECKING:
    from collections.abc import Iterator


TOLERANCE_MM = 0.01
"""Positions closer than this are equal: the resolution of a plan file."""


@dataclass(frozen=True)
class JawTravel:
    """Travel of a pair of jaws: how far a fully open jaw is from the axis, and how far one may cross it."""

    outer_mm: float
    over_axis_mm: float

    def __post_init__(self) -> None:
        if not (np.isfinite(self.outer_mm) and self.outer_mm > 0):
            raise ValueError(f"a jaw opens by a positive distance, not {self.outer_mm} mm")
        if not (np.isfinite(self.over_axis_mm) and -self.outer_mm < self.over_axis_mm <= self.outer_mm):
            raise ValueError(
                f"a jaw that opens {self.outer_mm} mm may cross the axis by at most that, not {self.over_axis_mm} mm"
            )


@dataclass(frozen=True)
class MLC:
    """A multileaf collimator and the jaws around it.

    Attributes
    ----------
    leaf_boundaries_mm : tuple of float, length n_pairs + 1
        Ascending edges of the leaves in y.
    minimum_position_mm, maximum_position_mm : float
        Travel of the leaf tips in x, both banks.
    maximum_leaf_span_mm : float or None
        Maximum distance between the tips of one bank; None for no limit.
    minimum_gap_mm : float
        Minimum distance between opposing tips.
    interdigitation : bool
        Whether a leaf may pass the tips of the opposing leaf's neighbors.
    maximum_over_axis_mm : float or None
        How far a tip may cross the axis (x = 0); None for the whole travel.
    x_jaws, y_jaws : JawTravel or None
        Jaws that move along x and y; None if the machine has none.
    """

    name: str
    leaf_boundaries_mm: tuple[float, ...]
    minimum_position_mm: float = -200.0
    maximum_position_mm: float = 200.0
    maximum_leaf_span_mm: float | None = None
    minimum_gap_mm: float = 0.0
    interdigitation: bool = True
    maximum_over_axis_mm: float | None = None
    x_jaws: JawTravel | None = None
    y_jaws: JawTravel | None = None

    def __post_init__(self) -> None:
        boundaries = np.asarray(self.leaf_boundaries_mm, dtype=np.float64)
        if boundaries.ndim != 1 or len(boundaries) < 2:
            raise ValueError(f"the MLC {self.name!r} needs at least two leaf boundaries, not {boundaries.size}")
        if not np.isfinite(boundaries).all() or (np.diff(boundaries) <= 0).any():
            raise ValueError(f"the leaf boundaries of the MLC {self.name!r} must be finite and ascending")
        low, high = self.minimum_position_mm, self.maximum_position_mm
        if not (np.isfinite(low) and np.isfinite(high) and low < high):
            raise ValueError(f"the leaves of the MLC {self.name!r} cannot travel from {low} to {high} mm")
        for what, value, least in (
            ("maximum leaf span", self.maximum_leaf_span_mm, TOLERANCE_MM),
            ("minimum gap", self.minimum_gap_mm, 0.0),
            ("travel over the axis", self.maximum_over_axis_mm, 0.0),
        ):
            if value is not None and not (np.isfinite(value) and value >= least):
                raise ValueError(f"the {what} of the MLC {self.name!r} cannot be {value} mm")
        object.__setattr__(self, "leaf_boundaries_mm", tuple(float(edge) for edge in boundaries))

    @property
    def n_pairs(self) -> int:
        """Number of leaf pairs."""
        return len(self.leaf_boundaries_mm) - 1

    @property
    def leaf_widths_mm(self) -> FloatArray:
        """Width of each leaf, shape (n_pairs,)."""
        widths: FloatArray = np.diff(self.leaf_boundaries_mm)
        return widths

    @property
    def leaf_centers_mm(self) -> FloatArray:
        """Center of each leaf in y, shape (n_pairs,)."""
        centers: FloatArray = np.asarray(self.leaf_boundaries_mm)[:-1] + self.leaf_widths_mm / 2
        return centers

    @property
    def left_travel_mm(self) -> tuple[float, float]:
        """Lowest and highest x of the left bank's tips."""
        over = self.maximum_position_mm if self.maximum_over_axis_mm is None else self.maximum_over_axis_mm
        return self.minimum_position_mm, min(self.maximum_position_mm, over)

    @property
    def right_travel_mm(self) -> tuple[float, float]:
        """Lowest and highest x of the right bank's tips."""
        over = -self.minimum_position_mm if self.maximum_over_axis_mm is None else self.maximum_over_axis_mm
        return max(self.minimum_position_mm, -over), self.maximum_position_mm

    def pair_at(self, y_mm: float) -> int:
        """Find the leaf pair at a position, from 0 at the lowest y.

        At a boundary it is the pair above, at the bank's upper end the last one.
        """
        low, high = self.leaf_boundaries_mm[0], self.leaf_boundaries_mm[-1]
        if not low <= y_mm <= high:
            raise ValueError(f"no leaf of {self.name} is at y = {y_mm:g} mm; they cover {low:g} to {high:g} mm")
        return min(int(np.searchsorted(self.leaf_boundaries_mm, y_mm, side="right")) - 1, self.n_pairs - 1)

    def violations(self, left_mm: npt.ArrayLike, right_mm: npt.ArrayLike) -> Iterator[str]:
        """Report the limits that tips of the left and right banks, of shape (n_pairs,) each, violate.

        For each limit there is a sentence on the first leaf pair that violates it; nothing if the positions are
        possible.
        """
        left, right = np.asarray(left_mm, dtype=np.float64), np.asarray(right_mm, dtype=np.float64)
        for bank, tips, travel in (("left", left, self.left_travel_mm), ("right", right, self.right_travel_mm)):
            for pair in np.flatnonzero((tips < travel[0] - TOLERANCE_MM) | (tips > travel[1] + TOLERANCE_MM))[:1]:
                yield (
                    f"the {bank} leaf {pair} of {self.name} would be at {tips[pair]:.2f} mm; "
                    f"it travels from {travel[0]:g} to {travel[1]:g} mm"
                )
            span = tips.max() - tips.min()
            if self.maximum_leaf_span_mm is not None and span > self.maximum_leaf_span_mm + TOLERANCE_MM:
                yield (
                    f"the {bank} leaves of {self.name} would be {span:.2f} mm apart; "
                    f"{self.maximum_leaf_span_mm:g} mm are possible"
                )
        for pair in np.flatnonzero(right - left < self.minimum_gap_mm - TOLERANCE_MM)[:1]:
            yield (
                f"leaf pair {pair} of {self.name} would be {right[pair] - left[pair]:.2f} mm open; "
                f"its minimum gap is {self.minimum_gap_mm:g} mm"
            )
        if not self.interdigitation:
            for pair in np.flatnonzero((left[1:] > right[:-1] + TOLERANCE_MM) | (left[:-1] > right[1:] + TOLERANCE_MM))[
                :1
            ]:
                yield f"opposing leaves of the pairs {pair} and {pair + 1} of {self.name} would collide"

    @classmethod
    def matched(
        cls, rows_mm: npt.ArrayLike, leaf_width_mm: float, *, field_mm: float = 400.0, name: str = "matched"
    ) -> MLC:
        """Make an MLC whose leaves are a plan's own beamlet rows, given by their centers in y on one grid.

        The leaves continue on both sides until the field is covered, and travel over it. There are no limits on gap,
        span and interdigitation, and no jaws.
        """
        rows = np.unique(np.asarray(rows_mm, dtype=np.float64))
        if not rows.size or not np.isfinite(rows).all():
            raise ValueError("beamlet rows for a matched MLC must be given, and be finite")
        if not (np.isfinite(leaf_width_mm) and leaf_width_mm > 0):
            raise ValueError(f"leaves of a matched MLC must have a positive width, not {leaf_width_mm} mm")
        steps = (rows - rows[0]) / leaf_width_mm
        off = np.abs(steps - np.round(steps)) * leaf_width_mm
        if off.max() > TOLERANCE_MM:
            raise ValueError(
                f"the beamlet row at {rows[off.argmax()]:g} mm is {off.max():.3g} mm off the grid of "
                f"{leaf_width_mm:g} mm from {rows[0]:g} mm"
            )
        half = max(field_mm / 2, np.abs(rows).max() + leaf_width_mm / 2)
        edge = rows[0] - leaf_width_mm / 2
        first = np.ceil((edge + half) / leaf_width_mm - 1e-6)
        last = np.ceil((half - edge) / leaf_width_mm - 1e-6)
        boundaries = edge + leaf_width_mm * np.arange(-first, last + 1)
        return cls(name, tuple(boundaries), minimum_position_mm=-half, maximum_position_mm=half)


def _boundaries(*groups: tuple[int, float]) -> tuple[float, ...]:
    """Leaf boundaries of groups (leaves, width in mm), centered on the axis."""
    widths = np.concatenate([np.full(leaves, width) for leaves, width in groups])
    return tuple(np.concatenate([[0.0], np.cumsum(widths)]) - widths.sum() / 2)


def _varian(name: str, *groups: tuple[int, float]) -> MLC:
    """Make an MLC of a C-arm linac by Varian; they differ in their leaves alone."""
    return MLC(
        name,
        _boundaries(*groups),
        maximum_leaf_span_mm=150.0,
        x_jaws=JawTravel(outer_mm=200.0, over_axis_mm=20.0),
        y_jaws=JawTravel(outer_mm=200.0, over_axis_mm=100.0),
    )


MILLENNIUM_120 = _varian("Varian Millennium 120", (10, 10.0), (40, 5.0), (10, 10.0))
HD_120 = _varian("Varian HD120", (14, 5.0), (32, 2.5), (14, 5.0))
AGILITY = MLC(
    "Elekta Agility",
    _boundaries((80, 5.0)),
    maximum_leaf_span_mm=200.0,
    maximum_over_axis_mm=150.0,
    y_jaws=JawTravel(outer_mm=200.0, over_axis_mm=120.0),
)

MLCS = {"millennium-120": MILLENNIUM_120, "hd-120": HD_120, "agility": AGILITY}
"""The presets by identifier."""


def get_mlc(identifier: str) -> MLC:
    """Find one of `MLCS`; the error for an unknown identifier lists the known ones."""
    if identifier not in MLCS:
        raise ValueError(f"there is no MLC {identifier!r}; there are {', '.join(MLCS)}")
    return MLCS[identifier]
