"""Quantities that follow from the fluence: dose, LET, effect, BED, EQD2, RBE-weighted dose, and their derivatives.

>>> from types import SimpleNamespace
>>> import numpy as np
>>> dij = SimpleNamespace(physical_dose=np.array([[20.0, 10.0]]), alpha_beta=3.0, number_of_fractions=20)
>>> eqd2 = QuantityResolver(dij).get("eqd2")
>>> eqd2([2.0, 2.0]), eqd2.compute_chain_derivative([1.0], [2.0, 2.0])
(array([72.]), array([36., 18.]))
"""

from __future__ import annotations

from opentps_brimstone.quantities.alpha_dose import AlphaDose
from opentps_brimstone.quantities.base import FluenceDependentQuantity
from opentps_brimstone.quantities.bed import BED
from opentps_brimstone.quantities.dose_map import DoseMap
from opentps_brimstone.quantities.effect import Effect
from opentps_brimstone.quantities.eqd2 import EQD2
from opentps_brimstone.quantities.let import LET
from opentps_brimstone.quantities.let_dose import LETDose
from opentps_brimstone.quantities.of_structure import (
    checked_quantity,
    quantity_label,
    structure_map,
    structure_quantity,
)
from opentps_brimstone.quantities.physical_dose import PhysicalDose
from opentps_brimstone.quantities.previous_dose import PreviousDose
from opentps_brimstone.quantities.rbe_x_dose import RBExDose
from opentps_brimstone.quantities.registry import QUANTITIES
from opentps_brimstone.quantities.resolver import QuantityResolver
from opentps_brimstone.quantities.sqrt_beta_dose import SqrtBetaDose
from opentps_brimstone.quantities.tissue import ALPHA_BETA, PublishedAlphaBeta, SuggestedAlphaBeta, suggest_alpha_beta

__all__ = [
    "ALPHA_BETA",
    "BED",
    "EQD2",
    "LET",
    "QUANTITIES",
    "AlphaDose",
    "DoseMap",
    "Effect",
    "FluenceDependentQuantity",
    "LETDose",
    "PhysicalDose",
    "PreviousDose",
    "PublishedAlphaBeta",
    "QuantityResolver",
    "RBExDose",
    "SqrtBetaDose",
    "SuggestedAlphaBeta",
    "checked_quantity",
    "quantity_label",
    "structure_map",
    "structure_quantity",
    "suggest_alpha_beta",
]
