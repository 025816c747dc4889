"""Equieffective dose in fractions of 2 Gy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from opentps_brimstone.quantities.dose_map import DoseMap
from opentps_brimstone.quantities.mapped_dose import MappedDose

__all__ = ["EQD2"]


class EQD2(MappedDose):
    """Dose of photons in fractions of 2 Gy that has the same effect, d (d/n + α/β) / (2 + α/β)."""

    identifier = "eqd2"
    name = "Equieffective dose in fractions of 2 Gy"
    unit = "Gy"
    parameters: ClassVar[Mapping[str, float | None]] = {"alpha_beta": None, "number_of_fractions": None}

    def _dose_map(self) -> DoseMap:
        return DoseMap.eqd2(self.parameter("alpha_beta"), self.parameter("number_of_fractions"))
