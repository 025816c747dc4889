from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from pencil_plans import pencil_matrix, pencil_optimizer, pencil_plan
from problems import add_objectives, random_plan

import opentps_brimstone as pb

HELPERS = Path(__file__).parents[1] / "helpers"
SEARCHES = ["lbfgs", "conjugate_gradient"]


def optimizer_for(search, **settings):
    plan = random_plan(2, number_of_fractions=3)
    optimizer = pb.PlanOptimizer(plan, pb.OptimizerSettings(search=search, **settings))
    add_objectives(optimizer)
    return optimizer


@pytest.fixture(scope="module", params=SEARCHES)
def uninterrupted(request):
    return request.param, optimizer_for(request.param).optimize()


def assert_same(result, expected):
    assert np.array_equal(result.beamlet_weights, expected.beamlet_weights)
    assert result.final_cost == expected.final_cost
    assert result.message == expected.message
    assert result.iterations == expected.iterations
    for name in ("iteration", "level", "cost", "gradient_norm"):
        assert result.convergence_history[name] == expected.convergence_history[name]


def random_iterations(seed, expected, n):
    return np.random.default_rng(seed).choice(np.arange(1, expected.iterations + 1), n, replace=False).tolist()


def test_stopped_anywhere_and_resumed_ends_bitwise_where_it_would_have(uninterrupted, tmp_path):
    search, expected = uninterrupted
    path = tmp_path / "run.npz"
    for last in [*random_iterations(1, expected, 7), expected.iterations]:
        stopped = optimizer_for(search).optimize(
            callback=[pb.Checkpoint(path, every_iterations=1), lambda iteration, last=last, **_: iteration < last]
        )
        assert stopped.iterations == last
        assert_same(optimizer_for(search, threads=1).optimize(resume_from=path), expected)


def test_an_exception_or_ctrl_c_anywhere_and_resumed_ends_bitwise_where_it_would_have(uninterrupted, tmp_path):
    search, expected = uninterrupted
    path = tmp_path / "run.npz"

    def end(iteration, **_):
        if iteration == last:
            if last % 2:
                raise RuntimeError("somebody's mistake")
            os.kill(os.getpid(), signal.SIGINT)

    for last in random_iterations(2, expected, 8):  # noqa: B007 - `end` reads it
        with pytest.raises((RuntimeError, KeyboardInterrupt)):
            optimizer_for(search).optimize(callback=[pb.Checkpoint(path, every_iterations=1), end])
        assert_same(optimizer_for(search).optimize(resume_from=path), expected)


def test_killed_anywhere_and_resumed_ends_bitwise_where_it_would_have(uninterrupted, tmp_path):
    search, expected = uninterrupted
    path = tmp_path / "run.npz"
    program = f"""
        import os, signal, sys
        sys.path[:0] = [{str(HELPERS)!r}, {str(HELPERS.parent / "optimization")!r}]
        from test_checkpoint import optimizer_for, pb

        def kill(iteration, **_):
            if iteration == int(sys.argv[1]):
                os.kill(os.getpid(), signal.SIGKILL)

        optimizer_for({search!r}).optimize(callback=[pb.Checkpoint({str(path)!r}, every_iterations=2), kill])
    """
    for last in random_iterations(3, expected, 5):
        if last < 3:
            continue
        path.unlink(missing_ok=True)
        run = subprocess.run(
            [sys.executable, "-P", "-c", textwrap.dedent(program), str(last)], check=False, timeout=600
        )
        assert run.returncode == -signal.SIGKILL
        assert list(tmp_path.iterdir()) == [path]
        assert_same(optimizer_for(search).optimize(resume_from=path), expected)


def test_resumed_from_given_weights(tmp_path):
    path = tmp_path / "run.npz"
    optimizer = optimizer_for("lbfgs")
    start = np.random.default_rng(5).uniform(20, 60, optimizer.plan.dose_influence.layout.n_beamlets)
    expected = optimizer.optimize(initial_weights=start)
    optimizer.optimize(initial_weights=start, callback=[pb.Checkpoint(path, every_iterations=3), pb.TimeLimit(1e-9)])
    assert not path.exists()
    optimizer.optimize(
        initial_weights=start, callback=[pb.Checkpoint(path, every_iterations=3), lambda iteration, **_: iteration < 40]
    )
    assert_same(optimizer_for("lbfgs").optimize(resume_from=path), expected)
    with pytest.raises(ValueError, match="give initial_weights or resume_from, not both"):
        optimizer.optimize(initial_weights=start, resume_from=path)


def test_a_checkpoint_of_another_optimization_is_refused(tmp_path):
    path = tmp_path / "run.npz"
    optimizer_for("lbfgs").optimize(callback=pb.Checkpoint(path, every_iterations=1), max_iterations=2)
    with pytest.raises(pb.CheckpointError, match="belongs to another optimization"):
        optimizer_for("conjugate_gradient").optimize(resume_from=path)
    other = optimizer_for("lbfgs")
    other.add_objective(other.plan.structures["organ"], pb.MeanDoseTerm(10))
    with pytest.raises(pb.CheckpointError, match="its plan, its objectives or its settings differ"):
        other.optimize(resume_from=path)


