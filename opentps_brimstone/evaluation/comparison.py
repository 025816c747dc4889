"""Two plans side by side."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from opentps_brimstone._typing import FloatArray
from opentps_brimstone._util.tables import format_table, html_table
from opentps_brimstone.evaluation.dvh_metric import DVHMetric
from opentps_brimstone.evaluation.goals import FAIL_COLOR, PASS_COLOR, DVHGoal, GoalTable, evaluate
from opentps_brimstone.evaluation.metrics import voxel_volume_cc
from opentps_brimstone.model.dose import grid_of

if TYPE_CHECKING:
    from opentps_brimstone.model.influence import VoxelGrid
    from opentps_brimstone.model.structure import Structure

__all__ = ["COMPARED_METRICS", "MetricComparison", "PlanComparison", "compare_plans"]

COMPARED_METRICS = ("Dmean", "D98", "D95", "D50", "D2", "Dmax")
"""Metrics that `compare_plans` gives for every structure by default."""


@dataclass(frozen=True)
class MetricComparison:
    """One metric of one structure in two plans, in the metric's unit."""

    structure: str
    metric: DVHMetric
    first: float
    second: float

    @property
    def difference(self) -> float:
        """The second plan's value minus the first's."""
        return self.second - self.first


@dataclass(frozen=True, repr=False)
class PlanComparison:
    """Metrics and goals of two plans, shown as tables by `print` and in notebooks.

    Attributes
    ----------
    names : tuple of str
        Of the two plans.
    first_goals, second_goals : GoalTable
        The same goals, judged for either plan.
    """

    names: tuple[str, str]
    metrics: tuple[MetricComparison, ...]
    first_goals: GoalTable
    second_goals: GoalTable

    @property
    def metric_columns(self) -> tuple[str, ...]:
        """Column names of `metric_rows`."""
        return ("structure", "metric", "unit", *self.names, "difference")

    def metric_rows(self) -> list[tuple[str, ...]]:
        """Metrics as text, under `metric_columns`; the difference is the second plan's value minus the first's."""
        return [
            (m.structure, m.metric.name, m.metric.unit, f"{m.first:.2f}", f"{m.second:.2f}", f"{m.difference:+.2f}")
            for m in self.metrics
        ]

    @property
    def goal_columns(self) -> tuple[str, ...]:
        """Column names of `goal_rows`."""
        first, second = self.names
        return ("structure", "metric", "goal", first, f"{first} met", second, f"{second} met", "difference")

    def goal_rows(self) -> list[tuple[str, ...]]:
        """Goals as text, under `goal_columns`."""
        rows: list[tuple[str, ...]] = []
        for first, second in zip(self.first_goals, self.second_goals, strict=True):
            goal = first.goal
            met = ["yes" if result.met else "NO" for result in (first, second)]
            values = [f"{result.value:.2f} {goal.unit}".rstrip() for result in (first, second)]
            difference = f"{second.value - first.value:+.2f} {goal.unit}".rstrip()
            rows.append(
                (goal.structure, goal.metric_name, goal.requirement, values[0], met[0], values[1], met[1], difference)
            )
        return rows

    def records(self) -> list[dict[str, Any]]:
        """Plain data of the metrics, such as JSON holds, with the two values under the names of the plans."""
        return [
            {
                "structure": m.structure,
                "metric": m.metric.name,
                "unit": m.metric.unit,
                self.names[0]: m.first,
                self.names[1]: m.second,
                "difference": m.difference,
            }
            for m in self.metrics
        ]

    def __str__(self) -> str:
        tables = [format_table(self.metric_columns, self.metric_rows())]
        if len(self.first_goals):
            tables.append(format_table(self.goal_columns, self.goal_rows()))
        return "\n\n".join(tables)

    def _repr_html_(self) -> str:
        tables = [html_table(self.metric_columns, self.metric_rows(), caption=" and ".join(self.names))]
        if len(self.first_goals):
            fills = [self._fill(a.met, b.met) for a, b in zip(self.first_goals, self.second_goals, strict=True)]
            tables.append(html_table(self.goal_columns, self.goal_rows(), fills=fills, caption="goals"))
        return "<br>".join(tables)

    @staticmethod
    def _fill(first: bool, second: bool) -> str | None:
        """Green if only the second plan meets the goal, red if only the first does."""
        if first == second:
            return None
        return PASS_COLOR if second else FAIL_COLOR

    def __repr__(self) -> str:
        first, second = self.names
        return (
            f"PlanComparison({first!r} and {second!r}: {len(self.metrics)} metrics; "
            f"{self.first_goals.n_met} and {self.second_goals.summary})"
        )


