from __future__ import annotations

import io
from contextlib import redirect_stdout

import numpy as np
import pytest
from hypothesis import given, strategies as st
from problems import random_plan

from opentps_brimstone import Structure, VoxelGrid
from opentps_brimstone.evaluation import (
    DVHGoal,
    DVHMetric,
    GoalTable,
    as_goals,
    compare_plans,
    cumulative_dvh,
    dose_at_volume,
    dose_at_volume_cc,
    dose_statistics,
    evaluate,
    gradient_index,
    homogeneity_index,
    html_table,
    maximum_dose,
    mean_dose,
    minimum_dose,
    paddick_conformity_index,
    volume_at_dose,
    volume_at_dose_cc,
    voxel_volume_cc,
)
from opentps_brimstone.model.dose import DoseArray


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


def test_volume_at_dose_is_the_inverse_of_dose_at_volume():
    dose, share = np.array([10.0, 20.0, 30.0]), np.array([1.0, 0.5, 0.5])
    assert volume_at_dose(dose, share, 20) == pytest.approx(37.5)
    assert volume_at_dose(dose, share, 15) == pytest.approx(56.25)
    assert dose_at_volume(dose, share, 56.25) == pytest.approx(15)
    assert volume_at_dose(dose, share, 10) == 100
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
        ("PTV V20 <= 30 Gy", "V20 is in %, not in Gy"),
        ("PTV HI <= 1 Gy", "HI is without a unit"),
        ("PTV D95 >= -1 Gy", "is -1.0; it must be 0 or more"),
        ("PTV D95 >= 1e2e3 Gy", "could not convert"),
        ("PTV V95cc >= 98 %", "metric 'V95cc' has a number in cc; that of V is a dose in Gy or in percent of the"),
        ("PTV CI0% >= 0.8", "metric 'CI0%' is of the isodose 0 %; it must be positive"),
        ("PTV HI <= 5 %", "HI is without a unit, not in %"),
        ("Cord EQD2 Dmax <= 90 %", "is relative to the prescribed dose, which is not a dose in EQD2"),
        ("PTV D20Gy >= 50 Gy", "metric 'D20Gy' has a number in Gy; that of D is percent or cm³"),
        ("rectum D0cc <= 70 Gy", "asks for a volume of 0 cm³"),
        ("rectum D2cc <= 70 cc", "D2cc is in Gy, not in cc"),
        ("PTV CI0 >= 0.8", "is of the isodose 0 Gy"),
        ("PTV CI50 >= 80 %", "CI50 is without a unit, not in %"),
        ("lung V20 <= 300 ml", "V20 is in %, not in ml"),
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


# ----------------------------------------------------------------------------------------------- volumes, conformity

GRID = VoxelGrid((12, 11, 10), (2.0, 2.5, 4.0))
VOXEL_CC = 0.02


def test_a_voxel_has_its_volume():
    assert voxel_volume_cc(GRID) == pytest.approx(VOXEL_CC)


@pytest.mark.parametrize("volume_cc", [0.1, 1.0, 4.0])
def test_dose_at_cubic_centimeters_is_that_of_the_hottest_voxels(dose, mask, volume_cc):
    hottest = np.sort(dose[mask])[::-1]
    n = round(volume_cc / VOXEL_CC)
    found = dose_at_volume_cc(dose, mask, volume_cc, VOXEL_CC)
    assert hottest[n] < found < hottest[n - 1]
    assert found == dose_at_volume(dose, mask, 100 * volume_cc / (mask.sum() * VOXEL_CC))


def test_dose_at_cubic_centimeters_counts_partial_volumes():
    dose, share = np.array([60.0, 50.0, 40.0]), np.array([0.5, 1.0, 1.0])
    # 0.5 + 0.5 voxels are in the middle of the second one's volume.
    assert dose_at_volume_cc(dose, share, 1.0, 1.0) == pytest.approx(50)
    assert dose_at_volume_cc(dose, share, 0.01, 1.0) == 60
    assert dose_at_volume_cc(dose, share, 2.5, 1.0) == 40


