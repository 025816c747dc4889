"""Conversion between OpenTPS's SparseBeamlets and DoseInfluence.

OpenTPS's rows are the voxels of the image *flipped on axes 0 and 1*, read in Fortran order; ours are the voxels of
the image itself in C order. The columns are the same beamlets in the same order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp

from opentps_brimstone.adapters.plan import layout_from_opentps, plan_isocenters
from opentps_brimstone.adapters.privates import set_weights
from opentps_brimstone.model.influence import DoseInfluence, VoxelGrid
from opentps_brimstone.model.scenario import Scenario

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

__all__ = [
    "dose_influence_from_sparse_beamlets",
    "grid_of_beamlets",
    "isocenter_misfit",
    "of_every_isocenter",
    "row_permutation",
    "scenario_beamlets",
    "scenarios_of_design",
    "sparse_beamlets_from_dose_influence",
    "theirs_from_ours",
    "with_rows",
]

_SAME_MM = 1e-3


def row_permutation(shape: Sequence[int]) -> NDArray[np.intp]:
    """Which of our rows each row of an OpenTPS matrix is, on a grid of this shape: ``theirs = ours[permutation]``."""
    rows = np.arange(np.prod(shape, dtype=np.intp), dtype=np.intp).reshape(shape)
    return np.flip(rows, (0, 1)).ravel(order="F")


def theirs_from_ours(shape: Sequence[int]) -> NDArray[np.intp]:
    """Where each of our rows is among OpenTPS's: the inverse of `row_permutation`."""
    ours = row_permutation(shape)
    theirs = np.empty_like(ours)
    theirs[ours] = np.arange(ours.size)
    return theirs


def with_rows(matrix: Any, destination: NDArray[np.intp]) -> Any:
    """Copy a csc matrix with row r moved to row destination[r], sorted, as float32."""
    moved = sp.csc_matrix(
        (
            np.array(matrix.data, dtype=np.float32),
            destination[matrix.indices].astype(matrix.indices.dtype),
            matrix.indptr.copy(),
        ),
        shape=matrix.shape,
    )
    moved.sum_duplicates()
    return moved


def grid_of_beamlets(beamlets: Any) -> VoxelGrid:
    """Voxel grid of SparseBeamlets, as they state it.

    Parameters
    ----------
    beamlets : opentps SparseBeamlets
        Loaded or stored on disk.

    Returns
    -------
    VoxelGrid
    """
    _loaded_matrix(beamlets)
    nx, ny, nz = (int(n) for n in beamlets.doseGridSize)
    dx, dy, dz = (float(s) for s in beamlets.doseSpacing)
    x, y, z = (float(o) for o in beamlets.doseOrigin)
    return VoxelGrid(shape=(nx, ny, nz), spacing_mm=(dx, dy, dz), origin_mm=(x, y, z))


def of_every_isocenter(beamlets: Any) -> Any:
    """Note on SparseBeamlets that each beam's were computed at its own isocenter, and return them."""
    beamlets.isocenters = "of each beam"
    return beamlets


def isocenter_misfit(beamlets: Any, photon_plan: Any) -> str:
    """Say why beamlets cannot be those of a plan whose beams have isocenters of their own; empty if they can.

    OpenTPS's dose calculation uses the first beam's isocenter for all of them.
    """
    places = plan_isocenters(photon_plan)
    others = np.flatnonzero(np.abs(places - places[0]).max(axis=1) > _SAME_MM)
    if others.size == 0 or getattr(beamlets, "isocenters", None) == "of each beam":
        return ""
    first, other = photon_plan.beams[0], photon_plan.beams[int(others[0])]
    return (
        f"may all be of one isocenter, as OpenTPS computes them, but {other.name!r} has its isocenter at "
        f"{places[others[0]].tolist()} mm and {first.name!r} at {places[0].tolist()} mm: use those of "
        "opentps_brimstone.engine.compute_beamlets"
    )


def _loaded_matrix(beamlets: Any) -> Any:
    if not hasattr(beamlets, "toSparseMatrix"):
        raise TypeError(f"beamlets must be OpenTPS SparseBeamlets, got {type(beamlets).__name__}")
    matrix = beamlets.toSparseMatrix()
    if matrix is None:
        raise ValueError("these SparseBeamlets hold no matrix and no file to load it from")
    return sp.csc_matrix(matrix)


