"""Planning cases as numbers, and the phantoms made from them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from opentps_brimstone._typing import FloatArray
from opentps_brimstone.evaluation import DVHGoal
from opentps_brimstone.model.influence import VoxelGrid
from opentps_brimstone.model.structure import Structure
from opentps_brimstone.optimization.terms import ObjectiveTerm
from opentps_brimstone.phantoms.case import Phantom
from opentps_brimstone.phantoms.shapes import Outline, centered_grid, prism_share, rest_of_body, rounded_box, water_ct

__all__ = ["Design", "Shares"]

Shares = dict[str, FloatArray]


@dataclass(frozen=True, kw_only=True)
class Design(ABC):
    """Numbers that every case has; a subclass adds its own and the shapes of its structures.

    Attributes
    ----------
    name, title : str
        Of the phantom.
    coarsest_grid_mm : float
        Largest voxel spacing that represents the structures.
    body_mm : (float, float, float)
        Size of the body along x, y and z.
    body_corner_mm : float
        Radius of its corners in the transverse plane.
    air_mm : float
        Air around the body.
    gantry_angles : tuple of float
        IEC, in degrees.
    prescription_gy : float
        Highest dose prescribed to a target.
    lower_prescriptions_gy : tuple of (str, float)
        Targets that get less, and their doses.
    target_margin_mm : float
        How far beyond the targets' projection beamlets reach.
    """

    name: str
    title: str
    coarsest_grid_mm: float
    body_mm: tuple[float, float, float] = (300.0, 200.0, 180.0)
    body_corner_mm: float = 60.0
    air_mm: float = 8.0
    gantry_angles: tuple[float, ...]
    isocenter_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)
    prescription_gy: float = 50.0
    lower_prescriptions_gy: tuple[tuple[str, float], ...] = ()
    number_of_fractions: int = 25
    goals: tuple[str, ...]
    target_margin_mm: float = 8.0

    @property
    def outline(self) -> Outline:
        """Outline of the body in the transverse plane: a rounded box."""
        return rounded_box(self.body_mm[0] / 2, self.body_mm[1] / 2, self.body_corner_mm)

    @abstractmethod
    def shares(self, grid: VoxelGrid) -> tuple[Shares, Shares]:
        """Compute the volume shares of the grid's voxels in each target, and in each organ."""

    def objectives(self) -> tuple[tuple[str, ObjectiveTerm], ...]:
        """Make the terms of the fixed prescription, if the case has one."""
        return ()

    def phantom(self, grid_mm: float = 4.0) -> Phantom:
        """Make the phantom with a voxel spacing: the designed structures, and "Body" for the rest of the body."""
        if grid_mm > self.coarsest_grid_mm:
            raise ValueError(
                f"the grid spacing is {grid_mm:g} mm; {self.title} needs {self.coarsest_grid_mm:g} mm or finer"
            )
        grid = centered_grid(self.body_mm, self.air_mm, grid_mm)
        body = prism_share(grid, self.outline, self.body_mm[2])
        targets, organs = self.shares(grid)
        return Phantom(
            name=self.name,
            title=self.title,
            ct_hu=water_ct(body),
            grid=grid,
            structures=(
                *(Structure(name, share, is_target=True) for name, share in targets.items()),
                *(Structure(name, share) for name, share in organs.items()),
                Structure("Body", rest_of_body(body, targets.values(), organs.values())),
            ),
            gantry_angles=self.gantry_angles,
            isocenter_mm=self.isocenter_mm,
            prescription_gy=self.prescription_gy,
            lower_prescriptions_gy=dict(self.lower_prescriptions_gy),
            number_of_fractions=self.number_of_fractions,
            goals=tuple(DVHGoal.parse(goal) for goal in self.goals),
            target_margin_mm=self.target_margin_mm,
            objectives=self.objectives(),
        )
