"""Whatever Python gives the core: a number that is out of its range is refused, and nothing ends the interpreter."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
from problems import add_objectives, random_plan

import opentps_brimstone as pb
from opentps_brimstone import _core

NAN, INF = float("nan"), float("inf")
MATRIX = sp.csc_matrix(np.array([[1.0, 0.0], [2.0, 0.5], [0.0, 3.0]], dtype=np.float32))
BINS = {
    "reference_dose": 50.0,
    "bin_width": 0.5,
    "variance_min": 1.0,
    "variance_max": 4.0,
    "target_smoothing": _core.TargetSmoothing.half,
    "kernel_reach": 5.0,
    "floor": 1e-3,
    "tail_length": 0.0,
}
PARAMETERS = {
    "input_scale": 0.5,
    "weight_limit": 10.0,
    "variance_min": 1.0,
    "variance_max": 4.0,
    "slope_variance": True,
    "dynamic_covariance": True,
    "covariance_base": 4.0,
    "covariance_memory": 12,
}
SEARCH = {
    "method": _core.SearchMethod.lbfgs,
    "tolerance": 1e-3,
    "line_tolerance": 1e-3,
    "gradient_tolerance": 1e-9,
    "max_iterations": 5,
}
TARGET = [(48.0, 1.0), (52.0, 0.0)]


def dose_matrix(start=None, row=None, value=None, **changes):
    given = {"row_map": np.arange(3), "kept_rows": 3, "columns": [0, 1], **changes}
    return _core.DoseMatrix(
        rows=3,
        column_start=MATRIX.indptr if start is None else np.array(start),
        row=MATRIX.indices if row is None else np.array(row, dtype=np.int32),
        value=MATRIX.data if value is None else np.array(value, dtype=np.float32),
        **given,
    )


def kl_term(share=(0.5, 0.5), target=TARGET, weight=1.0):
    direction = _core.KlDirection.calc_target
    return _core.KlDivergenceTerm(
        share=np.array(share), target=target, direction=direction, weight=weight, bins=_core.BinSettings(**BINS)
    )


def specification(evaluate=None, target=TARGET, quantity=0):
    if evaluate is not None:
        return _core.TermSpecification.function(quantity=quantity, weight=1.0, evaluate=evaluate)
    direction = _core.KlDirection.calc_target
    return _core.TermSpecification.kl_divergence(quantity=quantity, weight=1.0, target=target, direction=direction)


def multilevel_plan(voxel=(0, 1), share=(0.5, 0.5), base_dose=(), terms=None, matrix=None):
    return _core.MultilevelPlan(
        matrix=matrix or dose_matrix(),
        quantities=[(np.array(voxel), np.array(share), None, _core.Channel.dose)],
        base_dose=np.array(base_dose, dtype=float),
        terms=[specification()] if terms is None else terms,
        cost_offset=0.1,
        precision=_core.Precision.reference,
        threads=1,
    )


def coarsen(plan=None, **changes):
    plan = plan or multilevel_plan()
    given = {"voxel": [0, 0, 1], "n_voxels": 2, "row_start": [0, 1, 2], "beamlet": [0, 0], "share": [1.0, 1.0]}
    plan.add_coarser_grid(**{**given, "n_beamlets": 1, **changes})
    return plan


def level(grid=0):
    return _core.LevelSettings(
        grid=grid,
        bins=_core.BinSettings(**BINS),
        parameters=_core.ParameterSettings(**PARAMETERS),
        search=_core.SearchSettings(**SEARCH),
    )


def optimize(weights=(1.0, 1.0), checkpoint=None, levels=None, plan=None):
    return _core.optimize(
        plan or multilevel_plan(),
        [level()] if levels is None else levels,
        _core.LineSearchMethod.brent,
        np.array(weights),
        lambda _: True,
        checkpoint,
    )


def saved(**changes):
    arrays = {}

    def keep(progress):
        arrays.update(progress.checkpoint())
        return False

    _core.optimize(multilevel_plan(), [level()], _core.LineSearchMethod.brent, np.ones(2), keep)
    return {**arrays, **{name: np.atleast_1d(np.asarray(value, dtype=float)) for name, value in changes.items()}}


def test_what_is_in_order_is_taken():
    assert coarsen().n_grids == 2
    assert np.isfinite(optimize().weights).all()
    assert optimize(checkpoint=saved()).levels[0].iterations > 0
    cost, gradient = kl_term().cost_and_gradient([50.0, 51.0], [0.5, 1.0])
    assert np.isfinite([cost, *gradient]).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: dose_matrix(value=[1, NAN, 0.5, 3]), "the entry nan in row 1, column 0 of the matrix must be finite"),
        (lambda: dose_matrix(value=[1, 2, -0.5, 3]), "the entry -0.5 in row 1, column 1 of the matrix must be finite"),
        (lambda: dose_matrix(row=[0, 3, 1, 2]), "the entry 2 in row 3, column 0 of the matrix is outside its 3 rows"),
        (lambda: dose_matrix(row=[0, -1, 1, 2]), "in row -1, column 0 of the matrix is outside"),
        (lambda: dose_matrix(row=[1, 1, 1, 2]), "the entry 1 in row 1, column 0 of the matrix is not the only one"),
        (lambda: dose_matrix(start=[0, 3, 2, 4]), "do not describe one matrix"),
        (lambda: dose_matrix(start=[0, 5, 4]), "do not describe one matrix"),
        (lambda: dose_matrix(row_map=[0, 0, 1]), "row_map points to row 0 twice"),
        (lambda: dose_matrix(row_map=[0, -2, 1]), "row_map points to row -2 of 3"),
        (lambda: dose_matrix(kept_rows=2), "row_map points to row 2 of 2"),
        (lambda: dose_matrix(threads=0), "threads is 0; it must be at least 1"),
        (lambda: dose_matrix().multiply([1.0, INF]), "a product's factor is inf; it must be finite"),
        (lambda: kl_term(share=(0.5, NAN)), r"share\[1\] is nan; it must be finite"),
        (lambda: kl_term(share=(0.5, 0.6)), "sum of a structure's volume shares is 1.1; it must be 1"),
        (lambda: kl_term(weight=0.0), "weight is 0; it must be finite and above 0"),
        (lambda: kl_term(target=[(52, 1), (48, 0)]), "must have ascending doses and non-increasing volumes"),
        (lambda: kl_term(target=[(-1, 1), (48, 0)]), "dose of a target DVH is -1; it must be finite and at least 0"),
        (lambda: kl_term(target=[(48, 1), (52, 0.5)]), "must fall from volume 1 to 0"),
        (lambda: kl_term(target=[(48, 1), (NAN, 0)]), "dose of a target DVH is nan"),
        (lambda: kl_term().cost([NAN, 50.0], [0.5, 0.5]), r"dose\[0\] is nan; it must be finite"),
        (lambda: kl_term().cost([50.0, -1.0], [0.5, 0.5]), r"dose\[1\] is -1; it must be at least 0"),
        (lambda: kl_term().cost([50.0], [0.5]), "dose must have 2 entries, not 1"),
        (lambda: kl_term().histogram([50.0, 50.0], [0.5, 1.5]), "wide_share is 1.5; it must be from 0 to 1"),
        (lambda: kl_term().target(NAN), "wide_share is nan; it must be from 0 to 1"),
        (lambda: multilevel_plan(voxel=(1, 0)), "the voxels of a structure must ascend"),
        (lambda: multilevel_plan(voxel=(0, 3)), "voxel 3 of a structure is not among the 3 voxels"),
        (lambda: multilevel_plan(base_dose=(0, -1, NAN)), r"base_dose\[2\] is nan; it must be finite"),
        (lambda: multilevel_plan(base_dose=(0, 0)), "base_dose must have 3 entries, not 2"),
        (lambda: multilevel_plan(matrix=dose_matrix(columns=[])), "a plan needs at least one beamlet"),
        (lambda: multilevel_plan(terms=[specification(quantity=1)]), "a term names quantity 1 of 1"),
        (lambda: coarsen(row_start=[0, 3, 2]), "row_start, beamlet and share do not describe one interpolation"),
        (lambda: coarsen(n_beamlets=0), "at least one voxel and one beamlet"),
        (lambda: coarsen(beamlet=[0, 1]), "beamlet 1 is not on the coarser grid"),
        (lambda: coarsen(voxel=[0, 2, 1]), "voxel 2 is not on the coarser grid"),
        (lambda: coarsen(voxel=[0, _core.NO_ROW, 1]), "a row with dose has no voxel on the coarser grid"),
        (
            lambda: coarsen(multilevel_plan(matrix=dose_matrix(value=[1, 0, 0, 3])), voxel=[0, _core.NO_ROW, 1]),
            "row 1 has a share of a structure, but no voxel",
        ),
        (lambda: coarsen(share=[1.0, NAN]), r"share\[1\] is nan"),
        (lambda: coarsen().transfer([1.0, 1.0], 0, 2), "grid 2 is not one of the plan's 2"),
        (lambda: coarsen().rows_on_grid([5], 1), "row 5 has none on grid 1"),
        (lambda: coarsen().matrix_shape(7), "grid 7 is not one of the plan's 2"),
        (lambda: multilevel_plan().objective(level(grid=1)), "grid 1 is not one of the plan's 1"),
        (
            lambda: multilevel_plan().penalize_roughness(grid=0, neighbors=[(0, 1)], weight=1.0, unit=0.0),
            "unit is 0; it must be finite and above 0",
        ),
        (
            lambda: multilevel_plan().evaluate(_core.BinSettings(**BINS), [1.0, NAN], 0.5),
            r"weights\[1\] is nan; it must be finite",
        ),
        (
            lambda: multilevel_plan().objective(level()).cost_and_gradient([0.0, NAN]),
            r"parameter\[1\] is nan; it must be finite",
        ),
        (lambda: optimize(weights=(1.0, -1.0)), r"weights\[1\] is -1; it must be at least 0"),
        (lambda: optimize(levels=[]), "there must be at least one level"),
        (lambda: optimize(levels=[level(grid=1)]), "grid 1 is not one of the plan's 1"),
        (lambda: optimize(checkpoint={}), "the checkpoint has no array 'level'"),
        (lambda: optimize(checkpoint=saved(level=-1)), "'level' is -1.000000; it must be from 0 to below 1"),
        (lambda: optimize(checkpoint=saved(iteration=1e300)), "'iteration' is .*; it must be from 0 to below"),
        (lambda: optimize(checkpoint=saved(finished_levels=[9, 1, 1])), "'finished_levels' is 9.000000"),
        (lambda: optimize(checkpoint=saved(parameter=[0.0, NAN])), r"parameter\[1\] is nan"),
        (lambda: optimize(checkpoint=saved(parameter=[0.0])), "'parameter' has 1 entries, not 2"),
    ],
)
def test_what_is_out_of_range_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


SETTINGS = [
    *(
        (_core.BinSettings, BINS, name, value)
        for name in ("reference_dose", "bin_width", "floor")
        for value in (0.0, NAN)
    ),
    (_core.BinSettings, BINS, "variance_max", 1.0),
    (_core.BinSettings, BINS, "variance_min", 0.0),
    (_core.BinSettings, BINS, "kernel_reach", INF),
    (_core.BinSettings, BINS, "tail_length", -1.0),
    (_core.ParameterSettings, PARAMETERS, "input_scale", 0.0),
    (_core.ParameterSettings, PARAMETERS, "weight_limit", INF),
    (_core.ParameterSettings, PARAMETERS, "covariance_base", 0.5),
    (_core.SearchSettings, SEARCH, "tolerance", NAN),
    (_core.SearchSettings, SEARCH, "line_tolerance", 0.0),
    (_core.SearchSettings, SEARCH, "gradient_tolerance", -1.0),
    (_core.SearchSettings, SEARCH, "max_iterations", -1),
]


@pytest.mark.parametrize(("kind", "good", "name", "value"), SETTINGS)
def test_settings_out_of_range_are_refused(kind, good, name, value):
    with pytest.raises(ValueError, match=f"^{name} is .*; it must be "):
        kind(**{**good, name: value})


def test_bins_too_fine_for_memory_are_refused():
    fine = _core.BinSettings(**{**BINS, "bin_width": 1e-9})
    with pytest.raises(OverflowError, match="too wide for bins of"):
        _core.KlDivergenceTerm(
            share=[1.0], target=TARGET, direction=_core.KlDirection.calc_target, weight=1.0, bins=fine
        )
    with pytest.raises(OverflowError, match="is too high for bins of"):
        kl_term().cost([50.0, 1e12], [0.5, 0.5])


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ((NAN, [0.0, 0.0]), "value of a term is nan; it must be finite"),
        ((0.0, [0.0, INF]), r"gradient of a term\[1\] is inf; it must be finite"),
        ((0.0, [0.0]), "gradient of a term must have 2 entries, not 1"),
    ],
)
def test_a_term_in_python_keeps_its_promise(answer, message):
    with pytest.raises(ValueError, match=message):
        optimize(plan=multilevel_plan(terms=[specification(evaluate=lambda *_: answer)]))


class Exponential(pb.ObjectiveTerm):
    """Always finite, but steeper than single precision can tell."""

    def __init__(self, steepness):
        super().__init__()
        self.steepness = steepness

    def evaluate(self, dose, share):
        value = share * np.exp(np.minimum(self.steepness * (dose - 20.0), 700.0))
        return float(value.sum()), self.steepness * value


@pytest.mark.parametrize("search", ["lbfgs", "conjugate_gradient"])
@pytest.mark.parametrize("precision", ["fast", "reference"])
@pytest.mark.parametrize("steepness", [5.0, 20.0])
def test_steep_terms_are_optimized(search, precision, steepness):
    settings = pb.OptimizerSettings(threads=1, search=search, precision=precision, max_iterations=100)
    optimizer = pb.PlanOptimizer(random_plan(1), settings)
    add_objectives(optimizer)
    optimizer.add_objective(optimizer.plan.structures["organ"], Exponential(steepness))
    result = optimizer.optimize(progress=False)
    assert np.isfinite(result.beamlet_weights).all()
    assert result.dose[optimizer.plan.structures["organ"].mask].max() < 25.0


def test_a_cost_too_large_for_a_number_is_told():
    class Vast(pb.ObjectiveTerm):
        def evaluate(self, dose, share):
            return 1e308, np.full_like(dose, 1e308)

    optimizer = pb.PlanOptimizer(random_plan(1), pb.OptimizerSettings(threads=1))
    add_objectives(optimizer)
    for _ in range(2):
        optimizer.add_objective(optimizer.plan.structures["organ"], Vast(weight=1e10))
    with pytest.raises(OverflowError, match="the cost or its gradient is too large for a number"):
        optimizer.optimize(progress=False)
