"""Why the defaults are what they are: TG-119 cases planned with one setting changed at a time.

    python benchmarks/tg119_defaults.py [--cases prostate c-shape] [--jobs 2] [--markdown table.md]

Each row changes a setting of `OptimizerSettings` or `GoalPlannerSettings`, or the weights that the first round starts
from; the first row is the defaults. Every cell says how many goals are met, by how much they are missed in sum, as a
share of each goal; how the mean doses outside the targets compare with those of the defaults (mean of the structures'
ratios); how the least MU do that segments of this fluence need; the volume outside the targets that gets 95 % of the
prescription or more; and the processor time.
"""

from __future__ import annotations

import json
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
from tg119_arguments import study_parser

from opentps_brimstone._util.silence import silent_opentps
from opentps_brimstone.adapters.phantom import to_opentps
from opentps_brimstone.evaluation import mean_dose
from opentps_brimstone.goal_planning.planner import GoalPlanner
from opentps_brimstone.goal_planning.settings import GoalPlannerSettings
from opentps_brimstone.integration.photon_plan import plan_from_opentps
from opentps_brimstone.optimization.settings import OptimizerSettings
from opentps_brimstone.phantoms import make_phantom

Changes = dict[str, Any]

OPTIMIZER: list[Changes] = [
    {"kl_direction": "target_calc"},
    {"grid_of_level": (0, 0, 0, 0, 0)},
    {"grid_of_level": (0, 1, 2, 2, 2)},
    {"gaussian_bin_sigma": 0.1},
    {"gaussian_bin_sigma": 0.4},
    {"variance_ratio": 9.0},
    {"tail_length": 0.02},
    {"tail_length": 0.1},
    {"target_smoothing": "half"},
    {"uniform_share": 0.1},
    {"uniform_share": 0.4},
]
PLANNER: list[Changes] = [
    {"first_levels": 1},
    {"first_levels": 4},
    {"later_level": 0},
    {"later_level": 2},
    {"tolerance": 1e-3},
    {"tolerance": 5e-5},
    {"roughness_weight": 0.0},
    {"roughness_weight": 0.1},
    {"roughness_weight": 1.0},
    {"guard_share": 1.01},
    {"rest_weight": 0.1},
    {"rest_weight": 1.0},
    {"organ_weight": 0.3},
    {"mean_weight": 0.03},
    {"mean_weight": 1.0},
    {"step": 1.7},
    {"pull": 0.5},
    {"target_width": 0.4},
    {"cold_spot_weight": 50.0},
    {"cold_spot_weight": 5000.0},
]
SLOW: list[Changes] = [{"dynamic_covariance": False}, {"search": "conjugate_gradient"}]
SEEDS = (1, 2)
HIGH_DOSE = 0.95


@cache
def fields(case: str, grid_mm: float, beamlet_mm: float) -> tuple[Any, Any]:
    """Phantom and plan of a case, once in each process."""
    phantom = make_phantom(case, grid_mm)
    with silent_opentps():
        ct, _, photon_plan = to_opentps(phantom, beamlet_mm)
        return phantom, plan_from_opentps(photon_plan, ct, phantom.structures, progress=False)


def random_start(phantom: Any, plan: Any, seed: int) -> Any:
    """Weights from 0 to twice their mean that give the first target its prescribed mean dose."""
    random = np.random.default_rng(seed).uniform(0, 2, plan.dose_influence.layout.n_beamlets)
    target = next(s for s in phantom.structures if s.is_target)
    dose = plan.dose_influence.dose(random, phantom.number_of_fractions)
    return random * phantom.prescription_of(target.name) / np.average(dose, weights=target.share)


def least_mu(layout: Any, weights: Any) -> float:
    """MU of the fields one after the other if no leaf ever waits: the sum of all rises in a field's costliest row."""
    total = 0.0
    for beam in np.unique(layout.beam_index):
        of_beam = layout.beam_index == beam
        (x, y), fluence = np.round(layout.xy_mm[of_beam], 3).T, weights[of_beam]
        order = np.lexsort((x, y))
        y, fluence = y[order], fluence[order]
        before = np.where(np.diff(y, prepend=np.nan) == 0, np.roll(fluence, 1), 0.0)
        rises = np.maximum(fluence - before, 0.0)
        total += max(rises[y == row].sum() for row in np.unique(y))
    return total


