"""Optimization where the matrix leaves out a part of the dose: stages, between which that part is brought up to date.

The part left out, scatter from far away, changes slowly with the fluence. So it may stay as it is while beamlet weights
are found, as an intermediate dose, if it is computed again before the last of them and at the end.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from opentps_brimstone._typing import FloatArray
from opentps_brimstone.evaluation import dose_at_volume, mean_dose

if TYPE_CHECKING:
    from opentps_brimstone.model.plan import Plan
    from opentps_brimstone.model.structure import Structure
    from opentps_brimstone.optimization.settings import OptimizerSettings

__all__ = ["LARGEST_SHIFT", "STAGES", "largest_shift", "matched_to_whole_dose", "settings_of_stage"]

STAGES = 4
"""At most: coarse levels without the part left out, the finest level with it, and two more if it changes too much."""

LARGEST_SHIFT = 0.003
"""Change of DVHs by the last update that needs no further stage, as a share of the prescribed dose."""

_VOLUMES_PERCENT = (98.0, 95.0, 50.0, 2.0)


def largest_shift(before: FloatArray, after: FloatArray, structures: Iterable[Structure]) -> float:
    """Find the largest change, in Gy, of D98, D95, D50, D2 and mean dose of a structure.

    Parameters
    ----------
    before, after : ndarray, shape (nx, ny, nz)
        Gy.
    structures : iterable of Structure
        On their grid.

    Returns
    -------
    float
    """
    shifts = [0.0]
    for structure in structures:
        if structure.is_on_grid:
            share = structure.share
            shifts.append(abs(mean_dose(after, share) - mean_dose(before, share)))
            shifts += [
                abs(dose_at_volume(after, share, volume) - dose_at_volume(before, share, volume))
                for volume in _VOLUMES_PERCENT
            ]
    return max(shifts)


def settings_of_stage(stage: int, settings: OptimizerSettings, *, every_level: bool) -> OptimizerSettings:
    """Choose the levels of a stage: all but the finest at first, the finest alone later, unless every one is to run."""
    if stage == 0:
        return _without_finest(settings)
    return settings if every_level else replace(settings, start_level=0)


def _without_finest(settings: OptimizerSettings) -> OptimizerSettings:
    if settings.number_of_levels == 1 or settings.start_level == 0:
        return settings

    def coarser(values: float | tuple[float, ...]) -> float | tuple[float, ...]:
        return values[1:] if isinstance(values, tuple) else values

    return replace(
        settings,
        number_of_levels=settings.number_of_levels - 1,
        level_sigma=settings.level_sigma[1:],
        grid_of_level=settings.grid_of_level[1:],
        start_level=None if settings.start_level is None else settings.start_level - 1,
        cg_tolerance=coarser(settings.cg_tolerance),
        line_tolerance=coarser(settings.line_tolerance),
    )


def matched_to_whole_dose(plan: Plan, weights: FloatArray, targets: Iterable[Structure]) -> FloatArray:
    """Scale weights so that their whole dose gives targets what the matrix alone gave them, and set the rest of it.

    Parameters
    ----------
    plan : Plan
        Gets its intermediate dose.
    weights : ndarray, shape (n_beamlets,)
        MU per fraction, found without the part left out.
    targets : iterable of Structure

    Returns
    -------
    ndarray, shape (n_beamlets,)
    """
    whole = plan.update_intermediate_dose(weights, effort="half")
    rest = np.asarray(plan.intermediate_dose)
    share = np.sum([target.share for target in targets], axis=0)
    factor = float(np.vdot(share, whole - rest) / np.vdot(share, whole))
    plan.set_intermediate_dose(factor * rest)
    return factor * weights
