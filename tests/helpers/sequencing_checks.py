"""What the sequencing tests know without the code they test: matrices, least totals, rules of leaves."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import strategies as st
from scipy.optimize import linprog


@st.composite
def matrices(draw, max_size=25, max_levels=50):
    """Fluence matrices of every size to 25 by 25 and level to 50, small ones more often: noise, hills and islands."""
    small = st.integers(1, 6)
    size = small | small | small | small | st.integers(1, max_size)
    rows, columns = draw(size), draw(size)
    levels = draw(st.integers(1, max_levels))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    kind = draw(st.sampled_from(["noise", "hills", "islands"]))
    if kind == "hills":
        y, x = np.mgrid[:rows, :columns]
        places = random.uniform(0, 25, (3, 2))
        hills = sum(np.exp(-((x - a) ** 2 + (y - b) ** 2) / random.uniform(4, 60)) for a, b in places)
        return np.round(levels * hills / hills.max()).astype(int)
    matrix = random.integers(0, levels + 1, (rows, columns))
    return matrix * random.integers(0, 2, matrix.shape) if kind == "islands" else matrix


def least_total_of_rows(matrix):
    """Sum of the rises of the row that has most of them."""
    return max(sum(max(0, b - a) for a, b in itertools.pairwise([0, *row])) for row in matrix.tolist())


def least_total_without_collision(matrix):
    """Longest path through the cells, by relaxing all arcs until none lengthens a path."""
    rows, columns = matrix.shape
    a = matrix.tolist()
    before = [0] * rows
    for column in range(columns):
        length = [before[row] + max(0, a[row][column] - (a[row][column - 1] if column else 0)) for row in range(rows)]
        changed = True
        while changed:
            changed = False
            for row, other in itertools.chain(
                ((row, row + 1) for row in range(rows - 1)), ((row, row - 1) for row in range(rows - 1, 0, -1))
            ):
                if length[row] - a[row][column] > length[other]:
                    length[other] = length[row] - a[row][column]
                    changed = True
        before = length
    return max(before)


def least_total_by_linear_program(matrix, *, collisions=False, tongue_and_groove=False):
    """Least sum of non-negative weights over all openings there are."""
    rows, columns = matrix.shape
    pairs = [(left, right) for left in range(columns + 1) for right in range(left, columns + 1)]
    openings = [
        opening
        for opening in itertools.product(pairs, repeat=rows)
        if not collisions or all(a[0] <= b[1] and b[0] <= a[1] for a, b in itertools.pairwise(opening))
    ]
    cells = np.arange(columns)
    edges = np.array(openings)
    opened = (cells >= edges[..., :1]) & (cells < edges[..., 1:])
    equations, values = opened.reshape(len(opened), -1).T, matrix.ravel()
    if tongue_and_groove:
        both = opened[:, 1:] & opened[:, :-1]
        equations = np.vstack([equations, both.reshape(len(both), -1).T])
        values = np.concatenate([values, np.minimum(matrix[1:], matrix[:-1]).ravel()])
    solution = linprog(np.ones(len(opened)), A_eq=equations.astype(float), b_eq=values)
    assert solution.status == 0
    return solution.fun


def is_free_of_tongue_and_groove(weights, openings):
    """Whether of every two neighboring cells of different rows one is open only while the other is."""
    both = np.tensordot(weights, openings[:, 1:] & openings[:, :-1], axes=1)
    fluence = np.tensordot(weights, openings, axes=1)
    return bool((both == np.minimum(fluence[1:], fluence[:-1])).all())


def edges_collide(left, right):
    """Whether a left edge lies beyond a right edge of a neighboring row."""
    return bool((left[..., 1:] > right[..., :-1]).any() or (left[..., :-1] > right[..., 1:]).any())