def test_what_is_no_checkpoint_is_refused(tmp_path):
    optimizer = optimizer_for("lbfgs")
    with pytest.raises(FileNotFoundError):
        optimizer.optimize(resume_from=tmp_path / "none.npz")
    damaged = tmp_path / "damaged.npz"
    damaged.write_bytes(b"PK\x03\x04 not a zip file")
    with pytest.raises(pb.CheckpointError, match="is not a checkpoint, or is damaged"):
        optimizer.optimize(resume_from=damaged)
    other = tmp_path / "other.npz"
    np.savez(other, a=np.zeros(3))
    with pytest.raises(pb.CheckpointError, match="is not a checkpoint of this package"):
        optimizer.optimize(resume_from=other)
    whole = tmp_path / "whole.npz"
    optimizer.optimize(callback=pb.Checkpoint(whole, every_iterations=1), max_iterations=2)
    with np.load(whole) as file:
        arrays = dict(file)
    arrays["core_parameter"] = arrays["core_parameter"][:-1]
    np.savez(damaged, **arrays)
    with pytest.raises(ValueError, match=r"array 'parameter' has .* entries, not .*: it belongs to another plan"):
        optimizer.optimize(resume_from=damaged)
    np.savez(damaged, **(arrays | {"format": np.array(99)}))
    with pytest.raises(pb.CheckpointError, match="checkpoint format 99; this version reads 2"):
        optimizer.optimize(resume_from=damaged)


def test_wrong_intervals_and_folders_are_named(tmp_path):
    with pytest.raises(ValueError, match="which is not a folder"):
        pb.Checkpoint(tmp_path / "none" / "run.npz")
    with pytest.raises(ValueError, match="give every_iterations or every_s, not both"):
        pb.Checkpoint(tmp_path / "run.npz", every_iterations=1, every_s=1.0)
    with pytest.raises(ValueError, match="every_iterations is 0; it must be at least 1"):
        pb.Checkpoint(tmp_path / "run.npz", every_iterations=0)
    with pytest.raises(ValueError, match="every_s is -1; it must be positive"):
        pb.Checkpoint(tmp_path / "run.npz", every_s=-1)


def test_by_default_one_is_written_only_now_and_then(tmp_path):
    keep = pb.Checkpoint(tmp_path / "run.npz")
    assert keep.every_s == 10.0
    optimizer_for("lbfgs").optimize(callback=keep, max_iterations=3)
    assert not keep.path.exists()
    soon = pb.Checkpoint(tmp_path / "run.npz", every_s=1e-6)
    optimizer_for("lbfgs").optimize(callback=soon, max_iterations=3)
    assert soon.path.exists()


class Steered(pb.ObjectiveTerm):
    """Toward zero with the mean of a map, by somebody's function."""

    def __init__(self, values, function=np.square):
        super().__init__()
        self.values, self.function = values, function

    def evaluate(self, dose, share):
        x = dose - self.values.mean()
        return float(share @ self.function(x)) / 1000, 2 * share * x / 1000


def _pencils(change=lambda matrix: matrix, term=None):
    plan = pencil_plan(matrix=change(pencil_matrix()[0]))
    optimizer = pencil_optimizer(plan)
    if term is not None:
        optimizer.add_objective(plan.structures["Cord"], term)
    return optimizer


def _swapped(matrix):
    return matrix[:, np.r_[25:50, 0:25, 50:100]].tocsc()


def _one_entry_changed(matrix):
    matrix.data[matrix.nnz // 2] *= np.float32(1 + 2e-7)
    return matrix


def _with_map(at):
    values = np.zeros(3000)
    values[at] = 5.0
    return Steered(values)


@pytest.mark.parametrize(
    ("written", "resumed"),
    [
        ({}, {"change": _swapped}),
        ({}, {"change": lambda matrix: matrix[::-1].tocsc()}),
        ({}, {"change": _one_entry_changed}),
        ({"term": _with_map(0)}, {"term": _with_map(1500)}),
        ({"term": Steered(np.zeros(3), np.square)}, {"term": Steered(np.zeros(3), np.abs)}),
        ({"term": Steered(np.zeros(3), lambda x: x**2)}, {"term": Steered(np.zeros(3), lambda x: 2 * x**2)}),
    ],
)
def test_a_checkpoint_fits_only_the_contents_it_came_from(written, resumed, tmp_path):
    path = tmp_path / "run.npz"
    expected = _pencils(**written).optimize(callback=pb.Checkpoint(path, every_iterations=5))
    with pytest.raises(pb.CheckpointError, match="belongs to another optimization"):
        _pencils(**resumed).optimize(resume_from=path)
    if "term" in written:
        written["term"].structure = None
    assert_same(_pencils(**written).optimize(resume_from=path), expected)
