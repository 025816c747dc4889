"""A cost with its gradient, against bandwidth and SciPy's products; and the memory that an optimization takes.

python benchmarks/core_speed.py 1e7     # peak memory of an optimization of this size, as JSON
"""

from __future__ import annotations

import argparse
import gc
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import numpy as np
from bandwidth import Memory
from synthetic import synthetic_plan

import opentps_brimstone as pb
from opentps_brimstone import _core
from opentps_brimstone.optimization import core_plan
from opentps_brimstone.optimization.core_settings import level_settings
from opentps_brimstone.optimization.matrix_files import MatrixFiles
from opentps_brimstone.optimization.row_blocks import BlockRows, RowBlocks, grid_index

MIB = 2**20
_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")


def fastest(work: Callable[[], Any], seconds: float, fewest: int = 3) -> float:
    """Shortest time of `work` in s, of as many runs as fit into a time, after one that does not count."""
    work()
    times: list[float] = []
    while len(times) < fewest or sum(times) < seconds:
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return min(times)


def make_optimizer(nonzeros: float, threads: int) -> pb.PlanOptimizer:
    """Optimizer of a synthetic case."""
    plan, terms = synthetic_plan(nonzeros)
    optimizer = pb.PlanOptimizer(plan, pb.OptimizerSettings(threads=threads))
    for name, term in terms:
        optimizer.add_objective(plan.structures[name], term)
    return optimizer


def core_matrix(assembled: core_plan.AssembledPlan, matrix: Any, threads: int) -> _core.DoseMatrix:
    """Build the matrix that the core of an assembled plan has, once more and by itself."""
    row_map = np.full(matrix.shape[0], -1, dtype=np.int32)
    row_map[assembled.voxels] = assembled.rows
    n_rows = int(assembled.core.matrix_shape(0)[0])
    start = matrix.indptr.astype(np.int64)
    return _core.DoseMatrix(
        matrix.shape[0], start, matrix.indices, matrix.data, row_map, n_rows, assembled.beamlets, threads
    )


def measure_evaluation(nonzeros: float, threads: int, memory: Memory, seconds: float = 2.0) -> dict[str, Any]:
    """Cost and gradient of a synthetic case, and the products in it.

    Parameters
    ----------
    nonzeros : float
        Size of the case.
    threads : int
        Of the core; SciPy's products use one.
    memory : Memory
        Its bandwidth is measured before each evaluation, as on many machines it changes from moment to moment.
    seconds : float
        For how long to repeat each measurement; the fastest counts.

    Returns
    -------
    dict
        Times in s; ratios as their names say, that to reading the matrix twice the median of pairs; ``dose_deviation``
        is the largest difference of the dose in fast precision from SciPy's, relative to the maximum.
    """
    optimizer = make_optimizer(nonzeros, threads)
    influence = optimizer.plan.dose_influence
    matrix = influence.matrix
    terms = optimizer.prescription.objectives
    settings = optimizer.settings
    one_grid = settings.single_grid()
    started = time.perf_counter()
    assembled = core_plan.assemble(optimizer.plan, terms, one_grid, include_all=True)
    assembly_s = time.perf_counter() - started
    again = core_plan.assemble(optimizer.plan, terms, one_grid, include_all=True)
    weights = np.full(matrix.shape[1], assembled.uniform_weight)
    started = time.perf_counter()
    stored = core_matrix(assembled, matrix, threads)
    build_s = time.perf_counter() - started
    evaluation = _evaluation(assembled, one_grid, stored.nbytes, memory, seconds)
    evaluation_s = evaluation["evaluation_s"]
    pyramid_s = min(_pyramid_seconds(assembled, optimizer), _pyramid_seconds(again, optimizer))
    row = {
        "nonzeros": int(matrix.nnz),
        "beamlets": int(matrix.shape[1]),
        "voxels": len(assembled.voxels),
        "nonzeros_per_voxel": matrix.nnz / len(assembled.voxels),
        "stored_bytes": int(stored.nbytes),
        "bytes_per_nonzero": stored.nbytes / matrix.nnz,
        **evaluation,
        "evaluation_ns_per_nonzero": evaluation_s / matrix.nnz * 1e9,
        "assembly_s": assembly_s,
        "matrix_build_s": build_s,
        "matrix_build_in_evaluations": build_s / evaluation_s,
        "pyramid_s": pyramid_s,
        "pyramid_in_evaluations": pyramid_s / evaluation_s,
    }
    row |= _products(stored, matrix, assembled, weights, threads, seconds)
    for n in (2, 1):
        row[f"scipy_{n}_rhs_over_evaluation"] = row[f"scipy_products_{n}_rhs_s"] / evaluation_s
    return row


