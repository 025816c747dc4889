"""The TG-119 suite beside OpenTPS's Scipy_L-BFGS-B, on the same beamlets.

    python benchmarks/tg119_opentps.py [--cases c-shape prostate ...] [--json table.json] [--markdown table.md]

OpenTPS minimizes the goals as its own quadratic penalties: DMIN and DMAX for what targets are to get at least and at
most, DVHMAX or DMAX for the goals of organs, DMAX for the body. A second plan of it has mean doses of organs and body
as objectives too, which no goal asks for. Its plans are normalized to the targets' goals for their lowest doses, those
of Brimstone to a margin inside them. Minutes for each case. Times are of the optimization alone. Plans that are in the
JSON file already are not made again, unless their method is named with --again.
"""

from __future__ import annotations

import copy
import json
import time
from typing import Any

import numpy as np
from in_opentps import add_objective
from tg119_arguments import study_parser

import opentps_brimstone as pb
from opentps_brimstone._util.silence import silent_opentps
from opentps_brimstone.adapters.beamlets import sparse_beamlets_from_dose_influence
from opentps_brimstone.adapters.phantom import to_opentps
from opentps_brimstone.evaluation import evaluate, mean_dose
from opentps_brimstone.evaluation.extremes import hot_spot
from opentps_brimstone.goal_planning.planner import GoalPlanner
from opentps_brimstone.integration.photon_plan import plan_from_opentps
from opentps_brimstone.phantoms import make_phantom
from opentps_brimstone.workflow.tg119 import CASES

METHOD = "Scipy_L-BFGS-B"
BRIMSTONE, GOALS, GOALS_AND_MEANS = METHODS = ("Brimstone", f"{METHOD}, goals", f"{METHOD}, goals and mean doses")
TARGET_WEIGHT, ORGAN_WEIGHT, BODY_WEIGHT, MEAN_WEIGHT = 1.0, 0.1, 0.1, 0.01


def add_goals(photon_plan: Any, rois: dict[str, Any], phantom: Any, mean_doses: bool) -> None:
    """State the goals of a case as OpenTPS objectives, and perhaps mean doses."""
    from opentps.core.data.images import ROIMask

    # OpenTPS computes no dose in voxels without an objective, such as those that are target to less than half.
    everywhere = ROIMask(
        imageArray=phantom.ct_hu > phantom.ct_hu.min(),
        origin=np.array(phantom.origin_mm),
        spacing=np.array(phantom.spacing_mm),
        name="everywhere",
    )
    add_objective(photon_plan, "DMax", everywhere, 10 * phantom.prescription_gy, 1e-6)
    for structure in phantom.structures:
        roi = rois[structure.name]
        goals = [goal for goal in phantom.goals if goal.structure == structure.name]
        if structure.is_target:
            low = max(goal.value for goal in goals if goal.relation == ">=")
            high = min(goal.value for goal in goals if goal.relation == "<=")
            add_objective(photon_plan, "DMin", roi, 1.01 * low, TARGET_WEIGHT)
            add_objective(photon_plan, "DMax", roi, 0.99 * high, TARGET_WEIGHT)
            continue
        for goal in goals:
            name = goal.metric.name
            if name == "Dmax":
                add_objective(photon_plan, "DMax", roi, goal.value, ORGAN_WEIGHT)
            else:
                add_objective(photon_plan, "DVHMax", roi, goal.value, ORGAN_WEIGHT, float(name[1:]) / 100)
        if not goals:
            add_objective(photon_plan, "DMax", roi, phantom.prescription_gy, BODY_WEIGHT)
        if mean_doses:
            mean = 0.5 * min(goal.value for goal in goals) if goals else 0.1 * phantom.prescription_gy
            add_objective(photon_plan, "DMean", roi, mean, MEAN_WEIGHT)


def run_opentps(
    method: str, photon_plan: Any, rois: dict[str, Any], phantom: Any, plan: pb.Plan, iterations: int
) -> dict[str, Any]:
    """Optimize a copy of the plan with OpenTPS."""
    from opentps.core.processing.planOptimization.planOptimization import IntensityModulationOptimizer

    trial = copy.deepcopy(photon_plan)
    trial.planDesign.beamlets = sparse_beamlets_from_dose_influence(plan.dose_influence)
    # OpenTPS's start weights are too low by the number of fractions; with one it starts at the prescribed dose.
    trial._numberOfFractionsPlanned = 1
    add_goals(trial, rois, phantom, mean_doses=method == GOALS_AND_MEANS)
    with silent_opentps():
        optimizer = IntensityModulationOptimizer(method=METHOD, plan=trial, maxiter=iterations)
        started = time.perf_counter()
        dose, _ = optimizer.optimize()
        seconds = time.perf_counter() - started
    return judged(method, np.asarray(dose.imageArray, dtype=np.float64), seconds, phantom)


