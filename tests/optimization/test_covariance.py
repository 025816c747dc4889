"""The dynamic covariance against a dense computation from its definition."""

from __future__ import annotations

import numpy as np
import pytest
from problems import add_objectives, random_plan

import opentps_brimstone as pb
from opentps_brimstone.optimization.core_plan import assemble
from opentps_brimstone.optimization.core_settings import level_settings


def objective_and_range(settings: pb.OptimizerSettings):
    plan = random_plan(0)
    optimizer = pb.PlanOptimizer(plan, settings)
    add_objectives(optimizer)
    assembled = assemble(plan, optimizer.prescription.objectives, settings)
    objective = assembled.core.objective(level_settings(settings, 0, 0, assembled.reference_dose, 1000.0))
    high = (settings.gaussian_bin_sigma / settings.level_sigma[0] * assembled.reference_dose) ** 2
    return objective, len(assembled.beamlets), high / settings.variance_ratio, high


def dense_variance(directions: list[np.ndarray], low: float, high: float, base: float) -> np.ndarray:
    """Diagonal of the full covariance matrix, Gram-Schmidt from the newest direction to the oldest."""
    n = len(directions[0])
    covariance = high * np.eye(n)
    ordered: list[np.ndarray] = []
    for age, direction in enumerate(reversed(directions)):
        rest = direction / np.linalg.norm(direction)
        for other in ordered * 2:
            rest = rest - (rest @ other) * other
        if np.linalg.norm(rest) < 1e-8:
            continue
        rest /= np.linalg.norm(rest)
        ordered.append(rest)
        variance = base**-age * (high - low) + low
        covariance -= (high - variance) * np.outer(rest, rest)
    return np.diag(covariance)


@pytest.mark.parametrize("n_directions", [1, 2, 5, 12, 30, 74, 90])
def test_variance_is_the_diagonal_of_the_dense_covariance(n_directions):
    objective, n, low, high = objective_and_range(pb.OptimizerSettings())
    rng = np.random.default_rng(n_directions)
    directions = [rng.normal(size=n) for _ in range(n_directions)]
    for direction in directions:
        objective.add_searched_direction(direction)
    expected = dense_variance(directions, low, high, 4.0)
    np.testing.assert_allclose(objective.variance, expected, rtol=1e-5)
    assert objective.variance.min() >= low
    assert objective.variance.max() <= high


def test_one_direction_along_a_parameter_keeps_the_wide_variance_then_narrows():
    objective, n, low, high = objective_and_range(pb.OptimizerSettings())
    first, second = np.eye(n)[0], np.eye(n)[1]
    objective.add_searched_direction(first)
    np.testing.assert_allclose(objective.variance, high)
    objective.add_searched_direction(second)
    assert objective.variance[0] == pytest.approx((high - low) / 4 + low)
    assert objective.variance[1] == pytest.approx(high)


def test_repeated_and_zero_directions_do_no_harm():
    objective, n, low, high = objective_and_range(pb.OptimizerSettings())
    direction = np.random.default_rng(0).normal(size=n)
    for _ in range(40):
        objective.add_searched_direction(direction)
    np.testing.assert_allclose(objective.variance, high)
    objective.add_searched_direction(np.zeros(n))
    np.testing.assert_allclose(objective.variance, high)
    assert low < high


def test_directions_older_than_the_memory_carry_the_narrow_variance():
    settings = pb.OptimizerSettings(covariance_memory=2)
    objective, n, low, high = objective_and_range(settings)
    for i in range(4):
        objective.add_searched_direction(np.eye(n)[i])
    expected = np.full(n, high)
    expected[:4] = low, low, (high - low) / 4 + low, high
    np.testing.assert_allclose(objective.variance, expected, rtol=1e-9)
