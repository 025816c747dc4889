"""The TG-119 C-shape of the demo, planned by Brimstone, by OpenTPS's methods, and by SciPy on Brimstone's cost.

Times are those of the optimization alone, without dose calculation; Brimstone's include its preparation. OpenTPS's
methods minimize the goals as quadratic penalties, their own formulation. Its LBFGS and FISTA end by default at a
relative change of 1e-3, far from their best plans; ``ftol`` 1e-5 lets them go on, for minutes.
"""

from __future__ import annotations

import copy
import importlib.metadata
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from in_opentps import add_objective
from numpy_cost import NumpyCost
from scipy.optimize import minimize

import opentps_brimstone as pb
from opentps_brimstone._util.silence import silent_opentps
from opentps_brimstone.adapters.beamlets import sparse_beamlets_from_dose_influence
from opentps_brimstone.adapters.phantom import to_opentps
from opentps_brimstone.evaluation import dose_at_volume
from opentps_brimstone.integration.photon_plan import plan_from_opentps
from opentps_brimstone.phantoms import c_shape

OPENTPS_METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "Brimstone": ("Brimstone", {}),
    "Scipy_L-BFGS-B": ("Scipy_L-BFGS-B", {}),
    "Scipy_L-BFGS-B-cropped": ("Scipy_L-BFGS-B", {"croppedMultiplication": True}),
    "Scipy_L-BFGS-B-MT-2": ("Scipy_L-BFGS-B", {"hardwareAcceleration": "MT-2"}),
    "LBFGS": ("LBFGS", {}),
    "FISTA": ("FISTA", {}),
}
"""OpenTPS's methods, some with an acceleration that OpenTPS 3 has, and this package's as it is registered there."""


OPENTPS = f"OpenTPS {importlib.metadata.version('opentps-core')}"


@dataclass
class CShapeCase:
    """The phantom with its beamlets, for OpenTPS and for this package."""

    phantom: Any
    ct: Any
    rois: dict[str, Any]
    photon_plan: Any
    plan: pb.Plan
    threads: int

    def optimizer(self, **settings: Any) -> pb.PlanOptimizer:
        """Optimizer with the phantom's own prescription."""
        optimizer = pb.PlanOptimizer(self.plan, pb.OptimizerSettings(threads=self.threads, **settings))
        for name, term in self.phantom.objectives:
            optimizer.add_objective(self.plan.structures[name], copy.deepcopy(term))
        return optimizer


def make_case(grid_mm: float, beamlet_mm: float, threads: int) -> CShapeCase:
    """Make the case; its beamlets come from OpenTPS's dose engine or the cache.

    Parameters
    ----------
    grid_mm, beamlet_mm : float
        Sizes of voxels and beamlets.
    threads : int
        Of the core.
    """
    phantom = c_shape(grid_mm=grid_mm)
    with silent_opentps():
        ct, rois, photon_plan = to_opentps(phantom, beamlet_mm)
        plan = plan_from_opentps(photon_plan, ct, list(rois.values()), progress=False)
    return CShapeCase(phantom, ct, rois, photon_plan, plan, threads)


def plan_row(method: str, seconds: float, iterations: int, dose: np.ndarray, shares: dict[str, Any]) -> dict[str, Any]:
    """One line of the table: a method, its time in s and its doses in Gy.

    Parameters
    ----------
    method : str
    seconds : float
    iterations : int
    dose : ndarray
        Gy.
    shares : dict of str to ndarray
        "PTV", "Core" and "Body" on the grid of the dose.
    """
    return {
        "method": method,
        "time_s": seconds,
        "iterations": int(iterations),
        "PTV D98": dose_at_volume(dose, shares["PTV"], 98),
        "PTV D95": dose_at_volume(dose, shares["PTV"], 95),
        "PTV D10": dose_at_volume(dose, shares["PTV"], 10),
        "Core D10": dose_at_volume(dose, shares["Core"], 10),
        "Core mean": float(np.average(dose, weights=shares["Core"])),
        "Body mean": float(np.average(dose, weights=shares["Body"])),
        "maximum": float(dose.max()),
    }


def run_brimstone(case: CShapeCase, search: str, repeats: int = 3) -> tuple[dict[str, Any], pb.OptimizationResult]:
    """Optimize with Brimstone; the fastest of a few runs, whose plans are bitwise the same."""
    results = [case.optimizer(search=search).optimize() for _ in range(repeats)]
    best = min(results, key=lambda result: result.time_s + result.preparation_s)
    seconds = best.time_s + best.preparation_s
    line = plan_row(f"Brimstone, {search}", seconds, best.iterations, best.dose, _shares(case))
    return line | {"preparation_s": best.preparation_s}, best


def run_opentps(method: str, case: CShapeCase, max_iterations: int, ftol: float) -> dict[str, Any]:
    """Optimize with one of OpenTPS's methods on a copy of the plan."""
    from opentps.core.processing.planOptimization.planOptimization import IntensityModulationOptimizer

    trial = copy.deepcopy(case.photon_plan)
    trial.planDesign.beamlets = sparse_beamlets_from_dose_influence(case.plan.dose_influence)
    # OpenTPS's start weights are too low by the number of fractions; with one it starts at the prescribed dose.
    trial._numberOfFractionsPlanned = 1
    _add_goals(trial, case.rois)
    name, options = OPENTPS_METHODS[method]
    if name in ("LBFGS", "FISTA"):
        options = options | {"ftol": ftol}
    pb.register()
    with silent_opentps():
        optimizer = IntensityModulationOptimizer(method=name, plan=trial, maxiter=max_iterations, **options)
        started = time.perf_counter()
        dose, _ = optimizer.optimize()
        seconds = time.perf_counter() - started
    pb.unregister()
    return plan_row(f"{OPENTPS} {method}", seconds, optimizer.niter, np.asarray(dose.imageArray), _shares(case))


