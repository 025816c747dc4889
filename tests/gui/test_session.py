"""A planning without its window: what is asked, how it changes, how runs begin and end."""

from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np
import pytest
from problems import random_plan

from opentps_brimstone.engine.errors import DoseCanceledError
from opentps_brimstone.gui.asked import Asked, falling_body, organ, target
from opentps_brimstone.gui.history import History
from opentps_brimstone.gui.limits import Limit, limit_of_term
from opentps_brimstone.gui.request import BEAM_SETS, BeamRow, Request, beam_set, side_of_entry
from opentps_brimstone.gui.session import Session, State
from opentps_brimstone.gui.watch import Watch, dvh_on
from opentps_brimstone.integration.worst_voxels import optimize_terms
from opentps_brimstone.model.derived import ring_around
from opentps_brimstone.model.influence import VoxelGrid
from opentps_brimstone.model.structure import Structure

BEAMS = (BeamRow(0.0), BeamRow(90.0))


def wanted(**changes) -> Request:
    asked = (target("PTV", 50.0), organ("organ", 30.0), falling_body("body", 50.0))
    return replace(Request(beams=BEAMS, asked=asked, fractions=1), **changes)


@pytest.fixture
def session():
    made = Session()
    made.use_plan(random_plan(1), wanted())
    return made


def run(session: Session) -> bool:
    return session.finish(session.begin().work())


# ------------------------------------------------------------------------------------------------- what is asked


def test_a_dragged_point_stays_between_its_neighbors():
    asked = Asked("organ", False, ((0.0, 1.0), (10.0, 0.5), (20.0, 0.0)))
    assert asked.with_point(1, 30.0, 2.0).points == ((0.0, 1.0), (19.9, 1.0), (20.0, 0.0))
    assert asked.with_point(1, -5.0, -1.0).points == ((0.0, 1.0), (0.1, 0.0), (20.0, 0.0))


def test_the_ends_of_a_target_dvh_keep_their_volume():
    asked = Asked("organ", False, ((5.0, 1.0), (20.0, 0.0)))
    assert asked.with_point(0, 7.0, 0.3).points[0] == (7.0, 1.0)
    assert asked.with_point(1, 25.0, 0.3).points[1] == (25.0, 0.0)
    assert asked.with_point(1, 1.0, 0.0).points[1] == (5.1, 0.0)


def test_points_come_and_go():
    asked = Asked("organ", False, ((0.0, 1.0), (20.0, 0.0)))
    more = asked.with_new_point(10.0, 0.2)
    assert more.points == ((0.0, 1.0), (10.0, 0.2), (20.0, 0.0))
    assert more.without_point(1) == asked
    assert asked.without_point(0) == asked
    narrow = Asked("PTV", True, ((50.0, 1.0), (50.1, 0.0)))
    assert narrow.with_new_point(50.05, 0.5) == narrow


@pytest.mark.parametrize(
    ("values", "names"),
    [
        ({"points": ((0.0, 1.0), (10.0, 0.5))}, "target DVH of 'x'"),
        ({"weight": 0.0}, "weight of 'x' is 0"),
        ({"limits": (Limit("maximum", -3.0, 1.0),)}, "limit of 'x': maximum dose is -3 Gy"),
        ({"limits": (Limit("volume maximum", 3.0, 1.0, 1.2),)}, "limit of 'x': volume is 120 %"),
        ({"points": (), "limits": ()}, "nothing is asked of 'x'"),
        ({"points": (), "is_target": True, "limits": (Limit("maximum", 3.0, 1.0),)}, "target 'x' has no target DVH"),
    ],
)
def test_what_is_wrong_names_the_structure(values, names):
    with pytest.raises(ValueError, match=names):
        Asked(**{"structure": "x", "is_target": False, "points": ((0.0, 1.0), (9.0, 0.0)), **values})


def test_words_say_what_is_asked():
    assert (
        target("PTV", 50.0).describe()
        == "all of it between 49.5 and 52 Gy, evenly; every voxel at most 53.5 Gy (limit, weight 1e+03); "
        "every voxel at least 47.5 Gy (limit, weight 1e+03)"
    )
    assert "28.2 % above 10 Gy" in organ("organ", 40.0).describe()


@pytest.mark.parametrize(
    "limit",
    [
        Limit("maximum", 60.0, 1e9),
        Limit("minimum", 50.0, 2.0),
        Limit("mean", 9.0, 3.0),
        Limit("volume maximum", 20.0, 4.0, 0.3),
        Limit("volume minimum", 40.0, 5.0, 0.95),
    ],
)
def test_a_limit_is_its_term(limit):
    assert limit_of_term(limit.term()) == limit


def test_a_weight_is_that_of_limits_as_well():
    asked = organ("organ", 40.0, weight=0.5).weighted(1.0)
    assert [term.weight for term in asked.terms()] == [1.0, 1000.0]


