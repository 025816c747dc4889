"""Biologically effective dose."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from opentps_brimstone.quantities.dose_map import DoseMap
from opentps_brimstone.quantities.mapped_dose import MappedDose

__all__ = ["BED"]


class BED(MappedDose):
    """Biologically effective dose of photons, d (1 + d/(n α/β))."""

    identifier = "bed"
    name = "Biologically effective dose"
    unit = "Gy"
    parameters: ClassVar[Mapping[str, float | None]] = {"alpha_beta": None, "number_of_fractions": None}

    def _dose_map(self) -> DoseMap:
        return DoseMap.bed(self.parameter("alpha_beta"), self.parameter("number_of_fractions"))
