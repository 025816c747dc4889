"""The dose of a monitor unit."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from opentps_brimstone.engine.choice import EngineChoice


@dataclass(frozen=True)
class ReferenceField:
    """Field in water whose dose defines the MU of a machine.

    Attributes
    ----------
    field_mm : float
        Side of the square field in the isocenter plane.
    depth_mm : float
        Depth of the calibration point on the axis.
    sad_mm : float
        Source to isocenter.
    ssd_mm : float
        Source to water surface. Default: with the calibration point at the isocenter.
    gy_per_mu : float
        Dose of one machine MU at the calibration point.
    """

    field_mm: float = 100.0
    depth_mm: float = 100.0
    sad_mm: float = 1000.0
    ssd_mm: float = math.nan
    gy_per_mu: float = 0.01

    def __post_init__(self) -> None:
        if math.isnan(self.ssd_mm):
            object.__setattr__(self, "ssd_mm", float(self.sad_mm - self.depth_mm))
        for name, unit in (
            ("field_mm", "mm"),
            ("depth_mm", "mm"),
            ("sad_mm", "mm"),
            ("ssd_mm", "mm"),
            ("gy_per_mu", "Gy"),
        ):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"{name} of the reference field is {value:g} {unit}; it must be positive")
        if self.ssd_mm > self.sad_mm:
            raise ValueError(
                f"the water surface at {self.ssd_mm:g} mm lies beyond the isocenter at {self.sad_mm:g} mm; the dose "
                "engine needs the isocenter inside the tank"
            )

    def __str__(self) -> str:
        side = self.field_mm / 10
        return (
            f"{self.gy_per_mu * 100:g} cGy/MU in a {side:g} x {side:g} cm field, {self.depth_mm / 10:g} cm deep in "
            f"water, SSD {self.ssd_mm / 10:g} cm"
        )


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
