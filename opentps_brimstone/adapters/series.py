"""Conversion of series and plans to OpenTPS's data classes, and back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from opentps_brimstone._typing import FloatArray
from opentps_brimstone.adapters.angles import iec_from_opentps, opentps_from_iec
from opentps_brimstone.adapters.copies import copy_plan
from opentps_brimstone.adapters.images import ct_image, roi_mask
from opentps_brimstone.adapters.phantom import OpenTPSCase
from opentps_brimstone.adapters.plan import (
    contours_of,
    ensure_beamlets,
    structure_from_roi,
    voxel_grid,
    write_beamlet_mu,
)
from opentps_brimstone.adapters.privates import beamlet_mu, set_number_of_fractions
from opentps_brimstone.adapters.versions import set_source_distance
from opentps_brimstone.model.beam import SAD_MM, Beam
from opentps_brimstone.model.series import Series
from opentps_brimstone.model.structure import Structure, StructureSet

if TYPE_CHECKING:
    from opentps_brimstone.model.influence import VoxelGrid
    from opentps_brimstone.model.plan import Plan

__all__ = [
    "attach_opentps_plan",
    "plan_to_opentps",
    "rois_to_opentps",
    "series_from_opentps",
    "series_to_opentps",
]


# ------------------------------------------------------------------------------------------------- series


def series_to_opentps(series: Series) -> Any:
    """Convert the CT of a series.

    Parameters
    ----------
    series : Series

    Returns
    -------
    opentps CTImage
        With a copy of the HU.
    """
    return ct_image(series.ct_hu, series.grid, series.name, series.dicom)


def rois_to_opentps(structures: Iterable[Structure], grid: VoxelGrid) -> list[Any]:
    """Convert structures to ROIs.

    Parameters
    ----------
    structures : iterable of Structure
    grid : VoxelGrid
        Of the masks of structures without outlines.

    Returns
    -------
    list of opentps ROIContour or ROIMask
        Contours if the structure has outlines, else a mask of the voxels of which half or more belongs to it.

    Raises
    ------
    ValueError
        If a structure without outlines fills no voxel to half.
    """
    return [_roi(structure, grid) for structure in structures]


def _roi(structure: Structure, grid: VoxelGrid) -> Any:
    contours = structure._origin.contours
    if contours is None:
        return roi_mask(structure.on_grid(grid), grid)
    from opentps.core.data import ROIContour

    roi = ROIContour(name=structure.name)
    for z, outlines in contours.planes:
        for outline in outlines:
            roi.polygonMesh.append(np.column_stack([outline, np.full(len(outline), z)]).ravel().tolist())
    return roi


def series_from_opentps(ct: Any, rois: Iterable[Any], targets: Iterable[str] = ()) -> Series:
    """Make a series from an OpenTPS CT and ROIs.

    Parameters
    ----------
    ct : opentps CTImage
        In HU; not changed.
    rois : iterable of opentps ROIMask or ROIContour
        Not changed. Contours stay outlines.
    targets : iterable of str
        Names of the targets.

    Returns
    -------
    Series

    Raises
    ------
    TypeError, ValueError
        If a ROI is neither, has no outline, or is empty on the grid of the CT; names it.
    """
    grid = voxel_grid(ct)
    named = set(targets)
    structures = [_structure(roi, grid, roi.name in named) for roi in rois]
    series = Series(ct.imageArray, grid.spacing_mm, grid.origin_mm, structures, name=ct.name)
    for key, attribute in (("FrameOfReferenceUID", "frameOfReferenceUID"), ("SeriesInstanceUID", "seriesInstanceUID")):
        value = getattr(ct, attribute, None)
        if value:
            series.dicom[key] = str(value)
    return series


def _structure(roi: Any, grid: VoxelGrid, is_target: bool) -> Structure:
    from opentps.core.data import ROIContour

    if not isinstance(roi, ROIContour):
        return structure_from_roi(roi, grid, is_target)
    return Structure.from_contours(roi.name, contours_of(roi, grid.spacing_mm[2]), grid, is_target)


# ------------------------------------------------------------------------------------------------- plans


def ct_on_dose_grid(plan: Plan) -> Any:
    """CT of a plan's series, resampled on its dose grid.

    Parameters
    ----------
    plan : Plan
        With a series.

    Returns
    -------
    opentps CTImage
        A new image in the frame of reference of the series.
    """
    assert plan.series is not None
    assert plan.ct_hu is not None
    frame = {key: uid for key, uid in plan.series.dicom.items() if key == "FrameOfReferenceUID"}
    return ct_image(plan.ct_hu, plan.grid, plan.series.name, frame)


def new_photon_plan(
    plan: Plan,
    beamlets_mm: Sequence[FloatArray],
    spacing_mm: Sequence[tuple[float, float]],
    weights: FloatArray | None = None,
) -> Any:
    """Make an OpenTPS plan from the beams of a plan.

    Parameters
    ----------
    plan : Plan
    beamlets_mm : sequence of ndarray, shape (n, 2)
        Beamlet centers of each beam in the beam's eye view.
    spacing_mm : sequence of (float, float)
        Beamlet size of each beam.
    weights : ndarray, shape (n_beamlets,), optional
        MU per fraction. Default: 1.

    Returns
    -------
    opentps PhotonPlan
        With an empty plan design. Angles are as a patient lying head first supine sees them, which OpenTPS takes all to
        be; the attribute ``patientPosition`` says how the patient really lies.
    """
    from opentps.core.data.plan import PhotonPlan, PhotonPlanDesign

    photon_plan = PhotonPlan(name="Brimstone plan")
    photon_plan.patientPosition = plan.patient_position
    for number, (beam, xy, spacing) in enumerate(zip(plan.beams, beamlets_mm, spacing_mm, strict=True), start=1):
        photon_plan.appendBeam(_photon_beam(beam, number, xy, spacing))
    set_source_distance(photon_plan, SAD_MM)
    set_number_of_fractions(photon_plan, plan.number_of_fractions)
    photon_plan.planDesign = PhotonPlanDesign()
    if weights is not None:
        write_beamlet_mu(photon_plan, weights)
    return photon_plan


def _photon_beam(beam: Beam, number: int, xy_mm: FloatArray, spacing: tuple[float, float]) -> Any:
    from opentps.core.data.plan import PlanPhotonBeam

    angles = opentps_from_iec(*beam.supine_angles)
    made = PlanPhotonBeam()
    made.id, made.name = number, beam.name
    made.isocenterPosition_mm = beam.isocenter.tolist()
    made.gantryAngle_degree, made.couchAngle_degree = angles.gantry, angles.couch
    made.xBeamletSpacing_mm, made.yBeamletSpacing_mm = spacing
    segment = made.createBeamSegment()
    segment.beamLimitingDeviceAngle_degree = angles.collimator
    for x, y in xy_mm.tolist():
        segment.appendBeamlet(x, y, 1.0)
    return made


def plan_to_opentps(plan: Plan) -> OpenTPSCase:
    """Convert a plan to OpenTPS's data classes.

    Parameters
    ----------
    plan : Plan

    Returns
    -------
    OpenTPSCase
        CT on the dose grid, ROIs by name, and the photon plan with the plan's MU.

    Raises
    ------
    ValueError
        If the plan has no series, so that its CT is not known, or no beams.
    """
    if plan.series is None:
        raise ValueError(
            "the plan was made from a matrix: without a CT and beam angles it cannot be converted to an OpenTPS plan"
        )
    if not plan.beams:
        raise ValueError("the plan has no beams: add some with add_beam")
    weights = plan.beamlet_weights
    if plan.source is not None:
        photon_plan = copy_plan(plan.source)
        if weights is not None:
            write_beamlet_mu(photon_plan, weights)
    else:
        beamlets = [beam.beamlet_xy_mm for beam in plan.beams]
        photon_plan = new_photon_plan(plan, beamlets, [beam.beamlet_spacing_mm for beam in plan.beams], weights)
    ct = ct_on_dose_grid(plan)
    rois = {name: _roi(structure, plan.grid) for name, structure in plan.structures.items()}
    if plan.source is None:
        photon_plan.planDesign.ct = ct
    return OpenTPSCase(ct, rois, photon_plan)


def attach_opentps_plan(plan: Plan, photon_plan: Any, ct: Any) -> None:
    """Give a plan the CT, angles, isocenters and MU of the OpenTPS plan it was made from.

    Parameters
    ----------
    plan : Plan
        Changed in place.
    photon_plan : opentps PhotonPlan
        Copied.
    ct : opentps CTImage
        On the dose grid.
    """
    own = copy_plan(photon_plan)
    series = series_from_opentps(ct, [])
    series.structures = StructureSet(plan.structures.values())
    filled = copy_plan(own)
    ensure_beamlets(filled)
    plan.came_from(own, series, _described(filled))
    mu = np.array(beamlet_mu(filled.beamlets), dtype=np.float64)
    if np.all(np.isfinite(mu) & (mu >= 0)):
        plan.beamlet_weights = mu


def _described(photon_plan: Any) -> Iterator[dict[str, Any]]:
    """Directions of the segments of a plan; each segment is a beam of our plan."""
    for beam in photon_plan.beams:
        for index, segment in enumerate(beam.beamSegments):
            angles = iec_from_opentps(
                segment.gantryAngle_degree, segment.couchAngle_degree, segment.beamLimitingDeviceAngle_degree
            )
            yield {
                "gantry_angle": angles.gantry,
                "couch_angle": angles.couch,
                "collimator_angle": angles.collimator,
                "isocenter": np.array(beam.isocenterPosition_mm, dtype=np.float64),
                "name": (beam.name if len(beam) == 1 else f"{beam.name} segment {index}") or None,
            }
