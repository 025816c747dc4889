import copy
import inspect

import numpy as np
import pytest
from opentps.core.data.images import DoseImage
from opentps.core.data.plan import ProtonPlan
from opentps.core.processing.planOptimization import planOptimization
from opentps.core.processing.planOptimization.planOptimization import IntensityModulationOptimizer
from opentps_objects import (
    OPENTPS_3,
    add_beam,
    add_objective,
    add_segment,
    center,
    mixed_plan,
    needs_opentps_2,
    needs_opentps_3,
    pencil_beams,
    with_design,
)

from opentps_brimstone import OptimizerSettings, register, unregister
from opentps_brimstone.adapters.density_table import DEFAULT_DENSITY_TABLE
from opentps_brimstone.adapters.doubts import OpenTPSWarning
from opentps_brimstone.integration.opentps_method import is_registered

PATCHED = ("__init__", "optimize", "getConvergenceData")


@pytest.fixture(autouse=True)
def registered():
    register()
    yield
    unregister()


@pytest.fixture
def plan(ct, target):
    return designed(mixed_plan(center(ct)), ct, target)


def designed(plan, ct, target):
    with_design(plan, ct, target, 20.0)
    plan.planDesign.beamlets = pencil_beams(plan, ct)
    plan.planDesign.ROI_cropping = False
    add_objective(plan.planDesign.objectives, target, "DMin", 19.5)
    add_objective(plan.planDesign.objectives, target, "DMax", 20.5)
    return plan


def one_segment_per_beam(ct, target):
    """A plan that OpenTPS's own postProcess keeps the order of."""
    plan = mixed_plan(center(ct))
    for beam in plan.beams:
        beam.removeBeamSegment(beam.beamSegments[1:])
    return designed(plan, ct, target)


# ------------------------------------------------------------------------------------------------------- a whole run


def test_run(plan, target):
    optimizer = IntensityModulationOptimizer(method="Brimstone", plan=plan, maxiter=100)
    dose, cost = optimizer.optimize()
    assert isinstance(dose, DoseImage)
    assert dose.imageArray[target.imageArray].mean() == pytest.approx(20, rel=0.03)
    assert cost is optimizer.cost
    assert optimizer.niter == len(cost)
    assert optimizer.time > 0
    assert optimizer.solver.__class__.__name__ == "BrimstoneSolver"


def test_plan_and_matrix_belong_to_the_dose(plan):
    optimizer = IntensityModulationOptimizer("Brimstone", plan)
    dose, _ = optimizer.optimize()
    beamlets = plan.planDesign.beamlets
    assert beamlets.shape[1] == plan.numberOfBeamlets == len(plan.beamletMUs)
    np.testing.assert_array_equal(beamlets._weights, plan.beamletMUs)
    np.testing.assert_allclose(beamlets.toDoseImage().imageArray, dose.imageArray, rtol=1e-6)


