"""Doses of photons that allow for fractionation: BED and EQD2."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from opentps_brimstone.quantities.dose_map import DoseMap
from opentps_brimstone.quantities.mapped_dose import MappedDose

__all__ = ["BED", "EQD2"]


class _OfAlphaBeta(MappedDose):
    unit = "Gy"
    parameters: ClassVar[Mapping[str, float | None]] = {"alpha_beta": None, "number_of_fractions": None}


class BED(_OfAlphaBeta):
    """Biologically effective dose of photons, d (1 + d/(n α/β))."""

    identifier = "bed"
    name = "Biologically effective dose"

    def _dose_map(self) -> DoseMap:
        return DoseMap.bed(self.parameter("alpha_beta"), self.parameter("number_of_fractions"))


class EQD2(_OfAlphaBeta):
    """Dose of photons in fractions of 2 Gy that has the same effect, d (d/n + α/β) / (2 + α/β)."""

    identifier = "eqd2"
    name = "Equieffective dose in fractions of 2 Gy"

    def _dose_map(self) -> DoseMap:
        return DoseMap.eqd2(self.parameter("alpha_beta"), self.parameter("number_of_fractions"))
