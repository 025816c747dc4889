"""The one isocenter that all beams of a plan share, as the dose engine needs it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from opentps_brimstone._typing import FloatArray
from opentps_brimstone.model.influence import VoxelGrid

__all__ = ["common_isocenter"]

_SAME_MM = 1e-3


def common_isocenter(beams: Sequence[tuple[str, npt.ArrayLike]], grid: VoxelGrid | None = None) -> FloatArray:
    """Isocenter x, y, z in mm of named beams that have the same; it must lie in the CT whose grid is given."""
    places = [_checked(name, isocenter, grid) for name, isocenter in beams]
    first_name, first = beams[0][0], places[0]
    for (name, _), place in zip(beams, places, strict=True):
        if not np.allclose(place, first, rtol=0, atol=_SAME_MM):
            raise ValueError(
                f"{name} has its isocenter at {place.tolist()} mm and {first_name} at {first.tolist()} mm: the dose "
                "engine knows one isocenter; plan the others separately"
            )
    return first


def _checked(name: str, isocenter: npt.ArrayLike, grid: VoxelGrid | None) -> FloatArray:
    place = np.array(isocenter, dtype=np.float64)
    if place.shape != (3,) or not np.isfinite(place).all():
        raise ValueError(f"the isocenter must be three finite numbers x, y, z in mm, got {isocenter!r} for {name}")
    if grid is not None:
        _check_inside(place, grid)
    return place


def _check_inside(place: FloatArray, grid: VoxelGrid) -> None:
    half_voxel = np.array(grid.spacing_mm) / 2
    low = np.array(grid.origin_mm) - half_voxel
    high = low + 2 * half_voxel * grid.shape
    if np.any(place < low) or np.any(place > high):
        raise ValueError(
            f"the isocenter {place.tolist()} mm lies outside the CT, which reaches from {low.tolist()} to "
            f"{high.tolist()} mm"
        )
