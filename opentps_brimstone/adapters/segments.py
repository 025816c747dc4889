"""MLC segments in OpenTPS plans, written so that OpenTPS reconstructs the intended fluence from them.

What OpenTPS does, and how this module handles it:

- ``createBeamletsFromSegments`` puts beamlets at half-odd multiples of the segment's beamlet spacing, wherever such a
  point lies between the leaf tips and on a leaf. So openings are sampled exactly if their edges are multiples of the
  spacing. It drops leaf pairs that are open by no more than one spacing, so openings must be two beamlets wide. The
  largest spacing that does it for all openings of a plan is written: the plan's own beamlets divided by 1, 2, …
- ``simplify``, which OpenTPS calls before each dose calculation, adds up the segments of a beam that have one gantry
  and couch angle, whatever their collimator angles, on a square as wide as the leaf bank is high, without the last row
  and column. A field outside is refused.

Both are tried on a copy after writing: every beamlet must get the intended fluence.
"""

from __future__ import annotations

import contextlib
import copy
import io
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from opentps_brimstone._typing import FloatArray, IntArray
from opentps_brimstone._util.errors import BrimstoneError
from opentps_brimstone.adapters.copies import copy_plan
from opentps_brimstone.adapters.plan import ensure_beamlets, validate_photon_plan
from opentps_brimstone.adapters.privates import (
    beamlet_mu,
    beamlet_xy,
    clear_beamlets,
    new_beamlets,
    set_beamlet_mu,
    set_beamlets,
    set_beams,
    set_segments,
)
from opentps_brimstone.adapters.versions import source_distances_mm
from opentps_brimstone.sequencing.alignment import leaf_aligned_beamlets
from opentps_brimstone.sequencing.segments import open_shares

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opentps_brimstone.sequencing.mlc import MLC
    from opentps_brimstone.sequencing.segments import Aperture, SequencedBeam

__all__ = [
    "FINEST",
    "BeamFluence",
    "SegmentError",
    "align_beamlets",
    "cells_of",
    "fluence_of_segments",
    "merged_plan",
    "split_beamlets",
    "with_machine_mu",
    "write_segments",
]


FINEST = 8
"""Parts of a beamlet at most that OpenTPS is to sample segments with."""

_ON_RASTER_MM = 1e-6
_SAME_FLUENCE = 1e-9


class SegmentError(BrimstoneError, ValueError):
    """OpenTPS would reconstruct a different fluence from the segments."""


@dataclass(frozen=True, eq=False)
class BeamFluence:
    """Fluence of a beam in the beam's eye view.

    Attributes
    ----------
    name : str
    xy_mm : ndarray, shape (n_beamlets, 2)
        Centers, sorted by y, then x, without duplicates.
    mu : ndarray, shape (n_beamlets,)
        MU per fraction, summed over the beam's segments.
    spacing_mm : (float, float)
        Beamlet size in x and y.
    """

    name: str
    xy_mm: FloatArray
    mu: FloatArray
    spacing_mm: tuple[float, float]


# ------------------------------------------------------------------------------------------------------ changed copies


def merged_plan(photon_plan: Any) -> Any:
    """Let OpenTPS make beamlets from the segments of a plan and merge them, as it does before a dose calculation.

    Gives a copy after ``createBeamletsFromSegments()`` and ``simplify()``: one segment for each gantry and couch angle
    of a beam, whose beamlets have different MU.
    """
    merged = copy_plan(photon_plan, as_new=True)
    with contextlib.redirect_stdout(io.StringIO()):
        merged.createBeamletsFromSegments()
        merged.simplify()
    return merged


def with_machine_mu(photon_plan: Any, calibration: Any) -> Any:
    """Copy a plan with machine MU instead of engine MU.

    It is for plan files only: OpenTPS's engine would take its MU for engine MU.
    """
    copied = copy_plan(photon_plan, as_new=True)
    for segment in copied.beamSegments:
        if segment.mu is not None:
            segment.mu = float(calibration.machine_mu(segment.mu))
        mu = np.array(beamlet_mu(segment.beamlets), dtype=np.float64)
        set_beamlet_mu(segment.beamlets, calibration.machine_mu(mu).tolist())
    return copied


