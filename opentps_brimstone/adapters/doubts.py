"""What looks wrong about a CT, a plan and ROIs that are taken as they are given.

OpenTPS turns the CT that it computes beamlets on into densities. OpenTPS 3.0 besides may take the thickness of slices
for their distance when it reads a CT, displaces the masks it makes of contours, and may compute doses with another
source distance than it places beamlets with. None of these stops a plan from being optimized on beamlets that were
computed before.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from opentps_brimstone._typing import FloatArray
from opentps_brimstone.adapters.plan import contours_of, voxel_grid
from opentps_brimstone.adapters.versions import objectives_in, source_distances_mm
from opentps_brimstone.model.contours import ContourStack
from opentps_brimstone.model.structure import HALF_INSIDE, LARGEST_DENSITY

__all__ = ["OpenTPSWarning", "doubts", "holds_densities", "warn_of_doubts"]

_SAME_SLICES_MM = 0.05
_DISPLACED_VOXELS, _DISPLACED_MM = 0.25, 0.7  # in x or y, whichever is more; OpenTPS 2.0 stays below both


class OpenTPSWarning(UserWarning):
    """Something given by OpenTPS looks wrong."""


def warn_of_doubts(photon_plan: Any, ct: Any = None, rois: Iterable[Any] = ()) -> None:
    """Warn of all `doubts` about a plan.

    Parameters
    ----------
    photon_plan, ct, rois
        As for `doubts`.
    """
    for doubt in doubts(photon_plan, ct, rois):
        warnings.warn(doubt, OpenTPSWarning, stacklevel=3)


def doubts(photon_plan: Any, ct: Any = None, rois: Iterable[Any] = ()) -> list[str]:
    """Say what looks wrong.

    Parameters
    ----------
    photon_plan : opentps PhotonPlan
    ct : opentps CTImage, optional
        Default: that of the plan design.
    rois : iterable
        Of the plan, besides those of its objectives; what is not a ROIMask or ROIContour is passed over.

    Returns
    -------
    list of str
        A sentence each; empty if nothing looks wrong.
    """
    design = photon_plan.planDesign
    ct = getattr(design, "ct", None) if ct is None else ct
    found = [] if ct is None else [*_doubts_of_ct(ct)]
    try:
        source_distances_mm(photon_plan)
    except ValueError as error:
        found.append(str(error))
    listed = [] if design is None else [getattr(one, "roi", None) for one in objectives_in(design.objectives)]
    return [*found, *_displaced([*rois, *listed, getattr(design, "targetMask", None)])]


# ------------------------------------------------------------------------------------------------- the CT


def holds_densities(ct_values: Any) -> bool:
    """Whether the values of an image are mass densities in g/cm³ and not HU.

    No scan of a body in air is that even in HU, but its densities are just so.

    Parameters
    ----------
    ct_values : ndarray

    Returns
    -------
    bool
    """
    low, high = float(np.min(ct_values)), float(np.max(ct_values))
    return 0 < low < 0.1 and high < LARGEST_DENSITY


def _doubts_of_ct(ct: Any) -> Iterator[str]:
    if ct.imageArray is None:
        return
    if holds_densities(ct.imageArray):
        yield (
            f"the CT {ct.name!r} holds densities and not HU: OpenTPS's CCCDoseCalculator converts the CT it is given "
            "in place, and a dose computed on it again would be wrong; give it a copy"
        )
    slices = getattr(ct, "sliceLocation", None)
    if slices is not None and np.size(slices) == ct.imageArray.shape[2] > 1:
        steps = np.diff(np.asarray(slices, dtype=np.float64))
        if np.abs(steps - ct.spacing[2]).max() > _SAME_SLICES_MM:
            yield (
                f"the CT {ct.name!r} has voxels {ct.spacing[2]:g} mm high, but its slices are {_range(steps)} mm "
                "apart: OpenTPS 3.0 takes the thickness of slices for their distance; read it with Series.from_dicom"
            )


def _range(steps: FloatArray) -> str:
    low, high = float(steps.min()), float(steps.max())
    return f"{low:g}" if high - low < _SAME_SLICES_MM else f"{low:g} to {high:g}"


# ------------------------------------------------------------------------------------------------- masks and contours


def _displaced(rois: Iterable[Any]) -> Iterator[str]:
    """Say which masks lie beside the contours of the same name."""
    from opentps.core.data import ROIContour
    from opentps.core.data.images import ROIMask

    given = list({id(roi): roi for roi in rois}.values())
    contours = {roi.name: roi for roi in given if isinstance(roi, ROIContour) and roi.polygonMesh}
    for mask in given:
        if not isinstance(mask, ROIMask) or mask.imageArray is None or mask.name not in contours:
            continue
        offset = _offset_mm(mask, contours[mask.name])
        if offset is not None:
            yield (
                f"the mask {mask.name!r} lies {offset[0]:+.1f} mm in x and {offset[1]:+.1f} mm in y from the contours "
                "of that name: OpenTPS displaces the masks that it makes of contours; give contours, or masks made by "
                "this package"
            )


def _offset_mm(mask: Any, roi: Any) -> FloatArray | None:
    """How far a mask has moved in x and y from the contours it was made of; None if it has not, or is another shape."""
    grid = voxel_grid(mask)
    contours = contours_of(roi, grid.spacing_mm[2])
    given, share = np.asarray(mask.imageArray, dtype=bool), contours.share_on(grid)
    if not (given.any() and share.any()):
        return None
    spacing = np.asarray(grid.spacing_mm[:2])
    offset: FloatArray = (_center(given) - _center(share)) * spacing
    if np.all(np.abs(offset) <= np.maximum(_DISPLACED_VOXELS * spacing, _DISPLACED_MM)):
        return None
    planes = [(z, [outline + offset for outline in outlines]) for z, outlines in contours.planes]
    moved = ContourStack(planes, contours.slice_spacing_mm).share_on(grid)
    apart, apart_moved = (np.count_nonzero(given != (each >= HALF_INSIDE)) for each in (share, moved))
    return offset if 2 * apart_moved < apart else None


def _center(share: Any) -> FloatArray:
    """Center of volume in voxels along x and y."""
    voxels = np.argwhere(share > 0)
    center: FloatArray = np.average(voxels[:, :2], axis=0, weights=share[share > 0])
    return center