def run_brimstone(phantom: Any, plan: pb.Plan) -> dict[str, Any]:
    """Plan to the goals with the defaults."""
    started = time.perf_counter()
    result = GoalPlanner(plan, phantom.goals).optimize()
    return judged(BRIMSTONE, np.asarray(result.dose), time.perf_counter() - started, phantom)


def judged(method: str, dose: np.ndarray, seconds: float, phantom: Any) -> dict[str, Any]:
    """Goals, mean doses and hot spot of a dose, normalized to the targets' lower goals."""
    table = evaluate(dose, phantom.structures, phantom.goals, grid=phantom.grid)
    lowest = [(row.goal.value, row.value) for row in table if row.goal.relation == ">="]
    if min(value for _, value in lowest) <= 0:
        raise SystemExit(f"{method} gives no dose to a target of {phantom.name}")
    factor = max(goal / value for goal, value in lowest)
    if method != BRIMSTONE:
        dose = dose * factor
        table = evaluate(dose, phantom.structures, phantom.goals, grid=phantom.grid)
    return {
        "case": phantom.name,
        "method": method,
        "time_s": seconds,
        "normalized_by": 1.0 if method == BRIMSTONE else factor,
        "goals_met": sum(row.met or abs(row.value / row.goal.value - 1) < 1e-9 for row in table),
        "goals": {f"{row.goal}": row.value for row in table},
        "mean_doses": {s.name: mean_dose(dose, s.share) for s in phantom.structures if not s.is_target},
        "hot_spot": hot_spot(dose, phantom.structures),
    }


def print_row(row: dict[str, Any]) -> None:
    """Print a plan."""
    goals = ", ".join(f"{goal}: {value:.2f}" for goal, value in row["goals"].items())
    means = ", ".join(f"{name} {dose:.2f}" for name, dose in row["mean_doses"].items())
    print(
        f"{row['case']:13s} {row['method']:36s} {row['time_s']:7.1f} s, {row['goals_met']} of {len(row['goals'])} "
        f"goals met | {goals} | mean doses: {means} | hot spot {row['hot_spot']:.1f}",
        flush=True,
    )


def markdown(rows: list[dict[str, Any]]) -> str:
    """Table of all plans; goals that are missed with their values."""
    lines = ["| case | method | goals met | mean doses (Gy) | hot spot (Gy) | time (s) |", "| --- " * 6 + "|"]
    for row in rows:
        missed = [
            f"{goal}: {value:.1f}"
            for goal, value in row["goals"].items()
            if not pb.DVHGoal.parse(goal).is_met(value) and abs(value / pb.DVHGoal.parse(goal).value - 1) > 1e-9
        ]
        met = f"{row['goals_met']} of {len(row['goals'])}" + (f" ({'; '.join(missed)})" if missed else "")
        means = ", ".join(f"{name} {dose:.2f}" for name, dose in row["mean_doses"].items())
        cells = (row["case"], row["method"], met, means, f"{row['hot_spot']:.1f}", f"{row['time_s']:.0f}")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run the comparison."""
    parser = study_parser(__doc__)
    parser.add_argument("--methods", nargs="*", choices=METHODS, default=METHODS)
    parser.add_argument("--again", nargs="*", choices=METHODS, default=(), help="make these plans anew")
    parser.add_argument("--max-iterations", type=int, default=1000, help="of OpenTPS's method")
    options = parser.parse_args()
    kept = json.loads(options.json.read_text()) if options.json and options.json.exists() else []
    table = {(row["case"], row["method"]): row for row in kept}
    for case in options.cases:
        wanted = [m for m in options.methods if (case, m) not in table or m in options.again]
        if wanted:
            phantom = make_phantom(case, options.grid)
            with silent_opentps():
                ct, rois, photon_plan = to_opentps(phantom, options.beamlet)
            plan = plan_from_opentps(photon_plan, ct, phantom.structures)
        for method in wanted:
            table[case, method] = (
                run_brimstone(phantom, plan)
                if method == BRIMSTONE
                else run_opentps(method, photon_plan, rois, phantom, plan, options.max_iterations)
            )
            print_row(table[case, method])
        rows = [table[c, m] for c in CASES for m in METHODS if (c, m) in table]
        if options.json:
            options.json.write_text(json.dumps(rows, indent=2) + "\n")
        if options.markdown:
            options.markdown.write_text(markdown(rows))


if __name__ == "__main__":
    main()
