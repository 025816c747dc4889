from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from problems import add_objectives, random_plan

import opentps_brimstone as pb
from opentps_brimstone.evaluation import cumulative_dvh, evaluate
from opentps_brimstone.model.contours import ContourStack
from opentps_brimstone.optimization.callbacks import CallbackList, as_callback


def optimize(callback, *, plan=None, **options):
    plan = plan or random_plan(0)
    optimizer = pb.PlanOptimizer(plan)
    add_objectives(optimizer)
    return plan, optimizer.optimize(callback=callback, **options)


class Diary(pb.OptimizationCallback):
    """Writes down what it is told, in a book that several may share."""

    def __init__(self, book, name="", stop_at=None):
        self.book, self.name, self.stop_at = book, name, stop_at

    def on_start(self, plan, prescription):
        self.book.append((self.name, "start", plan, prescription))

    def on_iteration(self, iteration, **_):
        self.book.append((self.name, iteration))
        return iteration != self.stop_at

    def on_end(self, result):
        self.book.append((self.name, "end", result))


def test_a_callback_is_told_of_start_and_end():
    book = []
    plan, result = optimize(Diary(book))
    assert book[0][1:3] == ("start", plan)
    assert book[0][3].plan is plan
    assert [entry[1] for entry in book[1:-1]] == list(range(1, result.iterations + 1))
    assert book[-1][1:] == ("end", result)


@pytest.mark.parametrize("several", [list, tuple, CallbackList])
def test_several_callbacks_see_every_iteration_in_their_order(several):
    book, numbers = [], []
    watchers = several(
        [Diary(book, "a"), lambda iteration, **_: numbers.append(iteration), Diary(book, "b", stop_at=5)]
    )
    _, result = optimize(watchers)
    assert result.message == "stopped by the callback"
    assert result.iterations == 5
    assert numbers == [1, 2, 3, 4, 5]
    assert [entry[:2] for entry in book] == [
        *[(name, "start") for name in "ab"],
        *[(name, number) for number in numbers for name in "ab"],
        *[(name, "end") for name in "ab"],
    ]


def test_no_callback_in_a_list_is_none():
    _, with_none = optimize([])
    _, without = optimize(None)
    np.testing.assert_array_equal(with_none.beamlet_weights, without.beamlet_weights)


def test_an_object_of_a_class_of_its_own_will_do():
    class Counter:
        count = 0
        ended = False

        def on_iteration(self, **_):
            self.count += 1

        def on_end(self, result):
            self.ended = True

    counter = Counter()
    _, result = optimize(counter)
    assert counter.count == result.iterations
    assert counter.ended


@pytest.mark.parametrize("wrong", [42, [lambda **_: None, "text"], [[None]]])
def test_what_cannot_watch_is_refused(wrong):
    with pytest.raises(TypeError, match="a callback must be callable, have an on_iteration method, or be a list"):
        as_callback(wrong)


def test_a_callback_must_say_what_it_does():
    with pytest.raises(TypeError, match="OptimizationCallback must override on_iteration"):
        optimize(pb.OptimizationCallback())


# --------------------------------------------------------------------------------------------------------- exceptions


class BrokenError(RuntimeError):
    pass


def failing_at(number, error):
    def fail(iteration, **_):
        if iteration == number:
            raise error

    return fail


@pytest.mark.parametrize("error", [BrokenError("no more"), KeyboardInterrupt()])
@pytest.mark.parametrize("number", [1, 4, 30])
def test_an_exception_brings_the_result_so_far(error, number):
    plan, recorder = random_plan(0), pb.Recorder(weights=True)
    with pytest.raises(type(error)) as caught:
        optimize([recorder, failing_at(number, error)], plan=plan)
    assert caught.value is error
    so_far = error.result_so_far
    assert isinstance(so_far, pb.OptimizationResult)
    assert not so_far.success
    assert so_far.message == f"ended by {type(error).__name__} after {number} iterations"
    assert so_far.iterations == number
    assert so_far.final_cost == so_far.convergence_history["cost"][-1] == recorder.history["cost"][-1]
    np.testing.assert_array_equal(so_far.beamlet_weights, recorder.history["weights"][-1])
    np.testing.assert_array_equal(so_far.dose, plan.dose_influence.dose(so_far.beamlet_weights))
    assert so_far.dose.grid == plan.dose_influence.grid
    assert plan.beamlet_weights is None


