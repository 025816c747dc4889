"""Beamlets made by formula, of any number, with the footprint of real ones.

Nine beams every 40 degrees on a long cylinder of water with an elliptic section; voxels of 3 mm, beamlets of 5 mm on a
cylindrical target around the isocenter axis. A beamlet's dose is a tube through the whole body that diverges from a
source 1 m away in the transverse plane and is cut off 14 mm from its axis: a penumbra of error functions and a little
scatter, times exponential attenuation, build-up and the inverse square law. From row to row of beamlets the source
moves along with them. Voxels, beamlets and footprint keep their size; what grows is the target: in width and length up
to 13 by 13 beamlets a beam, then in length alone, so that large cases have equally many beamlets for each voxel.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from scipy.special import erf

import opentps_brimstone as pb
from opentps_brimstone.model.influence import BeamletLayout, DoseInfluence, VoxelGrid
from opentps_brimstone.phantoms.c_shape import C_SHAPE

VOXEL_MM = 3.0
BEAMLET_MM = 5.0
CUT_OFF_MM = 14.0
HALF_AXES_MM = (150.0, 110.0)  # of the body's section
SOURCE_MM = 1000.0  # from the axis
ANGLES_DEG = tuple(40.0 * i for i in range(9))
MOST_COLUMNS = 13  # beamlets across the target: about 60 then reach each voxel of the body
PENUMBRA_MM = 3.5  # standard deviation
ATTENUATION_PER_MM = 0.005
BUILD_UP_MM = 6.0
SCATTER = 0.03  # share of a wide exponential in the lateral profile
SCATTER_MM = 12.0
GY_PER_MU = 0.005

# Rows of beamlets lie on the voxels in the same way again after this many.
_PERIOD = 3
_ROWS_APART = 5  # voxels, in one period


@dataclass(frozen=True)
class _Tube:
    """The dose of one beamlet: voxels of a row of beamlets at z = 0 shifted by less than a period, and its values."""

    index: np.ndarray
    value: np.ndarray


def synthetic_influence(nonzeros: float) -> DoseInfluence:
    """Dose influence of about so many nonzeros.

    Parameters
    ----------
    nonzeros : float
        Wanted number, from 1e5; what comes is the nearest that whole rows of beamlets make.

    Returns
    -------
    DoseInfluence
        Gy per MU as a float32 csc_matrix, filled in place: no second copy exists at any time.
    """
    columns, rows = _beamlets_per_beam(nonzeros)
    grid = _grid(rows)
    tubes = [
        [_tube(grid, angle, column, phase) for phase in range(_PERIOD)]
        for angle in ANGLES_DEG
        for column in _positions(columns)
    ]
    counts = np.array([[tubes_of_line[row % _PERIOD].index.size for row in range(rows)] for tubes_of_line in tubes])
    start = np.concatenate([[0], np.cumsum(counts.ravel(), dtype=np.int64)])
    index, value = np.empty(start[-1], np.int32), np.empty(start[-1], np.float32)
    beamlet = 0
    for tubes_of_line in tubes:
        for row in range(rows):
            tube = tubes_of_line[row % _PERIOD]
            here = slice(start[beamlet], start[beamlet + 1])
            np.add(tube.index, row // _PERIOD * _ROWS_APART, out=index[here])
            value[here] = tube.value
            beamlet += 1
    # SciPy keeps the arrays as they are where all indices are of one type.
    if start[-1] < np.iinfo(np.int32).max:
        start = start.astype(np.int32)
    matrix = sp.csc_matrix((value, index, start), shape=(grid.n_voxels, beamlet), copy=False)
    matrix.has_canonical_format = True
    return DoseInfluence(matrix, grid, _layout(columns, rows))


def synthetic_plan(nonzeros: float) -> tuple[pb.Plan, list[tuple[str, pb.ObjectiveTerm]]]:
    """Plan on synthetic beamlets, asked for what the C-shape is asked for.

    Parameters
    ----------
    nonzeros : float
        As for `synthetic_influence`.

    Returns
    -------
    plan : Plan
        With a target "PTV", an organ "Core" beside it and the rest of the body, "Body".
    objectives : list of (str, ObjectiveTerm)
        Three histograms and a highest dose.
    """
    influence = synthetic_influence(nonzeros)
    columns, rows = _beamlets_per_beam(nonzeros)
    x, y, z = _centers(influence.grid)
    from_axis = np.hypot(x[:, None], y)[..., None]
    inside = np.broadcast_to(_in_body(x[:, None], y)[..., None], influence.grid.shape)
    radius = max(VOXEL_MM, (columns - 1) / 2 * BEAMLET_MM)
    in_length = np.abs(z) <= max(VOXEL_MM, rows / 2 * BEAMLET_MM)
    target = (from_axis <= radius) & in_length
    core = (np.hypot(x[:, None] - radius - 20.0, y)[..., None] <= 12.0) & in_length
    core &= ~target
    structures = [
        pb.Structure("PTV", target.astype(np.float32), is_target=True),
        pb.Structure("Core", core.astype(np.float32)),
        pb.Structure("Body", (inside & ~target & ~core).astype(np.float32)),
    ]
    plan = pb.Plan.from_influence(influence, structures, number_of_fractions=C_SHAPE.number_of_fractions)
    return plan, c_shape_terms()


def c_shape_terms() -> list[tuple[str, pb.ObjectiveTerm]]:
    """What the C-shape's prescription asks of "PTV", "Core" and "Body"."""
    return [
        ("PTV", pb.KLDivergenceTerm(dose_range=C_SHAPE.target_range_gy, weight=C_SHAPE.target_weight)),
        ("Core", pb.KLDivergenceTerm(dose_range=C_SHAPE.core_range_gy, weight=C_SHAPE.core_weight)),
        ("Body", pb.KLDivergenceTerm(dvh=C_SHAPE.body_dvh, weight=C_SHAPE.body_weight)),
        ("Body", pb.MaximumDoseTerm(C_SHAPE.body_limit_gy)),
    ]


