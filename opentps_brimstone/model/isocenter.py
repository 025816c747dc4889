"""Isocenters of beams, checked; each beam may have its own."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from opentps_brimstone._typing import FloatArray
from opentps_brimstone.model.influence import VoxelGrid

__all__ = ["checked_isocenter"]


def checked_isocenter(name: str, isocenter: npt.ArrayLike, grid: VoxelGrid | None = None) -> FloatArray:
    """Isocenter x, y, z in mm of a named beam; it must lie in the CT whose grid is given."""
    place = np.array(isocenter, dtype=np.float64)
    if place.shape != (3,) or not np.isfinite(place).all():
        raise ValueError(f"the isocenter must be three finite numbers x, y, z in mm, got {isocenter!r} for {name}")
    if grid is not None:
        _check_inside(name, place, grid)
    return place


def _check_inside(name: str, place: FloatArray, grid: VoxelGrid) -> None:
    half_voxel = np.array(grid.spacing_mm) / 2
    low = np.array(grid.origin_mm) - half_voxel
    high = low + 2 * half_voxel * grid.shape
    if np.any(place < low) or np.any(place > high):
        raise ValueError(
            f"the isocenter {place.tolist()} mm of {name} lies outside the CT, which reaches from {low.tolist()} to "
            f"{high.tolist()} mm"
        )
