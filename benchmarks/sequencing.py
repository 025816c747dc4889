"""Segments and monitor units of the sequencing methods on random fluence matrices.

    python benchmarks/sequencing.py [--matrices 1000] [--levels 3 4 … 16] [--size 15]

Matrices of 15 by 15 with uniform whole entries 0..L, L = 3..16, are what the literature compares sequencers on: Engel,
Discrete Appl. Math. 152 (2005) 35, and Kalinowski, ibid. 52, give the means over 10,000 of them for their own methods,
Xia and Verhey's, Galvin's and Bortfeld's. Their tables could not be had when this was written, and numbers from memory
have no place beside measured ones. What can be compared without them:

- The least total monitor units are a property of the matrices, not of a method: every method that reaches them, as
  Engel's and Kalinowski's are proved to, has the mean given here but for sampling error, whose standard deviation
  stands beside it.
- Engel's method as he published it, with the first of our ways to break the ties he leaves open, is the column "Engel,
  one attempt". What the package uses takes the best of eight and is never worse.
- Xia and Verhey's method is deterministic but for the choice between equal highest cells of a row.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial

import numpy as np

from opentps_brimstone.sequencing import least_total
from opentps_brimstone.sequencing.decomposition import Decomposition
from opentps_brimstone.sequencing.engel import engel
from opentps_brimstone.sequencing.kalinowski import kalinowski
from opentps_brimstone.sequencing.sliding_window import sliding_window
from opentps_brimstone.sequencing.xia_verhey import xia_verhey

Decompose = Callable[[np.ndarray], Decomposition]

METHODS: dict[str, tuple[Decompose, bool]] = {
    "Engel": (engel, False),
    "Engel, one attempt": (partial(engel, attempts=1), False),
    "Xia & Verhey": (xia_verhey, False),
    "sliding window": (sliding_window, False),
    "Kalinowski": (kalinowski, True),
    "sliding window, kept apart": (partial(sliding_window, collisions=True), True),
}
"""By name: how it decomposes, and whether it keeps opposing leaves of neighboring rows apart."""


def measure(decompose: Decompose, matrices: list[np.ndarray]) -> tuple[float, float, float]:
    """Mean segments, total monitor units and milliseconds."""
    started = time.process_time()
    found = [decompose(matrix) for matrix in matrices]
    seconds = time.process_time() - started
    for matrix, decomposition in zip(matrices, found, strict=True):
        if (decomposition.matrix != matrix).any():
            raise AssertionError(f"{decompose} does not give the matrix")
    segments = float(np.mean([len(decomposition.weights) for decomposition in found]))
    return segments, float(np.mean([decomposition.total for decomposition in found])), 1000 * seconds / len(matrices)


def report(levels: int, matrices: list[np.ndarray]) -> None:
    """Print the lines of one number of levels."""
    least = {apart: np.array([least_total(m, collisions=apart) for m in matrices]) for apart in (False, True)}
    for name, (decompose, apart) in METHODS.items():
        segments, total, milliseconds = measure(decompose, matrices)
        error = least[apart].std(ddof=1) / np.sqrt(len(matrices)) if len(matrices) > 1 else 0.0
        print(
            f"{levels:>2}  {name:<27} {segments:>8.2f} {total:>8.2f} {least[apart].mean():>9.2f} ±{error:<5.2f} "
            f"{milliseconds:>7.1f}",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--matrices", type=int, default=1000)
    parser.add_argument("--levels", type=int, nargs="+", default=range(3, 17))
    parser.add_argument("--size", type=int, default=15)
    arguments = parser.parse_args()
    print(" L  method                      segments total MU     least (s.e.)       ms")
    for levels in arguments.levels:
        random = np.random.default_rng(levels)
        shape = (arguments.matrices, arguments.size, arguments.size)
        report(levels, list(random.integers(0, levels + 1, shape)))


if __name__ == "__main__":
    main()
