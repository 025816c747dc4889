from __future__ import annotations

import numpy as np
import pytest
from problems import add_objectives, random_plan

import opentps_brimstone as pb


class OwnMaximum(pb.ObjectiveTerm):
    """The built-in guard, written in Python; d_ref is 52 Gy in these problems."""

    def __init__(self, limit_gy, weight):
        super().__init__(weight)
        self.limit_gy = limit_gy

    def evaluate(self, dose, share):
        excess = np.maximum(0.0, dose - self.limit_gy) / 52.0
        return float(share @ excess**2), 2.0 * share * excess / 52.0


class OwnMaximumToTheLastBit(OwnMaximum):
    """The same, summed in the core's order for up to 1024 voxels: even ones, odd ones, the last of an odd number."""

    def evaluate(self, dose, share):
        value, gradient = super().evaluate(dose, share)
        excess = np.maximum(0.0, dose - self.limit_gy) / 52.0
        parts = share * excess * excess
        paired = len(parts) // 2 * 2
        even, odd = (np.cumsum(parts[start:paired:2])[-1] for start in (0, 1))
        own = even + odd + (parts[-1] if paired < len(parts) else 0.0)
        assert own == pytest.approx(value, rel=1e-12)
        return float(own), gradient


def planned(*extra, refinement=2, settings=None, **options):
    plan = random_plan(3, refinement=refinement)
    optimizer = pb.PlanOptimizer(plan, settings)
    optimizer.add_objective(plan.structures["PTV"], pb.KLDivergenceTerm(dose_range=(48, 52)))
    optimizer.add_objective(plan.structures["organ"], pb.KLDivergenceTerm(dvh=[(0, 1), (20, 0.4), (40, 0)], weight=0.3))
    for name, term in extra:
        optimizer.add_objective(plan.structures[name], term)
    return optimizer, optimizer.optimize(**options)


def test_a_term_in_python_gives_the_plan_of_the_same_term_built_in():
    _, built_in = planned(("body", pb.MaximumDoseTerm(49, weight=800)), refinement=1)
    _, own = planned(("body", OwnMaximumToTheLastBit(49, weight=800)), refinement=1)
    # Where a search ends hangs on the last bits of every cost; with the same ones, it ends at the same plan.
    np.testing.assert_allclose(own.beamlet_weights, built_in.beamlet_weights, rtol=1e-6, atol=1e-6)
    assert own.iterations == built_in.iterations
    assert own.final_cost == pytest.approx(built_in.final_cost, rel=1e-6)
    _, without = planned(refinement=1)
    assert np.abs(without.beamlet_weights - own.beamlet_weights).max() > 1e-3 * own.beamlet_weights.max()


@pytest.mark.parametrize("search", ["lbfgs", "conjugate_gradient"])
def test_a_term_in_python_leads_where_the_same_term_built_in_does(search):
    settings = pb.OptimizerSettings(search=search, number_of_levels=1)
    same, built_in = planned(("body", pb.MaximumDoseTerm(49, weight=800)), settings=settings, max_iterations=6)
    optimizer, own = planned(("body", OwnMaximum(49, weight=800)), settings=settings, max_iterations=6)
    np.testing.assert_allclose(own.beamlet_weights, built_in.beamlet_weights, rtol=1e-6, atol=1e-6)
    cost, gradient = optimizer.prescription.evaluate(own.beamlet_weights)
    built_in_cost, built_in_gradient = same.prescription.evaluate(own.beamlet_weights)
    assert cost == pytest.approx(built_in_cost, rel=1e-12)
    np.testing.assert_allclose(gradient, built_in_gradient, rtol=1e-9, atol=1e-12)


def test_a_term_sees_each_level_with_its_voxel_shares():
    seen = []

    class Watching(OwnMaximum):
        def evaluate(self, dose, share):
            seen.append((len(dose), share.sum(), share.min()))
            return super().evaluate(dose, share)

    planned(("body", Watching(49, 800)))
    sizes = {size for size, _, _ in seen}
    assert len(sizes) == 2  # two grids
    assert max(sizes) > 4 * min(sizes)
    np.testing.assert_allclose([total for _, total, _ in seen], 1.0, rtol=1e-12)
    assert min(least for _, _, least in seen) > 0


def test_a_term_may_take_the_dose_alone():
    class Unweighted(pb.ObjectiveTerm):
        def evaluate(self, dose):
            return float(np.mean(dose)) / 1000, np.full_like(dose, 1 / len(dose) / 1000)

    _, result = planned(("organ", Unweighted(weight=100)), refinement=1)
    _, without = planned(refinement=1)
    organ = random_plan(3).structures["organ"].share > 0.5
    assert result.dose[organ].mean() < without.dose[organ].mean()


@pytest.mark.parametrize(
    ("answer", "error", "message"),
    [
        (lambda d, v: 1.0, TypeError, r"Bad on 'body': evaluate must return \(value, gradient\), not float"),
        (lambda d, v: (1.0, d[:-1]), ValueError, r"Bad on 'body': the gradient has the shape \(\d+,\); the dose has"),
        (lambda d, v: (np.nan, d), ValueError, "Bad on 'body': the value is nan; it must be finite"),
        (lambda d, v: (1.0, d + np.inf), ValueError, "Bad on 'body': the gradient is inf where the dose is"),
    ],
)
def test_a_term_that_breaks_its_promise_is_named(answer, error, message):
    class Bad(pb.ObjectiveTerm):
        def evaluate(self, dose, share):
            return answer(dose, share)

    with pytest.raises(error, match=message):
        planned(("body", Bad()), refinement=1)


def test_an_exception_of_a_term_reaches_the_caller():
    class Failing(pb.ObjectiveTerm):
        def evaluate(self, dose, share):
            raise ZeroDivisionError("inside the term")

    with pytest.raises(ZeroDivisionError, match="inside the term"):
        planned(("body", Failing()), refinement=1)


def test_a_term_without_evaluate_is_refused_when_it_is_added():
    class Empty(pb.ObjectiveTerm):
        pass

    plan = random_plan(3)
    optimizer = pb.PlanOptimizer(plan)
    with pytest.raises(TypeError, match=r"Empty must override evaluate\(dose, share\)"):
        optimizer.add_objective(plan.structures["body"], Empty())
    with pytest.raises(TypeError, match="is not an objective; it must be an ObjectiveTerm"):
        optimizer.add_objective(plan.structures["body"], "nothing")


def test_a_changed_term_is_seen_by_the_prescription():
    plan = random_plan(3)
    optimizer = pb.PlanOptimizer(plan)
    add_objectives(optimizer)
    term = OwnMaximum(30, weight=10)
    optimizer.add_objective(plan.structures["body"], term)
    w = np.full(plan.dose_influence.layout.n_beamlets, 200.0)
    before, _ = optimizer.prescription.evaluate(w)
    term.weight = 20
    after, _ = optimizer.prescription.evaluate(w)
    assert after > before
