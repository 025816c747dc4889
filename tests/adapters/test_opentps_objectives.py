import numpy as np
import pytest
from opentps.core.data.plan import ObjectivesList, PhotonPlan
from opentps_objects import (
    add_objective,
    add_objectives,
    dosimetric,
    make_ct,
    make_fall_off,
    make_objective,
    make_roi,
    needs_opentps_3,
    with_design,
)
from scipy.integrate import trapezoid

from opentps_brimstone.adapters.objectives import target_names, terms_from_objectives
from opentps_brimstone.model.structure import Structure
from opentps_brimstone.optimization.for_terms import settings_for
from opentps_brimstone.optimization.objectives import DVHLimitTerm
from opentps_brimstone.optimization.robustness import Robustness
from opentps_brimstone.optimization.settings import OptimizerSettings
from opentps_brimstone.optimization.terms import KLDivergenceTerm

CT = make_ct(shape=(20, 20, 20), spacing=(3.0, 3.0, 3.0))
PTV = make_roi(CT, (8, 8, 8), (12, 12, 12), "PTV")
CORD = make_roi(CT, (8, 14, 4), (12, 16, 16), "cord")
BODY = make_roi(CT, (1, 1, 1), (19, 19, 19), "body")
HARMLESS = (PTV, "DUniform", 50.0)


def objectives(*entries):
    """An ObjectivesList of (roi, metric, limit[, weight[, volume in percent]])."""
    made = ObjectivesList()
    for roi, metric, limit, *rest in entries:
        weight, volume = (*rest, 1.0, None)[:2] if len(rest) < 2 else rest
        add_objective(made, roi, metric, limit, weight, volume=None if volume is None else volume / 100)
    return made


def terms_of(*entries):
    """Terms by structure name: (KL terms, limits)."""
    found = {}
    for structure, term in terms_from_objectives(objectives(*entries), CT):
        kl, limits = found.setdefault(structure.name, ([], []))
        (kl if isinstance(term, KLDivergenceTerm) else limits).append(term)
    return found


def limits_of(terms):
    """Limits in words: their class without "Term", and dose, which is a little inside what was typed."""
    return [(type(term).__name__.removesuffix("Term"), pytest.approx(dose_of(term), rel=1e-3)) for term in terms]


def dose_of(term):
    return term.dose_gy if isinstance(term, DVHLimitTerm) else term.limit_gy


def target_dvh(*entries):
    (term,) = terms_of(*entries)["PTV"][0]
    return term.dvh


def mean_dose(dvh):
    return trapezoid(dvh[:, 1], dvh[:, 0]) + dvh[0, 0]


# ----------------------------------------------------------------------------------------------------------- targets


def test_minimum_and_maximum_are_an_interval():
    (kl,), limits = terms_of((PTV, "DMin", 50.0), (PTV, "DMax", 53.0))["PTV"]
    np.testing.assert_allclose(kl.dvh, [(50, 1), (53, 0)])
    assert limits_of(limits) == [("MinimumDose", 50), ("MaximumDose", 53)]
    assert 50 < limits[0].limit_gy < limits[1].limit_gy < 53


def test_limits_are_weighed_as_typed_and_far_above_the_dvhs():
    (kl,), limits = terms_of((PTV, "DMin", 50.0, 4.0), (PTV, "DMax", 53.0, 2.0), (CORD, "DMax", 30.0, 1.0))["PTV"]
    assert limits[0].weight == 2 * limits[1].weight > 1e5 * kl.weight
    (cord,) = terms_of((PTV, "DMin", 50.0, 4.0), (CORD, "DMax", 30.0, 1.0))["cord"][1]
    assert limits[0].weight == 4 * cord.weight


def test_a_target_ends_where_the_body_around_it_must():
    (kl,), _ = terms_of((PTV, "DMin", 50.0), (PTV, "DMax", 55.0), (BODY, "DMax", 52.0))["PTV"]
    np.testing.assert_allclose(kl.dvh, [(50, 1), (52, 0)])
    (kl,), _ = terms_of((PTV, "DMin", 50.0), (PTV, "DMax", 55.0), (BODY, "DMax", 50.0))["PTV"]
    np.testing.assert_allclose(kl.dvh, [(50, 1), (51, 0)])


def test_order_of_the_objectives_does_not_matter():
    forth = target_dvh((PTV, "DMin", 50.0), (PTV, "DMax", 53.0))
    np.testing.assert_array_equal(forth, target_dvh((PTV, "DMax", 53.0), (PTV, "DMin", 50.0)))


