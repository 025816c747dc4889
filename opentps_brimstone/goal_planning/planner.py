"""Plans from goals, in a few rounds that start from a prescription derived from goals and geometry.

Every round optimizes the prescription from the best plan so far. The weight on the mean doses of organs and body is
raised until a target goal fails, and then narrowed down to the highest for which none does; organs that miss goals get
higher weights. The current mean dose of every structure costs the same, so that all fall by similar shares and none at
the expense of another; a guard far from the targets makes all beams contribute dose. A round's plan is normalized to
the goals for the lowest doses of the targets, and mixed with the best plan so far: doses are linear in the beamlet
weights, so a step that went too far still helps. The best plan is the one that violates the targets' goals least, then
those of the organs, then the one with the lowest mean doses outside the targets.
"""

from __future__ import annotations

import itertools
import logging
import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq

from opentps_brimstone._typing import BoolArray, FloatArray
from opentps_brimstone._util.answers import asks_to_stop
from opentps_brimstone._util.tables import html_table
from opentps_brimstone.evaluation import (
    DVHGoal,
    GoalResult,
    GoalTable,
    PrescribedDose,
    dose_at_volume,
    evaluate,
    mean_dose,
    voxel_volume_cc,
)
from opentps_brimstone.evaluation.extremes import outside_targets
from opentps_brimstone.goal_planning.asks import FarAsk, OrganAsk, TargetAsk
from opentps_brimstone.goal_planning.from_goals import asks_from_goals, checked_goals, dose_quantiles, far_parts
from opentps_brimstone.goal_planning.given_dose import (
    GivenDose,
    given_dose,
    planned_quantity,
    quantities_from_matrices,
)
from opentps_brimstone.goal_planning.settings import GoalPlannerSettings
from opentps_brimstone.model.influence import DoseInfluence
from opentps_brimstone.model.plan import Plan
from opentps_brimstone.optimization.optimizer import PlanOptimizer
from opentps_brimstone.optimization.result import convergence_row
from opentps_brimstone.optimization.settings import OptimizerSettings
from opentps_brimstone.optimization.whole_dose import largest_shift

if TYPE_CHECKING:
    from opentps_brimstone.model.structure import Structure
    from opentps_brimstone.optimization.callbacks import Callback
    from opentps_brimstone.optimization.result import OptimizationResult
    from opentps_brimstone.optimization.terms import ObjectiveTerm

__all__ = ["GoalPlanner", "GoalPlanningResult", "PlanningRound"]

_log = logging.getLogger(__name__)

# Shares of a round's plan to try in its mixture with the best plan so far.
_MIXTURES = (1.0, 0.85, 0.7, 0.55, 0.4, 0.25, 0.1)
# Volume in percent that stands for the highest dose of a target without a goal for it.
_NEAR_MAXIMUM = 2.0
# Highest factor of normalization.
_HIGHEST_FACTOR = 1.1
# Exponents of the step, where the pressure changes direction and where it does not.
_NARROWING, _WIDENING = 0.5, 1.5
# Lowest pressure, relative to the first.
_LEAST_PRESSURE = 0.1
# Factor on the guards of a target that misses its goals even at the lowest pressure.
_GUARD_STEP = 2.0
# Factors on the priority of an organ that misses its goals: in a round, and at most.
_PRIORITY_STEP, _HIGHEST_PRIORITY = 2.0, 64.0
# Rounds after which scatter from far away is brought up to date, and how well: fluences change little after the last.
_EFFORT_AFTER = {1: "rough", 4: "half"}
# Rounds that may follow the last one, if goals are missed once scatter from far away is computed in full.
_ROUNDS_AFTER = 2
# Rounds without a gain that end the planning, if all goals are met and if not.
_PATIENCE, _PATIENCE_WITH_GOALS_MISSED = 3, 4