def test_what_fails_at_the_start_has_no_result():
    class Early(pb.OptimizationCallback):
        def on_start(self, plan, prescription):
            raise BrokenError("not today")

    with pytest.raises(BrokenError, match="not today") as caught:
        optimize(Early())
    assert not hasattr(caught.value, "result_so_far")


# ----------------------------------------------------------------------------------------------------------- recorder


def test_a_recorder_keeps_every_iteration():
    recorder = pb.Recorder()
    _, result = optimize(recorder)
    for name in ("iteration", "level", "cost", "gradient_norm"):
        assert recorder.history[name] == result.convergence_history[name]
    assert (np.diff(recorder.history["time_s"]) >= 0).all()
    assert recorder.history["snapshot_iteration"] == recorder.history["doses"] == recorder.history["weights"] == []
    assert repr(recorder) == f"Recorder({result.iterations} iterations, 0 snapshots)"


def test_snapshots_are_of_the_first_some_and_the_last_iteration():
    recorder, weights = pb.Recorder(every=13, doses=True, dvhs=True, weights=True), []
    plan, result = optimize(
        [recorder, lambda beamlet_weights, **_: weights.append(beamlet_weights)],
        plan=random_plan(0, number_of_fractions=3),
    )
    history = recorder.history
    last = result.iterations
    assert last % 13
    expected = [1, *range(13, last, 13), last]
    assert history["snapshot_iteration"] == expected
    assert len(history["doses"]) == len(history["weights"]) == len(expected)
    np.testing.assert_array_equal(history["weights"][1], weights[12])
    np.testing.assert_array_equal(history["weights"][-1], result.beamlet_weights)
    for kept, number in zip(history["doses"], expected[:-1], strict=False):
        np.testing.assert_allclose(kept, plan.dose_influence.dose(weights[number - 1], 3), rtol=1e-5)
    np.testing.assert_allclose(history["doses"][-1], result.dose, rtol=1e-5)
    assert set(history["dvhs"]) == {"PTV", "organ", "body"}
    for name, curves in history["dvhs"].items():
        assert len(curves) == len(expected)
        doses, volumes = curves[-1]
        np.testing.assert_allclose(volumes, cumulative_dvh(*plan.structures[name].sample(result.dose), doses))
        assert volumes[0] == 1 and volumes[-1] == 0


def test_a_last_iteration_that_has_a_snapshot_gets_no_second_one():
    recorder = pb.Recorder(every=4, weights=True)
    optimize([recorder, Diary([], stop_at=8)])
    assert recorder.history["snapshot_iteration"] == [1, 4, 8]


def test_a_snapshot_has_dose_where_no_objective_is():
    plan, recorder = random_plan(0), pb.Recorder(every=5, doses=True)
    optimizer = pb.PlanOptimizer(plan)
    optimizer.add_objective(plan.structures["PTV"], pb.KLDivergenceTerm(dose_range=(48, 52)))
    optimizer.optimize(callback=recorder)
    outside = plan.structures["PTV"].share == 0
    assert all(dose[outside].max() > 5 for dose in recorder.history["doses"])


def test_a_recorder_goes_on_from_a_checkpoint(tmp_path):
    path, recorder = tmp_path / "run.npz", pb.Recorder(every=10, weights=True)
    optimize([pb.Checkpoint(path, every_iterations=4), Diary([], stop_at=4)])
    _, result = optimize(recorder, resume_from=path)
    assert recorder.history["iteration"] == list(range(5, result.iterations + 1))
    assert recorder.history["snapshot_iteration"] == [5, *range(10, result.iterations, 10), result.iterations]


def test_a_structure_off_the_dose_grid_has_no_snapshots():
    faraway = ContourStack([(300.0, [np.array([(0, 0), (9, 0), (9, 9)])])], 5.0)
    plan, recorder = random_plan(0), pb.Recorder(dvhs=True)
    plan.structures["far"] = pb.Structure.from_contours("far", faraway, plan.grid)
    with pytest.warns(UserWarning, match="no DVH of 'far'"):
        optimize(recorder, plan=plan, max_iterations=1)
    assert list(recorder.history["dvhs"]) == ["PTV", "organ", "body"]


