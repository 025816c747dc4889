"""Structures that follow from others and are made by their names: ``Body outside targets``, ``ring 5-25 mm``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import numpy as np
from scipy.ndimage import distance_transform_edt

from opentps_brimstone._typing import BoolArray, FloatArray
from opentps_brimstone.model.influence import VoxelGrid
from opentps_brimstone.model.structure import Structure

__all__ = ["OUTSIDE_TARGETS", "base_of", "derived_structure", "is_derived", "ring_around", "ring_name"]

OUTSIDE_TARGETS = " outside targets"
"""End of the name of a structure's part outside all targets."""
_RING = re.compile(r"ring (\d+(?:\.\d+)?)-(\d+(?:\.\d+)?) mm")
_BODY_NAMES = ("body", "external", "skin", "outline", "patient")


def base_of(name: str) -> str | None:
    """Find the structure that a part outside targets is of, by its name.

    Parameters
    ----------
    name : str

    Returns
    -------
    str or None
        None if it is not the name of such a part.

    Examples
    --------
    >>> base_of("Body outside targets"), base_of("Body")
    ('Body', None)
    """
    return name.removesuffix(OUTSIDE_TARGETS) if name.endswith(OUTSIDE_TARGETS) else None


def ring_name(inner_mm: float, outer_mm: float) -> str:
    """Name the ring around all targets between two distances from them.

    Parameters
    ----------
    inner_mm, outer_mm : float

    Returns
    -------
    str
    """
    return f"ring {inner_mm:g}-{outer_mm:g} mm"


def is_derived(name: str) -> bool:
    """Whether a name describes a structure that follows from others.

    Parameters
    ----------
    name : str

    Returns
    -------
    bool

    Examples
    --------
    >>> is_derived("ring 5-25 mm"), is_derived("Body outside targets"), is_derived("Body")
    (True, True, False)
    """
    return _RING.fullmatch(name) is not None or base_of(name) is not None


def derived_structure(
    name: str, structures: Iterable[Structure], targets: Sequence[Structure], grid: VoxelGrid
) -> Structure | None:
    """Make the structure that a name describes.

    Parameters
    ----------
    name : str
        That of a structure followed by ``outside targets``, or a ring such as ``ring 5-25 mm`` around all targets,
        inside the body if there is one.
    structures, targets : iterable of Structure
        On the grid.
    grid : VoxelGrid

    Returns
    -------
    Structure or None
        None if the name describes none, or the structure that it is to be a part of does not exist.

    Raises
    ------
    ValueError
        If there is no target, or nothing is left of the structure.

    Examples
    --------
    >>> grid = VoxelGrid((3, 1, 1), (5.0, 5.0, 5.0))
    >>> ptv = Structure("PTV", np.array([0, 1, 0]).reshape(3, 1, 1), is_target=True, grid=grid)
    >>> body = Structure("Body", np.ones((3, 1, 1)), grid=grid)
    >>> derived_structure("Body outside targets", [ptv, body], [ptv], grid).share.ravel().tolist()
    [1.0, 0.0, 1.0]
    """
    known = list(structures)
    ring = _RING.fullmatch(name)
    if ring is not None:
        body = next((each for each in known if _is_body(each)), None)
        return ring_around(targets, body, grid, float(ring[1]), float(ring[2]))
    base = next((each for each in known if each.name == base_of(name)), None)
    return None if base is None else _outside(name, base, targets, grid)


def _is_body(structure: Structure) -> bool:
    return structure.kind == "EXTERNAL" or structure.name.casefold() in _BODY_NAMES


def _outside(name: str, base: Structure, targets: Sequence[Structure], grid: VoxelGrid) -> Structure:
    inside: FloatArray = np.zeros(grid.shape)
    for target in targets:
        inside = np.maximum(inside, target.share)
    share = np.clip(base.share - inside, 0.0, 1.0)
    if not share.any():
        raise ValueError(f"nothing of {base.name!r} lies outside the targets")
    made = Structure(name, share, grid=grid)
    made.alpha_beta, made.alpha, made.previous_dose = base.alpha_beta, base.alpha, base.previous_dose
    return made


def ring_around(
    targets: Sequence[Structure], body: Structure | None, grid: VoxelGrid, inner_mm: float = 5.0, outer_mm: float = 25.0
) -> Structure:
    """Make a ring of tissue around targets, in which dose is made to fall.

    Parameters
    ----------
    targets : sequence of Structure
    body : Structure or None
        What the ring is part of.
    grid : VoxelGrid
        That the structures are on.
    inner_mm, outer_mm : float
        Distances from the targets where it begins and ends.

    Returns
    -------
    Structure
        Named after the distances.

    Raises
    ------
    ValueError
        If there is no target, the distances do not rise, or nothing is left of the ring.
    """
    if not targets:
        raise ValueError("a ring needs a target to lie around; give a structure the role of a target first")
    if not 0 <= inner_mm < outer_mm:
        raise ValueError(f"a ring from {inner_mm:g} to {outer_mm:g} mm is empty; the second must be larger")
    inside: BoolArray = np.logical_or.reduce([each.touched for each in targets])
    near = _within(inside, outer_mm, grid)
    distance = distance_transform_edt(~inside[near], sampling=grid.spacing_mm)
    ring: BoolArray = np.zeros(grid.shape, dtype=bool)
    ring[near] = (distance > inner_mm) & (distance <= outer_mm)
    if body is not None:
        ring &= body.touched
    name = ring_name(inner_mm, outer_mm)
    if not ring.any():
        raise ValueError(f"the {name} around {', '.join(each.name for each in targets)} holds no voxel")
    return Structure(name, ring, grid=grid)


def _within(inside: BoolArray, reach_mm: float, grid: VoxelGrid) -> tuple[slice, ...]:
    """Box around voxels and everything within a distance of them."""
    box = []
    for axis, (count, spacing) in enumerate(zip(grid.shape, grid.spacing_mm, strict=True)):
        hit = np.flatnonzero(inside.any(axis=tuple(other for other in range(3) if other != axis)))
        more = int(np.ceil(reach_mm / spacing))
        box.append(slice(max(int(hit[0]) - more, 0), min(int(hit[-1]) + more + 1, count)))
    return tuple(box)
