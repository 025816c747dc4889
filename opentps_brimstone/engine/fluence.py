"""Fluence of a whole beam as a map, whatever rectangles it is made of: beamlets, or openings between leaves."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from opentps_brimstone._typing import FloatArray

__all__ = ["FluenceMap", "Rectangles", "split_by_strength"]

_SAME_EDGE_MM = 1e-6


@dataclass(frozen=True, eq=False)
class Rectangles:
    """Rectangles in the beam's eye view at the isocenter plane, and the MU given to each.

    Attributes
    ----------
    x_mm, y_mm : array_like, shape (n, 2)
        Low and high edge.
    mu : array_like, shape (n,)
        MU per fraction.
    """

    x_mm: npt.ArrayLike
    y_mm: npt.ArrayLike
    mu: npt.ArrayLike

    def __len__(self) -> int:
        return np.size(self.mu)

    @classmethod
    def of_beamlets(cls, xy_mm: npt.ArrayLike, size_mm: npt.ArrayLike, mu: npt.ArrayLike) -> Rectangles:
        """Rectangles of beamlets by their centers, shape (n, 2), and size in x and y."""
        xy, half = np.asarray(xy_mm, dtype=np.float64), np.asarray(size_mm, dtype=np.float64) / 2
        low, high = xy - half, xy + half
        return cls(np.stack([low[:, 0], high[:, 0]], axis=1), np.stack([low[:, 1], high[:, 1]], axis=1), mu)


@dataclass(frozen=True, eq=False)
class FluenceMap:
    """Fluence in the cells between edges.

    Attributes
    ----------
    x_edges_mm, y_edges_mm : ndarray, shapes (nx + 1,) and (ny + 1,)
        Rising.
    mu : ndarray, shape (ny, nx)
        MU per fraction.

    Examples
    --------
    Two rectangles of 1 and 2 MU that share a third of each:

    >>> both = FluenceMap.of([Rectangles([(0, 15), (10, 25)], [(0, 5), (0, 5)], [1.0, 2.0])])
    >>> both.x_edges_mm.tolist(), both.mu.tolist()
    ([0.0, 10.0, 15.0, 25.0], [[1.0, 3.0, 2.0]])
    """

    x_edges_mm: FloatArray
    y_edges_mm: FloatArray
    mu: FloatArray

    @classmethod
    def of(cls, parts: list[Rectangles]) -> FluenceMap:
        """Add up one rectangle or more; those that overlap give the sum of their MU."""
        x, y = (
            np.concatenate([np.asarray(side, dtype=np.float64).reshape(-1, 2) for side in sides])
            for sides in zip(*((part.x_mm, part.y_mm) for part in parts), strict=True)
        )
        mu = np.concatenate([np.asarray(part.mu, dtype=np.float64).ravel() for part in parts])
        x_edges, y_edges = _distinct(x), _distinct(y)
        # A rectangle adds to what rises at its low corner and falls at its high ones, as a sum table has it.
        change = np.zeros((y_edges.size, x_edges.size))
        column, row = _nearest(x_edges, x), _nearest(y_edges, y)
        for x_side, y_side, sign in ((0, 0, 1), (1, 0, -1), (0, 1, -1), (1, 1, 1)):
            np.add.at(change, (row[:, y_side], column[:, x_side]), sign * mu)
        summed = change.cumsum(axis=0).cumsum(axis=1)[:-1, :-1]
        # Where nothing is open, sums of MU that came and went leave rounding errors.
        summed[summed < 1e-9 * np.abs(mu).max(initial=0.0)] = 0.0
        return cls(x_edges, y_edges, summed)

    def trimmed(self) -> FluenceMap | None:
        """Leave out rows and columns at the sides that have no MU; None if none has."""
        rows, columns = (np.flatnonzero(self.mu.any(axis=axis)) for axis in (1, 0))
        if not len(rows):
            return None
        y, x = (slice(int(used[0]), int(used[-1]) + 2) for used in (rows, columns))
        mu = self.mu[y.start : y.stop - 1, x.start : x.stop - 1]
        return FluenceMap(self.x_edges_mm[x], self.y_edges_mm[y], mu)


def split_by_strength(fluence: FluenceMap, share: float) -> tuple[FluenceMap, FluenceMap]:
    """Split a fluence into what is above a share of its maximum, and the rest.

    Parameters
    ----------
    fluence : FluenceMap
    share : float

    Returns
    -------
    above, below : FluenceMap
        Which add up to the fluence.

    Examples
    --------
    >>> fluence = FluenceMap(np.arange(4.0), np.arange(2.0), np.array([[1.0, 100.0, 7.0]]))
    >>> above, below = split_by_strength(fluence, 0.05)
    >>> above.mu.tolist(), below.mu.tolist()
    ([[0.0, 95.0, 2.0]], [[1.0, 5.0, 5.0]])
    """
    below = fluence.mu.clip(max=share * fluence.mu.max(initial=0.0))
    edges = fluence.x_edges_mm, fluence.y_edges_mm
    return FluenceMap(*edges, fluence.mu - below), FluenceMap(*edges, below)


def _distinct(edges: FloatArray) -> FloatArray:
    rising = np.unique(edges)
    return rising[np.diff(rising, prepend=-np.inf) > _SAME_EDGE_MM]


def _nearest(edges: FloatArray, values: FloatArray) -> npt.NDArray[np.intp]:
    above = np.searchsorted(edges, values).clip(1, edges.size - 1)
    nearer_below = values - edges[above - 1] < edges[above] - values
    return np.where(nearer_below, above - 1, above)