def test_a_new_optimization_starts_a_new_history():
    recorder = pb.Recorder(every=3, weights=True)
    optimize(recorder)
    _, second = optimize(recorder, max_iterations=2)
    assert len(recorder.history["iteration"]) == second.iterations


@pytest.mark.parametrize("every", [0, -3, 1.5])
def test_snapshots_need_a_whole_number_of_iterations(every):
    with pytest.raises(ValueError, match=f"every {every} iterations; it must be a whole number from 1"):
        pb.Recorder(every)


# ------------------------------------------------------------------------------------------------------------ stopping


@pytest.mark.parametrize("every", [1, 4])
def test_it_stops_once_the_goals_are_met(every):
    goals = ["PTV D95% >= 36 Gy", "organ Dmean <= 20 Gy", "body D0.5cc <= 60 Gy"]
    _, whole = optimize(None)
    stop, recorder = pb.StopWhenGoalsMet(goals, every=every), pb.Recorder(doses=True)
    plan, result = optimize([recorder, stop])
    assert result.message == "stopped by the callback"
    assert 1 < result.iterations < whole.iterations
    assert result.iterations % every == 0
    assert stop.table.all_met
    # They are met at the end, and were not met when it last looked.
    before = recorder.history["doses"][-1 - every]
    judged = [
        evaluate(dose, plan.structures, goals, grid=plan.dose_influence.grid).all_met for dose in (result.dose, before)
    ]
    assert judged == [True, False]


def test_goals_that_are_not_reached_stop_nothing():
    stop = pb.StopWhenGoalsMet(["PTV D95 >= 49.9 Gy", "organ Dmax <= 1 Gy"])
    _, with_stop = optimize(stop)
    _, without = optimize(None)
    assert with_stop.success
    np.testing.assert_array_equal(with_stop.beamlet_weights, without.beamlet_weights)
    assert not stop.table.all_met


def test_goals_in_error_are_refused_before_the_first_iteration():
    book = []
    with pytest.raises(
        ValueError, match="goal 'cord Dmax <= 45 Gy' is for 'cord'; the structures are PTV, organ, body"
    ):
        optimize([lambda **_: book.append(1), pb.StopWhenGoalsMet(["cord Dmax <= 45 Gy"])])
    assert not book
    with pytest.raises(ValueError, match="there are no goals to stop at"):
        pb.StopWhenGoalsMet([])
    with pytest.raises(ValueError, match="is not understood"):
        pb.StopWhenGoalsMet(["PTV is good"])
    with pytest.raises(ValueError, match="'PTV RBE D95 >= 1 Gy': rbe_x_dose does not follow from dose"):
        pb.StopWhenGoalsMet(["PTV RBE D95 >= 1 Gy"])
    with pytest.raises(ValueError, match="goals are judged every 0 iterations"):
        pb.StopWhenGoalsMet(["PTV D95 >= 1 Gy"], every=0)


@pytest.fixture
def clock(monkeypatch):
    """A clock that goes on when it is told to, whatever the machine does meanwhile."""
    shown = SimpleNamespace(seconds=1000.0)
    monkeypatch.setattr(
        "opentps_brimstone.optimization.callbacks.stopping.time", SimpleNamespace(monotonic=lambda: shown.seconds)
    )
    return shown


def test_time_limit_stops_at_the_first_iteration_after_it(clock):
    def pass_time(**_):
        clock.seconds += 0.125

    for limit_s, iterations in ((1e-9, 1), (0.125, 1), (0.5, 4), (0.51, 5)):
        _, result = optimize([pass_time, pb.TimeLimit(limit_s)])
        assert result.iterations == iterations
        assert result.message == "stopped by the callback"


def test_a_time_limit_starts_with_the_optimization(clock):
    limit = pb.TimeLimit(0.5)
    clock.seconds += 1.0
    _, result = optimize(limit, max_iterations=1)
    assert result.message != "stopped by the callback"


@pytest.mark.parametrize("seconds", [0, -1, float("nan")])
def test_time_limits_are_positive(seconds):
    with pytest.raises(ValueError, match=f"the time limit is {seconds} s; it must be positive"):
        pb.TimeLimit(seconds)
