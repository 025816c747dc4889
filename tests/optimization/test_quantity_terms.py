"""Terms on quantities that follow from dose: values, gradients, grids, and that a term on dose is what it was."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
from gradients import assert_gradient, central_difference
from problems import add_objectives, random_plan

import opentps_brimstone as pb
from opentps_brimstone import _core
from opentps_brimstone.optimization.core_plan import assemble
from opentps_brimstone.optimization.core_settings import bin_settings, level_settings
from opentps_brimstone.quantities import DoseMap, structure_map, structure_quantity

FRACTIONS = 20


class SquaredExcess(pb.ObjectiveTerm):
    """A smooth term of a user's own."""

    def evaluate(self, dose, share):
        excess = np.maximum(0.0, dose / 10.0 - 1.0)
        return float(share @ excess**3), 0.3 * share * excess**2


def partly_reached_plan(seed, **options):
    """A plan with voxels of organ and body that no beamlet reaches."""
    plan = random_plan(seed, number_of_fractions=FRACTIONS, **options)
    old = plan.dose_influence
    lies = np.indices(plan.grid.shape)[1].ravel() >= 7 * plan.grid.shape[1] // 9
    matrix = sp.diags((~lies).astype(np.float32)) @ old.matrix
    matrix.eliminate_zeros()
    return pb.Plan.from_influence(pb.DoseInfluence(matrix, old.grid, old.layout), plan.structures, FRACTIONS)


def uneven_history(plan):
    """An earlier course that differs from voxel to voxel, and tissue that does, too."""
    rng = np.random.default_rng(8)
    shape = plan.grid.shape
    plan.set_previous_dose(rng.uniform(5.0, 30.0, shape), 10)
    plan.set_previous_dose(rng.uniform(5.0, 40.0, shape), 5, recovery=0.25, structures=["organ"])
    plan.structures["organ"].alpha_beta = rng.uniform(1.5, 4.0, shape)
    plan.structures["body"].alpha_beta = rng.uniform(2.0, 9.0, shape)
    for name in ("organ", "body"):
        assert (~plan.dose_influence.reached & (plan.structures[name].share > 0)).any()


def add_terms(optimizer, direction=None, quantity="eqd2"):
    on = {"quantity": quantity}
    structures = optimizer.plan.structures
    for name, alpha_beta in (("PTV", 10.0), ("organ", 2.0), ("body", 3.0)):
        if structures[name].alpha_beta is None:
            structures[name].alpha_beta = alpha_beta
        structures[name].alpha = 0.25
    kl = pb.KLDivergenceTerm
    optimizer.add_objective(structures["PTV"], kl(dose_range=(62, 72), direction=direction, **on))
    falling = [(0, 1), (40, 0.4), (70, 0)]
    optimizer.add_objective(structures["organ"], kl(dvh=falling, weight=0.5, direction=direction, **on))
    falling = [(0, 1), (35, 0.4), (80, 0)]
    optimizer.add_objective(structures["body"], kl(dvh=falling, weight=0.1, direction=direction, **on))
    optimizer.add_objective(structures["body"], pb.MaximumDoseTerm(40.0, weight=3.0, **on))
    optimizer.add_objective(structures["PTV"], pb.MinimumDoseTerm(68.0, weight=3.0, **on))
    optimizer.add_objective(structures["organ"], pb.MeanDoseTerm(10.0, weight=0.3, **on))
    optimizer.add_objective(structures["body"], SquaredExcess(weight=0.01, **on))


@pytest.mark.parametrize("direction", ["calc_target", "target_calc"])
@pytest.mark.parametrize("slope_variance", [False, True])
@pytest.mark.parametrize("dynamic_covariance", [False, True])
@pytest.mark.parametrize("history", ["none", "uneven"])
def test_gradient_agrees_with_central_differences(direction, slope_variance, dynamic_covariance, history):
    settings = pb.OptimizerSettings(
        precision="reference", slope_variance=slope_variance, dynamic_covariance=dynamic_covariance
    )
    for seed in range(2):
        plan = partly_reached_plan(seed)
        if history == "uneven":
            uneven_history(plan)
        optimizer = pb.PlanOptimizer(plan, settings)
        add_terms(optimizer, direction)
        assembled = assemble(plan, optimizer.prescription.objectives, settings)
        limit = assembled.uniform_weight / settings.uniform_share
        objective = assembled.core.objective(level_settings(settings, 0, 0, assembled.reference_dose, limit))
        rng = np.random.default_rng(seed)
        n = len(assembled.beamlets)
        for _ in range(3):
            objective.add_searched_direction(rng.normal(size=n))
        x = objective.parameter(limit * rng.uniform(0.05, 0.7, n))
        assert_gradient(objective, x, rng, directions=10)


