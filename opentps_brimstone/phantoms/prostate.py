"""The mock prostate of AAPM Task Group 119."""

from __future__ import annotations

from dataclasses import dataclass

from opentps_brimstone._typing import BoolArray, FloatArray
from opentps_brimstone.model.influence import VoxelGrid
from opentps_brimstone.phantoms.design import Design, Shares
from opentps_brimstone.phantoms.shapes import disc, ellipsoid, grown, half, prism_share, solid_share

__all__ = ["PROSTATE", "Prostate"]


@dataclass(frozen=True, kw_only=True)
class Prostate(Design):
    """Prostate between rectum and bladder.

    From Ezzell et al., Med. Phys. 36 (2009), doi 10.1118/1.3238104: a roughly ellipsoidal prostate of 4.0 × 2.6 × 6.5
    cm (RL, AP, SI); a PTV 0.6 cm around it with a concavity at the back; a rectum of 1.5 cm diameter that abuts the
    indented back of the prostate, a third of it PTV on the PTV's widest slice; a roughly ellipsoidal bladder of 5.0 ×
    4.0 × 5.0 cm on the superior aspect of the prostate; seven fields, 75.6 Gy.

    Assumed: the depth of the indentation; the PTV as an ellipsoid with axes 1.2 cm longer and a round groove at the
    back; the length of the rectum; where the bladder's middle is (above the upper end of the PTV, to the front), and
    that the bladder is without the prostate; the body, a rounded box. Volumes: PTV 78.9 cm³, rectum 17.7 cm³ (a sixth
    of it PTV), bladder 51.0 cm³ (a twelfth of it PTV).

    Structures are "PTV", "Rectum" and "Bladder", which overlap, and "Body", the body without these.

    Attributes
    ----------
    prostate_mm : (float, float, float)
        Full axes along x, y and z; its middle is the origin.
    rectum_radius_mm, rectum_length_mm, rectum_y_mm : float
        Its axis is parallel to z, at x = 0.
    groove_radius_mm, groove_y_mm : float
        The cylinder that is taken from the back of the PTV.
    """

    name: str = "prostate"
    title: str = "TG-119 mock prostate"
    coarsest_grid_mm: float = 15.0
    prostate_mm: tuple[float, float, float] = (40.0, 26.0, 65.0)
    ptv_margin_mm: float = 6.0
    rectum_radius_mm: float = 7.5
    rectum_length_mm: float = 100.0
    rectum_y_mm: float = 18.5
    groove_radius_mm: float = 15.0
    groove_y_mm: float = 31.0
    bladder_mm: tuple[float, float, float] = (50.0, 40.0, 50.0)
    bladder_center_mm: tuple[float, float, float] = (0.0, -18.0, 38.5)
    gantry_angles: tuple[float, ...] = tuple(50.0 * i for i in range(7))
    prescription_gy: float = 75.6
    number_of_fractions: int = 42
    goals: tuple[str, ...] = (
        "PTV D95 >= 75.6 Gy",
        "PTV D5 <= 83 Gy",
        "Rectum D30 <= 70 Gy",
        "Rectum D10 <= 75 Gy",
        "Bladder D30 <= 70 Gy",
        "Bladder D10 <= 75 Gy",
    )

    def shares(self, grid: VoxelGrid) -> tuple[Shares, Shares]:
        """Compute the volume shares of PTV, rectum and bladder."""
        half_prostate, half_bladder = half(self.prostate_mm), half(self.bladder_mm)
        half_ptv = grown(half_prostate, self.ptv_margin_mm)
        in_rectum = disc(self.rectum_radius_mm, self.rectum_y_mm)
        in_groove = disc(self.groove_radius_mm, self.groove_y_mm)
        in_prostate, in_grown = ellipsoid(half_prostate), ellipsoid(half_ptv)
        in_bladder = ellipsoid(half_bladder, self.bladder_center_mm)

        def ptv(x: FloatArray, y: FloatArray, z: FloatArray) -> BoolArray:
            return in_grown(x, y, z) & ~in_groove(x, y)

        def bladder(x: FloatArray, y: FloatArray, z: FloatArray) -> BoolArray:
            return in_bladder(x, y, z) & ~in_prostate(x, y, z)

        return {"PTV": solid_share(grid, ptv, half_ptv)}, {
            "Rectum": prism_share(grid, in_rectum, self.rectum_length_mm),
            "Bladder": solid_share(grid, bladder, half_bladder, self.bladder_center_mm),
        }


PROSTATE = Prostate()