@dataclass(frozen=True)
class PlanningRound:
    """Outcome of a round.

    Attributes
    ----------
    number : int
        From 1.
    share : float
        Share of the round's own plan in the best plan after it; 0 if it brought no improvement.
    goals : GoalTable
        Of the best plan after it.
    mean_doses : dict of str to float
        Of the structures that are not targets, in Gy; if all is planned in another quantity, of that.
    hot_spot_gy : float
        Highest dose outside the targets, alike.
    """

    number: int
    share: float
    goals: GoalTable
    mean_doses: dict[str, float]
    hot_spot_gy: float
    iterations: int
    time_s: float

    def __str__(self) -> str:
        return (
            f"round {self.number}: {self.goals.summary}, mean doses (Gy): {self._means}, "
            f"{self.iterations} iterations in {self.time_s:.1f} s"
        )

    @property
    def _means(self) -> str:
        return ", ".join(f"{name} {dose:.2f}" for name, dose in self.mean_doses.items())

    def _html_row(self) -> tuple[str, ...]:
        return (
            str(self.number),
            self.goals.summary,
            self._means,
            f"{self.hot_spot_gy:.2f}",
            str(self.iterations),
            f"{self.time_s:.1f}",
        )


@dataclass(frozen=True)
class GoalPlanningResult:
    """The best plan found, and how the rounds went.

    Attributes
    ----------
    goals : GoalTable
        Of the best plan.
    message : str
        Why it ended.
    notes : tuple of str
        Those of the last round's `OptimizationResult`.
    beamlet_weights : ndarray, shape (n_beamlets,)
        MU per fraction.
    dose : ndarray, shape (nx, ny, nz)
        Gy over all fractions.
    rounds : tuple of PlanningRound
    objectives : tuple of (str, ObjectiveTerm)
        The last round's objectives, with the names of their structures.
    convergence_history : dict of str to list
        As in `OptimizationResult`, round after round.
    time_s : float
        Wall time.
    last_update_gy : float or None
        With full scatter, by how much the last update of scatter from far away, of the final weights, changed D98, D95,
        D50, D2 or mean dose of a structure: what the planner knew differed from `dose` by that.

    Examples
    --------
    >>> import opentps_brimstone as pb
    >>> from opentps_brimstone.model.example import three_voxel_plan
    >>> result = pb.GoalPlanner(three_voxel_plan(), ["PTV D95 >= 9 Gy", "Cord Dmax <= 5 Gy"]).optimize()
    >>> result.success, result.beamlet_weights.shape, result.dose.shape
    (True, (2,), (3, 1, 1))
    >>> len(result.rounds) > 0
    True
    """

    goals: GoalTable
    message: str
    beamlet_weights: FloatArray = field(repr=False)
    dose: FloatArray = field(repr=False)
    rounds: tuple[PlanningRound, ...] = field(repr=False)
    objectives: tuple[tuple[str, ObjectiveTerm], ...] = field(repr=False)
    convergence_history: dict[str, list[Any]] = field(repr=False)
    time_s: float = 0.0
    notes: tuple[str, ...] = ()
    last_update_gy: float | None = None

    @property
    def success(self) -> bool:
        """Whether all goals are met."""
        return self.goals.all_met

    @property
    def iterations(self) -> int:
        """Over all rounds."""
        return sum(each.iterations for each in self.rounds)

    def _repr_html_(self) -> str:
        columns = ("round", "goals", "mean doses (Gy)", "hot spot (Gy)", "iterations", "time (s)")
        rounds = html_table(columns, [each._html_row() for each in self.rounds], caption=self.message)
        summary = [
            ("iterations", str(self.iterations)),
            ("time", f"{self.time_s:.1f} s"),
            ("MU per fraction", f"{self.beamlet_weights.sum():.1f} in {len(self.beamlet_weights)} beamlets"),
            convergence_row(self.convergence_history),
        ]
        return "<br>".join((self.goals._repr_html_(), html_table(("Goal planning", ""), summary), rounds))