# -------------------------------------------------------------------------------------------------- segments to fluence


def fluence_of_segments(photon_plan: Any) -> list[BeamFluence]:
    """Total fluence of the segments of each beam.

    Parameters
    ----------
    photon_plan : opentps PhotonPlan
        Not changed. Segments without beamlets count with those that OpenTPS makes from their opening.

    Returns
    -------
    list of BeamFluence
        One for each beam.

    Raises
    ------
    TypeError, ValueError
        If the plan cannot be optimized, a segment has no MU, or the segments of a beam differ in their angles or
        beamlet sizes.
    """
    own = copy_plan(photon_plan, as_new=True)
    for number, beam in enumerate(own.beams, start=1):
        for index, segment in enumerate(beam.beamSegments):
            if not segment.beamlets and segment.mu is None:
                raise ValueError(f"segment {index} of beam {number} ({beam.name!r}) has no MU")
    ensure_beamlets(own)
    return [_fluence(beam, f"beam {number} ({beam.name!r})") for number, beam in enumerate(own.beams, start=1)]


def _fluence(beam: Any, place: str) -> BeamFluence:
    kinds = {
        (
            float(s.xBeamletSpacing_mm),
            float(s.yBeamletSpacing_mm),
            float(s.gantryAngle_degree),
            float(s.couchAngle_degree),
            float(s.beamLimitingDeviceAngle_degree),
        )
        for s in beam.beamSegments
    }
    if len(kinds) > 1:
        raise ValueError(f"{place} has segments with different angles or beamlet sizes; they have no common fluence")
    beamlets = [beamlet for segment in beam.beamSegments for beamlet in segment.beamlets]
    rows = np.round(beamlet_xy(beamlets)[:, ::-1], 6)
    positions, where = np.unique(rows, axis=0, return_inverse=True)
    mu = np.zeros(len(positions))
    np.add.at(mu, where.ravel(), np.array(beamlet_mu(beamlets), dtype=np.float64))
    width, height, *_ = kinds.pop()
    return BeamFluence(beam.name, positions[:, ::-1].copy(), mu, (width, height))


# -------------------------------------------------------------------------------------------------- segments into plans


def write_segments(
    photon_plan: Any, sequenced_beams: Sequence[SequencedBeam], *, spacing_mm: tuple[float, float] | None = None
) -> tuple[float, float]:
    """Replace the beamlets of a plan by segments.

    Every aperture with MU becomes a PlanPhotonSegment with all leaf pairs in ``Xmlc_mm``, including closed ones, the
    jaws (at infinity if the machine has none), MU, control point index, and the angles and isocenter of the beam. It
    has no beamlets: OpenTPS makes them when it needs them. Beams without such apertures are dropped.

    Parameters
    ----------
    photon_plan : opentps PhotonPlan
        Changed in place; unchanged if an error is raised. Every beam has one segment.
    sequenced_beams : sequence of SequencedBeam
        One for each beam; ``beam_index`` counts from 0. MU are engine MU.
    spacing_mm : (float, float), optional
        Size in x and y of the beamlets that OpenTPS makes from the segments. Default: the largest that sample the
        segments exactly.

    Returns
    -------
    (float, float)
        Size in x and y of the beamlets that OpenTPS makes from the segments, in mm.

    Raises
    ------
    TypeError, ValueError
        If plan and beams do not match, or a beam of the plan has several segments.
    SegmentError
        If OpenTPS would reconstruct a different fluence from the segments; says where and why.
    """
    validate_photon_plan(photon_plan)
    beams = _beams_in_order(photon_plan, sequenced_beams)
    spacing = _sampling(beams, spacing_mm)
    written = copy_plan(photon_plan, as_new=True)
    for beam, sequenced in zip(written.beams, beams, strict=True):
        apertures = [aperture for aperture in sequenced.apertures if aperture.mu > 0]
        template = beam.beamSegments[0]
        beam.xBeamletSpacing_mm, beam.yBeamletSpacing_mm = spacing
        segments = [_segment(template, sequenced, aperture, i, spacing) for i, aperture in enumerate(apertures)]
        set_segments(beam, segments)
    kept = [index for index, beam in enumerate(written.beams) if len(beam) > 0]
    if not kept:
        raise ValueError("no aperture has any MU: the plan would be empty")
    set_beams(written, [written.beams[index] for index in kept])
    _check_written(written, [beams[index] for index in kept], spacing)
    set_beams(photon_plan, written.beams)
    return spacing


