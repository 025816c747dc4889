"""What watching costs: the same optimization without and with a Python callback, in turns, in one run.

    python benchmarks/callback_overhead.py [--grid 4] [--repeats 15] [--clocks wall processor]

Plans a cylinder with a target on synthetic pencil beams, so that no dose engine is needed. Each repeat runs every
variant once, in an order that turns, and the overhead is the median over repeats of the paired time ratios, with its
quartiles. Wall time is that of the optimization alone, with all threads; processor time is of optimizations with one
thread, and tells more on a machine that has other work. Variants: no callback; a callback that does nothing; the
recorder; the recorder with snapshots of dose, DVHs and weights every ten iterations.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.sparse as sp

import opentps_brimstone as pb

BEAMS, BEAMLET_MM, TARGET_MM, BODY_MM, LENGTH_MM = 7, 5.0, 30.0, 100.0, 120.0


class Nothing(pb.OptimizationCallback):
    """Sees every iteration and does nothing."""

    def on_iteration(self, **_: Any) -> bool:
        """Go on."""
        return True


VARIANTS: dict[str, Callable[[], Any]] = {
    "no callback": lambda: None,
    "does nothing": Nothing,
    "recorder": pb.Recorder,
    "snapshots": lambda: pb.Recorder(10, doses=True, dvhs=True, weights=True),
}


def make_plan(grid_mm: float) -> pb.Plan:
    """A cylinder with a target and an organ, and pencil beams that fall off with depth."""
    half = np.array([BODY_MM, BODY_MM, LENGTH_MM / 2])
    axes = [np.arange(-h + grid_mm / 2, h, grid_mm) for h in half]
    x, y, z = (each.ravel() for each in np.meshgrid(*axes, indexing="ij"))
    radius = np.hypot(x, y)
    body = radius < BODY_MM
    target = (radius < TARGET_MM) & (np.abs(z) < TARGET_MM) & ~(np.hypot(x - 15, y) < 12)
    organ = (np.hypot(x - 15, y) < 10) & (np.abs(z) < TARGET_MM)
    side = np.arange(-TARGET_MM - BEAMLET_MM, TARGET_MM + 2 * BEAMLET_MM, BEAMLET_MM)
    across, along = (each.ravel() for each in np.meshgrid(side, side, indexing="ij"))
    columns = []
    for angle in np.arange(BEAMS) * 2 * np.pi / BEAMS:
        lateral = x * np.cos(angle) + y * np.sin(angle)
        depth = BODY_MM + x * np.sin(angle) - y * np.cos(angle)
        for u, v in zip(across, along, strict=True):
            near = np.flatnonzero(body & (np.abs(lateral - u) < 12) & (np.abs(z - v) < 12))
            spread = (lateral[near] - u) ** 2 + (z[near] - v) ** 2
            dose = 0.02 * np.exp(-spread / (2 * 4.0**2) - 0.005 * depth[near])
            columns.append(sp.csc_matrix((dose, (near, np.zeros(len(near), int))), shape=(len(x), 1)))
    shape = tuple(len(axis) for axis in axes)
    grid = pb.VoxelGrid(shape, (grid_mm,) * 3, tuple(float(axis[0]) for axis in axes))
    layout = pb.BeamletLayout(
        np.tile(np.column_stack([across, along]), (BEAMS, 1)), np.repeat(np.arange(BEAMS), len(across)), BEAMLET_MM
    )
    structures = [
        pb.Structure("PTV", target.reshape(shape), is_target=True),
        pb.Structure("organ", organ.reshape(shape)),
        pb.Structure("body", (body & ~target & ~organ).reshape(shape)),
    ]
    return pb.Plan.from_influence(pb.DoseInfluence(sp.hstack(columns, format="csc"), grid, layout), structures)


def optimize(plan: pb.Plan, callback: Any, threads: int | None = None) -> pb.OptimizationResult:
    """One optimization from the uniform weight."""
    optimizer = pb.PlanOptimizer(plan, pb.OptimizerSettings(threads=threads))
    optimizer.add_objective(plan.structures["PTV"], pb.KLDivergenceTerm(dose_range=(50, 53)))
    optimizer.add_objective(plan.structures["organ"], pb.KLDivergenceTerm(dvh=[(0, 1), (25, 0)], weight=0.5))
    optimizer.add_objective(plan.structures["body"], pb.KLDivergenceTerm(dvh=[(0, 1), (50, 0)], weight=0.1))
    return optimizer.optimize(callback=callback)


def wall_s(plan: pb.Plan, callback: Any) -> float:
    """Wall time of an optimization."""
    return optimize(plan, callback).time_s


def processor_s(plan: pb.Plan, callback: Any) -> float:
    """Processor time of an optimization with one thread."""
    started = time.process_time()
    optimize(plan, callback, threads=1)
    return time.process_time() - started


CLOCKS = {"wall": wall_s, "processor": processor_s}


def main() -> None:
    """Run all variants in turns and print what each adds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--grid", type=float, default=4.0, help="voxel spacing in mm")
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--clocks", nargs="+", default=list(CLOCKS), choices=list(CLOCKS))
    options = parser.parse_args()
    plan = make_plan(options.grid)
    print(plan)
    iterations = optimize(plan, None).iterations
    for clock in options.clocks:
        measure(plan, clock, options.repeats, iterations)


def measure(plan: pb.Plan, clock: str, repeats: int, iterations: int) -> None:
    """Print what each variant adds to the time without a callback."""
    names = list(VARIANTS)
    times: dict[str, list[float]] = {name: [] for name in names}
    for repeat in range(repeats):
        for turn in range(len(names)):
            name = names[(repeat + turn) % len(names)]
            times[name].append(CLOCKS[clock](plan, VARIANTS[name]()))
    base = np.array(times["no callback"])
    each = 1000 * np.median(base) / iterations
    print(f"{clock} time: {iterations} iterations of {each:.2f} ms without a callback")
    for name in names[1:]:
        low, middle, high = np.percentile(100 * (np.array(times[name]) / base - 1), (25, 50, 75))
        print(f"  {name:15} {middle:+6.2f} %   (quartiles {low:+.2f} to {high:+.2f} %)")


if __name__ == "__main__":
    main()
