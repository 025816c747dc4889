"""CTs and masks as OpenTPS's images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from opentps_brimstone._typing import FloatArray
from opentps_brimstone.model.influence import VoxelGrid
from opentps_brimstone.model.structure import HALF_INSIDE, Structure

__all__ = ["ct_image", "roi_mask"]


def ct_image(ct_hu: FloatArray, grid: VoxelGrid, name: str, dicom: Mapping[str, str] | None = None) -> Any:
    """Make a CT of HU.

    Parameters
    ----------
    ct_hu : ndarray, shape (nx, ny, nz)
        Copied.
    grid : VoxelGrid
    name : str
    dicom : mapping of str to str, optional
        With "FrameOfReferenceUID" and "SeriesInstanceUID", if they are known.

    Returns
    -------
    opentps CTImage
    """
    from opentps.core.data.images import CTImage

    ct = CTImage(imageArray=np.array(ct_hu), name=name, **_placement(grid))
    if dicom is not None:
        ct.frameOfReferenceUID = dicom.get("FrameOfReferenceUID")
        ct.seriesInstanceUID = dicom.get("SeriesInstanceUID", "")
    return ct


def roi_mask(structure: Structure, grid: VoxelGrid) -> Any:
    """Make a mask of the voxels that belong to a structure to half or more.

    Parameters
    ----------
    structure : Structure
        On the grid.
    grid : VoxelGrid

    Returns
    -------
    opentps ROIMask

    Raises
    ------
    ValueError
        If there are none.
    """
    from opentps.core.data.images import ROIMask

    mask = structure.share >= HALF_INSIDE
    if not mask.any():
        raise ValueError(
            f"structure {structure.name!r} fills no voxel of {grid.spacing_mm} mm to half; take a finer grid"
        )
    return ROIMask(imageArray=mask, name=structure.name, **_placement(grid))


def _placement(grid: VoxelGrid) -> dict[str, Any]:
    return {"origin": np.array(grid.origin_mm), "spacing": np.array(grid.spacing_mm)}