@pytest.mark.parametrize("quantity", ["bed", "effect"])
def test_other_quantities_have_a_gradient_too(quantity):
    plan = random_plan(4, number_of_fractions=FRACTIONS)
    optimizer = pb.PlanOptimizer(plan, pb.OptimizerSettings(precision="reference"))
    add_terms(optimizer, quantity=quantity)
    w = np.random.default_rng(0).uniform(5, 15, plan.dose_influence.layout.n_beamlets) / FRACTIONS
    _, gradient = optimizer.prescription.evaluate(w)
    along = gradient / np.linalg.norm(gradient)
    estimate = central_difference(lambda v: optimizer.prescription.evaluate(v)[0], w, along, 1e-7)
    assert estimate == pytest.approx(np.linalg.norm(gradient), rel=1e-6)


class Watched(pb.ObjectiveTerm):
    """Keeps what it is given."""

    def evaluate(self, dose, share):
        vars(self)["seen"] = dose.copy(), share.copy()
        return float(share @ dose) / 50.0, share / 50.0


@pytest.mark.parametrize("history", [False, True])
def test_limits_and_means_are_their_definition(history):
    """Unreached voxels with a dose before count; limits are relative to the quantity of the reference dose."""
    plan = partly_reached_plan(2)
    if history:
        uneven_history(plan)
    target, organ, body = (plan.structures[name] for name in ("PTV", "organ", "body"))
    for structure, alpha_beta in ((target, 10.0), (organ, 2.0), (body, 3.0)):
        structure.alpha_beta = alpha_beta if structure.alpha_beta is None else structure.alpha_beta
    w = np.random.default_rng(0).uniform(5, 15, plan.dose_influence.layout.n_beamlets) / FRACTIONS
    plan.beamlet_weights = w
    settings = pb.OptimizerSettings(precision="reference")
    d_ref = 52.0

    def cost(*terms):
        prescription = pb.Prescription(plan, settings)
        prescription.add(target, pb.KLDivergenceTerm(dose_range=(48, d_ref)))
        for structure in (organ, body):  # the same voxels in all of them, for no cost
            prescription.add(structure, pb.MaximumDoseTerm(1e6))
        for structure, term in terms:
            prescription.add(structure, term)
        return prescription.evaluate(w)[0]

    base = cost()
    for term, structure in (
        (pb.MaximumDoseTerm(1.0, weight=3.0, quantity="eqd2"), body),
        (pb.MinimumDoseTerm(40.0, weight=3.0, quantity="eqd2"), organ),
        (pb.MeanDoseTerm(0.1, weight=3.0, quantity="eqd2"), body),
        (None, body),
    ):
        watched = Watched(quantity="eqd2")
        with_watched = cost((structure, watched))
        q, share = vars(watched)["seen"]
        assert share.sum() == pytest.approx(1.0)
        assert with_watched - base == pytest.approx(float(share @ q) / 50.0, rel=1e-9)
        # Every voxel is among them, but for the 16 bits of the core's matrix.
        inside = structure.share > 0
        all_q = structure_quantity(plan.get_dose(), structure, "eqd2", FRACTIONS)[inside]
        all_share = structure.share[inside] / structure.share.sum()
        assert float(share @ q) == pytest.approx(float(all_share @ all_q), rel=1e-4)
        assert float(share @ q**2) == pytest.approx(float(all_share @ all_q**2), rel=2e-4)
        if term is None:
            continue
        found = structure_map(structure, "eqd2", FRACTIONS)
        means = [
            float(np.average(np.broadcast_to(c, all_q.shape), weights=all_share))
            for c in (found.c0, found.c1, found.c2)
        ]
        q_ref = means[0] + means[1] * d_ref + means[2] * d_ref**2
        if isinstance(term, pb.MeanDoseTerm):
            expected = 3.0 * (max(0.0, share @ q - 0.1) / q_ref) ** 2
        else:
            sign = 1.0 if isinstance(term, pb.MaximumDoseTerm) else -1.0
            expected = 3.0 * float(share @ np.maximum(0.0, sign * (q - term.limit_gy)) ** 2) / q_ref**2
        assert expected > 0
        assert cost((structure, term)) - base == pytest.approx(expected, rel=1e-9)


