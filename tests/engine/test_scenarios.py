"""Doses where the patient is displaced, or denser than planned."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

import opentps_brimstone as pb
from opentps_brimstone.engine import scenarios as module
from opentps_brimstone.engine.errors import DoseCanceledError, DoseMemoryError
from opentps_brimstone.model.example import water_plan

SHIFT = (4.0, -3.0, 6.0)
ISOCENTER = (37.0, 36.0, 35.0)


def _plan(origin=(0.0, 0.0, 0.0), density: float | None = None) -> pb.Plan:
    """A target in a block of bone beside water, with beams of different directions to one place in the room."""
    mask, hu = np.zeros((9, 8, 8)), np.zeros((9, 8, 8))
    mask[3:6, 3:5, 3:5] = 1
    hu[6:] = 700.0
    series = pb.Series(hu, (10, 10, 10), origin, [pb.Structure("PTV", mask, is_target=True)])
    plan = pb.Plan(series, number_of_fractions=3)
    plan.add_beam(20.0, isocenter=ISOCENTER, couch_angle=15.0)
    plan.add_beam(250.0, isocenter=ISOCENTER, collimator_angle=30.0)
    overrides = None if density is None else [{"Mask": SimpleNamespace(imageArray=hu > 0), "Value": density}]
    plan.compute_dose_influence(beamlet_spacing_mm=20.0, margin_mm=15.0, overrides=overrides, progress=False)
    return plan


def _common_columns(one: pb.DoseInfluence, other: pb.DoseInfluence) -> list[tuple[int, int]]:
    place = {
        (b, *xy): i for i, (b, xy) in enumerate(zip(other.layout.beam_index, other.layout.xy_mm.tolist(), strict=True))
    }
    keys = zip(one.layout.beam_index, one.layout.xy_mm.tolist(), strict=True)
    return [(i, place[b, *xy]) for i, (b, xy) in enumerate(keys) if (b, *xy) in place]


def test_a_shift_is_that_of_the_patient_in_the_room():
    plan = _plan()
    scenario = plan.compute_scenarios([pb.Scenario(SHIFT)], progress=False)[0]
    moved = _plan(origin=SHIFT).dose_influence
    pairs = _common_columns(scenario.dose_influence, moved)
    assert len(pairs) > 10
    mine, theirs = (list(columns) for columns in zip(*pairs, strict=True))
    shifted = scenario.dose_influence.matrix[:, mine].toarray()
    np.testing.assert_allclose(shifted, moved.matrix[:, theirs].toarray(), atol=1e-5 * shifted.max())
    planned = plan.dose_influence.matrix[:, mine].toarray()
    assert np.abs(shifted - planned).max() > 0.1 * planned.max()


def test_densities_reach_the_engine():
    plan = _plan(density=1.5)
    scenarios = [pb.Scenario(), pb.Scenario(density_percent=20.0)]
    nominal, denser = plan.compute_scenarios(scenarios, progress=False)
    assert nominal.dose_influence is plan.dose_influence
    # Everything is denser: compare with tables whose densities are.
    table = np.array([(-1000.0, 0.0), (0.0, 1.2), (3000.0, 4.8)])
    table_of_plan = np.array([(-1000.0, 0.0), (0.0, 1.0), (3000.0, 4.0)])
    doses = []
    for each, density in ((table_of_plan, 1.5), (table, 1.8)):
        other = _plan()
        mask = SimpleNamespace(imageArray=other.ct_hu > 0)
        other.compute_dose_influence(
            beamlet_spacing_mm=20.0,
            margin_mm=15.0,
            density_table=each,
            overrides=[{"Mask": mask, "Value": density}],
            progress=False,
        )
        doses.append(other)
    expected = doses[1].dose_influence.matrix.toarray()
    found = doses[0].compute_scenarios(scenarios[1:], progress=False)[0].dose_influence.matrix.toarray()
    np.testing.assert_allclose(found, expected, atol=1e-5 * expected.max())
    change = denser.dose_influence.matrix.toarray() - plan.dose_influence.matrix.toarray()
    assert np.abs(change).max() > 0.02 * expected.max()


def test_doses_are_kept_in_the_structures_that_are_named():
    plan = _plan()
    scenarios = [pb.Scenario(), pb.Scenario(SHIFT)]
    whole = plan.compute_scenarios(scenarios, progress=False)[1].dose_influence.matrix.toarray()
    nominal, cut = plan.compute_scenarios(scenarios, ["PTV"], progress=False)
    assert nominal.structures is None
    assert cut.structures == ("PTV",)
    inside = plan.structures["PTV"].touched.ravel()
    np.testing.assert_array_equal(cut.dose_influence.matrix.toarray(), np.where(inside[:, None], whole, 0.0))
    plan.beamlet_weights = np.ones(whole.shape[1])
    with pytest.raises(ValueError, match="scenarios have doses in PTV alone"):
        pb.evaluate_robustness(plan, progress=False)
    plan.set_scenarios([(each.scenario, each.dose_influence) for each in plan.scenarios])
    assert [each.structures for each in plan.scenarios] == [None, ("PTV",)]
    with pytest.raises(KeyError, match="Cord"):
        plan.compute_scenarios(scenarios, "Cord")
    with pytest.raises(ValueError, match="structures is empty"):
        plan.compute_scenarios(scenarios, [])


def test_progress_counts_all_beamlets_and_stops_the_work():
    plan = water_plan()
    calls: list[tuple[int, int]] = []
    plan.compute_scenarios(pb.setup_scenarios((2.0, 0.0, 0.0)), progress=lambda *done: calls.append(done))
    assert calls[-1] == (16, 16)
    assert [done for done, _ in calls] == sorted(done for done, _ in calls)
    known = plan.scenarios
    with pytest.raises(DoseCanceledError):
        plan.compute_scenarios(pb.setup_scenarios(2.0), progress=lambda done, _: done < 8)
    assert plan.scenarios is known
    plan.add_beam(45.0)
    assert plan.scenarios == ()


def test_scenarios_that_cannot_be_computed_are_refused(monkeypatch):
    plan = water_plan()
    with pytest.raises(ValueError, match=r"isocenter .* of G000 in the scenario 'z \+90 mm' lies outside"):
        plan.compute_scenarios([pb.Scenario((0.0, 0.0, 90.0))])
    given = water_plan()
    given.set_dose_influence(plan.dose_influence)
    with pytest.raises(ValueError, match="how the plan's dose influence was computed is not known"):
        given.compute_scenarios([pb.Scenario((3.0, 0.0, 0.0))])
    with pytest.raises(TypeError, match=r"dose_options is 'native'; it must be an .*\.DoseOptions"):
        given.dose_options = "native"
    given.dose_options = plan.dose_options
    assert len(given.compute_scenarios([pb.Scenario((3.0, 0.0, 0.0))], progress=False)) == 1
    with pytest.raises(ValueError, match="errors of the scenario 'elsewhere' are not known"):
        plan.compute_scenarios([pb.Scenario(source="elsewhere")])
    with pytest.raises(ValueError, match="the list of scenarios is empty"):
        plan.compute_scenarios([])
    monkeypatch.setattr(module, "available_bytes", lambda: 1000)
    with pytest.raises(DoseMemoryError, match="of 8 beamlets in 6 scenarios take about"):
        plan.compute_scenarios(pb.setup_scenarios(3.0))
    monkeypatch.setattr(module, "available_bytes", lambda: 20000)  # one with all doses, and what is kept of the others
    plan.compute_scenarios(pb.setup_scenarios(3.0), ["PTV"], progress=False)
