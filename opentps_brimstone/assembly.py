"""A plan and its prescription, put together for the core."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from opentps_brimstone import _core
from opentps_brimstone.dose_influence import BeamletLayout
from opentps_brimstone.prescription import KLDivergenceTerm, MaximumDoseTerm, ObjectiveTerm
from opentps_brimstone.pyramid import coarsen

if TYPE_CHECKING:
    from opentps_brimstone.optimizer import OptimizerSettings
    from opentps_brimstone.plan import Plan, Structure

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

# A target on fewer voxels than this is not represented by a grid any more.
_FEWEST_TARGET_VOXELS = 8


@dataclass
class AssembledPlan:
    """A plan as the core computes it: voxels with a term, beamlets that take part.

    Attributes
    ----------
    core : _core.MultilevelPlan
        The grids, finest first. Its weights are MU over all fractions.
    beamlets : ndarray of int
        The plan's beamlets that are parameters.
    voxels : ndarray of int
        Flat index of the voxels of interest in the dose grid.
    reference_dose : float
        Highest dose bound of the target terms, in Gy.
    uniform_weight : float
        The weight, in MU over all fractions, that gives the targets their mean prescribed dose when every
        beamlet has it.
    voxel_of : list of ndarray of int
        For every grid but the coarsest, the voxel of the next coarser one that each of its voxels lies in.
    """

    core: _core.MultilevelPlan
    beamlets: IntArray
    voxels: IntArray
    reference_dose: float
    uniform_weight: float
    voxel_of: list[IntArray] = field(default_factory=list)

    def to_voxels_of_interest(self, grid: int, dose: FloatArray) -> FloatArray:
        """Dose of a grid's voxels, given to every finest voxel in them."""
        for finer in reversed(self.voxel_of[:grid]):
            dose = dose[finer]
        return dose


def target_terms(objectives: list[ObjectiveTerm]) -> list[KLDivergenceTerm]:
    """Find the DVH terms on targets.

    Raises
    ------
    ValueError
        When there is none.
    """
    terms = [
        term
        for term in objectives
        if isinstance(term, KLDivergenceTerm) and term.structure is not None and term.structure.is_target
    ]
    if not terms:
        on = ", ".join(f"{t.structure.name!r}" for t in objectives if t.structure is not None) or "nothing"
        raise ValueError(
            f"no target term: the objectives are on {on}; at least one KLDivergenceTerm must be on a structure "
            "with is_target=True"
        )
    return terms


def assemble(
    plan: Plan,
    objectives: list[ObjectiveTerm],
    settings: OptimizerSettings,
    *,
    initial_weights: FloatArray | None = None,
    include_all: bool = False,
) -> AssembledPlan:
    """Put a plan together for the core.

    Parameters
    ----------
    plan : Plan
        The plan.
    objectives : list of ObjectiveTerm
        Terms that know their structures.
    settings : OptimizerSettings
        How to optimise.
    initial_weights : ndarray, shape (n_beamlets,), optional
        MU over all fractions. Beamlets that do not take part keep theirs; without it they have none.
    include_all : bool
        Let every beamlet take part.

    Returns
    -------
    AssembledPlan

    Raises
    ------
    ValueError
        When no term is on a target, or a structure with a term gets no dose from any beamlet.
    """
    targets = target_terms(objectives)
    influence = plan.dose_influence
    structures = list({id(t.structure): t.structure for t in objectives if t.structure is not None}.values())
    in_any = np.zeros(influence.grid.n_voxels, dtype=bool)
    for structure in structures:
        in_any |= structure.mask.ravel()
    voxels = np.flatnonzero(in_any)
    row_map = np.full(len(in_any), -1, dtype=np.int32)
    row_map[voxels] = np.arange(len(voxels), dtype=np.int32)

    matrix = influence.matrix
    every_beamlet = np.arange(influence.layout.n_beamlets)
    threads = settings.threads or int(_core.build_info()["threads"])
    full = _core_matrix(matrix, row_map, every_beamlet)
    _check_reached(full, structures, row_map, threads)
    beamlets = (
        every_beamlet if include_all else _included(full, targets, row_map, settings.inclusion_threshold, threads)
    )
    if len(beamlets) == len(every_beamlet):
        kept, base_dose = full, np.empty(0)
    else:
        kept = _core_matrix(matrix, row_map, beamlets)
        base_dose = _base_dose(full, beamlets, initial_weights, threads)

    shares = [_voxel_shares(s, row_map) for s in structures]
    number = {id(s): i for i, s in enumerate(structures)}
    core = _core.MultilevelPlan(
        matrix=kept,
        structures=shares,
        base_dose=base_dose,
        terms=[_specification(term, number[id(term.structure)], settings) for term in objectives],
        cost_offset=settings.cost_offset,
        threads=threads,
    )
    assembled = AssembledPlan(
        core=core,
        beamlets=beamlets,
        voxels=voxels,
        reference_dose=max(float(term.dvh[-1, 0]) for term in targets),
        uniform_weight=_uniform_weight(kept, targets, row_map, threads),
    )
    _add_grids(assembled, plan, targets, max(settings.grid_of_level[: settings.number_of_levels]))
    return assembled