def test_a_ring_lies_around_the_target_inside_the_body():
    grid = VoxelGrid((20, 20, 20), (2.0, 2.0, 2.0))
    x, y, z = np.indices(grid.shape)
    middle = Structure("PTV", (abs(x - 10) < 2) & (abs(y - 10) < 2) & (abs(z - 10) < 2), True)
    body = Structure("body", x >= 6)
    ring = ring_around([middle], body, grid, 4.0, 8.0)
    assert ring.name == "ring 4-8 mm"
    assert not (ring.mask & middle.mask).any()
    assert not (ring.mask & ~body.mask).any()
    assert ring.mask[10, 14, 10]
    assert not ring.mask[10, 13, 10]
    with pytest.raises(ValueError, match="needs a target"):
        ring_around([], body, grid)


# ------------------------------------------------------------------------------------------------- requests


@pytest.mark.parametrize(
    ("gantry", "couch", "side"),
    [
        (0, 0, "front"),
        (90, 0, "patient's left"),
        (180, 0, "back"),
        (270, 0, "patient's right"),
        (45, 0, "front, patient's left"),
        (90, 90, "feet"),
        (90, 270, "head"),
    ],
)
def test_side_of_entry(gantry, couch, side):
    assert side_of_entry(gantry, couch) == side


def test_beam_sets_lie_evenly_around():
    for name, count in BEAM_SETS.items():
        angles = [beam.gantry for beam in beam_set(name)]
        assert len(set(angles)) == count
        assert np.allclose(np.diff(angles), 360 / count, atol=0.11)


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"beams": ()}, "Plan, beams: there are none"),
        ({"beams": (BeamRow(0), BeamRow(360))}, "Plan, beams: two beams"),
        ({"fractions": 0}, "Plan, fractions: 0"),
        ({"beamlet_mm": 0.0}, "Plan, beamlet size: 0 mm"),
        ({"margin_mm": -1.0}, "Plan, margin: -1 mm"),
        ({"asked": ()}, "Objectives: no structure is a target"),
        ({"asked": (target("PTV", 50), organ("heart", 3))}, "structure 'heart' is not among"),
        ({"goals": ("PTV is fine",)}, "'PTV is fine' is not understood"),
    ],
)
def test_a_run_does_not_begin_with_a_wrong_field(session, changes, names):
    session.change(wanted(**changes))
    with pytest.raises(ValueError, match=names):
        session.begin()
    assert session.state is State.NOT_PLANNED


def test_history_forgets_what_was_undone_when_something_new_comes():
    history = History("a", limit=2)
    for state in "bcd":
        history.put(state)
    assert [history.undo(), history.undo(), history.undo()] == ["c", "b", "b"]
    assert history.redo() == "c"
    history.put("x")
    assert not history.can_redo
    assert history.undo() == "c"


# ------------------------------------------------------------------------------------------------- runs


def test_limits_that_decide_are_optimized_as_in_scripts(session):
    limits = (Limit("maximum", 40.0, 1e9),)
    asked = [
        Asked("PTV", True, ((50.0, 1.0), (52.0, 0.0)), 1.0, (Limit("minimum", 50.0, 1e9), Limit("maximum", 52.0, 1e9))),
        Asked("organ", False, (), limits=(Limit("maximum", 10.0, 1e9),)),
        Asked("body outside targets", False, ((0.0, 1.0), (40.0, 0.0)), 0.02, limits),
    ]
    session.change(wanted(asked=tuple(asked)))
    run(session)
    planned = session.planned
    plan = random_plan(1)
    body, ptv = plan.structures["body"], plan.structures["PTV"]
    outside = Structure("body outside targets", np.clip(body.share - ptv.share, 0, 1))
    structures = {"PTV": ptv, "organ": plan.structures["organ"], outside.name: outside}
    terms = [(structures[each.structure], term) for each in asked for term in each.terms()]
    result = optimize_terms(plan.dose_influence, terms, 1)
    np.testing.assert_allclose(planned.result.beamlet_weights, result.beamlet_weights, rtol=1e-6)
    assert planned.result.iterations == result.iterations
    assert [frame.iteration for frame in planned.course.frames][-1] == result.iterations
    assert session.structures()[outside.name].share.sum() == outside.share.sum()
    session.undo()
    assert outside.name not in session.structures()
    assert set(session.costs()) == {"PTV", "organ", outside.name}


def test_a_run_gives_a_plan_its_course_and_its_dvhs(session):
    assert session.words() == "not planned yet"
    assert run(session) is False
    planned = session.planned
    assert session.state is State.PLANNED
    assert planned.result.success
    assert planned.course.costs
    last = planned.course.frames[-1]
    np.testing.assert_allclose(
        last.dvhs["PTV"], dvh_on(planned.plan.structures["PTV"], planned.result.dose, last.dose_gy[-1])[1]
    )
    assert planned.plan.structures["PTV"].get_dvh()[0].max() == planned.dvhs["PTV"][0].max()


