"""How far the plans of the TG-119 suite depend on grid, beamlets and starting weights.

    python benchmarks/tg119_robustness.py [--cases c-shape ...] [--grids 3 5] [--beamlets 10] [--markdown table.md]

Every case is planned to its goals with the defaults (4 mm grid, 5 mm beamlets, uniform start), with other grids, with
other beamlets, and from two random starts; goal values are those of the optimiser's dose. The table shows by how much
each goal value moves, and marks goals that are met with the defaults and missed otherwise.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from opentps_brimstone.adapters.phantom import to_opentps
from opentps_brimstone.adapters.planning import plan_from_opentps
from opentps_brimstone.demo import silent_opentps
from opentps_brimstone.goal_planning import GoalPlanner
from opentps_brimstone.phantoms import make_phantom
from opentps_brimstone.tg119 import CASES

GRID_MM, BEAMLET_MM = 4.0, 5.0
SEEDS = (1, 2)


def planned(case: str, grid_mm: float, beamlet_mm: float, seed: int | None = None) -> dict[str, Any]:
    """Plan a case; `seed` makes random starting weights from 0 to twice their mean."""
    phantom = make_phantom(case, grid_mm)
    with silent_opentps():
        ct, _, photon_plan = to_opentps(phantom, beamlet_mm)
        plan = plan_from_opentps(photon_plan, ct, phantom.structures, progress=False)
    start = None
    if seed is not None:
        influence = plan.dose_influence
        random = np.random.default_rng(seed).uniform(0, 2, influence.layout.n_beamlets)
        target = next(s for s in phantom.structures if s.is_target)
        dose = influence.dose(random, phantom.number_of_fractions)
        start = random * phantom.prescription_gy / np.average(dose, weights=target.share)
    began = time.perf_counter()
    result = GoalPlanner(plan, phantom.goals).optimize(initial_weights=start)
    return {
        "seconds": time.perf_counter() - began,
        "goals": {str(row.goal): (row.value, row.met) for row in result.goals},
    }


def variants(grids: list[float], beamlets: list[float]) -> dict[str, tuple[float, float, int | None]]:
    """Grid, beamlets and seed of every run, by name; the defaults first."""
    runs: dict[str, tuple[float, float, int | None]] = {"defaults": (GRID_MM, BEAMLET_MM, None)}
    runs |= {f"random start {seed}": (GRID_MM, BEAMLET_MM, seed) for seed in SEEDS}
    runs |= {f"grid {grid:g} mm": (grid, BEAMLET_MM, None) for grid in grids}
    runs |= {f"beamlets {beamlet:g} mm": (GRID_MM, beamlet, None) for beamlet in beamlets}
    return runs


def rows_of(case: str, results: dict[str, dict[str, Any]]) -> list[list[str]]:
    """One row for each goal: the value with the defaults, and how far the others are from it."""
    reference = results["defaults"]["goals"]
    rows = []
    for goal, (value, met) in reference.items():
        cells = [f"{value:.2f}{'' if met else ' missed'}"]
        for name, result in results.items():
            if name != "defaults":
                other, other_met = result["goals"][goal]
                cells.append(f"{100 * (other / value - 1):+.1f} %{'' if other_met or not met else ' MISSED'}")
        rows.append([case, goal, *cells])
    return rows


def main() -> None:
    """Run the study."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="*", choices=CASES, default=CASES)
    parser.add_argument("--grids", nargs="*", type=float, default=[3.0, 5.0])
    parser.add_argument("--beamlets", nargs="*", type=float, default=[10.0])
    parser.add_argument("--markdown", type=Path, help="also write the table here")
    parser.add_argument("--json", type=Path, help="also write the numbers here")
    options = parser.parse_args()
    runs = variants(options.grids, options.beamlets)
    rows, numbers = [], {}
    for case in options.cases:
        results = {}
        for name, (grid_mm, beamlet_mm, seed) in runs.items():
            results[name] = planned(case, grid_mm, beamlet_mm, seed)
            print(f"{case}, {name}: {results[name]}", flush=True)
        rows += rows_of(case, results)
        numbers[case] = results
    lines = [["case", "goal", *runs], ["---"] * (2 + len(runs)), *rows]
    table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    print(table)
    if options.markdown:
        options.markdown.write_text(table + "\n")
    if options.json:
        options.json.write_text(json.dumps(numbers, indent=2))


if __name__ == "__main__":
    main()
