from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import ensemble_case
import numpy as np
import pytest
from ensemble_case import EndsItsProcess, Failing, ensemble_plan, objectives, one_after_another, variants
from problems import random_influence

import opentps_brimstone as pb
from opentps_brimstone.ensembles import Ensemble, EnsembleError, EnsembleMemory, EnsembleMemoryError, run_ensemble
from opentps_brimstone.ensembles.shared_plan import share_plan

PLAN = ensemble_plan()


def same(results, expected):
    return [np.array_equal(each.beamlet_weights, weights) for each, weights in zip(results, expected, strict=True)]


@pytest.fixture(scope="module")
def workers():
    """Two processes, for all tests of this file that leave them alive."""
    with Ensemble(PLAN, workers=2, threads=1, objectives=objectives()) as ensemble:
        yield ensemble


@pytest.mark.slow
def test_64_variants_are_bitwise_those_of_a_serial_run(workers):
    asked = variants(64)
    seen = []
    results = workers.run(asked, callback=seen.append)
    assert all(same(results, one_after_another(PLAN, asked)))
    assert sorted(each.number for each in seen) == list(range(64))
    assert len({tuple(each.beamlet_weights) for each in results}) > 60


def test_whatever_a_variant_may_vary_is_as_one_after_another(workers):
    start = np.linspace(1.0, 3.0, PLAN.dose_influence.layout.n_beamlets)
    asked = [
        {},
        {"settings": pb.OptimizerSettings(max_iterations=5, search="conjugate_gradient")},
        {"initial_weights": start},
        {"beams": [0, 2]},
        {"beams": [1], "initial_weights": start},
        {"objectives": objectives(2.0, ("body", pb.MaximumDoseTerm(50, weight=300)))},
    ]
    results = workers.run(asked)
    assert all(same(results, one_after_another(PLAN, [{"objectives": objectives()} | each for each in asked])))
    of_beam = PLAN.dose_influence.layout.beam_index
    assert not results[3].beamlet_weights[of_beam == 1].any() and results[3].beamlet_weights[of_beam != 1].any()


