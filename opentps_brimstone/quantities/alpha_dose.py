"""α-weighted dose: the linear part of the effect."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from opentps_brimstone.quantities.arrays import Array
from opentps_brimstone.quantities.base import FluenceDependentQuantity

__all__ = ["AlphaDose"]


class AlphaDose(FluenceDependentQuantity):
    """Linear part of the effect, a = A w, or of photons αx d."""

    identifier = "alpha_dose"
    name = "Alpha-weighted dose"
    dependencies = ("physical_dose",)
    parameters: ClassVar[Mapping[str, float | None]] = {"alphax": None}

    def _compute_quantity_single_scenario(self, scenario_index: int) -> Array:
        return self.parameter("alphax") * self.dependency("physical_dose", scenario_index)

    def _compute_chain_derivative_single_scenario(self, d_quantity: Array, scenario_index: int) -> Array:
        return self.dependency_derivative("physical_dose", self.parameter("alphax") * d_quantity, scenario_index)
