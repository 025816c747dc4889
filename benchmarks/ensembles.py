"""Ensembles of plans: plans per minute by processes, beside memory bandwidth, and the memory that workers take.

    python benchmarks/ensembles.py speed              # 10 million nonzeros, one process and two
    python benchmarks/ensembles.py memory             # 300 million nonzeros, four workers; needs about 20 GB
    python benchmarks/ensembles.py tradeoff           # target, core and body of the C-shape
    python benchmarks/ensembles.py angles             # the mock prostate: 5 of 24 directions, beside the report's 7

Memory is the sum of the workers' proportional set sizes: what several processes map is counted once.
"""

from __future__ import annotations

import argparse
import copy
import logging
import os
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Self

import numpy as np
from synthetic import synthetic_plan

import opentps_brimstone as pb
from opentps_brimstone.ensembles import Ensemble, choose_beam_angles, explore_tradeoff, plan_of_beams
from opentps_brimstone.phantoms import make_phantom

_MIB = 2**20


def variants(objectives, count: int, **settings) -> list[dict[str, object]]:
    """Vary the weight of the second term."""
    made = []
    for factor in np.geomspace(0.3, 3.0, count):
        terms = [(name, copy.copy(term)) for name, term in objectives]
        terms[1][1].weight *= factor
        made.append({"objectives": terms, "settings": pb.OptimizerSettings(**settings)})
    return made


def speed(nonzeros: float, count: int) -> None:
    """Print plans per minute of one process with one thread, of one with two, and of two with one each."""
    plan, objectives = synthetic_plan(nonzeros)
    asked = variants(objectives, count)
    print(f"{plan.dose_influence.matrix.nnz / 1e6:.1f} M nonzeros, {count} variants")
    print("workers  threads each  plans per minute  seconds per plan  CPU seconds per plan")
    found = []
    for workers, threads in ((1, 1), (1, 2), (2, 1)):
        with Ensemble(plan, workers=workers, threads=threads) as ensemble:
            ensemble.run(asked[:workers])  # starts the processes, and writes the matrix
            before = _cpu_s(ensemble)
            results = ensemble.run(asked)
            used = (_cpu_s(ensemble) - before) / count
        found.append(results.beamlet_weights)
        seconds = np.mean([each.time_s for each in results])
        print(
            f"{workers:7d}  {threads:12d}  {60 * count / results.time_s:16.1f}  {seconds:16.2f}  {used:20.2f}",
            flush=True,
        )
    print("bitwise the same:", all(np.array_equal(found[0], other) for other in found[1:]))


def memory(nonzeros: float, workers: int, iterations: int) -> None:
    """Print the memory stated before, and what is measured while all workers search."""
    logging.basicConfig(level=logging.INFO, format="stated: %(message)s")
    started = time.perf_counter()
    plan, objectives = synthetic_plan(nonzeros)
    matrix = plan.dose_influence.matrix
    voxels = sum(int(structure.touched.sum()) for structure in plan.structures)
    print(
        f"{matrix.nnz / 1e6:.1f} M nonzeros, {plan.grid.n_voxels / 1e6:.2f} M voxels, {voxels / 1e6:.2f} M of interest"
    )
    print(f"made in {time.perf_counter() - started:.0f} s", flush=True)
    with tempfile.TemporaryDirectory() as folder, Ensemble(plan, workers=workers, threads=1, folder=folder) as ensemble:
        for title, count in (("first plans, which write the matrix", workers), ("later plans", workers)):
            with _Watch(ensemble) as watch:
                results = ensemble.run(variants(objectives, count, max_iterations=iterations + (title[0] == "l")))
            print(f"{title}: {results.summary}, {results.time_s:.0f} s, {watch.summary}", flush=True)
        for name in ("influence", "structures", "core"):
            size = sum(path.stat().st_size for path in (Path(folder) / name).rglob("*") if path.is_file())
            print(f"files of {name}: {size / _MIB:.0f} MiB")