def test_the_histogram_is_that_of_the_quantity():
    """A map inside the core gives what the mapped doses give without one; unreached voxels lie in their bins."""
    rng = np.random.default_rng(5)
    n, extra = 400, 40
    dose, f = rng.uniform(20.0, 60.0, n), rng.uniform(0.1, 0.9, n)
    share = rng.uniform(0.1, 1.0, n + extra)
    share /= share.sum()
    c = np.column_stack([rng.uniform(0, 20, n), rng.uniform(0.3, 0.9, n), rng.uniform(0.001, 0.02, n)])
    fixed = rng.uniform(0.0, 30.0, extra)
    q = c[:, 0] + c[:, 1] * dose + c[:, 2] * dose**2
    settings, target = pb.OptimizerSettings(), np.array([(30.0, 1.0), (70.0, 0.0)])
    options = {"target": target, "direction": _core.KlDirection.calc_target, "weight": 1.0}
    options["bins"] = bin_settings(settings, 0, 70.0)
    given = _core.DoseMap(coefficients=c, typical=c.mean(axis=0), fixed=np.column_stack([fixed, share[n:]]))
    mapped = _core.KlDivergenceTerm(share=share[:n], dose_map=given, **options)
    plain = _core.KlDivergenceTerm(share=share, **options)
    wide = np.concatenate([f, np.zeros(extra)])
    both = np.concatenate([q, fixed])
    p, wanted = mapped.histogram(dose, f), plain.histogram(both, wide)
    np.testing.assert_allclose(p[: len(wanted)], wanted, atol=1e-14)
    assert abs(p[len(wanted) :]).max(initial=0.0) < 1e-14
    cost, gradient = mapped.cost_and_gradient(dose, f)
    plain_cost, plain_gradient = plain.cost_and_gradient(both, wide)
    assert cost == pytest.approx(plain_cost, rel=1e-9)
    # With shares held, the quantity's slope is all that differs.
    np.testing.assert_allclose(gradient, plain_gradient[:n] * (c[:, 1] + 2 * c[:, 2] * dose), rtol=1e-7, atol=1e-12)


def identity(structure):
    size = int((structure.share > 0).sum())
    return DoseMap(np.zeros(size), np.ones(size), np.zeros(size))


@pytest.mark.parametrize("per_voxel", [False, True])
def test_a_map_that_changes_nothing_changes_no_bit(monkeypatch, per_voxel):
    """So a term on dose, which has no map, is computed as before there were maps."""
    results = []
    for with_map in (False, True):
        plan = random_plan(1)
        # Nothing unreached, which a map of its own treats apart.
        for structure in plan.structures:
            structure._share = np.where(plan.dose_influence.reached, structure.share, 0.0)
        # Coarser grids average coefficients, which rounds.
        settings = pb.OptimizerSettings()
        optimizer = pb.PlanOptimizer(plan, settings.single_grid() if per_voxel else settings)
        if with_map:
            made = (lambda term, _n: identity(term.structure)) if per_voxel else (lambda _t, _n: DoseMap())
            monkeypatch.setattr(pb.ObjectiveTerm, "dose_map", made)
        add_objectives(optimizer)
        results.append(optimizer.optimize(max_iterations=30))
    plain, mapped = results
    assert plain.convergence_history["cost"] == mapped.convergence_history["cost"]
    np.testing.assert_array_equal(plain.beamlet_weights, mapped.beamlet_weights)


def test_coarser_grids_average_coefficients_with_the_shares():
    """Mean quantity of every grid is the same for a dose that is constant inside blocks."""
    plan = partly_reached_plan(3, refinement=2)
    uneven_history(plan)
    settings = pb.OptimizerSettings(precision="reference")
    seen = {}

    class Watched(pb.ObjectiveTerm):
        def evaluate(self, dose, share):
            seen[len(dose)] = (dose.copy(), share.copy())
            return 0.0, np.zeros_like(dose)

    optimizer = pb.PlanOptimizer(plan, settings)
    optimizer.add_objective(plan.structures["PTV"], pb.KLDivergenceTerm(dose_range=(48, 52)))
    optimizer.add_objective(plan.structures["organ"], Watched(quantity="eqd2"))
    assembled = assemble(plan, optimizer.prescription.objectives, settings)
    assert assembled.core.n_grids > 1
    for grid in range(assembled.core.n_grids):
        level = level_settings(settings, 0, grid, assembled.reference_dose, 100.0)
        objective = assembled.core.objective(level)
        n = assembled.core.matrix_shape(grid)[1]
        objective.cost(np.full(n, -60.0))  # next to no dose: what is left is c0
    means = [float(share @ dose) for dose, share in seen.values()]
    assert len(means) == assembled.core.n_grids
    assert np.ptp(means) < 1e-9 * means[0]
    assert means[0] > 10.0