def _evaluation(
    assembled: core_plan.AssembledPlan,
    settings: pb.OptimizerSettings,
    stored_bytes: int,
    memory: Memory,
    seconds: float,
) -> dict[str, float]:
    """Shortest time of a cost with gradient as searches compute it, in s, and its ratio to reading the matrix twice."""
    limit = assembled.uniform_weight / settings.uniform_share
    objective = assembled.core.objective(level_settings(settings, 0, 0, assembled.reference_dose, limit))
    start = objective.parameter(np.full(len(assembled.beamlets), assembled.uniform_weight))
    objective.cost_and_gradient(start)
    times: list[float] = []
    reads: list[float] = []
    while len(times) < 5 or sum(times) < seconds:
        reads.append(memory.read_gb_s())
        objective.cost_and_gradient(start)  # in a search, too, evaluations follow each other
        started = time.perf_counter()
        objective.cost_and_gradient(start)
        times.append(time.perf_counter() - started)
    ratios = np.array(times) * np.array(reads) / (2 * stored_bytes / 1e9)
    return {
        "evaluation_s": min(times),
        "lowest_read_gb_s": min(reads),
        "highest_read_gb_s": max(reads),
        "evaluation_over_reading_twice": float(np.median(ratios)),
    }


def _pyramid_seconds(assembled: core_plan.AssembledPlan, optimizer: pb.PlanOptimizer) -> float:
    """Time to add the coarser grids of the default settings to an assembled plan."""
    plan, settings = optimizer.plan, optimizer.settings
    targets = core_plan.target_terms(optimizer.prescription.objectives)
    grid = plan.dose_influence.grid
    blocks = RowBlocks(BlockRows.of(grid_index(assembled.of_interest, grid.shape), grid.spacing_mm))
    started = time.perf_counter()
    wanted = max(settings.grid_of_level[: settings.number_of_levels])
    core_plan._add_grids(assembled, plan, targets, blocks, wanted, MatrixFiles.of(plan.dose_influence))
    return time.perf_counter() - started


def _products(
    stored: _core.DoseMatrix,
    matrix: Any,
    assembled: core_plan.AssembledPlan,
    weights: np.ndarray,
    threads: int,
    seconds: float,
) -> dict[str, Any]:
    """Both products with one and two right-hand sides, in the core and in SciPy."""
    factors = weights[:, None] * np.random.default_rng(1).uniform(0.5, 1.5, (len(weights), 2))
    fast = _core.Precision.fast
    single_factors = factors.astype(np.float32)
    dose = matrix @ single_factors
    residual = dose / dose.max()
    mine = stored.multiply(factors, fast, threads)[assembled.rows]
    theirs = dose[assembled.voxels]
    core_residual = np.zeros((stored.shape[0], 2), order="F")
    core_residual[assembled.rows] = residual[assembled.voxels]
    forward_s = fastest(lambda: stored.multiply(factors, fast, threads), seconds / 2)
    backward_s = fastest(lambda: stored.multiply_transposed(core_residual, fast, threads), seconds / 2)
    row = {
        "dose_deviation": float(np.abs(mine - theirs).max() / theirs.max()),
        "core_products_s": forward_s + backward_s,
    }
    for n in (2, 1):
        w, r = (np.ascontiguousarray(array[:, :n].squeeze()) for array in (single_factors, residual))
        row[f"scipy_products_{n}_rhs_s"] = _both_products(matrix, w, r, seconds / 2)
    return row


