"""Gradients against central differences."""

from __future__ import annotations

import numpy as np


def central_difference(function, x: np.ndarray, along: np.ndarray, step: float) -> float:
    """Fourth-order central difference along a direction."""
    near = function(x + step * along) - function(x - step * along)
    far = function(x + 2 * step * along) - function(x - 2 * step * along)
    return (8 * near - far) / (12 * step)


def assert_gradient(objective, x: np.ndarray, rng: np.random.Generator, directions: int) -> None:
    """Assert that cost and gradient of an objective at x belong together, along random directions.

    Of three steps the best counts: it stays inside one histogram bin for nearly every voxel, and the histogram is
    piecewise linear in dose.
    """
    cost, gradient = objective.cost_and_gradient(x)
    assert cost == objective.cost(x)
    errors = []
    for _ in range(directions):
        along = rng.normal(size=len(x))
        along /= np.linalg.norm(along)
        estimates = [central_difference(objective.cost, x, along, h) for h in (1e-5, 3e-6, 1e-6)]
        errors.append(min(abs(e - gradient @ along) for e in estimates) / np.linalg.norm(gradient))
    assert np.median(errors) < 1e-7
    assert max(errors) < 1e-6