def test_fractions(ct, target):
    doses, mu = [], []
    for fractions in (1, 4):
        plan = designed(mixed_plan(center(ct)), ct, target)
        plan.numberOfFractionsPlanned = fractions
        optimizer = IntensityModulationOptimizer("Brimstone", plan)
        doses.append(optimizer.optimize()[0].imageArray)
        mu.append(plan.beamletMUs)
        # OpenTPS keeps roots of the MU of all fractions.
        kept = np.square(optimizer.weights) / fractions > optimizer.thresholdSpotRemoval
        np.testing.assert_allclose(np.square(optimizer.weights[kept]), mu[-1] * fractions)
    np.testing.assert_allclose(doses[0], doses[1], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(mu[0], 4 * mu[1], rtol=1e-6)


def test_beamlets_below_the_threshold_are_removed(ct, target):
    plan = mixed_plan(center(ct))
    add_segment(add_beam(plan, center(ct), name="astray"), [(200, 200), (205, 200)])
    designed(plan, ct, target)
    columns = plan.planDesign.beamlets.toSparseMatrix().toarray()
    positions = [(b._x, b._y) for b in plan.beamlets]
    optimizer = IntensityModulationOptimizer("Brimstone", plan)
    optimizer.optimize()
    kept = np.square(optimizer.weights) > optimizer.thresholdSpotRemoval
    assert kept.size == 50
    assert not kept[48:].any()
    assert [beam.name for beam in plan.beams] == ["first", "second", "third"]
    assert [(b._x, b._y) for b in plan.beamlets] == [p for p, k in zip(positions, kept, strict=True) if k]
    np.testing.assert_array_equal(plan.planDesign.beamlets.toSparseMatrix().toarray(), columns[:, kept])


def test_own_threshold(ct, target):
    plan = one_segment_per_beam(ct, target)
    optimizer = IntensityModulationOptimizer("Brimstone", plan)
    optimizer.thresholdSpotRemoval = 100.0
    optimizer.optimize()
    assert plan.beamletMUs.min() > 100.0
    assert plan.numberOfBeamlets < optimizer.weights.size


def test_same_plan_after_postprocessing_as_opentps(ct, target):
    """OpenTPS's own postProcess, given our weights, leaves the same plan, matrix and dose."""
    ours, theirs = one_segment_per_beam(ct, target), one_segment_per_beam(ct, target)
    optimizer = IntensityModulationOptimizer("Brimstone", ours)
    dose, _ = optimizer.optimize()
    reference = IntensityModulationOptimizer("Scipy_L-BFGS-B", theirs)
    result = {"sol": optimizer.weights, "crit": "", "niter": 1, "time": 1.0, "objective": [0.0]}
    their_dose, _ = reference.postProcess(result)
    np.testing.assert_allclose(ours.beamletMUs, theirs.beamletMUs, rtol=1e-6)
    assert [(b._x, b._y) for b in ours.beamlets] == [(b._x, b._y) for b in theirs.beamlets]
    np.testing.assert_allclose(dose.imageArray, their_dose.imageArray, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(dose.origin, their_dose.origin)
    np.testing.assert_array_equal(dose.spacing, their_dose.spacing)


@pytest.mark.parametrize("cropping", [True, False])
def test_cropping_as_opentps(ct, target, cropping):
    doses = {}
    for method in ("Scipy_L-BFGS-B", "Brimstone"):
        plan = one_segment_per_beam(ct, target)
        plan.planDesign.ROI_cropping = cropping
        doses[method] = IntensityModulationOptimizer(method, plan, maxiter=20).optimize()[0].imageArray
    for dose in doses.values():
        assert (dose[~target.imageArray].max() == 0) == cropping


def test_x_squared_only_changes_the_meaning_of_the_weights(ct, target):
    mu, weights = [], []
    for squared in (True, False):
        plan = one_segment_per_beam(ct, target)
        optimizer = IntensityModulationOptimizer("Brimstone", plan)
        optimizer.xSquared = squared
        optimizer.optimize()
        mu.append(plan.beamletMUs)
        weights.append(optimizer.weights)
    np.testing.assert_array_equal(*mu)
    np.testing.assert_allclose(np.square(weights[0]), weights[1], atol=1e-12)


@pytest.mark.parametrize("squared", [True, False])
def test_initial_weights_are_in_opentps_units(ct, target, squared):
    plan = designed(mixed_plan(center(ct)), ct, target)
    plan.numberOfFractionsPlanned = 2
    seen = []

    def watch(**state):
        seen.append(state["beamlet_weights"])
        return False

    total_mu = np.linspace(150, 300, 48)  # near enough to the target's dose that its scale is kept
    start = np.sqrt(total_mu) if squared else total_mu
    settings = OptimizerSettings(number_of_levels=1, max_iterations=1)
    optimizer = IntensityModulationOptimizer(
        "Brimstone", plan, init_weights=start, callback=watch, settings=settings, maxiter=1
    )
    optimizer.xSquared = squared
    optimizer.optimize()
    # One step away from the start, which is in MU per fraction.
    assert np.corrcoef(seen[0], total_mu / 2)[0, 1] > 0
    assert 0.65 < np.median(seen[0] / (total_mu / 2)) < 1.5


def test_convergence_data(plan):
    optimizer = IntensityModulationOptimizer("Brimstone", plan)
    optimizer.optimize()
    data = optimizer.getConvergenceData()
    assert sorted(data) == ["func_0", "nIter", "time"]
    assert data["func_0"] == optimizer.cost
    assert all(isinstance(cost, float) for cost in data["func_0"])
    assert data["nIter"] == len(data["func_0"])
    assert data["time"] == optimizer.time


def test_options_reach_the_optimizer(ct, target):
    def iterations(**options):
        optimizer = IntensityModulationOptimizer("Brimstone", designed(mixed_plan(center(ct)), ct, target), **options)
        optimizer.optimize()
        return optimizer.niter

    levels = 4
    assert iterations(maxiter=2) <= 2 * levels
    assert iterations(maxit=2) <= 2 * levels
    assert iterations(tolerance=1e-6) > iterations(tolerance=1e-1)
    assert iterations(settings=OptimizerSettings(number_of_levels=1, max_iterations=1)) == 1


def test_several_segments_of_one_angle_stay_apart(ct, target):
    """OpenTPS's own simplify merges them."""
    plan = mixed_plan(center(ct))
    add_segment(plan.beams[0], [(2.5, 2.5), (7.5, 2.5)])
    designed(plan, ct, target)
    optimizer = IntensityModulationOptimizer("Brimstone", plan)
    optimizer.thresholdSpotRemoval = -1.0
    optimizer.optimize()
    assert [len(segment) for segment in plan.beamSegments] == [36, 2, 4, 1, 7]


# -------------------------------------------------------------------------------------------------- registration


def test_twice_is_once(plan):
    functions = [getattr(IntensityModulationOptimizer, name) for name in PATCHED]
    register()
    assert functions == [getattr(IntensityModulationOptimizer, name) for name in PATCHED]
    unregister()
    unregister()
    assert not is_registered()


def test_unregister_leaves_nothing_behind():
    unregister()
    before = dict(vars(IntensityModulationOptimizer))
    register()
    assert dict(vars(IntensityModulationOptimizer)) != before
    assert planOptimization.IntensityModulationOptimizer is IntensityModulationOptimizer
    unregister()
    assert dict(vars(IntensityModulationOptimizer)) == before
    assert "opentps_brimstone" not in inspect.getmodule(IntensityModulationOptimizer.__init__).__name__


def test_unknown_without_registration(plan):
    unregister()
    optimizer = IntensityModulationOptimizer("Brimstone", plan, maxiter=1)
    assert optimizer.solver.__class__.__name__ == "ScipyOpt"


# LBFGS of OpenTPS 3.0 leaves no beamlets.
@pytest.mark.parametrize("method", ["Scipy_L-BFGS-B", "FISTA", *([] if OPENTPS_3 else ["LBFGS"])])
def test_other_methods_are_the_same_bit_for_bit(ct, target, method):
    outcomes = []
    for switch in (unregister, register, unregister):
        switch()
        plan = one_segment_per_beam(ct, target)
        optimizer = IntensityModulationOptimizer(method, plan, maxiter=15)
        dose, cost = optimizer.optimize()
        outcomes.append((dose.imageArray, np.ravel(cost), plan.beamletMUs, optimizer.getConvergenceData()["func_0"]))
    for outcome in outcomes[1:]:
        for ours, theirs in zip(outcome, outcomes[0], strict=True):
            np.testing.assert_array_equal(ours, theirs)


@needs_opentps_3
def test_a_third_positional_argument_stays_an_error(plan):
    for method in ("Scipy_BFGS", "Brimstone"):
        with pytest.raises(TypeError, match="positional argument"):
            IntensityModulationOptimizer(method, plan, None)


@pytest.mark.parametrize("method", ["Scipy_L-BFGS-B", "Brimstone"])
def test_options_of_opentps_3(ct, target, method):
    """Its ways of multiplying faster mean nothing to Brimstone and are no error."""
    options = {"hardwareAcceleration": None, "croppedMultiplication": True}
    plan = one_segment_per_beam(ct, target)
    dose, _ = IntensityModulationOptimizer(method, plan, maxiter=5, **options).optimize()
    plain, _ = IntensityModulationOptimizer(method, one_segment_per_beam(ct, target), maxiter=5).optimize()
    inside = target.imageArray
    np.testing.assert_allclose(dose.imageArray[inside], plain.imageArray[inside], rtol=1e-3)


def test_what_looks_wrong_is_warned_of(plan, ct):
    plan.planDesign.ct = copy.deepcopy(ct)
    plan.planDesign.ct.imageArray = DEFAULT_DENSITY_TABLE.mass_density(ct.imageArray)
    with pytest.warns(OpenTPSWarning, match="the CT 'CT' holds densities and not HU"):
        run(plan, maxiter=1)


@needs_opentps_2
def test_positional_arguments_of_other_methods(plan):
    optimizer = IntensityModulationOptimizer("Scipy_BFGS", plan, None, maxiter=3)
    assert optimizer.solver.params["maxiter"] == 3
    assert optimizer.method == "Scipy_BFGS"


def test_bound_constraints_optimizer_is_another_class(plan):
    bounded = planOptimization.BoundConstraintsOptimizer(plan)
    assert bounded.optimize.__func__ is planOptimization.BoundConstraintsOptimizer.optimize


# ------------------------------------------------------------------------------------------------------- bad input


def test_proton_plan():
    with pytest.raises(TypeError, match="method Brimstone plans PhotonPlan only, got ProtonPlan"):
        IntensityModulationOptimizer("Brimstone", ProtonPlan())


def test_unknown_option(plan):
    with pytest.raises(TypeError, match="method Brimstone has no option maxitre; its options are maxiter, tolerance"):
        IntensityModulationOptimizer("Brimstone", plan, maxitre=3)


def test_bounds(plan):
    with pytest.raises(ValueError, match="method Brimstone has no bounds on MU"):
        IntensityModulationOptimizer("Brimstone", plan, bounds=[(0, 1)])


def test_no_iterations(plan):
    with pytest.raises(ValueError, match="maxiter must be 1 or more, got 0"):
        IntensityModulationOptimizer("Brimstone", plan, maxiter=0)


def run(plan, **options):
    return IntensityModulationOptimizer("Brimstone", plan, **options).optimize()


def test_errors_leave_the_plan_unchanged(plan):
    before = copy.deepcopy((plan.beamletMUs, plan.planDesign.beamlets.toSparseMatrix().toarray()))
    plan.planDesign.ROI_cropping = True
    add_objective(plan.planDesign.objectives, plan.planDesign.targetMask, "EUDMax", 20.0, eud_a=2.0)
    with pytest.raises(ValueError, match="objective EUDMax on ROI 'PTV'"):
        run(plan)
    np.testing.assert_array_equal(plan.beamletMUs, before[0])
    np.testing.assert_array_equal(plan.planDesign.beamlets.toSparseMatrix().toarray(), before[1])


def test_no_beamlets(plan):
    plan.planDesign.beamlets = None
    with pytest.raises(ValueError, match=r"planDesign.beamlets is empty: compute them"):
        run(plan)


def test_no_design(plan):
    plan.planDesign = None
    with pytest.raises(ValueError, match="the plan 'mixed' has no planDesign"):
        run(plan)


def test_beamlets_of_another_plan(plan):
    plan.planDesign.beamlets.setUnitaryBeamlets(plan.planDesign.beamlets.toSparseMatrix()[:, :47])
    with pytest.raises(ValueError, match=r"planDesign.beamlets has 47 columns, but the plan has 48 beamlets"):
        run(plan)


@pytest.mark.parametrize("weights", [np.ones(3), np.full(48, np.nan), -np.ones(48)])
def test_impossible_initial_weights(plan, weights):
    with pytest.raises(ValueError, match=r"init_weights must be (one number for each of the 48 beamlets|finite)"):
        run(plan, init_weights=weights)
