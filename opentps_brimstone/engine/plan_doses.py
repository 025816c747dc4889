"""Dose influence matrices of plans and of OpenTPS plans."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from opentps_brimstone._typing import BoolArray, FloatArray
from opentps_brimstone.adapters.beamlets import (
    dose_influence_from_sparse_beamlets,
    grid_of_beamlets,
    isocenter_misfit,
)
from opentps_brimstone.adapters.plan import layout_from_opentps
from opentps_brimstone.adapters.series import ct_on_dose_grid, new_photon_plan
from opentps_brimstone.engine import compute
from opentps_brimstone.engine.collapsed_cones import BeamletField, BeamView, ConeEngine
from opentps_brimstone.engine.ct_input import check_hu, mass_density
from opentps_brimstone.engine.full_scatter import full_scatter_influence
from opentps_brimstone.model.beam import SAD_MM
from opentps_brimstone.model.influence import BeamletLayout, DoseInfluence

if TYPE_CHECKING:
    from opentps_brimstone.engine.options import DoseOptions
    from opentps_brimstone.model.beam import Beam
    from opentps_brimstone.model.influence import VoxelGrid
    from opentps_brimstone.model.plan import Plan
    from opentps_brimstone.model.structure import Structure


def compute_influence(
    plan: Plan, beamlets_mm: Sequence[FloatArray], spacing_mm: float, options: DoseOptions
) -> DoseInfluence:
    """Compute beamlet doses for a plan.

    Parameters
    ----------
    plan : Plan
        With a series.
    beamlets_mm : sequence of ndarray, shape (n, 2)
        Beamlet centers of each beam in the beam's eye view.
    spacing_mm : float
        Beamlet size.
    options : DoseOptions

    Returns
    -------
    DoseInfluence
        Voxels of the plan's structures get their dose even if they are air beside the patient.

    Raises
    ------
    ValueError
        If the CT is not one of HU.
    DoseMemoryError
        If the doses would not fit into memory.
    EngineError
        If the engine fails.
    """
    sizes = [(spacing_mm, spacing_mm)] * len(plan.beams)
    if not options.choice.is_native:
        photon_plan = new_photon_plan(plan, beamlets_mm, sizes, None)
        return compute.beamlet_influence(ct_on_dose_grid(plan), photon_plan, options)
    fields = [
        BeamletField(beam_view(beam), xy, size) for beam, xy, size in zip(plan.beams, beamlets_mm, sizes, strict=True)
    ]
    beam_index = np.repeat(np.arange(len(fields)), [len(xy) for xy in beamlets_mm])
    layout = BeamletLayout(np.concatenate(beamlets_mm), beam_index, np.array(sizes))
    engine = plan_engine(plan, options)
    if options.choice.scatter == "full":
        return full_scatter_influence(engine, fields, layout, options)
    return DoseInfluence(engine.beamlets(fields, options.run.progress), plan.grid, layout)


def plan_engine(plan: Plan, options: DoseOptions, *, density_factor: float = 1.0) -> ConeEngine:
    """Set up this package's engine for the CT of a plan, on its dose grid.

    Parameters
    ----------
    plan : Plan
        With a series.
    options : DoseOptions
    density_factor : float
        Of all densities.

    Returns
    -------
    ConeEngine
    """
    assert plan.series is not None
    assert plan.ct_hu is not None
    check_hu(plan.ct_hu, plan.series.name)
    return ConeEngine(
        density_factor * mass_density(plan.ct_hu, options.density_table, options.overrides, plan.source),
        plan.grid,
        scatter=options.choice.scatter,
        kernels=options.choice.kernels,
        beam_model=options.choice.machine,
        wanted=inside_any(plan.structures.values()),
        threads=options.run.threads,
    )


def beam_view(beam: Beam, sad_mm: float = SAD_MM, *, isocenter_mm: FloatArray | None = None) -> BeamView:
    """Where a beam of a plan with a series comes from.

    Parameters
    ----------
    beam : Beam
    sad_mm : float
        Distance of its source from the isocenter.
    isocenter_mm : ndarray, shape (3,), optional
        In place of the beam's.

    Returns
    -------
    BeamView
    """
    isocenter = beam.isocenter if isocenter_mm is None else isocenter_mm
    return BeamView.from_angles(beam.supine_angles, isocenter, sad_mm)


def inside_any(structures: Iterable[Structure]) -> BoolArray | None:
    """Voxels that belong to structures, at least in part.

    Parameters
    ----------
    structures : iterable of Structure
        On one grid.

    Returns
    -------
    ndarray of bool, shape of the grid, or None
        None if there are no structures.
    """
    masks = [structure.touched for structure in structures]
    return np.logical_or.reduce(masks) if masks else None


def plan_influence(
    photon_plan: Any,
    ct: Any,
    grid: VoxelGrid,
    beamlets: Any,
    options: DoseOptions,
    wanted: BoolArray | None = None,
) -> DoseInfluence:
    """Dose influence matrix from given beamlets, those of the plan design if they fit, or the dose engine.

    Parameters
    ----------
    photon_plan, ct, options, wanted
        As for `beamlet_influence`, whose errors are raised.
    grid : VoxelGrid
        That of `ct`.
    beamlets : opentps SparseBeamlets or None
        ValueError if they do not match the plan or the CT.
    """
    if options.choice.scatter == "full":
        if beamlets is not None:
            raise ValueError("scatter='full' takes doses of this package's engine: leave out the beamlets given")
        return full_scatter_influence(*compute.engine_and_fields(ct, photon_plan, options, wanted), options)
    if beamlets is not None:
        misfit = _misfit(beamlets, photon_plan, grid)
        if misfit:
            raise ValueError(f"the beamlets given {misfit}")
    else:
        beamlets = beamlets_of_design(photon_plan, grid)
    if beamlets is None:
        return compute.beamlet_influence(ct, photon_plan, options, wanted)
    return dose_influence_from_sparse_beamlets(beamlets, photon_plan, grid)


def beamlets_of_design(photon_plan: Any, grid: VoxelGrid) -> Any:
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
    return isocenter_misfit(beamlets, photon_plan)
