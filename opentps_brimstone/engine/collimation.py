"""What leaves and jaws let through of a machine's beam."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from opentps_brimstone._typing import FloatArray
from opentps_brimstone.engine.fluence import Rectangles

if TYPE_CHECKING:
    from opentps_brimstone.engine.beam_model import Collimator

__all__ = ["LeafOpening", "leakage", "let_through"]

_CLOSED_MM = 0.01


@dataclass(frozen=True, eq=False)
class LeafOpening:
    """Positions of leaves and jaws in the beam's eye view at the isocenter plane, and the MU given through them.

    Attributes
    ----------
    x_mm : ndarray, shape (n_pairs, 2)
        Left and right tip of each pair of leaves.
    y_mm : ndarray, shape (n_pairs, 2)
        Low and high side of its leaves.
    x_jaws_mm, y_jaws_mm : (float, float)
        Infinite where there are none.
    mu : float
        MU per fraction.
    """

    x_mm: FloatArray
    y_mm: FloatArray
    x_jaws_mm: tuple[float, float]
    y_jaws_mm: tuple[float, float]
    mu: float

    def fluence(self, collimator: Collimator | None) -> Rectangles:
        """Give the fluence behind a collimator, or one that lets nothing through if it is None.

        Parameters
        ----------
        collimator : Collimator or None

        Returns
        -------
        Rectangles
            None of them if there are no MU, or everything is closed and tight.
        """
        if not self.mu > 0:
            return Rectangles(np.zeros((0, 2)), np.zeros((0, 2)), np.zeros(0))
        return self.rectangles() if collimator is None else let_through(self, collimator)

    def rectangles(self) -> Rectangles:
        """Give what is open, as if leaves and jaws let nothing through.

        Returns
        -------
        Rectangles
            None of them if everything is closed.
        """
        x, y = self.x_mm.clip(*self.x_jaws_mm), self.y_mm.clip(*self.y_jaws_mm)
        is_open = (x[:, 1] - x[:, 0] > _CLOSED_MM) & (y[:, 1] - y[:, 0] > _CLOSED_MM)
        return Rectangles(x[is_open], y[is_open], np.full(np.count_nonzero(is_open), self.mu))


def leakage(opening: LeafOpening, collimator: Collimator) -> Rectangles:
    """Compute what leaves and jaws would let through if all leaves were closed, for one MU.

    Parameters
    ----------
    opening : LeafOpening
    collimator : Collimator

    Returns
    -------
    Rectangles
    """
    return let_through(replace(opening, x_mm=np.zeros_like(opening.x_mm), mu=1.0), collimator)


def let_through(opening: LeafOpening, collimator: Collimator) -> Rectangles:
    """Compute the fluence behind leaves and jaws.

    Leaves and both pairs of jaws are layers: each lets its share through where it is closed, and shares multiply. Where
    there are no leaves beside the outermost pairs, the field is closed as by leaves. Tips of pairs that are open let
    the field reach further by their offset; pairs that touch are closed.

    Parameters
    ----------
    opening : LeafOpening
    collimator : Collimator

    Returns
    -------
    Rectangles
        Which overlap, and whose MU add up.

    Examples
    --------
    >>> from opentps_brimstone.engine.beam_model import Collimator
    >>> from opentps_brimstone.engine.fluence import FluenceMap
    >>> open_pair = LeafOpening(np.array([(-10.0, 10.0)]), np.array([(-5.0, 5.0)]), (-20.0, 20.0), (-20.0, 20.0), 100.0)
    >>> through = let_through(open_pair, Collimator(450.0, 0.02, 0.0, 1.0, 400.0))
    >>> fluence = FluenceMap.of([through])
    >>> fluence.x_edges_mm.tolist(), fluence.mu[1].tolist()
    ([-20.0, -11.0, 11.0, 20.0], [2.0, 100.0, 2.0])
    """
    half, leaf = collimator.largest_field_mm / 2, collimator.leaf_transmission
    is_open = (opening.x_mm[:, 1] - opening.x_mm[:, 0] > _CLOSED_MM) & (
        opening.y_mm[:, 1] - opening.y_mm[:, 0] > _CLOSED_MM
    )
    tips = np.array([-collimator.leaf_tip_offset_mm, collimator.leaf_tip_offset_mm])
    x = np.concatenate([[[-half, half]], opening.x_mm[is_open] + tips])
    y = np.concatenate([[[-half, half]], opening.y_mm[is_open]])
    mu = opening.mu * np.concatenate([[leaf], np.full(len(x) - 1, 1.0 - leaf)])
    parts = [
        (x.clip(*x_zone), y.clip(*y_zone), mu * x_share * y_share)
        for x_zone, x_share in _zones(opening.x_jaws_mm, half, collimator.jaw_transmission)
        for y_zone, y_share in _zones(opening.y_jaws_mm, half, collimator.jaw_transmission)
    ]
    x, y, mu = (np.concatenate(part) for part in zip(*parts, strict=True))
    has_area = (x[:, 1] > x[:, 0]) & (y[:, 1] > y[:, 0]) & (mu > 0)
    return Rectangles(x[has_area], y[has_area], mu[has_area])


def _zones(jaws: tuple[float, float], half: float, transmission: float) -> Iterator[tuple[tuple[float, float], float]]:
    """Parts of the field beside and between a pair of jaws, and what they let through there."""
    low, high = (min(max(jaw, -half), half) for jaw in jaws)
    yield (-half, low), transmission
    yield (low, high), 1.0
    yield (high, half), transmission
