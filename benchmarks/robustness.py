"""Robust plans of TG-119's C-shape: what shifts of 3 mm along six directions do to them, and what that costs the core.

    python benchmarks/robustness.py
    python benchmarks/robustness.py --picture docs/pictures/robustness.png

The core is asked for the goal of the report's harder case, D10 <= 10 Gy, so that dose falls steeply beside the target.
Doses of all scenarios are computed anew to judge the plans.
"""

from __future__ import annotations

import argparse
import logging
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

import opentps_brimstone as pb
from opentps_brimstone.ensembles import RobustnessResult
from opentps_brimstone.phantoms.c_shape import C_SHAPE_HARD
from opentps_brimstone.visualization import plot_dvh_bands, structure_colors

GOALS = ("PTV D95 >= 50 Gy", "PTV D10 <= 55 Gy", "Core D10 <= 10 Gy", "Core Dmean <= 10 Gy", "Body Dmean <= 10 Gy")
KINDS: dict[str, dict[str, Any] | None] = {
    "nominal": None,
    "expected": {"kind": "expected"},
    "worst case": {"kind": "worst_case"},
    "CVaR, alpha 0.3": {"kind": "cvar", "alpha": 0.3},
}


def main() -> None:
    """Print the table, and draw the picture if it is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--grid", type=float, default=4.0, help="voxel spacing in mm")
    parser.add_argument("--shift", type=float, default=3.0, help="in mm")
    parser.add_argument("--picture", type=Path)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    design = replace(C_SHAPE_HARD, core_range_gy=(0.0, 10.0), core_weight=1.0)
    phantom = design.phantom(arguments.grid)
    plan = phantom.to_plan()
    scenarios = pb.setup_scenarios(arguments.shift)
    started = time.perf_counter(), time.process_time()
    plan.compute_dose_influence("PTV", margin_mm=phantom.target_margin_mm, progress=False)
    computed = time.perf_counter(), time.process_time()
    plan.compute_scenarios(scenarios, ["PTV"], progress=False)
    done = time.perf_counter(), time.process_time()
    nonzeros = [each.dose_influence.matrix.nnz / 1e6 for each in plan.scenarios]
    print(
        f"beamlets {computed[0] - started[0]:.1f} s ({computed[1] - started[1]:.1f} s of CPU), of six scenarios "
        f"{done[0] - computed[0]:.1f} s ({done[1] - computed[1]:.1f} s); {nonzeros[0]:.1f} M nonzeros, "
        f"{sum(nonzeros):.1f} M of all"
    )
    judged = {}
    print("terms            PTV D95 planned  worst  in       PTV D10  Core D10  worst  mean   Body mean  search CPU s")
    for title, robust in KINDS.items():
        result, cpu_s = optimized(plan, design.objectives(), robust)
        judged[title] = found = pb.evaluate_robustness(plan, scenarios, GOALS, progress=False)
        print(_row(title, found, cpu_s), f"  {result.message}", flush=True)
    print()
    for title, found in judged.items():
        print(f"{title}: {found.summary}\n{found}\n")
    if arguments.picture is not None:
        picture(judged, plan).savefig(arguments.picture, dpi=80)


def optimized(plan: pb.Plan, objectives: Any, robust: dict[str, Any] | None) -> tuple[pb.OptimizationResult, float]:
    """Optimize with robust terms on the target, together one group, or without; return the result and CPU seconds."""
    optimizer = pb.PlanOptimizer(plan)
    for name, term in objectives:
        own = pb.robust_term(term, group="target", **robust) if robust and name == "PTV" else term
        optimizer.add_objective(plan.structures[name], own)
    started = time.process_time()
    result = optimizer.optimize()
    return result, time.process_time() - started


def _row(title: str, found: RobustnessResult, cpu_s: float) -> str:
    planned = [each.value for each in found.goals[0]]
    worst = [found.worst(number) for number in range(len(planned))]
    return (
        f"{title:16s} {planned[0]:15.2f}  {worst[0][0].value:5.2f}  {worst[0][1].name:7s}  {worst[1][0].value:7.2f}  "
        f"{planned[2]:8.2f}  {worst[2][0].value:5.2f}  {planned[3]:5.2f}  {planned[4]:9.2f}  {cpu_s:12.1f}"
    )


def picture(judged: dict[str, RobustnessResult], plan: pb.Plan) -> Figure:
    """Draw the bands of histograms of target and core without and with the worst case."""
    figure = Figure(figsize=(11, 4.4), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    colors = structure_colors(list(plan.structures))
    for ax, title in zip(axes, ("nominal", "worst case"), strict=True):
        bands = judged[title].bands(["PTV", "Core"])
        plot_dvh_bands(bands, colors, highest_gy=58.0, ax=ax)
        worst, scenario = judged[title].worst(0)
        ax.axvline(50.0, color="0.4", linewidth=1, linestyle=(0, (2, 2)))
        ax.set_title(f"{title}: D95 of the target at least {worst.value:.1f} Gy ({scenario.name})", fontsize=11)
        ax.set_xlim(0, 60)
        ax.set_yticks(np.arange(0, 101, 20))
    axes[1].set_ylabel("")
    return figure


if __name__ == "__main__":
    main()