def _beams_in_order(photon_plan: Any, sequenced_beams: Sequence[SequencedBeam]) -> list[SequencedBeam]:
    for number, beam in enumerate(photon_plan.beams, start=1):
        if len(beam.beamSegments) != 1:
            raise ValueError(
                f"beam {number} ({beam.name!r}) has {len(beam.beamSegments)} segments; OpenTPS adds up all segments of "
                "a beam, so give each fluence map a beam of its own"
            )
    beams = sorted(sequenced_beams, key=lambda beam: beam.beam_index)
    if [beam.beam_index for beam in beams] != list(range(len(photon_plan.beams))):
        raise ValueError(
            f"the plan has {len(photon_plan.beams)} beams; the sequenced beams are for "
            f"{', '.join(str(beam.beam_index) for beam in beams) or 'none'}, counted from 0"
        )
    return beams


def _segment(
    template: Any, sequenced: SequencedBeam, aperture: Aperture, index: int, spacing: tuple[float, float]
) -> Any:
    boundaries = np.asarray(sequenced.mlc.leaf_boundaries_mm)
    segment = copy.copy(template)
    clear_beamlets(segment)
    segment.Xmlc_mm = np.column_stack([boundaries[:-1], boundaries[1:], aperture.left_mm, aperture.right_mm])
    segment.XmlcBoundaries_mm = boundaries.tolist()
    segment.x_jaw_mm, segment.y_jaw_mm = (
        [-math.inf, math.inf] if jaw is None else [float(position) for position in jaw]
        for jaw in (sequenced.jaws.x_mm, sequenced.jaws.y_mm)
    )
    segment.mu = aperture.mu
    segment.controlPointIndex = index
    segment.xBeamletSpacing_mm, segment.yBeamletSpacing_mm = spacing
    return segment


# ------------------------------------------------------------------------------------------------------------ sampling


def _sampling(beams: Sequence[SequencedBeam], asked_mm: tuple[float, float] | None) -> tuple[float, float]:
    """Largest beamlets that sample all openings of a plan exactly, or the requested size."""
    sizes = {beam.spacing_mm for beam in beams}
    if len(sizes) > 1:
        raise SegmentError(f"the beams have beamlets of different sizes, {sorted(sizes)} mm; segments need one size")
    width, height = sizes.pop()
    if asked_mm is None:
        return _spacing("x", width, beams), _spacing("y", height, beams)
    for axis, size in zip("xy", asked_mm, strict=True):
        for beam in beams:
            if reason := _misfit(axis, size, beam):
                raise SegmentError(f"OpenTPS cannot sample the segments exactly with beamlets of {size:g} mm: {reason}")
    return asked_mm


def _spacing(axis: str, beamlet_mm: float, beams: Sequence[SequencedBeam]) -> float:
    reason = ""
    for parts in range(1, FINEST + 1):
        spacing = beamlet_mm / parts
        reason = next(filter(None, (_misfit(axis, spacing, beam) for beam in beams)), "")
        if not reason:
            return spacing
    raise SegmentError(
        f"OpenTPS cannot sample the segments exactly with beamlets of {beamlet_mm:g} mm or 1/2 to 1/{FINEST} of "
        f"that in {axis}: {reason}"
    )


