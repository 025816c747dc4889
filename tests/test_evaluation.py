from __future__ import annotations

import io
from contextlib import redirect_stdout

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from opentps_brimstone import Structure
from opentps_brimstone.evaluation import (
    DVHGoal,
    DVHMetric,
    cumulative_dvh,
    dose_at_volume,
    dose_statistics,
    evaluate,
    homogeneity_index,
    maximum_dose,
    mean_dose,
    minimum_dose,
    volume_at_dose,
)


@pytest.fixture
def dose() -> np.ndarray:
    return np.random.default_rng(1).gamma(5.0, 8.0, (12, 11, 10))


@pytest.fixture
def mask() -> np.ndarray:
    return np.random.default_rng(2).random((12, 11, 10)) < 0.4


@pytest.mark.parametrize("volume", [2, 10, 37.5, 50, 95, 98])
def test_dose_at_volume_is_hazens_quantile_for_whole_voxels(dose, mask, volume):
    expected = np.quantile(dose[mask], 1 - volume / 100, method="hazen")
    assert dose_at_volume(dose, mask, volume) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("volume", [0, 100])
def test_dose_at_volume_ends_at_the_extremes(dose, mask, volume):
    assert dose_at_volume(dose, mask, volume) == (dose[mask].max() if volume == 0 else dose[mask].min())


@pytest.mark.parametrize("volume", [2, 10, 50, 95])
def test_partial_volumes_count_as_much_as_voxels_of_their_size(volume):
    """A voxel with share k/4 weighs what k of four equal sub-voxels weigh."""
    rng = np.random.default_rng(3)
    dose = np.linspace(0, 60, 4000)
    quarters = rng.integers(0, 5, dose.size)
    sub_voxels = np.repeat(dose, quarters)
    got = dose_at_volume(dose, quarters / 4, volume)
    assert got == pytest.approx(np.quantile(sub_voxels, 1 - volume / 100, method="hazen"), abs=0.02)


@given(
    st.lists(st.tuples(st.floats(0, 80), st.floats(0.01, 1)), min_size=1, max_size=30),
    st.floats(0, 100),
    st.floats(0, 100),
)
def test_dose_at_volume_falls_and_stays_within_the_doses(voxels, first, second):
    dose, share = np.array(voxels).T
    low, high = sorted((first, second))
    at_low, at_high = dose_at_volume(dose, share, low), dose_at_volume(dose, share, high)
    assert dose.min() <= at_high <= at_low <= dose.max()


def test_mean_minimum_maximum_weigh_by_share():
    dose, share = np.array([10.0, 20.0, 90.0]), np.array([1.0, 0.5, 0.0])
    assert mean_dose(dose, share) == pytest.approx(20 / 1.5)
    assert minimum_dose(dose, share) == 10
    assert maximum_dose(dose, share) == 20


def test_volume_at_dose_includes_the_dose_itself():
    dose, share = np.array([10.0, 20.0, 30.0]), np.array([1.0, 0.5, 0.5])
    assert volume_at_dose(dose, share, 20) == pytest.approx(50)
    assert volume_at_dose(dose, share, 20.001) == pytest.approx(25)
    assert volume_at_dose(dose, share, 0) == 100
    assert volume_at_dose(dose, share, 31) == 0


def test_cumulative_dvh_is_volume_at_dose_on_every_dose(dose, mask):
    axis = np.array([0.0, 12.5, float(dose[mask][0]), 40.0, 200.0])
    expected = [volume_at_dose(dose, mask, each) / 100 for each in axis]
    assert cumulative_dvh(dose, mask, axis) == pytest.approx(expected, abs=1e-12)


def test_homogeneity_index_is_that_of_icru_83(dose, mask):
    d2, d50, d98 = (dose_at_volume(dose, mask, v) for v in (2, 50, 98))
    assert homogeneity_index(dose, mask) == pytest.approx((d2 - d98) / d50)
    assert homogeneity_index(np.full(5, 50.0), np.ones(5)) == 0
    with pytest.raises(ValueError, match="D50 is 0 Gy"):
        homogeneity_index(np.zeros(5), np.ones(5))


def test_statistics_agree_with_the_single_metrics(dose, mask):
    (found,) = dose_statistics(dose, [Structure("PTV", mask)])
    assert found.structure == "PTV"
    assert (found.minimum, found.mean, found.maximum) == pytest.approx(
        (dose[mask].min(), dose[mask].mean(), dose[mask].max())
    )
    assert (found.d98, found.d95, found.d50, found.d10, found.d2) == tuple(
        dose_at_volume(dose, mask, v) for v in (98, 95, 50, 10, 2)
    )


def test_metrics_agree_with_opentps(dose, mask):
    """OpenTPS bins doses in 100 Gy / 4096 wide bins."""
    with redirect_stdout(io.StringIO()):
        from opentps.core.data import DVH
        from opentps.core.data.images import DoseImage, ROIMask
    theirs = DVH(ROIMask(imageArray=mask, name="PTV"), DoseImage(imageArray=dose))
    for volume, value in ((98, theirs.D98), (95, theirs.D95), (50, theirs.D50), (5, theirs.D5), (2, theirs.D2)):
        # Theirs interpolates from one voxel to the next, ours at most half a voxel further.
        gap = np.diff(np.sort(dose[mask]))[[0, -1]].max() if volume in (2, 98) else 0.3
        assert dose_at_volume(dose, mask, volume) == pytest.approx(value, abs=gap + 0.05)
    assert mean_dose(dose, mask) == pytest.approx(theirs.Dmean)
    assert maximum_dose(dose, mask) == pytest.approx(theirs.Dmax)
    assert volume_at_dose(dose, mask, 40) == pytest.approx(theirs.computeVg(40), abs=0.5)


