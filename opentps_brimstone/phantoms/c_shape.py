"""The C-shape cases of AAPM Task Group 119, the easier and the harder one."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from opentps_brimstone._typing import BoolArray, FloatArray
from opentps_brimstone.model.influence import VoxelGrid
from opentps_brimstone.optimization.terms import KLDivergenceTerm, MaximumDoseTerm, MinimumDoseTerm, ObjectiveTerm
from opentps_brimstone.phantoms.design import Design, Shares
from opentps_brimstone.phantoms.shapes import Outline, disc, prism_share

__all__ = ["C_SHAPE", "C_SHAPE_HARD", "CShape"]


@dataclass(frozen=True, kw_only=True)
class CShape(Design):
    """C-shaped target around a core; the harder version has a lower goal for the core.

    Target, core, fields, prescription and goals are those of Ezzell et al., "IMRT commissioning: multiple institution
    planning and dosimetry comparisons", Med. Phys. 36 (2009), doi 10.1118/1.3238104. The report gives the C's radii and
    length, but not how far around it goes: three quarters of a ring, open to the back, are assumed. The body is a
    rounded box of about the size of a phantom of slabs. Volumes: target 215.6 cm³, core 31.4 cm³. The fixed
    prescription was chosen by the plans it gives. With a target margin of 5 mm the ends of the target stay cold,
    because OpenTPS places no beamlet whose center is beyond the margin.

    Structures are "PTV", "Core" and "Body": the body without target and core, and without the voxels that are partly
    target, whose dose is the target's.

    Attributes
    ----------
    inner_radius_mm, outer_radius_mm, target_length_mm : float
        Of the target, around the z axis.
    opening_degrees : float
        The part of the ring that is missing.
    core_radius_mm, core_length_mm : float
        Of the organ at risk, on the z axis.
    target_range_gy, core_range_gy : (float, float)
        Doses asked of target and core.
    target_minimum_gy, target_minimum_weight : float
        Dose in the target below which the minimum-dose term costs, and its weight.
    target_weight, core_weight : float
        Weights of their KL divergence terms.
    body_dvh : tuple of (float, float)
        Points (Gy, volume share) asked of the rest of the body.
    body_weight : float
        Weight of that.
    body_limit_gy : float
        Dose in the rest of the body above which the maximum-dose term costs.
    """

    name: str = "c-shape"
    title: str = "TG-119 C-shape"
    coarsest_grid_mm: float = 22.0
    inner_radius_mm: float = 15.0
    outer_radius_mm: float = 37.0
    target_length_mm: float = 80.0
    opening_degrees: float = 90.0
    core_radius_mm: float = 10.0
    core_length_mm: float = 100.0
    gantry_angles: tuple[float, ...] = tuple(40.0 * i for i in range(9))
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

    def shares(self, grid: VoxelGrid) -> tuple[Shares, Shares]:
        """Compute the volume shares of PTV and core."""
        ring = _open_ring(self.inner_radius_mm, self.outer_radius_mm, self.opening_degrees)
        return {"PTV": prism_share(grid, ring, self.target_length_mm)}, {
            "Core": prism_share(grid, disc(self.core_radius_mm), self.core_length_mm)
        }

    def objectives(self) -> tuple[tuple[str, ObjectiveTerm], ...]:
        """Make the terms of the fixed prescription."""
        return (
            ("PTV", KLDivergenceTerm(dose_range=self.target_range_gy, weight=self.target_weight)),
            ("PTV", MinimumDoseTerm(self.target_minimum_gy, weight=self.target_minimum_weight)),
            ("Core", KLDivergenceTerm(dose_range=self.core_range_gy, weight=self.core_weight)),
            ("Body", KLDivergenceTerm(dvh=self.body_dvh, weight=self.body_weight)),
            ("Body", MaximumDoseTerm(self.body_limit_gy)),
        )


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