def test_a_checkpoint_is_of_its_quantity(tmp_path):
    path = tmp_path / "run.npz"

    def optimizer(alpha_beta=2.0, quantity="eqd2", before=None, limit=30.0):
        plan = random_plan(1, number_of_fractions=FRACTIONS)
        plan.set_previous_dose(before, 10)
        made = pb.PlanOptimizer(plan)
        made.add_objective(plan.structures["PTV"], pb.KLDivergenceTerm(dose_range=(48, 52)))
        guard = pb.MaximumDoseTerm(limit, quantity=quantity, alpha_beta=alpha_beta)
        made.add_objective(plan.structures["organ"], guard)
        return made

    before = np.full(random_plan(1).grid.shape, 20.0)
    optimizer(before=before).optimize(callback=pb.Checkpoint(path, every_iterations=5), max_iterations=12)
    again = optimizer(before=before).optimize(max_iterations=12, resume_from=path)
    whole = optimizer(before=before).optimize(max_iterations=12)
    np.testing.assert_array_equal(again.beamlet_weights, whole.beamlet_weights)
    for other in (optimizer(), optimizer(before=before, alpha_beta=3.0), optimizer(before=before, quantity="bed")):
        with pytest.raises(pb.CheckpointError, match="another optimization"):
            other.optimize(max_iterations=12, resume_from=path)


# ----------------------------------------------------------------------------- where mathematics says they are equal


def small_plan():
    """Three voxels, each reached by one beamlet of its own above all, so that limits can determine the weights."""
    return pb.Plan.from_dose_influence(
        np.array([[0.5, 0.02, 0.01], [0.01, 0.4, 0.02], [0.0, 0.01, 0.3]]),
        [
            pb.Structure("PTV", np.array([1.0, 0.0, 0.0]).reshape(3, 1, 1), is_target=True),
            pb.Structure("boost", np.array([0.0, 1.0, 0.0]).reshape(3, 1, 1)),
            pb.Structure("organ", np.array([0.0, 0.0, 1.0]).reshape(3, 1, 1)),
        ],
        grid_shape=(3, 1, 1),
        spacing_mm=(5.0, 5.0, 5.0),
        beamlet_xy_mm=[(0.0, 0.0), (5.0, 0.0), (10.0, 0.0)],
        beam_index=[0, 0, 0],
        beamlet_spacing_mm=5.0,
        number_of_fractions=FRACTIONS,
    )


ALPHA_BETAS = {"PTV": 10.0, "boost": 4.0, "organ": 2.0}
LIMITS = {"PTV": 50.0, "boost": 40.0, "organ": 20.0}


def test_limits_in_eqd2_give_the_plan_of_mapped_limits():
    """Guards on both sides of a limit determine the doses, whether they are in EQD2 or mapped to dose."""
    settings = pb.OptimizerSettings(
        precision="reference", cg_tolerance=1e-13, gradient_tolerance=1e-14, inclusion_threshold=0.0
    )
    settings = settings.single_grid()
    weights = []
    for mapped in (False, True):
        plan = small_plan()
        optimizer = pb.PlanOptimizer(plan, settings)
        for name, limit in LIMITS.items():
            eqd2 = DoseMap.eqd2(ALPHA_BETAS[name], FRACTIONS)
            at = eqd2.inverse(limit) if mapped else limit
            on = {} if mapped else {"quantity": "eqd2", "alpha_beta": ALPHA_BETAS[name]}
            structure = plan.structures[name]
            optimizer.add_objective(structure, pb.MaximumDoseTerm(at, weight=1e4, **on))
            optimizer.add_objective(structure, pb.MinimumDoseTerm(at, weight=1e4, **on))
            if name == "PTV":
                around = [(eqd2.inverse(q) if mapped else q) for q in (45.0, 55.0)]
                optimizer.add_objective(structure, pb.KLDivergenceTerm(dose_range=around, weight=1e-9, **on))
        weights.append(optimizer.optimize(max_iterations=400).beamlet_weights)
    np.testing.assert_allclose(weights[0], weights[1], rtol=1e-6)


def test_limits_are_met_by_the_same_doses():
    """No cost in EQD2 where, and only where, there is none of the limits mapped to dose."""
    rng = np.random.default_rng(0)
    plan = small_plan()
    costs = []
    for mapped in (False, True):
        prescription = pb.Prescription(plan)
        prescription.add(plan.structures["PTV"], pb.KLDivergenceTerm(dose_range=(45, 55), weight=1e-12))
        for name, limit in LIMITS.items():
            at = DoseMap.eqd2(ALPHA_BETAS[name], FRACTIONS).inverse(limit) if mapped else limit
            on = {} if mapped else {"quantity": "eqd2", "alpha_beta": ALPHA_BETAS[name]}
            prescription.add(plan.structures[name], pb.MaximumDoseTerm(at, **on))
            prescription.add(plan.structures[name], pb.MeanDoseTerm(at, **on))
        costs.append(prescription)
    met = 0
    for _ in range(200):
        w = rng.uniform(0.0, 8.0, 3)
        in_eqd2, in_dose = (each.evaluate(w)[0] - each.settings.cost_offset > 1e-9 for each in costs)
        assert in_eqd2 == in_dose
        met += not in_eqd2
    assert 20 < met < 180


