"""Objectives in OpenTPS's own classes, for the version that is installed."""

from __future__ import annotations

import importlib
from typing import Any

__all__ = ["add_objective"]


def add_objective(photon_plan: Any, metric: str, roi: Any, limit_gy: float, weight: float, volume: float = 1.0) -> None:
    """Add an objective to an OpenTPS plan.

    Parameters
    ----------
    photon_plan : opentps PhotonPlan
    metric : {"DMin", "DMax", "DMean", "DVHMax"}
    roi : opentps ROIMask
    limit_gy : float
        Over all fractions.
    weight : float
    volume : float
        Share of the ROI that DVHMax is about.
    """
    listed = photon_plan.planDesign.objectives
    if hasattr(listed, "addFidObjective"):  # OpenTPS 2
        share = {"volume": 100.0 * volume} if metric == "DVHMax" else {}
        listed.addFidObjective(roi, metric, limit_gy, weight, **share)
        return
    classes = importlib.import_module("opentps.core.processing.planOptimization.objectives.dosimetricObjectives")
    name = "DMaxMean" if metric == "DMean" else metric
    share = {"volume": volume} if metric == "DVHMax" else {}
    listed.addObjective(getattr(classes, name)(roi, limit_gy, weight=weight, **share))
