"""Conversion of settings to the core's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from opentps_brimstone import _core

if TYPE_CHECKING:
    from opentps_brimstone.optimization.settings import OptimizerSettings

__all__ = ["bin_settings", "level_settings"]


def bin_settings(settings: OptimizerSettings, level: int, reference_dose: float) -> _core.BinSettings:
    """Dose bins and kernels of a level, of which 0 is the finest, for a reference dose in Gy."""
    sigma_max = _widest_sigma(settings, level) * reference_dose
    sigma_min = sigma_max / np.sqrt(settings.variance_ratio)
    return _core.BinSettings(
        reference_dose=reference_dose,
        bin_width=sigma_min / settings.bins_per_sigma,
        variance_min=sigma_min**2,
        variance_max=sigma_max**2,
        target_smoothing=_core.TargetSmoothing(settings.target_smoothing),
        kernel_reach=settings.kernel_reach,
        floor=settings.kl_floor,
        tail_length=settings.tail_length,
    )


def level_settings(
    settings: OptimizerSettings, level: int, grid: int, reference_dose: float, weight_limit: float
) -> _core.LevelSettings:
    """All settings of a level and its grid, of which 0 is the finest; the weight limit is MU over all fractions."""
    bins = bin_settings(settings, level, reference_dose)
    sigma_max = _widest_sigma(settings, level) * reference_dose
    coarsest = level == settings.number_of_levels - 1 and settings.number_of_levels > 1
    return _core.LevelSettings(
        grid=grid,
        bins=bins,
        parameters=_core.ParameterSettings(
            input_scale=settings.input_scale,
            weight_limit=weight_limit,
            variance_min=sigma_max**2 / settings.variance_ratio,
            variance_max=sigma_max**2,
            slope_variance=settings.slope_variance and not coarsest,
            dynamic_covariance=settings.dynamic_covariance,
            covariance_base=settings.covariance_base,
            covariance_memory=settings.covariance_memory,
        ),
        search=_core.SearchSettings(
            method=_core.SearchMethod(settings.search),
            tolerance=settings.at_level(settings.cg_tolerance, level),
            line_tolerance=settings.at_level(settings.line_tolerance, level),
            gradient_tolerance=settings.gradient_tolerance,
            max_iterations=settings.max_iterations,
        ),
    )


def _widest_sigma(settings: OptimizerSettings, level: int) -> float:
    """Return the standard deviation of a level's wide kernel, relative to the reference dose."""
    return settings.gaussian_bin_sigma / settings.level_sigma[level]