def test_a_linear_map_scales_everything_alike(monkeypatch):
    """With dose mapped in proportion and all of the request, too, every term has the same value and gradient."""
    found = []
    for factor in (1.0, 1.3):
        plan = random_plan(6)
        scaled = lambda term, _n, f=factor: None if f == 1.0 else DoseMap.constant_rbe(f)  # noqa: E731
        monkeypatch.setattr(pb.ObjectiveTerm, "dose_map", scaled)
        prescription = pb.Prescription(plan, pb.OptimizerSettings(precision="reference"))
        ptv, organ, body = plan.structures
        kl = [(d * factor, v) for d, v in [(0, 1), (20, 0.4), (40, 0)]]
        prescription.add(ptv, pb.KLDivergenceTerm(dose_range=(48 * factor, 52 * factor)))
        prescription.add(organ, pb.KLDivergenceTerm(dvh=kl, weight=0.5))
        prescription.add(body, pb.MaximumDoseTerm(30 * factor))
        prescription.add(ptv, pb.MinimumDoseTerm(50 * factor))
        prescription.add(organ, pb.MeanDoseTerm(5 * factor))
        w = np.random.default_rng(0).uniform(5, 15, plan.dose_influence.layout.n_beamlets)
        found.append(prescription.evaluate(w))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-9)
    np.testing.assert_allclose(found[0][1], found[1][1], rtol=1e-6, atol=1e-12)


# ------------------------------------------------------------------------------------------------------ bad input


def test_bad_quantities_are_refused_when_they_are_named():
    with pytest.raises(ValueError, match="unknown quantity 'eqd3'; there are physical_dose, let"):
        pb.MaximumDoseTerm(50.0, quantity="eqd3")
    with pytest.raises(ValueError, match="alpha/beta is -2 Gy"):
        pb.KLDivergenceTerm(dose_range=(1, 2), quantity="eqd2", alpha_beta=-2)
    plan = random_plan(1)
    prescription = pb.Prescription(plan)
    organ = plan.structures["organ"]
    with pytest.raises(ValueError, match="'rbe_x_dose' of 'organ' needs the matrices alpha_dose and sqrt_beta_dose"):
        prescription.add(organ, pb.MaximumDoseTerm(50.0, quantity="rbe_x_dose"))
    with pytest.raises(ValueError, match="'effect' of 'organ' needs alpha, in 1/Gy"):
        prescription.add(organ, pb.MaximumDoseTerm(50.0, quantity="effect"))
    values = np.full(plan.grid.shape, 3.0)
    values[organ.share > 0] = np.where(np.arange(int((organ.share > 0).sum())) < 2, np.nan, 3.0)
    with pytest.raises(ValueError, match="alpha/beta of 'organ' is nan Gy in 2 of its voxels"):
        prescription.add(organ, pb.MaximumDoseTerm(50.0, quantity="eqd2", alpha_beta=values))
    with pytest.raises(ValueError, match="alpha/beta of 'organ' is 0 Gy"):
        organ.alpha_beta = 0
    assert prescription.objectives == []
    assert organ.alpha_beta is None


def test_a_target_that_has_its_dose_already_is_refused():
    plan = random_plan(1, number_of_fractions=FRACTIONS)
    plan.set_previous_dose(np.full(plan.grid.shape, 60.0), 30)
    optimizer = pb.PlanOptimizer(plan)
    optimizer.add_objective(plan.structures["PTV"], pb.KLDivergenceTerm(dose_range=(48, 52), quantity="eqd2"))
    with pytest.raises(ValueError, match=r"'PTV' has 60\.00 Gy of eqd2 from before, .* asks for 52.00 Gy in all"):
        optimizer.optimize()


def test_an_assumed_alpha_beta_is_said(caplog):
    plan = random_plan(1)
    organ = pb.Structure("Lung_R test", np.ones(plan.grid.shape))
    with caplog.at_level("WARNING", logger="opentps_brimstone"):
        structure_map(organ, "eqd2", 20)
    assert "'Lung_R test': alpha/beta = 3 Gy of late-responding tissue" in caplog.text