def test_d95_of_a_smooth_dose_agrees_with_opentps_to_a_bin():
    with redirect_stdout(io.StringIO()):
        from opentps.core.data import DVH
        from opentps.core.data.images import DoseImage, ROIMask
    dose = np.random.default_rng(4).normal(52.0, 1.0, (40, 40, 40))
    mask = np.ones(dose.shape, bool)
    theirs = DVH(ROIMask(imageArray=mask, name="PTV"), DoseImage(imageArray=dose))
    assert dose_at_volume(dose, mask, 95) == pytest.approx(theirs.D95, abs=100 / 4096)


@pytest.mark.parametrize(
    ("text", "structure", "metric", "relation", "value"),
    [
        ("PTV D95 >= 50 Gy", "PTV", "D95", ">=", 50),
        ("core D10 <= 25 Gy", "core", "D10", "<=", 25),
        ("left parotid gland Dmean < 26 Gy", "left parotid gland", "Dmean", "<", 26),
        ("  PTV 50.4 D95% ≥ 47.9Gy ", "PTV 50.4", "D95", ">=", 47.9),
        ("lung V20Gy ≤ 30 %", "lung", "V20", "<=", 30),
        ("PTV HI<=0.1", "PTV", "HI", "<=", 0.1),
        ("cord Dmax > 0", "cord", "Dmax", ">", 0),
    ],
)
def test_goals_are_read(text, structure, metric, relation, value):
    goal = DVHGoal.parse(text)
    assert (goal.structure, goal.metric.name, goal.relation, goal.value) == (structure, metric, relation, value)
    assert DVHGoal.parse(str(goal)) == goal


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "is not understood"),
        ("D95 >= 50 Gy", "is not understood"),
        ("PTV D95 50 Gy", "is not understood"),
        ("PTV D95 => 50 Gy", "is not understood"),
        ("PTV D95 >= high", "is not understood"),
        ("PTV X95 >= 50 Gy", "metric 'X95' is unknown; it may be D<percent>"),
        ("PTV D101 >= 50 Gy", "asks for 101 % of the volume"),
        ("PTV D95 >= 50 %", "D95 is in Gy, not in %"),
        ("PTV V20 <= 30 Gy", "V20 is in %, not in Gy"),
        ("PTV HI <= 1 Gy", "HI is without a unit"),
        ("PTV D95 >= -1 Gy", "is -1.0; it must be 0 or more"),
        ("PTV D95 >= 1e2e3 Gy", "could not convert"),
    ],
)
def test_goals_in_error_are_named(text, complaint):
    with pytest.raises(ValueError, match=complaint):
        DVHGoal.parse(text)


def test_goal_checks_its_parts():
    with pytest.raises(ValueError, match="relation '==' is unknown"):
        DVHGoal("PTV", DVHMetric("D95"), "==", 50)
    with pytest.raises(ValueError, match="is nan"):
        DVHGoal("PTV", DVHMetric("D95"), ">=", float("nan"))
    with pytest.raises(ValueError, match="name of a structure"):
        DVHGoal("", DVHMetric("D95"), ">=", 50)


@pytest.mark.parametrize(
    ("relation", "below", "equal", "above"),
    [(">=", False, True, True), (">", False, False, True), ("<=", True, True, False), ("<", True, False, False)],
)
def test_relations(relation, below, equal, above):
    goal = DVHGoal.parse(f"PTV Dmean {relation} 50")
    assert [goal.is_met(value) for value in (49.9, 50.0, 50.1)] == [below, equal, above]


def test_evaluate_makes_a_table():
    dose = np.full((2, 2, 2), 51.0)
    structures = [Structure("PTV", np.ones((2, 2, 2)), True), Structure("core", np.eye(2)[..., None] * np.ones(2))]
    table = evaluate(dose, structures, ["PTV D95 >= 50 Gy", DVHGoal.parse("core D10 <= 25 Gy")])
    assert [result.met for result in table] == [True, False]
    assert not table.all_met
    assert evaluate(dose, structures, ["PTV V50 >= 99 %"]).all_met
    assert table.records()[1] == {
        "structure": "core",
        "metric": "D10",
        "relation": "<=",
        "goal": 25.0,
        "unit": "Gy",
        "value": 51.0,
        "met": False,
    }
    lines = str(table).splitlines()
    assert lines[0].split() == ["structure", "metric", "goal", "value", "met"]
    assert lines[2].split() == ["PTV", "D95", ">=", "50", "Gy", "51.00", "Gy", "yes"]
    assert lines[3].endswith("NO")
    assert repr(table) == "GoalTable(1 of 2 goals met)"


def test_a_goal_of_an_unknown_structure_names_those_there_are():
    with pytest.raises(ValueError, match="is for 'cord'; the structures are PTV"):
        evaluate(np.ones((1, 1, 1)), [Structure("PTV", np.ones((1, 1, 1)))], ["cord Dmax <= 45 Gy"])


def test_metrics_refuse_what_has_no_value():
    with pytest.raises(ValueError, match=r"the dose has the grid \(2,\) and the structure \(3,\)"):
        mean_dose([1, 2], [1, 1, 1])
    with pytest.raises(ValueError, match="is empty: none of its 2 voxels"):
        mean_dose([1, 2], [0, 0])
    with pytest.raises(ValueError, match="not finite"):
        mean_dose([1, np.nan], [1, 1])
    with pytest.raises(ValueError, match="D101 must be from 0 to 100"):
        dose_at_volume([1, 2], [1, 1], 101)
