"""Physical dose."""

from __future__ import annotations

from opentps_brimstone.quantities.base import FluenceDependentQuantity

__all__ = ["PhysicalDose"]


class PhysicalDose(FluenceDependentQuantity):
    """Absorbed dose, d = D w. Only from its matrix."""

    identifier = "physical_dose"
    name = "Physical dose"
    unit = "Gy"
