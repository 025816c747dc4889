from __future__ import annotations

import numpy as np
import pytest

from opentps_brimstone._util.answers import asks_to_stop
from opentps_brimstone._util.progress import following


@pytest.mark.parametrize("answer", [False, np.False_, np.array(False), np.array([False])])
def test_false_stops_whoever_wrote_it(answer):
    assert asks_to_stop(answer)


@pytest.mark.parametrize("answer", [True, np.True_, np.array(True), None, 0, 0.0, "", np.float64(0), np.zeros(3)])
def test_everything_else_goes_on(answer):
    assert not asks_to_stop(answer)


def test_several_truth_values_are_refused():
    with pytest.raises(TypeError, match="on_round returned 2 truth values"):
        asks_to_stop(np.array([True, False]), "on_round")


def test_a_progress_function_of_numpy_stops():
    with following(lambda done, total: np.float64(done) < 2, 3, "work", "step") as report:
        assert [report(1), report(2)] == [True, False]
