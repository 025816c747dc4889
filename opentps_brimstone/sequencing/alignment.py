"""Beamlet rows and leaves: which leaves cover a row, and rows that coincide with leaves."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from opentps_brimstone._typing import FloatArray, IntArray
from opentps_brimstone.sequencing.mlc import MLC, TOLERANCE_MM


def leaf_pairs_of_rows(mlc: MLC, rows_mm: npt.ArrayLike, height_mm: float) -> IntArray:
    """Find the leaf pairs that cover beamlet rows, given their centers in y: the first and the one after the last.

    Rows that together fill one wide leaf share it. The error for rows whose edges are not leaf edges has the offset and
    what to do.
    """
    rows = np.asarray(rows_mm, dtype=np.float64)
    boundaries = np.asarray(mlc.leaf_boundaries_mm)
    pairs = np.empty((len(rows), 2), dtype=np.int64)
    for number, middle in enumerate(rows):
        low, high = middle - height_mm / 2, middle + height_mm / 2
        if low < boundaries[0] - TOLERANCE_MM or high > boundaries[-1] + TOLERANCE_MM:
            raise ValueError(
                f"the beamlet row at y = {middle:g} mm ({low:g} to {high:g} mm) lies outside the leaves of {mlc.name}, "
                f"which cover {boundaries[0]:g} to {boundaries[-1]:g} mm"
            )
        first, last = np.abs(boundaries[:, None] - [low, high]).argmin(axis=0)
        off = float(np.abs(boundaries[[first, last]] - [low, high]).max())
        if off > TOLERANCE_MM:
            first = mlc.pair_at(float(middle))
            last = first + 1
            if not _rows_fill(low, high, boundaries[first], boundaries[last]):
                raise ValueError(
                    f"the beamlet rows do not sit on the leaves of {mlc.name}: the row at y = {middle:g} mm "
                    f"({low:g} to {high:g} mm) is {off:.4g} mm off the leaf edges; place leaf-aligned beamlets "
                    "(leaf_aligned_beamlets) or sequence for MLC.matched of the rows"
                )
        pairs[number] = first, last
    return pairs


def _rows_fill(low: float, high: float, leaf_low: float, leaf_high: float) -> bool:
    """Whether the grid of rows that this one belongs to fills a leaf that is wider."""
    offsets = np.array([low - leaf_low, leaf_high - high]) / (high - low)
    return bool((offsets > -0.5).all() and (np.abs(offsets - np.round(offsets)) * (high - low) <= TOLERANCE_MM).all())


def leaf_rows(mlc: MLC, y_min_mm: float, y_max_mm: float, height_mm: float | None = None) -> tuple[FloatArray, float]:
    """Place beamlet rows on the leaves so that they cover an interval: their centers, ascending, and their height.

    The height, such as that of several narrow leaves, is by default the width of the widest leaf over the interval. An
    interval that is empty or not entirely under the leaves, or a height that no leaves add up to, is a ValueError.
    """
    if not (np.isfinite([y_min_mm, y_max_mm]).all() and y_min_mm <= y_max_mm):
        raise ValueError(f"beamlet rows cannot cover {y_min_mm} to {y_max_mm} mm")
    first, last = mlc.pair_at(y_min_mm), mlc.pair_at(y_max_mm)
    if last > first and mlc.leaf_boundaries_mm[last] >= y_max_mm - TOLERANCE_MM:
        last -= 1
    height = float(mlc.leaf_widths_mm[first : last + 1].max()) if height_mm is None else float(height_mm)
    if not (np.isfinite(height) and height > 0):
        raise ValueError(f"beamlet rows need a positive height, not {height_mm} mm")
    middle = (y_min_mm + y_max_mm) / 2
    refusal = ""
    for anchor in sorted(mlc.leaf_boundaries_mm[first : last + 2], key=lambda edge: abs(edge - middle)):
        below = max(0, int(np.ceil((anchor - y_min_mm - TOLERANCE_MM) / height)))
        above = max(0 if below else 1, int(np.ceil((y_max_mm - anchor - TOLERANCE_MM) / height)))
        rows = anchor + height * (np.arange(-below, above, dtype=np.float64) + 0.5)
        try:
            leaf_pairs_of_rows(mlc, rows, height)
        except ValueError as error:
            refusal = refusal or str(error)
        else:
            return rows, height
    raise ValueError(refusal)


def leaf_aligned_beamlets(
    mlc: MLC,
    points_mm: npt.ArrayLike,
    x_spacing_mm: float,
    *,
    row_height_mm: float | None = None,
    margin_mm: float = 0.0,
) -> tuple[FloatArray, tuple[float, float]]:
    """Place beamlets over a target, with their rows on the leaves.

    Parameters
    ----------
    points_mm : array_like, shape (n_points, 2)
        Points of the target or its outline in the beam's eye view (x, y), no further apart than the rows are high.
    x_spacing_mm : float
        Beamlet size along the travel of the leaves.
    row_height_mm : float, optional
        As for `leaf_rows`.
    margin_mm : float
        Added around the points.

    Returns
    -------
    xy_mm : ndarray, shape (n_beamlets, 2)
        Centers, row after row: in x at multiples of the spacing, from the first to the last in each row that the target
        and its margin touch.
    spacing_mm : tuple of float
        Beamlet size in x and y.

    Raises
    ------
    ValueError
        As for `leaf_rows`, and if points, spacing or margin are invalid.
    """
    points = np.asarray(points_mm, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] != 2 or not len(points) or not np.isfinite(points).all():
        raise ValueError(f"a target in the beam's eye view needs finite (x, y) points, not an array of {points.shape}")
    if not (np.isfinite(x_spacing_mm) and x_spacing_mm > 0):
        raise ValueError(f"beamlets need a positive spacing, not {x_spacing_mm} mm")
    if not (np.isfinite(margin_mm) and margin_mm >= 0):
        raise ValueError(f"a margin cannot be {margin_mm} mm")
    x, y = points.T
    rows, height = leaf_rows(mlc, float(y.min()) - margin_mm, float(y.max()) + margin_mm, row_height_mm)
    beamlets = []
    for row in rows:
        near = np.abs(y - row) < height / 2 + margin_mm
        if not near.any():
            continue
        first = np.floor((x[near].min() - margin_mm) / x_spacing_mm + 0.5 + 1e-6)
        last = max(first, np.ceil((x[near].max() + margin_mm) / x_spacing_mm - 0.5 - 1e-6))
        beamlets += [(column * x_spacing_mm, row) for column in np.arange(first, last + 1)]
    return np.array(beamlets), (float(x_spacing_mm), height)
