"""Matrices and parameters to compute quantities from, and central differences."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

DIRECT = {
    "physical_dose": ("physical_dose",),
    "let_dose": ("let_dose",),
    "let": ("let_dose", "physical_dose"),
    "alpha_dose": ("alpha_dose",),
    "sqrt_beta_dose": ("sqrt_beta_dose",),
    "effect": ("alpha_dose", "sqrt_beta_dose"),
    "rbe_x_dose": ("alpha_dose", "sqrt_beta_dose", "alphax", "betax"),
    "bed": ("physical_dose", "alpha_beta", "number_of_fractions"),
    "eqd2": ("physical_dose", "alpha_beta", "number_of_fractions"),
}
# The same quantities where a matrix of their own, or of what they follow from, is not there.
INDIRECT = {
    "alpha_dose": ("physical_dose", "alphax"),
    "sqrt_beta_dose": ("physical_dose", "betax", "number_of_fractions"),
    "effect": ("physical_dose", "alphax", "betax", "number_of_fractions"),
    "rbe_x_dose": ("physical_dose", "alphax", "betax", "number_of_fractions"),
    "bed": ("physical_dose", "alphax", "betax", "number_of_fractions"),
    "eqd2": ("physical_dose", "alphax", "betax", "number_of_fractions"),
}
MATRICES = ("physical_dose", "alpha_dose", "sqrt_beta_dose", "let_dose")


def make_dij(names: Any, seed: int = 0, n_voxels: int = 7, n_beamlets: int = 4, scenarios: int = 1) -> SimpleNamespace:
    """Give an object with these attributes, per voxel where that is possible."""
    generator = np.random.default_rng(seed)
    scale = {"physical_dose": 1.0, "alpha_dose": 0.3, "sqrt_beta_dose": 0.2, "let_dose": 4.0}
    everything: dict[str, Any] = {}
    for name in MATRICES:
        several = [scale[name] * generator.uniform(0.1, 1.0, (n_voxels, n_beamlets)) for _ in range(scenarios)]
        everything[name] = several[0] if scenarios == 1 else several
    everything["alphax"] = generator.uniform(0.1, 0.5, n_voxels)
    everything["betax"] = generator.uniform(0.01, 0.1, n_voxels)
    everything["alpha_beta"] = generator.uniform(1.0, 10.0, n_voxels)
    everything["number_of_fractions"] = generator.integers(1, 30, n_voxels)
    return SimpleNamespace(**{name: everything[name] for name in names})


def central_differences(function: Any, at: np.ndarray, step: float = 1e-5) -> np.ndarray:
    """Give the gradient of a function of an array, by fourth-order differences."""
    gradient = np.zeros_like(at)
    for index in range(at.size):
        unit = np.zeros_like(at)
        unit[index] = step * max(1.0, abs(at[index]))
        near, far = function(at + unit) - function(at - unit), function(at + 2 * unit) - function(at - 2 * unit)
        gradient[index] = (8 * near - far) / (12 * unit[index])
    return gradient