def compare_plans(
    first: Any,
    second: Any,
    structures: Iterable[Structure] | None = None,
    goals: Iterable[DVHGoal | str] = (),
    *,
    names: Sequence[str] = ("first", "second"),
    metrics: Iterable[DVHMetric | str] = COMPARED_METRICS,
    grid: VoxelGrid | None = None,
    number_of_fractions: int | None = None,
) -> PlanComparison:
    """Compare two plans by the doses of the same structures.

    Parameters
    ----------
    first, second : Plan, OptimizationResult or array_like, shape (nx, ny, nz)
        Plans with beamlet weights, results, or doses in Gy; on the same grid.
    structures : iterable of Structure, optional
        On that grid. Default: those of a Plan that overlap it.
    goals : iterable of DVHGoal or str
        Judged for both.
    names : sequence of two str
        Names of the plans.
    metrics : iterable of DVHMetric or str
        For every structure.
    grid : VoxelGrid, optional
        For metrics in cm³, if neither dose carries its grid.
    number_of_fractions : int, optional
        For goals of EQD2, BED or effect of doses and results; plans have their own.

    Returns
    -------
    PlanComparison

    Raises
    ------
    ValueError
        If structures are neither given nor part of a plan, there are not two different names, the grids differ, or
        a goal or metric is wrong.

    Examples
    --------
    >>> import opentps_brimstone as pb
    >>> organ = pb.Structure("Cord", np.ones((2, 1, 1)))
    >>> doses = (np.full((2, 1, 1), dose) for dose in (10.0, 8.0))
    >>> print(compare_plans(*doses, [organ], ["Cord Dmax <= 9 Gy"], names=("old", "new"), metrics=["Dmean"]))
    structure  metric  unit  old    new   difference
    ---------  ------  ----  -----  ----  ----------
    Cord       Dmean   Gy    10.00  8.00  -2.00
    <BLANKLINE>
    structure  metric  goal     old       old met  new      new met  difference
    ---------  ------  -------  --------  -------  -------  -------  ----------
    Cord       Dmax    <= 9 Gy  10.00 Gy  NO       8.00 Gy  yes      -2.00 Gy
    """
    called = tuple(names)
    if len(called) != 2 or called[0] == called[1]:
        raise ValueError(f"the names of the plans are {list(called)}; two different ones are needed")
    organs = _structures_of(structures, first, second)
    doses = [_dose_of(plan) for plan in (first, second)]
    grids = [grid_of(dose, grid) for dose in doses]
    where = grids[0] or grids[1]
    if grids[0] and grids[1] and grids[0] != grids[1]:
        raise ValueError(f"the plans are on different grids: {grids[0]} and {grids[1]}")
    voxel_cc = None if where is None else voxel_volume_cc(where)
    chosen = [DVHMetric(metric) if isinstance(metric, str) else metric for metric in metrics]
    rows = [
        MetricComparison(organ.name, metric, *(metric.of_structure(dose, organ, voxel_cc) for dose in doses))
        for organ in organs
        for metric in chosen
    ]
    wanted = list(goals)
    tables = [
        evaluate(
            np.asarray(dose),
            organs,
            wanted,
            grid=where,
            number_of_fractions=getattr(plan, "number_of_fractions", number_of_fractions),
        )
        for dose, plan in zip(doses, (first, second), strict=True)
    ]
    return PlanComparison((called[0], called[1]), tuple(rows), *tables)


def _dose_of(plan: Any) -> FloatArray:
    if hasattr(plan, "get_dose"):
        plan = plan.get_dose()
    return np.asanyarray(getattr(plan, "dose", plan), dtype=np.float64)


def _structures_of(structures: Iterable[Structure] | None, *plans: Any) -> list[Structure]:
    if structures is not None:
        return list(structures)
    for plan in plans:
        if hasattr(plan, "get_dose"):
            return [structure for structure in plan.structures if structure.is_on_grid]
    raise ValueError("a comparison of doses needs structures=; only a Plan brings its own")
