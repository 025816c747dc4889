"""Private attributes of OpenTPS's data classes: the only place that reads and writes them.

OpenTPS has public ways for some of these, which do something else as well: its setters rescale MU, merge segments or
expect one MU for a whole segment.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from opentps_brimstone._typing import FloatArray

__all__ = [
    "beamlet_mu",
    "beamlet_xy",
    "clear_beamlets",
    "new_beamlets",
    "set_beamlet_mu",
    "set_beamlets",
    "set_beams",
    "set_number_of_fractions",
    "set_segments",
    "set_weights",
    "weights_of",
]


def beamlet_xy(beamlets: Sequence[Any]) -> FloatArray:
    """Beamlet centers in the beam's eye view at the isocenter plane in mm, shape (n, 2)."""
    return np.array([(beamlet._x, beamlet._y) for beamlet in beamlets], dtype=np.float64).reshape(-1, 2)


def beamlet_mu(beamlets: Iterable[Any]) -> list[float | None]:
    """MU per fraction of beamlets, as they are kept."""
    return [beamlet._mu for beamlet in beamlets]


def set_beamlet_mu(beamlets: Iterable[Any], mu: Iterable[float]) -> None:
    """Give every beamlet its MU per fraction; the ``mu`` of their segments is not updated."""
    for beamlet, value in zip(beamlets, mu, strict=True):
        beamlet._mu = value


def new_beamlets(xy_mm: FloatArray, mu: Iterable[float] | None = None) -> list[Any]:
    """Beamlets at positions of shape (n, 2) in mm, of 1 MU unless MU are given."""
    from opentps.core.data.plan._planPhotonSegment import Beamlet

    values = [1.0] * len(xy_mm) if mu is None else mu
    return [Beamlet(x, y, value) for (x, y), value in zip(xy_mm.tolist(), values, strict=True)]


def set_beamlets(segment: Any, beamlets: list[Any]) -> None:
    """Replace the beamlets of a segment, and let it find out whether they have one MU."""
    segment._beamlets = beamlets
    segment.isPure()


def clear_beamlets(segment: Any) -> None:
    """Take a segment's beamlets away; its ``mu`` stays."""
    segment._beamlets = []


def set_segments(beam: Any, segments: list[Any]) -> None:
    """Replace the segments of a beam."""
    beam._beamSegments = segments


def set_beams(photon_plan: Any, beams: list[Any]) -> None:
    """Replace the beams of a plan."""
    photon_plan._beams = beams


def set_number_of_fractions(photon_plan: Any, number: int) -> None:
    """Set the number of fractions; the MU, which are per fraction, stay (OpenTPS's own setter rescales them)."""
    photon_plan._numberOfFractionsPlanned = number


def weights_of(beamlets: Any) -> Any:
    """Weights of SparseBeamlets, or None."""
    return None if beamlets is None else beamlets._weights


def set_weights(beamlets: Any, weights: Any) -> None:
    """Set the weights with which ``toDoseImage`` of SparseBeamlets weighs its columns; no columns are dropped."""
    beamlets._weights = weights
