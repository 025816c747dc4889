"""Terms on scenarios: their definition, their gradients, and plans that stand a shift."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from gradients import assert_gradient
from problems import random_plan
from scenario_plans import plan_with_scenarios, shifted_influence

import opentps_brimstone as pb
from opentps_brimstone import _core
from opentps_brimstone.evaluation import dose_at_volume
from opentps_brimstone.optimization.core_plan import assemble
from opentps_brimstone.optimization.core_settings import bin_settings, level_settings
from opentps_brimstone.optimization.robust_terms import SMOOTHING
from opentps_brimstone.optimization.run import fingerprint

KINDS = {"expected": {}, "worst_case": {}, "cvar": {"alpha": 0.4}}


class _Spread(pb.ObjectiveTerm):
    def evaluate(self, dose, share):
        mean = share @ dose
        return float(share @ (dose - mean) ** 2) / 100.0, 2.0 * share * (dose - mean) / 100.0


def _add_robust(optimizer, kind, group=None, **options):
    def robust(term):
        return pb.robust_term(term, kind, group=group, **options)

    structures = optimizer.plan.structures
    structures["organ"].alpha_beta = 3.0
    optimizer.add_objective(structures["PTV"], robust(pb.KLDivergenceTerm(dose_range=(48, 52))))
    optimizer.add_objective(structures["PTV"], robust(pb.MinimumDoseTerm(47.0, weight=50.0)))
    optimizer.add_objective(structures["organ"], robust(pb.MaximumDoseTerm(30.0, weight=50.0, quantity="eqd2")))
    optimizer.add_objective(structures["organ"], robust(pb.MeanDoseTerm(5.0)))
    optimizer.add_objective(structures["PTV"], robust(_Spread()))
    optimizer.add_objective(structures["body"], pb.KLDivergenceTerm(dvh=[(0, 1), (15, 0.4), (48, 0)], weight=0.1))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("group", [None, "all"])
@pytest.mark.parametrize(
    ("direction", "variances"),
    [("calc_target", (True, True)), ("target_calc", (True, False)), ("calc_target", (False, True))],
)
def test_gradients_of_every_kind_agree_with_central_differences(kind, group, direction, variances):
    dynamic, slope = variances
    settings = pb.OptimizerSettings(
        precision="reference", kl_direction=direction, dynamic_covariance=dynamic, slope_variance=slope
    )
    for seed in range(2):
        optimizer = pb.PlanOptimizer(plan_with_scenarios(seed, number_of_fractions=5), settings)
        _add_robust(optimizer, kind, group, **KINDS[kind])
        assembled = assemble(optimizer.plan, optimizer.prescription.objectives, settings)
        limit = assembled.uniform_weight / settings.uniform_share
        for grid in range(assembled.core.n_grids):
            level = level_settings(settings, grid, grid, assembled.reference_dose, limit)
            objective = assembled.core.objective(level)
            rng = np.random.default_rng(seed)
            n = assembled.layouts[grid].n_beamlets
            for _ in range(3):
                objective.add_searched_direction(rng.normal(size=n))
            assert_gradient(objective, objective.parameter(limit * rng.uniform(0.05, 0.7, n)), rng, directions=6)


def _costs_in_scenarios(plan, terms, weights):
    """Costs of single terms on each scenario's own plan, added up."""
    costs = []
    for each in plan.scenarios:
        own = pb.Plan.from_influence(each.dose_influence, list(plan.structures), plan.number_of_fractions)
        total = 0.0
        for name, term in terms:
            pair = []
            for more in ((), (term,)):
                optimizer = pb.PlanOptimizer(own, pb.OptimizerSettings(precision="reference"))
                optimizer.add_objective(own.structures["PTV"], pb.KLDivergenceTerm(dose_range=(48, 52)))
                for extra in more:
                    optimizer.add_objective(own.structures[name], extra())
                pair.append(optimizer.prescription.evaluate(weights)[0])
            total += pair[1] - pair[0]
        costs.append(total)
    return np.array(costs)


