"""The optimizer of a plan's beamlet weights."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from opentps_brimstone import _core
from opentps_brimstone._typing import AnyArray, FloatArray
from opentps_brimstone.model.plausible import warn_of_centigray
from opentps_brimstone.optimization.callbacks import Callback, as_callback
from opentps_brimstone.optimization.checkpoint import load_checkpoint
from opentps_brimstone.optimization.core_plan import assemble, target_terms
from opentps_brimstone.optimization.findings import find
from opentps_brimstone.optimization.prescription import Prescription
from opentps_brimstone.optimization.result import OptimizationResult
from opentps_brimstone.optimization.run import Course, OptimizationRun, fingerprint
from opentps_brimstone.optimization.settings import OptimizerSettings
from opentps_brimstone.optimization.terms import ObjectiveTerm
from opentps_brimstone.optimization.whole_dose import (
    LARGEST_SHIFT,
    STAGES,
    largest_shift,
    matched_to_whole_dose,
    settings_of_stage,
)

if TYPE_CHECKING:
    from opentps_brimstone.model.plan import Plan
    from opentps_brimstone.model.structure import Structure
    from opentps_brimstone.optimization.assembly_memory import AssemblyMemory

__all__ = ["PlanOptimizer"]

_log = logging.getLogger(__name__)


class PlanOptimizer:
    """Brimstone: finds beamlet weights whose dose-volume histograms match the prescribed ones.

    Parameters
    ----------
    plan : Plan
        Its `beamlet_weights` are set by `optimize`.
    settings : OptimizerSettings, optional
        Constants of the algorithm.
    memory : AssemblyMemory, optional
        Shared by optimizers of one plan, of which each has other terms on the same structures: they begin sooner.

    Attributes
    ----------
    plan : Plan
    prescription : Prescription

    Examples
    --------
    >>> import opentps_brimstone as pb
    >>> from opentps_brimstone.model.example import three_voxel_plan
    >>> plan = three_voxel_plan()
    >>> target, cord = plan.structures
    >>> optimizer = pb.PlanOptimizer(plan)
    >>> optimizer.add_objective(target, pb.KLDivergenceTerm(dose_range=(9.0, 11.0)))
    >>> optimizer.add_objective(cord, pb.MaximumDoseTerm(5.0))
    >>> result = optimizer.optimize()
    >>> result.success
    True
    >>> bool(8.5 < result.dose[target.mask].min() < 11.5)
    True
    """

    def __init__(
        self, plan: Plan, settings: OptimizerSettings | None = None, *, memory: AssemblyMemory | None = None
    ) -> None:
        self.plan = plan
        self._memory = memory
        self.settings = settings or OptimizerSettings()
        self.prescription = Prescription(plan, self.settings)

    def add_objective(self, structure: Structure, objective: ObjectiveTerm) -> None:
        """Add an objective; the same as `Prescription.add`."""
        self.prescription.add(structure, objective)

    def optimize(
        self,
        initial_weights: npt.ArrayLike | None = None,
        callback: Callback | None = None,
        max_iterations: int | None = None,
        tolerance: float | Sequence[float] | None = None,
        progress: bool = False,
        resume_from: str | os.PathLike[str] | None = None,
        *,
        beams: Iterable[int] | None = None,
    ) -> OptimizationResult:
        """Find beamlet weights and set them in the plan.

        Parameters
        ----------
        initial_weights : array_like, shape (n_beamlets,), optional
            MU per fraction to start from, of any scale. Default: the uniform weight that gives the targets their mean
            dose.
        callback : OptimizationCallback or callable, or a list of them, optional
            Called after each iteration; stops the optimization by returning False.
        max_iterations : int, optional
            Iterations per level. Default: the settings' 500.
        tolerance : float or sequence of float, optional
            Relative change of the cost that ends a level. Default: the settings' 1e-3.
        progress : bool
            Show a progress bar on the terminal.
        resume_from : path, optional
            A file of `Checkpoint` to resume, with its start weights. The result is bitwise that of an uninterrupted
            optimization.
        beams : iterable of int, optional
            Numbers of the beams to use, from 0; beamlets of the others get no weight. The plan is bitwise that of a
            plan with these beams alone. Default: all.

        Returns
        -------
        OptimizationResult

        Raises
        ------
        ValueError
            If no objective is on a target, a target gets no dose, or a number is out of its range.
        CheckpointError
            If the checkpoint cannot be read or belongs to another plan, prescription or settings.
        KeyboardInterrupt
            On Ctrl-C; the plan is unchanged. This, like an exception of a callback, has an attribute ``result_so_far``:
            the `OptimizationResult` of the last iteration, if any.
        """
        return self._optimize(initial_weights, callback, max_iterations, tolerance, progress, resume_from, beams=beams)

    def optimize_from(
        self,
        good_weights: npt.ArrayLike,
        callback: Callback | None = None,
        tolerance: float | Sequence[float] | None = None,
        progress: bool = False,
    ) -> OptimizationResult:
        """Find beamlet weights from those of a good plan, which are taken as they are.

        Parameters are those of `optimize`, whose start weights need not be good ones.
        """
        return self._optimize(good_weights, callback, None, tolerance, progress, None, trust_start=True)

    def _optimize(
        self,
        initial_weights: npt.ArrayLike | None,
        callback: Callback | None,
        max_iterations: int | None,
        tolerance: float | Sequence[float] | None,
        progress: bool,
        resume_from: str | os.PathLike[str] | None,
        *,
        trust_start: bool = False,
        beams: Iterable[int] | None = None,
    ) -> OptimizationResult:
        settings = self._settings(max_iterations, tolerance)
        for term in self.prescription.objectives:
            if term.quantity == "physical_dose":
                warn_of_centigray(term.highest_dose_gy, repr(term))
        targets = target_terms(self.prescription.objectives)
        self.plan.prepare([term.structure for term in targets if term.structure is not None])
        watch = as_callback(callback) if callback is not None else None
        used = None if beams is None else self.checked_beams(beams)
        course = Course(settings, watch, progress, used)
        start, resumed = self._start(initial_weights, resume_from, settings, used)
        before = self.plan.intermediate_dose
        try:
            if self.plan.dose_influence.whole_dose is None:
                weights = self._search(course, settings, start, resumed, trust_start=trust_start)
            else:
                weights = self._stages(course, start, resumed, trust_start=trust_start)
        except BaseException:
            self.plan.set_intermediate_dose(before)
            raise

        self.plan.beamlet_weights = weights
        dose = self.plan.update_histograms()
        assert course.assembled is not None
        all_fractions = weights * self.plan.number_of_fractions
        objectives = self.prescription.objectives
        found = find(self.plan, objectives, settings, course.assembled, all_fractions, np.asarray(dose))
        last = course.levels[-1]
        converged = last.stop in (_core.Stop.converged, _core.Stop.gradient_vanished)
        missed = converged and not found.reached
        notes = found.notes if missed else course.assembled.notes
        result = OptimizationResult(
            success=converged and not missed,
            message="; ".join((_message(course.levels, settings), *notes)),
            notes=found.notes,
            final_cost=last.cost,
            iterations=len(course.history["iteration"]),
            beamlet_weights=weights,
            dose=dose,
            convergence_history=course.history,
            time_s=course.time_s,
            preparation_s=course.preparation_s,
            last_update_gy=course.last_update_gy,
        )
        if watch is not None:
            watch.on_end(result)
        return result

    def _search(
        self,
        course: Course,
        settings: OptimizerSettings,
        start: FloatArray | None,
        resumed: dict[str, AnyArray] | None,
        *,
        trust_start: bool,
    ) -> FloatArray:
        """Run the levels of some settings once; return MU per fraction of all beamlets."""
        started = time.perf_counter()
        objectives = self.prescription.objectives
        given: dict[str, Any] = {"initial_weights": start, "trust_start": trust_start}
        if self._memory is None or course.beams is not None:
            assembled = assemble(self.plan, objectives, settings, beams=course.beams, **given)
        else:
            assembled = self._memory.assemble(self.plan, objectives, settings, **given)
        run = OptimizationRun(self.plan, self.prescription, assembled, settings, start, course)
        course.assembled = assembled
        if course.watch is not None and course.stage == course.first_stage:
            course.watch.on_start(self.plan, self.prescription)
        prepared = time.perf_counter()
        course.preparation_s += prepared - started
        try:
            answer = run.optimize(resumed=resumed)
        except BaseException as error:
            so_far = run.result_so_far(error)
            if so_far is not None:
                taken = course.time_s + time.perf_counter() - prepared
                error.result_so_far = replace(  # type: ignore[attr-defined]
                    so_far, time_s=taken, preparation_s=course.preparation_s
                )
            raise
        course.time_s += time.perf_counter() - prepared
        course.levels += answer.levels
        weights = run.all_weights(answer.weights)
        assembled.forget_core()  # its memory is free before the dose needs some
        return weights

    def _stages(
        self,
        course: Course,
        start: FloatArray | None,
        resumed: dict[str, AnyArray] | None,
        *,
        trust_start: bool,
    ) -> FloatArray:
        """Optimize in stages, between which the part of the dose that the matrix leaves out is brought up to date."""
        plan, settings = self.plan, course.settings
        structures = [term.structure for term in self.prescription.objectives if term.structure is not None]
        if resumed is not None:
            course.stage = course.first_stage = int(resumed["stage"])
            plan.set_intermediate_dose(resumed.get("intermediate"))
        elif start is None or not trust_start:
            plan.set_intermediate_dose(None)
        else:
            course.stage = course.first_stage = 1
            plan.update_intermediate_dose(start / plan.number_of_fractions, effort="half")
        weights: FloatArray | None = None
        while True:
            given = start if weights is None else weights * plan.number_of_fractions
            every_level = course.stage == 1 and weights is None
            chosen = settings_of_stage(course.stage, settings, every_level=every_level)
            trusted = trust_start or course.stage > 0
            weights = self._search(course, chosen, given, resumed if weights is None else None, trust_start=trusted)
            updated = time.perf_counter()
            stopped = course.levels[-1].stop == _core.Stop.callback
            if course.stage == 0 and not stopped:
                targets = [structure for structure in structures if structure.is_target]
                weights = matched_to_whole_dose(plan, weights, targets)
            else:
                before = plan.dose_of(weights)
                course.last_update_gy = largest_shift(before, plan.update_intermediate_dose(weights), structures)
                _log.info("full scatter changes DVHs by at most %.2f Gy", course.last_update_gy)
            course.preparation_s += time.perf_counter() - updated
            if stopped or course.stage == STAGES - 1 or self._is_settled(course):
                return weights
            course.stage += 1

    def _is_settled(self, course: Course) -> bool:
        shift = course.last_update_gy
        assert course.assembled is not None
        return shift is not None and shift <= LARGEST_SHIFT * course.assembled.reference_dose

    def _start(
        self,
        initial_weights: npt.ArrayLike | None,
        resume_from: str | os.PathLike[str] | None,
        settings: OptimizerSettings,
        beams: tuple[int, ...] | None,
    ) -> tuple[FloatArray | None, dict[str, AnyArray] | None]:
        """Start weights in MU over all fractions, and the arrays of a checkpoint to resume, if any."""
        if resume_from is not None:
            if beams is not None:
                raise ValueError("give beams or resume_from, not both: checkpoints are of all beams")
            if initial_weights is not None:
                raise ValueError("give initial_weights or resume_from, not both: a checkpoint has its start weights")
            resumed = load_checkpoint(resume_from, fingerprint(self.plan, self.prescription.objectives, settings))
            return resumed.get("start"), resumed
        if initial_weights is None:
            return None, None
        influence = self.plan.dose_influence
        start = influence.check_weights(initial_weights)
        most = np.finfo(np.float64).max / self.plan.number_of_fractions
        if start.max() > most:
            raise ValueError(f"a start weight is {start.max():g} MU per fraction; it may be at most {most:g}")
        start = start * self.plan.number_of_fractions
        if beams is not None:
            start[~np.isin(influence.layout.beam_index, beams)] = 0.0
        return start, None

    def checked_beams(self, beams: Iterable[int]) -> tuple[int, ...]:
        """Sort numbers of beams; a ValueError names one that the plan does not have."""
        chosen = tuple(sorted(set(beams)))
        count = self.plan.dose_influence.layout.n_beams
        if not chosen:
            raise ValueError("beams is empty; name at least one beam")
        for beam in chosen:
            if not isinstance(beam, int | np.integer) or not 0 <= beam < count:
                raise ValueError(f"beam {beam!r} is not one of the plan's {count}, counted from 0")
        return tuple(map(int, chosen))

    def __repr__(self) -> str:
        return f"PlanOptimizer({self.plan!r}, {self.prescription.objectives!r}, {self.settings!r})"

    def _settings(self, max_iterations: int | None, tolerance: float | Sequence[float] | None) -> OptimizerSettings:
        changes: dict[str, Any] = {}
        if max_iterations is not None:
            changes["max_iterations"] = int(max_iterations)
        if tolerance is not None:
            changes["cg_tolerance"] = tuple(tolerance) if isinstance(tolerance, Sequence) else float(tolerance)
        return replace(self.settings, **changes)


def _message(levels: list[_core.LevelResult], settings: OptimizerSettings) -> str:
    last = levels[-1]
    if last.stop == _core.Stop.callback:
        return "stopped by the callback"
    if last.stop == _core.Stop.iterations_exhausted:
        return f"the finest level did not converge in {last.iterations} iterations"
    exhausted = sum(level.stop == _core.Stop.iterations_exhausted for level in levels)
    if exhausted:
        return (
            f"converged at the finest level; {exhausted} coarser ones ended after {settings.max_iterations} iterations"
        )
    return f"converged at all {len(levels)} levels"
