"""Equieffective dose in fractions of 2 Gy."""

from __future__ import annotations

from opentps_brimstone.quantities.dose_map import DoseMap
from opentps_brimstone.quantities.mapped_dose import MappedByAlphaBeta

__all__ = ["EQD2"]


class EQD2(MappedByAlphaBeta):
    """Dose of photons in fractions of 2 Gy that has the same effect, d (d/n + α/β) / (2 + α/β)."""

    identifier = "eqd2"
    name = "Equieffective dose in fractions of 2 Gy"

    def _dose_map(self) -> DoseMap:
        return DoseMap.eqd2(self.parameter("alpha_beta"), self.parameter("number_of_fractions"))