def test_a_plan_with_some_beams_is_bitwise_that_of_these_beams_alone():
    influence = random_influence(3)
    layout = influence.layout
    kept = layout.beam_index != 1
    alone = pb.DoseInfluence(
        influence.matrix[:, kept],
        influence.grid,
        pb.BeamletLayout(layout.xy_mm[kept], layout.beam_index[kept] // 2, layout.spacing_mm[:2]),
    )
    plan = pb.Plan.from_influence(alone, ensemble_plan().structures, 5)
    (expected,) = one_after_another(plan, [{"objectives": objectives()}])
    (found,) = one_after_another(PLAN, [{"objectives": objectives(), "beams": [2, 0]}])
    assert np.array_equal(found[kept], expected)


def test_one_failed_variant_is_reported_and_loses_no_other(workers):
    asked = [{}, {"objectives": objectives(1.0, ("organ", Failing()))}, {}]
    results = workers.run(asked)
    assert [each.failed for each in results] == [False, True, False]
    (failed,) = results.failed
    assert failed.number == 1 and "no value today" in failed.error and "evaluate" in failed.traceback
    with pytest.raises(EnsembleError, match=r"variant 1 has no beamlet weights: .*no value today"):
        _ = failed.beamlet_weights
    assert np.isnan(results.beamlet_weights[1]).all() and np.isfinite(results.beamlet_weights[[0, 2]]).all()
    assert "no value today" in str(results) and "1 failed" in results._repr_html_()


def test_a_term_that_cannot_be_sent_fails_its_variant_alone(workers):
    class Local(pb.MeanDoseTerm):
        pass

    results = workers.run([{"objectives": objectives(1.0, ("organ", Local(5.0)))}, {}])
    assert results[0].failed and "Local" in results[0].error and not results[1].failed


def test_a_killed_worker_costs_its_variant_s_time_alone(tmp_path):
    once = EndsItsProcess(str(tmp_path / "once"))
    never = EndsItsProcess("never")
    asked = [*variants(3), {"objectives": objectives(1.0, ("organ", once))}, *variants(3)]
    asked.insert(1, {"objectives": objectives(1.0, ("organ", never))})
    results = run_ensemble(PLAN, asked, workers=2, threads=1, progress=False)
    assert [each.attempts for each in results] == [1, 3, 1, 1, 2, 1, 1, 1]
    assert [each.number for each in results.failed] == [1]
    assert "SIGKILL" in results[1].error
    there = [each for each in results if not each.failed]
    assert all(same(there, one_after_another(PLAN, [asked[each.number] for each in there])))


def test_a_worker_killed_from_outside_is_replaced():
    killed = []

    with Ensemble(PLAN, workers=2, threads=1) as ensemble:

        def kill_the_other(result):
            if not killed:
                killed.append(ensemble._pool.processes[0])
                os.kill(killed[0], signal.SIGKILL)

        results = ensemble.run(variants(8), callback=kill_the_other)
        assert killed[0] not in ensemble._pool.processes
    assert not results.failed and all(same(results, one_after_another(PLAN, variants(8))))


def test_finished_variants_are_not_computed_again(workers, tmp_path):
    asked = variants(5)
    counted = []
    first = workers.run(asked, checkpoint=tmp_path, progress=lambda done, total: counted.append(done) or done < 2)
    assert counted == [1, 2] and len(first.failed) == 3 and "stopped" in first.failed[0].error
    again = workers.run([*reversed(asked), {"beams": [0]}], checkpoint=tmp_path)
    assert sorted(each.attempts for each in again) == [0, 0, 1, 1, 1, 1]
    assert all(same(again[:5], one_after_another(PLAN, asked[::-1])))
    history = next(each.convergence_history for each in again if each.attempts == 0)
    assert history["iteration"][-1] == len(history["cost"])


def test_a_checkpoint_is_of_what_a_variant_consists_of(workers, tmp_path):
    workers.run([{}], checkpoint=tmp_path)
    others = [
        {"settings": pb.OptimizerSettings(max_iterations=499)},
        {"beams": [0, 1]},
        {"initial_weights": np.ones(75)},
        {"objectives": objectives(0.5000001)},
    ]
    assert [each.attempts for each in workers.run([{}, *others], checkpoint=tmp_path)] == [0, 1, 1, 1, 1]
    for file in tmp_path.glob("*.npz"):
        file.write_bytes(file.read_bytes()[:100])
    assert [each.attempts for each in workers.run([{}], checkpoint=tmp_path)] == [1]


def test_a_killed_run_goes_on_from_what_was_finished(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import sys, ensemble_case as case\n"
        "from opentps_brimstone.ensembles import run_ensemble\n"
        "if __name__ == '__main__':\n"
        "    slow = [('organ', case.Slow())]\n"
        "    asked = [{'objectives': case.objectives(w, *slow)} for w in (0.1, 0.2, 0.4, 0.8, 1.6, 3.2)]\n"
        "    found = run_ensemble(case.ensemble_plan(), asked, workers=2, checkpoint=sys.argv[1], progress=False)\n"
        "    print([each.attempts for each in found])\n"
    )
    kept = tmp_path / "kept"
    environment = {**os.environ, "PYTHONPATH": str(Path(ensemble_case.__file__).parent)}
    command = [sys.executable, str(script), str(kept)]
    first = subprocess.Popen(command, env=environment)
    until = time.monotonic() + 60
    while len(list(kept.glob("*.npz"))) < 2 and time.monotonic() < until:
        time.sleep(0.02)
    first.kill()
    first.wait()
    done = len(list(kept.glob("*.npz")))
    assert 2 <= done < 6
    second = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    assert sorted(map(int, second.stdout.strip()[1:-1].split(","))) == [0] * done + [1] * (6 - done)


def test_an_intermediate_dose_reaches_the_workers():
    plan = ensemble_plan()
    plan.set_intermediate_dose(np.linspace(0, 5, plan.grid.n_voxels).reshape(plan.grid.shape))
    results = run_ensemble(plan, variants(1), workers=1, progress=False)
    (expected,) = one_after_another(plan, variants(1))
    assert np.array_equal(results[0].beamlet_weights, expected)
    assert not np.array_equal(expected, one_after_another(PLAN, variants(1))[0])
    assert np.array_equal(results.dose(0), plan.dose_of(expected))


def test_scatter_that_workers_cannot_compute_is_not_left_out(tmp_path):
    given = ensemble_plan().dose_influence
    whole = pb.DoseInfluence(given.matrix, given.grid, given.layout, lambda w, effort="full": np.ones(given.grid.shape))
    plan = pb.Plan.from_influence(whole, list(ensemble_plan().structures))
    with pytest.raises(ValueError, match="leaves out scatter from far away, which worker processes cannot compute"):
        run_ensemble(plan, variants(1), workers=1, progress=False)
    with pytest.raises(ValueError, match="variant 0: some beams alone cannot be planned"):
        run_ensemble(plan, [{**variants(1)[0], "beams": [0]}], workers=1, progress=False)
    with pytest.raises(ValueError, match="known of all beams together alone"):
        pb.ensembles.plan_of_beams(plan, [0])
    plan.update_intermediate_dose(np.ones(given.layout.n_beamlets))
    shared = share_plan(plan, tmp_path).plan()
    np.testing.assert_array_equal(np.asarray(shared.intermediate_dose), np.asarray(plan.intermediate_dose))


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ([], "there are no variants"),
        ([{}, {"weights": 3}], "variant 1: the key 'weights' is unknown"),
        ([{"beams": [3]}], "variant 0: beam 3 is not one of the plan's 3"),
        ([{"beams": []}], "variant 0: beams is empty"),
        ([{"initial_weights": [1.0]}], "variant 0: expected 75 beamlet weights"),
        ([{"objectives": [("PTW", pb.MeanDoseTerm(1))]}], "variant 0: there is no structure 'PTW'"),
    ],
)
def test_bad_variants_are_refused_before_work(workers, asked, message):
    with pytest.raises((ValueError, KeyError), match=message):
        workers.run(asked)