def test_costs_are_those_of_the_scenarios_combined():
    plan = plan_with_scenarios(3)
    terms = [("PTV", lambda: pb.MinimumDoseTerm(50.0, weight=100.0)), ("organ", lambda: pb.MeanDoseTerm(1.0))]
    w = np.random.default_rng(3).uniform(100, 200, plan.dose_influence.layout.n_beamlets)
    costs = _costs_in_scenarios(plan, terms, w)
    assert np.ptp(costs) > 0.1 * costs.max()
    chances = np.array([each.scenario.probability for each in plan.scenarios])
    chances /= chances.sum()
    order = np.argsort(-costs)
    before = np.cumsum(chances[order]) - chances[order]
    tail = np.clip(0.4 - before, 0.0, chances[order])
    expected = {
        "expected": (costs @ chances, 0.0),
        "worst_case": (costs.max(), SMOOTHING * costs.mean() * np.log(len(costs))),
        "cvar": (costs[order] @ tail / 0.4, SMOOTHING * (costs @ chances) * np.log(1 / 0.4)),
    }
    for kind, (value, most_above) in expected.items():
        optimizer = pb.PlanOptimizer(plan, pb.OptimizerSettings(precision="reference"))
        optimizer.add_objective(plan.structures["PTV"], pb.KLDivergenceTerm(dose_range=(48, 52)))
        without = optimizer.prescription.evaluate(w)[0]
        for name, term in terms:
            optimizer.add_objective(plan.structures[name], pb.robust_term(term(), kind, group="both", **KINDS[kind]))
        found = optimizer.prescription.evaluate(w)[0] - without
        # The matrix of all scenarios has other steps than each one's.
        assert value * (1 - 2e-3) <= found <= (value + most_above) * (1 + 2e-3)


@pytest.mark.parametrize("tail", [0.0, 0.2, 0.7, 1.0])
@pytest.mark.parametrize("smoothing", [0.0, 0.05, 1.0])
def test_combined_costs_are_those_of_a_coherent_risk_measure(tail, smoothing):
    rng = np.random.default_rng(1)
    for _ in range(20):
        n = int(rng.integers(1, 9))
        chances = rng.uniform(0.01, 1.0, n)
        chances /= chances.sum()
        risk = _core.ScenarioRisk(probability=chances, tail=tail, smoothing=smoothing)
        one, other = rng.uniform(0.0, 3.0, (2, n))
        value, slope = risk.combine(one)
        assert (slope >= 0).all()
        assert chances @ one - 1e-12 <= value
        assert smoothing or value <= one.max() + 1e-12
        assert value == pytest.approx(slope @ one)  # of the scale of the costs
        assert risk.combine(one + other)[0] <= value + risk.combine(other)[0] + 1e-12
        step = 1e-6 * rng.normal(size=n)
        change = risk.combine(one + step)[0] - risk.combine(one - step)[0]
        assert change == pytest.approx(2 * slope @ step, abs=1e-12)
        assert risk.combine(np.full(n, 2.0))[0] >= 2.0 - 1e-12
    assert risk.combine(-one)[0] <= 0.0


