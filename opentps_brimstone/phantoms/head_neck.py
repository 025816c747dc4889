"""The mock head and neck of AAPM Task Group 119."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from opentps_brimstone._typing import BoolArray, FloatArray
from opentps_brimstone.evaluation import DVHGoal
from opentps_brimstone.model.structure import Structure
from opentps_brimstone.phantoms.case import Phantom
from opentps_brimstone.phantoms.shapes import (
    centered_grid,
    disc,
    ellipse,
    ellipsoid,
    prism_share,
    rest_of_body,
    solid_share,
    water_ct,
)

__all__ = ["HEAD_NECK", "HeadNeck", "head_neck"]


@dataclass(frozen=True)
class HeadNeck:
    """Every number of the mock head and neck of AAPM Task Group 119.

    From Ezzell et al., Med. Phys. 36 (2009), doi 10.1118/1.3238104: a PTV of all the anterior volume from the base of
    the skull to the upper neck with the posterior neck nodes, retracted from the skin by 0.6 cm; a gap of about 1.5 cm
    between it and the cord; parotids at its superior aspect, to be avoided; nine fields, 50 Gy. The report gives no
    further sizes.

    Assumed: an elliptical neck, all other sizes below, and that the PTV keeps 0.6 cm from the parotids. Volumes: PTV
    572 cm³, cord 13.6 cm³, each parotid 17.2 cm³.

    Attributes
    ----------
    neck_mm : (float, float, float)
        Width and depth of the body's elliptical outline, and its length.
    skin_mm : float
        How far the PTV stays below the skin.
    ptv_length_mm, ptv_back_mm : float
        Its length around the origin, and the highest y of the nodes.
    cord_radius_mm, cord_length_mm, cord_y_mm : float
        A cylinder parallel to z, at x = 0.
    cord_gap_mm : float
        Between cord and PTV.
    parotid_mm, parotid_center_mm : (float, float, float)
        Full axes of the ellipsoids, and the middle of the left one.
    parotid_gap_mm : float
        By how much the ellipsoids that the PTV leaves out are larger.
    air_mm : float
        Air around the body.
    gantry_angles : tuple of float
        IEC, in degrees.
    prescription_gy : float
    number_of_fractions : int
    goals : tuple of str
    target_margin_mm : float
        How far beyond the target's projection beamlets reach.
    """

    neck_mm: tuple[float, float, float] = (130.0, 116.0, 190.0)
    skin_mm: float = 6.0
    ptv_length_mm: float = 90.0
    ptv_back_mm: float = 30.0
    cord_radius_mm: float = 6.0
    cord_length_mm: float = 120.0
    cord_y_mm: float = 25.0
    cord_gap_mm: float = 15.0
    parotid_mm: tuple[float, float, float] = (22.0, 34.0, 44.0)
    parotid_center_mm: tuple[float, float, float] = (44.0, 5.0, 28.0)
    parotid_gap_mm: float = 6.0
    air_mm: float = 8.0
    gantry_angles: tuple[float, ...] = tuple(40.0 * i for i in range(9))
    prescription_gy: float = 50.0
    number_of_fractions: int = 25
    goals: tuple[str, ...] = (
        "PTV D90 >= 50 Gy",
        "PTV D99 >= 46.5 Gy",
        "PTV D20 <= 55 Gy",
        "Cord Dmax <= 40 Gy",
        "Left parotid D50 <= 20 Gy",
        "Right parotid D50 <= 20 Gy",
    )
    target_margin_mm: float = 8.0


HEAD_NECK = HeadNeck()


def head_neck(grid_mm: float = 4.0, numbers: HeadNeck = HEAD_NECK) -> Phantom:
    """Target in front of the cord and below the parotids (TG-119 mock head and neck).

    Structures are "PTV", "Cord", "Left parotid", "Right parotid" and "Body", the body without these.

    Parameters
    ----------
    grid_mm : float
        Voxel spacing.
    numbers : HeadNeck
        Its sizes, fields and goals.

    Returns
    -------
    Phantom

    Raises
    ------
    ValueError
        When the grid is coarser than the cord is wide, or its spacing not positive.
    """
    coarsest = 2 * numbers.cord_radius_mm
    if grid_mm > coarsest:
        raise ValueError(f"the grid spacing is {grid_mm:g} mm; the mock head and neck needs {coarsest:g} mm or finer")
    grid = centered_grid(numbers.neck_mm, numbers.air_mm, grid_mm)
    half_x, half_y = numbers.neck_mm[0] / 2, numbers.neck_mm[1] / 2
    body = prism_share(grid, ellipse(half_x, half_y), numbers.neck_mm[2])
    cord = prism_share(grid, disc(numbers.cord_radius_mm, numbers.cord_y_mm), numbers.cord_length_mm)

    half_parotid = (numbers.parotid_mm[0] / 2, numbers.parotid_mm[1] / 2, numbers.parotid_mm[2] / 2)
    half_left_out = (
        half_parotid[0] + numbers.parotid_gap_mm,
        half_parotid[1] + numbers.parotid_gap_mm,
        half_parotid[2] + numbers.parotid_gap_mm,
    )
    left = numbers.parotid_center_mm
    right = (-left[0], left[1], left[2])
    inner = ellipse(half_x - numbers.skin_mm, half_y - numbers.skin_mm)
    around_cord = disc(numbers.cord_radius_mm + numbers.cord_gap_mm, numbers.cord_y_mm)
    left_out = [ellipsoid(half_left_out, center) for center in (left, right)]

    def ptv(x: FloatArray, y: FloatArray, z: FloatArray) -> BoolArray:
        across = inner(x, y) & ~around_cord(x, y) & (y <= numbers.ptv_back_mm)
        along = np.abs(z) <= numbers.ptv_length_mm / 2
        return across & along & ~left_out[0](x, y, z) & ~left_out[1](x, y, z)

    target = solid_share(grid, ptv, (half_x, half_y, numbers.ptv_length_mm / 2))
    parotids = [solid_share(grid, ellipsoid(half_parotid, center), half_parotid, center) for center in (left, right)]
    return Phantom(
        name="head-neck",
        title="TG-119 mock head and neck",
        ct_hu=water_ct(body),
        grid=grid,
        structures=(
            Structure("PTV", target, is_target=True),
            Structure("Cord", cord),
            Structure("Left parotid", parotids[0]),
            Structure("Right parotid", parotids[1]),
            Structure("Body", rest_of_body(body, [target], [cord, *parotids])),
        ),
        gantry_angles=numbers.gantry_angles,
        isocenter_mm=(0.0, 0.0, 0.0),
        prescription_gy=numbers.prescription_gy,
        number_of_fractions=numbers.number_of_fractions,
        goals=tuple(DVHGoal.parse(goal) for goal in numbers.goals),
        target_margin_mm=numbers.target_margin_mm,
    )
