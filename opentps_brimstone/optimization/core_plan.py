"""Conversion of a plan and its prescription to the core's data."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.spatial import cKDTree

from opentps_brimstone import _core
from opentps_brimstone._typing import AnyIntArray, BoolArray, FloatArray
from opentps_brimstone.model.influence import BeamletLayout
from opentps_brimstone.optimization.biology import Biology, matrices_for
from opentps_brimstone.optimization.coarse_grids import coarsen_beamlets
from opentps_brimstone.optimization.matrix_files import MatrixFiles
from opentps_brimstone.optimization.python_terms import checked_evaluate
from opentps_brimstone.optimization.robust_terms import check_scenarios, groups_of, scenario_risk
from opentps_brimstone.optimization.row_blocks import BlockRows, RowBlocks, grid_index
from opentps_brimstone.optimization.start_weights import usable_start
from opentps_brimstone.optimization.term_quantities import TermQuantity, quantities_of
from opentps_brimstone.optimization.terms import DoseLimitTerm, KLDivergenceTerm, ObjectiveTerm
from opentps_brimstone.quantities import DoseMap

if TYPE_CHECKING:
    from opentps_brimstone.model.influence import DoseInfluence
    from opentps_brimstone.model.plan import Plan
    from opentps_brimstone.model.scenario import ScenarioInfluence
    from opentps_brimstone.model.structure import Structure
    from opentps_brimstone.optimization.settings import OptimizerSettings

__all__ = ["AssembledPlan", "assemble", "target_terms", "with_other_terms"]

# A grid with fewer voxels than this in a target is too coarse to represent it.
_FEWEST_TARGET_VOXELS = 8
# Start weights may be at most this share of the highest weight, where the transform is not yet flat.
_HIGHEST_START = 0.8
# Structures whose mean doses are computed together: each takes a number per voxel, each pass reads the matrix.
_STRUCTURES_AT_ONCE = 4
# Rows, volume shares, map and channel.
_CoreQuantity = tuple[npt.NDArray[np.uint32], FloatArray, _core.DoseMap | None, _core.Channel]
# Maximum distance between neighbors, in units of the beamlet spacing.
_NEXT_TO = 1.2


@dataclass
class AssembledPlan:
    """The part of a plan that the core computes: voxels with a term, and beamlets that are optimized.

    Attributes
    ----------
    core : _core.MultilevelPlan
        The grids, finest first. Its weights are MU over all fractions.
    beamlets : ndarray of int
        The plan's beamlets that are optimized.
    of_interest : ndarray of bool
        Whether each voxel of the dose grid, in C order, is in a structure with a term and gets a dose.
    rows : ndarray of int
        Rows of the voxels of interest in the core. Other rows get no dose.
    reference_dose : float
        Highest dose bound of the target terms, in Gy; of those on another quantity, the dose that gives its bound.
    uniform_weight : float
        Common weight of all beamlets, in MU over all fractions, that gives the targets their mean prescribed dose.
    n_allowed : int
        Number of beamlets of the beams that are used.
    target_dose : ndarray, shape (n_targets, n_optimized)
        Mean dose of every target by every beamlet that is optimized, in Gy/MU.
    start : ndarray, shape (n_beamlets,), or None
        Start weights of all beamlets, in MU over all fractions, made usable.
    notes : tuple of str
        What was done to the start weights, and structures without dose.
    layouts : list of BeamletLayout
        Of the beamlets that are optimized, on every grid.
    """

    core: _core.MultilevelPlan
    beamlets: AnyIntArray
    of_interest: BoolArray
    rows: npt.NDArray[np.uint32]
    reference_dose: float
    uniform_weight: float
    n_allowed: int
    target_dose: FloatArray
    start: FloatArray | None = None
    notes: tuple[str, ...] = ()
    layouts: list[BeamletLayout] = field(default_factory=list)

    def forget_core(self) -> None:
        """Free the core's memory; what remains describes the plan."""
        del self.core

    def highest_weight(self, uniform_share: float) -> float:
        """Weight that no beamlet can exceed, in MU over all fractions."""
        limit = self.uniform_weight / uniform_share
        if self.start is None:
            return limit
        return max(limit, float(self.start[self.beamlets].max()) / _HIGHEST_START)

    @property
    def voxels(self) -> AnyIntArray:
        """Flat index of the voxels of interest in the dose grid, ascending."""
        return np.flatnonzero(self.of_interest)

    def to_voxels_of_interest(self, grid: int, dose: FloatArray) -> FloatArray:
        """Dose of every voxel of interest, from the dose of a grid's rows."""
        return dose[self.core.rows_on_grid(self.rows, grid)]