def dose_influence_from_sparse_beamlets(
    beamlets: Any, photon_plan: Any, grid: VoxelGrid | None = None
) -> DoseInfluence:
    """Convert SparseBeamlets to a dose influence matrix.

    Parameters
    ----------
    beamlets : opentps SparseBeamlets
        Dose of every beamlet of the plan, Gy per MU and fraction; loaded if they are stored on disk. Not changed.
    photon_plan : opentps PhotonPlan
        The plan the columns belong to.
    grid : VoxelGrid, optional
        Grid of the doses. Default: that of ``beamlets``, in which OpenTPS swaps the x and y spacing.

    Returns
    -------
    DoseInfluence
        float32, shape (voxels in C order, beamlets).

    Raises
    ------
    TypeError
        If ``beamlets`` is not a SparseBeamlets.
    ValueError
        If there is no matrix, or its rows or columns are not those of the grid and the plan.
    """
    matrix = _loaded_matrix(beamlets)
    if grid is None:
        grid = grid_of_beamlets(beamlets)
    layout = layout_from_opentps(photon_plan)
    n_voxels = int(np.prod(grid.shape))
    if matrix.shape[0] != n_voxels:
        raise ValueError(
            f"the beamlets have {matrix.shape[0]} rows, but a dose grid of {grid.shape} has {n_voxels} voxels"
        )
    if matrix.shape[1] != layout.n_beamlets:
        raise ValueError(
            f"the beamlets have {matrix.shape[1]} columns, but the plan has {layout.n_beamlets} beamlets: "
            "compute them again for this plan"
        )
    return DoseInfluence(with_rows(matrix, row_permutation(grid.shape)), grid, layout)


def scenarios_of_design(photon_plan: Any, grid: VoxelGrid) -> list[tuple[Scenario, DoseInfluence | None]]:
    """Convert the beamlets of a plan design's error scenarios, for `Plan.set_scenarios`.

    Parameters
    ----------
    photon_plan : opentps PhotonPlan
        Not changed.
    grid : VoxelGrid
        Of the doses.

    Returns
    -------
    list of (Scenario, DoseInfluence or None)
        The nominal scenario, and one for each of ``planDesign.robustness.scenarios``; empty if there are none.

    Raises
    ------
    TypeError, ValueError
        If a scenario's beamlets are not SparseBeamlets of the plan on the grid.
    """
    found: list[tuple[Scenario, DoseInfluence | None]] = []
    for number, beamlets in enumerate(scenario_beamlets(photon_plan.planDesign), start=1):
        name = f"OpenTPS's scenario {number}"
        try:
            found.append((Scenario(source=name), dose_influence_from_sparse_beamlets(beamlets, photon_plan, grid)))
        except (TypeError, ValueError) as error:
            raise type(error)(f"planDesign.robustness.scenarios[{number - 1}]: {error}") from None
    return [(Scenario(), None), *found] if found else []


def scenario_beamlets(design: Any) -> list[Any]:
    """Beamlets of the error scenarios of a plan design, if it has some."""
    return list(getattr(getattr(design, "robustness", None), "scenarios", None) or [])


def sparse_beamlets_from_dose_influence(influence: DoseInfluence, weights: ArrayLike | None = None) -> Any:
    """Convert a dose influence matrix to SparseBeamlets.

    Parameters
    ----------
    influence : DoseInfluence
        Not changed.
    weights : array_like, shape (n_beamlets,), optional
        MU per fraction, used by ``toDoseImage`` of the result. Default: 1.

    Returns
    -------
    opentps SparseBeamlets

    Raises
    ------
    ValueError
        If there is not one weight per beamlet.
    """
    from opentps.core.data import SparseBeamlets

    grid = influence.grid
    n_beamlets = influence.matrix.shape[1]
    mu = np.ones(n_beamlets) if weights is None else np.array(weights, dtype=np.float64)
    if mu.shape != (n_beamlets,):
        raise ValueError(f"{n_beamlets} beamlets need as many weights, got an array of shape {mu.shape}")
    beamlets = SparseBeamlets()
    beamlets.setUnitaryBeamlets(with_rows(sp.csc_matrix(influence.matrix), theirs_from_ours(grid.shape)))
    beamlets.doseGridSize = np.array(grid.shape)
    beamlets.doseSpacing = np.array(grid.spacing_mm, dtype=np.float64)
    beamlets.doseOrigin = np.array(grid.origin_mm, dtype=np.float64)
    set_weights(beamlets, mu)
    return of_every_isocenter(beamlets)
