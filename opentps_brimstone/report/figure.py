"""A plan on one page: a figure of dose, DVHs, goals and fluence."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from opentps_brimstone import visualization
from opentps_brimstone.evaluation.goals import FAIL_COLOR, PASS_COLOR
from opentps_brimstone.report.plan_report import EQD2_COLUMNS, STATISTICS
from opentps_brimstone.visualization.plots import structure_colors

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

    from opentps_brimstone.report.plan_report import PlanReport

__all__ = ["draw_eqd2_dvh", "draw_planes", "report_figure"]

_WIDTH_INCHES = 17.0
_DOTS_PER_INCH = 130
_MAPS_IN_A_ROW = 9
_FACTS_LINE_LETTERS = 190
_HARD_SPACE = "\N{NO-BREAK SPACE}"
_MARGIN_AROUND_BODY_MM = 16.0


def report_figure(report: PlanReport) -> Figure:
    """Draw a plan on one page: dose on three planes through the isocenter, DVHs, convergence, goals, fluence maps."""
    from matplotlib.figure import Figure

    map_rows = -(-report.layout.n_beams // _MAPS_IN_A_ROW)
    lines = _facts_lines(report)
    captions = _captions(report)
    head_height = 0.5 + 0.2 * len(lines)
    map_height = 2.6 + 0.32 * max(caption.count("\n") for caption in captions)
    eqd2_heights = [4.3, 4.1] if report.has_previous_dose else []
    heights = [head_height, 4.3, 4.1, *eqd2_heights, 1.75, map_height * map_rows]
    figure = Figure(figsize=(_WIDTH_INCHES, sum(heights)), dpi=_DOTS_PER_INCH, layout="constrained", facecolor="white")
    pages: Any = figure.subfigures(len(heights), 1, height_ratios=heights, hspace=0.02)
    head, planes, graphs, *eqd2, tables, maps = pages
    _draw_head(head, report, lines, head_height)
    draw_planes(planes, report)
    _draw_graphs(graphs, report)
    if report.has_previous_dose:
        draw_planes(eqd2[0], report, cumulative_eqd2=True)
        _draw_eqd2(eqd2[1], report)
    _draw_tables(tables, report)
    _draw_maps(maps, report, captions, map_rows)
    return figure


def _captions(report: PlanReport) -> list[str]:
    captions = [name.replace(", ", "\n", 1) for name in report.beam_names]
    for number, beam in report.machine_beams.items():
        captions[number] += f"\n{len(beam.apertures)} segments\n{beam.mu:.0f} MU"
    return captions


def _facts_lines(report: PlanReport) -> list[str]:
    facts = "   ·   ".join(f"{name}: {value}".replace(" ", _HARD_SPACE) for name, value in report.facts.items())
    return [line.replace(_HARD_SPACE, " ").strip(" ·") for line in textwrap.wrap(facts, _FACTS_LINE_LETTERS)]


def _draw_head(page: SubFigure, report: PlanReport, lines: Sequence[str], height: float) -> None:
    middle = 1 - 0.25 / height
    page.text(0.012, middle, report.title, fontsize=19, weight="bold", va="center")
    met = sum(result.met for result in report.goals)
    color = "#00704F" if report.goals.all_met else "#B03A00"
    page.text(
        0.988, middle, f"{met} of {len(report.goals)} goals met", fontsize=15, weight="bold", ha="right", va="center",
        color=color,
    )  # fmt: skip
    page.text(0.012, 1 - 0.5 / height, "\n".join(lines), fontsize=10.5, va="top", color="0.25")


def draw_planes(page: Figure | SubFigure, report: PlanReport, *, cumulative_eqd2: bool = False) -> None:
    """Draw the dose on three planes through the isocenter, and its legend.

    Parameters
    ----------
    page : matplotlib Figure or SubFigure
    report : PlanReport
    cumulative_eqd2 : bool
        Draw the EQD2 of this course and what was given before, in place of dose.
    """
    shown = report.cumulative_eqd2() if cumulative_eqd2 else report.dose
    body = np.argwhere(np.asarray(report.ct_hu) > np.min(report.ct_hu))
    size = np.ptp(body, axis=0) * report.grid.spacing_mm + 2 * _MARGIN_AROUND_BODY_MM if len(body) else np.ones(3)
    widths = [float(size[lying.across] / size[lying.up]) for lying in visualization.PLANES.values()]
    axes = page.subplots(1, 4, width_ratios=[*widths, 0.35])
    for ax, (plane, lying) in zip(axes[:3], visualization.PLANES.items(), strict=True):
        visualization.plot_dose_wash(
            shown,
            report.ct_hu,
            report.grid,
            report.structures,
            prescription_gy=report.prescription_gy,
            plane=plane,
            position_mm=report.isocenter_mm[lying.normal],
            crop_mm=_MARGIN_AROUND_BODY_MM,
            ax=ax,
        )
        if cumulative_eqd2:
            ax.set_title(f"cumulative EQD2: {ax.get_title()}")
    visualization.plot_isodose_legend(report.prescription_gy, ax=axes[3])


def draw_eqd2_dvh(ax: Axes, report: PlanReport) -> None:
    """Draw the DVHs of cumulative EQD2, and those of this course alone dotted.

    Parameters
    ----------
    ax : matplotlib Axes
    report : PlanReport
    """
    colors = structure_colors(report.structures)
    both = report.eqd2_dvhs()
    visualization.plot_dvh_curves(both, colors, highest_gy=max(float(axis[-1]) for axis, _ in both.values()), ax=ax)
    for name, (axis, volume) in report.eqd2_dvhs(before=False).items():
        ax.plot(axis, 100 * volume, color=colors[name], linewidth=1.2, linestyle="dotted")
    ax.set_xlabel("EQD2 (Gy): both courses, and dotted this one alone")
    ax.set_title("cumulative EQD2")


def _draw_eqd2(page: SubFigure, report: PlanReport) -> None:
    dvh, table = page.subplots(1, 2, width_ratios=[1.2, 1.35])
    draw_eqd2_dvh(dvh, report)
    rows = report.eqd2_rows()
    _draw_table(table, "EQD2 (Gy)", EQD2_COLUMNS, rows, ["white"] * len(rows))


def _draw_graphs(page: SubFigure, report: PlanReport) -> None:
    dvh, convergence = page.subplots(1, 2, width_ratios=[1.55, 1.0])
    visualization.plot_dvh(report.dose, report.structures, targets=report.target_dvhs, ax=dvh)
    visualization.plot_convergence(report.optimization.convergence_history, ax=convergence)


def _draw_tables(page: SubFigure, report: PlanReport) -> None:
    goals, statistics = page.subplots(1, 2, width_ratios=[1.0, 1.35])
    fills = [PASS_COLOR if result.met else FAIL_COLOR for result in report.goals]
    _draw_table(goals, "goals", *report.goal_rows(), fills)
    rows = report.statistics_rows()
    columns = ("structure", *STATISTICS.values())
    _draw_table(statistics, "dose statistics (Gy)", columns, rows, ["white"] * len(rows))


def _draw_table(
    ax: Axes, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], fills: Sequence[str]
) -> None:
    from matplotlib.transforms import Bbox

    ax.set_axis_off()
    ax.set_title(title)
    if not rows:
        ax.text(0.5, 0.5, "none", ha="center", va="center", transform=ax.transAxes)
        return
    height = min(1.0, 0.22 * (len(rows) + 1))
    table = ax.table(
        cellText=[list(row) for row in rows],
        colLabels=list(columns),
        cellLoc="center",
        cellColours=[[fill] * len(columns) for fill in fills],
        colColours=["0.9"] * len(columns),
        bbox=Bbox.from_bounds(0.0, 1.0 - height, 1.0, height),
    )
    table.auto_set_font_size(False)
    table.set_fontsize(10.5)
    for cell in table.get_celld().values():
        cell.set_edgecolor("0.8")


def _draw_maps(page: SubFigure, report: PlanReport, captions: Sequence[str], rows: int) -> None:
    columns = min(_MAPS_IN_A_ROW, report.layout.n_beams)
    axes = page.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
    fluence = report.machine_fluence
    highest = float(np.max(fluence))
    for beam, ax in enumerate(axes):
        if beam >= report.layout.n_beams:
            ax.set_axis_off()
            continue
        tiles = visualization.plot_fluence(
            report.layout,
            fluence,
            beam,
            highest_mu=highest,
            title=captions[beam],
            ax=ax,
        )
        if beam % columns:
            ax.set_ylabel("")
    page.colorbar(tiles, ax=list(axes), label="MU per fraction", shrink=0.85, pad=0.008, aspect=14)