def target_terms(objectives: list[ObjectiveTerm]) -> list[KLDivergenceTerm]:
    """Select the DVH terms on targets; there must be one."""
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
    trust_start: bool = False,
    include_all: bool = False,
    beams: Collection[int] | None = None,
) -> AssembledPlan:
    """Convert a plan and its terms for the core.

    Initial weights are MU over all fractions, 0 by default; they are made usable unless they are trusted, and beamlets
    that are not optimized keep theirs. With `include_all` every beamlet is optimized; with `beams` only those of these.
    A target that gets no dose from any beamlet is a ValueError.
    """
    targets = target_terms(objectives)
    scenarios = check_scenarios(plan, objectives)
    influence = plan.dose_influence
    grid = influence.grid
    structures = list({id(t.structure): t.structure for t in objectives if t.structure is not None}.values())
    quantities, quantity_of_term = quantities_of(objectives, plan)
    target_quantities = [quantities[quantity_of_term[_position(objectives, term)]] for term in targets]
    allowed = _allowed(influence.layout, beams)
    of_interest = _of_interest(plan, structures, beams)
    planned = BlockRows.of(grid_index(of_interest, grid.shape), grid.spacing_mm)
    row_map = planned.row_map(of_interest)
    others = None if not scenarios else _OtherScenarios(plan, objectives, scenarios, beams)
    blocks = RowBlocks(planned) if others is None else RowBlocks(planned, others.rows, len(others.influences))

    threads = settings.threads or int(_core.build_info()["threads"])
    mean_dose = _mean_doses(plan, structures, allowed, threads)
    number = {id(s): i for i, s in enumerate(structures)}
    target_numbers = [number[id(term.structure)] for term in targets]
    if include_all:
        beamlets: AnyIntArray = np.flatnonzero(allowed)
    else:
        beamlets = _included(mean_dose[target_numbers], settings.inclusion_threshold)
    kept = MatrixFiles.of(influence) if others is None else MatrixFiles(None)  # files are of the planned dose alone
    channels = {each.channel for each in quantities}
    biology = _biology(plan, channels)
    scale = _Scale(mean_dose[:, beamlets].sum(axis=1), number, biology, beamlets)
    asked = [
        (scale.dose_for(quantity, term, float(term.dvh[-1, 0])), scale.dose_for(quantity, term, _mean_asked(term)))
        for quantity, term in zip(target_quantities, targets, strict=True)
    ]
    target_dose = mean_dose[target_numbers][:, beamlets]
    uniform_weight = _missing_dose(plan, targets, sum(mean for _, mean in asked)) / float(target_dose.sum())
    scale.set_typical(quantities, uniform_weight, max(highest for highest, _ in asked))
    start, notes = initial_weights, _without_dose(plan, structures, mean_dose)
    if initial_weights is not None and not trust_start:
        start, changed = usable_start(initial_weights, beamlets, target_dose.sum(axis=0), uniform_weight)
        notes += (changed,) if changed else ()
    specifications = [_specification(*each, settings) for each in zip(objectives, quantity_of_term, strict=True)]
    in_core = [each.for_core(row_map, planned.unreached) for each in quantities]
    fixed, groups = _fixed(start, beamlets), []
    base_dose = _base_dose(plan, fixed, of_interest, planned.rows, planned.n_rows)
    if others is None:
        matrix = _finest_matrix(kept, plan, row_map, planned.n_rows, beamlets, threads)
    else:
        matrix = others.matrix(blocks, row_map, beamlets, threads)
        base_dose = others.base_dose(blocks, base_dose, fixed)
        groups = [scenario_risk(each, scenarios) for each in groups_of(objectives)[0]]
        specifications = others.terms(blocks, objectives, (quantities, quantity_of_term), in_core, settings)
    core = _core.MultilevelPlan(
        matrix=matrix,
        quantities=in_core,
        base_dose=base_dose,
        terms=specifications,
        groups=groups,
        cost_offset=settings.cost_offset,
        precision=_core.Precision(settings.precision),
        threads=threads,
        biology=None
        if biology is None
        else biology.for_core(row_map, of_interest, planned.rows, planned.n_rows, beamlets, fixed, threads),
    )
    assembled = AssembledPlan(
        core=core,
        beamlets=beamlets,
        of_interest=of_interest,
        rows=planned.rows,
        reference_dose=max(highest for highest, _ in asked),
        uniform_weight=uniform_weight,
        n_allowed=int(np.count_nonzero(allowed)),
        target_dose=target_dose,
        start=start,
        notes=notes,
    )
    del row_map  # large, and coarser grids need much memory while they are made
    wanted = max(settings.grid_of_level[: settings.number_of_levels])
    assembled.layouts = _add_grids(assembled, plan, targets, blocks, wanted, kept)
    if settings.roughness_weight:
        _penalize_roughness(assembled, settings.roughness_weight)
    return assembled