def test_scenarios_that_are_the_nominal_one_again_change_nothing_on_any_grid():
    plan = random_plan(2, refinement=2)
    again = [(pb.Scenario((shift, 0, 0)), plan.dose_influence) for shift in (1e-9, 2e-9)]
    plan.set_scenarios([(pb.Scenario(), None), *again])
    settings = pb.OptimizerSettings(precision="reference")
    results = []
    for robust in (False, True):
        optimizer = pb.PlanOptimizer(plan, settings)
        for name, term in (("PTV", pb.KLDivergenceTerm(dose_range=(48, 52))), ("organ", pb.MeanDoseTerm(1.0))):
            asked = pb.robust_term(term, "expected", group="all") if robust else term
            optimizer.add_objective(plan.structures[name], asked)
        optimizer.add_objective(plan.structures["body"], pb.MaximumDoseTerm(20.0, weight=3.0))
        assembled = assemble(plan, optimizer.prescription.objectives, settings)
        limit = assembled.uniform_weight / settings.uniform_share
        rng = np.random.default_rng(0)
        assert assembled.core.n_grids > 1
        for grid in range(assembled.core.n_grids):
            level = level_settings(settings, grid, grid, assembled.reference_dose, limit)
            objective = assembled.core.objective(level)
            x = objective.parameter(limit * rng.uniform(0.05, 0.7, assembled.layouts[grid].n_beamlets))
            results.append(objective.cost_and_gradient(x))
    half = len(results) // 2
    for (cost, gradient), (robust_cost, robust_gradient) in zip(results[:half], results[half:], strict=True):
        assert robust_cost == pytest.approx(cost, rel=1e-12)
        np.testing.assert_allclose(robust_gradient, gradient, rtol=1e-9, atol=1e-12 * np.abs(gradient).max())


@pytest.mark.parametrize(
    "options", [{"search": "conjugate_gradient", "line_search": "brent"}, {"roughness_weight": 0.1}]
)
def test_every_search_lowers_the_cost_of_scenarios(options):
    plan = plan_with_scenarios(5)
    optimizer = pb.PlanOptimizer(plan, pb.OptimizerSettings(threads=1, **options))
    _add_robust(optimizer, "cvar", "all", alpha=0.4)
    result = optimizer.optimize(beams=[0, 2], max_iterations=20)
    used = np.isin(plan.dose_influence.layout.beam_index, (0, 2))
    assert not result.beamlet_weights[~used].any()
    uniform = np.where(used, result.beamlet_weights.sum() / used.sum(), 0.0)
    cost = [optimizer.prescription.evaluate(weights)[0] for weights in (result.beamlet_weights, uniform)]
    assert cost[0] < 0.9 * cost[1]


@pytest.mark.parametrize("kind", KINDS)
def test_a_robust_plan_stands_shifts_better(kind):
    plan = plan_with_scenarios(4, refinement=2)
    share = plan.structures["PTV"].share
    robust = pb.PlanOptimizer(plan, pb.OptimizerSettings(threads=1))
    nominal = pb.PlanOptimizer(plan, pb.OptimizerSettings(threads=1))
    for make in (lambda: pb.KLDivergenceTerm(dose_range=(48, 52)), lambda: pb.MinimumDoseTerm(47.0)):
        nominal.add_objective(plan.structures["PTV"], make())
        robust.add_objective(plan.structures["PTV"], pb.robust_term(make(), kind, group="PTV", **KINDS[kind]))
    for optimizer in (nominal, robust):
        optimizer.add_objective(plan.structures["body"], pb.MeanDoseTerm(3.0, weight=3.0))
    found = [optimizer.optimize() for optimizer in (nominal, robust)]
    assert all(result.success for result in found)
    costs = [robust.prescription.evaluate(result.beamlet_weights)[0] for result in found]
    assert costs[1] < 0.9 * costs[0]
    worst = [
        min(dose_at_volume(each.dose_influence.dose(w.beamlet_weights), share, 95) for each in plan.scenarios)
        for w in found
    ]
    assert worst[1] > worst[0] + 1.0


def test_threads_change_no_bit_of_a_robust_plan():
    weights = []
    for threads in (1, 3):
        plan = plan_with_scenarios(1)
        optimizer = pb.PlanOptimizer(plan, pb.OptimizerSettings(threads=threads))
        _add_robust(optimizer, "worst_case", "all")
        weights.append(optimizer.optimize(max_iterations=5).beamlet_weights)
    np.testing.assert_array_equal(*weights)


