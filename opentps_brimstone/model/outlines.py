"""Outlines that are drawn more than once: copies with other vertices, another beginning or sense, or rounded ones.

Of two outlines on a plane, the inside is what lies in one of them only. A copy that is not found would empty the plane.
"""

from __future__ import annotations

import numpy as np

from opentps_brimstone._typing import FloatArray

__all__ = ["nearly_coincide", "same_outline", "traced_once"]

# Rounding to a tenth of a millimeter and other choices of vertices move an outline by less than this.
_SAME_MM = 0.3
# Outlines closer than this on average enclose less than any structure that is drawn as a rim.
_RIM_MM = 1.0
# Distance of the points in which outlines are compared.
_FINENESS_MM = 0.1
_MOST_POINTS = 20_000


def same_outline(one: FloatArray, other: FloatArray) -> bool:
    """Whether two closed outlines, shape (n, 2) each, are the same line.

    Examples
    --------
    >>> square = np.array([(0.0, 0.0), (10.0, 0.0), (10.0, 10.0), (0.0, 10.0)])
    >>> same_outline(square, np.roll(square[::-1], 1, axis=0) + 0.04), same_outline(square, square + 2.0)
    (True, False)
    """
    if np.array_equal(one, other):
        return True
    return _boxes_within(one, other, _SAME_MM) and bool(max(map(np.max, _distances(one, other))) <= _SAME_MM)


def nearly_coincide(one: FloatArray, other: FloatArray) -> bool:
    """Whether two closed outlines are so close to each other that hardly anything lies between them."""
    return _boxes_within(one, other, 3 * _RIM_MM) and bool(max(map(np.mean, _distances(one, other))) <= _RIM_MM)


def traced_once(outline: FloatArray) -> FloatArray:
    """Reduce an outline that goes around twice, which would enclose nothing, to one turn."""
    half, odd = divmod(len(outline), 2)
    if odd or half < 3 or np.abs(outline[:half] - outline[half:]).max() > _SAME_MM:
        return outline
    return outline[:half]


def _boxes_within(one: FloatArray, other: FloatArray, distance: float) -> bool:
    corners = (np.concatenate([each.min(axis=0), each.max(axis=0)]) for each in (one, other))
    return bool(np.abs(np.subtract(*corners)).max() <= distance)


def _distances(one: FloatArray, other: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Distance of each outline from the other, at points along it."""
    from scipy.spatial import cKDTree

    first, second = _points_along(one), _points_along(other)
    return cKDTree(second).query(first)[0], cKDTree(first).query(second)[0]


def _points_along(outline: FloatArray) -> FloatArray:
    closed = np.concatenate([outline, outline[:1]])
    place = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(closed, axis=0).T))])
    count = int(min(np.ceil(place[-1] / _FINENESS_MM) + 1, _MOST_POINTS))
    along = np.union1d(place, np.linspace(0.0, place[-1], count))
    return np.column_stack([np.interp(along, place, closed[:, axis]) for axis in (0, 1)])
