"""The C-shape cases of AAPM Task Group 119, the easier and the harder one."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from opentps_brimstone._typing import BoolArray, FloatArray
from opentps_brimstone.evaluation import DVHGoal
from opentps_brimstone.model.structure import Structure
from opentps_brimstone.optimization.terms import KLDivergenceTerm, MaximumDoseTerm, MinimumDoseTerm
from opentps_brimstone.phantoms.case import Phantom
from opentps_brimstone.phantoms.shapes import (
    Outline,
    centered_grid,
    disc,
    prism_share,
    rest_of_body,
    rounded_box,
    water_ct,
)

__all__ = ["C_SHAPE", "C_SHAPE_HARD", "CShape", "c_shape", "c_shape_hard"]


@dataclass(frozen=True)
class CShape:
    """Every number of the C-shape cases of AAPM Task Group 119.

    Target, core, fields, prescription and goals are those of Ezzell et al., "IMRT commissioning: multiple institution
    planning and dosimetry comparisons", Med. Phys. 36 (2009), doi 10.1118/1.3238104. The report says how the C's radii
    and length are, not how far round it goes: three quarters of a ring, open to the back, are assumed. The body is a
    rounded box of about the size of a phantom of slabs. Volumes: target 215.6 cm³, core 31.4 cm³. The fixed
    prescription was chosen by the plans it gives.

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
    name, title : str
        Of the phantom.
    goals : tuple of str
    target_range_gy, core_range_gy : (float, float)
        Doses asked of target and core.
    target_minimum_gy, target_minimum_weight : float
        Dose in the target below which the minimum-dose term costs, and its weight.
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
        OpenTPS places no beamlet whose center is beyond the margin.
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
    name: str = "c-shape"
    title: str = "TG-119 C-shape"
    goals: tuple[str, ...] = ("PTV D95 >= 50 Gy", "PTV D10 <= 55 Gy", "Core D10 <= 25 Gy")
    target_range_gy: tuple[float, float] = (51.2, 54.0)
    target_minimum_gy: float = 51.2
    target_minimum_weight: float = 1000.0
    core_range_gy: tuple[float, float] = (0.0, 21.0)
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
C_SHAPE_HARD = replace(
    C_SHAPE,
    name="c-shape-hard",
    title="TG-119 C-shape, harder",
    goals=("PTV D95 >= 50 Gy", "PTV D10 <= 55 Gy", "Core D10 <= 10 Gy"),
)


def _open_ring(inner: float, outer: float, opening_degrees: float) -> Outline:
    """Outline of a ring that is open toward the patient's back, at high y."""

    def inside(x: FloatArray, y: FloatArray) -> BoolArray:
        radius = np.hypot(x, y)
        from_back = np.degrees(np.arctan2(np.abs(x), y))
        return np.asarray((radius >= inner) & (radius <= outer) & (from_back >= opening_degrees / 2))

    return inside


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
    grid = centered_grid(numbers.body_mm, numbers.air_mm, grid_mm)
    half_x, half_y = numbers.body_mm[0] / 2, numbers.body_mm[1] / 2
    body = prism_share(grid, rounded_box(half_x, half_y, numbers.body_corner_mm), numbers.body_mm[2])
    ring = _open_ring(numbers.inner_radius_mm, numbers.outer_radius_mm, numbers.opening_degrees)
    target = prism_share(grid, ring, numbers.target_length_mm)
    core = prism_share(grid, disc(numbers.core_radius_mm), numbers.core_length_mm)
    rest = rest_of_body(body, [target], [core])
    return Phantom(
        name=numbers.name,
        title=numbers.title,
        ct_hu=water_ct(body),
        grid=grid,
        structures=(Structure("PTV", target, is_target=True), Structure("Core", core), Structure("Body", rest)),
        gantry_angles=numbers.gantry_angles,
        isocenter_mm=(0.0, 0.0, 0.0),
        prescription_gy=numbers.prescription_gy,
        number_of_fractions=numbers.number_of_fractions,
        goals=tuple(DVHGoal.parse(goal) for goal in numbers.goals),
        objectives=(
            ("PTV", KLDivergenceTerm(dose_range=numbers.target_range_gy, weight=numbers.target_weight)),
            ("PTV", MinimumDoseTerm(numbers.target_minimum_gy, weight=numbers.target_minimum_weight)),
            ("Core", KLDivergenceTerm(dose_range=numbers.core_range_gy, weight=numbers.core_weight)),
            ("Body", KLDivergenceTerm(dvh=numbers.body_dvh, weight=numbers.body_weight)),
            ("Body", MaximumDoseTerm(numbers.body_limit_gy)),
        ),
        target_margin_mm=numbers.target_margin_mm,
    )


def c_shape_hard(grid_mm: float = 4.0) -> Phantom:
    """C-shaped target around a core (TG-119, the harder version): as `c_shape`, with a lower goal for the core.

    Parameters
    ----------
    grid_mm : float
        Voxel spacing.

    Returns
    -------
    Phantom
        Its beamlets are those of `c_shape`.

    Raises
    ------
    ValueError
        As for `c_shape`.
    """
    return c_shape(grid_mm, C_SHAPE_HARD)
