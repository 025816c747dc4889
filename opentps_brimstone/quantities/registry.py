"""Which quantities there are."""

from __future__ import annotations

from opentps_brimstone.quantities.alpha_dose import AlphaDose
from opentps_brimstone.quantities.base import FluenceDependentQuantity
from opentps_brimstone.quantities.bed import BED
from opentps_brimstone.quantities.effect import Effect
from opentps_brimstone.quantities.eqd2 import EQD2
from opentps_brimstone.quantities.let import LET
from opentps_brimstone.quantities.let_dose import LETDose
from opentps_brimstone.quantities.physical_dose import PhysicalDose
from opentps_brimstone.quantities.rbe_x_dose import RBExDose
from opentps_brimstone.quantities.sqrt_beta_dose import SqrtBetaDose

__all__ = ["QUANTITIES"]

_OWN = (PhysicalDose, LET, LETDose, AlphaDose, SqrtBetaDose, Effect, RBExDose, BED, EQD2)

QUANTITIES: dict[str, type[FluenceDependentQuantity]] = {quantity.identifier: quantity for quantity in _OWN}
