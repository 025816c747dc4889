"""A planning case: CT, structures, fields and goals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from opentps_brimstone._typing import FloatArray
from opentps_brimstone.model.grid import OnGrid
from opentps_brimstone.model.plan import Plan
from opentps_brimstone.model.series import Series

if TYPE_CHECKING:
    from opentps_brimstone.evaluation import DVHGoal
    from opentps_brimstone.model.influence import VoxelGrid
    from opentps_brimstone.model.structure import Structure
    from opentps_brimstone.optimization.terms import ObjectiveTerm

__all__ = ["Phantom"]


@dataclass(frozen=True, eq=False, kw_only=True)
class Phantom(OnGrid):
    """A planning case: CT, structures, fields and goals.

    Attributes
    ----------
    name : str
        Name in `PHANTOMS`.
    title : str
        Name for people.
    ct_hu : ndarray, shape (nx, ny, nz)
        HU; read-only.
    grid : VoxelGrid
        Of the CT, and of the dose.
    structures : tuple of Structure
        With volume shares in [0, 1].
    gantry_angles : tuple of float
        IEC, in degrees, of static fields with couch and collimator at 0.
    prescription_gy : float
        Highest dose prescribed to a target, over all fractions.
    target_margin_mm : float
        How far beyond the targets' projection beamlets reach.
    lower_prescriptions_gy : mapping of str to float
        Dose prescribed to targets that get less than `prescription_gy`.
    objectives : tuple of (str, ObjectiveTerm)
        A fixed prescription, for comparisons that do not use the goals: structure names and terms. Empty if there is
        none.
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
    target_margin_mm: float
    lower_prescriptions_gy: Mapping[str, float] = field(default_factory=dict)
    objectives: tuple[tuple[str, ObjectiveTerm], ...] = field(default=(), repr=False)

    def structure(self, name: str) -> Structure:
        """Find a structure by name; the error for an unknown one lists those there are."""
        for structure in self.structures:
            if structure.name == name:
                return structure
        names = ", ".join(structure.name for structure in self.structures)
        raise ValueError(f"phantom {self.name!r} has no structure {name!r}; it has {names}")

    def to_plan(self) -> Plan:
        """Make a plan of the phantom with its fields, whose dose influence is not computed yet."""
        series = Series(self.ct_hu, self.grid.spacing_mm, self.grid.origin_mm, self.structures, name=self.title)
        plan = Plan(series, self.number_of_fractions, dose_grid_mm=self.grid.spacing_mm)
        for angle in self.gantry_angles:
            plan.add_beam(angle, self.isocenter_mm)
        return plan

    def prescription_of(self, target: str) -> float:
        """Return the dose prescribed to a target, in Gy over all fractions."""
        if not self.structure(target).is_target:
            raise ValueError(f"{target!r} of phantom {self.name!r} is not a target; nothing is prescribed to it")
        return self.lower_prescriptions_gy.get(target, self.prescription_gy)