def test_variants_without_objectives_are_refused():
    with pytest.raises(ValueError, match="variant 0: it has no objectives"):
        run_ensemble(PLAN, [{}])


def test_memory_is_stated_before_it_is_taken(workers, caplog, monkeypatch):
    workers._stated = None
    with caplog.at_level("INFO", logger="opentps_brimstone"):
        workers.run(variants(2))
        workers.run(variants(2))
    assert [record.message for record in caplog.records if "workers share" in record.message][1:] == []
    assert any("2 workers share" in record.message for record in caplog.records)
    monkeypatch.setattr("opentps_brimstone.ensembles.memory.available_bytes", lambda: 10)
    with pytest.raises(EnsembleMemoryError, match="not even one worker fits"):
        workers.run(variants(2))
    memory = EnsembleMemory(workers=4, shared=100, each=50)
    monkeypatch.setattr("opentps_brimstone.ensembles.memory.available_bytes", lambda: 210)
    with pytest.raises(EnsembleMemoryError, match="give workers=2"):
        memory.check()


def test_a_script_without_a_main_guard_is_told(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import ensemble_case as case\n"
        "from opentps_brimstone.ensembles import run_ensemble\n"
        "run_ensemble(case.ensemble_plan(), case.variants(2), workers=1, progress=False)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(ensemble_case.__file__).parent)}
    ended = subprocess.run(
        [sys.executable, str(script)], env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert ended.returncode == 1 and "if __name__ == '__main__':" in ended.stderr.splitlines()[-1]
