"""Planning cases made of simple shapes, with their fields, goals and default prescriptions.

Axes are those of a patient lying head first supine: x to the patient's left, y to the back, z to the head.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from opentps_brimstone.dose_influence import VoxelGrid
from opentps_brimstone.evaluation import DVHGoal
from opentps_brimstone.plan import Structure
from opentps_brimstone.prescription import KLDivergenceTerm, MaximumDoseTerm

if TYPE_CHECKING:
    from opentps_brimstone.prescription import ObjectiveTerm

__all__ = ["C_SHAPE", "PHANTOMS", "CShape", "Phantom", "c_shape", "make_phantom"]

FloatArray = npt.NDArray[np.float64]

WATER_HU = 0.0
AIR_HU = -1024.0

# Sub-samples of a voxel along x and along y for its volume share: shares are multiples of 1/256.
_SUBSAMPLES = 16


@dataclass(frozen=True, eq=False)
class Phantom:
    """A planning case.

    Attributes
    ----------
    name : str
        Name in `PHANTOMS`.
    title : str
        What it is, for people.
    ct_hu : ndarray, shape (nx, ny, nz)
        HU; not writeable.
    grid : VoxelGrid
        Of the CT, and of the dose.
    structures : tuple of Structure
        With volume shares in [0, 1].
    gantry_angles : tuple of float
        IEC, in degrees, of static fields with couch and collimator at 0.
    isocenter_mm : tuple of float
    prescription_gy : float
        Over all fractions.
    number_of_fractions : int
    goals : tuple of DVHGoal
    objectives : tuple of (str, ObjectiveTerm)
        Default prescription: name of the structure, and what is asked of it.
    target_margin_mm : float
        How far beyond the target's projection beamlets reach.
    """

    name: str
    title: str
    ct_hu: FloatArray
    grid: VoxelGrid
    structures: tuple[Structure, ...]
    gantry_angles: tuple[float, ...]
    isocenter_mm: tuple[float, float, float]
    prescription_gy: float
    number_of_fractions: int
    goals: tuple[DVHGoal, ...]
    objectives: tuple[tuple[str, ObjectiveTerm], ...] = field(repr=False)
    target_margin_mm: float

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Voxel spacing along x, y and z."""
        return self.grid.spacing_mm

    @property
    def origin_mm(self) -> tuple[float, float, float]:
        """Centre of voxel [0, 0, 0]."""
        return self.grid.origin_mm

    def structure(self, name: str) -> Structure:
        """Structure of a name.

        Parameters
        ----------
        name : str

        Returns
        -------
        Structure

        Raises
        ------
        ValueError
            When there is none of that name.
        """
        for structure in self.structures:
            if structure.name == name:
                return structure
        names = ", ".join(structure.name for structure in self.structures)
        raise ValueError(f"phantom {self.name!r} has no structure {name!r}; it has {names}")


# ------------------------------------------------------------------------------------------------------------- shapes


def centred_grid(extent_mm: tuple[float, float, float], margin_mm: float, spacing_mm: float) -> VoxelGrid:
    """Grid of cubic voxels around the origin, which lies on a corner of voxels.

    Parameters
    ----------
    extent_mm : (float, float, float)
        What it must hold.
    margin_mm : float
        What it must hold beyond that on each side.
    spacing_mm : float

    Returns
    -------
    VoxelGrid

    Raises
    ------
    ValueError
        When the spacing is not positive, or so large that a voxel holds the whole extent.
    """
    if not (math.isfinite(spacing_mm) and 0 < spacing_mm <= min(extent_mm)):
        raise ValueError(f"the grid spacing is {spacing_mm:g} mm; it must be above 0 and at most {min(extent_mm):g} mm")
    half = [math.ceil((extent / 2 + margin_mm) / spacing_mm - 1e-9) for extent in extent_mm]
    nx, ny, nz = (2 * n for n in half)
    ox, oy, oz = (-(n - 0.5) * spacing_mm for n in half)
    return VoxelGrid((nx, ny, nz), (spacing_mm,) * 3, (ox, oy, oz))


