from __future__ import annotations

import itertools

import numpy as np
import pytest
from ensemble_case import Failing, objectives
from problems import random_plan

import opentps_brimstone as pb
from opentps_brimstone.ensembles import EnsembleError, choose_beam_angles, plan_of_beams

PLAN = random_plan(4, n_beams=5)


def cost(beams, tolerance=1e-3):
    optimizer = pb.PlanOptimizer(PLAN)
    for name, term in objectives():
        optimizer.add_objective(PLAN.structures[name], term)
    return optimizer.optimize(beams=beams, tolerance=tolerance).final_cost


@pytest.fixture(scope="module")
def chosen():
    return choose_beam_angles(PLAN, objectives(), 2, workers=2, threads=1, progress=False)


def test_each_step_takes_the_best_candidate(chosen):
    first, second = chosen.steps[:2]
    alone = {beam: cost([beam], 1e-2) for beam in range(5)}
    assert first.tried == alone and first.added == min(alone, key=alone.get)
    pairs = {beam: cost([first.added, beam], 1e-2) for beam in range(5) if beam != first.added}
    assert second.tried == pairs and second.added == min(pairs, key=pairs.get)


def test_no_exchange_of_one_beam_would_be_better(chosen):
    every = {pair: cost(pair, 1e-2) for pair in itertools.combinations(range(5), 2)}
    near = [pair for pair in every if len(set(pair) & set(chosen.beams)) == 1]
    assert chosen.steps[-1].cost == every[chosen.beams]
    assert all(every[pair] >= every[chosen.beams] * (1 - 2e-3) for pair in near)
    for before, after in itertools.pairwise(chosen.steps[1:]):
        assert after.action == "exchange" and after.cost < before.cost


def test_the_result_is_the_plan_with_the_chosen_beams(chosen):
    assert chosen.result.final_cost == cost(chosen.beams)
    used = np.unique(PLAN.dose_influence.layout.beam_index[chosen.result.beamlet_weights > 0])
    assert tuple(used) == chosen.beams and len(chosen.names) == 2
    alone = plan_of_beams(PLAN, chosen.beams)
    optimizer = pb.PlanOptimizer(alone)
    for name, term in objectives():
        optimizer.add_objective(alone.structures[name], term)
    assert optimizer.optimize().final_cost == chosen.result.final_cost


def test_beams_to_keep_are_kept(tmp_path):
    worst = max(range(5), key=lambda beam: cost([beam], 1e-2))
    options = {"keep": [worst], "workers": 1, "progress": False, "checkpoint": tmp_path}
    chosen = choose_beam_angles(PLAN, objectives(), 2, **options)
    assert worst in chosen.beams and len(chosen.beams) == 2
    again = choose_beam_angles(PLAN, objectives(), 2, **options)
    assert again.beams == chosen.beams and again.result.attempts == 0


@pytest.mark.parametrize(
    ("count", "options", "message"),
    [
        (0, {}, "count is 0; it must be from 1 to the plan's 5 beams"),
        (6, {}, "count is 6"),
        (2, {"keep": [7]}, r"keep is \(7,\)"),
        (1, {"keep": [1, 2]}, "keep is"),
        (2, {"exchanges": -1}, "exchanges is -1"),
    ],
)
def test_what_is_wrong_is_said_before_work(count, options, message):
    with pytest.raises(ValueError, match=message):
        choose_beam_angles(PLAN, objectives(), count, **options)


def test_a_step_without_any_plan_is_an_error():
    with pytest.raises(EnsembleError, match=r"no plan of a step could be made: .*no value today"):
        choose_beam_angles(PLAN, objectives(1.0, ("organ", Failing())), 1, workers=1, progress=False)
