"""Settings of direct aperture optimization."""

from __future__ import annotations

from dataclasses import dataclass

from opentps_brimstone._util.options import Bounds, Options, at_least, option, or_none

__all__ = ["ApertureSettings"]

_WHOLE = Bounds("a whole number", lambda value: not isinstance(value, bool) and value == int(value))


def _count(least: int) -> Bounds:
    return Bounds(f"a whole number of at least {least}", lambda value: _WHOLE.hold(value) and value >= least)


@dataclass(frozen=True, repr=False)
class ApertureSettings(Options):
    """How the leaf positions and MU of segments are optimized by the dose that they give.

    Examples
    --------
    >>> ApertureSettings(max_segments=40)
    ApertureSettings(max_segments=40)
    >>> ApertureSettings(max_segments=0)
    Traceback (most recent call last):
    ValueError: max_segments is 0; it must be None or a whole number of at least 1
    """

    max_segments: int | None = option(None, "Highest number of segments of a plan.", or_none(_count(1)))
    max_segments_per_beam: int | None = option(None, "Highest number of segments of a beam.", or_none(_count(1)))
    levels: int = option(
        7, "Levels of the fluence that the segments to start from are made of: more make more segments.", _count(2)
    )
    rounds: int = option(
        4,
        "Searches for leaf positions and MU. Between them pairs are closed and opened, segments dropped, and the full "
        "dose of the segments is computed.",
        _count(1),
    )
    iterations: int = option(40, "Iterations of each search.", _count(1))
    goal_rounds: int = option(
        2,
        "Further rounds at most, for goals that the segments' full dose misses and the fluence meets, and for voxels "
        "outside the targets that are hotter than any of the fluence's.",
        _count(0),
    )
    reference_weight: float = option(
        1000.0,
        "Weight of the squared deviation from the optimized dose, beside the plan's own objectives.",
        at_least(0),
    )
    mu_weight: float = option(
        0.2, "Cost of as many MU as the segments at the start have; plans with fewer MU cost less.", at_least(0)
    )
    farthest_mm: float = option(8.0, "How far a leaf may move in half a round.", at_least(0.1))
