"""Extremes of a dose: the highest outside the targets, and the largest difference from another dose."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from opentps_brimstone._typing import BoolArray

if TYPE_CHECKING:
    from opentps_brimstone.model.structure import Structure

__all__ = ["hot_spot", "largest_difference", "outside_targets"]


def outside_targets(structures: Iterable[Structure]) -> BoolArray:
    """Voxels of organs or body that belong to no target, not even in part; at least one structure is not a target."""
    anywhere = in_target = np.zeros((), dtype=bool)
    for structure in structures:
        inside = structure.share > 0
        if structure.is_target:
            in_target = in_target | inside
        else:
            anywhere = anywhere | inside
    return anywhere & ~in_target


def hot_spot(dose: npt.ArrayLike, structures: Iterable[Structure]) -> float:
    """Highest dose over the voxels of `outside_targets`; 0 if there are none."""
    return float(np.max(np.asarray(dose), where=outside_targets(structures), initial=0.0))


def largest_difference(dose: npt.ArrayLike, expected: npt.ArrayLike) -> float:
    """Largest absolute difference between two doses, as a share of the maximum of the expected one."""
    wanted = np.asarray(expected)
    return float(np.abs(np.asarray(dose) - wanted).max() / wanted.max())
