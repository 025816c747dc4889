"""Dose influence matrices of plans and of OpenTPS plans."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from opentps_brimstone._typing import FloatArray
from opentps_brimstone.adapters.beamlets import dose_influence_from_sparse_beamlets, grid_of_beamlets
from opentps_brimstone.adapters.plan import layout_from_opentps
from opentps_brimstone.adapters.series import ct_on_dose_grid, new_photon_plan
from opentps_brimstone.engine import compute

if TYPE_CHECKING:
    from opentps_brimstone.model.influence import DoseInfluence, VoxelGrid
    from opentps_brimstone.model.plan import Plan


def compute_influence(
    plan: Plan, beamlets_mm: Sequence[FloatArray], spacing_mm: float, engine_options: dict[str, Any]
) -> DoseInfluence:
    """Compute beamlet doses for a plan with OpenTPS's engine.

    Parameters
    ----------
    plan : Plan
        With a series.
    beamlets_mm : sequence of ndarray, shape (n, 2)
        Beamlet centers of each beam in the beam's eye view.
    spacing_mm : float
        Beamlet size.
    engine_options : dict
        For `opentps_brimstone.engine.compute_beamlets`.

    Returns
    -------
    DoseInfluence

    Raises
    ------
    EngineError
        If the engine fails.
    """
    photon_plan = new_photon_plan(plan, beamlets_mm, [(spacing_mm, spacing_mm)] * len(plan.beams), None)
    beamlets = compute.compute_beamlets(ct_on_dose_grid(plan), photon_plan, **engine_options)
    return dose_influence_from_sparse_beamlets(beamlets, photon_plan, plan.grid)


def plan_influence(
    photon_plan: Any, ct: Any, grid: VoxelGrid, beamlets: Any, engine_options: dict[str, Any]
) -> DoseInfluence:
    """Dose influence matrix from given beamlets, those of the plan design if they fit, or the dose engine.

    Parameters
    ----------
    photon_plan : opentps PhotonPlan
    ct : opentps CTImage
    grid : VoxelGrid
        That of `ct`.
    beamlets : opentps SparseBeamlets or None
    engine_options : dict
        For `opentps_brimstone.engine.compute_beamlets`.

    Returns
    -------
    DoseInfluence

    Raises
    ------
    TypeError, ValueError
        If the given beamlets do not match the plan or the CT.
    EngineError
        If the dose engine fails.
    """
    if beamlets is not None:
        misfit = _misfit(beamlets, photon_plan, grid)
        if misfit:
            raise ValueError(f"the beamlets given {misfit}")
    else:
        beamlets = _beamlets_of_design(photon_plan, grid)
    if beamlets is None:
        beamlets = compute.compute_beamlets(ct, photon_plan, **engine_options)
    return dose_influence_from_sparse_beamlets(beamlets, photon_plan, grid)


def _beamlets_of_design(photon_plan: Any, grid: VoxelGrid) -> Any:
    """Beamlets of a plan design, if they fit."""
    design = photon_plan.planDesign
    beamlets = None if design is None else design.beamlets
    if beamlets is None or _misfit(beamlets, photon_plan, grid):
        return None
    return beamlets


def _misfit(beamlets: Any, photon_plan: Any, grid: VoxelGrid) -> str:
    """Say why beamlets do not match a plan and a grid; empty if they do."""
    theirs = grid_of_beamlets(beamlets)
    n_beamlets = layout_from_opentps(photon_plan).n_beamlets
    n_columns = beamlets.toSparseMatrix().shape[1]
    if n_columns != n_beamlets:
        return f"are {n_columns}, but the plan has {n_beamlets} beamlets"
    if theirs.shape != grid.shape:
        return f"are on a grid of {theirs.shape} voxels, but the CT has {grid.shape}"
    # OpenTPS exchanges the x and y spacing of the beamlets it computes.
    exchanged = (theirs.spacing_mm[1], theirs.spacing_mm[0], theirs.spacing_mm[2])
    if not any(np.allclose(spacing, grid.spacing_mm, atol=0.01) for spacing in (theirs.spacing_mm, exchanged)):
        return f"have voxels of {theirs.spacing_mm} mm, but those of the CT have {grid.spacing_mm} mm"
    if not np.allclose(theirs.origin_mm, grid.origin_mm, atol=0.01):
        return f"have their origin at {theirs.origin_mm} mm, but the CT has it at {grid.origin_mm} mm"
    return ""
