"""Leaf sequencing: from a beam's fluence to apertures of a multileaf collimator."""

from __future__ import annotations

from opentps_brimstone.sequencing.mlc import AGILITY, HD_120, MILLENNIUM_120, MLC, MLCS, JawTravel, get_mlc
from opentps_brimstone.sequencing.segments import Aperture, JawPositions, SequencedBeam, open_shares

__all__ = [
    "AGILITY",
    "HD_120",
    "MILLENNIUM_120",
    "MLC",
    "MLCS",
    "Aperture",
    "JawPositions",
    "JawTravel",
    "SequencedBeam",
    "get_mlc",
    "open_shares",
]
