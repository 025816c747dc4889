"""Why the defaults are what they are: TG-119 cases planned with one setting changed at a time.

    python benchmarks/tg119_defaults.py [--cases prostate c-shape-hard] [--markdown docs/tg119-defaults.md]

Each row is a setting of `OptimizerSettings` or `GoalPlannerSettings`; the first row is the defaults. "missed" is by how
much the goals are missed in sum, as a share of each goal; "mean" is the sum of the mean doses outside the targets in
Gy.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from opentps_brimstone.adapters.phantom import to_opentps
from opentps_brimstone.adapters.planning import plan_from_opentps
from opentps_brimstone.demo import silent_opentps
from opentps_brimstone.evaluation import mean_dose
from opentps_brimstone.goal_planning import GoalPlanner
from opentps_brimstone.goal_prescription import GoalPlannerSettings
from opentps_brimstone.optimizer import OptimizerSettings
from opentps_brimstone.phantoms import make_phantom
from opentps_brimstone.tg119 import CASES

OPTIMIZER: list[dict[str, Any]] = [
    {"kl_direction": "target_calc"},
    {"gaussian_bin_sigma": 0.1},
    {"gaussian_bin_sigma": 0.4},
    {"variance_ratio": 9.0},
    {"grid_of_level": (0, 0, 0, 0, 0)},
    {"grid_of_level": (0, 1, 2, 2, 2)},
    {"tail_length": 0.02},
    {"tail_length": 0.1},
    {"uniform_share": 0.1},
    {"search": "conjugate_gradient"},
]
PLANNER: list[dict[str, Any]] = [
    {"first_levels": 1},
    {"first_levels": 4},
    {"later_level": 0},
    {"later_level": 2},
    {"tolerance": 1e-3},
    {"tolerance": 5e-5},
    {"pull": 0.5},
    {"pull": 0.85},
    {"step": 1.4},
    {"target_width": 0.4},
    {"cold_spot_weight": 30.0},
    {"cold_spot_weight": 3000.0},
    {"mean_weight": 400.0},
]


def planned(plan: Any, phantom: Any, optimizer: dict[str, Any], planner: dict[str, Any]) -> str:
    """Plan a case with some settings changed: what is missed, mean doses, time."""
    began = time.perf_counter()
    result = GoalPlanner(
        plan, phantom.goals, replace(GoalPlannerSettings(), **planner), replace(OptimizerSettings(), **optimizer)
    ).optimize()
    seconds = time.perf_counter() - began
    missed = sum(abs(row.value / row.goal.value - 1) for row in result.goals if not row.met)
    mean = sum(mean_dose(result.dose, s.share) for s in phantom.structures if not s.is_target)
    return (
        f"{sum(row.met for row in result.goals)}/{len(result.goals)}, {100 * missed:.1f} %, {mean:.2f}, {seconds:.0f} s"
    )


def main() -> None:
    """Run the study."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="*", choices=CASES, default=["prostate", "c-shape-hard"])
    parser.add_argument("--grid", type=float, default=4.0, help="dose grid in mm")
    parser.add_argument("--beamlet", type=float, default=5.0, help="beamlet size in mm")
    parser.add_argument("--markdown", type=Path, help="also write the table here")
    options = parser.parse_args()
    cases = {}
    for case in options.cases:
        phantom = make_phantom(case, options.grid)
        with silent_opentps():
            ct, _, photon_plan = to_opentps(phantom, options.beamlet)
        cases[case] = phantom, plan_from_opentps(photon_plan, ct, phantom.structures, progress=False)
    variants: list[tuple[dict[str, Any], dict[str, Any]]] = [({}, {})]
    variants += [(changed, {}) for changed in OPTIMIZER] + [({}, changed) for changed in PLANNER]
    head = [f"{case}: goals met, missed, mean, time" for case in cases]
    lines = ["| setting | " + " | ".join(head) + " |", "| --- |" + " --- |" * len(cases)]
    print("\n".join(lines), flush=True)
    for optimizer, planner in variants:
        name = ", ".join(f"{key} = {value}" for key, value in (optimizer | planner).items()) or "defaults"
        cells = [planned(plan, phantom, optimizer, planner) for phantom, plan in cases.values()]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
        print(lines[-1], flush=True)
        if options.markdown:
            options.markdown.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
