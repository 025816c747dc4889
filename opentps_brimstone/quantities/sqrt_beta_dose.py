"""√β-weighted dose: the root of the quadratic part of the effect."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from opentps_brimstone.quantities.arrays import Array
from opentps_brimstone.quantities.base import FluenceDependentQuantity

__all__ = ["SqrtBetaDose"]


class SqrtBetaDose(FluenceDependentQuantity):
    """Root of the quadratic part of the effect, b = B w, or of photons √(βx/n) d.

    The quadratic part of the n fractions is n βx (d/n)², so that its root is √n times that of one fraction.
    """

    identifier = "sqrt_beta_dose"
    name = "Dose weighted by the root of beta"
    dependencies = ("physical_dose",)
    parameters: ClassVar[Mapping[str, float | None]] = {"betax": None, "number_of_fractions": 1.0}
    fraction_power = 0.5

    def _compute_quantity_single_scenario(self, scenario_index: int) -> Array:
        return self._factor() * self.dependency("physical_dose", scenario_index)

    def _compute_chain_derivative_single_scenario(self, d_quantity: Array, scenario_index: int) -> Array:
        return self.dependency_derivative("physical_dose", self._factor() * d_quantity, scenario_index)

    def _factor(self) -> float | Array:
        return (self.parameter("betax") / self.parameter("number_of_fractions")) ** 0.5