def bin_settings(settings: OptimizerSettings, level: int, reference_dose: float) -> _core.BinSettings:
    """How dose is binned at a level.

    Parameters
    ----------
    settings : OptimizerSettings
        Relative widths.
    level : int
        0 is the finest.
    reference_dose : float
        In Gy.
    """
    sigma_max = settings.gaussian_bin_sigma / settings.level_sigma[level] * reference_dose
    sigma_min = sigma_max / np.sqrt(settings.variance_ratio)
    return _core.BinSettings(
        reference_dose=reference_dose,
        bin_width=sigma_min / settings.bins_per_sigma,
        variance_min=sigma_min**2,
        variance_max=sigma_max**2,
        target_smoothing=getattr(_core.TargetSmoothing, settings.target_smoothing),
        kernel_reach=settings.kernel_reach,
        floor=settings.kl_floor,
        tail_length=settings.tail_length,
    )


def level_settings(
    settings: OptimizerSettings, level: int, grid: int, reference_dose: float, weight_limit: float
) -> _core.LevelSettings:
    """Everything the core needs to know of a level.

    Parameters
    ----------
    settings : OptimizerSettings
        All levels' settings.
    level : int
        0 is the finest.
    grid : int
        The grid it runs on; 0 is the finest.
    reference_dose : float
        In Gy.
    weight_limit : float
        Highest beamlet weight, in MU over all fractions.
    """
    bins = bin_settings(settings, level, reference_dose)
    sigma_max = settings.gaussian_bin_sigma / settings.level_sigma[level] * reference_dose
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
        search=_core.ConjugateGradientSettings(
            tolerance=settings.at_level(settings.cg_tolerance, level),
            line_tolerance=settings.at_level(settings.line_tolerance, level),
            gradient_tolerance=settings.gradient_tolerance,
            max_iterations=settings.max_iterations,
        ),
    )


def _core_matrix(matrix: Any, row_map: npt.NDArray[np.int32], beamlets: IntArray) -> _core.DoseMatrix:
    """Rows with a place in `row_map` and some columns of a csc_matrix, as the core stores them."""
    return _core.DoseMatrix(
        matrix.shape[0],
        matrix.indptr.astype(np.int64),
        matrix.indices,
        matrix.data,
        row_map,
        int(row_map.max(initial=-1)) + 1,
        beamlets,
    )


def _voxel_shares(structure: Structure, row_map: npt.NDArray[np.int32]) -> tuple[npt.NDArray[np.uint32], FloatArray]:
    inside = np.flatnonzero(structure.share.ravel())
    share = structure.share.ravel()[inside]
    return row_map[inside].astype(np.uint32), share / share.sum()


def _mean_of(structure: Structure, row_map: npt.NDArray[np.int32], dose: FloatArray) -> float:
    voxel, share = _voxel_shares(structure, row_map)
    return float(share @ dose[voxel])


def _check_reached(
    matrix: _core.DoseMatrix, structures: list[Structure], row_map: npt.NDArray[np.int32], threads: int
) -> None:
    unit_dose = matrix.multiply(np.ones(matrix.shape[1]), threads)
    for structure in structures:
        if _mean_of(structure, row_map, unit_dose) == 0:
            raise ValueError(
                f"{structure.name!r} gets no dose from any of the {matrix.shape[1]} beamlets; check its mask, the "
                "isocentre and the beam angles, or remove its objective"
            )


