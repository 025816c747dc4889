"""RBE-weighted dose."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from array_api_compat import array_namespace

from opentps_brimstone.quantities.arrays import Array, check
from opentps_brimstone.quantities.base import FluenceDependentQuantity

__all__ = ["RBExDose"]


class RBExDose(FluenceDependentQuantity):
    """Dose of photons in as many fractions that has the same effect: αx R + βx R²/n = E.

    Solved as R = 2 E / (αx + √(αx² + 4 βx E/n)), which holds for βx = 0 too and cancels no digits.
    """

    identifier = "rbe_x_dose"
    name = "RBE-weighted dose"
    unit = "Gy(RBE)"
    dependencies = ("effect",)
    parameters: ClassVar[Mapping[str, float | None]] = {"alphax": None, "betax": None, "number_of_fractions": 1.0}

    def _compute_quantity_single_scenario(self, scenario_index: int) -> Array:
        effect = self.dependency("effect", scenario_index)
        return 2.0 * effect / (self.parameter("alphax") + self._root(effect))

    def _compute_chain_derivative_single_scenario(self, d_quantity: Array, scenario_index: int) -> Array:
        root = self._root(self.dependency("effect", scenario_index))
        return self.dependency_derivative("effect", d_quantity / root, scenario_index)

    def _root(self, effect: Array) -> Array:
        """√(αx² + 4 βx E/n), the derivative of the effect by R."""
        quadratic = self.parameter("betax") / self.parameter("number_of_fractions")
        square = self.parameter("alphax") ** 2 + 4.0 * quadratic * effect
        wanted = "above -alphax² n/(4 betax), as that of every dose is: check for negative weights"
        check(square > 0, effect, "the effect", "voxel", wanted)
        return array_namespace(effect).sqrt(square)
