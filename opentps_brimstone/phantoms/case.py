"""A planning case: CT, structures, fields and goals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from opentps_brimstone._typing import FloatArray

if TYPE_CHECKING:
    from opentps_brimstone.evaluation import DVHGoal
    from opentps_brimstone.model.influence import VoxelGrid
    from opentps_brimstone.model.structure import Structure
    from opentps_brimstone.optimization.terms import ObjectiveTerm

__all__ = ["Phantom"]


@dataclass(frozen=True, eq=False, kw_only=True)
class Phantom:
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

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Voxel spacing along x, y and z."""
        return self.grid.spacing_mm

    @property
    def origin_mm(self) -> tuple[float, float, float]:
        """Center of voxel [0, 0, 0]."""
        return self.grid.origin_mm

    def structure(self, name: str) -> Structure:
        """Find a structure by name; the error for an unknown one lists those there are."""
        for structure in self.structures:
            if structure.name == name:
                return structure
        names = ", ".join(structure.name for structure in self.structures)
        raise ValueError(f"phantom {self.name!r} has no structure {name!r}; it has {names}")

    def prescription_of(self, target: str) -> float:
        """Return the dose prescribed to a target, in Gy over all fractions."""
        if not self.structure(target).is_target:
            raise ValueError(f"{target!r} of phantom {self.name!r} is not a target; nothing is prescribed to it")
        return self.lower_prescriptions_gy.get(target, self.prescription_gy)
