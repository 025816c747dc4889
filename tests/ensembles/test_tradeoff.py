from __future__ import annotations

import numpy as np
import pytest
from ensemble_case import ensemble_plan, objectives
from hypothesis import given, settings, strategies as st
from hypothesis.extra.numpy import arrays

import opentps_brimstone as pb
from opentps_brimstone.ensembles import TradeoffPanel, explore_tradeoff, plot_tradeoff
from opentps_brimstone.ensembles.criteria import checked_criteria, non_dominated
from opentps_brimstone.ensembles.mixing import best_shares
from opentps_brimstone.evaluation.metrics import cumulative_dvh

CRITERIA = ["PTV D95", "organ Dmean", "body Dmean"]


@pytest.fixture(scope="module")
def tradeoff():
    return explore_tradeoff(ensemble_plan(), objectives(), 12, criteria=CRITERIA, workers=2, threads=1, progress=False)


def dominates(one, other, sign):
    return (one * sign <= other * sign).all() and (one * sign < other * sign).any()


def test_no_plan_dominates_another_and_each_left_out_is_dominated(tradeoff):
    sign = np.array([-1, 1, 1])
    assert len(tradeoff) >= 4 and len(tradeoff) + len(tradeoff.dominated) == 12
    for i, one in enumerate(tradeoff.values):
        assert not any(dominates(other, one, sign) for j, other in enumerate(tradeoff.values) if i != j)
    for one in tradeoff.dominated:
        assert any(dominates(other, one, sign) for other in tradeoff.values)


def test_values_are_those_of_the_weights(tradeoff):
    plan = tradeoff.plan
    for weights, values in zip(tradeoff.beamlet_weights, tradeoff.values, strict=True):
        table = pb.evaluate(
            plan.dose_of(weights), plan.structures, ["PTV D95 >= 0", "organ Dmean <= 0", "body Dmean <= 0"]
        )
        assert [each.value for each in table] == pytest.approx(values.tolist())


def test_the_dvh_of_a_mixture_is_that_of_its_recalculated_dose(tradeoff):
    rng = np.random.default_rng(1)
    mixed = tradeoff.mix(rng.uniform(0, 1, len(tradeoff)))
    again = tradeoff.plan.dose_of(mixed.beamlet_weights)
    assert np.asarray(mixed.dose) == pytest.approx(again, rel=1e-12, abs=1e-12)
    axis = np.linspace(0.0, 60.0, 601)
    for structure in tradeoff.plan.structures:
        dvhs = [cumulative_dvh(dose, structure.share, axis) for dose in (np.asarray(mixed.dose), again)]
        assert dvhs[0] == pytest.approx(dvhs[1], abs=1e-9)


def test_navigation_keeps_bounds_and_is_as_good_as_any_plan(tradeoff):
    middle = np.median(tradeoff.values, axis=0)
    bounds = {"organ Dmean": float(middle[1])}
    found = tradeoff.navigate(bounds, prefer="PTV D95")
    assert not found.exceeded
    assert found.values["organ Dmean"] <= middle[1]
    within = tradeoff.values[:, 1] <= middle[1]
    assert found.values["PTV D95"] >= tradeoff.values[within, 0].max() - 1e-2 * np.ptp(tradeoff.values[:, 0])
    assert found.shares.sum() == pytest.approx(1.0) and (found.shares >= 0).all()


def test_bounds_that_no_mixture_keeps_are_said(tradeoff):
    found = tradeoff.navigate({"PTV D95": 1000.0})
    assert found.exceeded == {"PTV D95": pytest.approx(1000.0 - found.values["PTV D95"])}
    assert found.values["PTV D95"] >= tradeoff.values[:, 0].max() - 1e-3 * np.ptp(tradeoff.values[:, 0])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda t: t.navigate({"PTV D96": 1.0}), "'PTV D96' is not a criterion; they are PTV D95"),
        (lambda t: t.navigate({"PTV D95": np.nan}), "they must be finite"),
        (lambda t: t.mix([1.0]), "expected .* shares"),
        (lambda t: t.mix(-np.ones(len(t))), "not negative"),
        (lambda t: explore_tradeoff(t.plan, objectives(), 0), "n is 0"),
        (lambda t: explore_tradeoff(t.plan, [], 4), "there are no objectives"),
        (lambda t: explore_tradeoff(t.plan, objectives(), 4, spread=1.0), "spread is 1.0"),
        (lambda t: explore_tradeoff(t.plan, objectives(), 4, criteria=["PTV D95"]), "at least two criteria"),
        (lambda t: explore_tradeoff(t.plan, objectives(), 4, criteria=["PTV D95", "lung Dmean"]), "lung"),
    ],
)
def test_what_is_wrong_is_said_before_work(tradeoff, call, message):
    with pytest.raises((ValueError, KeyError), match=message):
        call(tradeoff)


def test_table_and_picture(tradeoff):
    assert str(tradeoff).splitlines()[0].split()[:3] == ["plan", "PTV", "D95"]
    assert tradeoff.summary in tradeoff._repr_html_()
    figure = plot_tradeoff(tradeoff, mixed=tradeoff.navigate({}))
    figure.draw_without_rendering()
    shown = [ax for ax in figure.axes if ax.get_visible() and ax.collections]
    assert len([ax for ax in shown if len(ax.collections) == 3]) == 3


def test_sliders_move_dvhs(tradeoff):
    pytest.importorskip("ipywidgets")
    widget = TradeoffPanel(tradeoff).widget
    *sliders, line, image = widget.children
    before, first = line.value, image.value
    assert [slider.description for slider in sliders] == ["PTV D95 ≥", "organ Dmean ≤", "body Dmean ≤"]
    sliders[1].value = float(tradeoff.values[:, 1].min())
    assert line.value != before and image.value != first
    assert bytes(image.value).startswith(b"\x89PNG")


def test_goals_become_terms():
    plan = ensemble_plan()
    found = explore_tradeoff(plan, ["PTV D95 >= 47 Gy", "organ Dmean <= 20 Gy"], 3, workers=1, progress=False)
    assert found.structures == ("PTV", "organ", "body")
    assert [criterion.name for criterion in found.criteria] == ["PTV D95", "organ Dmean", "body Dmean"]


def test_relations_say_which_way_is_better():
    criteria = checked_criteria(ensemble_plan(), ["PTV D95", "organ D10", "PTV D5 <= 55 Gy"])
    assert [criterion.sign for criterion in criteria] == [-1, 1, 1]


@settings(max_examples=100, deadline=None)
@given(arrays(np.float64, st.tuples(st.integers(1, 12), st.integers(1, 4)), elements=st.integers(0, 4).map(float)))
def test_the_filter_keeps_what_nothing_dominates_once(values):
    kept = non_dominated(values)
    ones = np.ones(values.shape[1])
    for i, row in enumerate(values):
        wanted = not any(dominates(other, row, ones) for other in values)
        wanted = wanted and not any(np.array_equal(row, values[j]) for j in range(i))
        assert kept[i] == wanted


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 20), st.integers(2, 4))
def test_shares_keep_limits_that_can_be_kept(seed, n, k):
    rng = np.random.default_rng(seed)
    costs = rng.uniform(0, 1, (n, k))
    inside = rng.dirichlet(np.ones(n)) @ costs + 1e-9
    shares = best_shares(costs, inside, np.ones(k))
    assert shares.sum() == pytest.approx(1.0) and (shares >= 0).all()
    assert (shares @ costs <= inside + 1e-7).all()
    assert (shares @ costs).sum() <= inside.sum() + 1e-7