def test_what_structures_cost_adds_up_to_the_cost(session):
    run(session)
    costs = session.costs()
    assert set(costs) == {"PTV", "organ", "body"}
    prescription_cost, _ = _prescription(session).evaluate(session.planned.result.beamlet_weights)
    assert sum(costs.values()) == pytest.approx(prescription_cost, rel=0.1)


def _prescription(session):
    import opentps_brimstone as pb

    optimizer = pb.PlanOptimizer(session.planned.plan)
    for asked in session.request.asked:
        for term in asked.terms():
            optimizer.add_objective(session.planned.plan.structures[asked.structure], term)
    return optimizer.prescription


def test_words_tell_how_long_beamlets_still_take(monkeypatch):
    clock = [100.0]
    monkeypatch.setattr("opentps_brimstone.gui.watch.time.perf_counter", lambda: clock[0])
    watch = Watch(1.0)
    assert watch.time_left() == ""
    for passed, done, left in (
        (0.0, 10, ""),
        (0.5, 20, ""),  # too early to tell
        (10.0, 60, ", about 2 min left"),  # 50 in 10.5 s, and 440 are left
        (0.0, 110, ", about 40 s left"),
        (30.0, 490, ", about 1 s left"),
    ):
        clock[0] += passed
        watch.on_progress(done, 500)
        assert watch.time_left() == left
    clock[0] += 5.0
    assert watch.time_left() == ", about 1 s left"
    watch.on_progress(0, 300)  # other doses
    assert watch.time_left() == ""


def test_a_changed_request_makes_the_plan_stale_until_it_is_undone(session):
    run(session)
    session.change(session.request.asking(organ("organ", 10.0)))
    assert session.is_stale
    assert session.words().startswith("STALE")
    session.undo()
    assert not session.is_stale
    session.redo()
    assert run(session) is False
    assert not session.is_stale
    assert session.ghost.request.of("organ") == organ("organ", 30.0)


def test_the_next_run_goes_on_from_the_weights_there_are(session):
    run(session)
    again = session.begin()
    planned = again.work()
    session.finish(planned)
    assert planned.result.iterations < 180
    assert {level for level, _ in planned.course.costs} <= {0, 1}


def test_a_stopped_run_has_the_weights_so_far(session):
    going = session.begin()
    session.stop()
    assert session.state is State.STOPPING
    planned = going.work()
    assert session.finish(planned) is False
    assert planned.result.message == "stopped by the callback"
    assert planned.result.iterations == 1
    assert (planned.result.beamlet_weights > 0).any()


def test_a_change_while_it_runs_stops_it_and_asks_for_another_run(session):
    going = session.begin()
    session.change(session.request.asking(organ("organ", 10.0)))
    assert going.watch.is_stopping
    assert session.finish(going.work()) is True
    assert session.is_stale
    assert run(session) is False
    assert not session.is_stale


def test_a_failed_run_leaves_everything_as_it_was(session):
    run(session)
    before, weights = session.planned, session.planned.plan.beamlet_weights.copy()
    session.begin()
    assert session.fail(RuntimeError("engine")) is False
    assert session.planned is before
    np.testing.assert_array_equal(before.plan.beamlet_weights, weights)
    assert session.state is State.PLANNED


def test_cancelled_before_a_plan_with_a_change_runs_again(session):
    session.begin()
    session.change(session.request.asking(organ("organ", 10.0)))
    assert session.fail(DoseCanceledError()) is True


def test_two_runs_at_once_are_refused(session):
    session.begin()
    with pytest.raises(RuntimeError, match="going on already"):
        session.begin()


def test_goals_are_judged_by_the_plan_there_is(session):
    session.change(replace(session.request, goals=("PTV D50 >= 40 Gy", "organ Dmean <= 0.1 Gy")))
    assert session.goals() is None
    run(session)
    assert [result.met for result in session.goals()] == [True, False]


def test_changed_beams_need_other_beamlets(session):
    assert session.beamlets_are_known
    session.change(replace(session.request, beams=(BeamRow(10.0),)))
    assert not session.beamlets_are_known
    session.undo()
    assert session.beamlets_are_known


def test_progress_says_no_once_it_is_to_stop():
    watch = Watch(60.0)
    assert watch.on_progress(3, 10)
    assert watch.progress == (3, 10)
    watch.stop()
    assert not watch.on_progress(4, 10)
    with pytest.raises(DoseCanceledError):
        watch.check()


def test_a_stop_from_another_thread_ends_a_long_run(session):
    session.change(wanted(asked=(target("PTV", 50.0), organ("organ", 1.0), falling_body("body", 20.0))))
    going = session.begin()
    threading.Timer(0.05, session.stop).start()
    planned = going.work()
    assert session.finish(planned) is False
    assert planned.course.last.iteration == planned.result.iterations
