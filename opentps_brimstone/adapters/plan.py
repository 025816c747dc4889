"""OpenTPS photon plans: beamlets as one list, ROIs as structures, and writing MU back.

Everything is in the order of ``photon_plan.beamlets``: by beam, segment within the beam, and beamlet within the
segment. Every segment is a group of its own (``BeamletLayout.beam_index``), because the segments of a beam may have
different beam's eye views.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from opentps_brimstone._typing import BoolArray, FloatArray
from opentps_brimstone.adapters.privates import (
    beamlet_xy,
    clear_beamlets,
    set_beamlet_mu,
    set_beamlets,
    set_beams,
    set_segments,
)
from opentps_brimstone.model.contours import ContourStack
from opentps_brimstone.model.influence import BeamletLayout, VoxelGrid
from opentps_brimstone.model.isocenter import checked_isocenter
from opentps_brimstone.model.structure import HALF_INSIDE, Structure

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import ArrayLike

__all__ = [
    "checked_mu",
    "contour_mask",
    "contours_of",
    "ensure_beamlets",
    "layout_from_opentps",
    "leaf_rows",
    "mlc_positions",
    "plan_isocenters",
    "remove_beamlets",
    "structure_from_roi",
    "validate_photon_plan",
    "voxel_grid",
    "write_beamlet_mu",
]

_GRID_TOLERANCE_MM = 0.01  # that of OpenTPS's objectives


class _PlacedSegment(NamedTuple):
    """A segment, and words that say which one it is."""

    segment: Any
    place: str


def _segments(photon_plan: Any) -> Iterator[_PlacedSegment]:
    for number, beam in enumerate(photon_plan.beams, start=1):
        for index, segment in enumerate(beam.beamSegments):
            yield _PlacedSegment(segment, f"segment {index} of beam {number} ({beam.name!r})")


# ---------------------------------------------------------------------------------------------- what a plan must be


def validate_photon_plan(photon_plan: Any) -> None:
    """Check that a plan can be optimized.

    Parameters
    ----------
    photon_plan : opentps PhotonPlan

    Raises
    ------
    TypeError
        If it is not a PhotonPlan.
    ValueError
        If it has no beams, a beam without segments, a segment that has neither beamlets nor an MLC opening that
        OpenTPS can make beamlets of, spacings that are not positive, or angles or isocenters that are not finite.
    """
    from opentps.core.data.plan import PhotonPlan

    if not isinstance(photon_plan, PhotonPlan):
        raise TypeError(f"the plan must be an OpenTPS PhotonPlan, got {type(photon_plan).__name__}")
    if not photon_plan.beams:
        raise ValueError(f"the plan {photon_plan.name!r} has no beams")
    for number, beam in enumerate(photon_plan.beams, start=1):
        if not beam.beamSegments:
            raise ValueError(f"beam {number} ({beam.name!r}) has no segments")
    if not photon_plan.numberOfFractionsPlanned >= 1:
        raise ValueError(f"numberOfFractionsPlanned must be 1 or more, got {photon_plan.numberOfFractionsPlanned!r}")
    plan_isocenters(photon_plan)
    for segment, place in _segments(photon_plan):
        _check_numbers(segment, place)
        if not segment.beamlets:
            _beamlets_from_mlc(segment, place)


def plan_isocenters(photon_plan: Any, grid: VoxelGrid | None = None) -> FloatArray:
    """Isocenters x, y, z in mm of the beams, shape (n_beams, 3), all inside the CT whose grid is given."""
    beams = enumerate(photon_plan.beams, start=1)
    return np.array(
        [checked_isocenter(f"beam {n} ({beam.name!r})", beam.isocenterPosition_mm, grid) for n, beam in beams]
    )


def _check_numbers(segment: Any, place: str) -> None:
    for name in ("xBeamletSpacing_mm", "yBeamletSpacing_mm"):
        spacing = getattr(segment, name)
        if not (np.isfinite(spacing) and spacing > 0):
            raise ValueError(f"{place}: {name} must be positive, got {spacing!r}")
    for name in ("gantryAngle_degree", "couchAngle_degree", "beamLimitingDeviceAngle_degree"):
        angle = getattr(segment, name)
        if not np.isfinite(angle):
            raise ValueError(f"{place}: {name} must be finite, got {angle!r}")


# ------------------------------------------------------------------------------------------------- beamlets of an MLC


def _beamlets_from_mlc(segment: Any, place: str) -> list[Any]:
    """Beamlets that OpenTPS makes from a segment's MLC opening; the segment is not changed."""
    probe = copy.copy(segment)
    clear_beamlets(probe)
    probe.Xmlc_mm = _leaves(segment, place)
    probe.x_jaw_mm = _jaw(segment.x_jaw_mm, f"{place}: x_jaw_mm")
    probe.y_jaw_mm = _jaw(segment.y_jaw_mm, f"{place}: y_jaw_mm")
    # Without MU a beamlet is dropped by OpenTPS's simplify before the dose is computed.
    probe.mu = 1.0 if segment.mu is None else segment.mu
    probe.createBeamletsFromSegments()
    # A sample on the edge of two leaves comes twice; it is one beamlet.
    positions = map(tuple, beamlet_xy(probe.beamlets).tolist())
    beamlets = list(dict(zip(positions, probe.beamlets, strict=True)).values())
    if not beamlets:
        raise ValueError(
            f"{place} has no beamlets, and its MLC opening holds none at a spacing of {segment.xBeamletSpacing_mm} x "
            f"{segment.yBeamletSpacing_mm} mm: OpenTPS drops leaf pairs open by no more than one spacing"
        )
    return beamlets