def with_other_terms(
    assembled: AssembledPlan,
    plan: Plan,
    objectives: list[ObjectiveTerm],
    settings: OptimizerSettings,
    *,
    initial_weights: FloatArray | None = None,
    trust_start: bool = False,
) -> AssembledPlan | None:
    """Put other terms on dose, on the same structures, in the place of an assembled plan's, which is not changed.

    None if initial weights give dose by beamlets that are not optimized, which the assembled plan does not know.
    """
    targets = target_terms(objectives)
    uniform_weight = sum(map(_mean_asked, targets)) / float(assembled.target_dose.sum())
    start, notes = initial_weights, assembled.notes
    if initial_weights is not None and not trust_start:
        target_dose = assembled.target_dose.sum(axis=0)
        start, changed = usable_start(initial_weights, assembled.beamlets, target_dose, uniform_weight)
        notes += (changed,) if changed else ()
    if _fixed(start, assembled.beamlets) is not None:
        return None
    _, quantity_of_term = quantities_of(objectives, plan)
    terms = [_specification(*each, settings) for each in zip(objectives, quantity_of_term, strict=True)]
    other = replace(
        assembled,
        core=assembled.core.with_terms(terms),
        reference_dose=max(float(term.dvh[-1, 0]) for term in targets),
        uniform_weight=uniform_weight,
        start=start,
        notes=notes,
    )
    if settings.roughness_weight:
        _penalize_roughness(other, settings.roughness_weight)
    return other


