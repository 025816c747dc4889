"""Drives the public planning API with numbers of any kind; run as a program, as a number might end the process.

``python hostile_numbers.py 1000`` plans that many examples: every one must end in finite numbers or in an error of the
package that says something.
"""

from __future__ import annotations

import sys
import warnings

import numpy as np
from hypothesis import HealthCheck, given, settings, strategies as st

import opentps_brimstone as pb

ERRORS = (ValueError, TypeError, OverflowError)

hostile = st.one_of(
    st.floats(allow_nan=True, allow_infinity=True, width=64),
    st.sampled_from([0.0, -0.0, 5e-324, 1e-308, 1e-30, 1e30, 3.5e38, 1e300, 1.7e308, -1.0, np.nan, np.inf, -np.inf]),
)
fair = st.floats(0.01, 100.0)
mostly_fair = st.one_of(fair, fair, fair, hostile)
share = st.one_of(st.floats(0.0, 1.0), hostile)
options = {
    "gaussian_bin_sigma": mostly_fair,
    "level_sigma": st.lists(mostly_fair, min_size=1, max_size=5).map(tuple),
    "number_of_levels": st.integers(-1, 5),
    "grid_of_level": st.lists(st.integers(0, 2), min_size=1, max_size=5).map(tuple),
    "start_level": st.one_of(st.none(), st.integers(-1, 4)),
    "variance_ratio": mostly_fair,
    "bins_per_sigma": mostly_fair,
    "kernel_reach": mostly_fair,
    "kl_floor": mostly_fair,
    "tail_length": mostly_fair,
    "cost_offset": mostly_fair,
    "input_scale": mostly_fair,
    "uniform_share": share,
    "roughness_weight": mostly_fair,
    "inclusion_threshold": share,
    "covariance_base": mostly_fair,
    "covariance_memory": st.one_of(st.integers(1, 30), st.integers(-1, 2**70)),
    "cg_tolerance": mostly_fair,
    "line_tolerance": mostly_fair,
    "gradient_tolerance": mostly_fair,
    "search": st.sampled_from(["lbfgs", "conjugate_gradient"]),
    "line_search": st.sampled_from(["interpolated", "brent"]),
    "precision": st.sampled_from(["fast", "reference"]),
    "threads": st.sampled_from([1, 2]),
}


class Steep(pb.ObjectiveTerm):
    """A value and a gradient without regard to the dose."""

    def __init__(self, value: float, slope: float, weight: float) -> None:
        super().__init__(weight)
        self.value, self.slope = value, slope

    def evaluate(self, dose, share):
        return self.value, self.slope * share * np.sign(dose - 5.0)


@st.composite
def terms(draw):
    weight, dose, other = draw(mostly_fair), draw(mostly_fair), draw(mostly_fair)
    kind = draw(st.integers(0, 8))
    if kind == 0:
        fraction = draw(st.one_of(st.just(1.0), share))
        return lambda: pb.KLDivergenceTerm(dose_range=(dose, other), weight=weight, volume_fraction=fraction)
    if kind == 1:
        return lambda: pb.KLDivergenceTerm(dvh=[(0, 1), (dose, 0.5), (other, 0)], weight=weight)
    if kind == 2:
        return lambda: pb.MaximumDoseTerm(dose, weight=weight)
    if kind == 3:
        return lambda: pb.MinimumDoseTerm(dose, weight=weight)
    if kind == 4:
        return lambda: pb.MeanDoseTerm(dose, weight=weight)
    if kind == 5:
        exponent, minimum = other - 20.0, draw(st.booleans())
        return lambda: pb.EUDTerm(dose, exponent, weight=weight, minimum=minimum)
    if kind == 6:
        return lambda: pb.SquaredDeviationTerm(dose, weight=weight)
    if kind == 7:
        volume = draw(share)
        return lambda: pb.DVHLimitTerm(dose, volume, weight=weight)
    return lambda: Steep(dose, other, weight)


@st.composite
def problems(draw):
    entries = st.one_of(st.floats(0.0, 1.0), st.floats(0.0, 1.0), st.sampled_from([0.0]), hostile)
    matrix = draw(st.lists(st.lists(st.floats(0.0, 1.0), min_size=4, max_size=4), min_size=8, max_size=8))
    if draw(st.booleans()):
        matrix[draw(st.integers(0, 7))][draw(st.integers(0, 3))] = draw(entries)
    chosen = draw(st.lists(st.sampled_from(sorted(options)), max_size=4, unique=True))
    return {
        "matrix": matrix,
        "fractions": draw(st.one_of(st.integers(1, 40), st.integers(1, 40), st.integers(-1, 10**30), hostile)),
        "spacing": draw(st.one_of(st.just(5.0), st.just(5.0), hostile)),
        "target": draw(st.tuples(mostly_fair, mostly_fair, mostly_fair)),
        "terms": draw(st.lists(terms(), max_size=3)),
        "settings": {name: draw(options[name]) for name in chosen},
        "start": draw(st.one_of(st.none(), st.lists(mostly_fair, min_size=4, max_size=4), st.just([1.0]))),
        "weights": draw(st.lists(st.one_of(fair, hostile), min_size=4, max_size=4)),
        "goal": draw(mostly_fair),
    }


def plan_of(problem):
    target, organ = np.zeros((2, 2, 2)), np.zeros((2, 2, 2))
    target[0], organ[1] = 1.0, 0.5
    return pb.Plan.from_dose_influence(
        np.array(problem["matrix"]),
        [pb.Structure("PTV", target, is_target=True), pb.Structure("Cord", organ)],
        grid_shape=(2, 2, 2),
        spacing_mm=(problem["spacing"],) * 3,
        beamlet_xy_mm=[(0, 0), (5, 0), (0, 5), (5, 5)],
        beam_index=[0, 0, 0, 0],
        beamlet_spacing_mm=5.0,
        number_of_fractions=problem["fractions"],
    )


def finite(*values):
    for value in values:
        assert np.isfinite(np.asarray(value, dtype=np.float64)).all(), value


def tried(work):
    try:
        work()
    except ERRORS as error:
        assert str(error), repr(error)


def drive(problem):
    plan = plan_of(problem)

    def set_weights():
        plan.beamlet_weights = problem["weights"]
        finite(plan.get_dose())

    def optimize():
        optimizer = pb.PlanOptimizer(plan, pb.OptimizerSettings(**problem["settings"]))
        low, high, weight = problem["target"]
        optimizer.add_objective(plan.structures["PTV"], pb.KLDivergenceTerm(dose_range=(low, high), weight=weight))
        for number, term in enumerate(problem["terms"]):
            optimizer.add_objective(plan.structures[number % 2], term())
        tried(lambda: finite(*optimizer.prescription.evaluate(problem["weights"])))
        result = optimizer.optimize(initial_weights=problem["start"], max_iterations=8)
        finite(result.beamlet_weights, result.dose, result.final_cost, plan.get_dose())

    def judge():
        goals = [f"PTV D95 >= {problem['goal']!r} Gy", f"Cord Dmax <= {problem['target'][0]!r} Gy"]
        result = pb.GoalPlanner(plan, goals, pb.GoalPlannerSettings(rounds=1)).optimize(problem["start"])
        finite(result.beamlet_weights, result.dose)

    tried(set_weights)
    tried(optimize)
    if problem["goal"] < 5:
        tried(judge)


def run(n_examples: int) -> None:
    """Plan that many examples, always the same."""

    @settings(
        max_examples=n_examples, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
    )
    @given(problems())
    def example(problem):
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            tried(lambda: drive(problem))

    example()


if __name__ == "__main__":
    run(int(sys.argv[1]))