def _misfit(axis: str, spacing: float, beam: SequencedBeam) -> str:
    """Say why OpenTPS would not sample a beam's openings exactly; empty if it does."""
    low_end, high_end = math.inf, -math.inf
    for number, aperture in enumerate(beam.apertures):
        if aperture.mu == 0:
            continue
        opened = beam.openings(aperture)
        low, high = (opened.left, opened.right) if axis == "x" else (opened.low, opened.high)
        if not low.size:
            return f"aperture {number} of beam {beam.beam_index} is closed and has {aperture.mu:g} MU"
        edges = np.concatenate([low, high])
        off = np.abs(edges / spacing - np.round(edges / spacing)) * spacing
        if off.max() > _ON_RASTER_MM:
            return (
                f"aperture {number} of beam {beam.beam_index} has an edge at {axis} = {edges[off.argmax()]:g} mm, "
                f"which is not a multiple of {spacing:g} mm; place leaves and jaws on beamlet edges"
            )
        if axis == "x" and (high - low).min() < 1.5 * spacing:
            return (
                f"aperture {number} of beam {beam.beam_index} has a leaf pair open by {(high - low).min():g} mm; "
                f"OpenTPS drops pairs open by no more than {spacing:g} mm"
            )
        low_end, high_end = min(low_end, low.min()), max(high_end, high.max())
    return _outside_square(axis, spacing, beam, low_end, high_end) if low_end < high_end else ""


def _outside_square(axis: str, spacing: float, beam: SequencedBeam, low: float, high: float) -> str:
    """Say why ``beamletMatrixRepresentation`` would misplace beamlets between two edges; empty if it does not."""
    boundaries = beam.mlc.leaf_boundaries_mm
    count = math.ceil((abs(boundaries[0]) + abs(boundaries[-1])) / spacing)
    middle = round(count / 2)
    wanted = np.arange(round(low / spacing) + 1, round(high / spacing) + 1) + middle
    # In OpenTPS's own arithmetic, whose rounding decides.
    placed = np.floor(((wanted - middle) * spacing - spacing / 2 + spacing / 2) / spacing + middle)
    if wanted[0] < 0 or wanted[-1] >= count:
        return (
            f"the openings of beam {beam.beam_index} reach from {low:g} to {high:g} mm in {axis}; OpenTPS adds up "
            f"segments from {(-middle - 1) * spacing:g} to {(count - 1 - middle) * spacing:g} mm, the height of the "
            f"leaf bank of {beam.mlc.name}; use narrower fields, or an MLC.matched with a larger field_mm"
        )
    if (placed != wanted).any():
        return f"OpenTPS misplaces beamlets of {spacing:g} mm by rounding when it adds up segments; choose another size"
    return ""


def _check_written(written: Any, beams: Sequence[SequencedBeam], spacing: tuple[float, float]) -> None:
    """Compare the beamlets that OpenTPS makes from the segments with the intended fluence."""
    merged = [_fluence(beam, f"beam {number} ({beam.name!r})") for number, beam in enumerate(merged_plan(written), 1)]
    if len(merged) != len(beams):
        raise SegmentError(f"OpenTPS makes beamlets for {len(merged)} of {len(beams)} beams with open segments")
    for fluence, sequenced in zip(merged, beams, strict=True):
        cells, meant = _meant(sequenced, spacing)
        read = np.zeros_like(meant)
        number_of = {cell: number for number, cell in enumerate(map(tuple, cells.tolist()))}
        places = np.round(fluence.xy_mm / spacing + 0.5).astype(int)
        for place, mu in zip(map(tuple, places.tolist()), fluence.mu, strict=True):
            if place not in number_of:
                raise SegmentError(
                    f"OpenTPS puts a beamlet of {mu:g} MU of beam {fluence.name!r} at {_position(place, spacing)} mm, "
                    "where the leaves are closed"
                )
            read[number_of[place]] += mu
        off = np.abs(read - meant)
        if off.max() > _SAME_FLUENCE * meant.max():
            worst = int(off.argmax())
            raise SegmentError(
                f"OpenTPS gives the beamlet at {_position(cells[worst], spacing)} mm of beam {fluence.name!r} "
                f"{read[worst]:g} MU instead of {meant[worst]:g} when it makes beamlets of the segments"
            )


