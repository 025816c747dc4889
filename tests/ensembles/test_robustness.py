"""Plans judged in scenarios."""

from __future__ import annotations

import json

import numpy as np
import pytest
from matplotlib.figure import Figure
from scenario_plans import plan_with_scenarios

import opentps_brimstone as pb
from opentps_brimstone.engine.errors import DoseCanceledError
from opentps_brimstone.evaluation import cumulative_dvh
from opentps_brimstone.model.example import water_plan
from opentps_brimstone.visualization import plot_dvh_bands, structure_colors

GOALS = ["PTV D95 >= 45 Gy", "PTV D2 <= 60 Gy", "organ Dmean <= 20 Gy"]


@pytest.fixture(scope="module")
def judged():
    plan = plan_with_scenarios(0)
    plan.beamlet_weights = np.random.default_rng(0).uniform(100.0, 250.0, 75)
    return plan, pb.evaluate_robustness(plan, goals=GOALS, progress=False)


def test_goals_are_those_of_every_scenario(judged):
    plan, result = judged
    assert [scenario.name for scenario in result.scenarios] == ["nominal", "x +5 mm", "x -5 mm", "y +5 mm"]
    for each, table in zip(plan.scenarios, result.goals, strict=True):
        dose = each.dose_influence.dose(plan.beamlet_weights)
        assert table.records() == pb.evaluate(dose, plan.structures, GOALS).records()
    values = np.array([[goal.value for goal in table] for table in result.goals])
    for number, worst in enumerate((values[:, 0].argmin(), values[:, 1].argmax(), values[:, 2].argmax())):
        found, scenario = result.worst(number)
        assert found.value == values[worst, number]
        assert scenario is result.scenarios[worst]


def test_the_table_tells_nominal_and_worst(judged):
    _, result = judged
    worst, scenario = result.worst(0)
    met = sum(table[0].met for table in result.goals)
    row = result.rows()[0]
    assert row[:3] == ("PTV", "D95", ">= 45 Gy")
    assert row[3:] == (f"{result.goals[0][0].value:.2f} Gy", f"{worst.value:.2f} Gy", scenario.name, f"{met} of 4")
    assert scenario.name in str(result)
    assert "in all 4 scenarios" in result._repr_html_()
    record = json.loads(json.dumps(result.records()))[0]
    assert record["worst"] == worst.value
    assert min(record["values"].values()) == worst.value


def test_bands_enclose_the_histograms_of_all_scenarios(judged):
    plan, result = judged
    doses, low, high, planned = result.bands(["PTV"])["PTV"]
    scenario_doses = [each.dose_influence.dose(plan.beamlet_weights) for each in plan.scenarios]
    curves = [cumulative_dvh(*plan.structures["PTV"].sample(dose), doses) for dose in scenario_doses]
    np.testing.assert_array_equal(planned, curves[0])
    np.testing.assert_array_equal(low, np.min(curves, axis=0))
    np.testing.assert_array_equal(high, np.max(curves, axis=0))
    assert low[0] == high[0] == 1.0
    assert high[-1] == 0.0


def test_bands_are_drawn(judged):
    plan, result = judged
    ax = Figure().subplots()
    plot_dvh_bands(result.bands(), structure_colors(list(plan.structures)), ax=ax)
    assert len(ax.lines) == len(ax.collections) == 3
    _, _, high, _ = result.bands()["PTV"]
    upper = ax.collections[0].get_paths()[0].vertices[:, 1].max()
    assert upper == pytest.approx(100 * high.max())


def test_doses_computed_anew_are_those_of_the_matrices():
    plan = water_plan()
    scenarios = pb.setup_scenarios((3.0, 0.0, 0.0), 4.0)
    plan.compute_scenarios(scenarios, progress=False)
    weights = np.linspace(0.0, 400.0, 8)
    goals = ["PTV Dmean >= 1 Gy", "PTV D50 >= 1 Gy"]
    tables = [
        pb.evaluate_robustness(plan, given, goals, beamlet_weights=weights, progress=False)
        for given in (None, scenarios[1:])
    ]
    for mine, anew in zip(*(table.goals for table in tables), strict=True):
        for one, other in zip(mine, anew, strict=True):
            assert one.value > 0
            assert one.value == pytest.approx(other.value, rel=1e-5)
    assert [each.name for each in tables[1].scenarios] == [each.name for each in scenarios]


@pytest.mark.parametrize("options", [{"kernels": "Kernels_6MV"}, {"scatter": "full", "beam_model": "Kernels_6MV"}])
def test_the_nominal_dose_is_computed_as_that_of_the_plan(options):
    plan = water_plan()
    plan.compute_dose_influence(beamlet_spacing_mm=20.0, progress=False, **options)
    plan.beamlet_weights = np.linspace(0.0, 400.0, plan.dose_influence.layout.n_beamlets)
    result = pb.evaluate_robustness(plan, [pb.Scenario()], ["PTV Dmean >= 1 Gy"], progress=False)
    if plan.dose_influence.whole_dose is not None:
        plan.update_intermediate_dose()
    planned = pb.evaluate(plan.get_dose(), plan.structures, ["PTV Dmean >= 1 Gy"])
    assert result.goals[0][0].value == pytest.approx(planned[0].value, rel=1e-5)


def test_scenarios_of_a_plan_from_opentps_are_computed_as_its_beamlets_were():
    ct, rois, photon_plan = water_plan().to_opentps()
    plan = pb.Plan.from_opentps(photon_plan, ct, list(rois.values()), kernels="Kernels_6MV", progress=False)
    weights = np.full(plan.dose_influence.layout.n_beamlets, 100.0)
    result = pb.evaluate_robustness(
        plan, [pb.Scenario()], ["PTV Dmean >= 1 Gy"], beamlet_weights=weights, progress=False
    )
    plan.beamlet_weights = weights
    planned = pb.evaluate(plan.get_dose(), plan.structures, ["PTV Dmean >= 1 Gy"])
    assert result.goals[0][0].value == pytest.approx(planned[0].value, rel=1e-5)


def test_effect_has_no_unit(judged):
    plan, _ = judged
    plan.structures["PTV"].alpha_beta, plan.structures["PTV"].alpha = 10.0, 0.3
    row = pb.evaluate_robustness(plan, goals=["PTV effect D50 >= 1"], progress=False).rows()[0]
    assert "Gy" not in "".join(row)


def test_what_cannot_be_judged_is_refused():
    plan = water_plan()
    with pytest.raises(ValueError, match="no beamlet weights yet"):
        pb.evaluate_robustness(plan, pb.setup_scenarios(1.0))
    plan.beamlet_weights = np.ones(8)
    with pytest.raises(ValueError, match="the plan has no scenarios"):
        pb.evaluate_robustness(plan)
    with pytest.raises(ValueError, match="is for 'Cord'; the structures are PTV"):
        pb.evaluate_robustness(plan, pb.setup_scenarios(1.0), ["Cord Dmax <= 45 Gy"])
    with pytest.raises(ValueError, match="lies outside"):
        pb.evaluate_robustness(plan, pb.setup_scenarios(100.0))
    with pytest.raises(DoseCanceledError):
        pb.evaluate_robustness(plan, pb.setup_scenarios(1.0), progress=lambda done, _: done < 2)
    plan.set_intermediate_dose(np.ones(plan.grid.shape))
    with pytest.raises(ValueError, match="intermediate dose, which is known only as planned"):
        pb.evaluate_robustness(plan, pb.setup_scenarios(1.0))
