from __future__ import annotations

import numpy as np
import pytest
from pencil_plans import pencil_optimizer, pencil_plan

import opentps_brimstone as pb
from opentps_brimstone.optimization.start_weights import usable_start


@pytest.fixture(scope="module")
def cold():
    return pencil_optimizer().optimize()


def starts(n):
    rng = np.random.default_rng(7)
    one = np.zeros(n)
    one[n // 2] = 1.0
    beam = np.zeros(n)
    beam[: n // 4] = 100.0
    return {
        "zeros": np.zeros(n),
        "tiny": np.full(n, 1e-9),
        "least": np.full(n, 5e-324),
        "huge": np.full(n, 1e9),
        "most": np.full(n, 1e300),
        "one": one,
        "one huge": one * 1e12,
        "one beam": beam,
        "every other": np.where(np.arange(n) % 2, 100.0, 0.0),
        "all scales": 10.0 ** rng.uniform(-12, 12, n),
        "one huge among fair": np.where(one > 0, 1e9, 60.0),
        "fair": rng.uniform(30, 90, n),
    }


@pytest.mark.parametrize("name", starts(8))
@pytest.mark.parametrize("search", ["lbfgs", "conjugate_gradient"])
def test_a_start_of_any_scale_and_pattern_ends_in_as_good_a_plan(name, search, cold):
    optimizer = pencil_optimizer(settings=pb.OptimizerSettings(search=search))
    start = starts(len(cold.beamlet_weights))[name]
    result = optimizer.optimize(initial_weights=start)
    cost = optimizer.prescription.evaluate
    assert result.success
    assert cost(result.beamlet_weights)[0] < 1.5 * cost(cold.beamlet_weights)[0]


@pytest.mark.parametrize(("name", "note"), [("zeros", "started from equal ones"), ("huge", "were scaled to the")])
def test_what_was_done_to_a_start_is_said(name, note, cold):
    result = pencil_optimizer().optimize(initial_weights=starts(len(cold.beamlet_weights))[name])
    assert note in result.message
    assert any(note in each for each in result.notes)


def test_a_good_start_is_taken_as_it_is(cold):
    result = pencil_optimizer().optimize(initial_weights=cold.beamlet_weights)
    assert not any("start weights" in note for note in result.notes)


@pytest.mark.parametrize(
    ("start", "complaint"),
    [
        (np.ones(3), "expected 100 beamlet weights"),
        (np.full(100, np.nan), "beamlet 0 has the weight nan MU"),
        (np.full(100, np.inf), "beamlet 0 has the weight inf MU"),
        (np.full(100, -1.0), "must be finite and not negative"),
        (np.full(100, 1.7e308), "a start weight is 1.7e[+]308 MU per fraction; it may be at most"),
    ],
)
def test_what_cannot_be_a_start_is_refused(start, complaint):
    optimizer = pencil_optimizer(pencil_plan(number_of_fractions=30))
    with pytest.raises(ValueError, match=complaint):
        optimizer.optimize(initial_weights=start)


def test_only_the_pattern_of_optimized_beamlets_is_scaled():
    weights, note = usable_start(np.array([4e6, 2e6, 9e6]), np.array([0, 1]), np.array([1.0, 1.0]), 30.0)
    np.testing.assert_allclose(weights, [40.0, 20.0, 0.0])
    assert note == "the start weights were scaled to the targets' mean dose"
