"""The mock head and neck of AAPM Task Group 119."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from opentps_brimstone._typing import BoolArray, FloatArray
from opentps_brimstone.model.influence import VoxelGrid
from opentps_brimstone.phantoms.design import Design, Shares
from opentps_brimstone.phantoms.shapes import Outline, disc, ellipse, ellipsoid, grown, half, prism_share, solid_share

__all__ = ["HEAD_NECK", "HeadNeck"]


@dataclass(frozen=True, kw_only=True)
class HeadNeck(Design):
    """Target in front of the cord and below the parotids.

    From Ezzell et al., Med. Phys. 36 (2009), doi 10.1118/1.3238104: a PTV of all the anterior volume from the base of
    the skull to the upper neck with the posterior neck nodes, retracted from the skin by 0.6 cm; a gap of about 1.5 cm
    between it and the cord; parotids at its superior aspect, to be avoided; nine fields, 50 Gy. The report gives no
    further sizes.

    Assumed: an elliptical neck, all other sizes below, and that the PTV keeps 0.6 cm from the parotids. Volumes: PTV
    572 cm³, cord 13.6 cm³, each parotid 17.2 cm³.

    Structures are "PTV", "Cord", "Left parotid", "Right parotid" and "Body", the body without these. The body's outline
    is an ellipse.

    Attributes
    ----------
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
    """

    name: str = "head-neck"
    title: str = "TG-119 mock head and neck"
    coarsest_grid_mm: float = 12.0
    body_mm: tuple[float, float, float] = (130.0, 116.0, 190.0)
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
    gantry_angles: tuple[float, ...] = tuple(40.0 * i for i in range(9))
    goals: tuple[str, ...] = (
        "PTV D90 >= 50 Gy",
        "PTV D99 >= 46.5 Gy",
        "PTV D20 <= 55 Gy",
        "Cord Dmax <= 40 Gy",
        "Left parotid D50 <= 20 Gy",
        "Right parotid D50 <= 20 Gy",
    )

    @property
    def outline(self) -> Outline:
        """Outline of the neck in the transverse plane: an ellipse."""
        return ellipse(self.body_mm[0] / 2, self.body_mm[1] / 2)

    def shares(self, grid: VoxelGrid) -> tuple[Shares, Shares]:
        """Compute the volume shares of PTV, cord and parotids."""
        half_x, half_y, _ = half(self.body_mm)
        half_parotid = half(self.parotid_mm)
        left = self.parotid_center_mm
        right = (-left[0], left[1], left[2])
        inner = ellipse(half_x - self.skin_mm, half_y - self.skin_mm)
        around_cord = disc(self.cord_radius_mm + self.cord_gap_mm, self.cord_y_mm)
        left_out = [ellipsoid(grown(half_parotid, self.parotid_gap_mm), center) for center in (left, right)]

        def ptv(x: FloatArray, y: FloatArray, z: FloatArray) -> BoolArray:
            across = inner(x, y) & ~around_cord(x, y) & (y <= self.ptv_back_mm)
            along = np.abs(z) <= self.ptv_length_mm / 2
            return across & along & ~left_out[0](x, y, z) & ~left_out[1](x, y, z)

        parotids = [
            solid_share(grid, ellipsoid(half_parotid, center), half_parotid, center) for center in (left, right)
        ]
        return {"PTV": solid_share(grid, ptv, (half_x, half_y, self.ptv_length_mm / 2))}, {
            "Cord": prism_share(grid, disc(self.cord_radius_mm, self.cord_y_mm), self.cord_length_mm),
            "Left parotid": parotids[0],
            "Right parotid": parotids[1],
        }


HEAD_NECK = HeadNeck()
