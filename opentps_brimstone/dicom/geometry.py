"""Directions and distances in files, which writers round: what still counts as straight, even and the same place."""

from __future__ import annotations

import numpy as np

from opentps_brimstone._typing import FloatArray, IntArray
from opentps_brimstone.dicom.tags import Tags

__all__ = [
    "LARGEST_SPACING_MM",
    "ROUNDING_MM",
    "SAME_PLACE_MM",
    "axes_of",
    "checked_position",
    "checked_spacing",
    "uneven_steps",
]

SAME_PLACE_MM = 0.05
"""Planes closer than this are one: positions are often written with one or two decimals."""

_COSINE_TOLERANCE = 1e-3
# A plane may be off its even place by this share of a step, and never by more than this length.
_STEP_TOLERANCE = 0.1
ROUNDING_MM = 0.25
"""How far a plane may be off its place, which its writer rounded."""
# No image of a patient has finer or coarser voxels, or lies further from its origin.
LARGEST_SPACING_MM = 200.0
_SMALLEST_SPACING_MM = 0.01
_FURTHEST_MM = 1e5


def axes_of(tags: Tags) -> tuple[FloatArray, FloatArray]:
    """Read the unit vectors along which columns and rows are counted; others than the patient's axes are an error."""
    cosines = tags.numbers("ImageOrientationPatient", 6)
    straight = np.rint(cosines)
    across, down = straight[:3], straight[3:]
    proper = np.abs(across).sum() == np.abs(down).sum() == 1 and not np.any(across * down)
    if not proper or not np.allclose(cosines, straight, rtol=0, atol=_COSINE_TOLERANCE):
        raise tags.wrong(
            "ImageOrientationPatient",
            f"is {', '.join(f'{value:g}' for value in cosines)}, an oblique slice (or a tilted gantry); resample the "
            "image on straight axes",
        )
    return across, down


def checked_spacing(tags: Tags) -> tuple[float, float]:
    """Read the distance of rows and of columns."""
    between_rows, between_columns = tags.numbers("PixelSpacing", 2).tolist()
    low, high = _SMALLEST_SPACING_MM, LARGEST_SPACING_MM
    if not (low <= between_rows <= high and low <= between_columns <= high):
        raise tags.wrong(
            "PixelSpacing",
            f"is {between_rows:g}, {between_columns:g} mm; it must be positive, from {low:g} to {high:g} mm",
        )
    return between_rows, between_columns


def checked_position(tags: Tags) -> FloatArray:
    """Read the place of a slice's first voxel."""
    position = tags.numbers("ImagePositionPatient", 3)
    if np.abs(position).max() > _FURTHEST_MM:
        raise tags.wrong("ImagePositionPatient", f"is {position.tolist()}; it must be within {_FURTHEST_MM:g} mm")
    return position


def uneven_steps(places: FloatArray) -> IntArray:
    """Find which steps between planes break an even spacing.

    Parameters
    ----------
    places : ndarray, shape (n,)
        Rising, in mm; n at least 2.

    Returns
    -------
    ndarray of int
        Numbers of the steps; empty if every plane is close to its even place. Steps that drift add up to planes that
        are off by more than what rounding explains, although no step alone is wrong.
    """
    steps = np.diff(places)
    usual = float(np.median(steps))
    wrong = np.flatnonzero(np.abs(steps - usual) > _STEP_TOLERANCE * usual)
    if len(wrong):
        return wrong
    even = np.linspace(places[0], places[-1], len(places))
    allowed = min(_STEP_TOLERANCE * usual, ROUNDING_MM)
    if np.abs(places - even).max() <= allowed:
        return wrong
    return np.flatnonzero(np.abs(steps - usual) > np.abs(steps - usual).max() / 2)