def test_crossed_minimum_and_maximum_as_in_the_photon_example():
    (kl,), limits = terms_of((PTV, "DMax", 20.0), (PTV, "DMin", 20.5))["PTV"]
    np.testing.assert_allclose(kl.dvh, [(0.99 * 20.25, 1), (1.01 * 20.25, 0)])
    assert limits_of(limits) == [("MaximumDose", 20), ("MinimumDose", 20.5)]


def test_crossed_limits_meet_nearer_to_the_heavier():
    dvh = target_dvh((PTV, "DMax", 20.0, 1.0), (PTV, "DMin", 21.0, 3.0))
    assert dvh[:, 0].mean() == pytest.approx(20.75)


def test_minimum_alone():
    np.testing.assert_allclose(target_dvh((PTV, "DMin", 50.0)), [(50, 1), (52.5, 0)])
    assert limits_of(terms_of((PTV, "DMin", 50.0))["PTV"][1]) == [("MinimumDose", 50)]


def test_uniform():
    (kl,), limits = terms_of((PTV, "DUniform", 50.0))["PTV"]
    np.testing.assert_allclose(kl.dvh, [(49.5, 1), (50.5, 0)])
    assert [(type(term).__name__, term.limit_gy) for term in limits] == [
        ("MinimumDoseTerm", 50),
        ("MaximumDoseTerm", 50),
    ]


def test_minimum_volume():
    np.testing.assert_allclose(target_dvh((PTV, "DVHMin", 50.0, 1.0, 95)), [(47.5, 1), (50, 0.95), (52.5, 0)])
    dvh = target_dvh((PTV, "DMin", 45.0), (PTV, "DVHMin", 50.0, 1.0, 95), (PTV, "DMax", 54.0))
    np.testing.assert_allclose(dvh, [(45, 1), (50, 0.95), (54, 0)])


def test_minimum_of_the_whole_volume_is_a_minimum():
    np.testing.assert_allclose(target_dvh((PTV, "DVHMin", 50.0, 1.0, 100)), [(50, 1), (52.5, 0)])


def test_maximum_volume_of_a_target():
    dvh = target_dvh((PTV, "DMin", 50.0), (PTV, "DVHMax", 53.0, 1.0, 10), (PTV, "DMax", 56.0))
    np.testing.assert_allclose(dvh, [(50, 1), (53, 0.1), (56, 0)])


def test_mean_of_a_target_is_an_upper_bound():
    np.testing.assert_allclose(target_dvh((PTV, "DMin", 50.0), (PTV, "DMean", 51.0)), [(50, 1), (52, 0)])


@needs_opentps_3
@pytest.mark.parametrize(
    ("others", "ends"),
    [
        ([], (47.5, 52.5)),
        ([("DMax", 54.0)], (47.5, 54)),
        ([("DMax", 51.0)], (49, 51)),
        ([("DMin", 45.0), ("DMax", 53.0)], (47, 53)),
        ([("DMin", 49.0)], (49, 52.5)),
        ([("DMax", 48.0)], (0.99 * 49, 1.01 * 49)),
    ],
)
def test_least_mean_of_a_target(others, ends):
    """A dose spread evenly between both ends has the mean asked for, or more."""
    asked = [(PTV, metric, limit) for metric, limit in others]
    np.testing.assert_allclose(target_dvh((PTV, "DMinMean", 50.0), *asked), [(ends[0], 1), (ends[1], 0)])


def test_maximum_alone_takes_the_prescription():
    listed = objectives((PTV, "DMax", 53.0))
    listed.setTarget("PTV", PTV, 50.0)
    terms = terms_from_objectives(listed, CT)
    np.testing.assert_allclose(terms[0][1].dvh, [(50, 1), (53, 0)])
    assert terms[0][0].is_target


def test_named_target_without_dose_or_prescription():
    plan = with_design(PhotonPlan(), CT, PTV)
    add_objective(plan.planDesign.objectives, PTV, "DMax", 53.0)
    with pytest.raises(ValueError, match=r"target 'PTV' has no objective that asks for dose \(DMax 53 Gy\)"):
        terms_from_objectives(plan, CT)


def test_target_named_only_by_its_mask():
    plan = with_design(PhotonPlan(), CT, PTV, 50.0)
    plan.planDesign.objectives.targetName = []
    add_objective(plan.planDesign.objectives, PTV, "DMax", 53.0)
    assert terms_from_objectives(plan, CT)[0][0].is_target
    assert target_names(plan.planDesign) == ["PTV"]


