"""OpenTPS's collapsed-cone dose engine: run safely, cached, calibrated."""

from __future__ import annotations

from opentps_brimstone.engine.compute import EngineError, compute_beamlets, compute_dose, engine_info

__all__ = ["EngineError", "compute_beamlets", "compute_dose", "engine_info"]