def mlc_positions(segment: Any, place: str) -> tuple[FloatArray, FloatArray, tuple[float, float], tuple[float, float]]:
    """Positions of the leaves and jaws of a segment.

    Parameters
    ----------
    segment : opentps PlanPhotonSegment
    place : str
        Where it is, for the error.

    Returns
    -------
    x_mm, y_mm : ndarray, shape (n_pairs, 2)
        Tips of each pair of leaves, and the sides of its leaves, at the isocenter plane.
    x_jaws_mm, y_jaws_mm : (float, float)
        Infinite where there are none.

    Raises
    ------
    ValueError
        If the segment has no MLC, or a position is not a number.
    """
    leaves = _leaves(segment, place)
    x_jaw, y_jaw = _jaw(segment.x_jaw_mm, f"{place}: x_jaw_mm"), _jaw(segment.y_jaw_mm, f"{place}: y_jaw_mm")
    return leaves[:, 2:], leaves[:, :2], (min(x_jaw), max(x_jaw)), (min(y_jaw), max(y_jaw))


def _leaves(segment: Any, place: str) -> FloatArray:
    missing = (
        "has neither beamlets nor an MLC (Xmlc_mm is empty): give it one of them, for Xmlc_mm an array of rows "
        "[y_low, y_high, x_left, x_right] in mm"
    )
    return leaf_rows(segment, place, missing)


def leaf_rows(segment: Any, place: str, missing: str) -> FloatArray:
    """Check the leaf positions of a segment, and give them as rows [y_low, y_high, x_left, x_right] in mm.

    If there are none, the error says that the segment at this place `missing`.
    """
    if segment.Xmlc_mm is None or len(segment.Xmlc_mm) == 0:
        raise ValueError(f"{place} {missing}")
    leaves = np.array(segment.Xmlc_mm, dtype=np.float64)
    if leaves.ndim != 2 or leaves.shape[1] != 4 or not np.all(np.isfinite(leaves)):
        raise ValueError(
            f"{place}: Xmlc_mm must be rows of four finite numbers [y_low, y_high, x_left, x_right] in mm, "
            f"got an array of shape {leaves.shape}"
        )
    return leaves


def _jaw(jaw: Any, what: str) -> list[float]:
    """Jaw positions; without any, the jaws are open."""
    if jaw is None or len(jaw) == 0:
        return [-np.inf, np.inf]
    if len(jaw) != 2 or np.any(np.isnan(jaw)):
        raise ValueError(f"{what} must be two positions in mm, got {list(jaw)}")
    return [float(jaw[0]), float(jaw[1])]


def ensure_beamlets(photon_plan: Any) -> None:
    """Make beamlets for the segments that have only an MLC opening.

    They are those of OpenTPS's own ``createBeamletsFromSegments``, except that a sample on the edge between two leaves,
    which OpenTPS makes twice, is made once. A segment without MU gets beamlets of 1 MU. Segments that have beamlets are
    not changed, and no segment is changed if one is invalid.

    Parameters
    ----------
    photon_plan : opentps PhotonPlan
        Changed in place.

    Raises
    ------
    TypeError, ValueError
        As `validate_photon_plan`.
    """
    validate_photon_plan(photon_plan)
    made = [
        (segment, _beamlets_from_mlc(segment, place))
        for segment, place in _segments(photon_plan)
        if not segment.beamlets
    ]
    for segment, beamlets in made:
        set_beamlets(segment, beamlets)


# ------------------------------------------------------------------------------------------------- layout and MU