def test_volumes_in_error_are_refused():
    with pytest.raises(ValueError, match=r"the structure has 2 cm³; its D2.1cc does not exist"):
        dose_at_volume_cc([1, 2], [1, 1], 2.1, 1.0)
    with pytest.raises(ValueError, match="the volume asked for is 0 cm³; it must be positive"):
        dose_at_volume_cc([1, 2], [1, 1], 0, 1.0)
    with pytest.raises(ValueError, match="the volume of a voxel is nan cm³"):
        dose_at_volume_cc([1, 2], [1, 1], 1, float("nan"))


def test_volume_at_dose_in_cubic_centimeters(dose, mask):
    found = volume_at_dose_cc(dose, mask, 40, VOXEL_CC)
    assert found == pytest.approx(np.count_nonzero(dose[mask] >= 40) * VOXEL_CC, abs=VOXEL_CC)
    assert found == pytest.approx(volume_at_dose(dose, mask, 40) / 100 * mask.sum() * VOXEL_CC)


def spheres(target_mm, isodose_mm, half_isodose_mm, shift_mm=0.0):
    x, y, z = np.meshgrid(*[np.arange(-40, 41, 1.0)] * 3, indexing="ij")
    target = np.sqrt(x**2 + y**2 + z**2) <= target_mm
    radius = np.sqrt((x - shift_mm) ** 2 + y**2 + z**2)
    return np.select([radius <= isodose_mm, radius <= half_isodose_mm], [50.0, 25.0], 10.0), target


@pytest.mark.parametrize(
    ("target_mm", "isodose_mm", "expected"), [(20, 20, 1.0), (20, 25, (20 / 25) ** 3), (20, 16, (16 / 20) ** 3)]
)
def test_paddicks_conformity_index_of_spheres(target_mm, isodose_mm, expected):
    """Too large or too small an isodose, concentric: the ratio of the volumes either way."""
    dose, target = spheres(target_mm, isodose_mm, 35)
    assert paddick_conformity_index(dose, target, 50) == pytest.approx(expected, rel=0.02)


def test_paddicks_conformity_index_sees_that_an_isodose_lies_beside_the_target():
    """Equal spheres of radius r whose centers are d apart share 1 − 3d/4r + d³/16r³ of their volume."""
    dose, target = spheres(20, 20, 25, shift_mm=10)
    overlap = 1 - 3 / 4 * 0.5 + 0.5**3 / 16
    assert paddick_conformity_index(dose, target, 50) == pytest.approx(overlap**2, rel=0.02)


def test_paddicks_conformity_index_counts_what_is_outside_every_structure():
    dose, target = np.full(10, 50.0), np.arange(10) < 4
    assert paddick_conformity_index(dose, target, 50) == pytest.approx(0.4)
    assert paddick_conformity_index(dose, target, 51) == 0
    with pytest.raises(ValueError, match="the prescription is 0 Gy; it must be positive"):
        paddick_conformity_index(dose, target, 0)


def test_gradient_index_is_the_ratio_of_the_isodoses_volumes():
    dose, _ = spheres(20, 20, 30)
    assert gradient_index(dose, 50) == pytest.approx(1.5**3, rel=0.02)
    with pytest.raises(ValueError, match="no voxel gets 60 Gy, the highest dose is 50 Gy"):
        gradient_index(dose, 60)


# ------------------------------------------------------------------------------------------------- goals in volumes


@pytest.mark.parametrize(
    ("text", "metric", "unit", "value"),
    [
        ("rectum D2cc <= 70 Gy", "D2cc", "Gy", 70),
        ("rectum D2cm3 < 70", "D2cc", "Gy", 70),
        ("rectum D2cm³ < 70", "D2cc", "Gy", 70),
        ("body D0.1cc <= 55 Gy", "D0.1cc", "Gy", 55),
        ("lung V20Gy <= 300 cc", "V20", "cc", 300),
        ("lung V20 ≤ 300 cm³", "V20", "cc", 300),
        ("lung V20 <= 300cm3", "V20", "cc", 300),
        ("lung V20Gy <= 30", "V20", "%", 30),
        ("PTV CI50Gy > 0.8", "CI50", "", 0.8),
        ("PTV GI47.5 < 4", "GI47.5", "", 4),
    ],
)
def test_goals_of_volumes_and_conformity_are_read(text, metric, unit, value):
    goal = DVHGoal.parse(text)
    assert (goal.metric.name, goal.metric.unit, goal.value) == (metric, unit, value)
    assert DVHGoal.parse(str(goal)) == goal


