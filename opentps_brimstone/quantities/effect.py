"""Biological effect of the linear-quadratic model."""

from __future__ import annotations

from opentps_brimstone.quantities.arrays import Array
from opentps_brimstone.quantities.base import FluenceDependentQuantity

__all__ = ["Effect"]


class Effect(FluenceDependentQuantity):
    """Effect of all fractions, E = a + b²: the survival of cells is exp(−E)."""

    identifier = "effect"
    name = "Biological effect"
    dependencies = ("alpha_dose", "sqrt_beta_dose")

    def _compute_quantity_single_scenario(self, scenario_index: int) -> Array:
        return self.dependency("alpha_dose", scenario_index) + self.dependency("sqrt_beta_dose", scenario_index) ** 2

    def _compute_chain_derivative_single_scenario(self, d_quantity: Array, scenario_index: int) -> Array:
        d_root = 2.0 * self.dependency("sqrt_beta_dose", scenario_index) * d_quantity
        return self.dependency_derivative("alpha_dose", d_quantity, scenario_index) + self.dependency_derivative(
            "sqrt_beta_dose", d_root, scenario_index
        )
