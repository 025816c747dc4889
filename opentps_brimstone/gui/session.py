"""What is planned and how far it is: the panel without its window.

A session owns a request with its history, the series it is for, the plan with its beamlet doses, and the last result.
`begin` gives the work for a worker's thread; `finish` and `fail` take back what came of it, in the window's thread.
Nothing of a run that failed or was stopped before it had a plan stays.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from opentps_brimstone._typing import FloatArray
from opentps_brimstone.engine.errors import DoseCanceledError
from opentps_brimstone.gui.asked import ring_around
from opentps_brimstone.gui.history import History
from opentps_brimstone.gui.request import Request
from opentps_brimstone.gui.watch import Watch
from opentps_brimstone.model.plan import Plan
from opentps_brimstone.model.series import Series
from opentps_brimstone.optimization.for_terms import settings_for
from opentps_brimstone.optimization.optimizer import PlanOptimizer

if TYPE_CHECKING:
    from opentps_brimstone.evaluation import GoalTable
    from opentps_brimstone.model.structure import Structure
    from opentps_brimstone.optimization.result import OptimizationResult
    from opentps_brimstone.optimization.terms import ObjectiveTerm

__all__ = ["Planned", "Run", "Session", "State"]

# From weights that are nearly right the coarse levels lead away first.
_WARM_START_LEVEL = 1
_DOSE_BEYOND_ASKED = 1.2
_BODY_NAMES = ("body", "external", "skin", "outline", "patient")


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

    def add_ring(self) -> str:
        """Add a ring of tissue around the targets to the structures; beamlets' doses are then computed again.

        Returns
        -------
        str
            Its name.

        Raises
        ------
        ValueError
            If there is no target, or the plan has no CT.
        """
        series = self.series
        if series is None:
            raise ValueError("Objectives, ring: the plan has no CT, so structures cannot be added")
        by_name = {each.name: each for each in series.structures}
        body = next((each for name, each in by_name.items() if name.casefold() in _BODY_NAMES), None)
        ring = ring_around([by_name[name] for name in self.request.targets], body, series.grid)
        if ring.name not in by_name:
            wider = Series(
                series.ct_hu,
                series.grid.spacing_mm,
                series.grid.origin_mm,
                [*series.structures, ring],
                name=series.name,
            )
            wider.dicom = dict(series.dicom)
            self.series, self._doses = wider, None
        return ring.name

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

    def structures(self) -> dict[str, Structure]:
        """Structures by name, those of the plan where there is one.

        Returns
        -------
        dict of str to Structure
        """
        if self._doses is not None and self._doses[1].series is self.series:
            return dict(self._doses[1].structures.items())
        return {} if self.series is None else {each.name: each for each in self.series.structures}

    # --------------------------------------------------------------------------------------------- how far it is

    @property
    def state(self) -> State:
        """Where planning is."""
        if self._run is not None:
            return State.STOPPING if self._run.watch.is_stopping else State.RUNNING
        if self.planned is not None:
            return State.PLANNED
        return State.NOT_PLANNED if self.structures() else State.NOTHING_LOADED

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
        if not self.structures():
            raise ValueError("Plan, CT: choose a CT that has structures")
        request.check(self.structures())
        watch = Watch(_DOSE_BEYOND_ASKED * max(each.highest_gy for each in request.asked), plane)
        known = self._doses[1] if self._doses is not None and self.beamlets_are_known else None
        weights = None if known is None or self.planned is None else known.beamlet_weights
        series = self.series

        def work() -> Planned:
            plan = known if known is not None else _with_doses(series, request, watch)
            return _optimized(plan, request, watch, weights)

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
        return f"computing doses of beamlets: {done} of {total}"
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


def _optimized(plan: Plan, request: Request, watch: Watch, weights: FloatArray | None) -> Planned:
    plan.number_of_fractions = request.fractions
    asked = [(plan.structures[each.structure], term) for each in request.asked for term in each.terms()]
    settings = settings_for(asked)
    if weights is not None:
        settings = replace(settings, start_level=min(_WARM_START_LEVEL, settings.number_of_levels - 1))
    optimizer = PlanOptimizer(plan, settings)
    for structure, term in asked:
        optimizer.add_objective(structure, term)
    result = optimizer.optimize(initial_weights=weights, callback=watch)
    dvhs = {name: structure.get_dvh() for name, structure in plan.structures.items() if structure.histogram is not None}
    return Planned(request, plan, result, watch, dvhs)


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