def _beamlets_per_beam(nonzeros: float) -> tuple[int, int]:
    """Columns across the target and rows along it."""
    if not nonzeros >= 1e5:
        raise ValueError(f"a synthetic case needs at least 1e5 nonzeros, not {nonzeros:g}")
    mean_chord = math.pi / 2 * math.sqrt(HALF_AXES_MM[0] * HALF_AXES_MM[1]) * 1.2  # near the axis
    per_beamlet = math.pi * CUT_OFF_MM**2 * mean_chord / VOXEL_MM**3
    beamlets = nonzeros / per_beamlet / len(ANGLES_DEG)
    columns = min(MOST_COLUMNS, max(1, round(math.sqrt(beamlets))))
    return columns, max(1, round(beamlets / columns))


def _grid(rows: int) -> VoxelGrid:
    """Grid that holds the body's section and the rows' tubes along z."""
    half = [math.ceil(axis / VOXEL_MM) for axis in HALF_AXES_MM]
    margin = math.ceil(CUT_OFF_MM / VOXEL_MM)
    along = math.ceil((rows - 1) * BEAMLET_MM / VOXEL_MM) + 2 * margin + 1
    origin = (-half[0] * VOXEL_MM, -half[1] * VOXEL_MM, -((rows - 1) / 2 * BEAMLET_MM + margin * VOXEL_MM))
    return VoxelGrid((2 * half[0] + 1, 2 * half[1] + 1, along), (VOXEL_MM,) * 3, origin)


def _centers(grid: VoxelGrid) -> list[np.ndarray]:
    return [
        start + step * np.arange(n) for start, step, n in zip(grid.origin_mm, grid.spacing_mm, grid.shape, strict=True)
    ]


