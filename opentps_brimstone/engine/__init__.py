"""Dose: this package's collapsed cone engine, and OpenTPS's own program run safely; calibration of MU."""

from __future__ import annotations

from opentps_brimstone.engine.compute import compute_beamlets, compute_dose, engine_info
from opentps_brimstone.engine.errors import DoseCanceledError, DoseMemoryError, EngineError

__all__ = [
    "DoseCanceledError",
    "DoseMemoryError",
    "EngineError",
    "compute_beamlets",
    "compute_dose",
    "engine_info",
]
