"""How far the plans of the TG-119 suite depend on grid, beamlets and starting weights.

    python benchmarks/tg119_robustness.py [--cases c-shape ...] [--grids 3 5] [--beamlets 10] [--markdown table.md]

Every case is planned to its goals with the defaults (4 mm grid, 5 mm beamlets, uniform start), from two random starts,
with other grids, and with other beamlets; goal values are those of the optimizer's dose. The first table shows by how
much each goal value moves, and marks goals that are met with the defaults and missed otherwise. The second tells what
the grid does to a plan from what it does to its evaluation: one set of beamlet weights is judged on two grids, those
found on 4 mm also on the other grid, and those found on the other grid also on 4 mm.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from opentps_brimstone._util.silence import silent_opentps
from opentps_brimstone.adapters.phantom import to_opentps
from opentps_brimstone.evaluation import GoalTable, evaluate, mean_dose
from opentps_brimstone.goal_planning.planner import GoalPlanner
from opentps_brimstone.integration.photon_plan import plan_from_opentps
from opentps_brimstone.model.influence import BeamletLayout
from opentps_brimstone.optimization.settings import OptimizerSettings
from opentps_brimstone.phantoms import Phantom, make_phantom
from opentps_brimstone.workflow.tg119 import CASES

GRID_MM, BEAMLET_MM = 4.0, 5.0
SEEDS = (1, 2)
DEFAULTS = "defaults"
# A goal value that moves by more is marked.
LARGEST_MOVE = 0.03


class Variant(NamedTuple):
    """What a plan is made with; a seed makes random starting weights."""

    grid_mm: float = GRID_MM
    beamlet_mm: float = BEAMLET_MM
    seed: int | None = None


@dataclass(frozen=True)
class Planned:
    """A plan, and the fields it was made in."""

    goals: GoalTable
    weights: npt.NDArray[np.float64]
    layout: BeamletLayout
    means: dict[str, float]
    seconds: float


class Fields:
    """A case's beamlets on a grid, computed or from the cache."""

    def __init__(self, case: str, variant: Variant, processes: int | None) -> None:
        self.phantom: Phantom = make_phantom(case, variant.grid_mm)
        with silent_opentps():
            ct, _, photon_plan = to_opentps(self.phantom, variant.beamlet_mm)
            options: dict[str, Any] = {"progress": False, "processes": processes}
            self.plan = plan_from_opentps(photon_plan, ct, self.phantom.structures, **options)
        self.influence = self.plan.dose_influence

    def planned(self, seed: int | None, threads: int | None) -> Planned:
        """Plan to the goals."""
        start = None if seed is None else self._random_start(seed)
        began = time.perf_counter()
        planner = GoalPlanner(self.plan, self.phantom.goals, optimizer_settings=OptimizerSettings(threads=threads))
        result = planner.optimize(initial_weights=start)
        seconds = time.perf_counter() - began
        means = {s.name: mean_dose(result.dose, s.share) for s in self.phantom.structures if not s.is_target}
        return Planned(result.goals, result.beamlet_weights, self.influence.layout, means, seconds)

    def _random_start(self, seed: int) -> npt.NDArray[np.float64]:
        """Weights from 0 to twice their mean that give the first target its prescribed mean dose."""
        random = np.random.default_rng(seed).uniform(0, 2, self.influence.layout.n_beamlets)
        target = next(s for s in self.phantom.structures if s.is_target)
        dose = self.influence.dose(random, self.phantom.number_of_fractions)
        return random * self.phantom.prescription_of(target.name) / float(np.average(dose, weights=target.share))

    def judged(self, planned: Planned) -> tuple[GoalTable, float]:
        """Goals of a plan made on another grid, and the share of its weights that have no beamlet here."""
        there = dict(zip(_places(planned.layout), planned.weights.tolist(), strict=True))
        weights = np.array([there.pop(place, 0.0) for place in _places(self.influence.layout)])
        dose = self.influence.dose(weights, self.phantom.number_of_fractions)
        goals = evaluate(dose, self.phantom.structures, self.phantom.goals, grid=self.phantom.grid)
        return goals, sum(there.values()) / float(planned.weights.sum())


def _places(layout: BeamletLayout) -> list[tuple[int, int, int]]:
    """Field of each beamlet, and its middle in µm."""
    micrometers = np.round(1000 * layout.xy_mm).astype(int)
    return list(zip(layout.beam_index.tolist(), micrometers[:, 0].tolist(), micrometers[:, 1].tolist(), strict=True))