def _add_goals(plan: Any, rois: dict[str, Any]) -> None:
    """State the C-shape's goals as OpenTPS objectives."""
    add_objective(plan, "DMin", rois["PTV"], 51.0, 1.0)
    add_objective(plan, "DMax", rois["PTV"], 53.0, 1.0)
    add_objective(plan, "DMax", rois["Core"], 20.0, 0.1)
    add_objective(plan, "DMean", rois["Core"], 12.0, 0.01)
    add_objective(plan, "DMax", rois["Body"], 50.0, 0.1)
    add_objective(plan, "DMean", rois["Body"], 5.0, 0.01)


def _shares(case: CShapeCase) -> dict[str, Any]:
    return {name: structure.share for name, structure in case.plan.structures.items()}


# ------------------------------------------------------------------------------------- SciPy on Brimstone's cost


class _Reached(StopIteration):
    """The cost wanted is reached, or the time is over."""


def run_scipy(
    case: CShapeCase, weights: np.ndarray, how: str, max_iterations: int, max_seconds: float
) -> dict[str, Any]:
    """Minimize Brimstone's cost with SciPy's L-BFGS-B until it is as low as that of a plan.

    The parameters are weights of at least 0, in units of the uniform weight, with which all start; SciPy's own tests
    for the end are off, and it goes on from where its line search fails, with an empty memory.

    Parameters
    ----------
    case : CShapeCase
    weights : ndarray, shape (n_beamlets,)
        MU per fraction of the plan whose cost is to be reached.
    how : {"core", "numpy"}
        Where cost and gradient come from: the compiled core, or NumPy and SciPy alone.
    max_iterations : int
    max_seconds : float
        Limits, reached or not.

    Returns
    -------
    dict
        A line of the table; ``cost`` and ``wanted_cost`` are by `Prescription.evaluate`, ``reached`` says whether the
        first is as low as the second, and ``cost_error`` and ``gradient_error`` how far core and NumPy are apart at the
        start, relative to the cost and to the highest component of the gradient. (At other weights the gradients may
        differ by a single voxel whose dose rounds to the other side of the edge between two bins: there it jumps.)
    """
    optimizer = case.optimizer()
    prescription = optimizer.prescription
    wanted, _ = prescription.evaluate(weights)  # puts the plan together for the core: preparation, not counted
    assert prescription._assembled is not None
    start = prescription._assembled[1].uniform_weight / case.plan.number_of_fractions
    in_numpy = NumpyCost(case.plan, prescription.objectives, optimizer.settings)
    uniform = np.full_like(weights, start)
    cost_error, gradient_error = _difference(prescription.evaluate(uniform), in_numpy(uniform))
    cost_of: Callable[..., Any] = prescription.evaluate if how == "core" else in_numpy

    evaluations, started = 0, time.perf_counter()

    def cost_and_gradient(x: np.ndarray) -> tuple[float, np.ndarray]:
        nonlocal evaluations
        evaluations += 1
        cost, gradient = cost_of(x * start)
        return cost, gradient * start

    def watch(intermediate_result: Any) -> None:
        if intermediate_result.fun <= wanted or time.perf_counter() - started > max_seconds:
            raise _Reached

    x, lowest, iterations, before = np.ones_like(weights), np.inf, 0, np.inf
    while lowest > wanted and iterations < max_iterations and time.perf_counter() - started < max_seconds:
        result = minimize(
            cost_and_gradient,
            x,
            jac=True,
            method="L-BFGS-B",
            bounds=[(0.0, None)] * len(weights),
            callback=watch,
            options={"maxiter": max_iterations - iterations, "maxfun": 10**7, "ftol": 0.0, "gtol": 0.0},
        )
        before, x, lowest = lowest, result.x, result.fun
        iterations += result.nit
        if not lowest < before:
            break
    seconds = time.perf_counter() - started
    cost, _ = prescription.evaluate(x * start)
    dose = case.plan.dose_influence.dose(x * start, case.plan.number_of_fractions)
    line = plan_row(f"SciPy L-BFGS-B, cost by {how}", seconds, iterations, dose, _shares(case))
    return line | {
        "evaluations": evaluations,
        "cost": cost,
        "wanted_cost": wanted,
        # The cost in NumPy is good to four digits or so.
        "reached": bool(cost <= wanted * (1 + 1e-4)),
        "cost_error": cost_error,
        "gradient_error": gradient_error,
    }


def _difference(first: tuple[float, np.ndarray], second: tuple[float, np.ndarray]) -> tuple[float, float]:
    cost = abs(first[0] - second[0]) / abs(first[0])
    gradient = np.abs(first[1] - second[1]).max() / np.abs(first[1]).max()
    return cost, float(gradient)
