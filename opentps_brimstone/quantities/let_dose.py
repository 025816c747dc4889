"""LET-weighted dose."""

from __future__ import annotations

from opentps_brimstone.quantities.base import FluenceDependentQuantity

__all__ = ["LETDose"]


class LETDose(FluenceDependentQuantity):
    """Dose weighted by linear energy transfer, ℓ = L w. Only from its matrix."""

    identifier = "let_dose"
    name = "LET-weighted dose"
    unit = "Gy keV/µm"