def test_start_weights_of_beamlets_left_out_count_in_every_scenario():
    plan = plan_with_scenarios(2)
    settings = pb.OptimizerSettings(precision="reference", inclusion_threshold=0.5)
    objectives = [pb.robust_term(pb.KLDivergenceTerm(dose_range=(48, 52)), "expected")]
    objectives[0].structure = plan.structures["PTV"]
    start = np.full(plan.dose_influence.layout.n_beamlets, 150.0)
    every = assemble(plan, objectives, settings.single_grid(), include_all=True)
    some = assemble(plan, objectives, settings.single_grid(), initial_weights=start, trust_start=True)
    assert len(some.beamlets) < len(start)
    bins = bin_settings(settings, 0, every.reference_dose)
    whole = every.core.evaluate(bins, start, 0.0)[0]
    in_parts = some.core.evaluate(bins, start[some.beamlets], 0.0)[0]
    assert in_parts == pytest.approx(whole, rel=1e-3)


def test_a_checkpoint_knows_its_scenarios():
    plan = plan_with_scenarios(0)
    term = pb.robust_term(pb.KLDivergenceTerm(dose_range=(48, 52)))
    term.structure = plan.structures["PTV"]
    settings = pb.OptimizerSettings()
    before = fingerprint(plan, [term], settings)
    assert fingerprint(plan, [term], settings) == before
    first, *others = [(each.scenario, each.dose_influence) for each in plan.scenarios]
    other = shifted_influence(plan.dose_influence, (0, 1, 0))
    plan.set_scenarios([first, (others[0][0], other), *others[1:]])
    assert fingerprint(plan, [term], settings) != before


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("best_case", {}, "kind.*best_case"),
        ("cvar", {}, "alpha of 'cvar' is None"),
        ("cvar", {"alpha": 0.0}, "alpha of 'cvar' is 0.0; it must be above 0"),
        ("cvar", {"alpha": 1.5}, "alpha of 'cvar' is 1.5"),
        ("cvar", {"alpha": float("nan")}, "alpha of 'cvar' is nan"),
        ("worst_case", {"alpha": 0.5}, "'worst_case' has none"),
    ],
)
def test_what_no_robust_term_can_be_is_refused(kind, options, message):
    with pytest.raises(ValueError, match=message):
        pb.robust_term(pb.MinimumDoseTerm(50.0), kind, **options)


def test_structures_without_doses_in_scenarios_are_refused():
    plan = plan_with_scenarios(0)
    plan._scenarios = tuple(
        each if each.scenario.is_nominal else replace(each, structures=("PTV", "body")) for each in plan.scenarios
    )
    optimizer = pb.PlanOptimizer(plan)
    optimizer.add_objective(plan.structures["PTV"], pb.robust_term(pb.KLDivergenceTerm(dose_range=(48, 52))))
    with pytest.raises(
        ValueError, match="on scenarios of 'organ', and those of the plan have doses in PTV, body alone"
    ):
        optimizer.add_objective(plan.structures["organ"], pb.robust_term(pb.MeanDoseTerm(3.0)))


