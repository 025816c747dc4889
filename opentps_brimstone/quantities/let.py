"""Dose-averaged LET."""

from __future__ import annotations

from array_api_compat import array_namespace

from opentps_brimstone.quantities.arrays import Array
from opentps_brimstone.quantities.base import FluenceDependentQuantity

__all__ = ["LET"]


class LET(FluenceDependentQuantity):
    """Dose-averaged linear energy transfer, ℓ/d, and 0 with derivative 0 where there is no dose."""

    identifier = "let"
    name = "Dose-averaged LET"
    unit = "keV/µm"
    dependencies = ("let_dose", "physical_dose")

    def _compute_quantity_single_scenario(self, scenario_index: int) -> Array:
        return self.dependency("let_dose", scenario_index) * self._per_dose(scenario_index)

    def _compute_chain_derivative_single_scenario(self, d_quantity: Array, scenario_index: int) -> Array:
        per_dose = self._per_dose(scenario_index)
        d_let_dose = d_quantity * per_dose
        d_dose = -d_let_dose * per_dose * self.dependency("let_dose", scenario_index)
        return self.dependency_derivative("let_dose", d_let_dose, scenario_index) + self.dependency_derivative(
            "physical_dose", d_dose, scenario_index
        )

    def _per_dose(self, scenario_index: int) -> Array:
        """1/d, and 0 where there is no dose."""
        dose = self.dependency("physical_dose", scenario_index)
        xp = array_namespace(dose)
        one = xp.ones_like(dose)
        return xp.where(dose != 0, one / xp.where(dose != 0, dose, one), xp.zeros_like(dose))
