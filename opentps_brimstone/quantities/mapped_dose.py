"""Quantities of photons that are a function of dose, voxel by voxel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from opentps_brimstone.quantities.arrays import Array
from opentps_brimstone.quantities.base import FluenceDependentQuantity
from opentps_brimstone.quantities.dose_map import DoseMap

__all__ = ["MappedByAlphaBeta", "MappedDose"]


class MappedDose(FluenceDependentQuantity):
    """A quantity q(d) of each voxel; subclasses say which."""

    dependencies = ("physical_dose",)

    def _dose_map(self) -> DoseMap:
        raise NotImplementedError

    def _compute_quantity_single_scenario(self, scenario_index: int) -> Array:
        return self._dose_map().value(self.dependency("physical_dose", scenario_index))

    def _compute_chain_derivative_single_scenario(self, d_quantity: Array, scenario_index: int) -> Array:
        slope = self._dose_map().slope(self.dependency("physical_dose", scenario_index))
        return self.dependency_derivative("physical_dose", slope * d_quantity, scenario_index)


class MappedByAlphaBeta(MappedDose):
    """One that takes α/β and the number of fractions."""

    unit = "Gy"
    parameters: ClassVar[Mapping[str, float | None]] = {"alpha_beta": None, "number_of_fractions": None}