class _OtherScenarios:
    """What robust terms need of the scenarios that are not the planned dose's: a block of rows for each.

    Parameters
    ----------
    scenarios : sequence of ScenarioInfluence
        All of them, with the nominal one if it is among them.
    """

    def __init__(
        self,
        plan: Plan,
        objectives: list[ObjectiveTerm],
        scenarios: Sequence[ScenarioInfluence],
        beams: Collection[int] | None,
    ) -> None:
        self._plan = plan
        self.influences = [each.dose_influence for each in scenarios if not each.scenario.is_nominal]
        self._block_of = self._blocks(scenarios)
        robust = {id(t.structure): t.structure for t in objectives if t.robustness is not None and t.structure}
        in_any = np.logical_or.reduce([structure.touched for structure in robust.values()])
        dosed = np.zeros(plan.grid.shape, dtype=bool)
        for influence in self.influences:
            dosed |= influence.reached if beams is None else influence.reached_by(beams)
        self._of_interest: BoolArray = (in_any & dosed).ravel()
        if not self._of_interest.any():
            names = ", ".join(repr(structure.name) for structure in robust.values())
            raise ValueError(f"robust terms are on {names}, which no beamlet gives any dose in a scenario")
        self.rows = BlockRows.of(grid_index(self._of_interest, plan.grid.shape), plan.grid.spacing_mm)

    @staticmethod
    def _blocks(scenarios: Sequence[ScenarioInfluence]) -> list[int]:
        """Block of each scenario; that of the planned dose is 0."""
        blocks, last = [], 0
        for each in scenarios:
            last += not each.scenario.is_nominal
            blocks.append(0 if each.scenario.is_nominal else last)
        return blocks

    def matrix(
        self, blocks: RowBlocks, planned_map: npt.NDArray[np.int32], beamlets: AnyIntArray, threads: int
    ) -> _core.DoseMatrix:
        """Put the matrices of all scenarios on top of each other; only the core's is in memory besides theirs."""
        row_map = self.rows.row_map(self._of_interest)
        inside = row_map >= 0
        sources = [_source(self._plan.dose_influence, planned_map)]
        for number, influence in enumerate(self.influences, start=1):
            own = row_map.copy()
            own[inside] += blocks.first_row(number)
            sources.append(_source(influence, own))
        return _core.DoseMatrix.from_blocks(
            rows=self._plan.grid.n_voxels, blocks=sources, kept_rows=blocks.n_rows, columns=beamlets, threads=threads
        )

    def base_dose(self, blocks: RowBlocks, planned: FloatArray, fixed: FloatArray | None) -> FloatArray:
        """Dose of beamlets that are not optimized, in all blocks; an empty array if there are none."""
        if fixed is None:
            return planned
        base_dose = np.zeros(blocks.n_rows)
        base_dose[: len(planned)] = planned
        for number, influence in enumerate(self.influences, start=1):
            rows = self.rows.rows.astype(np.int64) + blocks.first_row(number)
            base_dose[rows] = influence.dose(fixed).ravel()[self._of_interest]
        return base_dose

    def terms(
        self,
        blocks: RowBlocks,
        objectives: list[ObjectiveTerm],
        quantities: tuple[list[TermQuantity], list[int]],
        in_core: list[_CoreQuantity],
        settings: OptimizerSettings,
    ) -> list[_core.TermSpecification]:
        """Make the core's terms, each robust one once for each scenario, and add the quantities that they are on."""
        row_map = self.rows.row_map(self._of_interest)
        known, quantity_of_term = quantities
        number = {(0, quantity): quantity for quantity in range(len(known))}
        specifications = []
        for term, quantity, group in zip(objectives, quantity_of_term, groups_of(objectives)[1], strict=True):
            if group is None:
                specifications.append(_specification(term, quantity, settings))
                continue
            for scenario, block in enumerate(self._block_of):
                if (block, quantity) not in number:
                    number[block, quantity] = len(in_core)
                    rows, share, of_dose, channel = known[quantity].for_core(row_map, self.rows.unreached)
                    in_core.append((rows + np.uint32(blocks.first_row(block)), share, of_dose, channel))
                of_block = _specification(term, number[block, quantity], settings)
                specifications.append(of_block.in_scenario(group=group, scenario=scenario))
        return specifications


def _source(
    influence: DoseInfluence, row_map: npt.NDArray[np.int32]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.integer[Any]], npt.NDArray[np.float32], npt.NDArray[np.int32]]:
    matrix = influence.matrix
    return matrix.indptr.astype(np.int64), matrix.indices, matrix.data, row_map


def _finest_matrix(
    kept: MatrixFiles, plan: Plan, row_map: npt.NDArray[np.int32], n_rows: int, beamlets: AnyIntArray, threads: int
) -> _core.DoseMatrix:
    matrix = plan.dose_influence.matrix

    def make() -> _core.DoseMatrix:
        start = matrix.indptr.astype(np.int64)
        return _core.DoseMatrix(matrix.shape[0], start, matrix.indices, matrix.data, row_map, n_rows, beamlets, threads)

    return kept.get(("finest", row_map, n_rows, beamlets), make)