def test_what_robust_terms_cannot_be_on_is_refused():
    plan = random_plan(0)
    optimizer = pb.PlanOptimizer(plan)
    robust = pb.robust_term(pb.KLDivergenceTerm(dose_range=(48, 52)))
    with pytest.raises(TypeError, match="it must be an ObjectiveTerm"):
        pb.robust_term("PTV D95 >= 50 Gy")
    with pytest.raises(ValueError, match="the plan has none: call its compute_scenarios"):
        optimizer.add_objective(plan.structures["PTV"], robust)
    plan.set_scenarios([(pb.Scenario(), None)])
    with pytest.raises(ValueError, match="the plan has only the nominal one"):
        optimizer.add_objective(plan.structures["PTV"], robust)
    plan = plan_with_scenarios(0)
    optimizer = pb.PlanOptimizer(plan)
    optimizer.add_objective(plan.structures["PTV"], pb.robust_term(robust, "expected", group="PTV"))
    with pytest.raises(ValueError, match=r"'PTV' are combined in different ways: expected and cvar, alpha=0\.2"):
        limit = pb.robust_term(pb.MinimumDoseTerm(45.0), "cvar", alpha=0.2, group="PTV")
        optimizer.add_objective(plan.structures["PTV"], limit)
    plan.set_intermediate_dose(np.ones(plan.grid.shape))
    with pytest.raises(ValueError, match="intermediate dose, which is known only as planned"):
        optimizer.optimize()


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: pb.Scenario(probability=-0.1), ValueError, "probability of a scenario is -0.1"),
        (lambda: pb.Scenario(shift_mm=(1.0, 2.0)), ValueError, "three finite numbers"),
        (lambda: pb.Scenario(shift_mm=(np.nan, 0, 0)), ValueError, "three finite numbers"),
        (lambda: pb.Scenario(density_percent=-100.0), ValueError, "density_percent is -100"),
        (lambda: pb.setup_scenarios(-3.0), ValueError, "shift_mm is -3.0"),
        (lambda: pb.setup_scenarios(3.0, -1.0), ValueError, "density_percent is -1.0"),
    ],
)
def test_impossible_scenarios_are_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_scenarios_that_do_not_fit_the_plan_are_refused():
    plan = random_plan(0)
    with pytest.raises(ValueError, match="has no dose influence, and is not the nominal one"):
        plan.set_scenarios([(pb.Scenario((3, 0, 0)), None)])
    with pytest.raises(ValueError, match="are the same"):
        plan.set_scenarios([(pb.Scenario(), None), (pb.Scenario(probability=2.0), None)])
    with pytest.raises(ValueError, match="is of 50 beamlets; the plan has 75"):
        plan.set_scenarios([(pb.Scenario((3, 0, 0)), random_plan(0, n_beams=2).dose_influence)])
    with pytest.raises(ValueError, match="the plan's grid is another one"):
        plan.set_scenarios([(pb.Scenario((3, 0, 0)), random_plan(0, refinement=2).dose_influence)])
    own = plan.dose_influence
    layout = pb.BeamletLayout(own.layout.xy_mm[::-1], own.layout.beam_index, own.layout.spacing_mm)
    with pytest.raises(ValueError, match="of beamlets elsewhere in their beams than the plan's, or in another order"):
        plan.set_scenarios([(pb.Scenario((3, 0, 0)), pb.DoseInfluence(own.matrix, own.grid, layout))])
    with pytest.raises(ValueError, match="'nominal' is the nominal one, whose dose influence is the plan's own"):
        plan.set_scenarios([(pb.Scenario(), pb.DoseInfluence(2 * own.matrix, own.grid, own.layout))])
    near = pb.DoseInfluence(own.matrix, own.grid, own.layout, lambda weights, effort="full": np.zeros(own.grid.shape))
    with pytest.raises(ValueError, match="'x \\+3 mm' leaves out scatter from far away"):
        plan.set_scenarios([(pb.Scenario((3, 0, 0)), near)])
    with pytest.raises(ValueError, match="two scenarios have the name 'cough'"):
        plan.set_scenarios([(pb.Scenario((x, 0, 0), name="cough"), own) for x in (3, -3)])
    with pytest.raises(TypeError, match="is not a Scenario"):
        plan.set_scenarios([((3, 0, 0), None)])
    with pytest.raises(ValueError, match="made from a matrix"):
        plan.compute_scenarios(pb.setup_scenarios(3.0))


def test_quantities_of_further_matrices_are_refused_beside_robust_terms():
    plan = plan_with_scenarios(0)
    plan.let_dose = plan.dose_influence.matrix
    optimizer = pb.PlanOptimizer(plan)
    optimizer.add_objective(plan.structures["PTV"], pb.robust_term(pb.KLDivergenceTerm(dose_range=(48, 52))))
    with pytest.raises(ValueError, match="needs the plan's let_dose, which are not known in the scenarios"):
        optimizer.add_objective(plan.structures["organ"], pb.MeanDoseTerm(3.0, quantity="let_dose"))
