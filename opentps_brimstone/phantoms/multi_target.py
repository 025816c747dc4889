"""The multi-target case of AAPM Task Group 119."""

from __future__ import annotations

from dataclasses import dataclass

from opentps_brimstone.model.influence import VoxelGrid
from opentps_brimstone.phantoms.design import Design, Shares
from opentps_brimstone.phantoms.shapes import disc, prism_share

__all__ = ["MULTI_TARGET", "MultiTarget"]


@dataclass(frozen=True, kw_only=True)
class MultiTarget(Design):
    """Three cylinders on top of each other that get different doses.

    Ezzell et al., Med. Phys. 36 (2009), doi 10.1118/1.3238104, stack three cylinders of about 4 cm diameter and 4 cm
    length along the axis of the gantry's rotation, and plan them with seven fields. Assumed: that they touch; the body,
    a rounded box as in the C-shape case but longer; and the isocenter, 2.5 mm toward the head from the middle, so that
    edges of beamlets of 5 mm lie on the ends of the targets. Volume of each target: 50.3 cm³.

    Structures are "Central", "Superior", "Inferior" and "Body", the body without the targets.

    Attributes
    ----------
    feet_to_head : tuple of str
        Names of the targets.
    target_radius_mm, target_length_mm : float
        Of each of the three.
    """

    name: str = "multitarget"
    title: str = "TG-119 multi-target"
    coarsest_grid_mm: float = 20.0
    feet_to_head: tuple[str, ...] = ("Inferior", "Central", "Superior")
    target_radius_mm: float = 20.0
    target_length_mm: float = 40.0
    body_mm: tuple[float, float, float] = (300.0, 200.0, 220.0)
    gantry_angles: tuple[float, ...] = tuple(50.0 * i for i in range(7))
    isocenter_mm: tuple[float, float, float] = (0.0, 0.0, 2.5)
    lower_prescriptions_gy: tuple[tuple[str, float], ...] = (("Superior", 25.0), ("Inferior", 12.5))
    goals: tuple[str, ...] = (
        "Central D99 >= 50 Gy",
        "Central D10 <= 53 Gy",
        "Superior D99 >= 25 Gy",
        "Superior D10 <= 35 Gy",
        "Inferior D99 >= 12.5 Gy",
        "Inferior D10 <= 25 Gy",
    )

    def shares(self, grid: VoxelGrid) -> tuple[Shares, Shares]:
        """Compute the volume shares of the three targets, by falling dose."""
        length, outline = self.target_length_mm, disc(self.target_radius_mm)
        stacked = {
            name: prism_share(grid, outline, length, center_z_mm=(i - 1) * length)
            for i, name in enumerate(self.feet_to_head)
        }
        dose = dict(self.lower_prescriptions_gy)
        by_dose = sorted(stacked, key=lambda name: -dose.get(name, self.prescription_gy))
        return {name: stacked[name] for name in by_dose}, {}


MULTI_TARGET = MultiTarget()