class _Rank(NamedTuple):
    """How far a plan is from its goals, in order of importance; lower is better."""

    missed_by_targets: float
    """Sum of the relative distances to the target goals that are missed."""
    inside_margin_of_targets: float
    """The worst relative distance to the margin of a target goal or of the hot spot limit, beyond the spare."""
    inside_margin_of_organs: float
    """Sum of the relative distances to the margins of the organs' goals, beyond the spare."""
    mean_dose: float
    """Weighted mean of the logarithms of the mean doses outside the targets."""

    @property
    def targets_fail(self) -> bool:
        return bool(self.missed_by_targets or self.inside_margin_of_targets)

    @property
    def goals_fail(self) -> bool:
        return bool(self.targets_fail or self.inside_margin_of_organs)


@dataclass(frozen=True)
class _Candidate:
    """A normalized plan, and how good it is."""

    weights: FloatArray
    given: GivenDose
    goals: GoalTable
    violations: tuple[float, ...]
    hot_spot_gy: float
    mean_doses: dict[str, float]
    rank: _Rank

    @property
    def dose(self) -> FloatArray:
        """Physical dose."""
        return self.given.dose


class GoalPlanner:
    """Finds beamlet weights that meet goals, with mean doses as low as possible.

    Parameters
    ----------
    plan : Plan
        Its `beamlet_weights` are set by `optimize`.
    goals : iterable of DVHGoal or str
        For its structures. Every target needs one for its lowest dose. If these are of a quantity that follows from
        further matrices of the plan, such as ``PTV RBE D95 >= 50``, all is planned and compared in that quantity.
    settings : GoalPlannerSettings, optional
    optimizer_settings : OptimizerSettings, optional
        Constants of each optimization.
    prescribed_dose : float or mapping of str to float, optional
        For goals in percent of it, as `evaluate` takes it.

    Raises
    ------
    ValueError
        As for `prescription_from_goals`.

    Examples
    --------
    >>> import opentps_brimstone as pb
    >>> from opentps_brimstone.model.example import three_voxel_plan
    >>> planner = pb.GoalPlanner(three_voxel_plan(), ["PTV D95 >= 9 Gy", "Cord Dmax <= 5 Gy"])
    >>> planner.optimize().goals.all_met
    True
    """

    def __init__(
        self,
        plan: Plan,
        goals: Iterable[DVHGoal | str],
        settings: GoalPlannerSettings | None = None,
        optimizer_settings: OptimizerSettings | None = None,
        *,
        prescribed_dose: PrescribedDose | None = None,
    ) -> None:
        self.plan = plan
        self.goals = checked_goals(goals, plan.structures, prescribed_dose)
        self.settings = settings or GoalPlannerSettings()
        self.optimizer_settings = optimizer_settings or OptimizerSettings()
        from_matrices = quantities_from_matrices(plan, self.goals)
        self._planned = planned_quantity(plan, self.goals)
        targets = [structure for structure in plan.structures if structure.is_target]
        if targets:
            plan.prepare(targets)
        self._grid = plan.dose_influence.grid
        self._pressure, self._step, self._rising = self.settings.mean_weight, self.settings.step, True
        self._targets, self._organs = asks_from_goals(
            plan.structures,
            self.goals,
            self._grid,
            self.settings,
            plan.number_of_fractions,
            self._planned,
            from_matrices,
        )
        self._last_update_gy: float | None = None
        self._far = far_parts(self._targets, self._organs, self._grid, self.settings)

    @property
    def prescription(self) -> list[tuple[str, ObjectiveTerm]]:
        """The current objectives, with the names of their structures."""
        return [(ask.structure.name, term) for ask in self._asks for term in ask.terms()]

    @property
    def _asks(self) -> list[TargetAsk | OrganAsk | FarAsk]:
        return [*self._targets, *self._organs, *self._far]

    def optimize(
        self,
        initial_weights: npt.ArrayLike | None = None,
        callback: Callback | None = None,
        on_round: Callable[[PlanningRound], bool | None] = lambda _: None,
        progress: bool = False,
    ) -> GoalPlanningResult:
        """Find the best plan, and set its weights.

        Parameters
        ----------
        initial_weights : array_like, shape (n_beamlets,), optional
            MU per fraction to start the first round from.
        callback, progress
            As for `PlanOptimizer.optimize`; a callback that stops an optimization ends the planning.
        on_round : callable
            Called after each round; ends the planning by returning False.

        Returns
        -------
        GoalPlanningResult

        Raises
        ------
        ValueError
            If a structure gets no dose, or the initial weights are wrong.
        KeyboardInterrupt
            On Ctrl-C.
        """
        started = time.perf_counter()
        best: _Candidate | None = None
        rounds: list[PlanningRound] = []
        history: dict[str, list[Any]] = {}
        asked = self.prescription
        without_gain = rounds_after = 0
        for number in itertools.count(1):
            round_started = time.perf_counter()
            asked = self.prescription
            result = self._optimized(best, initial_weights, callback, progress)
            found = self._judged(result.beamlet_weights, self._given(result.beamlet_weights, np.asarray(result.dose)))
            before, (share, best) = best, self._mixed(best, found)
            if self._has_whole_dose and number in _EFFORT_AFTER:
                best = self._brought_up_to_date(best, _EFFORT_AFTER[number])
            _append(history, result.convergence_history)
            elapsed = time.perf_counter() - round_started
            rounds.append(
                PlanningRound(number, share, best.goals, best.mean_doses, best.hot_spot_gy, result.iterations, elapsed)
            )
            if asks_to_stop(on_round(rounds[-1]), "on_round") or result.message.startswith("stopped"):
                message, best = f"stopped in round {number}", self._with_whole_dose(best)
                break
            without_gain = 0 if before is None or self._gains(before, best) else without_gain + 1
            patience = _PATIENCE_WITH_GOALS_MISSED if best.rank.goals_fail else _PATIENCE
            if rounds_after or without_gain >= patience or number >= self.settings.rounds:
                message = f"no gain in {without_gain} rounds, ended after {number}"
                if without_gain < patience:
                    message = f"ended after {number} rounds"
                known, best = best, self._with_whole_dose(best)
                if rounds_after == _ROUNDS_AFTER or best.goals.n_met >= known.goals.n_met:
                    break
                rounds_after += 1
                found = best
            self._adapt(best, found)
        assert best is not None
        self.plan.beamlet_weights = best.weights
        return GoalPlanningResult(
            goals=best.goals,
            message=message,
            notes=result.notes,
            beamlet_weights=best.weights,
            dose=np.asarray(self.plan.update_histograms()),
            rounds=tuple(rounds),
            objectives=tuple(asked),
            convergence_history=history,
            time_s=time.perf_counter() - started,
            last_update_gy=self._last_update_gy,
        )

    def __repr__(self) -> str:
        return f"GoalPlanner({self.plan!r}, {[str(goal) for goal in self.goals]!r}, {self.settings!r})"

    # ------------------------------------------------------------------------------------------------ one optimization

    def _optimized(
        self,
        best: _Candidate | None,
        initial_weights: npt.ArrayLike | None,
        callback: Callback | None,
        progress: bool,
    ) -> OptimizationResult:
        roughness_weight = self.optimizer_settings.roughness_weight + self.settings.roughness_weight
        settings = replace(self.optimizer_settings, roughness_weight=roughness_weight)
        if best is None:
            levels = min(self.settings.first_levels, len(settings.level_sigma))
            settings = replace(settings, number_of_levels=levels)
        else:
            level = min(self.settings.later_level, settings.number_of_levels - 1)
            settings = replace(settings, start_level=level)
        self._set_rest(best)
        self._with_far_parts.set_intermediate_dose(self.plan.intermediate_dose)
        optimizer = PlanOptimizer(self._with_far_parts, settings)
        for ask in self._asks:
            for term in ask.terms():
                optimizer.add_objective(ask.structure, term)
        tolerance = self.settings.tolerance
        if best is not None:
            return optimizer.optimize_from(best.weights, callback=callback, tolerance=tolerance, progress=progress)
        return optimizer.optimize(initial_weights, callback=callback, tolerance=tolerance, progress=progress)

    @cached_property
    def _with_far_parts(self) -> Plan:
        """The plan, with the far parts of its structures as structures of their own."""
        structures = [*self.plan.structures, *(ask.structure for ask in self._far)]
        given = self.plan.dose_influence
        # Between rounds the planner itself brings up to date what the matrix leaves out.
        influence = DoseInfluence(given.matrix, given.grid, given.layout) if self._has_whole_dose else given
        plan = Plan.from_influence(influence, structures, number_of_fractions=self.plan.number_of_fractions)
        for name in ("alpha_dose", "sqrt_beta_dose", "let_dose", "alphax", "betax"):
            setattr(plan, name, getattr(self.plan, name))
        return plan

    # --------------------------------------------------------------------------------------------- what is left out

    @property
    def _has_whole_dose(self) -> bool:
        """Whether the matrix leaves out a part of the dose that can be computed."""
        return self.plan.dose_influence.whole_dose is not None

    def _set_rest(self, of: _Candidate | None) -> None:
        """Set what the matrix leaves out of the dose that a round starts from; unknown before the first."""
        if not self._has_whole_dose:
            return
        if of is None:
            self.plan.set_intermediate_dose(None)
        else:
            of_matrix = self.plan.dose_influence.dose(of.weights, self.plan.number_of_fractions)
            self.plan.set_intermediate_dose(of.dose - of_matrix)

    def _brought_up_to_date(self, best: _Candidate, effort: str) -> _Candidate:
        """Judge a plan anew by its whole dose."""
        dose = self.plan.update_intermediate_dose(best.weights, effort=effort)
        return self._judged(best.weights, self._given(best.weights, dose))

    def _with_whole_dose(self, best: _Candidate) -> _Candidate:
        """Judge a plan by its whole dose, which keeps the targets' goals."""
        if not self._has_whole_dose:
            return best
        whole = self.plan.update_intermediate_dose(best.weights)
        self._last_update_gy = largest_shift(best.dose, whole, self.plan.structures)
        _log.info("full scatter changes DVHs by at most %.2f Gy", self._last_update_gy)
        final = self._judged(best.weights, self._given(best.weights, whole))
        self._set_rest(final)
        return final

    # ------------------------------------------------------------------------------------------------------- judgment

    @cached_property
    def _outside(self) -> BoolArray:
        """Voxels of structures that are not even partly target."""
        return outside_targets(self.plan.structures)

    def _given(self, weights: FloatArray, dose: FloatArray) -> GivenDose:
        return given_dose(self.plan, weights, dose, self.goals, self._planned)

    def _judged(self, weights: FloatArray, given: GivenDose) -> _Candidate:
        """Normalize a plan to the targets' lower goals, and rank it."""
        factor = self._normalization(given)
        given = self._scaled(given, factor)
        goals = self._evaluated(given)
        violations = tuple(self._violation(result.goal, result.value) for result in goals)
        dose = given.planned
        hot_spot = float(dose[self._outside].max(initial=0.0))
        means = {organ.structure.name: mean_dose(*organ.structure.sample(dose)) for organ in self._organs}
        overdoses = [highest / limit - 1 for highest, limit in self._highest_of_open_targets(dose)]
        rank = self._rank(goals, violations, overdoses, hot_spot, means)
        return _Candidate(weights * factor, given, goals, violations, hot_spot, means, rank)

    def _scaled(self, given: GivenDose, factor: float) -> GivenDose:
        """Give what weights times a factor do; an intermediate dose that was given stays as it is."""
        more = self.plan.intermediate_dose
        if more is None or self._has_whole_dose:
            return given.with_dose(given.dose * factor, factor)
        scaled = np.maximum((given.dose - np.asarray(more)) * factor + np.asarray(more), 0.0)
        return given.with_dose(scaled, factor)

    @cached_property
    def _open_targets(self) -> list[tuple[float, FloatArray]]:
        """Limits of targets without a goal for their highest dose, and their shares outside targets of a higher one."""
        found = []
        for target in self._targets:
            if target.limit_gy is not None:
                higher = [each for each in self._targets if each.prescription_gy > target.prescription_gy]
                share = np.where(
                    np.any([each.structure.share > 0 for each in higher], axis=0), 0.0, target.structure.share
                )
                if share.any():
                    found.append((target.limit_gy, share))
        return found

    def _highest_of_open_targets(self, dose: FloatArray) -> list[tuple[float, float]]:
        """Their D2, and its limit, in Gy."""
        return [(dose_at_volume(dose, share, _NEAR_MAXIMUM), limit) for limit, share in self._open_targets]

    def _rank(
        self,
        goals: GoalTable,
        violations: Sequence[float],
        overdoses: Sequence[float],
        hot_spot_gy: float,
        means: dict[str, float],
    ) -> _Rank:
        on_target = [self._is_of_target(goal) for goal in self.goals]
        by_targets = [violation for violation, target in zip(violations, on_target, strict=True) if target]
        by_organs = sum(violation for violation, target in zip(violations, on_target, strict=True) if not target)
        missed = sum(
            _distance(result) for result, target in zip(goals, on_target, strict=True) if target and not result.met
        )
        mean = sum(
            self._importance(organ) * math.log(max(means[organ.structure.name], 1e-6)) for organ in self._organs
        ) / max(sum(map(self._importance, self._organs)), 1e-9)
        worst = max(0.0, *by_targets, *overdoses, hot_spot_gy / self._hot_spot_limit - 1)
        spare = self.settings.margin / 2  # half of the margin may be used up
        return _Rank(missed, max(0.0, worst - spare), max(0.0, by_organs - spare), mean)

    def _evaluated(self, given: GivenDose) -> GoalTable:
        return evaluate(
            given.dose,
            self.plan.structures,
            self.goals,
            grid=self._grid,
            number_of_fractions=self.plan.number_of_fractions,
            quantities=given.quantities,
        )

    def _is_of_target(self, goal: DVHGoal) -> bool:
        return any(target.structure.name == goal.structure for target in self._targets)

    @property
    def _hot_spot_limit(self) -> float:
        highest = max(target.prescription_gy for target in self._targets)
        return highest * self.settings.hot_spot_share * (1 - self.settings.margin)

    def _normalization(self, given: GivenDose) -> float:
        """Factor that scales the targets' lowest doses to their goals, with the margin.

        If the targets' highest doses then miss theirs, both sides miss the margin alike, but all lower goals keep at
        least half of it.
        """
        margin = self.settings.margin
        lowest: list[float] = []
        highest = [math.inf]
        for result in self._evaluated(given):
            goal = result.goal
            scales = goal.metric.unit == "Gy" and goal.quantity != "let"
            if scales and self._is_of_target(goal) and result.value > 0:
                factor = self._factor_to_meet(result, given)
                (lowest if result.goal.is_lower_bound else highest).append(factor)
        near_maxima = self._highest_of_open_targets(given.planned)
        highest += [limit / near_maximum for near_maximum, limit in near_maxima if near_maximum]
        raised = max(lowest, default=1.0) * (1 + margin)
        lowered = min(highest) * (1 - margin)
        least = raised * (1 + margin / 2) / (1 + margin)
        factor = raised if raised <= lowered else max(math.sqrt(raised * lowered), least)
        return min(factor, _HIGHEST_FACTOR)

    def _factor_to_meet(self, result: GoalResult, given: GivenDose) -> float:
        """Factor of the weights that brings a metric in Gy to its goal; only beamlets are in proportion to it."""
        goal = result.goal
        factor = goal.value / result.value
        if goal.quantity == "physical_dose" and (self._has_whole_dose or self.plan.intermediate_dose is None):
            return factor

        def too_much(trial: float) -> float:
            structure, fractions = self.plan.structures[goal.structure], self.plan.number_of_fractions
            scaled, voxel_cc = self._scaled(given, trial), voxel_volume_cc(self._grid)
            return goal.value_of(scaled.dose, structure, voxel_cc, fractions, scaled.quantities) - goal.value

        low, high = min(1.0, factor) / 2, max(1.0, factor) * 2
        if too_much(low) >= 0 or too_much(high) <= 0:  # met, or missed, by what was given before
            return factor
        return float(brentq(too_much, low, high, xtol=1e-6))

    def _violation(self, goal: DVHGoal, value: float) -> float:
        """Relative distance of a value from a goal with its margin; 0 if it meets both."""
        if math.isnan(value):
            return 1.0
        margin, scale = self.settings.margin, max(goal.value, 1e-6)
        if goal.is_lower_bound:
            return max(0.0, (scale * (1 + margin) - value) / scale - 1e-9)
        return max(0.0, (value - scale * (1 - margin)) / scale - 1e-9)

    def _mixed(self, best: _Candidate | None, found: _Candidate) -> tuple[float, _Candidate]:
        """Best mixture of a round's plan and the best so far, and the former's share in it."""
        if best is None:
            return 1.0, found
        share, chosen = 0.0, best
        for trial in _MIXTURES:
            weights = trial * found.weights + (1 - trial) * best.weights
            mixture = found if trial == 1 else self._judged(weights, found.given.mixed(best.given, trial))
            if mixture.rank < chosen.rank:
                share, chosen = trial, mixture
        return share, chosen

    def _gains(self, before: _Candidate, after: _Candidate) -> bool:
        if before.rank.goals_fail:
            return after.rank < before.rank
        return before.rank.mean_dose - after.rank.mean_dose > self.settings.least_gain

    # ------------------------------------------------------------------------------------------------ the next request

    def _adapt(self, best: _Candidate, found: _Candidate) -> None:
        """Change the objectives according to the last round."""
        too_far = found.rank.targets_fail
        if self._rising is too_far:  # it turns
            self._step **= _NARROWING
        else:
            self._step = min(self._step**_WIDENING, self.settings.step)
        self._rising = not too_far
        self._pressure *= self._step if self._rising else 1 / self._step
        least = _LEAST_PRESSURE * self.settings.mean_weight
        relieved = self._pressure <= least
        self._pressure = max(self._pressure, least)
        for target in self._targets:
            target.lower_by(max(0.0, self._missed(target.structure, best) - self.settings.margin / 2))
            if relieved and best.rank.inside_margin_of_targets > 0 and self._missed(target.structure, best) > 0:
                target.tighten(_GUARD_STEP)
        for organ in self._organs:
            behind = self._missed(organ.structure, best) > self.settings.margin / 2
            change = _PRIORITY_STEP if behind else 1 / _PRIORITY_STEP
            organ.priority = min(max(organ.priority * change, 1.0), _HIGHEST_PRIORITY)
        self._share_out(best)

    def _share_out(self, best: _Candidate) -> None:
        """Distribute the pressure over the structures; what the targets tolerate depends on the sum."""
        shares = [self._importance(organ) * organ.priority for organ in self._organs]
        pressure = self._pressure * sum(map(self._importance, self._organs)) / max(sum(shares), 1e-9)
        for organ, share in zip(self._organs, shares, strict=True):
            organ.press(pressure * share, best.given.planned)
            organ.weight = organ.priority * (
                self.settings.organ_weight if organ.has_goals else self.settings.rest_weight
            )
            organ.ask_for(self.settings.pull * dose_quantiles(best.given.planned, organ.structure.share))

    def _importance(self, organ: OrganAsk) -> float:
        return 1.0 if organ.has_goals else self.settings.rest_share

    def _missed(self, structure: Structure, plan: _Candidate) -> float:
        """Sum of a structure's violations of goals with their margins."""
        violations = zip(self.goals, plan.violations, strict=True)
        return sum(violation for goal, violation in violations if goal.structure == structure.name)


def _distance(result: GoalResult) -> float:
    """Relative distance of a value from its goal; 1 where there is no value."""
    return 1.0 if math.isnan(result.value) else abs(result.value / max(result.goal.value, 1e-6) - 1)


def _append(history: dict[str, list[Any]], more: dict[str, list[Any]]) -> None:
    """Append an optimization to a history, with continuous iterations and times."""
    for name, values in more.items():
        so_far = history.setdefault(name, [])
        last = so_far[-1] if so_far and name in ("iteration", "time_s") else 0
        so_far += [value + last for value in values] if name in ("iteration", "time_s") else values