def test_several_targets_with_their_prescriptions():
    boost = make_roi(CT, (9, 9, 9), (11, 11, 11), "boost")
    listed = objectives((PTV, "DMax", 53.0), (boost, "DMax", 63.0))
    listed.setTarget("PTV", PTV, 50.0)
    listed.setTarget("boost", boost, 60.0)
    found = {s.name: t.dvh for s, t in terms_from_objectives(listed, CT) if isinstance(t, KLDivergenceTerm)}
    np.testing.assert_allclose(found["PTV"][0], (50, 1))
    np.testing.assert_allclose(found["boost"][0], (60, 1))


def test_contradiction_names_the_roi():
    with pytest.raises(ValueError, match="the objectives on ROI 'PTV' contradict each other"):
        target_dvh(
            (PTV, "DMin", 45.0), (PTV, "DVHMin", 52.0, 1.0, 95), (PTV, "DVHMax", 50.0, 1.0, 10), (PTV, "DMax", 54.0)
        )


# ------------------------------------------------------------------------------------------------- organs at risk


def test_maximum_of_an_organ():
    (kl,), limits = terms_of(HARMLESS, (CORD, "DMax", 30.0))["cord"]
    assert limits_of(limits) == [("MaximumDose", 30)]
    np.testing.assert_allclose(kl.dvh[[0, -1]], [(0, 1), (30, 0)])
    assert mean_dose(kl.dvh) == pytest.approx(30 / 5, rel=0.05)
    assert kl.weight == pytest.approx(0.02)


@pytest.mark.parametrize("limit", [5.0, 12.0, 20.0])
def test_mean_of_an_organ(limit):
    (kl,), limits = terms_of(HARMLESS, (CORD, "DMean", limit))["cord"]
    assert mean_dose(kl.dvh) == pytest.approx(limit, rel=0.02)
    np.testing.assert_allclose(kl.dvh[[0, -1]], [(0, 1), (50.5, 0)])
    slope = np.diff(kl.dvh[:, 1]) / np.diff(kl.dvh[:, 0])
    assert np.all(np.diff(slope) > 0)
    assert limits_of(limits) == [("MeanDose", limit)]


def test_mean_that_limits_nothing():
    (kl,), _ = terms_of(HARMLESS, (CORD, "DMean", 45.0))["cord"]
    assert mean_dose(kl.dvh) == pytest.approx(25.25, rel=0.01)


@pytest.mark.parametrize(("limit", "volume"), [(20.0, 30), (40.0, 5), (10.0, 50)])
def test_maximum_volume_of_an_organ(limit, volume):
    (kl,), limits = terms_of(HARMLESS, (CORD, "DVHMax", limit, 1.0, volume))["cord"]
    assert limits_of(limits) == [("DVHLimit", limit)]
    assert limits[0].volume == volume / 100
    assert np.interp(limit, *kl.dvh.T) == pytest.approx(volume / 100, abs=0.01)


def test_all_limits_of_an_organ_hold():
    (kl,), limits = terms_of(HARMLESS, (CORD, "DVHMax", 20.0, 1.0, 30), (CORD, "DMean", 8.0), (CORD, "DMax", 40.0))[
        "cord"
    ]
    assert np.interp(20, *kl.dvh.T) <= 0.3
    assert mean_dose(kl.dvh) <= 8 * 1.02
    assert kl.dvh[-1, 0] == 40
    assert limits_of(limits) == [("DVHLimit", 20), ("MeanDose", 8), ("MaximumDose", 40)]


def test_body_that_holds_the_target_is_spared_outside_it():
    found = terms_of(HARMLESS, (BODY, "DMax", 52.0))
    assert found["body"][0] == []
    assert limits_of(found["body"][1]) == [("MaximumDose", 52)]
    outside = next(
        s for s, _ in terms_from_objectives(objectives(HARMLESS, (BODY, "DMax", 52.0)), CT) if "outside" in s.name
    )
    np.testing.assert_array_equal(outside.mask, BODY.imageArray & ~PTV.imageArray)


def test_organ_with_a_minimum_is_a_target():
    assert terms_from_objectives(objectives((CORD, "DMin", 10.0)), CT)[0][0].is_target


def test_weights_are_relative_to_the_heaviest_target():
    found = terms_of((PTV, "DMin", 50.0, 20.0), (CORD, "DMean", 10.0, 5.0), (CORD, "DMax", 40.0, 5.0))
    assert found["PTV"][0][0].weight == 1
    assert found["cord"][0][0].weight == 0.25
    assert found["cord"][1][0].weight == found["PTV"][1][0].weight / 4


