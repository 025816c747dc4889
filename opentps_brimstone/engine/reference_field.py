"""Field that says what a monitor unit is."""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["ReferenceField"]


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