def prism_share(
    grid: VoxelGrid,
    outline: Callable[[FloatArray, FloatArray], npt.NDArray[np.bool_]],
    length_mm: float,
    centre_z_mm: float = 0.0,
) -> FloatArray:
    """Volume share of every voxel that lies in a prism along z.

    Parameters
    ----------
    grid : VoxelGrid
    outline : callable
        Takes x and y in mm, as arrays that broadcast, and returns whether the points are inside.
    length_mm : float
        Along z.
    centre_z_mm : float
        Its middle.

    Returns
    -------
    ndarray, shape (nx, ny, nz)
        In [0, 1]; exact along z, by sub-sampling in x and y.
    """
    (nx, ny, nz), spacing, origin = grid.shape, grid.spacing_mm, grid.origin_mm
    within = (np.arange(_SUBSAMPLES) + 0.5) / _SUBSAMPLES - 0.5
    x = origin[0] + spacing[0] * (np.arange(nx)[:, None] + within).reshape(-1, 1)
    y = origin[1] + spacing[1] * (np.arange(ny)[:, None] + within).reshape(1, -1)
    inside = np.broadcast_to(outline(x, y), (nx * _SUBSAMPLES, ny * _SUBSAMPLES))
    across = inside.reshape(nx, _SUBSAMPLES, ny, _SUBSAMPLES).mean(axis=(1, 3))
    z = origin[2] - centre_z_mm + spacing[2] * np.arange(nz)
    top = np.minimum(z + spacing[2] / 2, length_mm / 2)
    bottom = np.maximum(z - spacing[2] / 2, -length_mm / 2)
    share: FloatArray = across[:, :, None] * np.clip((top - bottom) / spacing[2], 0, 1)
    return share


def _rounded_box(half_x: float, half_y: float, corner: float) -> Callable[..., npt.NDArray[np.bool_]]:
    def inside(x: FloatArray, y: FloatArray) -> npt.NDArray[np.bool_]:
        beyond_x = np.maximum(np.abs(x) - (half_x - corner), 0)
        beyond_y = np.maximum(np.abs(y) - (half_y - corner), 0)
        return np.asarray(np.hypot(beyond_x, beyond_y) <= corner)

    return inside


def _disc(radius: float) -> Callable[..., npt.NDArray[np.bool_]]:
    return lambda x, y: np.asarray(np.hypot(x, y) <= radius)


def _open_ring(inner: float, outer: float, opening_degrees: float) -> Callable[..., npt.NDArray[np.bool_]]:
    """Outline of a ring that is open towards the patient's back, at high y."""

    def inside(x: FloatArray, y: FloatArray) -> npt.NDArray[np.bool_]:
        radius = np.hypot(x, y)
        from_back = np.degrees(np.arctan2(np.abs(x), y))
        return np.asarray((radius >= inner) & (radius <= outer) & (from_back >= opening_degrees / 2))

    return inside


# ------------------------------------------------------------------------------------------------------ TG-119 C-shape


@dataclass(frozen=True)
class CShape:
    """Every number of the C-shape case of AAPM Task Group 119.

    Target, core, fields, prescription and goals are those of Ezzell et al., "IMRT commissioning: multiple institution
    planning and dosimetry comparisons", Med. Phys. 36 (2009), doi 10.1118/1.3238104. The report says how the C's radii
    and length are, not how far round it goes: three quarters of a ring, open to the back, are assumed. The body is a
    rounded box of about the size of a phantom of slabs. The default prescription was chosen by the plans it gives.

    Attributes
    ----------
    inner_radius_mm, outer_radius_mm, target_length_mm : float
        Of the target, around the z axis.
    opening_degrees : float
        The part of the ring that is missing.
    core_radius_mm, core_length_mm : float
        Of the organ at risk, on the z axis.
    body_mm : (float, float, float)
        Size of the body along x, y and z.
    body_corner_mm : float
        Radius of its corners in the transverse plane.
    air_mm : float
        Air around the body.
    gantry_angles : tuple of float
        IEC, in degrees.
    prescription_gy : float
    number_of_fractions : int
    goals : tuple of str
    target_range_gy, core_range_gy : (float, float)
        Doses asked of target and core.
    target_weight, core_weight : float
        Weights of these.
    body_dvh : tuple of (float, float)
        Points (Gy, volume share) asked of the rest of the body.
    body_weight : float
        Weight of that.
    body_limit_gy : float
        Dose in the rest of the body above which the maximum-dose term costs.
    target_margin_mm : float
        How far beyond the target's projection beamlets reach. With 5 mm the ends of the target stay cold, because
        OpenTPS places no beamlet whose centre is beyond the margin.
    """

    inner_radius_mm: float = 15.0
    outer_radius_mm: float = 37.0
    target_length_mm: float = 80.0
    opening_degrees: float = 90.0
    core_radius_mm: float = 10.0
    core_length_mm: float = 100.0
    body_mm: tuple[float, float, float] = (300.0, 200.0, 180.0)
    body_corner_mm: float = 60.0
    air_mm: float = 8.0
    gantry_angles: tuple[float, ...] = tuple(40.0 * i for i in range(9))
    prescription_gy: float = 50.0
    number_of_fractions: int = 25
    goals: tuple[str, ...] = ("PTV D95 >= 50 Gy", "PTV D10 <= 55 Gy", "Core D10 <= 25 Gy")
    target_range_gy: tuple[float, float] = (51.0, 54.0)
    core_range_gy: tuple[float, float] = (0.0, 24.0)
    target_weight: float = 2.0
    core_weight: float = 0.3
    body_dvh: tuple[tuple[float, float], ...] = (
        (0.0, 1.0),
        (5.0, 0.5),
        (10.0, 0.36),
        (20.0, 0.13),
        (30.0, 0.04),
        (40.0, 0.008),
        (46.0, 0.0),
    )
    body_weight: float = 0.1
    body_limit_gy: float = 50.0
    target_margin_mm: float = 8.0


