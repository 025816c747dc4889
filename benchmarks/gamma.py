"""Gamma of two doses in three dimensions, beside pymedphys on a part of them: times, and the largest difference.

The doses are a plan-like one on 2 mm voxels, and the same moved by half a millimeter with smooth noise of 2 %,
so that some voxels pass early, some late and some fail.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np
from scipy import ndimage

import opentps_brimstone as pb
from opentps_brimstone.evaluation import gamma_analysis
from opentps_brimstone.model.dose import DoseArray

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "helpers"))

SPACING_MM = 2.0


def doses(n: int) -> tuple[DoseArray, DoseArray]:
    """A sphere of 60 Gy with its fall-off and a bath of 20 Gy; and that moved, with noise."""
    x = (np.arange(n) - (n - 1) / 2) * SPACING_MM
    across = np.add.outer(x**2, x**2)[:, :, np.newaxis]
    distance = np.sqrt(across + (0.8 * x) ** 2)
    reference = 60 / (1 + np.exp((distance - 0.35 * x[-1]) / 6)) + 20 * np.exp(-across / (x[-1] / 2) ** 2)
    noise = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=reference.shape), 3)
    evaluation = ndimage.shift(reference, (0.25, -0.15, 0.1), order=1, mode="nearest") * (
        1 + 0.02 * noise / noise.std()
    )
    grid = pb.VoxelGrid(reference.shape, (SPACING_MM,) * 3, (0.0, 0.0, 0.0))
    return DoseArray(reference, grid), DoseArray(evaluation, grid)


def part(dose: DoseArray, n: int) -> DoseArray:
    """A block across the edge of the sphere."""
    low = [size // 2 for size in dose.shape]
    block = tuple(slice(each, each + n) for each in low)
    grid = pb.VoxelGrid((n, n, n), (SPACING_MM,) * 3, (0.0, 0.0, 0.0))
    return DoseArray(np.ascontiguousarray(np.asarray(dose)[block]), grid)


def timed(
    reference: DoseArray, evaluation: DoseArray, threshold: float, threads: int
) -> tuple[np.ndarray, float, float]:
    """Gamma 2 %/2 mm, and its wall and CPU seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    gamma = gamma_analysis(
        reference, evaluation, dose_percent=2.0, distance_mm=2.0, dose_threshold=threshold, threads=threads
    )
    return gamma, time.perf_counter() - wall, time.process_time() - cpu


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=200, help="voxels along each axis (200)")
    parser.add_argument("--compared", type=int, default=32, help="voxels along each axis beside pymedphys (32)")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    reference, evaluation = doses(options.size)
    print(f"2 %/2 mm on {options.size}³ voxels of {SPACING_MM:g} mm, {options.threads} threads")
    for threshold in (0.1, 0.0):
        gamma, wall, cpu = timed(reference, evaluation, threshold, options.threads)
        judged = np.isfinite(gamma)
        print(
            f"threshold {threshold:.0%}: {judged.sum():,} voxels judged in {wall:.1f} s ({cpu:.1f} s of CPU), "
            f"{np.mean(gamma[judged] <= 1):.1%} pass"
        )
    try:
        from pymedphys_gamma import gamma_of_pymedphys
    except ImportError:
        print("pymedphys is not installed: nothing to compare with")
        return
    reference, evaluation = part(reference, options.compared), part(evaluation, options.compared)
    ours, _, cpu = timed(reference, evaluation, 0.1, 1)
    started = time.process_time()
    theirs = gamma_of_pymedphys(reference, evaluation, 2.0, 2.0, 0.1, local=False)
    their_cpu = time.process_time() - started
    # In the outermost voxels the distance reaches out of the block.
    inner = (slice(1, -1),) * 3
    print(
        f"{options.compared}³ of them: {cpu:.2f} s of CPU, pymedphys with steps of 2/25 mm {their_cpu:.1f} s "
        f"({their_cpu / cpu:.0f} times); largest difference {np.nanmax(np.abs(ours - theirs)[inner]):.3f}"
    )


if __name__ == "__main__":
    main()