def test_only_v_metrics_have_a_volume_unit():
    with pytest.raises(ValueError, match="metric D95 has no volume unit"):
        DVHMetric("D95", volume_unit="cc")
    with pytest.raises(ValueError, match="the volume unit is 'ml'"):
        DVHMetric("V20", volume_unit="ml")


def test_goals_in_cubic_centimeters_take_the_grid_from_anywhere(dose, mask):
    organ = Structure("lung", mask)
    goals = ["lung D1cc <= 70 Gy", "lung V40Gy <= 5 cc", "lung V40Gy <= 50 %", "lung D10% <= 90 Gy"]
    table = evaluate(dose, [organ], goals, grid=GRID)
    assert [result.value for result in table] == [
        dose_at_volume_cc(dose, mask, 1, VOXEL_CC),
        volume_at_dose_cc(dose, mask, 40, VOXEL_CC),
        volume_at_dose(dose, mask, 40),
        dose_at_volume(dose, mask, 10),
    ]
    assert evaluate(DoseArray(dose, GRID), [organ], goals).records() == table.records()
    assert table.rows()[1][:3] == ("lung", "V40", "<= 5 cc")
    with pytest.raises(ValueError, match="goal 'lung D1cc <= 70 Gy' is in cm³; give grid="):
        evaluate(dose, [organ], goals)
    larger = evaluate(dose, [organ], ["lung D50cc <= 70 Gy"], grid=GRID)[0]
    assert larger.value == maximum_dose(dose, organ.share)
    assert "its D50cc does not exist; judged by its highest dose" in larger.note
    with pytest.raises(ValueError, match="D1cc is of a volume in cm³; it needs the volume of a voxel"):
        DVHMetric("D1cc")(dose, mask)


def test_conformity_goals_are_judged():
    dose, target = spheres(20, 25, 35)
    table = evaluate(dose, [Structure("PTV", target, True)], ["PTV CI50 >= 0.6", "PTV GI50 <= 2"])
    assert [result.value for result in table] == [paddick_conformity_index(dose, target, 50), gradient_index(dose, 50)]


# ----------------------------------------------------------------------------------------------------- HTML, comparing


def cells(page):
    """Text of the cells of each row of HTML tables."""
    from html.parser import HTMLParser

    rows = []

    class Reader(HTMLParser):
        inside = False

        def handle_starttag(self, tag, attributes):
            if tag == "tr":
                rows.append([])
            self.inside = tag in ("td", "th")

        def handle_endtag(self, tag):
            self.inside = False

        def handle_data(self, data):
            if self.inside:
                rows[-1].append(data)

    Reader().feed(page)
    return rows


def test_a_notebook_shows_the_same_table():
    dose = np.full((2, 2, 2), 51.0)
    structures = [Structure("PTV <1> & more", np.ones((2, 2, 2)), True)]
    table = evaluate(dose, structures, ["PTV <1> & more D95 >= 50 Gy", "PTV <1> & more Dmax <= 50 Gy"])
    page = table._repr_html_()
    assert cells(page) == [list(GoalTable.COLUMNS), *map(list, table.rows())]
    assert "<1>" not in page
    assert "1 of 2 goals met" in page
    assert page.index("#DDF1E4") < page.index("#F8D7CC")


def test_an_html_row_must_fit_its_columns():
    with pytest.raises(ValueError, match="shorter"):
        html_table(("a", "b"), [("1",)])


@pytest.fixture
def two_doses(dose):
    return dose, dose + 1.5


@pytest.fixture
def organs(mask):
    return [Structure("PTV", mask, True), Structure("rest", ~mask)]