@needs_opentps_3
@pytest.mark.parametrize(("metric", "volume"), [("DVHMax", 30), ("DVHMin", 70)])
def test_a_dvh_limit_is_penalized_as_opentps_penalizes_it(metric, volume):
    dose = np.random.default_rng(5).uniform(5, 35, CORD.imageArray.shape)
    objective = make_objective(CORD, metric, 20.0, volume=volume / 100)
    objective._updateMaskVec(spacing=CORD.spacing, gridSize=CORD.gridSize, origin=CORD.origin)
    theirs = objective._eval(None, dose=np.flip(dose, (0, 1)).ravel(order="F"))
    found = terms_of((PTV, "DMin", 50.0), (PTV, "DMax", 50.0), (CORD, metric, 20.0, 1.0, volume))
    ours = found["cord"][1][0]
    inside = dose[CORD.imageArray]
    value = ours.weight * ours.evaluate(inside, np.full(len(inside), 1 / len(inside)))[0]
    unit = found["PTV"][1][0].weight / found["PTV"][0][0].dvh[-1, 0] ** 2
    assert value / unit == pytest.approx(theirs, rel=0.02)  # OpenTPS reads the DVH off a histogram


def test_weight_zero_is_ignored():
    assert list(terms_of(HARMLESS, (CORD, "DMax", 10.0, 0.0))) == ["PTV"]


# ------------------------------------------------------------------------------------------------------- fall-off


def falloff(roi=BODY):
    listed = objectives(HARMLESS)
    listed.setTarget("PTV", PTV, 50.0)
    add_objectives(listed, make_fall_off(PTV, roi, 50.0, 20.0, 15.0, weight=2.0))
    return [(s, t) for s, t in terms_from_objectives(listed, CT) if "fall-off" in s.name]


def test_falloff_is_a_staircase_of_maxima():
    terms = falloff()
    uniform = terms_of(HARMLESS)["PTV"][1][0]
    limits = [term.limit_gy for _, term in terms]
    assert limits == sorted(limits, reverse=True)
    assert 20 < limits[-1] < limits[0] < 50
    masks = np.array([structure.mask for structure, _ in terms])
    assert masks.sum(axis=0).max() == 1
    assert not np.any(masks & PTV.imageArray)
    # All its shells together weigh as much as one term on the whole; the target's weight is the unit.
    assert sum(term.weight for _, term in terms) == pytest.approx(2 * uniform.weight)


def test_falloff_keeps_to_its_roi():
    half = make_roi(CT, (1, 1, 1), (10, 19, 19), "half")
    for structure, _ in falloff(half):
        assert not np.any(structure.mask & ~half.imageArray)


def test_falloff_far_from_the_target():
    with pytest.raises(ValueError, match=r"no voxel of the ROI lies within 15\.0 mm of the target 'PTV'"):
        falloff(make_roi(CT, (1, 1, 1), (3, 3, 3), "far"))


# -------------------------------------------------------------------------------------------------------- settings


def test_settings_resolve_a_narrow_target():
    structure = Structure("PTV", PTV.imageArray, is_target=True)
    wide = settings_for([(structure, KLDivergenceTerm(dose_range=(50, 53)))])
    assert wide == OptimizerSettings()
    narrow = settings_for([(structure, KLDivergenceTerm(dose_range=(49.5, 50.5)))])
    assert narrow.gaussian_bin_sigma / narrow.level_sigma[0] == pytest.approx(1 / 50.5)
    assert narrow.level_sigma[-5:] == OptimizerSettings().level_sigma
    assert list(narrow.level_sigma) == sorted(narrow.level_sigma, reverse=True)
    assert narrow.number_of_levels - OptimizerSettings().number_of_levels == len(narrow.level_sigma) - 5


def test_settings_ignore_organs():
    structure = Structure("cord", CORD.imageArray)
    assert settings_for([(structure, KLDivergenceTerm(dose_range=(0, 0.1)))]) == OptimizerSettings()


# ------------------------------------------------------------------------------------------------------------ ROIs


def test_two_rois_of_one_name():
    other = make_roi(CT, (2, 2, 2), (5, 5, 5), "cord")
    same = make_roi(CT, (8, 14, 4), (12, 16, 16), "cord")
    found = terms_of(HARMLESS, (CORD, "DMean", 10.0), (same, "DMax", 20.0), (other, "DMax", 30.0))
    assert list(found) == ["PTV", "cord", "cord (2)"]
    assert limits_of(found["cord"][1]) == [("MeanDose", 10), ("MaximumDose", 20)]
    assert limits_of(found["cord (2)"][1]) == [("MaximumDose", 30)]


def test_one_structure_object_for_all_terms_of_a_roi():
    terms = terms_from_objectives(objectives((PTV, "DMin", 50.0), (PTV, "DMax", 53.0)), CT)
    assert terms[0][0] is terms[1][0]


