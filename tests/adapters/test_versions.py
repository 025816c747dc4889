"""Source distances, the same way on every version of OpenTPS."""

import pytest
from opentps.core.data.plan import PhotonPlan
from opentps_objects import add_beam, add_segment, needs_opentps_3

from opentps_brimstone.adapters.versions import set_source_distance, source_distance_mm, source_distances_mm


@pytest.fixture
def plan():
    plan = PhotonPlan(name="plan")
    for name in ("AP", "PA"):
        add_segment(add_beam(plan, (0, 0, 0), name=name), [(0, 0)])
    return plan


def test_1000_mm_unless_told_otherwise(plan):
    assert source_distances_mm(plan) == [1000, 1000]
    assert source_distance_mm(plan) == 1000


def test_set_for_plan_and_beams(plan):
    set_source_distance(plan, 900.0)
    assert plan.SAD_mm == 900
    assert source_distances_mm(plan) == [900, 900]


def test_each_beam_has_its_own(plan):
    plan.SAD_mm = None
    plan.beams[0].SAD_mm, plan.beams[1].SAD_mm = 1000.0, 800.0
    assert source_distances_mm(plan) == [1000, 800]
    with pytest.raises(ValueError, match=r"the beams of the plan 'plan' have different SAD_mm, \[800.0, 1000.0\]"):
        source_distance_mm(plan)


def test_plan_and_beam_disagree(plan):
    plan.SAD_mm = 900.0
    plan.beams[0].SAD_mm, plan.beams[1].SAD_mm = 900.0, 1000.0
    with pytest.raises(ValueError, match=r"SAD_mm is 900 for the plan 'plan' and 1000 for beam 2 \('PA'\)"):
        source_distances_mm(plan)


@needs_opentps_3
def test_a_plan_designed_for_another_distance(plan):
    """`design.SAD_mm` places the beamlets; the beams keep 1000 mm, with which OpenTPS 3 computes their dose."""
    plan.SAD_mm = 900.0
    with pytest.raises(ValueError, match=r"SAD_mm is 900 for the plan 'plan' and 1000 for beam 1 \('AP'\)"):
        source_distances_mm(plan)


@pytest.mark.parametrize("distance", [0.0, -1000.0, float("nan")])
def test_impossible_distance(plan, distance):
    plan.beams[1].SAD_mm = distance
    with pytest.raises(ValueError, match=r"SAD_mm of beam 2 \('PA'\) must be positive, got"):
        source_distances_mm(plan)


def test_no_distance(plan):
    plan.SAD_mm = plan.beams[0].SAD_mm = None
    with pytest.raises(ValueError, match=r"beam 1 \('AP'\) has no SAD_mm"):
        source_distances_mm(plan)
