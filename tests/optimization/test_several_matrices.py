"""Terms on effect, RBE-weighted dose and LET of plans with matrices of their own."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
from gradients import assert_gradient
from problems import random_plan

import opentps_brimstone as pb
from opentps_brimstone.optimization.core_plan import assemble
from opentps_brimstone.optimization.core_settings import level_settings
from opentps_brimstone.optimization.objectives import DVHLimitTerm
from opentps_brimstone.quantities import QuantityResolver

FRACTIONS = 20


def proton_plan(seed=1, refinement=1, fractions=FRACTIONS):
    """Beamlets whose α, √β and LET rise along their way, differently for each."""
    plan = random_plan(seed, number_of_fractions=fractions, refinement=refinement)
    influence = plan.dose_influence
    rng = np.random.default_rng(seed)
    matrix = influence.matrix.tocoo()
    alpha = rng.uniform(0.1, 0.4, matrix.shape[1])[matrix.col] * (1 + 0.3 * rng.random(matrix.nnz))
    beta = rng.uniform(0.02, 0.05, matrix.shape[1])[matrix.col]
    alpha_dose, sqrt_beta_dose = matrix.copy(), matrix.copy()
    alpha_dose.data = (matrix.data * alpha).astype(np.float32)
    sqrt_beta_dose.data = (matrix.data * np.sqrt(beta)).astype(np.float32)
    return pb.Plan.from_dose_influence(
        influence.matrix,
        plan.structures,
        grid_shape=influence.grid.shape,
        spacing_mm=influence.grid.spacing_mm,
        origin_mm=influence.grid.origin_mm,
        beamlet_xy_mm=influence.layout.xy_mm,
        beam_index=influence.layout.beam_index,
        beamlet_spacing_mm=influence.layout.spacing_mm,
        number_of_fractions=fractions,
        alpha_dose=alpha_dose,
        sqrt_beta_dose=sqrt_beta_dose,
        alphax=rng.uniform(0.1, 0.2, influence.grid.n_voxels),
        betax=rng.uniform(0.02, 0.06, influence.grid.n_voxels),
        let_dose=let_matrix(matrix, rng),
    )


def let_matrix(matrix, rng):
    let = rng.uniform(1.5, 6.0, matrix.shape[1])[matrix.col] * (1 + 0.5 * rng.random(matrix.nnz))
    return sp.coo_matrix(((matrix.data * let).astype(np.float32), (matrix.row, matrix.col)), matrix.shape)


def add_terms(optimizer, direction=None):
    ptv, organ, body = optimizer.plan.structures
    kl = pb.KLDivergenceTerm
    optimizer.add_objective(ptv, kl(dose_range=(48, 54), direction=direction, quantity="rbe_x_dose"))
    optimizer.add_objective(
        organ, kl(dvh=[(0, 1), (3, 0.4), (9, 0)], weight=0.5, direction=direction, quantity="effect")
    )
    optimizer.add_objective(body, pb.MaximumDoseTerm(20.0, weight=3.0, quantity="rbe_x_dose"))
    optimizer.add_objective(body, kl(dvh=[(0, 1), (15, 0.4), (60, 0)], weight=0.1, direction=direction))
    optimizer.add_objective(organ, pb.MeanDoseTerm(2.0, weight=0.3, quantity="effect"))


def add_terms_on_products(optimizer, direction=None):
    ptv, organ, body = optimizer.plan.structures
    kl = pb.KLDivergenceTerm
    optimizer.add_objective(ptv, kl(dose_range=(150, 260), direction=direction, quantity="let_dose"))
    optimizer.add_objective(ptv, pb.MinimumDoseTerm(8.0, weight=2.0, quantity="alpha_dose"))
    optimizer.add_objective(organ, pb.MaximumDoseTerm(0.5, weight=2.0, quantity="sqrt_beta_dose"))
    optimizer.add_objective(organ, kl(dvh=[(0, 1), (3, 0.6), (7, 0)], weight=0.2, direction=direction, quantity="let"))
    optimizer.add_objective(body, pb.MaximumDoseTerm(4.0, weight=0.5, quantity="let"))
    optimizer.add_objective(body, DVHLimitTerm(3.5, 0.2, weight=0.4, quantity="let"))


@pytest.mark.parametrize("direction", ["calc_target", "target_calc"])
@pytest.mark.parametrize("slope_variance", [False, True])
@pytest.mark.parametrize("add", [add_terms, add_terms_on_products])
def test_gradient_agrees_with_central_differences(direction, slope_variance, add):
    settings = pb.OptimizerSettings(precision="reference", slope_variance=slope_variance)
    for seed in range(2):
        plan = proton_plan(seed)
        optimizer = pb.PlanOptimizer(plan, settings)
        add(optimizer, direction)
        assembled = assemble(plan, optimizer.prescription.objectives, settings)
        limit = assembled.uniform_weight / settings.uniform_share
        rng = np.random.default_rng(seed)
        for grid in range(assembled.core.n_grids):
            objective = assembled.core.objective(level_settings(settings, 0, grid, assembled.reference_dose, limit))
            n = assembled.core.matrix_shape(grid)[1]
            for _ in range(3):
                objective.add_searched_direction(rng.normal(size=n))
            x = objective.parameter(limit * rng.uniform(0.05, 0.7, n))
            assert_gradient(objective, x, rng, directions=8)


def test_terms_see_what_the_resolver_gives():
    plan = proton_plan()
    seen = {}

    class Watched(pb.ObjectiveTerm):
        def evaluate(self, dose, share):
            seen[self.quantity] = float(share @ dose)
            return 0.0, np.zeros_like(dose)

    prescription = pb.Prescription(plan, pb.OptimizerSettings(precision="reference"))
    target = plan.structures["PTV"]
    prescription.add(target, pb.KLDivergenceTerm(dose_range=(48, 54)))
    for quantity in ("effect", "rbe_x_dose", "physical_dose", "alpha_dose", "sqrt_beta_dose", "let_dose", "let"):
        prescription.add(target, Watched(quantity=quantity))
    w = np.random.default_rng(0).uniform(1, 5, 75)
    prescription.evaluate(w)
    share = target.share.ravel() / target.share.sum()
    for quantity, mean in seen.items():
        assert mean == pytest.approx(float(share @ QuantityResolver(plan).get(quantity)(w)), rel=1e-4)


def test_a_plan_on_rbe_weighted_dose_gets_it():
    plan = proton_plan(2, refinement=2)
    optimizer = pb.PlanOptimizer(plan)
    add_terms(optimizer)
    result = optimizer.optimize()
    assert result.success
    target = plan.structures["PTV"]
    weighted = QuantityResolver(plan).get("rbe_x_dose")(result.beamlet_weights)
    mean = float(np.average(weighted, weights=target.share.ravel()))
    assert mean == pytest.approx(51.0, abs=1.5)
    # The physical dose is another one: it was not what the plan was made for.
    assert abs(float(np.average(result.dose, weights=target.share)) - 51.0) > 3.0


def test_photons_as_matrices_are_planned_as_photons():
    """Matrices that are multiples of dose give the plan of the same terms mapped from dose."""
    weights = []
    for as_matrices in (True, False):
        plan = random_plan(4, number_of_fractions=FRACTIONS)
        for structure in plan.structures:
            structure.alpha, structure.alpha_beta = 0.2, 4.0
        if as_matrices:
            matrix = plan.dose_influence.matrix
            plan.alpha_dose, plan.sqrt_beta_dose = 0.2 * matrix, np.sqrt(0.05) * matrix
        prescription = pb.Prescription(plan, pb.OptimizerSettings(precision="reference"))
        ptv, organ, _ = plan.structures
        prescription.add(ptv, pb.KLDivergenceTerm(dose_range=(48, 54)))
        prescription.add(organ, pb.MeanDoseTerm(0.5, quantity="effect"))
        prescription.add(ptv, pb.MaximumDoseTerm(1.0, quantity="effect"))
        w = np.random.default_rng(0).uniform(1, 5, 75)
        weights.append(prescription.evaluate(w))
    # The scale of an effect differs: mean values at a common weight, or the effect of the reference dose.
    first, second = (gradient / np.linalg.norm(gradient) for _, gradient in weights)
    assert float(first @ second) > 0.99


def test_a_limit_on_let_lowers_it():
    highest, doses = [], []
    for weight in (None, 300.0):
        plan = proton_plan(2, refinement=2)
        organ = plan.structures["organ"]
        optimizer = pb.PlanOptimizer(plan)
        add_terms(optimizer)
        if weight:
            optimizer.add_objective(organ, pb.MaximumDoseTerm(2.5, weight=weight, quantity="let"))
        result = optimizer.optimize()
        let = QuantityResolver(plan).get("let")(result.beamlet_weights)
        highest.append(float(np.quantile(let[organ.share.ravel() > 0.5], 0.95)))
        doses.append(float(np.average(result.dose, weights=plan.structures["PTV"].share)))
    assert highest[1] < 0.9 * highest[0]
    assert doses[1] == pytest.approx(doses[0], rel=0.03)


def test_let_weighted_dose_is_asked_for_like_dose():
    """LET of 2 keV/µm everywhere: what is asked of twice the dose costs what is asked of dose."""
    plan = random_plan(4, number_of_fractions=FRACTIONS)
    plan.let_dose = 2.0 * plan.dose_influence.matrix
    w = np.random.default_rng(0).uniform(1, 5, 75)
    found = []
    for quantity, factor in (("physical_dose", 1.0), ("let_dose", 2.0)):
        prescription = pb.Prescription(plan, pb.OptimizerSettings(precision="reference"))
        ptv, organ, _ = plan.structures
        asked = pb.KLDivergenceTerm(dose_range=(48 * factor, 54 * factor), quantity=quantity)
        prescription.add(ptv, asked)
        prescription.add(organ, pb.MaximumDoseTerm(20.0 * factor, quantity=quantity))
        found.append(prescription.evaluate(w))
    (cost, gradient), (cost_of_let, gradient_of_let) = found
    assert cost_of_let == pytest.approx(cost, rel=1e-12)
    np.testing.assert_allclose(gradient_of_let, gradient, rtol=1e-9)


def test_what_is_missing_is_named():
    plan = proton_plan()
    plan.let_dose = None
    with pytest.raises(ValueError, match="'let_dose' of 'organ' needs the matrix let_dose"):
        pb.Prescription(plan).add(plan.structures["organ"], pb.MaximumDoseTerm(9.0, quantity="let_dose"))
    plan = proton_plan()
    optimizer = pb.PlanOptimizer(plan)
    optimizer.add_objective(plan.structures["PTV"], pb.KLDivergenceTerm(dose_range=(2, 3), quantity="let"))
    with pytest.raises(ValueError, match="asks the target 'PTV' for LET, which does not rise with the weights"):
        optimizer.optimize()
    for quantity, matrices in (("let_dose", ["let_dose"]), ("effect", ["alpha_dose", "sqrt_beta_dose"])):
        empty = proton_plan()
        for name in matrices:
            setattr(empty, name, 0 * getattr(empty, name))
        optimizer = pb.PlanOptimizer(empty)
        optimizer.add_objective(empty.structures["PTV"], pb.KLDivergenceTerm(dose_range=(2, 3), quantity=quantity))
        with pytest.raises(ValueError, match=f"'PTV' gets nothing from any beamlet by the plan's {matrices[0]}"):
            optimizer.optimize()
    plan.alphax = None
    optimizer = pb.PlanOptimizer(plan)
    optimizer.add_objective(plan.structures["PTV"], pb.KLDivergenceTerm(dose_range=(48, 54), quantity="rbe_x_dose"))
    with pytest.raises(ValueError, match="'rbe_x_dose' needs alphax"):
        optimizer.optimize()
    with pytest.raises(ValueError, match="alpha_dose: the dose influence matrix has 2 rows"):
        pb.Plan.from_dose_influence(
            np.ones((1, 1)),
            [pb.Structure("PTV", np.ones((1, 1, 1)), is_target=True)],
            grid_shape=(1, 1, 1),
            spacing_mm=(5.0, 5.0, 5.0),
            beamlet_xy_mm=[(0.0, 0.0)],
            beam_index=[0],
            beamlet_spacing_mm=5.0,
            alpha_dose=np.ones((2, 1)),
        )