def _included(
    matrix: _core.DoseMatrix,
    targets: list[KLDivergenceTerm],
    row_map: npt.NDArray[np.int32],
    threshold: float,
    threads: int,
) -> IntArray:
    """Beamlets whose mean dose in some target is at least a share of the strongest beamlet's."""
    included = np.zeros(matrix.shape[1], dtype=bool)
    for term in targets:
        assert term.structure is not None
        voxel, share = _voxel_shares(term.structure, row_map)
        weighting = np.zeros(matrix.shape[0])
        weighting[voxel] = share
        mean_dose = matrix.multiply_transposed(weighting, threads)
        included |= mean_dose > threshold * mean_dose.max()
    return np.flatnonzero(included)


def _base_dose(
    matrix: _core.DoseMatrix, beamlets: IntArray, initial_weights: FloatArray | None, threads: int
) -> FloatArray:
    if initial_weights is None:
        return np.empty(0)
    fixed = initial_weights.copy()
    fixed[beamlets] = 0.0
    dose: FloatArray = matrix.multiply(fixed, threads)
    return dose


def _uniform_weight(
    matrix: _core.DoseMatrix, targets: list[KLDivergenceTerm], row_map: npt.NDArray[np.int32], threads: int
) -> float:
    unit_dose = matrix.multiply(np.ones(matrix.shape[1]), threads)
    asked = 0.0
    given = 0.0
    for term in targets:
        assert term.structure is not None
        dose, volume = term.dvh.T
        asked += dose[0] + float(np.sum(np.diff(dose) * (volume[1:] + volume[:-1]) / 2))
        given += _mean_of(term.structure, row_map, unit_dose)
    return asked / given


def _specification(term: ObjectiveTerm, structure: int, settings: OptimizerSettings) -> _core.TermSpecification:
    if isinstance(term, KLDivergenceTerm):
        return _core.TermSpecification.kl_divergence(
            structure=structure,
            weight=term.weight,
            target=term.dvh,
            direction=getattr(_core.KlDirection, term.direction or settings.kl_direction),
        )
    assert isinstance(term, MaximumDoseTerm)
    return _core.TermSpecification.maximum_dose(structure=structure, weight=term.weight, limit=term.limit_gy)


def _thickness_mm(structure: Structure, spacing_mm: tuple[float, float, float]) -> float:
    """Diameter of the largest ball inside a structure, in mm."""
    padded = np.pad(structure.share >= 0.5, 1)
    if not padded.any():
        return float(min(spacing_mm))
    # From the centre of the innermost voxel to that of the nearest one outside is half a voxel more than the radius.
    return float(2.0 * ndimage.distance_transform_edt(padded, sampling=spacing_mm).max() - min(spacing_mm))


def _add_grids(assembled: AssembledPlan, plan: Plan, targets: list[KLDivergenceTerm], wanted: int) -> None:
    """Add coarser grids as long as they still make sense.

    A grid does when its beamlets are no wider than the thinnest target and every target still has some voxels.
    """
    grid = plan.dose_influence.grid
    layout = _subset(plan.dose_influence.layout, assembled.beamlets)
    ijk = np.stack(np.unravel_index(assembled.voxels, grid.shape), axis=1).astype(np.int64)
    target_voxels = [np.flatnonzero(t.structure.mask.ravel()[assembled.voxels]) for t in targets if t.structure]
    thinnest = min(_thickness_mm(t.structure, grid.spacing_mm) for t in targets if t.structure)
    for _ in range(wanted):
        coarser = coarsen(layout, ijk)
        target_voxels = [np.unique(coarser.voxel_of[voxels]) for voxels in target_voxels]
        if coarser.layout.spacing_mm.max() > thinnest or min(map(len, target_voxels)) < _FEWEST_TARGET_VOXELS:
            return
        assembled.core.add_coarser_grid(
            voxel=coarser.voxel_of.astype(np.uint32),
            n_voxels=len(coarser.voxel_ijk),
            row_start=coarser.interpolation.indptr.astype(np.int64),
            beamlet=coarser.interpolation.indices.astype(np.uint32),
            share=coarser.interpolation.data,
            n_beamlets=coarser.layout.n_beamlets,
        )
        assembled.voxel_of.append(coarser.voxel_of)
        layout, ijk = coarser.layout, coarser.voxel_ijk


def _subset(layout: BeamletLayout, beamlets: IntArray) -> BeamletLayout:
    beams, index = np.unique(layout.beam_index[beamlets], return_inverse=True)
    return BeamletLayout(layout.xy_mm[beamlets], index, layout.spacing_mm[beams])
