"""The TG-119 suite beside OpenTPS's Scipy_L-BFGS-B, on the same beamlets.

    python benchmarks/tg119_opentps.py [--cases c-shape prostate ...] [--json table.json]

OpenTPS minimises the goals as its own quadratic penalties: DMIN and DMAX for what targets are to get at least and at
most, DVHMAX or DMAX for the goals of organs, DMEAN for organs and body. The plans of both are normalised to the
targets' goals for their lowest doses. Minutes for each case. Times are of the optimisation alone.
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
from opentps_brimstone.evaluation import evaluate, mean_dose
from opentps_brimstone.goal_planning import GoalPlanner
from opentps_brimstone.phantoms import make_phantom
from opentps_brimstone.tg119 import CASES, hot_spot

METHOD = "Scipy_L-BFGS-B"
TARGET_WEIGHT, ORGAN_WEIGHT, BODY_WEIGHT, MEAN_WEIGHT = 1.0, 0.1, 0.1, 0.01


def add_goals(photon_plan: Any, rois: dict[str, Any], phantom: Any) -> None:
    """State the goals of a case as OpenTPS objectives."""
    from opentps.core.data.images import ROIMask
    from opentps.core.data.plan import FidObjective

    metrics, objectives = FidObjective.Metrics, photon_plan.planDesign.objectives
    # OpenTPS computes no dose in voxels without an objective, such as those that are target to less than half.
    everywhere = ROIMask(
        imageArray=phantom.ct_hu > phantom.ct_hu.min(),
        origin=np.array(phantom.origin_mm),
        spacing=np.array(phantom.spacing_mm),
        name="everywhere",
    )
    objectives.addFidObjective(everywhere, metrics.DMAX, 10 * phantom.prescription_gy, 1e-6)
    for structure in phantom.structures:
        roi = rois[structure.name]
        goals = [goal for goal in phantom.goals if goal.structure == structure.name]
        if structure.is_target:
            low = max(goal.value for goal in goals if goal.relation == ">=")
            high = min(goal.value for goal in goals if goal.relation == "<=")
            objectives.addFidObjective(roi, metrics.DMIN, 1.01 * low, TARGET_WEIGHT)
            objectives.addFidObjective(roi, metrics.DMAX, 0.99 * high, TARGET_WEIGHT)
            continue
        for goal in goals:
            name = goal.metric.name
            if name == "Dmax":
                objectives.addFidObjective(roi, metrics.DMAX, goal.value, ORGAN_WEIGHT)
            else:
                objectives.addFidObjective(roi, metrics.DVHMAX, goal.value, ORGAN_WEIGHT, volume=float(name[1:]))
        if goals:
            lowest = min(goal.value for goal in goals)
            objectives.addFidObjective(roi, metrics.DMEAN, 0.5 * lowest, MEAN_WEIGHT)
        else:
            objectives.addFidObjective(roi, metrics.DMAX, phantom.prescription_gy, BODY_WEIGHT)
            objectives.addFidObjective(roi, metrics.DMEAN, 0.1 * phantom.prescription_gy, MEAN_WEIGHT)


def run_opentps(photon_plan: Any, rois: dict[str, Any], phantom: Any, plan: pb.Plan, iterations: int) -> dict[str, Any]:
    """Optimise a copy of the plan with OpenTPS."""
    from opentps.core.processing.planOptimization.planOptimization import IntensityModulationOptimizer

    trial = copy.deepcopy(photon_plan)
    trial.planDesign.beamlets = sparse_beamlets_from_dose_influence(plan.dose_influence)
    # OpenTPS's start weights are too low by the number of fractions; with one it starts at the prescribed dose.
    trial._numberOfFractionsPlanned = 1
    add_goals(trial, rois, phantom)
    with silent_opentps():
        optimizer = IntensityModulationOptimizer(method=METHOD, plan=trial, maxiter=iterations)
        started = time.perf_counter()
        dose, _ = optimizer.optimize()
        seconds = time.perf_counter() - started
    return judged(METHOD, np.asarray(dose.imageArray, dtype=np.float64), seconds, phantom)


def run_brimstone(phantom: Any, plan: pb.Plan) -> dict[str, Any]:
    """Plan to the goals with the defaults."""
    started = time.perf_counter()
    result = GoalPlanner(plan, phantom.goals).optimize()
    return judged("Brimstone", np.asarray(result.dose), time.perf_counter() - started, phantom)


def judged(method: str, dose: np.ndarray, seconds: float, phantom: Any) -> dict[str, Any]:
    """Goals, mean doses and hot spot of a dose, normalised to the targets' lower goals."""
    table = evaluate(dose, phantom.structures, phantom.goals, grid=phantom.grid)
    lowest = [(row.goal.value, row.value) for row in table if row.goal.relation == ">="]
    if min(value for _, value in lowest) <= 0:
        raise SystemExit(f"{method} gives no dose to a target of {phantom.name}")
    factor = max(goal / value for goal, value in lowest)
    if method != "Brimstone":
        dose = dose * factor
        table = evaluate(dose, phantom.structures, phantom.goals, grid=phantom.grid)
    return {
        "case": phantom.name,
        "method": method,
        "time_s": seconds,
        "normalised_by": 1.0 if method == "Brimstone" else factor,
        "goals_met": sum(row.met or abs(row.value / row.goal.value - 1) < 1e-9 for row in table),
        "goals": {f"{row.goal}": row.value for row in table},
        "mean_doses": {s.name: mean_dose(dose, s.share) for s in phantom.structures if not s.is_target},
        "hot_spot": hot_spot(phantom, dose),
    }


def print_rows(rows: list[dict[str, Any]]) -> None:
    """Print two plans of a case."""
    for row in rows:
        goals = ", ".join(f"{goal}: {value:.2f}" for goal, value in row["goals"].items())
        means = ", ".join(f"{name} {dose:.2f}" for name, dose in row["mean_doses"].items())
        print(
            f"{row['case']:13s} {row['method']:15s} {row['time_s']:7.1f} s, {row['goals_met']} of {len(row['goals'])} "
            f"goals met | {goals} | mean doses: {means} | hot spot {row['hot_spot']:.1f}",
            flush=True,
        )


def main() -> None:
    """Run the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="*", choices=CASES, default=CASES)
    parser.add_argument("--grid", type=float, default=4.0, help="dose grid in mm")
    parser.add_argument("--beamlet", type=float, default=5.0, help="beamlet size in mm")
    parser.add_argument("--max-iterations", type=int, default=1000, help="of OpenTPS's method")
    parser.add_argument("--json", type=Path, help="also write the table here")
    options = parser.parse_args()
    table = []
    for case in options.cases:
        phantom = make_phantom(case, options.grid)
        with silent_opentps():
            ct, rois, photon_plan = to_opentps(phantom, options.beamlet)
        plan = plan_from_opentps(photon_plan, ct, phantom.structures)
        rows = [run_brimstone(phantom, plan), run_opentps(photon_plan, rois, phantom, plan, options.max_iterations)]
        print_rows(rows)
        table += rows
        if options.json:
            options.json.write_text(json.dumps(table, indent=2))


if __name__ == "__main__":
    main()
