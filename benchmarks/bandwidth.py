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


class Memory:
    """An array far larger than any cache, to be read and copied.

    Parameters
    ----------
    threads : int
        Threads that work at once, each on its own part.
    size_mib : int
        Size of the array, in MiB; a copy needs it twice.
    """

    def __init__(self, threads: int, size_mib: int = 512) -> None:
        self.threads, self.size_mib = threads, size_mib
        self._source = np.ones(size_mib * 2**20 // 8, dtype=np.int64)
        self._pool = ThreadPoolExecutor(threads)
        self._best = next(iter(READS))

    def measure(self, repeats: int = 7) -> dict[str, Any]:
        """Read and copy bandwidth; the fastest of so many repeats counts.

        Returns
        -------
        dict
            ``read_gb_s``, the best of all ways, its name ``read_by`` and ``all_reads_gb_s``; ``copy_gb_s``, bytes read
            plus bytes written; ``threads`` and ``size_mib``.
        """
        reads = {name: self._gb_s(reduce, self._parts(dtype), repeats) for name, (reduce, dtype) in READS.items()}
        target = np.zeros_like(self._source)
        parts = np.array_split(target, self.threads), np.array_split(self._source, self.threads)
        copy = 2 * self._gb_s(np.copyto, list(zip(*parts, strict=True)), repeats)
        self._best = max(reads, key=lambda name: reads[name])
        return {
            "read_gb_s": reads[self._best],
            "read_by": self._best,
            "all_reads_gb_s": reads,
            "copy_gb_s": copy,
            "threads": self.threads,
            "size_mib": self.size_mib,
        }

    def read_gb_s(self) -> float:
        """Bandwidth at this moment, of one reading in the best way known."""
        reduce, dtype = READS[self._best]
        return self._gb_s(reduce, self._parts(dtype), 1)

    def _parts(self, dtype: type) -> list[tuple]:
        return [(part,) for part in np.array_split(self._source.view(dtype), self.threads)]

    def _gb_s(self, work: Callable[..., Any], parts: Sequence[tuple], repeats: int) -> float:
        return self._source.nbytes / 1e9 / _fastest(self._pool, work, parts, repeats)


def _fastest(pool: ThreadPoolExecutor, work: Callable[..., Any], parts: Sequence[tuple], repeats: int) -> float:
    """Shortest time in which the pool does all parts at once, in seconds."""
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        for future in [pool.submit(work, *part) for part in parts]:
            future.result()
        seconds.append(time.perf_counter() - started)
    return min(seconds)
