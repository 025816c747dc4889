"""Fluence of beamlets as a function of leaf positions and monitor units, and the way back for derivatives.

Each segment gives a beamlet its MU times the share of the beamlet that its leaves leave open, and of the rest what
leaves let through. Edges of leaves are blurred as a source that is not a point blurs them, so that the fluence has
derivatives everywhere; for a point source it has them but where a tip meets the edge of a beamlet.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import ndtr

from opentps_brimstone._typing import BoolArray, FloatArray, IntArray
from opentps_brimstone.sequencing.leaves import place_leaves
from opentps_brimstone.sequencing.mlc import TOLERANCE_MM
from opentps_brimstone.sequencing.segments import Aperture

if TYPE_CHECKING:
    from opentps_brimstone.model.influence import BeamletLayout
    from opentps_brimstone.sequencing.segments import SequencedBeam

__all__ = ["ApertureFluence", "BeamSegments", "LeafEdges"]


@dataclass(frozen=True)
class LeafEdges:
    """How leaves show in the fluence at the isocenter plane.

    Attributes
    ----------
    transmission : float
        Share of the fluence that closed leaves let through.
    tip_offset_mm : float
        How far the field reaches beyond the position of each tip of an open pair.
    blur_mm : float
        Standard deviation of a Gaussian that blurs the edges: the source, seen through the collimator.
    """

    transmission: float = 0.0
    tip_offset_mm: float = 0.0
    blur_mm: float = 0.0

    def opened_before(self, tip_mm: FloatArray, low_mm: FloatArray, high_mm: FloatArray) -> FloatArray:
        """Share of intervals that lies before a blurred edge, from 0 to 1."""
        below, above = self._ramp(tip_mm - low_mm), self._ramp(tip_mm - high_mm)
        share: FloatArray = (below - above) / (high_mm - low_mm)
        return share

    def opened_before_slope(self, tip_mm: FloatArray, low_mm: FloatArray, high_mm: FloatArray) -> FloatArray:
        """Differentiate `opened_before` with respect to the edge, in 1/mm."""
        slope: FloatArray = (self._step(tip_mm - low_mm) - self._step(tip_mm - high_mm)) / (high_mm - low_mm)
        return slope

    def _ramp(self, distance: FloatArray) -> FloatArray:
        """Integral of a blurred step."""
        if self.blur_mm == 0.0:
            return distance.clip(min=0.0)
        u = distance / self.blur_mm
        ramp: FloatArray = self.blur_mm * (u * ndtr(u) + np.exp(-0.5 * u**2) / np.sqrt(2 * np.pi))
        return ramp

    def _step(self, distance: FloatArray) -> FloatArray:
        step: FloatArray = ndtr(distance / self.blur_mm) if self.blur_mm else (distance > 0).astype(np.float64)
        return step


@dataclass(frozen=True, eq=False)
class BeamSegments:
    """Segments of a beam as arrays, of the leaf pairs over its beamlets.

    Attributes
    ----------
    left_mm, right_mm : ndarray, shape (n_segments, n_pairs)
        Tips; of closed pairs they mean nothing.
    opened : ndarray of bool, shape (n_segments, n_pairs)
    mu : ndarray, shape (n_segments,)
    """

    left_mm: FloatArray
    right_mm: FloatArray
    opened: BoolArray
    mu: FloatArray

    def kept(self, which: BoolArray) -> BeamSegments:
        """Keep some of the segments."""
        return BeamSegments(self.left_mm[which], self.right_mm[which], self.opened[which], self.mu[which])

    def one_by_one(self) -> Iterator[tuple[FloatArray, FloatArray, BoolArray, float]]:
        """Give tips, what is open, and MU of each segment."""
        yield from zip(self.left_mm, self.right_mm, self.opened, self.mu.tolist(), strict=True)


class BeamGrid:
    """The beamlets of a beam under its leaves.

    Attributes
    ----------
    first, last : int
        First leaf pair over the beamlets, and the one after the last.
    share : ndarray, shape (n_rows, n_pairs)
        Share of each row of beamlets that lies under each pair, as far as no jaw covers it.
    low_mm, high_mm : ndarray, shape (n_columns,)
        Edges of the columns.
    x_jaws_mm : (float, float)
        Infinite where there are none.
    allowed : ndarray of bool, shape (n_pairs, n_columns)
        Where a pair may open: between the jaws, and over beamlets only.
    """

    def __init__(self, beam: SequencedBeam, beamlets: IntArray, xy_mm: FloatArray, edges: LeafEdges) -> None:
        self.beam = beam
        width, height = beam.spacing_mm
        rows, columns = (
            np.round((xy_mm[:, axis] - places[0]) / size).astype(np.int64)
            for axis, places, size in ((1, beam.y_mm, height), (0, beam.x_mm, width))
        )
        self.number = np.full((len(beam.y_mm), len(beam.x_mm)), -1, dtype=np.int64)
        self.number[rows, columns] = beamlets
        self.low_mm, self.high_mm = beam.x_mm - width / 2, beam.x_mm + width / 2
        boundaries = np.asarray(beam.mlc.leaf_boundaries_mm)
        jaw_low, jaw_high = beam.jaws.y_mm or (-np.inf, np.inf)
        low, high = boundaries[:-1].clip(min=jaw_low), boundaries[1:].clip(max=jaw_high)
        row_low, row_high = (beam.y_mm - height / 2)[:, None], (beam.y_mm + height / 2)[:, None]
        over = np.minimum(high, row_high) - np.maximum(low, row_low) > TOLERANCE_MM
        used = np.flatnonzero(over.any(axis=0))
        self.first, self.last = int(used[0]), int(used[-1]) + 1
        pairs = slice(self.first, self.last)
        share = edges.opened_before(high, row_low, row_high) - edges.opened_before(low, row_low, row_high)
        self.share = share[:, pairs].clip(min=0.0)
        self.x_jaws_mm = x_low, x_high = beam.jaws.x_mm or (-np.inf, np.inf)
        between = np.minimum(self.high_mm, x_high) - np.maximum(self.low_mm, x_low)
        self.between_jaws = between.clip(min=0.0) / width
        missing = self.number < 0
        self.allowed = ~(over[:, pairs].T @ missing) & (between > width - TOLERANCE_MM)

    @property
    def leaf_widths_mm(self) -> FloatArray:
        """Width of the leaf pairs over the beamlets."""
        return self.beam.mlc.leaf_widths_mm[self.first : self.last]

    def segments(self) -> BeamSegments:
        """Give the apertures of the beam as arrays."""
        if not self.beam.apertures:
            empty = np.zeros((0, self.last - self.first))
            return BeamSegments(empty, empty, empty.astype(bool), np.zeros(0))
        left, right = (
            np.array([getattr(each, side)[self.first : self.last] for each in self.beam.apertures])
            for side in ("left_mm", "right_mm")
        )
        mu = np.array([each.mu for each in self.beam.apertures])
        # Pairs that are closed over the field by their least gap lie under a jaw, and so beside all beamlets.
        inside = (right > self.low_mm[0] + TOLERANCE_MM) & (left < self.high_mm[-1] - TOLERANCE_MM)
        return BeamSegments(left, right, (right - left > TOLERANCE_MM) & inside, mu)

    def with_segments(self, segments: BeamSegments) -> SequencedBeam:
        """Give the beam other apertures; leaf pairs that are not open are closed and parked.

        Raises
        ------
        ValueError
            If the leaves cannot be set so.
        """
        apertures = [self.aperture(*each) for each in segments.one_by_one()]
        return replace(self.beam, apertures=tuple(apertures))

    def aperture(self, left: FloatArray, right: FloatArray, opened: BoolArray, mu: float) -> Aperture:
        """One segment with all leaf pairs of the MLC."""
        mlc = self.beam.mlc
        pairs = np.arange(self.first, self.last)
        bands = np.column_stack([pairs, pairs + 1])
        closed = (left + right) / 2
        tips = np.where(opened, left, closed), np.where(opened, right, closed)
        return Aperture(*place_leaves(mlc, self.beam.jaws, bands, *tips), float(mu))


class ApertureFluence:
    """Fluence of a plan's beamlets from the segments of its beams.

    Parameters
    ----------
    layout : BeamletLayout
    beams : sequence of SequencedBeam
        One for each beam of the layout, in its order.
    edges : LeafEdges, optional
        Default: leaves let nothing through, and the source is a point.

    Examples
    --------
    >>> import numpy as np
    >>> from opentps_brimstone.model.influence import BeamletLayout
    >>> from opentps_brimstone.sequencing import MLC, sequence_plan
    >>> layout = BeamletLayout([(-2.5, 2.5), (2.5, 2.5)], [0, 0], 5.0)
    >>> beams = sequence_plan(layout, [1.0, 1.0], MLC.matched([2.5], 5.0), levels=2)
    >>> model = ApertureFluence(layout, beams)
    >>> segments = model.segments()
    >>> segments[0].right_mm[0, 0] = 1.0  # a fifth of the second beamlet
    >>> model.fluence(segments).round(6).tolist()
    [1.0, 0.2]
    """

    def __init__(self, layout: BeamletLayout, beams: Sequence[SequencedBeam], edges: LeafEdges | None = None) -> None:
        if [beam.beam_index for beam in beams] != list(range(layout.n_beams)):
            raise ValueError(f"there are {layout.n_beams} fluence maps; the sequenced beams must be theirs, in order")
        self.edges = edges or LeafEdges()
        self.n_beamlets = layout.n_beamlets
        self.grids = []
        for number, beam in enumerate(beams):
            beamlets = np.flatnonzero(layout.beam_index == number)
            self.grids.append(BeamGrid(beam, beamlets, layout.xy_mm[beamlets], self.edges))

    def segments(self) -> list[BeamSegments]:
        """Give the segments of the beams as arrays."""
        return [grid.segments() for grid in self.grids]

    def beams(self, segments: Sequence[BeamSegments]) -> list[SequencedBeam]:
        """Give the beams other segments."""
        return [grid.with_segments(each) for grid, each in zip(self.grids, segments, strict=True)]

    def shares(self, grid: BeamGrid, segments: BeamSegments) -> FloatArray:
        """Share of each cell that leaf pairs leave open, shape (n_segments, n_pairs, n_columns)."""
        left, right = (
            self.edges.opened_before(edge[..., None], grid.low_mm, grid.high_mm) for edge in self._edges(grid, segments)
        )
        shares: FloatArray = (right - left).clip(min=0.0) * segments.opened[..., None]  # rounding may go below
        return shares

    def _edges(self, grid: BeamGrid, segments: BeamSegments) -> tuple[FloatArray, FloatArray]:
        """Where the field of each pair begins and ends: at the tips with their offset, or at the jaws."""
        low, high = grid.x_jaws_mm
        offset = self.edges.tip_offset_mm
        return (segments.left_mm - offset).clip(low, high), (segments.right_mm + offset).clip(low, high)

    def fluence(self, segments: Sequence[BeamSegments]) -> FloatArray:
        """Fluence of all beamlets.

        Parameters
        ----------
        segments : sequence of BeamSegments

        Returns
        -------
        ndarray, shape (n_beamlets,)
            MU per fraction.
        """
        fluence = np.zeros(self.n_beamlets)
        through = self.edges.transmission
        for grid, each in zip(self.grids, segments, strict=True):
            opened = (1 - through) * np.einsum("s,spc->pc", each.mu, self.shares(grid, each), optimize=True)
            cells = grid.share @ (opened + through * each.mu.sum() * grid.between_jaws)
            there = grid.number >= 0
            fluence[grid.number[there]] = cells[there]
        return fluence

    def price(self, grid: BeamGrid, slope: FloatArray) -> FloatArray:
        """Differentiate with respect to the fluence under each pair and column, shape (n_pairs, n_columns)."""
        cells = np.where(grid.number >= 0, slope[grid.number], 0.0)
        price: FloatArray = (1 - self.edges.transmission) * (grid.share.T @ cells)
        return price

    def derivatives(
        self, segments: Sequence[BeamSegments], slope: FloatArray
    ) -> list[tuple[FloatArray, FloatArray, FloatArray]]:
        """Carry derivatives with respect to the fluence on to leaves and MU.

        Parameters
        ----------
        segments : sequence of BeamSegments
        slope : ndarray, shape (n_beamlets,)
            Derivative of a number with respect to the fluence of each beamlet.

        Returns
        -------
        list of (left, right, mu)
            Its derivatives with respect to tips, shapes (n_segments, n_pairs), per mm, and MU, shape (n_segments,).
        """
        found = []
        through = self.edges.transmission
        for grid, each in zip(self.grids, segments, strict=True):
            low, high = grid.x_jaws_mm
            price = self.price(grid, slope)
            weight = each.mu[:, None] * each.opened
            left, right = (
                sign
                * weight
                * ((edge > low) & (edge < high))
                * np.einsum("pc,spc->sp", price, self._slope(edge, grid), optimize=True)
                for edge, sign in zip(self._edges(grid, each), (-1.0, 1.0), strict=True)
            )
            closed = through / (1 - through) * float((price * grid.between_jaws).sum()) if through < 1 else 0.0
            mu = np.einsum("pc,spc->s", price, self.shares(grid, each), optimize=True) + closed
            found.append((left, right, mu))
        return found

    def _slope(self, edge_mm: FloatArray, grid: BeamGrid) -> FloatArray:
        return self.edges.opened_before_slope(edge_mm[..., None], grid.low_mm, grid.high_mm)
