"""One run of the core: converts weights and doses between it and the plan, and calls the callbacks."""

from __future__ import annotations

import hashlib
import time
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from opentps_brimstone import _core
from opentps_brimstone._typing import AnyArray, FloatArray
from opentps_brimstone._util.answers import asks_to_stop
from opentps_brimstone._util.content import array_digest
from opentps_brimstone._util.lazy_array import LazyArray
from opentps_brimstone.model.dose import DoseArray
from opentps_brimstone.optimization.biology import channel_of, matrices_for
from opentps_brimstone.optimization.callbacks import OptimizationCallback, ProgressBar
from opentps_brimstone.optimization.checkpoint import OptimizationState
from opentps_brimstone.optimization.core_plan import AssembledPlan
from opentps_brimstone.optimization.core_settings import level_settings
from opentps_brimstone.optimization.result import OptimizationResult
from opentps_brimstone.optimization.term_quantities import map_digest, mapped_terms

if TYPE_CHECKING:
    from opentps_brimstone.model.plan import Plan
    from opentps_brimstone.optimization.prescription import Prescription
    from opentps_brimstone.optimization.settings import OptimizerSettings
    from opentps_brimstone.optimization.terms import ObjectiveTerm

__all__ = ["OptimizationRun", "fingerprint"]

_HISTORY_ENTRIES = ("iteration", "level", "cost", "gradient_norm", "time_s")
# Prefixes of a checkpoint's arrays.
_CORE = "core_"
_HISTORY = "history_"


@dataclass
class Course:
    """What the runs of one optimization have in common.

    Attributes
    ----------
    settings : OptimizerSettings
        As asked for; a run may have some of their levels.
    stage : int
        Number of the run, where there is more than one.
    history : dict
        Lists "iteration", "level", "cost", "gradient_norm" and "time_s".
    beams : tuple of int or None
        Those that are used; None: all.
    levels : list
        Results of the levels that have ended.
    assembled : AssembledPlan or None
        That of the last run.
    """

    settings: OptimizerSettings
    watch: OptimizationCallback | None
    show_progress: bool
    beams: tuple[int, ...] | None = None
    stage: int = 0
    first_stage: int = 0
    history: dict[str, list[Any]] = field(default_factory=lambda: {name: [] for name in _HISTORY_ENTRIES})
    levels: list[_core.LevelResult] = field(default_factory=list)
    time_s: float = 0.0
    preparation_s: float = 0.0
    assembled: AssembledPlan | None = None
    last_update_gy: float | None = None


