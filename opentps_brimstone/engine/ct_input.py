"""The CT and the ROIs of a dose calculation, checked and converted to the engine's input."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from opentps_brimstone._typing import AnyArray, BoolArray, FloatArray
from opentps_brimstone.adapters.density_table import chosen_density_table
from opentps_brimstone.adapters.doubts import holds_densities
from opentps_brimstone.adapters.plan import contour_mask, voxel_grid
from opentps_brimstone.model.structure import LARGEST_DENSITY

if TYPE_CHECKING:
    from opentps_brimstone.model.influence import VoxelGrid

__all__ = ["check_hu", "checked_grid", "mass_density", "rows_inside"]

_log = logging.getLogger(__name__)


def checked_grid(ct: Any) -> VoxelGrid:
    """Check a CT, and give its grid."""
    values = getattr(ct, "imageArray", None)
    if values is None:
        raise TypeError(f"the CT must be an OpenTPS CTImage with data, got {type(ct).__name__}")
    check_hu(values, ct.name)
    return voxel_grid(ct)


def check_hu(values: Any, name: str) -> None:
    """Raise ValueError if an array is not one of HU that doses can be computed on."""
    values = np.asarray(values)
    if values.ndim != 3 or min(values.shape) < 2:
        raise ValueError(f"the CT {name!r} has the shape {values.shape}; the engine needs [x, y, z], 2 voxels or more")
    unusable = np.count_nonzero(~np.isfinite(values))
    if unusable:
        raise ValueError(f"the CT {name!r} has {unusable} voxels that are NaN or infinite; all must be finite HU")
    if holds_densities(values):
        raise ValueError(
            f"the CT {name!r} has values from {values.min():g} to {values.max():g}, which are densities and not HU: "
            "OpenTPS's CCCDoseCalculator converts the CT it is given in place; give the CT as it was before"
        )


def mass_density(
    ct_hu: AnyArray, table: Any, overrides: Sequence[Mapping[str, Any]] | None, plan: Any = None
) -> FloatArray:
    """Mass densities in g/cm³ of HU, which are not changed.

    The table is the one given, that of the plan design of an OpenTPS plan, or the default.
    """
    _check_overrides(overrides, ct_hu.shape)
    chosen = chosen_density_table(table, plan)
    _log.debug("densities from HU by the table %s", chosen.name)
    density = chosen.mass_density(ct_hu)
    for override in overrides or []:
        density[np.asarray(override["Mask"].imageArray, dtype=bool)] = override["Value"]
    return density


def _check_overrides(overrides: Sequence[Mapping[str, Any]] | None, ct_shape: tuple[int, ...]) -> None:
    for number, override in enumerate(overrides or []):
        if not isinstance(override, Mapping) or set(override) != {"Mask", "Value"}:
            raise ValueError(
                f"density override {number} must be {{'Mask': ROIMask, 'Value': density}}, got {override!r}"
            )
        name = getattr(override["Mask"], "name", "mask")
        shape = np.asarray(getattr(override["Mask"], "imageArray", None)).shape
        if shape != ct_shape:
            raise ValueError(f"the mask {name!r} of density override {number} has the shape {shape}, the CT {ct_shape}")
        value = override["Value"]
        if not isinstance(value, (int, float, np.number)) or not 0 <= float(value) <= LARGEST_DENSITY:
            raise ValueError(
                f"density override {number} ({name!r}) sets {value!r}; it must be a density from 0 to "
                f"{LARGEST_DENSITY:g} g/cm³"
            )


def rows_inside(roi: Any, grid: VoxelGrid) -> BoolArray | None:
    """Rows of the matrix in the union of ROIs; None for all."""
    if roi is None or (isinstance(roi, (list, tuple)) and not roi):
        return None
    from opentps.core.data import ROIContour
    from opentps.core.data.images import Image3D

    union = np.zeros(grid.shape, dtype=bool)
    probe = Image3D(imageArray=union, origin=grid.origin_mm, spacing=grid.spacing_mm)
    for region in roi if isinstance(roi, (list, tuple)) else [roi]:
        mask = region
        if isinstance(region, ROIContour):
            mask = Image3D(imageArray=contour_mask(region, grid), origin=grid.origin_mm, spacing=grid.spacing_mm)
        if not isinstance(mask, Image3D) or mask.imageArray is None:
            raise TypeError(f"roi must be ROIMask or ROIContour with data, got {region!r}")
        if not probe.hasSameGrid(mask):
            raise ValueError(
                f"the ROI {region.name!r} has a grid of {mask.imageArray.shape} voxels from {list(mask.origin)} mm in "
                f"steps of {list(mask.spacing)} mm; resample it onto that of the CT: {grid.shape} from "
                f"{list(grid.origin_mm)} mm in steps of {list(grid.spacing_mm)} mm"
            )
        union |= mask.imageArray.astype(bool)
    if not union.any():
        raise ValueError("the ROIs given to the dose engine are empty: no voxel of the CT would keep its dose")
    return np.flip(union, (0, 1)).ravel(order="F")