def test_rois_are_not_changed():
    before = PTV.imageArray.copy()
    terms_of((PTV, "DMin", 50.0), (BODY, "DMax", 52.0))
    np.testing.assert_array_equal(PTV.imageArray, before)


def test_empty_roi():
    with pytest.raises(ValueError, match="the ROI 'nothing' is empty on the dose grid"):
        terms_of(HARMLESS, (make_roi(CT, (1, 1, 1), (1, 1, 1), "nothing"), "DMax", 10.0))


# ---------------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize("metric", ["EUDMin", "EUDMax", "EUDUniform"])
def test_equivalent_uniform_dose(metric):
    listed = objectives(HARMLESS)
    add_objective(listed, CORD, metric, 10.0, eud_a=2.0)
    with pytest.raises(ValueError, match=rf"objective {metric} on ROI 'cord': .* use DVHMax or DMean"):
        terms_from_objectives(listed, CT)


def test_no_target():
    with pytest.raises(ValueError, match=r"no objective is on a target \(ROIs: 'cord', 'body'\)"):
        terms_of((CORD, "DMax", 20.0), (BODY, "DMax", 50.0))


def test_no_objectives():
    with pytest.raises(ValueError, match="there are no objectives"):
        terms_from_objectives(ObjectivesList(), CT)


def test_plan_without_design():
    with pytest.raises(ValueError, match="the plan 'bare' has no planDesign"):
        terms_from_objectives(PhotonPlan(name="bare"), CT)


@pytest.mark.parametrize("limit", [-1.0, float("nan"), float("inf")])
def test_impossible_limit(limit):
    with pytest.raises(ValueError, match="objective DMax on ROI 'cord': limitValue must be a positive dose in Gy"):
        terms_of(HARMLESS, (CORD, "DMax", limit))


@pytest.mark.parametrize("weight", [-1.0, float("nan")])
def test_impossible_weight(weight):
    with pytest.raises(ValueError, match="objective DMax on ROI 'cord': weight must be 0 or more"):
        terms_of(HARMLESS, (CORD, "DMax", 10.0, weight))


def test_volume_in_percent_of_a_hand_made_objective():
    made = make_objective(CORD, "DVHMax", 20.0, volume=0.3)
    made.volume = 30
    listed = add_objectives(objectives(HARMLESS), made)
    with pytest.raises(ValueError, match="volume must be a share between 0 and 1, got 30"):
        terms_from_objectives(listed, CT)


def test_unknown_metric():
    made = make_objective(PTV, "DMin", 50.0)
    made.metric = "D95"
    with pytest.raises(ValueError, match="metric 'D95' is not one of DMin, DMax"):
        terms_from_objectives([made], CT)


def test_robust_objectives_are_one_group_where_there_are_scenarios():
    plan = with_design(PhotonPlan(), CT, PTV, 50.0)
    listed = plan.planDesign.objectives
    add_objective(listed, PTV, "DMin", 50.0, robust=True)
    add_objective(listed, PTV, "DMax", 55.0)
    add_objective(listed, CORD, "DMax", 20.0, robust=True)
    nominal = terms_from_objectives(plan, CT)
    assert all(term.robustness is None for _, term in nominal)
    plan.planDesign.robustness.scenarios = ["one", "two"]
    terms = terms_from_objectives(plan, CT)
    kinds = [(structure.name, type(term).__name__, term.robustness) for structure, term in terms]
    worst = Robustness("worst_case", group="robust objectives")
    assert kinds == [
        ("PTV", "KLDivergenceTerm", worst),
        ("PTV", "MinimumDoseTerm", worst),
        ("PTV", "MaximumDoseTerm", None),
        ("cord", "KLDivergenceTerm", worst),
        ("cord", "MaximumDoseTerm", worst),
    ]
    for (_, one), (_, other) in zip(nominal, terms, strict=True):
        assert one.weight == other.weight


def test_exotic_objective():
    listed = objectives(HARMLESS)
    if dosimetric is None:
        listed.addExoticObjective(1.0)
    else:
        from opentps.core.processing.planOptimization.objectives.norms import NormL1

        listed.addObjective(NormL1())
    name = "ExoticObjective" if dosimetric is None else "NormL1"
    with pytest.raises(ValueError, match=f"the objectives hold {name}, exotic objectives that have no meaning"):
        terms_from_objectives(listed, CT)


def test_not_objectives():
    with pytest.raises(TypeError, match="got CTImage"):
        terms_from_objectives(CT, CT)
    with pytest.raises(TypeError, match=r"must be an OpenTPS (FidObjective|DosimetricObjective), got str"):
        terms_from_objectives(["DMax"], CT)
