"""OpenTPS's own classes, for the version that is installed: objectives, and its L-BFGS at its best."""

from __future__ import annotations

import copy
import importlib
import time
from typing import Any

import numpy as np

__all__ = ["add_objective", "optimize_in_opentps"]


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


def optimize_in_opentps(photon_plan: Any, most_iterations: int) -> tuple[np.ndarray, float, int]:
    """Optimize a copy of a plan with Scipy_L-BFGS-B until nothing changes any more.

    Parameters
    ----------
    photon_plan : opentps PhotonPlan
        With beamlets and objectives.
    most_iterations : int

    Returns
    -------
    dose : ndarray
        Gy.
    seconds : float
    iterations : int
    """
    from opentps.core.processing.planOptimization.planOptimization import IntensityModulationOptimizer

    trial = copy.deepcopy(photon_plan)
    optimizer = IntensityModulationOptimizer(
        method="Scipy_L-BFGS-B",
        plan=trial,
        maxiter=most_iterations,
        maxfun=10 * most_iterations,
        ftol=1e-9,
        gtol=1e-9,
        croppedMultiplication=True,
    )
    started = time.perf_counter()
    dose, _ = optimizer.optimize()
    return np.asarray(dose.imageArray, dtype=np.float64), time.perf_counter() - started, int(optimizer.niter)