def _both_products(matrix: Any, weights: np.ndarray, residual: np.ndarray, seconds: float) -> float:
    """Shortest time of D @ w plus that of D.T @ r, in s."""
    transposed = matrix.T
    return fastest(lambda: matrix @ weights, seconds / 2, 2) + fastest(lambda: transposed @ residual, seconds / 2, 2)


def relative_to_median(rows: list[dict[str, Any]]) -> list[float]:
    """Time of an evaluation for each nonzero, relative to the median over sizes."""
    per_nonzero = [row["evaluation_ns_per_nonzero"] for row in rows]
    return [value / float(np.median(per_nonzero)) for value in per_nonzero]


# --------------------------------------------------------------------------------------------------- memory


def measure_memory(nonzeros: float, threads: int) -> dict[str, Any]:
    """Peak memory of an optimization, measured in a process of its own; see `peak_of_optimization`."""
    command = [sys.executable, str(Path(__file__)), repr(float(nonzeros)), "--threads", str(threads)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def peak_of_optimization(nonzeros: float, threads: int, max_iterations: int = 3) -> dict[str, Any]:
    """Resident memory at its peak during an optimization, above what there was before it.

    Before it there are the plan and the beamlets as SciPy has them. The kernel's own high-water mark is set back before
    the optimization; where it cannot be, the resident memory is read every millisecond.

    Parameters
    ----------
    nonzeros : float
        Size of the synthetic case.
    threads : int
        Of the core.
    max_iterations : int
        Per level; memory does not grow with iterations.

    Returns
    -------
    dict
        Bytes ``before``, ``peak_above`` and ``stored``, ``peak_over_stored``, and how it was ``measured_by``.
    """
    optimizer = make_optimizer(nonzeros, threads)
    gc.collect()
    before = _resident("VmRSS")
    with _PeakMemory() as peak:
        optimizer.optimize(max_iterations=max_iterations)
    settings = optimizer.settings.single_grid()
    assembled = core_plan.assemble(optimizer.plan, optimizer.prescription.objectives, settings)
    stored = core_matrix(assembled, optimizer.plan.dose_influence.matrix, threads).nbytes
    return {
        "nonzeros": int(optimizer.plan.dose_influence.matrix.nnz),
        "before": before,
        "peak_above": peak.bytes - before,
        "stored": int(stored),
        "peak_over_stored": (peak.bytes - before) / stored,
        "measured_by": peak.measured_by,
    }


class _PeakMemory:
    """Highest resident memory of this process while the context is open."""

    def __enter__(self) -> Self:
        self.bytes = 0
        self._ended = threading.Event()
        try:
            _CLEAR.write_text("5")
            self.measured_by = "the kernel's high-water mark"
            self._sampler = None
        except OSError:
            self.measured_by = "samples every millisecond"
            self._sampler = threading.Thread(target=self._sample)
            self._sampler.start()
        return self

    def _sample(self) -> None:
        while not self._ended.wait(0.001):
            self.bytes = max(self.bytes, _resident("VmRSS"))

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        if self._sampler is None:
            self.bytes = _resident("VmHWM")
        else:
            self._sampler.join()


def _resident(field: str) -> int:
    """A field of /proc/self/status, in bytes."""
    for line in _STATUS.read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise OSError(f"{_STATUS} has no {field}")


def main() -> None:
    """Print the peak memory of an optimization."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("nonzeros", type=float)
    parser.add_argument("--threads", type=int, default=int(_core.build_info()["threads"]))
    options = parser.parse_args()
    print(json.dumps(peak_of_optimization(options.nonzeros, options.threads)))


if __name__ == "__main__":
    main()