def variants(grids: Sequence[float], beamlets: Sequence[float]) -> dict[str, Variant]:
    """Every run, by name; the defaults first."""
    runs = {DEFAULTS: Variant()}
    runs |= {f"random start {seed}": Variant(seed=seed) for seed in SEEDS}
    runs |= {f"grid {grid:g} mm": Variant(grid_mm=grid) for grid in grids}
    runs |= {f"beamlets {beamlet:g} mm": Variant(beamlet_mm=beamlet) for beamlet in beamlets}
    return runs


def _move(value: float, reference: float) -> str:
    move = value / reference - 1
    return f"**{100 * move:+.1f} %**" if abs(move) > LARGEST_MOVE else f"{100 * move:+.1f} %"


def moves(case: str, plans: dict[str, Planned]) -> list[list[str]]:
    """One row for each goal and mean dose: the value with the defaults, and how far the others are from it."""
    reference = plans[DEFAULTS]
    others = [plan for name, plan in plans.items() if name != DEFAULTS]
    rows = []
    for number, was in enumerate(reference.goals):
        now = [plan.goals[number] for plan in others]
        missed = ["" if each.met else " MISSED" if was.met else " missed" for each in now]
        cells = [_move(each.value, was.value) + text for each, text in zip(now, missed, strict=True)]
        rows.append([case, str(was.goal), f"{was.value:.2f}{'' if was.met else ' missed'}", *cells])
    for name, mean in reference.means.items():
        rows.append([case, f"{name} mean", f"{mean:.2f}", *(_move(plan.means[name], mean) for plan in others)])
    return rows


def evaluations(case: str, name: str, here: Fields, there: Fields, plans: dict[str, Planned]) -> list[list[str]]:
    """One row for each goal: its values of the plan made here (defaults) and the one made there, on both grids."""
    default, other = plans[DEFAULTS], plans[name]
    default_there, lost = there.judged(default)
    other_here, lost_back = here.judged(other)
    print(f"{case}, {name}: {100 * lost:.2f} % and {100 * lost_back:.2f} % of the weights have no beamlet", flush=True)
    tables = (default.goals, default_there, other.goals, other_here)
    return [
        [case, name, str(values[0].goal), *(f"{each.value:.2f}{'' if each.met else ' missed'}" for each in values)]
        for values in zip(*tables, strict=True)
    ]


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lay out a table."""
    return "\n".join("| " + " | ".join(line) + " |" for line in [head, ["---"] * len(head), *rows])


def study(case: str, runs: dict[str, Variant], threads: int | None) -> tuple[list[Any], list[Any], dict[str, Any]]:
    """Rows of both tables, and the numbers, of a case."""
    here = Fields(case, Variant(), threads)
    plans, other_grids = {}, []
    for name, variant in runs.items():
        own = variant.grid_mm != GRID_MM or variant.beamlet_mm != BEAMLET_MM
        fields = Fields(case, variant, threads) if own else here
        plans[name] = fields.planned(variant.seed, threads)
        print(f"{case}, {name}, {plans[name].seconds:.0f} s:\n{plans[name].goals}", flush=True)
        if variant.grid_mm != GRID_MM:
            other_grids += evaluations(case, name, here, fields, plans)
    numbers = {
        name: {"goals": plan.goals.records(), "mean_doses_gy": plan.means, "seconds": plan.seconds}
        for name, plan in plans.items()
    }
    return moves(case, plans), other_grids, numbers


def main() -> None:
    """Run the study."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="*", choices=CASES, default=CASES)
    parser.add_argument("--grids", nargs="*", type=float, default=[3.0, 5.0])
    parser.add_argument("--beamlets", nargs="*", type=float, default=[10.0])
    parser.add_argument("--threads", type=int, help="threads and engine processes (default: all processors)")
    parser.add_argument("--markdown", type=Path, help="also write the tables here")
    parser.add_argument("--json", type=Path, help="also write the numbers here")
    options = parser.parse_args()
    runs = variants(options.grids, options.beamlets)
    moved: list[Any] = []
    judged: list[Any] = []
    numbers = {}
    for case in options.cases:
        rows, evaluated, numbers[case] = study(case, runs, options.threads)
        moved += rows
        judged += evaluated
        tables = markdown(["case", "goal", *runs], moved)
        if judged:
            head = ["case", "grid", "goal", "defaults", "the same, on that grid", "planned there", "the same, on 4 mm"]
            tables += "\n\n" + markdown(head, judged)
        if options.markdown:
            options.markdown.write_text(tables + "\n")
        if options.json:
            options.json.write_text(json.dumps(numbers, indent=2) + "\n")
    print(tables)


if __name__ == "__main__":
    main()
