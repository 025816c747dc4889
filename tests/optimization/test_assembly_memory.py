"""What is kept of a plan from run to run changes no result."""

from __future__ import annotations

import numpy as np
import pytest
from problems import random_plan

import opentps_brimstone as pb
from opentps_brimstone.optimization import assembly_memory
from opentps_brimstone.optimization.assembly_memory import AssemblyMemory


@pytest.fixture
def assembled(monkeypatch):
    """The plans that were converted anew, by their objectives."""
    made = []
    real = assembly_memory.assemble

    def counted(plan, objectives, settings, **options):
        made.append(objectives)
        return real(plan, objectives, settings, **options)

    monkeypatch.setattr(assembly_memory, "assemble", counted)
    return made


def optimized(plan, doses, *, memory=None, settings=None, start=None, structures=("PTV", "organ", "body")):
    optimizer = pb.PlanOptimizer(plan, settings, memory=memory)
    for name, (low, high) in zip(structures, doses, strict=False):
        optimizer.add_objective(plan.structures[name], pb.KLDivergenceTerm(dose_range=(low, high)))
    optimizer.add_objective(plan.structures["organ"], pb.MaximumDoseTerm(doses[1][1], weight=100.0))
    return optimizer.optimize(initial_weights=start)


FIRST = ((49.0, 52.0), (0.0, 30.0), (0.0, 50.0))
SECOND = ((58.0, 62.0), (0.0, 20.0), (0.0, 60.0))


@pytest.mark.parametrize("settings", [None, pb.OptimizerSettings(roughness_weight=0.1)])
def test_runs_with_a_memory_are_bitwise_those_without(assembled, settings):
    plan, memory = random_plan(1), AssemblyMemory()
    start = None
    for doses in (FIRST, SECOND, FIRST):
        with_memory = optimized(plan, doses, memory=memory, settings=settings, start=start)
        without = optimized(random_plan(1), doses, settings=settings, start=start)
        np.testing.assert_array_equal(with_memory.beamlet_weights, without.beamlet_weights)
        assert with_memory.convergence_history["cost"] == without.convergence_history["cost"]
        start = np.asarray(without.beamlet_weights)
    assert len(assembled) == 1


def test_other_structures_settings_or_beamlets_that_are_not_optimized_are_converted_anew(assembled):
    plan, memory = random_plan(1), AssemblyMemory()
    optimized(plan, FIRST, memory=memory)
    fewer = optimized(plan, FIRST[:2], memory=memory)
    np.testing.assert_array_equal(fewer.beamlet_weights, optimized(random_plan(1), FIRST[:2]).beamlet_weights)
    strict = pb.OptimizerSettings(inclusion_threshold=0.5)
    start = np.linspace(0.5, 1.0, plan.dose_influence.layout.n_beamlets)
    few = optimized(plan, FIRST, memory=memory, settings=strict, start=start)
    without = optimized(random_plan(1), FIRST, settings=strict, start=start)
    np.testing.assert_array_equal(few.beamlet_weights, without.beamlet_weights)
    assert len(assembled) >= 3


def test_large_plans_and_other_quantities_are_not_kept(assembled):
    plan = random_plan(1)
    for _ in range(2):
        optimized(plan, FIRST, memory=(memory := AssemblyMemory(most_nonzeros=10)))
        assert memory._kept is None
    assert len(assembled) == 2