class OptimizationRun:
    """One run of the core.

    Parameters
    ----------
    assembled : AssembledPlan
        Plan and prescription for the core.
    start : ndarray, shape (n_beamlets,), or None
        MU over all fractions, as they were given.
    """

    def __init__(
        self,
        plan: Plan,
        prescription: Prescription,
        assembled: AssembledPlan,
        settings: OptimizerSettings,
        start: FloatArray | None,
        course: Course,
    ) -> None:
        self._plan = plan
        self._prescription = prescription
        self._assembled = assembled
        self._settings = settings
        self._given_start = start
        self._course = course
        self._level_offset = course.settings.number_of_levels - settings.number_of_levels
        self._last: tuple[FloatArray, int] | None = None
        self._fixed = np.zeros(plan.dose_influence.layout.n_beamlets) if assembled.start is None else assembled.start
        if assembled.start is None:
            self._start = np.full(len(assembled.beamlets), assembled.uniform_weight)
        else:
            self._start = assembled.start[assembled.beamlets]
        limit = assembled.highest_weight(settings.uniform_share)
        first = settings.number_of_levels - 1 if settings.start_level is None else settings.start_level
        coarsest_grid = assembled.core.n_grids - 1
        self._levels = [
            level_settings(
                settings,
                level,
                min(settings.grid_of_level[level], coarsest_grid),
                assembled.reference_dose,
                limit,
            )
            for level in range(first + 1)
        ]

    def optimize(self, *, resumed: Mapping[str, AnyArray] | None = None) -> _core.MultilevelResult:
        """Run it, from the arrays of a checkpoint if there are any; the result's weights are MU over all fractions."""
        core_arrays = None
        history = self._course.history
        if resumed is not None:
            core_arrays = {name[len(_CORE) :]: array for name, array in resumed.items() if name.startswith(_CORE)}
            for name, values in history.items():
                values.extend(resumed[_HISTORY + name].tolist())
        earlier_s = float(history["time_s"][-1]) if history["time_s"] else 0.0
        bar = ProgressBar(show=self._course.show_progress)
        started = time.perf_counter() - earlier_s

        def on_iteration(progress: _core.Progress) -> bool:
            number, level = len(history["iteration"]) + 1, progress.level + self._level_offset
            entry = (number, level, progress.cost, progress.gradient_norm, time.perf_counter() - started)
            for values, value in zip(history.values(), entry, strict=True):
                values.append(value)
            bar.update(level, progress.cost)
            self._last = progress.weights(), progress.grid
            return self._course.watch is None or self._tell(self._course.watch, progress)

        try:
            return _core.optimize(
                self._assembled.core,
                self._levels,
                _core.LineSearchMethod(self._settings.line_search),
                self._start,
                on_iteration,
                core_arrays,
            )
        finally:
            bar.close()

    def _tell(self, watch: OptimizationCallback, progress: _core.Progress) -> bool:
        assert self._last is not None
        weights, grid = self._last
        lazy_weights = LazyArray(lambda: self._finest_weights(weights, grid))
        lazy_dose = LazyArray(lambda: self._full_dose(grid, progress.dose()))
        answer = watch.on_iteration(
            iteration=self._course.history["iteration"][-1],
            level=self._course.history["level"][-1],
            cost=progress.cost,
            gradient_norm=progress.gradient_norm,
            beamlet_weights=cast(FloatArray, lazy_weights),
            dose=cast(FloatArray, lazy_dose),
        )
        # The core and its dose are gone soon: if a callback has kept an array, it must be filled now.
        kept = weakref.ref(lazy_weights), weakref.ref(lazy_dose)
        del lazy_weights, lazy_dose
        for reference in kept:
            if (still_there := reference()) is not None:
                still_there.materialize()
        watch.on_state(OptimizationState(self._course.history["iteration"][-1], lambda: self._checkpoint(progress)))
        return not asks_to_stop(answer)

    @cached_property
    def _fingerprint(self) -> str:
        return fingerprint(self._plan, self._prescription.objectives, self._course.settings)

    def _checkpoint(self, progress: _core.Progress) -> dict[str, AnyArray]:
        arrays: dict[str, AnyArray] = {"fingerprint": np.array(self._fingerprint)}
        if self._plan.dose_influence.whole_dose is not None:
            arrays["stage"] = np.array(self._course.stage)
            if self._plan.intermediate_dose is not None:
                arrays["intermediate"] = np.asarray(self._plan.intermediate_dose)
        if self._given_start is not None:
            arrays["start"] = self._given_start
        arrays.update({_CORE + name: array for name, array in progress.checkpoint().items()})
        arrays.update({_HISTORY + name: np.array(values) for name, values in self._course.history.items()})
        return arrays

    def result_so_far(self, error: BaseException) -> OptimizationResult | None:
        """Return the result of the last iteration before an exception; None if there was no iteration."""
        if self._last is None:
            return None
        weights, history = self._finest_weights(*self._last), self._course.history
        return OptimizationResult(
            success=False,
            message=f"ended by {type(error).__name__} after {len(history['iteration'])} iterations",
            final_cost=float(history["cost"][-1]),
            iterations=len(history["iteration"]),
            beamlet_weights=weights,
            dose=DoseArray(self._plan.dose_of(weights), self._plan.grid),
            convergence_history=history,
        )

    def all_weights(self, weights: FloatArray) -> FloatArray:
        """MU per fraction of all beamlets, from MU over all fractions of those that are optimized."""
        every: FloatArray = self._fixed.copy()
        every[self._assembled.beamlets] = weights
        return every / self._plan.number_of_fractions

    def _finest_weights(self, weights: FloatArray, grid: int) -> FloatArray:
        return self.all_weights(self._assembled.core.transfer(weights, grid, 0))

    def _full_dose(self, grid: int, dose: FloatArray) -> FloatArray:
        of_interest = self._assembled.of_interest
        full = np.zeros(len(of_interest))
        # Assignment through a mask takes half the time of one through indices.
        full[of_interest] = self._assembled.to_voxels_of_interest(grid, dose)
        return full.reshape(self._plan.dose_influence.grid.shape)


def fingerprint(plan: Plan, objectives: Sequence[ObjectiveTerm], settings: OptimizerSettings) -> str:
    """Identify an optimization by all of its contents: a checkpoint can be resumed only in the one it was written for.

    The number of threads, which does not change results, and the number of iterations are ignored.
    """
    maps = [None if each is None else map_digest(each) for each in mapped_terms(objectives, plan)]
    influence = plan.dose_influence
    matrix, layout = influence.matrix, influence.layout
    arrays = [matrix.indptr.astype(np.int64), matrix.indices, matrix.data, *vars(layout).values()]
    further = matrices_for(channel_of(term, plan) for term in objectives)
    for more in (getattr(plan, name) for name in further):
        arrays += [more.indptr.astype(np.int64), more.indices, more.data]
    if further:
        arrays += [np.asarray(plan.alphax, dtype=np.float64), np.asarray(plan.betax, dtype=np.float64)]
    scenarios = plan.scenarios if any(term.robustness is not None for term in objectives) else ()
    structures = {term.structure.name: term.structure for term in objectives if term.structure is not None}
    parts: list[object] = [
        (matrix.shape, plan.number_of_fractions, [array_digest(array) for array in arrays]),
        influence.grid,
        [(each.name, each.is_target, array_digest(each.share)) for each in structures.values()],
        [
            (type(term).__qualname__, term.structure.name, term.state(), of_map)
            for term, of_map in zip(objectives, maps, strict=True)
            if term.structure is not None
        ],
        asdict(replace(settings, threads=None, max_iterations=1)),
    ]
    for each in scenarios:
        of_scenario = each.dose_influence.matrix
        arrays = [of_scenario.indptr.astype(np.int64), of_scenario.indices, of_scenario.data]
        parts.append((each.scenario, [array_digest(array) for array in arrays]))
    # What an optimization computes by itself is in its checkpoints.
    if plan.intermediate_dose is not None and plan.dose_influence.whole_dose is None:
        parts.append(array_digest(np.asarray(plan.intermediate_dose)))
    return hashlib.sha256(repr(parts).encode()).hexdigest()