def _allowed(layout: BeamletLayout, beams: Collection[int] | None) -> BoolArray:
    """Beamlets of some beams; of all, if none are named."""
    if beams is None:
        return np.ones(layout.n_beamlets, dtype=bool)
    return np.isin(layout.beam_index, list(beams))


def _of_interest(plan: Plan, structures: list[Structure], beams: Collection[int] | None) -> BoolArray:
    in_any = np.zeros(plan.grid.n_voxels, dtype=bool)
    for structure in structures:
        in_any |= structure.touched.ravel()
    influence = plan.dose_influence
    dosed = influence.reached if beams is None else influence.reached_by(beams)
    if plan.intermediate_dose is not None:
        dosed |= np.asarray(plan.intermediate_dose) > 0
    of_interest: BoolArray = in_any & dosed.ravel()
    return of_interest


def _biology(plan: Plan, channels: set[str]) -> Biology | None:
    if channels == {"dose"}:
        return None
    if plan.intermediate_dose is not None:
        raise ValueError(
            f"the plan has an intermediate dose, of which its matrices of {' and '.join(matrices_for(channels))} know "
            "nothing: set it to None, or leave out terms on what follows from them"
        )
    return Biology(plan, channels)


def _mean_of(dose: npt.ArrayLike, structure: Structure) -> float:
    return float(np.vdot(structure.share, np.asarray(dose)) / structure.share.sum())


def _missing_dose(plan: Plan, targets: list[KLDivergenceTerm], asked: float) -> float:
    """Sum of the targets' mean doses that beamlets have to give."""
    if plan.intermediate_dose is None:
        return asked
    given = sum(_mean_of(plan.intermediate_dose, term.structure) for term in targets if term.structure is not None)
    if given >= asked:
        raise ValueError(
            f"the intermediate dose gives the targets {given / len(targets):.2f} Gy on average; their terms ask for "
            f"{asked / len(targets):.2f} Gy, and leave nothing to the beamlets"
        )
    return asked - given


def _mean_doses(plan: Plan, structures: list[Structure], allowed: BoolArray, threads: int) -> FloatArray:
    """Mean dose of every beamlet in every structure, in Gy/MU, as (structures, beamlets); 0 of those not allowed."""
    matrix = plan.dose_influence.matrix
    column_start = matrix.indptr.astype(np.int64)
    found: list[FloatArray] = []
    for first in range(0, len(structures), _STRUCTURES_AT_ONCE):
        share = np.stack([_normalized(s) for s in structures[first : first + _STRUCTURES_AT_ONCE]], axis=1)
        found += list(
            _core.weighted_column_sums(matrix.shape[0], column_start, matrix.indices, matrix.data, share, threads).T
        )
    means: FloatArray = np.asfortranarray(found)  # beamlet by beamlet, as sums over targets have always been taken
    means[:, ~allowed] = 0.0
    for structure, mean in zip(structures, means, strict=True):
        if structure.is_target and not mean.any():
            raise ValueError(
                f"{structure.name!r} gets no dose from any of the {np.count_nonzero(allowed)} beamlets; check its "
                "mask, the isocenter and the beam angles, or remove its objective"
            )
    return means


def _without_dose(plan: Plan, structures: list[Structure], mean_dose: FloatArray) -> tuple[str, ...]:
    more = plan.intermediate_dose
    names = [
        repr(each.name)
        for each, means in zip(structures, mean_dose, strict=True)
        if not means.any() and (more is None or not _mean_of(more, each) > 0)
    ]
    return (f"no beamlet gives dose to {', '.join(names)}",) if names else ()


def _normalized(structure: Structure) -> FloatArray:
    share = structure.share.ravel()
    return share / share.sum()


def _included(mean_dose: FloatArray, threshold: float) -> AnyIntArray:
    """Beamlets whose mean dose in any target exceeds a share of the strongest beamlet's."""
    return np.flatnonzero((mean_dose > threshold * mean_dose.max(axis=1, keepdims=True)).any(axis=0))


