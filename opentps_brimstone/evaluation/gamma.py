"""Gamma: agreement of two doses within a dose difference and a distance, computed by pymedphys.

The index is that of D. A. Low et al., Med. Phys. 25, 656-661, 1998; the search that of M. Wendling et al., Med. Phys.
34, 1647-1654, 2007.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from opentps_brimstone._typing import FloatArray
from opentps_brimstone.model.dose import grid_of
from opentps_brimstone.model.influence import VoxelGrid

__all__ = ["gamma_analysis", "gamma_pass_rate"]


_SEARCH_STEPS = 10
_RAM_BYTES = 2**29
_USING_PYMEDPHYS = threading.Lock()


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
    axes, planes = _shared_axes(grids, doses)
    gamma = _pymedphys_gamma(axes, planes, dose_percent, distance_mm, dose_threshold, local, max_gamma)
    judged = doses[0] >= dose_threshold * highest
    return np.where(judged, np.nan_to_num(gamma.reshape(judged.shape), nan=max_gamma), np.nan)


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


def _shared_axes(
    grids: tuple[VoxelGrid, VoxelGrid], doses: list[FloatArray]
) -> tuple[list[tuple[FloatArray, ...]], list[FloatArray]]:
    """Coordinates and doses along the axes on which a dose has several voxels: planes are compared in their plane."""
    flat = [axis for axis in range(3) if grids[0].shape[axis] == grids[1].shape[axis] == 1]
    kept = [axis for axis in range(3) if axis not in flat]
    if not kept:
        raise ValueError("the doses have one voxel each; gamma needs a plane or a volume")
    coordinates = [
        tuple(
            grid.origin_mm[axis] + grid.spacing_mm[axis] * np.arange(grid.shape[axis], dtype=np.float64)
            for axis in range(3)
        )
        for grid in grids
    ]
    for axis in range(3):
        mine, theirs = coordinates[0][axis], coordinates[1][axis]
        letter = "xyz"[axis]
        if axis in kept and len(theirs) == 1:
            raise ValueError(f"the evaluation has one voxel along {letter} and the reference {len(mine)}")
        if mine[-1] < theirs[0] or theirs[-1] < mine[0]:
            raise ValueError(
                f"the doses do not overlap: along {letter} the reference goes from {mine[0]:g} to {mine[-1]:g} mm and "
                f"the evaluation from {theirs[0]:g} to {theirs[-1]:g} mm"
            )
    axes = [tuple(places[axis] for axis in kept) for places in coordinates]
    return axes, [np.squeeze(dose, axis=tuple(flat)) for dose in doses]


def _pymedphys_gamma(
    axes: list[tuple[FloatArray, ...]],
    doses: list[FloatArray],
    dose_percent: float,
    distance_mm: float,
    dose_threshold: float,
    local: bool,
    max_gamma: float,
) -> FloatArray:
    import pymedphys

    with _linear_interpolation_by_scipy() as options:
        gamma: FloatArray = pymedphys.gamma(
            axes[0],
            doses[0],
            axes[1],
            doses[1],
            dose_percent,
            distance_mm,
            lower_percent_dose_cutoff=100 * dose_threshold,
            interp_fraction=_SEARCH_STEPS,
            max_gamma=max_gamma,
            local_gamma=local,
            ram_available=_RAM_BYTES,
            **options,
        )
    return gamma


@contextlib.contextmanager
def _linear_interpolation_by_scipy() -> Iterator[dict[str, str]]:
    """Let pymedphys interpolate with scipy, and keep its logging to itself; gives the options to call it with.

    The first choice of 0.40, the package ``interpolation``, extrapolates beyond the grid; without that package a file
    that pymedphys looks for in the wrong folder keeps it from using scipy. 0.41 has an option, and logs what cannot be
    formatted with numpy 2.5.
    """
    from pymedphys._gamma.implementation import shell

    def not_this_way(*_: Any) -> None:
        raise ImportError

    def only_warnings(record: logging.LogRecord) -> bool:
        return record.levelno >= logging.WARNING

    root = logging.getLogger()
    with _USING_PYMEDPHYS:
        handlers, first_choice = root.handlers[:], getattr(shell, "_run_interp_with_econforge", None)
        root.addFilter(only_warnings)
        if first_choice is not None:
            shell._run_interp_with_econforge = not_this_way
        try:
            yield {} if first_choice is not None else {"interp_algo": "scipy"}
        finally:
            if first_choice is not None:
                shell._run_interp_with_econforge = first_choice
            root.removeFilter(only_warnings)
            root.handlers[:] = handlers