def split_beamlets(photon_plan: Any, sequenced_beams: Sequence[SequencedBeam], spacing_mm: tuple[float, float]) -> Any:
    """Split the beamlets of a plan into those that OpenTPS makes from the segments.

    Parameters
    ----------
    photon_plan : opentps PhotonPlan
        Not changed. Every beam has one segment, with beamlets.
    sequenced_beams : sequence of SequencedBeam
        One for each beam. Areas that they open beyond the plan's beamlets, under wider leaves, are included.
    spacing_mm : (float, float)
        Size in x and y, as returned by `write_segments`.

    Returns
    -------
    opentps PhotonPlan
        A copy with beamlets of 1 MU, in each beam sorted by y, then x.
    """
    split = copy_plan(photon_plan, as_new=True)
    for beam, sequenced in zip(split.beams, _beams_in_order(photon_plan, sequenced_beams), strict=True):
        segment = beam.beamSegments[0]
        sizes = np.array([segment.xBeamletSpacing_mm, segment.yBeamletSpacing_mm], dtype=np.float64)
        parts = np.stack(np.meshgrid(*(np.arange(round(n)) for n in sizes / spacing_mm), indexing="ij"), axis=-1)
        corners = beamlet_xy(segment.beamlets) - sizes / 2
        first = np.round(corners / spacing_mm).astype(np.int64) + 1
        cells = (first[:, None, :] + parts.reshape(-1, 2)).reshape(-1, 2)
        if any(aperture.mu > 0 for aperture in sequenced.apertures):
            cells = np.concatenate([cells, _meant(sequenced, spacing_mm)[0]])
        rows = np.unique(cells[:, ::-1], axis=0)
        centers = (rows[:, ::-1] - 0.5) * spacing_mm
        set_beamlets(segment, new_beamlets(centers))
        for owner in (beam, segment):
            owner.xBeamletSpacing_mm, owner.yBeamletSpacing_mm = spacing_mm
    return split


def _position(cell: Any, spacing: tuple[float, float]) -> str:
    return f"({(cell[0] - 0.5) * spacing[0]:g}, {(cell[1] - 0.5) * spacing[1]:g})"


def cells_of(beam: SequencedBeam, spacing_mm: tuple[float, float]) -> tuple[FloatArray, FloatArray]:
    """Find the beamlets that OpenTPS makes of a beam's segments.

    Parameters
    ----------
    beam : SequencedBeam
        With some MU.
    spacing_mm : (float, float)
        Size in x and y, as returned by `write_segments`.

    Returns
    -------
    xy_mm : ndarray, shape (n, 2)
    mu : ndarray, shape (n,)
    """
    cells, mu = _meant(beam, spacing_mm)
    xy: FloatArray = (cells - 0.5) * np.array(spacing_mm)
    return xy, mu


def _meant(beam: SequencedBeam, spacing: tuple[float, float]) -> tuple[IntArray, FloatArray]:
    """Find the indices of the cells that a beam opens, and their MU; cell k is centered at (k - 1/2) spacings."""
    opened = [beam.openings(aperture) for aperture in beam.apertures if aperture.mu > 0]
    ends = [
        (min(low.min() for low in lows), max(high.max() for high in highs))
        for lows, highs in (
            ([o.left for o in opened], [o.right for o in opened]),
            ([o.low for o in opened], [o.high for o in opened]),
        )
    ]
    x, y = (
        np.arange(round(low / step) + 1, round(high / step) + 1)
        for (low, high), step in zip(ends, spacing, strict=True)
    )
    cells = np.stack(np.meshgrid(x, y, indexing="ij"), axis=-1).reshape(-1, 2)
    mu = np.zeros(len(cells))
    for aperture in beam.apertures:
        mu += aperture.mu * open_shares(aperture, beam.mlc, beam.jaws, (cells - 0.5) * spacing, spacing)
    return cells[mu > 0], mu[mu > 0]


# ----------------------------------------------------------------------------------------------- beamlets on the leaves