def _base_dose(
    plan: Plan, fixed: FloatArray | None, of_interest: BoolArray, rows: npt.NDArray[np.uint32], n_rows: int
) -> FloatArray:
    """Intermediate dose, and dose of the beamlets that are not optimized; an empty array if there is neither."""
    more = plan.intermediate_dose
    if fixed is None and more is None:
        return np.empty(0)
    base_dose = np.zeros(n_rows)
    if fixed is not None:
        base_dose[rows] = plan.dose_influence.dose(fixed).ravel()[of_interest]
    if more is not None:
        base_dose[rows] += np.asarray(more).ravel()[of_interest]
    return base_dose


def _fixed(initial_weights: FloatArray | None, beamlets: AnyIntArray) -> FloatArray | None:
    """Weights of the beamlets that are not optimized; None if they have none."""
    if initial_weights is None:
        return None
    fixed = initial_weights.copy()
    fixed[beamlets] = 0.0
    return fixed if fixed.any() else None


def _mean_asked(term: KLDivergenceTerm) -> float:
    dose, volume = term.dvh.T
    return float(dose[0]) + float(np.sum(np.diff(dose) * (volume[1:] + volume[:-1]) / 2))


class _Scale:
    """How doses and quantities of structures compare.

    Parameters
    ----------
    mean_dose : ndarray, shape (n_structures,)
        Of a common weight of 1 of all beamlets.
    number : dict of int to int
        Of each structure in it, by its id.
    """

    def __init__(
        self, mean_dose: FloatArray, number: dict[int, int], biology: Biology | None, beamlets: AnyIntArray
    ) -> None:
        self._mean_dose = mean_dose
        self._number = number
        self._biology = biology
        self._beamlets = beamlets

    def _mean_of(self, structure: Structure) -> float:
        return float(self._mean_dose[self._number[id(structure)]])

    def dose_for(self, quantity: TermQuantity, term: KLDivergenceTerm, asked: float) -> float:
        """Dose that gives a target, with its mean map, what a term asks of it."""
        if quantity.channel == "let":
            raise ValueError(
                f"{term!r} asks the target {quantity.structure.name!r} for LET, which does not rise with the weights: "
                "ask for a histogram of dose, and for LET by MaximumDoseTerm, MinimumDoseTerm or MeanDoseTerm"
            )
        if quantity.channel != "dose":
            assert self._biology is not None
            weight = self._biology.uniform_weight(quantity.structure, quantity.channel, self._beamlets, asked)
            return weight * self._mean_of(quantity.structure)
        if quantity.dose_map is None:
            return asked
        before = float(quantity.typical.c0)
        if asked <= before:
            raise ValueError(
                f"the target {quantity.structure.name!r} has {before:.2f} Gy of {term.quantity} from before, and "
                f"{term!r} asks for {asked:.2f} Gy in all; ask for more, or set no previous dose for the target"
            )
        return float(quantity.typical.inverse(asked))

    def set_typical(self, quantities: list[TermQuantity], uniform_weight: float, reference_dose: float) -> None:
        """Tell quantities of other channels how they compare to dose, at a common weight; LET at the reference dose."""
        for quantity in quantities:
            if quantity.channel != "dose":
                assert self._biology is not None
                structure = quantity.structure
                value = self._biology.value(structure, quantity.channel, self._beamlets, uniform_weight)
                at_dose = uniform_weight * self._mean_of(structure)
                if value > 0 and at_dose > 0:  # else a note says so
                    per = reference_dose if quantity.channel == "let" else at_dose
                    quantity.typical = DoseMap(0.0, value / per, 0.0)


def _position(objectives: list[ObjectiveTerm], term: ObjectiveTerm) -> int:
    return next(number for number, each in enumerate(objectives) if each is term)


def _specification(term: ObjectiveTerm, quantity: int, settings: OptimizerSettings) -> _core.TermSpecification:
    if isinstance(term, KLDivergenceTerm):
        return _core.TermSpecification.kl_divergence(
            quantity=quantity,
            weight=term.weight,
            target=term.dvh,
            direction=_core.KlDirection(term.direction or settings.kl_direction),
        )
    if isinstance(term, DoseLimitTerm):
        return _core.TermSpecification.dose_limit(
            kind=_core.DoseLimitKind(term.kind), quantity=quantity, weight=term.weight, limit=term.limit_gy
        )
    return _core.TermSpecification.function(quantity=quantity, weight=term.weight, evaluate=checked_evaluate(term))


