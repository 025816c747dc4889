"""Planning cases made of simple shapes, with their fields and goals.

Axes are those of a patient lying head first supine: x to the patient's left, y to the back, z to the head.
"""

from __future__ import annotations

from collections.abc import Callable

from opentps_brimstone.phantoms.c_shape import C_SHAPE, C_SHAPE_HARD, CShape, c_shape, c_shape_hard
from opentps_brimstone.phantoms.case import Phantom
from opentps_brimstone.phantoms.head_neck import HEAD_NECK, HeadNeck, head_neck
from opentps_brimstone.phantoms.multi_target import MULTI_TARGET, MultiTarget, multi_target
from opentps_brimstone.phantoms.prostate import PROSTATE, Prostate, prostate
from opentps_brimstone.phantoms.shapes import AIR_HU, WATER_HU, centered_grid, prism_share

__all__ = [
    "AIR_HU",
    "C_SHAPE",
    "C_SHAPE_HARD",
    "HEAD_NECK",
    "MULTI_TARGET",
    "PHANTOMS",
    "PROSTATE",
    "WATER_HU",
    "CShape",
    "HeadNeck",
    "MultiTarget",
    "Phantom",
    "Prostate",
    "c_shape",
    "c_shape_hard",
    "centered_grid",
    "head_neck",
    "make_phantom",
    "multi_target",
    "prism_share",
    "prostate",
]

PHANTOMS: dict[str, Callable[[float], Phantom]] = {
    "multitarget": multi_target,
    "prostate": prostate,
    "head-neck": head_neck,
    "c-shape": c_shape,
    "c-shape-hard": c_shape_hard,
}
"""Every case by name, made from the grid spacing in mm."""


def make_phantom(name: str, grid_mm: float = 4.0) -> Phantom:
    """Phantom of a name.

    Parameters
    ----------
    name : str
        One of `PHANTOMS`.
    grid_mm : float
        Voxel spacing.

    Returns
    -------
    Phantom

    Raises
    ------
    ValueError
        When there is none of that name, or the spacing does not suit it.
    """
    if name not in PHANTOMS:
        raise ValueError(f"case {name!r} is unknown; it may be {', '.join(PHANTOMS)}")
    return PHANTOMS[name](grid_mm)
