"""Pages about many plans, trade-offs and beam directions, and about plans in many scenarios."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from opentps_brimstone import visualization
from opentps_brimstone.ensembles import BeamSelection, MixedPlan, RobustnessResult, Tradeoff, plot_tradeoff
from opentps_brimstone.evaluation.goals import FAIL_COLOR, PASS_COLOR, GoalTable
from opentps_brimstone.report.page import Table, data_uri, figure_of, rendered

if TYPE_CHECKING:
    from opentps_brimstone.model.structure import Structure

__all__ = ["angles_page", "robustness_page", "tradeoff_page"]

_Facts = Sequence[tuple[str, str]]


def tradeoff_page(
    title: str,
    tradeoff: Tradeoff,
    mixed: MixedPlan,
    goals: GoalTable,
    structures: Sequence[Structure],
    facts: _Facts,
) -> str:
    """Lay out a trade-off, and a mixture of its plans with its goals, as an HTML page.

    Parameters
    ----------
    title : str
    tradeoff : Tradeoff
    mixed : MixedPlan
    goals : GoalTable
        Of the mixture.
    structures : sequence of Structure
        Whose histograms are drawn.
    facts : sequence of (str, str)

    Returns
    -------
    str
        An HTML document without references to anything outside it.
    """
    size = 3.1 * (len(tradeoff.criteria) - 1)
    figure = figure_of(10.5, 5.2)
    ax = figure.subplots()
    visualization.plot_dvh(np.asarray(mixed.dose), structures, ax=ax)
    ax.set_title("")
    return rendered(
        "tradeoff.html",
        title=title,
        facts=[*facts, ("plans", tradeoff.summary), ("took", f"{tradeoff.time_s:.0f} s")],
        scatter=data_uri(plot_tradeoff(tradeoff, figure_of(size + 1.6, size + 0.6), mixed=mixed)),
        parts=int(np.count_nonzero(mixed.shares)),
        goals=_goals(goals),
        dvh=data_uri(figure, "svg"),
        plans=Table(tradeoff.columns, tradeoff.rows()),
    )


def angles_page(
    title: str,
    selection: BeamSelection,
    judged: Sequence[tuple[str, GoalTable]],
    angles: Sequence[float],
    facts: _Facts,
) -> str:
    """Lay out chosen beam directions, and the goals of plans with them, as an HTML page.

    Parameters
    ----------
    title : str
    selection : BeamSelection
    judged : sequence of (str, GoalTable)
        What a plan is of, and its goals.
    angles : sequence of float
        Gantry angles of all candidates, in degrees.
    facts : sequence of (str, str)

    Returns
    -------
    str
        An HTML document without references to anything outside it.
    """
    return rendered(
        "angles.html",
        title=title,
        facts=[*facts, ("chosen", ", ".join(selection.names)), ("plans made", str(selection.plans_made))],
        judged=[(heading, _goals(goals)) for heading, goals in judged],
        rose=_rose(selection, angles),
        steps=Table(selection.COLUMNS, selection.rows()),
    )


def robustness_page(
    title: str,
    judged: Sequence[tuple[str, RobustnessResult]],
    structures: Sequence[Structure],
    facts: _Facts,
) -> str:
    """Lay out goals and bands of histograms of plans in scenarios as an HTML page.

    Parameters
    ----------
    title : str
    judged : sequence of (str, RobustnessResult)
        What a plan is, and what it gives in scenarios.
    structures : sequence of Structure
        Whose histograms are drawn.
    facts : sequence of (str, str)

    Returns
    -------
    str
        An HTML document without references to anything outside it.
    """
    return rendered(
        "robustness.html",
        title=title,
        facts=[*facts, ("scenarios", ", ".join(scenario.name for scenario in judged[0][1].scenarios))],
        judged=[
            (heading, found.summary, Table(found.COLUMNS, found.rows(), found.fills), _bands(found, structures))
            for heading, found in judged
        ],
        every=[(heading, _values(found)) for heading, found in judged],
    )


def _bands(found: RobustnessResult, structures: Sequence[Structure]) -> str:
    figure = figure_of(10.5, 5.2)
    ax = figure.subplots()
    shown = [structure for structure in structures if structure.name in found.volumes]
    bands = found.bands(structure.name for structure in shown)
    visualization.plot_dvh_bands(bands, visualization.structure_colors(shown), ax=ax)
    ax.set_title("")
    return data_uri(figure, "svg")


def _values(found: RobustnessResult) -> Table:
    """Values of all goals, a row for each scenario."""
    columns = ("scenario", *(str(result.goal) for result in found.goals[0]))
    rows = [
        (scenario.name, *(f"{result.value:.2f}" for result in table))
        for scenario, table in zip(found.scenarios, found.goals, strict=True)
    ]
    return Table(columns, rows)


def _goals(goals: GoalTable) -> Table:
    fills = [PASS_COLOR if each.met else FAIL_COLOR for each in goals]
    return Table(goals.COLUMNS, goals.rows(), fills)


def _rose(selection: BeamSelection, angles: Sequence[float]) -> str:
    added = [step for step in selection.steps if step.action == "add"]
    tried = {beam: cost for beam, cost in (added or selection.steps)[-1].tried.items() if math.isfinite(cost)}
    figure = figure_of(5.6, 5.2)
    ax: Any = figure.add_subplot(projection="polar")
    ax.set_theta_zero_location("N")
    ax.set_theta_direction(-1)
    ax.scatter(np.deg2rad([angles[beam] for beam in tried]), list(tried.values()), color="0.5", s=26, zorder=3)
    outside = max(tried.values(), default=1.0) * 1.08
    for beam in selection.beams:
        ax.plot([np.deg2rad(angles[beam])] * 2, [0.0, outside], color="#0072B2", linewidth=2.2)
    ax.set_ylim(0.0, outside)
    return data_uri(figure, "svg")