def _thickness_mm(structure: Structure, spacing_mm: tuple[float, float, float]) -> float:
    """Diameter of the largest ball inside a structure, in mm."""
    inside = structure.share >= 0.5
    if not inside.any():
        return float(min(spacing_mm))
    padded = np.pad(inside[ndimage.find_objects(inside.astype(np.int8), max_label=1)[0]], 1)
    # From the center of the innermost voxel to that of the nearest one outside is half a voxel more than the radius.
    return float(2.0 * ndimage.distance_transform_edt(padded, sampling=spacing_mm).max() - min(spacing_mm))


def _add_grids(
    assembled: AssembledPlan,
    plan: Plan,
    targets: list[KLDivergenceTerm],
    blocks: RowBlocks,
    wanted: int,
    kept: MatrixFiles,
) -> list[BeamletLayout]:
    """Add coarser grids that can represent the targets; return the beamlet layouts of all grids.

    Its beamlets are no wider than the thinnest target, and every target has some voxels.
    """
    spacing = np.array(plan.dose_influence.grid.spacing_mm)
    layout = _subset(plan.dose_influence.layout, assembled.beamlets)
    layouts = [layout]
    if not wanted:
        return layouts
    target_voxels = [np.flatnonzero(t.structure.touched.ravel()[assembled.of_interest]) for t in targets if t.structure]
    thinnest = min(_thickness_mm(t.structure, tuple(spacing)) for t in targets if t.structure)
    for _ in range(wanted):
        interpolation, layout = coarsen_beamlets(layout)
        if layout.spacing_mm.max() > thinnest:
            return layouts
        spacing = 2 * spacing
        blocks, row_of, voxel_of = blocks.coarser(tuple(spacing))
        target_voxels = [np.unique(voxel_of[voxels]) for voxels in target_voxels]
        if min(map(len, target_voxels)) < _FEWEST_TARGET_VOXELS:
            return layouts
        layouts.append(layout)
        del voxel_of  # large, and the core needs much memory now
        kept.add_grid(
            assembled.core,
            voxel=row_of,
            n_voxels=blocks.n_rows,
            row_start=interpolation.indptr.astype(np.int64),
            beamlet=interpolation.indices.astype(np.uint32),
            share=interpolation.data,
            n_beamlets=layout.n_beamlets,
        )
    return layouts


def _penalize_roughness(assembled: AssembledPlan, weight: float) -> None:
    """Add the cost of jumps between neighboring beamlets, alike on all grids for the same fluence."""
    finest = assembled.layouts[0]
    for grid, layout in enumerate(assembled.layouts):
        # A jump's cost grows with the edge that it runs along.
        edge = float(layout.spacing_mm.mean() / finest.spacing_mm.mean())
        assembled.core.penalize_roughness(
            grid=grid,
            neighbors=_neighbors(layout),
            weight=weight * edge / finest.n_beamlets,
            unit=assembled.uniform_weight,
        )


def _neighbors(layout: BeamletLayout) -> npt.NDArray[np.uint32]:
    """Pairs of beamlets of the same fluence map that are neighbors in x or y, but not across a corner."""
    pairs: list[AnyIntArray] = []
    for beam, spacing in enumerate(layout.spacing_mm):
        beamlets = np.flatnonzero(layout.beam_index == beam)
        near = cKDTree(layout.xy_mm[beamlets] / spacing).query_pairs(_NEXT_TO, output_type="ndarray")
        pairs.append(beamlets[near])
    return np.concatenate(pairs).astype(np.uint32)


def _subset(layout: BeamletLayout, beamlets: AnyIntArray) -> BeamletLayout:
    beams, index = np.unique(layout.beam_index[beamlets], return_inverse=True)
    return BeamletLayout(layout.xy_mm[beamlets], index, layout.spacing_mm[beams])
