"""Direct aperture optimization: leaf positions and MU of segments by the dose that they give.

The dose of segments is that of the fluence which they make of the plan's beamlets, and an intermediate dose besides:
what the full dose of the segments has more or less than that, for scatter from afar, what leaves let through, and edges
of leaves inside a beamlet. It is computed anew between searches, each of which moves all leaves and changes all MU
at once, by the gradient of the plan's objectives. A term on the deviation from the optimized dose holds doses in their
place, which histograms do not know.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from opentps_brimstone._typing import BoolArray, FloatArray
from opentps_brimstone._util.progress import Progress, following
from opentps_brimstone.evaluation import DVHGoal, GoalTable, evaluate, voxel_volume_cc
from opentps_brimstone.evaluation.extremes import outside_targets
from opentps_brimstone.model.plan import Plan
from opentps_brimstone.model.structure import Structure
from opentps_brimstone.optimization.goal_terms import goal_term
from opentps_brimstone.optimization.prescription import Prescription
from opentps_brimstone.optimization.reference_dose import ReferenceDoseTerm
from opentps_brimstone.optimization.settings import OptimizerSettings
from opentps_brimstone.optimization.terms import MaximumDoseTerm, ObjectiveTerm
from opentps_brimstone.sequencing.aperture_fluence import ApertureFluence, BeamSegments, LeafEdges
from opentps_brimstone.sequencing.aperture_limits import tips_on_raster
from opentps_brimstone.sequencing.aperture_search import Free, Limits, close_and_open, with_less_cost, without_weak
from opentps_brimstone.sequencing.aperture_settings import ApertureSettings
from opentps_brimstone.sequencing.segments import SequencedBeam

if TYPE_CHECKING:
    from opentps_brimstone.model.influence import DoseInfluence

__all__ = ["ApertureTask", "FullDose", "RefinedApertures", "refine_apertures"]

_log = logging.getLogger(__name__)

# Share of the maximum above which doses are held to the optimized one.
_JUDGED = 0.1
_GOAL_WEIGHT, _HOT_SPOT_WEIGHT = 1e5, 100.0  # the latter for each voxel
# A goal that is missed is asked for with this share of its value more, and so much more than it is missed by.
_INSIDE_GOAL, _OF_THE_MISS = 0.002, 1.5
# Share by which hot spots may exceed those of the optimized dose before less is asked for.
_HOTTER = 0.005
# By how much further from the optimized dose segments with less hot spots may be.
_FARTHER = 1.1
# Shares of the tips that are on the raster after each step of rounding, and the iterations of each.
_ROUNDED_AT_ONCE, _WHILE_ROUNDING = (0.4, 0.7, 0.9, 1.0), 10


class FullDose(Protocol):
    """Computes the dose of segments with all that the dose of beamlets leaves out."""

    def __call__(self, beams: Sequence[SequencedBeam], *, effort: str = "full") -> FloatArray:
        """Dose in Gy over all fractions, shape (nx, ny, nz); effort as for `WholeDose`."""
        ...


@dataclass(frozen=True, eq=False, kw_only=True)
class ApertureTask:
    """What apertures are refined for.

    Attributes
    ----------
    influence : DoseInfluence
        Of the plan's beamlets, in Gy per MU and fraction.
    terms : sequence of (Structure, ObjectiveTerm)
        The plan's objectives; copied.
    optimized_dose : ndarray, shape (nx, ny, nz)
        What segments are to give, in Gy over all fractions.
    number_of_fractions : int
    full_dose : FullDose, optional
        Of beams with MU as `influence` has them. Default: the dose of `influence`.
    quick : bool
        Whether the full dose is computed before each search, roughly before all but the last; else only before that.
    goals : tuple of DVHGoal
        Those that the optimized dose meets are to be met by the full dose of the segments.
    edges : LeafEdges, optional
        How leaves show in the fluence, as for `ApertureFluence`.
    raster_mm : float
        Leaf positions end as multiples of it.
    minimum_mu, step_mu : float
        Least MU of a segment, and what MU are multiples of, in MU as `influence` has them.
    optimizer : OptimizerSettings, optional
        Constants of the cost.
    """

    influence: DoseInfluence
    terms: Sequence[tuple[Structure, ObjectiveTerm]]
    optimized_dose: FloatArray
    number_of_fractions: int
    full_dose: FullDose | None = None
    quick: bool = True
    goals: tuple[DVHGoal, ...] = ()
    edges: LeafEdges | None = None
    raster_mm: float = 1.0
    minimum_mu: float = 0.0
    step_mu: float = 0.0
    optimizer: OptimizerSettings | None = None


@dataclass(frozen=True, eq=False)
class RefinedApertures:
    """Segments after their refinement.

    Attributes
    ----------
    beams : tuple of SequencedBeam
    dose : ndarray, shape (nx, ny, nz)
        Their full dose.
    goals : GoalTable or None
        What it has of the goals.
    cost_before, cost_after : float
        Of the segments at the start and of these.
    iterations : int
    stopped : bool
        Whether `progress` ended it early.
    """

    beams: tuple[SequencedBeam, ...]
    dose: FloatArray
    goals: GoalTable | None
    cost_before: float
    cost_after: float
    iterations: int
    stopped: bool = False


def refine_apertures(
    beams: Sequence[SequencedBeam],
    task: ApertureTask,
    settings: ApertureSettings | None = None,
    progress: Progress = False,
) -> RefinedApertures:
    """Optimize leaf positions and MU of segments.

    Parameters
    ----------
    beams : sequence of SequencedBeam
        One for each beam of the plan, with the segments to start from.
    task : ApertureTask
    settings : ApertureSettings, optional
    progress : bool or callable
        Counts searches. A callable that returns False ends the refinement with what is found so far.

    Returns
    -------
    RefinedApertures
        Every segment obeys the MLC and the limits of the settings.

    Raises
    ------
    ValueError
        If beams and beamlets do not fit, or no segment has the least MU.
    KeyboardInterrupt
        On Ctrl-C.
    """
    settings = settings or ApertureSettings()
    total = settings.rounds + settings.goal_rounds + 1
    with following(progress, total, "apertures", "round") as report:
        return _Refinement(beams, task, settings, report).run()


class _Refinement:
    """State of a refinement."""

    def __init__(
        self,
        beams: Sequence[SequencedBeam],
        task: ApertureTask,
        settings: ApertureSettings,
        report: Callable[[int], bool],
    ) -> None:
        self._task, self._settings, self._report = task, settings, report
        self._model = ApertureFluence(task.influence.layout, beams, task.edges)
        self._segments = _fewer(self._model, self._model.segments(), settings)
        self._plan = Plan.from_influence(
            task.influence,
            [*_structures(task.terms), *self._own_structures()],
            number_of_fractions=task.number_of_fractions,
        )
        self._more_of_goals: dict[DVHGoal, float] = {}
        self._start_mu = _total_mu(self._segments)
        self._iterations = 0
        self._rounds_done, self._stopped = 0, False

    # -------------------------------------------------------------------------------------------------- the way through

    def run(self) -> RefinedApertures:
        settings, least_mu = self._settings, self._task.minimum_mu
        prescription = self._prescription()
        self._set_intermediate(last=settings.rounds == 1)
        before = prescription.evaluate(self._model.fluence(self._segments))[0]
        for number in range(settings.rounds):
            last = number == settings.rounds - 1
            self._search(prescription, least_mu if last else 0.3 * least_mu)
            if not last:
                self._segments = without_weak(self._segments, least_mu)
                self._segments = close_and_open(
                    self._model, prescription.evaluate, self._segments, self._limits(least_mu)
                )
                self._set_intermediate(last=number == settings.rounds - 2)
            if self._done(number + 1):
                break
        best, of_best = self._finished(prescription), self._segments
        for number in range(settings.goal_rounds):
            if self._stopped or not (self._lost(best) or self._hotter(best)):
                break
            self._ask_for_more(best)
            self._segments = of_best
            self._plan.set_intermediate_dose(best.dose - self._near_dose(of_best))
            prescription = self._prescription()
            self._search(prescription, least_mu)
            found = self._finished(prescription)
            self._done(settings.rounds + number + 1)
            if self._is_better(found, best):
                best, of_best = found, self._segments
        self._report(settings.rounds + settings.goal_rounds + 1)
        return replace(best, cost_before=before, iterations=self._iterations, stopped=self._stopped)

    def _search(
        self, prescription: Prescription, least_mu: float, *, iterations: int | None = None, free: Free | None = None
    ) -> None:
        limits = self._limits(least_mu)
        for _ in range(1 if iterations else 2):  # new boxes halfway
            if self._stopped:
                return
            self._segments, cost, done = with_less_cost(
                self._model,
                prescription.evaluate,
                self._segments,
                limits,
                iterations or -(-self._settings.iterations // 2),
                free,
                lambda _: self._going_on(),
            )
            self._iterations += done
            _log.debug("apertures: cost %.5g after %d iterations", cost, self._iterations)

    def _limits(self, least_mu: float) -> Limits:
        return Limits(
            self._task.raster_mm, self._settings.farthest_mm, least_mu, self._settings.mu_weight / self._start_mu
        )

    def _finished(self, prescription: Prescription) -> RefinedApertures:
        """Put leaves on the raster, make MU whole steps, and judge the full dose."""
        self._drop_weak(prescription)
        self._to_raster(prescription)
        self._segments = [
            replace(each, mu=_in_steps(each.mu, self._task.minimum_mu, self._task.step_mu)) for each in self._segments
        ]
        beams = self._model.beams(self._segments)
        dose = self._full_dose(beams, self._segments, effort="full")
        cost = prescription.evaluate(self._model.fluence(self._segments))[0]
        goals = self._evaluated(dose) if self._task.goals else None
        return RefinedApertures(tuple(beams), dose, goals, cost, cost, self._iterations)

    def _drop_weak(self, prescription: Prescription) -> None:
        """Drop segments below the least MU, the weaker half of them at a time, while the others make up for them."""
        least = self._task.minimum_mu * (1 - 1e-9)
        while True:
            kept = without_weak(self._segments, least)
            if not sum(len(each.mu) for each in kept):
                raise ValueError(f"no segment has the least MU, {self._task.minimum_mu:g} per fraction; lower it")
            if all(len(after.mu) == len(each.mu) for after, each in zip(kept, self._segments, strict=True)):
                return
            self._segments = kept
            self._search(prescription, 0.0, iterations=_WHILE_ROUNDING)

    def _to_raster(self, prescription: Prescription) -> None:
        """Move tips to the raster, those nearest to it first, while the others make up for it."""
        raster = self._task.raster_mm
        for share in _ROUNDED_AT_ONCE:
            rounded = [tips_on_raster(each, raster) for each in self._segments]
            moves = [
                (np.abs(after.left_mm - each.left_mm), np.abs(after.right_mm - each.right_mm))
                for after, each in zip(rounded, self._segments, strict=True)
            ]
            every = np.concatenate(
                [move[each.opened] for pair, each in zip(moves, self._segments, strict=True) for move in pair]
            )
            farthest = float(np.quantile(every, share)) + 1e-9
            free = [(left > farthest, right > farthest) for left, right in moves]
            self._segments = [
                replace(
                    each,
                    left_mm=np.where(left, each.left_mm, after.left_mm),
                    right_mm=np.where(right, each.right_mm, after.right_mm),
                )
                for each, after, (left, right) in zip(self._segments, rounded, free, strict=True)
            ]
            self._search(prescription, self._task.minimum_mu, free=free, iterations=_WHILE_ROUNDING)

    def _done(self, rounds: int) -> bool:
        self._rounds_done = rounds
        return not self._going_on()

    def _going_on(self) -> bool:
        self._stopped = self._stopped or not self._report(self._rounds_done)
        return not self._stopped

    # --------------------------------------------------------------------------------------------------------- the cost

    def _own_structures(self) -> list[Structure]:
        """Voxels that are held to the optimized dose, and those that no hot spot may be in."""
        task = self._task
        grid = task.influence.grid
        self._reference = ReferenceDoseTerm(task.optimized_dose, max(self._settings.reference_weight, 1e-9))
        self._judged = self._reference.voxels(_JUDGED, grid)
        structures = _structures(task.terms)
        outside = outside_targets(structures) if any(not each.is_target for each in structures) else np.zeros((), bool)
        self._hottest = float(task.optimized_dose[outside].max(initial=0.0)) if outside.any() else 0.0
        self._outside = Structure("outside the targets", outside, grid=grid) if self._hottest > 0 else None
        self._hot_spot_limit = self._hottest
        return [each for each in (self._judged, self._outside) if each is not None]

    def _prescription(self) -> Prescription:
        """Collect the plan's objectives, the deviation from the optimized dose, and goals that were missed."""
        chosen = (self._task.optimizer or OptimizerSettings(start_level=0)).single_grid()
        prescription = Prescription(self._plan, replace(chosen, inclusion_threshold=0.0, roughness_weight=0.0))
        for structure, term in self._task.terms:
            own = copy.copy(term)
            own.structure = None
            prescription.add(structure, own)
        prescription.add(self._judged, copy.copy(self._reference))
        if self._outside is not None:
            prescription.add(
                self._outside,
                MaximumDoseTerm(self._hot_spot_limit, weight=_HOT_SPOT_WEIGHT * float(self._outside.share.sum())),
            )
        by_name = {structure.name: structure for structure in _structures(self._task.terms)}
        voxel_cc = voxel_volume_cc(self._task.influence.grid)
        for goal, more in self._more_of_goals.items():
            structure = by_name[goal.structure]
            asked = goal_term(goal, _INSIDE_GOAL + more, _GOAL_WEIGHT, float(structure.share.sum()) * voxel_cc)
            if asked is not None:
                prescription.add(structure, asked)
        return prescription

    # -------------------------------------------------------------------------------------------------------- the doses

    def _near_dose(self, segments: Sequence[BeamSegments]) -> FloatArray:
        """Dose of the segments by the dose influence alone."""
        return self._task.influence.dose(self._model.fluence(segments), self._task.number_of_fractions)

    def _full_dose(
        self, beams: Sequence[SequencedBeam], segments: Sequence[BeamSegments], *, effort: str
    ) -> FloatArray:
        if self._task.full_dose is None:
            return self._near_dose(segments)
        return self._task.full_dose(beams, effort=effort)

    def _set_intermediate(self, *, last: bool) -> None:
        """Compute what the full dose of the present segments has besides; `last` is before the last search."""
        if self._task.full_dose is not None and (last or self._task.quick) and not self._stopped:
            effort = "half" if last else "rough"
            full = self._full_dose(self._model.beams(self._segments), self._segments, effort=effort)
            self._plan.set_intermediate_dose(full - self._near_dose(self._segments))

    # -------------------------------------------------------------------------------------------------------- the goals

    def _evaluated(self, dose: npt.ArrayLike) -> GoalTable:
        task = self._task
        known = {structure.name for structure in _structures(task.terms)}
        goals = [goal for goal in task.goals if goal.structure in known]
        return evaluate(
            dose, _structures(task.terms), goals, grid=task.influence.grid, number_of_fractions=task.number_of_fractions
        )

    def _lost(self, found: RefinedApertures) -> dict[DVHGoal, float]:
        """Goals that the optimized dose meets and the segments miss, and by what share of their value."""
        if found.goals is None:
            return {}
        wanted = self._evaluated(self._task.optimized_dose)
        return {
            result.goal: abs(result.value / max(result.goal.value, 1e-6) - 1)
            for result, before in zip(found.goals, wanted, strict=True)
            if before.met and not result.met
        }

    def _hotter(self, found: RefinedApertures) -> float:
        """By what share the hottest voxel outside the targets is above that of the optimized dose; 0 if by little."""
        if self._outside is None:
            return 0.0
        excess = float(found.dose[self._outside.share > 0].max()) / self._hottest - 1
        return excess if excess > _HOTTER else 0.0

    def _deviation(self, found: RefinedApertures) -> float:
        """Root mean square deviation from the optimized dose, in Gy."""
        in_judged = self._judged.share > 0
        return float(np.sqrt(np.mean((found.dose - self._task.optimized_dose)[in_judged] ** 2)))

    def _is_better(self, found: RefinedApertures, best: RefinedApertures) -> bool:
        """Whether goals are missed by less, or else hot spots are less hot and the dose is hardly farther off."""
        lost, lost_before = (sum(self._lost(each).values()) for each in (found, best))
        if lost != lost_before:
            return lost < lost_before
        less_hot = self._hotter(found) < self._hotter(best)
        return less_hot and self._deviation(found) <= _FARTHER * self._deviation(best)

    def _ask_for_more(self, found: RefinedApertures) -> None:
        for goal, miss in self._lost(found).items():
            self._more_of_goals[goal] = self._more_of_goals.get(goal, 0.0) + _OF_THE_MISS * miss
            _log.info("apertures: %s is missed by %.2f %%, and asked for with more", goal, 100 * miss)
        if excess := self._hotter(found):
            self._hot_spot_limit *= 1 - min(excess, 0.02)
            _log.info("apertures: hot spots are %.2f %% above those of the fluence", 100 * excess)