C_SHAPE = CShape()


def c_shape(grid_mm: float = 4.0, numbers: CShape = C_SHAPE) -> Phantom:
    """C-shaped target around a core (TG-119, the easier version).

    Structures are "PTV", "Core" and "Body": the body without target and core, and without the voxels that are in part
    target, whose dose is the target's.

    Parameters
    ----------
    grid_mm : float
        Voxel spacing.
    numbers : CShape
        Its sizes, fields and goals.

    Returns
    -------
    Phantom

    Raises
    ------
    ValueError
        When the grid is too coarse to show the gap between target and core, or not positive.
    """
    coarsest = numbers.outer_radius_mm - numbers.inner_radius_mm
    if grid_mm > coarsest:
        raise ValueError(f"the grid spacing is {grid_mm:g} mm; the C-shape needs {coarsest:g} mm or finer")
    grid = centred_grid(numbers.body_mm, numbers.air_mm, grid_mm)
    half_x, half_y = numbers.body_mm[0] / 2, numbers.body_mm[1] / 2
    body = prism_share(grid, _rounded_box(half_x, half_y, numbers.body_corner_mm), numbers.body_mm[2])
    ring = _open_ring(numbers.inner_radius_mm, numbers.outer_radius_mm, numbers.opening_degrees)
    target = prism_share(grid, ring, numbers.target_length_mm)
    core = prism_share(grid, _disc(numbers.core_radius_mm), numbers.core_length_mm)
    rest = np.where(target > 0, 0.0, np.clip(body - core, 0, 1))
    ct = AIR_HU + body * (WATER_HU - AIR_HU)
    ct.flags.writeable = False
    return Phantom(
        name="c-shape",
        title="TG-119 C-shape",
        ct_hu=ct,
        grid=grid,
        structures=(Structure("PTV", target, is_target=True), Structure("Core", core), Structure("Body", rest)),
        gantry_angles=numbers.gantry_angles,
        isocenter_mm=(0.0, 0.0, 0.0),
        prescription_gy=numbers.prescription_gy,
        number_of_fractions=numbers.number_of_fractions,
        goals=tuple(DVHGoal.parse(goal) for goal in numbers.goals),
        objectives=(
            ("PTV", KLDivergenceTerm(dose_range=numbers.target_range_gy, weight=numbers.target_weight)),
            ("Core", KLDivergenceTerm(dose_range=numbers.core_range_gy, weight=numbers.core_weight)),
            ("Body", KLDivergenceTerm(dvh=numbers.body_dvh, weight=numbers.body_weight)),
            ("Body", MaximumDoseTerm(numbers.body_limit_gy)),
        ),
        target_margin_mm=numbers.target_margin_mm,
    )


PHANTOMS: dict[str, Callable[[float], Phantom]] = {"c-shape": c_shape}
"""Every case by name, made from the grid spacing in mm."""


def make_phantom(name: str, grid_mm: float = 4.0) -> Phantom:
    """Phantom of a name.

    Parameters
    ----------
    name : str
        One of `PHANTOMS`.
    grid_mm : float
        Voxel spacing.

    Returns
    -------
    Phantom

    Raises
    ------
    ValueError
        When there is none of that name, or the spacing does not suit it.
    """
    if name not in PHANTOMS:
        raise ValueError(f"case {name!r} is unknown; it may be {', '.join(PHANTOMS)}")
    return PHANTOMS[name](grid_mm)