def layout_from_opentps(photon_plan: Any) -> BeamletLayout:
    """Positions of a plan's beamlets in the beam's eye view.

    Parameters
    ----------
    photon_plan : opentps PhotonPlan
        Not changed. A segment without beamlets counts with those that `ensure_beamlets` would make.

    Returns
    -------
    BeamletLayout
        ``xy_mm`` (n, 2) at the isocenter plane, ``beam_index`` (n,), which numbers the segments of all beams,
        ``spacing_mm`` (n_segments, 2).

    Raises
    ------
    TypeError, ValueError
        As `validate_photon_plan`, and if a beamlet has no finite position.
    """
    validate_photon_plan(photon_plan)
    positions, index, spacing = [], [], []
    for number, (segment, place) in enumerate(_segments(photon_plan)):
        beamlets = segment.beamlets or _beamlets_from_mlc(segment, place)
        xy = beamlet_xy(beamlets)
        if not np.all(np.isfinite(xy)):
            raise ValueError(f"{place}: a beamlet has no finite position")
        positions.append(xy)
        index.append(np.full(len(beamlets), number))
        spacing.append((float(segment.xBeamletSpacing_mm), float(segment.yBeamletSpacing_mm)))
    return BeamletLayout(
        xy_mm=np.concatenate(positions), beam_index=np.concatenate(index), spacing_mm=np.array(spacing)
    )


def checked_mu(mu: ArrayLike, n_beamlets: int, name: str = "MU") -> FloatArray:
    """Return MU as an array; ValueError if there is not one for each beamlet, or one is negative or not finite."""
    values = np.asarray(mu, dtype=np.float64)
    if values.shape != (n_beamlets,):
        raise ValueError(
            f"{name} must be one number for each of the {n_beamlets} beamlets, got an array of shape {values.shape}"
        )
    wrong = np.flatnonzero(~(np.isfinite(values) & (values >= 0)))
    if wrong.size:
        raise ValueError(
            f"{name} must be finite and not negative; beamlet {wrong[0]} has {values[wrong[0]]} ({wrong.size} such "
            "beamlets)"
        )
    return values


def write_beamlet_mu(photon_plan: Any, weights_mu: ArrayLike) -> None:
    """Write MU into the beamlets of a plan.

    No beamlet is removed. The ``mu`` of a segment becomes that of its beamlets if they all have the same, else None, as
    in OpenTPS.

    Parameters
    ----------
    photon_plan : opentps PhotonPlan
        Changed in place, including `ensure_beamlets`.
    weights_mu : array_like, shape (n_beamlets,)
        MU per fraction in the order of ``photon_plan.beamlets``.

    Raises
    ------
    TypeError, ValueError
        As `validate_photon_plan`; and if there is not one MU per beamlet or one is negative or not finite. The plan
        is then unchanged.
    """
    mu = checked_mu(weights_mu, layout_from_opentps(photon_plan).n_beamlets)
    ensure_beamlets(photon_plan)
    set_beamlet_mu(photon_plan.beamlets, mu.tolist())
    for segment, _ in _segments(photon_plan):
        segment.isPure()


def remove_beamlets(photon_plan: Any, threshold_mu: float) -> BoolArray:
    """Remove beamlets whose MU do not exceed a threshold, then empty segments and beams.

    This is ``PhotonPlan.simplify`` without merging segments, which moves beamlets and changes their order.

    Parameters
    ----------
    photon_plan : opentps PhotonPlan
        Changed in place.
    threshold_mu : float
        MU per fraction.

    Returns
    -------
    ndarray of bool, shape (n_beamlets before,)
        True for beamlets that were kept.
    """
    kept = np.asarray(photon_plan.beamletMUs, dtype=np.float64) > threshold_mu
    for beam in photon_plan.beams:
        for segment in beam.beamSegments:
            segment.simplify(threshold=threshold_mu)
        set_segments(beam, [segment for segment in beam.beamSegments if len(segment) > 0])
        beam.reorderControlPointNumber()
    set_beams(photon_plan, [beam for beam in photon_plan.beams if len(beam) > 0])
    return kept


# ------------------------------------------------------------------------------------------------- grids and ROIs