# ------------------------------------------------------------------------------------------------------------ the parts


def _structures(terms: Iterable[tuple[Structure, ObjectiveTerm]]) -> list[Structure]:
    return list({id(structure): structure for structure, _ in terms}.values())


def _total_mu(segments: Iterable[BeamSegments]) -> float:
    return float(sum(each.mu.sum() for each in segments))


def _in_steps(mu: FloatArray, minimum: float, step: float) -> FloatArray:
    if step <= 0:
        return mu
    least = np.ceil(minimum / step * (1 - 1e-9))
    rounded: FloatArray = np.maximum(np.round(mu / step), least) * step
    return rounded


def _fewer(model: ApertureFluence, segments: list[BeamSegments], settings: ApertureSettings) -> list[BeamSegments]:
    """Drop the segments with the least MU times area that are too many."""
    effect = [
        each.mu * (((each.right_mm - each.left_mm) * each.opened) @ grid.leaf_widths_mm)
        for grid, each in zip(model.grids, segments, strict=True)
    ]
    keep: list[BoolArray] = [_strongest(each, settings.max_segments_per_beam) for each in effect]
    kept = np.concatenate([np.where(which, each, -np.inf) for which, each in zip(keep, effect, strict=True)])
    strongest = _strongest(kept, settings.max_segments) & np.isfinite(kept)
    ends = np.cumsum([len(each) for each in effect])[:-1]
    parts = np.split(strongest, ends)
    return [each.kept(part) for each, part in zip(segments, parts, strict=True)]


def _strongest(effect: FloatArray, most: int | None) -> BoolArray:
    which = np.ones(len(effect), dtype=bool)
    if most is not None and len(effect) > most:
        which[np.argsort(-effect, kind="stable")[most:]] = False
    return which
