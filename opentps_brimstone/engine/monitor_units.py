"""The dose of a monitor unit."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from opentps_brimstone.engine.choice import EngineChoice
from opentps_brimstone.engine.reference_field import ReferenceField


@dataclass(frozen=True)
class Calibration:
    """Conversion between MU of the dose engine and of the machine.

    Attributes
    ----------
    gy_per_engine_mu : float
        Dose of one engine MU at the calibration point.
    beamlet_mm : (float, float)
        Size of the beamlets it is valid for.
    voxel_mm : (float, float, float)
        Size of the voxels it is valid for.
    reference : ReferenceField
    choice : EngineChoice
        How its dose was computed.
    """

    gy_per_engine_mu: float
    beamlet_mm: tuple[float, float]
    voxel_mm: tuple[float, float, float]
    reference: ReferenceField = field(default_factory=ReferenceField)
    choice: EngineChoice = field(default_factory=EngineChoice)

    @property
    def factor(self) -> float:
        """Machine MU per engine MU."""
        return self.gy_per_engine_mu / self.reference.gy_per_mu

    def machine_mu(self, engine_mu: npt.ArrayLike) -> Any:
        """Convert engine MU, one number or an array, to machine MU."""
        return np.multiply(engine_mu, self.factor)

    def engine_mu(self, machine_mu: npt.ArrayLike) -> Any:
        """Convert machine MU, one number or an array, to engine MU."""
        return np.divide(machine_mu, self.factor)

    def __str__(self) -> str:
        beamlet = f"beamlets of {' x '.join(f'{size:g}' for size in self.beamlet_mm)} mm"
        given = "scatter through the whole patient" if self.choice.scatter == "full" else beamlet
        voxel = " x ".join(f"{size:g}" for size in self.voxel_mm)
        return f"{self.reference}; 1 engine MU is {self.factor:.4f} MU with {given} and voxels of {voxel} mm"
