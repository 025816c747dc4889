"""Leaves that sweep in one direction: the simplest method with minimal monitor units.

T. Bortfeld, D. Kahler, T. Waldron and A. Boyer, X-ray field compensation with multileaf collimators, Int. J. Radiat.
Oncol. Biol. Phys. 28 (1994) 723; S. Kamath, S. Sahni, J. Palta, S. Ranka and J. Li, Optimal leaf sequencing with
elimination of tongue-and-groove underdosage, Phys. Med. Biol. 49 (2004) N7.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from opentps_brimstone._typing import IntArray
from opentps_brimstone.sequencing.decomposition import Decomposition, check_matrix
from opentps_brimstone.sequencing.longest_path import closing_times


def sweep(matrix: IntArray, times: IntArray) -> Decomposition:
    """Make the openings of a sweep to the right, one between each two successive times at which a leaf moves.

    `times` are the beam-on times at which the left leaves cover the cells, as `closing_times` returns them.
    """
    uncover, cover = times - matrix, times
    moves = np.unique(np.concatenate([[0], uncover.ravel(), cover.ravel()]))
    starts = moves[:-1]
    left = (cover[None] <= starts[:, None, None]).sum(axis=2)
    right = (uncover[None] <= starts[:, None, None]).sum(axis=2)
    return _with_openings(Decomposition(np.diff(moves), left, right, matrix.shape[1]))


def _with_openings(decomposition: Decomposition) -> Decomposition:
    """Drop openings that are closed everywhere."""
    some = (decomposition.right > decomposition.left).any(axis=1)
    return Decomposition(
        decomposition.weights[some], decomposition.left[some], decomposition.right[some], decomposition.n_columns
    )


def sliding_window(
    matrix: npt.ArrayLike, *, collisions: bool = False, tongue_and_groove: bool = False
) -> Decomposition:
    """Decompose into openings of leaves that sweep to the right.

    The total is minimal under the conditions, which are those of `closing_times`.
    """
    cells = check_matrix(matrix)
    return sweep(cells, closing_times(cells, collisions=collisions, tongue_and_groove=tongue_and_groove))
