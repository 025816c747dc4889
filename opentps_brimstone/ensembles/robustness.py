"""What a plan gives where the patient is displaced, or denser than planned."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from opentps_brimstone._typing import FloatArray
from opentps_brimstone._util.progress import following
from opentps_brimstone._util.tables import Html, format_table, html_table
from opentps_brimstone.engine.errors import DoseCanceledError
from opentps_brimstone.engine.scenarios import ScenarioEngine
from opentps_brimstone.evaluation import DVHGoal, GoalResult, GoalTable, as_goals, cumulative_dvh, evaluate
from opentps_brimstone.evaluation.goals import FAIL_COLOR, PASS_COLOR
from opentps_brimstone.model.dose import DoseArray
from opentps_brimstone.model.scenario import Scenario, checked_scenarios

if TYPE_CHECKING:
    from opentps_brimstone.model.plan import Plan
    from opentps_brimstone.visualization import DVHBand

__all__ = ["RobustnessResult", "evaluate_robustness"]

_DVH_STEP_GY = 0.05

_Report = Callable[[int], bool]


@dataclass(frozen=True, eq=False)
class RobustnessResult:
    """Goals and histograms of a plan in scenarios, shown as a table by `print` and in notebooks.

    Attributes
    ----------
    scenarios : tuple of Scenario
        The nominal one first.
    goals : tuple of GoalTable
        Of each scenario.
    dose_axis_gy : ndarray, shape (n_doses,)
    volumes : mapping of str to ndarray, shape (n_scenarios, n_doses)
        Share of a structure's volume that gets at least each dose, by its name.

    Examples
    --------
    >>> import opentps_brimstone as pb
    >>> from opentps_brimstone.model.example import water_plan
    >>> plan = water_plan()
    >>> plan.beamlet_weights = np.full(8, 100.0)
    >>> result = pb.evaluate_robustness(plan, pb.setup_scenarios(3.0), ["PTV Dmin >= 1 Gy"], progress=False)
    >>> result.summary
    '1 of 1 goals met as planned, 1 of 1 in all 7 scenarios'
    >>> value, scenario = result.worst(0)
    >>> value.goal
    DVHGoal('PTV Dmin >= 1 Gy')
    """

    scenarios: tuple[Scenario, ...]
    goals: tuple[GoalTable, ...]
    dose_axis_gy: FloatArray
    volumes: Mapping[str, FloatArray]

    COLUMNS = ("structure", "metric", "goal", "nominal", "worst", "worst in", "met in")

    def worst(self, number: int) -> tuple[GoalResult, Scenario]:
        """Find the worst value of a goal, by its number, and the scenario that has it.

        A value that does not exist is the worst one.
        """
        results = [table[number] for table in self.goals]
        sign = 1.0 if results[0].goal.is_lower_bound else -1.0
        keys = [-math.inf if math.isnan(each.value) else sign * each.value for each in results]
        at = int(np.argmin(keys))
        return results[at], self.scenarios[at]

    @property
    def all_met(self) -> bool:
        """Whether every goal is met in every scenario."""
        return all(table.all_met for table in self.goals)

    @property
    def summary(self) -> str:
        """Numbers of goals that are met as planned, and in all scenarios, for people."""
        always = sum(self._met_in(number) == len(self.scenarios) for number in range(len(self.goals[0])))
        return (
            f"{self.goals[0].summary} as planned, {always} of {len(self.goals[0])} in all {len(self.scenarios)} "
            "scenarios"
        )

    def bands(self, names: Iterable[str] | None = None) -> dict[str, DVHBand]:
        """Give lowest, highest and planned histogram of each structure, for `visualization.plot_dvh_bands`.

        Parameters
        ----------
        names : iterable of str, optional
            Of the structures. Default: all.

        Returns
        -------
        dict of str to (ndarray, ndarray, ndarray, ndarray)
            Doses in Gy; lowest, highest and planned share of the volume at each.
        """
        chosen = self.volumes if names is None else list(names)
        return {
            name: (
                self.dose_axis_gy,
                self.volumes[name].min(axis=0),
                self.volumes[name].max(axis=0),
                self.volumes[name][0],
            )
            for name in chosen
        }

    def rows(self) -> list[tuple[str, ...]]:
        """Rows of text under `COLUMNS`."""
        return [self._row(number) for number in range(len(self.goals[0]))]

    def records(self) -> list[dict[str, Any]]:
        """Plain data, such as JSON holds: each goal, as planned, with its values in all scenarios."""
        return [
            {
                **planned,
                "worst": self.worst(number)[0].value,
                "worst_in": self.worst(number)[1].name,
                "values": {
                    scenario.name: table[number].value
                    for scenario, table in zip(self.scenarios, self.goals, strict=True)
                },
            }
            for number, planned in enumerate(self.goals[0].records())
        ]

    @property
    def fills(self) -> list[str]:
        """Color of each row, by whether the goal is met in all scenarios."""
        n_goals, n_scenarios = len(self.goals[0]), len(self.scenarios)
        return [PASS_COLOR if self._met_in(number) == n_scenarios else FAIL_COLOR for number in range(n_goals)]

    def _met_in(self, number: int) -> int:
        return sum(table[number].met for table in self.goals)

    def _row(self, number: int) -> tuple[str, ...]:
        worst, scenario = self.worst(number)
        unit = worst.goal.unit
        values = (self.goals[0][number].value, worst.value)
        shown = (f"{value:.2f} {unit}".rstrip() for value in values)
        return (*worst.goal.cells, *shown, scenario.name, f"{self._met_in(number)} of {len(self.scenarios)}")

    def __str__(self) -> str:
        return format_table(self.COLUMNS, self.rows())

    def _repr_html_(self) -> Html:
        return html_table(self.COLUMNS, self.rows(), fills=self.fills, caption=self.summary)

    def __repr__(self) -> str:
        return f"RobustnessResult({self.summary})"


def evaluate_robustness(
    plan: Plan,
    scenarios: Iterable[Scenario] | None = None,
    goals: Iterable[DVHGoal | str] = (),
    *,
    beamlet_weights: npt.ArrayLike | None = None,
    prescribed_dose: Any = None,
    processes: int | None = None,
    progress: bool | Callable[[int, int], Any] = True,
) -> RobustnessResult:
    """Judge a plan, robustly optimized or not, in scenarios.

    Parameters
    ----------
    plan : Plan
        With beamlet weights; not changed.
    scenarios : iterable of Scenario, optional
        The dose of each is computed anew by this package's engine, as the plan's dose influence was; the nominal one is
        added if it is not among them. Default: those of the plan, whose doses are the products of their matrices.
    goals : iterable of DVHGoal or str
    beamlet_weights : array_like, shape (n_beamlets,), optional
        MU per fraction. Default: the plan's.
    prescribed_dose : float or mapping of str to float, optional
        For goals in percent of it, as for `opentps_brimstone.evaluate`.
    processes : int, optional
        Threads of the engine. Default: the cores this process may use.
    progress : bool or callable
        Show a progress bar on standard error; a callable is called with the scenarios done and their number, and may
        return False to stop.

    Returns
    -------
    RobustnessResult

    Raises
    ------
    TypeError, ValueError
        Before the engine starts, if the plan has no weights, a goal is wrong, a dose was set as intermediate dose, or
        the scenarios are not ones that `Plan.compute_scenarios` accepts.
    DoseMemoryError, EngineError
        As `Plan.compute_scenarios`.

    Examples
    --------
    >>> import opentps_brimstone as pb
    >>> from opentps_brimstone.model.example import water_plan
    >>> plan = water_plan()
    >>> plan.beamlet_weights = np.full(8, 100.0)
    >>> result = evaluate_robustness(plan, pb.setup_scenarios((2.0, 0.0, 0.0)), ["PTV Dmin >= 1 Gy"], progress=False)
    >>> [scenario.name for scenario in result.scenarios]
    ['nominal', 'x +2 mm', 'x -2 mm']
    """
    if beamlet_weights is None and plan.beamlet_weights is None:
        raise ValueError("the plan has no beamlet weights yet: set beamlet_weights, or give some")
    weights = plan.dose_influence.check_weights(
        plan.beamlet_weights if beamlet_weights is None else beamlet_weights  # type: ignore[arg-type]
    )
    _check_dose_is_known(plan, by_matrices=scenarios is None)
    asked = as_goals(goals, plan.structures.keys(), prescribed_dose, of_dose=True)
    chosen, doses = _doses(plan, scenarios, weights, processes)
    shown = [structure for structure in plan.structures if structure.is_on_grid]
    tables: list[GoalTable] = []
    curves: dict[str, list[FloatArray]] = {structure.name: [] for structure in shown}
    with following(progress, len(chosen), "scenarios", "scenario") as report:
        for number, dose in enumerate(doses(report), start=1):
            tables.append(
                evaluate(
                    DoseArray(dose, plan.grid), plan.structures, asked, number_of_fractions=plan.number_of_fractions
                )
            )
            axis = np.arange(0.0, float(dose.max()) + 2 * _DVH_STEP_GY, _DVH_STEP_GY)
            for structure in shown:
                curves[structure.name].append(cumulative_dvh(*structure.sample(dose), axis))
            _check_going_on(report, number)
    longest = max(len(curve) for of_structure in curves.values() for curve in of_structure)
    volumes = {
        name: np.stack([np.pad(curve, (0, longest - len(curve))) for curve in of_structure])
        for name, of_structure in curves.items()
    }
    return RobustnessResult(chosen, tuple(tables), np.arange(longest) * np.float64(_DVH_STEP_GY), volumes)


def _check_dose_is_known(plan: Plan, *, by_matrices: bool) -> None:
    """Refuse a plan part of whose dose is known only as planned."""
    if plan.dose_influence.whole_dose is None:
        if plan.intermediate_dose is not None:
            raise ValueError(
                "the plan has an intermediate dose, which is known only as planned: set it to None to judge the dose "
                "of the beamlets"
            )
    elif by_matrices:
        raise ValueError(
            "the plan's matrix leaves out scatter from far away: give scenarios, whose doses are then computed in full"
        )


def _doses(
    plan: Plan, scenarios: Iterable[Scenario] | None, weights: FloatArray, processes: int | None
) -> tuple[tuple[Scenario, ...], Callable[[_Report], Iterator[FloatArray]]]:
    """Give the scenarios, the nominal one first, and what computes the dose of each, one after another."""
    if scenarios is None:
        if not plan.scenarios:
            raise ValueError("the plan has no scenarios: give some, such as setup_scenarios(3.0) makes")
        cut = next((each.structures for each in plan.scenarios if each.structures is not None), None)
        if cut is not None:
            raise ValueError(
                f"the plan's scenarios have doses in {', '.join(cut)} alone: give them, to be computed anew everywhere"
            )
        known = {each.scenario: each.dose_influence for each in plan.scenarios}
        chosen = _nominal_first(known)

        def products(_report: _Report) -> Iterator[FloatArray]:
            for scenario in chosen:
                yield known.get(scenario, plan.dose_influence).dose(weights, plan.number_of_fractions)

        return chosen, products
    chosen = _nominal_first(checked_scenarios(scenarios))
    engine = ScenarioEngine(plan, chosen, plan.dose_options.running(threads=processes, progress=False))

    def anew(report: _Report) -> Iterator[FloatArray]:
        for number, scenario in enumerate(chosen):
            yield engine.dose(scenario, weights, partial(_still_at, report, number))

    return chosen, anew


def _still_at(report: _Report, scenario: int, _done: int, _total: int) -> bool:
    return report(scenario)


def _nominal_first(scenarios: Iterable[Scenario]) -> tuple[Scenario, ...]:
    given = list(scenarios)
    nominal = [each for each in given if each.is_nominal] or [Scenario()]
    return (*nominal, *(each for each in given if not each.is_nominal))


def _check_going_on(report: _Report, done: int) -> None:
    if not report(done):
        raise DoseCanceledError("the evaluation of scenarios was stopped")