def voxel_grid(image: Any) -> VoxelGrid:
    """Grid of an OpenTPS image, or the grid given.

    An image without data is a ValueError, and so is one that is rotated, which OpenTPS's dose engine ignores.
    """
    if isinstance(image, VoxelGrid):
        return image
    if image.imageArray is None:
        raise ValueError(f"the image {image.name!r} has no data")
    if np.any(np.asarray(image.angles, dtype=float) != 0):
        raise ValueError(f"the image {image.name!r} is rotated by {list(image.angles)}; resample it on unrotated axes")
    nx, ny, nz = image.imageArray.shape
    dx, dy, dz = (float(s) for s in image.spacing)
    x, y, z = (float(o) for o in image.origin)
    return VoxelGrid(shape=(nx, ny, nz), spacing_mm=(dx, dy, dz), origin_mm=(x, y, z))


def structure_from_roi(roi: Any, ct_or_grid: Any, is_target: bool = False) -> Structure:
    """Convert an OpenTPS ROI to a structure on the dose grid.

    A mask on another grid is resampled as OpenTPS's own optimizers do it. Contours are rasterized by `contour_mask`.

    Parameters
    ----------
    roi : opentps ROIMask or ROIContour
        Not changed.
    ct_or_grid : opentps Image3D or VoxelGrid
        The dose grid, or an image on it.
    is_target : bool

    Returns
    -------
    Structure
        ``mask`` of bool, shape (nx, ny, nz).

    Raises
    ------
    TypeError
        If ``roi`` is neither.
    ValueError
        If no voxel of the dose grid is inside the ROI.
    """
    grid = voxel_grid(ct_or_grid)
    mask = _mask_on_grid(roi, grid)
    if not mask.any():
        raise ValueError(
            f"the ROI {roi.name!r} is empty on the dose grid of {grid.shape} voxels of {grid.spacing_mm} mm "
            f"from {grid.origin_mm} mm"
        )
    return Structure(roi.name, mask, is_target=is_target)


def _mask_on_grid(roi: Any, grid: VoxelGrid) -> BoolArray:
    from opentps.core.data import ROIContour
    from opentps.core.data.images import ROIMask
    from opentps.core.processing.imageProcessing import resampler3D

    placement = {
        "origin": np.array(grid.origin_mm),
        "gridSize": np.array(grid.shape),
        "spacing": np.array(grid.spacing_mm),
    }
    if isinstance(roi, ROIContour):
        return contour_mask(roi, grid)
    if not isinstance(roi, ROIMask):
        raise TypeError(f"an ROI must be an OpenTPS ROIMask or ROIContour, got {type(roi).__name__}")
    if roi.imageArray is None:
        raise ValueError(f"the ROI {roi.name!r} has no mask")
    mask = roi if _same_grid(roi, grid) else resampler3D.resampleImage3D(roi, **placement)
    return np.array(mask.imageArray, dtype=bool)


def contour_mask(roi: Any, grid: VoxelGrid) -> BoolArray:
    """Voxels of which half or more lies inside the contours of a ROI.

    OpenTPS 3.0 displaces the masks it makes of contours, by (1 mm - spacing) / 2 in x and y.

    Parameters
    ----------
    roi : opentps ROIContour
    grid : VoxelGrid

    Returns
    -------
    ndarray of bool, shape (nx, ny, nz)

    Raises
    ------
    ValueError
        If there are no closed contours, or they lie on a single slice.
    """
    contours = contours_of(roi, grid.spacing_mm[2])
    if len(contours.planes) < 2:
        raise ValueError(f"the ROI {roi.name!r} has its contours on a single slice, which encloses no volume")
    mask: BoolArray = contours.share_on(grid) >= HALF_INSIDE
    return mask


def contours_of(roi: Any, slice_spacing_mm: float) -> ContourStack:
    """Contours of a ROI; those of fewer than three points are left out.

    Parameters
    ----------
    roi : opentps ROIContour
    slice_spacing_mm : float
        Of the image they were drawn on.

    Returns
    -------
    ContourStack

    Raises
    ------
    ValueError
        If none is left.
    """
    meshes = [np.asarray(mesh, dtype=np.float64).reshape(-1, 3) for mesh in roi.polygonMesh]
    planes = [(float(points[0, 2]), [points[:, :2]]) for points in meshes if len(points) >= 3]
    if not planes:
        raise ValueError(f"the ROI {roi.name!r} has no closed outline")
    return ContourStack(planes, slice_spacing_mm)


def _same_grid(image: Any, grid: VoxelGrid) -> bool:
    """Whether an image lies on a grid, to OpenTPS's own tolerance."""
    return (
        tuple(image.imageArray.shape) == tuple(grid.shape)
        and np.allclose(image.origin, grid.origin_mm, atol=_GRID_TOLERANCE_MM)
        and np.allclose(image.spacing, grid.spacing_mm, atol=_GRID_TOLERANCE_MM)
    )
