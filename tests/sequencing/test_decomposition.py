"""Fluence matrices as sums of openings: exact, with the least total, and as the leaves may move."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from sequencing_checks import (
    edges_collide,
    is_free_of_tongue_and_groove,
    least_total_by_linear_program,
    least_total_of_rows,
    least_total_without_collision,
    matrices,
)

from opentps_brimstone.sequencing import METHODS, get_method, least_total
from opentps_brimstone.sequencing.decomposition import check_matrix
from opentps_brimstone.sequencing.engel import engel
from opentps_brimstone.sequencing.kalinowski import kalinowski
from opentps_brimstone.sequencing.sliding_window import sliding_window
from opentps_brimstone.sequencing.xia_verhey import xia_verhey

SMALL = st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(0, 2**32 - 1)).map(
    lambda drawn: np.random.default_rng(drawn[2]).integers(0, 6, drawn[:2])
)


@settings(max_examples=60, deadline=None)
@given(SMALL)
def test_least_totals_are_those_of_a_linear_program_over_all_openings(matrix):
    assert least_total(matrix) == pytest.approx(least_total_by_linear_program(matrix))
    assert least_total(matrix, collisions=True) == pytest.approx(least_total_by_linear_program(matrix, collisions=True))
    assert least_total(matrix, tongue_and_groove=True) == pytest.approx(
        least_total_by_linear_program(matrix, collisions=True, tongue_and_groove=True)
    )


@pytest.mark.slow
@settings(max_examples=80, deadline=None)
@given(matrices(max_levels=16))
def test_every_method_gives_the_matrix_and_what_it_promises(matrix):
    rows, apart = least_total_of_rows(matrix), least_total_without_collision(matrix)
    for decomposition, total, collides in (
        (engel(matrix), rows, None),
        (kalinowski(matrix), apart, False),
        (sliding_window(matrix), rows, None),
        (sliding_window(matrix, collisions=True), apart, False),
        (sliding_window(matrix, tongue_and_groove=True), least_total(matrix, tongue_and_groove=True), False),
        (xia_verhey(matrix), None, None),
    ):
        assert (decomposition.matrix == matrix).all()
        assert (decomposition.weights > 0).all()
        assert (decomposition.left <= decomposition.right).all()
        assert (decomposition.left >= 0).all()
        assert (decomposition.right <= matrix.shape[1]).all()
        assert total is None or decomposition.total == total
        assert collides is None or edges_collide(decomposition.left, decomposition.right) == collides


@settings(max_examples=150, deadline=None)
@given(matrices())
def test_leaves_of_a_sliding_window_move_one_way_only(matrix):
    for collisions in (False, True):
        swept = sliding_window(matrix, collisions=collisions)
        assert (np.diff(swept.left, axis=0) >= 0).all()
        assert (np.diff(swept.right, axis=0) >= 0).all()


@settings(max_examples=150, deadline=None)
@given(matrices())
def test_without_tongue_and_groove_the_darker_of_two_neighbors_is_open_only_while_the_other_is(matrix):
    free = get_method("sliding-window").choose(interdigitation=True, tongue_and_groove=True)(matrix)
    assert is_free_of_tongue_and_groove(free.weights, free.openings)
    assert (free.matrix == matrix).all()
    assert free.total >= least_total(matrix, collisions=True)


def test_other_sequences_have_tongue_and_groove_underdosage():
    matrix = np.array([[1, 0, 2], [0, 2, 1], [2, 1, 0]])
    assert not is_free_of_tongue_and_groove(engel(matrix).weights, engel(matrix).openings)
    assert is_free_of_tongue_and_groove(np.array([1]), np.ones((1, 2, 2), dtype=bool))
    assert not is_free_of_tongue_and_groove(np.array([1, 1]), np.array([[[True], [False]], [[False], [True]]]))


def test_the_collision_constraint_costs_monitor_units():
    matrix = np.array([[3, 0, 0], [0, 0, 3]])
    assert engel(matrix).total == 3
    assert edges_collide(engel(matrix).left, engel(matrix).right)
    assert kalinowski(matrix).total == sliding_window(matrix, collisions=True).total == 6


def test_engel_takes_no_more_openings_than_xia_and_verhey_and_than_a_sliding_window():
    random = np.random.default_rng(5)
    trials = [random.integers(0, 17, (15, 15)) for _ in range(6)]
    openings = {
        method.__name__: np.mean([len(method(matrix).weights) for matrix in trials])
        for method in (engel, kalinowski, xia_verhey, sliding_window)
    }
    assert openings["engel"] < openings["xia_verhey"] < openings["sliding_window"]
    assert openings["kalinowski"] < 0.6 * openings["sliding_window"]


def test_more_attempts_never_take_more_openings():
    random = np.random.default_rng(6)
    for _ in range(5):
        matrix = random.integers(0, 17, (15, 15))
        once, often = engel(matrix, attempts=1), engel(matrix, attempts=8)
        assert len(often.weights) <= len(once.weights)
        assert often.total == once.total


def test_few_trials_still_give_the_least_total():
    matrix = np.random.default_rng(7).integers(0, 17, (12, 12))
    assert kalinowski(matrix, trials=1).total == least_total_without_collision(matrix)


def test_xia_and_verhey_take_powers_of_two():
    decomposition = xia_verhey([[1, 7, 12, 3]])
    assert decomposition.weights.tolist() == [8, 4, 2, 2, 1, 1]
    assert (decomposition.matrix == [[1, 7, 12, 3]]).all()


@pytest.mark.parametrize("name", METHODS)
def test_trivial_matrices(name):
    decompose = METHODS[name].choose(interdigitation=METHODS[name].kept_apart is None, tongue_and_groove=False)
    assert len(decompose(np.zeros((3, 4), dtype=int)).weights) == 0
    assert decompose(np.zeros((3, 4), dtype=int)).matrix.shape == (3, 4)
    assert decompose(np.array([[5]])).total == 5
    assert len(decompose(np.array([[4], [4]])).merged().weights) == 1


def test_merging_adds_the_weights_of_equal_openings():
    twice = xia_verhey([[4, 4, 1]])
    assert twice.weights.tolist() == [2, 1, 1]
    assert twice.merged().weights.tolist() == [3, 1]
    assert (twice.merged().matrix == [[4, 4, 1]]).all()


def test_the_largest_matrix_takes_well_under_a_second():
    matrix = np.random.default_rng(8).integers(0, 51, (25, 25))
    for method in (engel, kalinowski):
        started = time.process_time()
        method(matrix)
        assert time.process_time() - started < 5.0  # 0.1 and 0.5 s; slow machines may take longer


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        (np.zeros((0, 3)), r"needs rows and columns, not the shape \(0, 3\)"),
        ([1, 2], r"needs rows and columns, not the shape \(2,\)"),
        ([[0, 1], [2, -3]], "is -3 at row 1, column 1; it must not be negative"),
        ([[0.5]], "must hold whole numbers"),
        ([[np.nan]], "must hold whole numbers"),
    ],
)
def test_a_matrix_that_cannot_be_decomposed_is_refused(matrix, message):
    with pytest.raises(ValueError, match=message):
        check_matrix(matrix)
    with pytest.raises(ValueError, match=message):
        engel(matrix)


def test_methods_are_found_by_identifier_and_say_what_they_cannot():
    with pytest.raises(
        ValueError, match="no sequencing method 'siochi'; there are engel, kalinowski, sliding-window, xia-verhey"
    ):
        get_method("siochi")
    with pytest.raises(
        ValueError,
        match="'engel' cannot keep opposing leaves of neighboring rows apart; kalinowski, sliding-window can",
    ):
        get_method("engel").choose(interdigitation=False, tongue_and_groove=False)
    with pytest.raises(ValueError, match="'kalinowski' cannot avoid tongue-and-groove underdosage; sliding-window can"):
        get_method("kalinowski").choose(interdigitation=True, tongue_and_groove=True)