def planned(task: tuple[str, float, float, Changes, Changes, int | None]) -> dict[str, Any]:
    """Plan a case with some settings changed, on one thread."""
    case, grid_mm, beamlet_mm, optimizer, planner, seed = task
    phantom, plan = fields(case, grid_mm, beamlet_mm)
    start = None if seed is None else random_start(phantom, plan, seed)
    began = time.process_time()
    settings = replace(OptimizerSettings(threads=1), **optimizer)
    planner_settings = replace(GoalPlannerSettings(), **planner)
    result = GoalPlanner(plan, phantom.goals, planner_settings, settings).optimize(initial_weights=start)
    hot = result.dose >= HIGH_DOSE * phantom.prescription_gy
    outside = sum(s.share for s in phantom.structures if not s.is_target)
    return {
        "met": sum(row.met for row in result.goals),
        "of": len(result.goals),
        "missed": sum(abs(row.value / row.goal.value - 1) for row in result.goals if not row.met),
        "means": {s.name: mean_dose(result.dose, s.share) for s in phantom.structures if not s.is_target},
        "mu": least_mu(plan.dose_influence.layout, result.beamlet_weights),
        "hot_cc": float(outside[hot].sum()) * np.prod(phantom.spacing_mm) / 1000,
        "goals": {str(row.goal): row.value for row in result.goals},
        "rounds": len(result.rounds),
        "iterations": result.iterations,
        "seconds": time.process_time() - began,
    }


def cell(result: dict[str, Any], defaults: dict[str, Any]) -> str:
    """What a plan is worth beside that of the defaults."""
    ratio = np.mean([mean / defaults["means"][name] for name, mean in result["means"].items()]) - 1
    missed = f", missed by {100 * result['missed']:.1f} %" if result["met"] < result["of"] else ""
    mu = result["mu"] / defaults["mu"] - 1
    compared = (
        f", {result['mu']:.0f} MU" if result is defaults else f", means {100 * ratio:+.1f} %, MU {100 * mu:+.0f} %"
    )
    hot = f"{result['hot_cc']:.0f} cm³"
    return f"{result['met']}/{result['of']}{missed}{compared}, {hot}, {result['seconds']:.0f} s"


def rows() -> list[tuple[str, Changes, Changes, int | None]]:
    """Name and changes of every row; the defaults first. Wrong settings are found here."""
    changes: list[tuple[Changes, Changes, int | None]] = [({}, {}, None)]
    changes += [(each, {}, None) for each in OPTIMIZER]
    changes += [({}, each, None) for each in PLANNER]
    changes[1:1] = [({}, {}, seed) for seed in SEEDS]
    changes += [(each, {}, None) for each in SLOW]
    named = []
    for optimizer, planner, seed in changes:
        replace(OptimizerSettings(), **optimizer)
        replace(GoalPlannerSettings(), **planner)
        texts = [f"{key} = {value}" for key, value in (optimizer | planner).items()]
        texts += [] if seed is None else [f"random start {seed}"]
        named.append((", ".join(texts) or "defaults", optimizer, planner, seed))
    return named


def main() -> None:
    """Run the study."""
    parser = study_parser(__doc__, ["prostate", "c-shape"])
    parser.add_argument("--jobs", type=int, default=2, help="plans made at a time, each on one thread")
    options = parser.parse_args()
    study = rows()
    for case in options.cases:
        fields(case, options.grid, options.beamlet)  # so that the processes find the beamlets in the cache
    fields.cache_clear()
    tasks = [
        (case, options.grid, options.beamlet, optimizer, planner, seed)
        for _, optimizer, planner, seed in study
        for case in options.cases
    ]
    lines = ["| setting | " + " | ".join(options.cases) + " |", "| --- |" + " --- |" * len(options.cases)]
    print("\n".join(lines), flush=True)
    numbers: dict[str, dict[str, Any]] = {}
    with ProcessPoolExecutor(options.jobs) as pool:
        results = pool.map(planned, tasks)
        for name, *_ in study:
            numbers[name] = {case: next(results) for case in options.cases}
            cells = [cell(numbers[name][case], numbers["defaults"][case]) for case in options.cases]
            lines.append(f"| {name} | " + " | ".join(cells) + " |")
            print(lines[-1], flush=True)
            if options.markdown:
                options.markdown.write_text("\n".join(lines) + "\n")
            if options.json:
                options.json.write_text(json.dumps(numbers, indent=2) + "\n")


if __name__ == "__main__":
    main()
