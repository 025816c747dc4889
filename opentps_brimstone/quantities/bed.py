"""Biologically effective dose."""

from __future__ import annotations

from opentps_brimstone.quantities.dose_map import DoseMap
from opentps_brimstone.quantities.mapped_dose import MappedByAlphaBeta

__all__ = ["BED"]


class BED(MappedByAlphaBeta):
    """Biologically effective dose of photons, d (1 + d/(n α/β))."""

    identifier = "bed"
    name = "Biologically effective dose"

    def _dose_map(self) -> DoseMap:
        return DoseMap.bed(self.parameter("alpha_beta"), self.parameter("number_of_fractions"))
