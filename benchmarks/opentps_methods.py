"""Brimstone beside OpenTPS's own optimisation methods, on the same beamlets and in one run.

    python benchmarks/opentps_methods.py [--grid 4] [--beamlet 5] [--methods Scipy_L-BFGS-B LBFGS FISTA]

Plans the TG-119 C-shape with each method and prints its time and plan; times are those of the optimisation alone,
without dose calculation. OpenTPS's methods minimise the goals as quadratic penalties, their own formulation. Its LBFGS
and FISTA end by default at a relative change of 1e-3, far from their best plans; --ftol 1e-5 lets them go on, for
minutes.
"""

from __future__ import annotations

import argparse
import copy
import json
import time
from pathlib import Path
from typing import Any

import numpy as np

import opentps_brimstone as pb
from opentps_brimstone.adapters.beamlets import sparse_beamlets_from_dose_influence
from opentps_brimstone.adapters.phantom import to_opentps
from opentps_brimstone.adapters.planning import plan_from_opentps
from opentps_brimstone.demo import silent_opentps
from opentps_brimstone.evaluation import dose_at_volume
from opentps_brimstone.phantoms import c_shape

METHODS = ("Scipy_L-BFGS-B", "LBFGS", "FISTA")


def add_goals(plan: Any, rois: dict[str, Any]) -> None:
    """State the C-shape's goals as OpenTPS objectives."""
    from opentps.core.data.plan import FidObjective

    metrics = FidObjective.Metrics
    objectives = plan.planDesign.objectives
    objectives.addFidObjective(rois["PTV"], metrics.DMIN, 51.0, 1.0)
    objectives.addFidObjective(rois["PTV"], metrics.DMAX, 53.0, 1.0)
    objectives.addFidObjective(rois["Core"], metrics.DMAX, 20.0, 0.1)
    objectives.addFidObjective(rois["Core"], metrics.DMEAN, 12.0, 0.01)
    objectives.addFidObjective(rois["Body"], metrics.DMAX, 50.0, 0.1)
    objectives.addFidObjective(rois["Body"], metrics.DMEAN, 5.0, 0.01)


def run_opentps(
    method: str, photon_plan: Any, rois: dict[str, Any], plan: pb.Plan, max_iterations: int, ftol: float
) -> dict[str, Any]:
    """Optimise with one of OpenTPS's methods on a copy of the plan."""
    from opentps.core.processing.planOptimization.planOptimization import IntensityModulationOptimizer

    trial = copy.deepcopy(photon_plan)
    trial.planDesign.beamlets = sparse_beamlets_from_dose_influence(plan.dose_influence)
    # OpenTPS's start weights are too low by the number of fractions; with one it starts at the prescribed dose.
    trial._numberOfFractionsPlanned = 1
    add_goals(trial, rois)
    tolerance = {} if method.startswith("Scipy") else {"ftol": ftol}
    with silent_opentps():
        optimizer = IntensityModulationOptimizer(method=method, plan=trial, maxiter=max_iterations, **tolerance)
        started = time.perf_counter()
        dose, _ = optimizer.optimize()
        seconds = time.perf_counter() - started
    return row(method, seconds, optimizer.niter, np.asarray(dose.imageArray), plan)


def run_brimstone(phantom: Any, plan: pb.Plan) -> dict[str, Any]:
    """Optimise with Brimstone and the phantom's own prescription."""
    optimizer = pb.PlanOptimizer(plan)
    for name, term in phantom.objectives:
        optimizer.add_objective(plan.structures[name], copy.deepcopy(term))
    started = time.perf_counter()
    result = optimizer.optimize()
    return row("Brimstone", time.perf_counter() - started, result.iterations, result.dose, plan)


def row(method: str, seconds: float, iterations: int, dose: np.ndarray, plan: pb.Plan) -> dict[str, Any]:
    """One line of the table."""
    share = {name: structure.share for name, structure in plan.structures.items()}
    return {
        "method": method,
        "time_s": seconds,
        "iterations": int(iterations),
        "PTV D98": dose_at_volume(dose, share["PTV"], 98),
        "PTV D95": dose_at_volume(dose, share["PTV"], 95),
        "PTV D10": dose_at_volume(dose, share["PTV"], 10),
        "Core D10": dose_at_volume(dose, share["Core"], 10),
        "Core mean": float(np.average(dose, weights=share["Core"])),
        "Body mean": float(np.average(dose, weights=share["Body"])),
        "maximum": float(dose.max()),
    }


def print_table(rows: list[dict[str, Any]]) -> None:
    """Print the rows, with each time as a multiple of Brimstone's."""
    reference = rows[0]["time_s"]
    columns = [name for name in rows[0] if name not in ("method", "time_s", "iterations")]
    print(f"{'method':16s} {'time':>9s} {'ratio':>7s} {'iter.':>6s} " + " ".join(f"{c:>9s}" for c in columns))
    for entry in rows:
        doses = " ".join(f"{entry[c]:9.2f}" for c in columns)
        ratio = entry["time_s"] / reference
        print(f"{entry['method']:16s} {entry['time_s']:7.2f} s {ratio:7.1f} {entry['iterations']:6d} {doses}")
    print("doses in Gy over all fractions; ratio: time over Brimstone's, preparation included")


def main() -> None:
    """Run the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--grid", type=float, default=4.0, help="dose grid in mm")
    parser.add_argument("--beamlet", type=float, default=5.0, help="beamlet size in mm")
    parser.add_argument("--methods", nargs="*", choices=METHODS, default=METHODS, help="to compare with")
    parser.add_argument("--max-iterations", type=int, default=1000, help="of OpenTPS's methods")
    parser.add_argument("--ftol", type=float, default=1e-3, help="relative change at which LBFGS and FISTA stop")
    parser.add_argument("--json", type=Path, help="also write the table here")
    options = parser.parse_args()

    phantom = c_shape(grid_mm=options.grid)
    with silent_opentps():
        ct, rois, photon_plan = to_opentps(phantom, options.beamlet)
    plan = plan_from_opentps(photon_plan, ct, list(rois.values()))
    matrix = plan.dose_influence.matrix
    print(f"{matrix.shape[1]} beamlets, {matrix.shape[0]} voxels, {matrix.nnz / 1e6:.1f} million nonzeros")
    rows = [run_brimstone(phantom, plan)]
    rows += [
        run_opentps(method, photon_plan, rois, plan, options.max_iterations, options.ftol) for method in options.methods
    ]
    print_table(rows)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2))


if __name__ == "__main__":
    main()
