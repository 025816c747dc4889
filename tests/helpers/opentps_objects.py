"""Small OpenTPS plans and images for the tests of the adapters, with pencil beams computed by a formula."""

from __future__ import annotations

import importlib
import math

import numpy as np
import pytest
import scipy.sparse as sp
from dicom_folder import cylinder
from opentps.core.data import ROIContour, SparseBeamlets
from opentps.core.data.images import CTImage, ROIMask
from opentps.core.data.plan import PhotonPlan, PhotonPlanDesign, PlanPhotonBeam
from opentps.core.io.CCCdoseEngineIO import getRotatedVersors

try:
    dosimetric = importlib.import_module("opentps.core.processing.planOptimization.objectives.dosimetricObjectives")
except ImportError:  # OpenTPS 2
    from opentps.core.data.plan import FidObjective

    dosimetric = None

OPENTPS_3 = dosimetric is not None
needs_opentps_2 = pytest.mark.skipif(OPENTPS_3, reason="about OpenTPS 2")
needs_opentps_3 = pytest.mark.skipif(not OPENTPS_3, reason="about OpenTPS 3")

WATER = 0.0
AIR = -1024.0


def make_ct(shape=(18, 16, 14), spacing=(4.0, 4.0, 4.0), origin=(0.0, 0.0, 0.0)):
    """A box of water with a margin of air."""
    hu = np.full(shape, AIR)
    hu[1:-1, 1:-1, 1:-1] = WATER
    return CTImage(imageArray=hu, name="CT", origin=origin, spacing=spacing)


def uneven_ct():
    """Voxels that are no cubes, away from the origin."""
    return make_ct(shape=(16, 18, 14), spacing=(5.0, 4.0, 5.0), origin=(-30.0, 10.0, 5.0))


def center(ct):
    return (np.asarray(ct.origin) + (np.asarray(ct.gridSize) - 1) / 2 * np.asarray(ct.spacing)).tolist()


def make_roi(ct, low, high, name):
    """A box of voxels from index low to below index high."""
    mask = np.zeros(ct.imageArray.shape, dtype=bool)
    mask[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] = True
    return ROIMask(imageArray=mask, name=name, origin=ct.origin, spacing=ct.spacing)


def middle_box(ct, name="PTV"):
    """A target in the middle of `uneven_ct`."""
    return make_roi(ct, (6, 7, 5), (10, 11, 9), name)


def add_beam(plan, isocenter, gantry=0.0, couch=0.0, spacing=(5.0, 5.0), name="beam"):
    beam = PlanPhotonBeam()
    beam.name = name
    beam.isocenterPosition_mm = list(isocenter)
    beam.gantryAngle_degree = gantry
    beam.couchAngle_degree = couch
    beam.xBeamletSpacing_mm, beam.yBeamletSpacing_mm = spacing
    plan.appendBeam(beam)
    return beam


def add_segment(beam, xy=(), mu=1.0, collimator=0.0, gantry=None):
    """A segment with beamlets at the given positions."""
    segment = beam.createBeamSegment()
    segment.beamLimitingDeviceAngle_degree = collimator
    if gantry is not None:
        segment.gantryAngle_degree = gantry
    for x, y in xy:
        segment.appendBeamlet(x, y, mu)
    return segment


def square(half_width, spacing=5.0):
    """Beamlet positions of a square field."""
    along = np.arange(-half_width + spacing / 2, half_width, spacing)
    return [(x, y) for y in along for x in along]


def open_mlc(segment, half_width=15.0, leaves=10):
    """The opening of section 6 of the description of photon plans: 36 beamlets of 5 mm."""
    edges = np.linspace(-half_width, half_width, leaves + 1)
    sides = np.full(leaves, half_width)
    segment.x_jaw_mm = [-half_width, half_width]
    segment.y_jaw_mm = [-half_width, half_width]
    segment.Xmlc_mm = np.column_stack([edges[:-1], edges[1:], -sides, sides])


def section_six_plan(isocenter):
    """The 3x3 cm open field of the description of photon plans, which has no planDesign."""
    plan = PhotonPlan(name="3x3 open AP", patient=None)
    plan.numberOfFractionsPlanned = 1
    plan.scanMode = "MODULATED"
    plan.radiationType = "Photon"
    beam = add_beam(plan, isocenter, name="AP")
    beam.id = 1
    beam.SAD_mm = 1000.0
    segment = beam.createBeamSegment()
    open_mlc(segment)
    segment.mu = 100.0
    return plan


