"""What is planned and how far it is: the panel without its window.

A session owns a request with its history, the series it is for, the plan with its beamlet doses, and the last result.
`begin` gives the work for a worker's thread; `finish` and `fail` take back what came of it, in the window's thread.
Nothing of a run that failed or was stopped before it had a plan stays.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from opentps_brimstone._typing import FloatArray
from opentps_brimstone.engine.errors import DoseCanceledError
from opentps_brimstone.gui.dose_grid import DoseGridView
from opentps_brimstone.gui.history import History
from opentps_brimstone.gui.request import Request
from opentps_brimstone.gui.watch import Watch
from opentps_brimstone.integration.worst_voxels import optimize_guarded
from opentps_brimstone.model.derived import derived_structure, is_derived, ring_name
from opentps_brimstone.model.plan import Plan
from opentps_brimstone.model.series import Series
from opentps_brimstone.optimization.assembly_memory import AssemblyMemory
from opentps_brimstone.optimization.for_terms import optimizer_of, settings_for

if TYPE_CHECKING:
    from opentps_brimstone.evaluation import GoalTable
    from opentps_brimstone.model.structure import Structure
    from opentps_brimstone.optimization.optimizer import PlanOptimizer
    from opentps_brimstone.optimization.result import OptimizationResult
    from opentps_brimstone.optimization.terms import ObjectiveTerm

__all__ = ["Planned", "Run", "Session", "State"]

# From weights that are nearly right the coarse levels lead away first.
_WARM_START_LEVEL = 1
_DOSE_BEYOND_ASKED = 1.2
_RING_MM = (5.0, 25.0)


class State(enum.Enum):
    """Where planning is."""

    NOTHING_LOADED = "no CT"
    NOT_PLANNED = "not planned"
    RUNNING = "running"
    STOPPING = "stopping"
    PLANNED = "planned"


@dataclass(frozen=True, eq=False)
class Planned:
    """A plan that was found.

    Attributes
    ----------
    request : Request
        What it was asked for.
    plan : Plan
    result : OptimizationResult
    frames : Watch
        Its course.
    dvhs : dict of str to (ndarray, ndarray)
        Dose in Gy and volume share of every structure, asked of or not.
    """

    request: Request
    plan: Plan
    result: OptimizationResult
    course: Watch
    dvhs: dict[str, tuple[FloatArray, FloatArray]]

    @property
    def structures(self) -> list[Structure]:
        """Those of the plan; of those that follow from others, such as rings, the ones that something was asked of."""
        asked = self.request.structures
        return [each for each in self.plan.structures if not is_derived(each.name) or each.name in asked]


@dataclass(frozen=True, eq=False)
class Run:
    """Work for another thread.

    Attributes
    ----------
    request : Request
    watch : Watch
    work : callable
        Takes nothing; returns a `Planned`, or raises.
    """

    request: Request
    watch: Watch
    work: Callable[[], Planned]


class Session:
    """A planning in the window.

    Attributes
    ----------
    series : Series or None
    planned : Planned or None
        The last plan found.
    ghost : Planned or None
        The one before it.
    """

    def __init__(self) -> None:
        self.series: Series | None = None
        self.planned: Planned | None = None
        self.ghost: Planned | None = None
        self._history = History(Request())
        self._doses: tuple[tuple[object, ...], Plan] | None = None
        self._kept: tuple[tuple[object, ...], DoseGridView] | None = None
        self._memory = AssemblyMemory()
        self._run: Run | None = None
        self._changed_while_running = False

    # --------------------------------------------------------------------------------------------- what is planned

    @property
    def request(self) -> Request:
        """What is asked for now."""
        return self._history.now

    @property
    def can_undo(self) -> bool:
        """Whether a change can be undone."""
        return self._history.can_undo

    @property
    def can_redo(self) -> bool:
        """Whether an undone change can be made again."""
        return self._history.can_redo

    def load(self, series: Series, request: Request | None = None) -> None:
        """Plan on another series; what was planned before is forgotten.

        Parameters
        ----------
        series : Series
        request : Request, optional
            To begin with.
        """
        if self._run is not None:
            raise RuntimeError("a run is going on; stop it first")
        self.series = series
        self._history = History(request or Request())
        self.planned = self.ghost = None
        self._doses = None
        self._memory = AssemblyMemory()

    def use_plan(self, plan: Plan, request: Request) -> None:
        """Plan with beamlet doses that are known already.

        Parameters
        ----------
        plan : Plan
            With its dose influence.
        request : Request
        """
        self.series = plan.series
        self._history = History(request)
        self.planned = self.ghost = None
        self._doses = (request.doses_depend_on, plan)
        self._memory = AssemblyMemory()

    def ring(self) -> str:
        """Name the ring of tissue around the targets.

        Returns
        -------
        str
            A structure of this name is there as soon as something is asked of it.

        Raises
        ------
        ValueError
            If there is no target.
        """
        name = ring_name(*_RING_MM)
        if self._view is not None and name not in self.structures():
            self._view.derived(name, self.request.targets)
        return name

    def change(self, request: Request) -> bool:
        """Ask for something else.

        While a run goes on, it is stopped, and `finish` says that another one is to begin.

        Parameters
        ----------
        request : Request

        Returns
        -------
        bool
            Whether anything changed.
        """
        if request == self.request:
            return False
        self._history.put(request)
        self._stop_for_change()
        return True

    def undo(self) -> None:
        """Undo the last change."""
        self._history.undo()
        self._stop_for_change()

    def redo(self) -> None:
        """Make the change again that was undone."""
        self._history.redo()
        self._stop_for_change()

    def _stop_for_change(self) -> None:
        if self._run is not None and self.request.plan_depends_on != self._run.request.plan_depends_on:
            self._changed_while_running = True
            self._run.watch.stop()

    @property
    def _view(self) -> DoseGridView | None:
        """CT and structures on the dose grid: those of the plan where there is one."""
        if self._doses is not None and self._doses[1].series is self.series:
            source: tuple[object, ...] = (self._doses[1],)
            grid, ct_hu = self._doses[1].grid, self._doses[1].ct_hu
            known = [each for name, each in self._doses[1].structures.items() if self._is_own(name)]
        elif self.series is not None:
            source = (self.series, self.request.dose_grid_mm)
            if self._kept is not None and self._kept[0] == source:
                return self._kept[1]
            grid = self.series.dose_grid(self.request.dose_grid_mm)
            ct_hu = self.series.on_grid(grid).ct_hu
            known = [each.on_grid(grid) for each in self.series.structures]
        else:
            return None
        if self._kept is None or self._kept[0] != source:
            self._kept = source, DoseGridView(grid, ct_hu, known)
        return self._kept[1]

    def _is_own(self, name: str) -> bool:
        return not is_derived(name) or (self.series is not None and name in self.series.structures)

    def on_dose_grid(self) -> DoseGridView | None:
        """Give CT and structures as doses see them.

        Returns
        -------
        DoseGridView or None
            None if nothing is loaded.
        """
        return self._view

    def structures(self) -> dict[str, Structure]:
        """Structures by name, on the dose grid; those that follow from others, such as rings, if something is asked.

        Returns
        -------
        dict of str to Structure
        """
        return self.structures_for(self.request)

    def structures_for(self, request: Request) -> dict[str, Structure]:
        """Structures by name that there would be if something else were asked.

        Parameters
        ----------
        request : Request

        Returns
        -------
        dict of str to Structure
        """
        view = self._view
        return {} if view is None else view.with_derived(request.structures, request.targets)

    def check(self, request: Request) -> None:
        """Check what a run for a request needs, before any long work.

        Parameters
        ----------
        request : Request

        Raises
        ------
        ValueError
            Naming the field that is wrong and what would be right.
        """
        structures = self.structures_for(request)
        if not structures:
            raise ValueError("Plan, CT: choose a CT that has structures")
        request.check(structures)

    # --------------------------------------------------------------------------------------------- how far it is

    @property
    def state(self) -> State:
        """Where planning is."""
        if self._run is not None:
            return State.STOPPING if self._run.watch.is_stopping else State.RUNNING
        if self.planned is not None:
            return State.PLANNED
        is_loaded = self.series is not None or self._doses is not None
        return State.NOT_PLANNED if is_loaded else State.NOTHING_LOADED

    @property
    def is_stale(self) -> bool:
        """Whether the plan there is was asked for something else."""
        return self.planned is not None and self.planned.request.plan_depends_on != self.request.plan_depends_on

    @property
    def beamlets_are_known(self) -> bool:
        """Whether a run can begin without computing doses of beamlets."""
        return self._doses is not None and self._doses[0] == self.request.doses_depend_on

    def words(self) -> str:
        """Say in words where planning is.

        Returns
        -------
        str
        """
        if self._run is not None:
            return _running_words(self._run.watch)
        if self.planned is None:
            return "no CT with structures is loaded" if self.state is State.NOTHING_LOADED else "not planned yet"
        result = self.planned.result
        text = (
            f"{result.message}: {result.iterations} iterations in {result.time_s:.1f} s, cost {result.final_cost:.4g}"
        )
        return f"STALE, what is asked has changed since; {text}" if self.is_stale else text

    def goals(self) -> GoalTable | None:
        """Judge the plan by the goals there are now.

        Returns
        -------
        GoalTable or None
            None without plan or goals.

        Raises
        ------
        ValueError
            If a goal is not understood, or is on a structure there is not.
        """
        from opentps_brimstone.evaluation import evaluate

        wanted = self.request.parsed_goals()
        if self.planned is None or not wanted:
            return None
        plan = self.planned.plan
        structures = list(plan.structures.values())
        fractions = plan.number_of_fractions
        return evaluate(self.planned.result.dose, structures, wanted, number_of_fractions=fractions)

    def costs(self) -> dict[str, float]:
        """Tell what each structure's objectives cost in the plan there is.

        Returns
        -------
        dict of str to float
        """
        if self.planned is None:
            return {}
        dose, structures = np.asarray(self.planned.result.dose), self.planned.plan.structures
        return {
            each.structure: sum(
                _cost(term, structures[each.structure], dose, self.planned.request) for term in each.terms()
            )
            for each in self.planned.request.asked
        }

    # --------------------------------------------------------------------------------------------- running

    def begin(self, plane: int | None = None) -> Run:
        """Begin a run, from the weights there are if they belong to the same beamlets.

        Parameters
        ----------
        plane : int, optional
            Axial slice to show meanwhile.

        Returns
        -------
        Run
            Whose work is for another thread; `finish` or `fail` must follow.

        Raises
        ------
        ValueError
            Naming the field that is wrong; nothing has begun then.
        """
        if self._run is not None:
            raise RuntimeError("a run is going on already")
        request = self.request
        self.check(request)
        watch = Watch(_DOSE_BEYOND_ASKED * max(each.highest_gy for each in request.asked), plane)
        known = self._doses[1] if self._doses is not None and self.beamlets_are_known else None
        weights = None if known is None or self.planned is None else known.beamlet_weights
        series, memory = self.series, self._memory

        def work() -> Planned:
            plan = known if known is not None else _with_doses(series, request, watch)
            return _optimized(plan, request, watch, weights, memory)

        self._changed_while_running = False
        self._run = Run(request, watch, work)
        return self._run

    def stop(self) -> None:
        """End the run with the weights it has."""
        if self._run is not None:
            self._changed_while_running = False
            self._run.watch.stop()

    def finish(self, planned: Planned) -> bool:
        """Take the plan that a run found.

        Parameters
        ----------
        planned : Planned

        Returns
        -------
        bool
            Whether another run is to begin, because something was changed meanwhile.
        """
        again = self._end()
        self._doses = (planned.request.doses_depend_on, planned.plan)
        if self.planned is not None and self.planned.request != planned.request and not again:
            self.ghost = self.planned
        self.planned = planned
        return again

    def fail(self, error: BaseException) -> bool:
        """Learn that a run ended without a plan.

        Parameters
        ----------
        error : BaseException

        Returns
        -------
        bool
            As for `finish`.
        """
        again = self._end()
        return again and isinstance(error, DoseCanceledError)

    def _end(self) -> bool:
        self._run = None
        again, self._changed_while_running = self._changed_while_running, False
        return again


def _running_words(watch: Watch) -> str:
    frame = watch.last
    if watch.is_stopping:
        return "stopping, with the weights found so far"
    if frame is not None:
        return f"optimizing: level {frame.level}, iteration {len(watch.costs)}, cost {watch.costs[-1][1]:.4g}"
    if watch.progress is not None:
        done, total = watch.progress
        return f"computing doses of beamlets: {done} of {total}{watch.time_left()}"
    return "preparing"


def _with_doses(series: Series | None, request: Request, watch: Watch) -> Plan:
    """Make the plan of a request, and compute the doses of its beamlets."""
    assert series is not None
    for structure in series.structures:
        structure.is_target = structure.name in request.targets
    plan = Plan(series, request.fractions, dose_grid_mm=request.dose_grid_mm)
    for beam in request.beams:
        plan.add_beam(beam.gantry, request.isocenter_mm, beam.couch, beam.collimator)
    plan.compute_dose_influence(
        beamlet_spacing_mm=request.beamlet_mm, margin_mm=request.margin_mm, progress=watch.on_progress
    )
    watch.check()
    return plan


def _optimized(
    plan: Plan, request: Request, watch: Watch, weights: FloatArray | None, memory: AssemblyMemory
) -> Planned:
    plan.number_of_fractions = request.fractions
    _derive(plan, request)
    asked = [(plan.structures[each.structure], term) for each in request.asked for term in each.terms()]

    def optimizer(terms: Sequence[tuple[Structure, ObjectiveTerm]]) -> PlanOptimizer:
        settings = settings_for(terms)
        if weights is not None:
            settings = replace(settings, start_level=min(_WARM_START_LEVEL, settings.number_of_levels - 1))
        return optimizer_of(plan, terms, settings, memory)

    result = optimize_guarded(optimizer, asked, initial_weights=weights, callback=watch)
    dvhs = {name: structure.get_dvh() for name, structure in plan.structures.items() if structure.histogram is not None}
    return Planned(request, plan, result, watch, dvhs)


def _derive(plan: Plan, request: Request) -> None:
    """Make the structures of a request that follow from others; they are the same for all requests of one plan."""
    known = list(plan.structures)
    targets = [each for each in known if each.name in request.targets]
    for name in request.structures:
        if name not in plan.structures:
            made = derived_structure(name, known, targets, plan.grid)
            if made is not None:
                plan.structures[name] = made


def _cost(term: ObjectiveTerm, structure: Structure, dose: Any, request: Request) -> float:
    """Evaluate a term with the targets' highest dose as the reference of limits, as in a prescription."""
    share = structure.share
    inside = share > 0
    value, _ = term.evaluate(dose[inside], share[inside] / share[inside].sum())
    limit = getattr(term, "reference_dose_gy", None)
    if limit is not None:
        highest = max((each.points[-1][0] for each in request.asked if each.is_target), default=limit)
        value *= (limit / highest) ** 2
    return term.weight * float(value)
