"""What an evaluation costs if its terms are on EQD2, against the same terms on dose.

python benchmarks/quantities.py          # sizes in nonzeros may follow, such as 1e7

Cost and gradient at the finest level, of all terms on dose, in EQD2 with one α/β for each structure, and in cumulative
EQD2 with an earlier dose that differs from voxel to voxel. The three take turns, so that they meet the same machine.
"""

from __future__ import annotations

import argparse
import copy
import json
import time
from typing import Any

import numpy as np
from synthetic import synthetic_plan

import opentps_brimstone as pb
from opentps_brimstone import _core
from opentps_brimstone.optimization.core_plan import assemble
from opentps_brimstone.optimization.core_settings import level_settings

_ALPHA_BETA_GY = {"target": 10.0, "organ": 3.0}
_FRACTIONS = 25


def make_objective(nonzeros: float, kind: str, threads: int) -> tuple[_core.LevelObjective, np.ndarray]:
    """Assemble the finest level's cost, and give parameters to evaluate it at.

    Parameters
    ----------
    kind : {"dose", "eqd2", "cumulative"}
    """
    plan, terms = synthetic_plan(nonzeros)
    plan.number_of_fractions = _FRACTIONS
    if kind == "cumulative":
        before = np.random.default_rng(0).uniform(0.0, 20.0, plan.grid.shape)
        plan.set_previous_dose(before, 10)
    optimizer = pb.PlanOptimizer(plan, pb.OptimizerSettings(threads=threads))
    for name, term in terms:
        structure = plan.structures[name]
        structure.alpha_beta = _ALPHA_BETA_GY["target" if structure.is_target else "organ"]
        own = copy.copy(term)
        if kind != "dose":
            own.quantity = "eqd2"
        optimizer.add_objective(structure, own)
    settings = optimizer.settings
    assembled = assemble(plan, optimizer.prescription.objectives, settings)
    limit = assembled.uniform_weight / settings.uniform_share
    objective = assembled.core.objective(level_settings(settings, 0, 0, assembled.reference_dose, limit))
    n = len(assembled.beamlets)
    return objective, objective.parameter(assembled.uniform_weight * np.random.default_rng(1).uniform(0.5, 1.5, n))


def measure(nonzeros: float, threads: int, repeats: int) -> dict[str, Any]:
    """Shortest time of an evaluation of each kind in ms, and its ratio to that on dose."""
    kinds = ("dose", "eqd2", "cumulative")
    objectives = {kind: make_objective(nonzeros, kind, threads) for kind in kinds}
    wall = {kind: [] for kind in kinds}
    processor = {kind: [] for kind in kinds}
    for _ in range(repeats):
        for kind, (objective, parameter) in objectives.items():
            started, used = time.perf_counter(), time.process_time()
            objective.cost_and_gradient(parameter)
            wall[kind].append(time.perf_counter() - started)
            processor[kind].append(time.process_time() - used)
    row: dict[str, Any] = {"nonzeros": nonzeros, "threads": threads}
    for kind in kinds:
        row[kind] = {
            "ms": round(1e3 * min(wall[kind]), 3),
            "cpu_ms": round(1e3 * min(processor[kind]), 3),
            "times_dose": round(min(wall[kind]) / min(wall["dose"]), 3),
            "times_dose_cpu": round(float(np.median(processor[kind]) / np.median(processor["dose"])), 3),
        }
    return row


def main() -> None:
    """Print a line of JSON for each size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("nonzeros", nargs="*", type=float, default=[1e6, 1e7, 4e7])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=60)
    given = parser.parse_args()
    for nonzeros in given.nonzeros:
        print(json.dumps(measure(nonzeros, given.threads, given.repeats)), flush=True)


if __name__ == "__main__":
    main()
