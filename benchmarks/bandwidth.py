"""Memory bandwidth as NumPy reaches it: arrays far larger than any cache, one part for each thread."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

# Reductions that read at memory speed where NumPy has vector code for them. Which one is fastest depends on the
# processor, and some are slower than memory. None of them uses threads of its own, as BLAS would.
READS: dict[str, tuple[Callable[[np.ndarray], Any], type]] = {
    "sum of int64": (np.sum, np.int64),
    "maximum of float32": (np.max, np.float32),
    "maximum of int64": (np.max, np.int64),
    "maximum of int8": (np.max, np.int8),
}


def measure_bandwidth(threads: int, size_mib: int = 512, repeats: int = 7) -> dict[str, Any]:
    """Read and copy bandwidth.

    Parameters
    ----------
    threads : int
        Threads that read at once, each its own part.
    size_mib : int
        Size of the array read, in MiB; a copy needs it twice.
    repeats : int
        The fastest of so many counts.

    Returns
    -------
    dict
        ``read_gb_s``, the best of all ways, its name ``read_by`` and ``all_reads_gb_s``; ``copy_gb_s``, bytes read plus
        bytes written; ``threads`` and ``size_mib``.
    """
    source = np.ones(size_mib * 2**20 // 8, dtype=np.int64)
    target = np.zeros_like(source)
    with ThreadPoolExecutor(threads) as pool:
        reads = {}
        for name, (reduce, dtype) in READS.items():
            parts = np.array_split(source.view(dtype), threads)
            reads[name] = source.nbytes / 1e9 / _fastest(pool, reduce, [(part,) for part in parts], repeats)
        pairs = list(zip(np.array_split(target, threads), np.array_split(source, threads), strict=True))
        copy = 2 * source.nbytes / 1e9 / _fastest(pool, np.copyto, pairs, repeats)
    best = max(reads, key=lambda name: reads[name])
    return {
        "read_gb_s": reads[best],
        "read_by": best,
        "all_reads_gb_s": reads,
        "copy_gb_s": copy,
        "threads": threads,
        "size_mib": size_mib,
    }


def _fastest(pool: ThreadPoolExecutor, work: Callable[..., Any], parts: Sequence[tuple], repeats: int) -> float:
    """Shortest time in which the pool does all parts at once, in seconds."""
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        for future in [pool.submit(work, *part) for part in parts]:
            future.result()
        seconds.append(time.perf_counter() - started)
    return min(seconds)