def align_beamlets(
    photon_plan: Any,
    mlc: MLC,
    *,
    target: Any = None,
    margin_mm: float | None = None,
    collimator_angle: float | None = None,
) -> Any:
    """Replace the beamlets of a plan by ones whose rows lie on the leaves of an MLC.

    ``PhotonPlanDesign.buildPlan()`` puts beamlets on multiples of the spacing, where rows straddle two leaves. Here the
    rows begin and end on leaf boundaries, and columns keep their positions (`leaf_aligned_beamlets`). Each row covers
    the projection of the target, grown by the margin.

    Parameters
    ----------
    photon_plan : opentps PhotonPlan
        Not changed. Of its beams the angles, isocenter and beamlet spacings are used.
    mlc : MLC
    target : opentps ROIMask, optional
        Default: the target of the plan design.
    margin_mm : float, optional
        Default: that of the plan design.
    collimator_angle : float, optional
        IEC angle in degrees for all beams. Default: the angles that the beams have.

    Returns
    -------
    opentps PhotonPlan
        A copy with new beamlets of 1 MU.

    Raises
    ------
    ValueError
        If there is no target, or over its projection no rows of the beamlets' height lie on the leaves.
    """
    design = photon_plan.planDesign
    target = target if target is not None else getattr(design, "targetMask", None)
    if target is None:
        raise ValueError("the plan design has no target; give the target that the beamlets are to cover")
    margin = float(design.targetMargin if margin_mm is None and design is not None else margin_mm or 0.0)
    points = _target_points(target, margin, photon_plan)
    aligned = copy_plan(photon_plan, as_new=True)
    for beam, sad_mm in zip(aligned.beams, source_distances_mm(aligned), strict=True):
        segment = beam.beamSegments[0] if beam.beamSegments else beam.createBeamSegment()
        if collimator_angle is not None:
            segment.beamLimitingDeviceAngle_degree = float(collimator_angle)
        seen = _projection(points, segment, np.asarray(beam.isocenterPosition_mm, dtype=float), sad_mm)
        _place(segment, seen, mlc, beam.name)
        set_segments(beam, [segment])
    return aligned


def _target_points(target: Any, margin_mm: float, photon_plan: Any) -> FloatArray:
    """Points of the target with its margin in mm, denser than beamlets and voxels."""
    from opentps.core.data.images import ROIMask

    grown = ROIMask.fromImage3D(target, patient=None)
    if margin_mm > 0:
        grown.dilateMask(radius=margin_mm)
    voxels = np.argwhere(grown.imageArray)
    if not len(voxels):
        raise ValueError(f"the target {target.name!r} is empty")
    spacing = np.asarray(grown.spacing, dtype=float)
    finest = min(min(beam.xBeamletSpacing_mm, beam.yBeamletSpacing_mm) for beam in photon_plan.beams)
    counts = np.ceil(2 * spacing / finest).astype(int)
    within = np.stack(
        np.meshgrid(*((np.arange(count) + 0.5) / count - 0.5 for count in counts), indexing="ij"), axis=-1
    ).reshape(-1, 3)
    points: FloatArray = ((voxels[:, None, :] + within) * spacing + np.asarray(grown.origin)).reshape(-1, 3)
    return points


def _projection(points: FloatArray, segment: Any, isocenter: FloatArray, sad_mm: float) -> FloatArray:
    """Project points from the source onto the isocenter plane, in the beam's eye view."""
    from opentps.core.io.CCCdoseEngineIO import getRotatedVersors

    angles = (segment.gantryAngle_degree, segment.couchAngle_degree, segment.beamLimitingDeviceAngle_degree)
    # The engine's first axis is the image's second one.
    across, along, depth = (np.array(axis)[[1, 0, 2]] for axis in getRotatedVersors(*angles))
    centered = points - isocenter
    scale = sad_mm / (sad_mm + centered @ depth)
    return np.column_stack([centered @ across * scale, centered @ along * scale])


def _place(segment: Any, seen: FloatArray, mlc: MLC, name: str) -> None:
    width, height = float(segment.xBeamletSpacing_mm), float(segment.yBeamletSpacing_mm)
    try:
        centers, _ = leaf_aligned_beamlets(mlc, seen, width, row_height_mm=height)
    except ValueError as error:
        raise ValueError(
            f"beam {name!r} sees the target from y = {seen[:, 1].min():.1f} to {seen[:, 1].max():.1f} mm, and no rows "
            f"of {height:g} mm lie on the leaves of {mlc.name} there: {error}"
        ) from None
    set_beamlets(segment, new_beamlets(centers))