def _in_body(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return (x / HALF_AXES_MM[0]) ** 2 + (y / HALF_AXES_MM[1]) ** 2 <= 1.0


def _positions(count: int) -> np.ndarray:
    return (np.arange(count) - (count - 1) / 2) * BEAMLET_MM


def _layout(columns: int, rows: int) -> BeamletLayout:
    across, along = np.meshgrid(_positions(columns), _positions(rows), indexing="ij")
    xy = np.tile(np.column_stack([across.ravel(), along.ravel()]), (len(ANGLES_DEG), 1))
    beam = np.repeat(np.arange(len(ANGLES_DEG)), columns * rows)
    return BeamletLayout(xy, beam, np.array(BEAMLET_MM))


def _tube(grid: VoxelGrid, angle_deg: float, column_mm: float, phase: int) -> _Tube:
    """Dose of the beamlet of a column in row `phase` (the rows from 0 to the period)."""
    x, y, z = _centers(grid)
    inside_x, inside_y = np.nonzero(_in_body(x[:, None], y))
    angle = math.radians(angle_deg)
    across = x[inside_x] * math.cos(angle) + y[inside_y] * math.sin(angle)
    beyond = -x[inside_x] * math.sin(angle) + y[inside_y] * math.cos(angle)  # the axis, seen from the source
    magnification = (SOURCE_MM + beyond) / SOURCE_MM
    off_axis = across / magnification - column_mm
    near = np.abs(off_axis) <= CUT_OFF_MM
    pixel = (inside_x * grid.shape[1] + inside_y)[near] * grid.shape[2]
    off_axis, magnification = off_axis[near], magnification[near]
    depth = _depth(angle, across[near], beyond[near])

    row_mm = z[0] + math.ceil(CUT_OFF_MM / VOXEL_MM) * VOXEL_MM + phase * BEAMLET_MM
    k = np.flatnonzero(np.abs(z - row_mm) <= CUT_OFF_MM)
    off_row = z[k] - row_mm
    at_pixel, at_slice = np.nonzero(off_axis[:, None] ** 2 + off_row**2 <= CUT_OFF_MM**2)
    radius = np.hypot(off_axis[at_pixel], off_row[at_slice])
    lateral = (1 - SCATTER) * (_penumbra(off_axis)[at_pixel] * _penumbra(off_row)[at_slice]) / _penumbra(0.0) ** 2
    lateral += SCATTER * np.exp(-radius / SCATTER_MM)
    along_ray = np.exp(-ATTENUATION_PER_MM * depth) * (1 - np.exp(-depth / BUILD_UP_MM)) / magnification**2
    value = GY_PER_MU * lateral * along_ray[at_pixel]
    return _Tube((pixel[at_pixel] + k[at_slice]).astype(np.int32), value.astype(np.float32))


def _penumbra(distance_mm: np.ndarray | float) -> np.ndarray:
    width = math.sqrt(2) * PENUMBRA_MM
    low, high = np.asarray(distance_mm) - BEAMLET_MM / 2, np.asarray(distance_mm) + BEAMLET_MM / 2
    return (erf(high / width) - erf(low / width)) / 2


def _depth(angle: float, across: np.ndarray, beyond: np.ndarray) -> np.ndarray:
    """Way through the body from the source to each point, in mm, at least half a voxel."""
    source = np.array([math.sin(angle), -math.cos(angle)]) * SOURCE_MM
    point = np.stack(
        [
            across * math.cos(angle) - beyond * math.sin(angle),
            across * math.sin(angle) + beyond * math.cos(angle),
        ]
    )
    way = point - source[:, None]
    length = np.hypot(*way)
    axes = np.array(HALF_AXES_MM)[:, None]
    # |(source + t way) / axes| = 1 has two solutions; the ray enters at the smaller one.
    a = np.sum((way / axes) ** 2, axis=0)
    b = np.sum((way / axes) * (source[:, None] / axes), axis=0)
    c = np.sum((source / HALF_AXES_MM) ** 2) - 1
    entry = (-b - np.sqrt(np.maximum(0.0, b * b - a * c))) / a
    return np.maximum(VOXEL_MM / 2, (1 - entry) * length)