def test_two_doses_are_compared(two_doses, organs):
    first, second = two_doses
    limit = dose_at_volume(first, organs[0].share, 50) + 1
    goals = [f"PTV D50 >= {limit} Gy", "rest Dmax <= 500 Gy"]
    comparison = compare_plans(first, second, organs, goals, names=("ours", "theirs"), metrics=["Dmean", "D95", "V40"])
    assert [(m.structure, m.metric.name) for m in comparison.metrics] == [
        (name, metric) for name in ("PTV", "rest") for metric in ("Dmean", "D95", "V40")
    ]
    for row in comparison.metrics:
        share = next(organ for organ in organs if organ.name == row.structure).share
        assert (row.first, row.second) == (row.metric(first, share), row.metric(second, share))
        if row.metric.unit == "Gy":
            assert row.difference == pytest.approx(1.5)
    assert [result.met for result in comparison.first_goals] == [False, True]
    assert [result.met for result in comparison.second_goals] == [True, True]
    assert comparison.records()[0]["ours"] == mean_dose(first, organs[0].share)
    text = str(comparison)
    assert text.splitlines()[0].split() == ["structure", "metric", "unit", "ours", "theirs", "difference"]
    assert text.count("+1.50") == 6
    page = comparison._repr_html_()
    assert ["PTV", "Dmean"] in [row[:2] for row in cells(page)]
    assert cells(page)[len(comparison.metrics) + 1] == list(comparison.goal_columns)
    assert page.count("#DDF1E4") == len(comparison.goal_columns)
    assert repr(comparison) == "PlanComparison('ours' and 'theirs': 6 metrics; 1 and 2 of 2 goals met)"


def test_the_swapped_comparison_has_the_opposite_differences(two_doses, organs):
    forth = compare_plans(*two_doses, organs)
    back = compare_plans(*two_doses[::-1], organs)
    assert [m.difference for m in back.metrics] == [-m.difference for m in forth.metrics]


def test_plans_and_results_are_compared_without_more_words():
    first, second = random_plan(0), random_plan(0)
    first.beamlet_weights = np.full(75, 10.0)
    second.beamlet_weights = np.full(75, 12.0)
    found = compare_plans(first, second, goals=["PTV D95 >= 1 Gy"])
    assert {m.structure for m in found.metrics} == {"PTV", "organ", "body"}
    assert [m.second / m.first for m in found.metrics if m.first > 0] == pytest.approx(
        [1.2] * sum(m.first > 0 for m in found.metrics)
    )
    assert "goals" in found._repr_html_()


def test_comparisons_in_error_are_refused(two_doses, organs):
    with pytest.raises(ValueError, match=r"the names of the plans are \['a', 'a'\]; two different ones"):
        compare_plans(*two_doses, organs, names=("a", "a"))
    with pytest.raises(ValueError, match="a comparison of doses needs structures="):
        compare_plans(*two_doses)
    elsewhere = VoxelGrid(GRID.shape, (1.0, 1.0, 1.0))
    with pytest.raises(ValueError, match="the plans are on different grids"):
        compare_plans(DoseArray(two_doses[0], GRID), DoseArray(two_doses[1], elsewhere), organs)


@pytest.mark.parametrize(
    ("name", "kind", "number"),
    [("D95%", "D", 95.0), ("D0.5cm³", "D", 0.5), ("V20Gy", "V", 20.0), ("CI50", "CI", 50.0), ("GI7.5Gy", "GI", 7.5)],
)
def test_a_metric_tells_its_kind_and_number(name, kind, number):
    metric = DVHMetric(name)
    assert (metric.kind, metric.number) == (kind, number)


@pytest.mark.parametrize("name", ["Dmean", "Dmin", "Dmax", "HI"])
def test_a_metric_without_a_number_is_its_own_kind(name):
    assert (DVHMetric(name).kind, DVHMetric(name).number) == (name, None)


def test_a_goal_tells_whether_it_is_a_lower_bound():
    assert [DVHGoal.parse(f"PTV D95 {sign} 5 Gy").is_lower_bound for sign in (">=", ">", "≥", "<=", "<", "≤")] == [
        True,
        True,
        True,
        False,
        False,
        False,
    ]


def test_goals_are_read_and_their_structures_checked():
    goal = DVHGoal.parse("PTV D95 >= 5 Gy")
    assert as_goals([goal, "cord Dmax <= 9 Gy"])[0] is goal
    with pytest.raises(ValueError, match="goal 'cord Dmax <= 9 Gy' is for 'cord'; the structures are PTV, lung"):
        as_goals([goal, "cord Dmax <= 9 Gy"], ["PTV", "lung"])
