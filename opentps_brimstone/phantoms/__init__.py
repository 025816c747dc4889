"""Planning cases made of simple shapes, with their fields and goals.

Axes are those of a patient lying head first supine: x to the patient's left, y to the back, z to the head.
"""

from __future__ import annotations

from collections.abc import Callable

from opentps_brimstone.phantoms.c_shape import C_SHAPE, C_SHAPE_HARD, CShape
from opentps_brimstone.phantoms.case import Phantom
from opentps_brimstone.phantoms.design import Design
from opentps_brimstone.phantoms.head_neck import HEAD_NECK, HeadNeck
from opentps_brimstone.phantoms.multi_target import MULTI_TARGET, MultiTarget
from opentps_brimstone.phantoms.prostate import PROSTATE, Prostate
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
    "Design",
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

# Each makes its case's phantom from the grid spacing in mm.
multi_target = MULTI_TARGET.phantom
prostate = PROSTATE.phantom
head_neck = HEAD_NECK.phantom
c_shape = C_SHAPE.phantom
c_shape_hard = C_SHAPE_HARD.phantom

PHANTOMS: dict[str, Callable[[float], Phantom]] = {
    design.name: design.phantom for design in (MULTI_TARGET, PROSTATE, HEAD_NECK, C_SHAPE, C_SHAPE_HARD)
}
"""Every case by name, made from the grid spacing in mm."""


def make_phantom(name: str, grid_mm: float = 4.0) -> Phantom:
    """Make the phantom of one of `PHANTOMS` with a voxel spacing that suits it."""
    if name not in PHANTOMS:
        raise ValueError(f"case {name!r} is unknown; it may be {', '.join(PHANTOMS)}")
    return PHANTOMS[name](grid_mm)