def tradeoff(count: int) -> None:
    """Print how many of the C-shape's plans nothing dominates, and how well mixtures are known."""
    phantom = make_phantom("c-shape", 4.0)
    plan = phantom.to_plan()
    plan.compute_dose_influence("PTV", margin_mm=phantom.target_margin_mm, progress=False)
    criteria = ["PTV D95", "Core D10", "Body Dmean"]
    found = explore_tradeoff(plan, phantom.objectives, count, criteria=criteria, progress=False)
    print(f"{found.summary}, in {found.time_s:.0f} s")
    for low in (49.8, 50.2, 50.6, 51.0):
        started = time.perf_counter()
        mixed = found.navigate({"PTV D95": low}, prefer="Core D10")
        took = time.perf_counter() - started
        off = np.abs(np.asarray(mixed.dose) - plan.dose_of(mixed.beamlet_weights)).max()
        values = ", ".join(f"{name} {value:.2f}" for name, value in mixed.values.items())
        print(f"PTV D95 >= {low}: {values}; {took * 1000:.0f} ms; dose within {off:.1e} Gy of the recalculated one")


def angles(candidates: int, count: int) -> None:
    """Print the goals of chosen directions beside those of the report's."""
    phantom = make_phantom("prostate", 4.0)
    report = phantom.to_plan()
    every = replace(phantom, gantry_angles=tuple(360.0 / candidates * i for i in range(candidates))).to_plan()
    for plan in (report, every):
        plan.compute_dose_influence("PTV", margin_mm=phantom.target_margin_mm, progress=False)
    started = time.perf_counter()
    chosen = choose_beam_angles(every, phantom.goals, count, progress=False)
    print(f"{', '.join(chosen.names)}: {chosen.plans_made} plans in {time.perf_counter() - started:.0f} s")
    print(chosen)
    even = [round(candidates / count * i) % candidates for i in range(count)]
    for title, plan in (
        (f"the report's {len(report.beams)}", report),
        (f"{count} chosen of {candidates}", plan_of_beams(every, chosen.beams)),
        (f"{count} spread evenly", plan_of_beams(every, even)),
    ):
        result = pb.GoalPlanner(plan, phantom.goals).optimize()
        body = float(np.average(np.asarray(result.dose), weights=plan.structures["Body"].share))
        print(f"\n{title}: {result.goals.summary}, Body Dmean {body:.2f} Gy\n{result.goals}", flush=True)


class _Watch:
    """Follows the memory of an ensemble's processes while a block runs."""

    def __init__(self, ensemble: Ensemble) -> None:
        self._ensemble = ensemble
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._follow)
        self._highest = {"Pss": 0, "Pss_File": 0, "Pss_Anon": 0}
        self._of_one = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    @property
    def summary(self) -> str:
        """Highest sums over the workers."""
        total, mapped, own = (self._highest[name] / 1024 for name in ("Pss", "Pss_File", "Pss_Anon"))
        one = self._of_one / 1024
        return f"together {total:.0f} MiB: mapped {mapped:.0f}, own {own:.0f}; own of one at most {one:.0f}"

    def _follow(self) -> None:
        while not self._end.wait(1.0):
            taken = [_rollup(process) for process in self._ensemble._pool.processes]
            for name in self._highest:
                self._highest[name] = max(self._highest[name], sum(each.get(name, 0) for each in taken))
            self._of_one = max([self._of_one, *(each.get("Pss_Anon", 0) for each in taken)])


def _cpu_s(ensemble: Ensemble) -> float:
    """CPU time of all processes so far, which a busy machine changes less than wall time."""
    ticks = 0
    for process in ensemble._pool.processes:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def _rollup(process: int) -> dict[str, int]:
    """Sizes in KiB."""
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()[1:]
    except OSError:
        return {}
    return {line.split(":")[0]: int(line.split()[1]) for line in lines}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("speed", "memory", "tradeoff", "angles"))
    parser.add_argument("--nonzeros", type=float)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--count", type=int, help="plans; of angles, beams to choose")
    parser.add_argument("--candidates", type=int, default=24, help="directions")
    parser.add_argument("--iterations", type=int, default=15, help="of each level, for memory")
    given = parser.parse_args()
    if given.what == "speed":
        speed(given.nonzeros or 1e7, given.count or 16)
    elif given.what == "tradeoff":
        tradeoff(given.count or 48)
    elif given.what == "angles":
        angles(given.candidates, given.count or 5)
    else:
        memory(given.nonzeros or 3e8, given.workers, given.iterations)
