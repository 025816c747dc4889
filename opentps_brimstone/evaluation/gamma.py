"""Gamma: agreement of two doses within a dose difference and a distance.

The index is that of D. A. Low et al., Med. Phys. 25, 656-661, 1998. The evaluated dose is not sampled: its minimum
distance is computed from the linear interpolation between its voxels, so that gamma is at most what a search in steps,
such as pymedphys's, finds, and the same up to the steps.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from opentps_brimstone import _core
from opentps_brimstone._typing import FloatArray
from opentps_brimstone._util.threads import thread_count
from opentps_brimstone.model.dose import grid_of
from opentps_brimstone.model.influence import VoxelGrid

__all__ = ["gamma_analysis", "gamma_pass_rate"]


def gamma_analysis(
    reference: npt.ArrayLike,
    evaluation: npt.ArrayLike,
    *,
    dose_percent: float = 3.0,
    distance_mm: float = 3.0,
    dose_threshold: float = 0.1,
    local: bool = False,
    reference_grid: VoxelGrid | None = None,
    evaluation_grid: VoxelGrid | None = None,
    spacing_mm: tuple[float, float, float] | None = None,
    max_gamma: float = 2.0,
    threads: int | None = None,
) -> FloatArray:
    """Gamma of an evaluated dose in every voxel of a reference dose.

    Parameters
    ----------
    reference : array_like, shape (nx, ny, nz)
        Gy. A `DoseArray`, such as one from `dose_from_dataset`, carries its grid.
    evaluation : array_like, shape (mx, my, mz)
        Gy; interpolated linearly. Its grid may differ from the reference's.
    dose_percent : float
        Dose difference of gamma 1, in percent of the highest reference dose, or of the reference dose of each voxel
        if `local`.
    distance_mm : float
        Distance of gamma 1, in mm.
    dose_threshold : float
        Share of the highest reference dose, from 0 to below 1: voxels below it in the reference are not judged.
    local : bool
        Take the dose difference relative to each voxel's reference dose.
    reference_grid, evaluation_grid : VoxelGrid, optional
        For arrays without a grid of their own.
    spacing_mm : (float, float, float), optional
        Instead of both grids: the doses are on the same voxels, that far apart.
    max_gamma : float
        The search ends here; larger gammas are clipped to it.
    threads : int, optional
        Default: the cores this process may use. The result does not depend on it.

    Returns
    -------
    ndarray, shape (nx, ny, nz)
        Gamma; NaN where the reference is below the threshold. A voxel without any evaluated dose within its reach gets
        `max_gamma`: it fails.

    Raises
    ------
    ValueError
        If a grid is missing or has another shape, the grids do not overlap, a dose is not finite, the reference is zero
        everywhere, or a criterion is out of its range.

    Examples
    --------
    >>> dose = np.full((5, 5, 5), 50.0)
    >>> gamma = gamma_analysis(dose, 1.015 * dose, spacing_mm=(2.0, 2.0, 2.0))
    >>> float(gamma.max().round(3))
    0.5
    """
    _check_criteria(dose_percent, distance_mm, dose_threshold, local, max_gamma)
    grids = _grids(reference, evaluation, reference_grid, evaluation_grid, spacing_mm)
    doses = [_finite(dose, name) for dose, name in ((reference, "reference"), (evaluation, "evaluation"))]
    highest = float(doses[0].max())
    if highest <= 0:
        raise ValueError(f"the highest reference dose is {highest:g} Gy; gamma needs a positive one")
    _check_overlap(grids)
    along_flat = _flat_axes(grids)
    gamma: FloatArray = _core.gamma(
        reference=doses[0],
        reference_spacing=grids[0].spacing_mm,
        reference_origin=_without(along_flat, grids[0].origin_mm),
        evaluation=doses[1],
        evaluation_spacing=grids[1].spacing_mm,
        evaluation_origin=_without(along_flat, grids[1].origin_mm),
        dose=dose_percent / 100 * (1.0 if local else highest),
        distance=distance_mm,
        threshold=dose_threshold * highest,
        local=local,
        highest=max_gamma,
        threads=thread_count(threads),
    )
    return gamma


def gamma_pass_rate(gamma: npt.ArrayLike) -> float:
    """Percentage of the judged voxels that pass.

    Parameters
    ----------
    gamma : array_like, of any shape
        From `gamma_analysis`; NaN is not judged.

    Returns
    -------
    float
        Percent with a gamma of at most 1.

    Raises
    ------
    ValueError
        If no voxels are judged.

    Examples
    --------
    >>> gamma_pass_rate([0.2, 0.9, 1.4, np.nan, 0.5])
    75.0
    """
    values = np.asarray(gamma, dtype=np.float64)
    judged = values[~np.isnan(values)]
    if not len(judged):
        raise ValueError(f"none of the {values.size} voxels has a gamma: all are NaN")
    return float(100 * np.mean(judged <= 1))


def _check_criteria(
    dose_percent: float, distance_mm: float, dose_threshold: float, local: bool, max_gamma: float
) -> None:
    for name, value, unit in (("dose_percent", dose_percent, "%"), ("distance_mm", distance_mm, "mm")):
        if not (np.isfinite(value) and value > 0):
            raise ValueError(f"{name} is {value:g} {unit}; it must be positive")
    if not 0 <= dose_threshold < 1:
        raise ValueError(
            f"dose_threshold is {dose_threshold:g}; it is a share of the highest reference dose, from 0 to below 1 "
            "(10 % is 0.1)"
        )
    if local and dose_threshold == 0:
        raise ValueError("dose_threshold is 0; a local gamma needs a positive one, as no percentage of 0 Gy exists")
    if not (np.isfinite(max_gamma) and max_gamma >= 1):
        raise ValueError(f"max_gamma is {max_gamma:g}; it must be finite and at least 1")


def _grids(
    reference: npt.ArrayLike,
    evaluation: npt.ArrayLike,
    reference_grid: VoxelGrid | None,
    evaluation_grid: VoxelGrid | None,
    spacing_mm: tuple[float, float, float] | None,
) -> tuple[VoxelGrid, VoxelGrid]:
    if spacing_mm is not None:
        if reference_grid is not None or evaluation_grid is not None:
            raise ValueError("give either spacing_mm or grids, not both")
        shape: Any = np.shape(reference)
        if np.shape(evaluation) != shape:
            raise ValueError(
                f"the doses have the shapes {shape} and {np.shape(evaluation)}; spacing_mm is for doses on the same "
                "voxels, others need reference_grid and evaluation_grid"
            )
        reference_grid = evaluation_grid = VoxelGrid(shape, spacing_mm)
    found = []
    for name, dose, given in (("reference", reference, reference_grid), ("evaluation", evaluation, evaluation_grid)):
        grid = grid_of(dose, given)
        if grid is None:
            raise ValueError(f"where is the {name} dose? Give {name}_grid=, spacing_mm=, or a DoseArray")
        found.append(grid)
    return found[0], found[1]


def _finite(dose: npt.ArrayLike, name: str) -> FloatArray:
    values = np.asarray(dose, dtype=np.float64)
    if not np.isfinite(values).all():
        raise ValueError(f"the {name} dose is not finite everywhere")
    return values


def _flat_axes(grids: tuple[VoxelGrid, VoxelGrid]) -> list[bool]:
    """Axes on which both doses have one voxel: planes are compared in their plane, wherever they lie."""
    flat = [grids[0].shape[axis] == grids[1].shape[axis] == 1 for axis in range(3)]
    if all(flat):
        raise ValueError("the doses have one voxel each; gamma needs a plane or a volume")
    return flat


def _without(flat: list[bool], origin_mm: tuple[float, float, float]) -> list[float]:
    return [0.0 if ignored else place for ignored, place in zip(flat, origin_mm, strict=True)]


def _check_overlap(grids: tuple[VoxelGrid, VoxelGrid]) -> None:
    for axis, letter in enumerate("xyz"):
        sizes = [grid.shape[axis] for grid in grids]
        if sizes[1] == 1 and sizes[0] > 1:
            raise ValueError(f"the evaluation has one voxel along {letter} and the reference {sizes[0]}")
        (first, last), (low, high) = ((lie.origin_mm[axis], _last(lie, axis)) for lie in grids)
        if last < low or high < first:
            raise ValueError(
                f"the doses do not overlap: along {letter} the reference goes from {first:g} to {last:g} mm and "
                f"the evaluation from {low:g} to {high:g} mm"
            )


def _last(grid: VoxelGrid, axis: int) -> float:
    return grid.origin_mm[axis] + grid.spacing_mm[axis] * (grid.shape[axis] - 1)