def mixed_plan(isocenter, couch=20.0, collimator=35.0):
    """Beams with one and with several segments, irregular outlines, single beamlets, turned couch and collimator."""
    plan = PhotonPlan(name="mixed")
    first = add_beam(plan, isocenter, name="first")
    add_segment(first, square(15))
    second = add_beam(plan, isocenter, gantry=90.0, couch=couch, spacing=(5.0, 4.0), name="second")
    add_segment(second, [(0, 0), (5, 0), (5, 4), (-10, 8)], collimator=collimator)
    add_segment(second, [(2.5, 2)], mu=2.0)
    third = add_beam(plan, isocenter, gantry=200.0, name="third")
    add_segment(third, [(x, 0) for x in np.arange(-15, 16, 5)], collimator=90.0)
    return plan


def with_design(plan, ct, target, prescription=None):
    plan.planDesign = PhotonPlanDesign()
    plan.planDesign.ct = ct
    plan.planDesign.targetMask = target
    if prescription is not None:
        plan.planDesign.objectives.setTarget(target.name, target, prescription)
    return plan


def pencil_beams(plan, ct):
    """Gaussian pencils along the beam axes that OpenTPS gives its engine, in OpenTPS's order of rows."""
    axes = [np.asarray(o) + np.arange(n) * s for o, n, s in zip(ct.origin, ct.gridSize, ct.spacing, strict=True)]
    position = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1) - plan.beams[0].isocenterPosition_mm
    columns = []
    for segment in plan.beamSegments:
        angles = (segment.gantryAngle_degree, segment.couchAngle_degree, segment.beamLimitingDeviceAngle_degree)
        # The engine's first axis is the image's second one.
        across, along, depth = (position @ np.array(v)[[1, 0, 2]] for v in getRotatedVersors(*angles))
        for beamlet in segment.beamlets:
            offset = (across - beamlet._x) ** 2 + (along - beamlet._y) ** 2
            dose = 0.01 * np.exp(-offset / 50 - depth / 200)
            dose[dose < 1e-5] = 0
            columns.append(sp.csc_matrix(np.flip(dose, (0, 1)).ravel(order="F")[:, None], dtype=np.float32))
    beamlets = SparseBeamlets()
    beamlets.setUnitaryBeamlets(sp.hstack(columns, format="csc"))
    beamlets.setSpatialReferencingFromImage(ct)
    beamlets.doseGridSize = ct.gridSize
    return beamlets


# ------------------------------------------------------------------------------------------------------- objectives


def make_objective(roi, metric, limit=20.0, weight=1.0, *, volume=None, eud_a=None, robust=False):
    """An objective on dose as the installed OpenTPS declares it; metrics by OpenTPS 2's names, volume as a share.

    OpenTPS 3's constructors refuse some impossible numbers, so that these are set afterwards.
    """
    if dosimetric is None:
        made = FidObjective(roi=roi, metric=FidObjective.Metrics(metric))
        made.volume, made.EUDa = volume, eud_a
    else:
        options = (
            {"volume": volume} if metric.startswith("DVH") else {"EUDa": eud_a} if metric.startswith("EUD") else {}
        )
        made = getattr(dosimetric, "DMaxMean" if metric == "DMean" else metric)(roi, 1.0, **options)
    made.limitValue, made.weight, made.robust = limit, weight, robust
    return made


def make_fall_off(target, roi, high, low, distance_mm, weight=1.0):
    if dosimetric is not None:
        return dosimetric.DFallOff(target, roi, high, low, distance_mm, weight=weight)
    made = FidObjective(roi, FidObjective.Metrics.DFALLOFF, weight=weight)
    made.targetMask, made.fallOffDistance = target, distance_mm
    made.fallOffHighDoseLevel, made.fallOffLowDoseLevel = high, low
    return made


def add_objectives(listed, *objectives):
    for objective in objectives:
        (listed.append if dosimetric is None else listed.addObjective)(objective)
    return listed


def add_objective(listed, *arguments, **options):
    return add_objectives(listed, make_objective(*arguments, **options))


# ------------------------------------------------------------------------------------------------------- contours


def contours_of_cylinder(radius=20.0, name="PTV"):
    roi = ROIContour(name=name)
    for z, outline in cylinder(radius, np.arange(-20.0, 21.0, 2.5)):
        roi.polygonMesh.append(np.column_stack([outline, np.full(len(outline), z)]).ravel().tolist())
    return roi


def placement(spacing, half_width=40.0):
    """Of a grid about the origin."""
    n = math.ceil(half_width / spacing)
    return {
        "origin": np.full(3, -n * spacing),
        "gridSize": np.full(3, 2 * n + 1),
        "spacing": np.full(3, spacing),
    }
