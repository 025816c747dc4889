"""One figure and a few plain files that say what a plan is worth."""

from __future__ import annotations

import dataclasses
import json
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from opentps_brimstone import visualization
from opentps_brimstone._typing import FloatArray
from opentps_brimstone.evaluation import GoalTable, cumulative_dvh, dose_statistics, format_table
from opentps_brimstone.evaluation.goals import FAIL_COLOR, PASS_COLOR
from opentps_brimstone.optimization.terms import KLDivergenceTerm

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

    from opentps_brimstone.integration.deliverable import DeliverablePlan
    from opentps_brimstone.model.influence import BeamletLayout, VoxelGrid
    from opentps_brimstone.model.structure import Structure
    from opentps_brimstone.optimization.terms import ObjectiveTerm
    from opentps_brimstone.sequencing import SequencedBeam

__all__ = [
    "REPORT_FILES",
    "PlanReport",
    "dvh_columns",
    "goals_table",
    "machine_beams",
    "report_figure",
    "save_apertures",
    "save_report",
    "statistics_table",
]


REPORT_FILES = ("report.png", "dvh.csv", "goals.txt", "goals.json")
"""Names of the files `save_report` writes."""

_WIDTH_INCHES = 17.0
_DOTS_PER_INCH = 130
_MAPS_IN_A_ROW = 9
_FACTS_LINE_LETTERS = 190
_HARD_SPACE = "\N{NO-BREAK SPACE}"
_MARGIN_AROUND_BODY_MM = 16.0
_DVH_STEP_GY = 0.1
_STRIP_INCHES = (22.0, 0.9, 2.0)
"""Of a beam's picture: width, and the heights of titles and of a row of apertures."""
_FLUENCE_INCHES = (9.5, 3.4)
_STRIP_DOTS_PER_INCH = 90
_APERTURES_IN_A_ROW = 7
_LEAST_ROWS = 2
_STATISTICS = ("structure", "min", "mean", "max", "D98", "D95", "D50", "D10", "D2")


@dataclass(frozen=True, eq=False)
class PlanReport:
    """What a report shows.

    Attributes
    ----------
    title : str
    ct_hu : ndarray, shape (nx, ny, nz)
        HU.
    dose : ndarray, shape (nx, ny, nz)
        Gy over all fractions.
    grid : VoxelGrid
        Of both.
    structures : sequence of Structure
    goals : GoalTable
        Evaluated for this dose.
    prescription_gy : float
        Dose that is 100 %.
    isocenter_mm : tuple of float
        Where the three planes meet.
    layout : BeamletLayout
    beamlet_weights : ndarray, shape (n_beamlets,)
        MU per fraction.
    beam_names : sequence of str
        One for each beam of the layout.
    convergence_history : mapping
        As `OptimizationResult` has it.
    objectives : sequence of (str, ObjectiveTerm)
        What was asked of which structure.
    facts : mapping of str to str
        Short statements for the head of the figure and the text, such as times.
    fluence_goals : GoalTable, optional
        The same goals for the dose of the optimized fluence, to be shown beside those of a plan of segments.
    """

    title: str
    ct_hu: FloatArray
    dose: FloatArray
    grid: VoxelGrid
    structures: Sequence[Structure]
    goals: GoalTable
    prescription_gy: float
    isocenter_mm: tuple[float, float, float]
    layout: BeamletLayout
    beamlet_weights: FloatArray
    beam_names: Sequence[str]
    convergence_history: Mapping[str, Sequence[Any]]
    objectives: Sequence[tuple[str, ObjectiveTerm]] = ()
    facts: Mapping[str, str] = field(default_factory=dict)
    fluence_goals: GoalTable | None = None

    def __post_init__(self) -> None:
        for name in ("ct_hu", "dose"):
            shape = np.shape(getattr(self, name))
            if shape != self.grid.shape:
                raise ValueError(f"{name} has the grid {shape}; the report's is {self.grid.shape}")
        if len(self.beam_names) != self.layout.n_beams:
            raise ValueError(f"there are {self.layout.n_beams} beams and {len(self.beam_names)} names for them")

    @property
    def target_dvhs(self) -> dict[str, FloatArray]:
        """Target DVH points (Gy, volume share) of the structures that have them."""
        return {name: term.dvh for name, term in self.objectives if isinstance(term, KLDivergenceTerm)}


# ------------------------------------------------------------------------------------------------------------- figure


def report_figure(report: PlanReport) -> Figure:
    """Draw everything on one page.

    Parameters
    ----------
    report : PlanReport

    Returns
    -------
    matplotlib Figure
        Dose on three planes through the isocenter, DVHs, convergence, goals and statistics, fluence maps.
    """
    from matplotlib.figure import Figure

    map_rows = -(-report.layout.n_beams // _MAPS_IN_A_ROW)
    lines = _facts_lines(report)
    head_height = 0.5 + 0.2 * len(lines)
    map_height = 2.6 + 0.32 * max(name.count("\n") for name in report.beam_names)
    heights = [head_height, 4.3, 4.1, 1.75, map_height * map_rows]
    figure = Figure(figsize=(_WIDTH_INCHES, sum(heights)), dpi=_DOTS_PER_INCH, layout="constrained", facecolor="white")
    pages: Any = figure.subfigures(len(heights), 1, height_ratios=heights, hspace=0.02)
    head, planes, graphs, tables, maps = pages
    _draw_head(head, report, lines, head_height)
    draw_planes(planes, report)
    _draw_graphs(graphs, report)
    _draw_tables(tables, report)
    _draw_maps(maps, report, map_rows)
    return figure


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


def draw_planes(page: Figure | SubFigure, report: PlanReport) -> None:
    """Draw the dose on three planes through the isocenter, and its key.

    Parameters
    ----------
    page : matplotlib Figure or SubFigure
    report : PlanReport
    """
    body = np.argwhere(np.asarray(report.ct_hu) > np.min(report.ct_hu))
    size = np.ptp(body, axis=0) * report.grid.spacing_mm + 2 * _MARGIN_AROUND_BODY_MM if len(body) else np.ones(3)
    widths = [float(size[lying.across] / size[lying.up]) for lying in visualization.PLANES.values()]
    axes = page.subplots(1, 4, width_ratios=[*widths, 0.35])
    for ax, (plane, lying) in zip(axes[:3], visualization.PLANES.items(), strict=True):
        visualization.plot_dose_wash(
            report.dose,
            report.ct_hu,
            report.grid,
            report.structures,
            prescription_gy=report.prescription_gy,
            plane=plane,
            position_mm=report.isocenter_mm[lying.normal],
            crop_mm=_MARGIN_AROUND_BODY_MM,
            ax=ax,
        )
    visualization.plot_isodose_legend(report.prescription_gy, ax=axes[3])


def _draw_graphs(page: SubFigure, report: PlanReport) -> None:
    dvh, convergence = page.subplots(1, 2, width_ratios=[1.55, 1.0])
    visualization.plot_dvh(report.dose, report.structures, targets=report.target_dvhs, ax=dvh)
    visualization.plot_convergence(report.convergence_history, ax=convergence)


def _draw_tables(page: SubFigure, report: PlanReport) -> None:
    goals, statistics = page.subplots(1, 2, width_ratios=[1.0, 1.35])
    fills = [PASS_COLOR if result.met else FAIL_COLOR for result in report.goals]
    _draw_table(goals, "goals", *_goal_columns(report), fills)
    rows = _statistics_rows(report)
    _draw_table(statistics, "dose statistics (Gy)", _STATISTICS, rows, ["white"] * len(rows))


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


def _draw_maps(page: SubFigure, report: PlanReport, rows: int) -> None:
    columns = min(_MAPS_IN_A_ROW, report.layout.n_beams)
    axes = page.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
    highest = float(np.max(report.beamlet_weights))
    for beam, ax in enumerate(axes):
        if beam >= report.layout.n_beams:
            ax.set_axis_off()
            continue
        tiles = visualization.plot_fluence(
            report.layout,
            report.beamlet_weights,
            beam,
            highest_mu=highest,
            title=report.beam_names[beam],
            ax=ax,
        )
        if beam % columns:
            ax.set_ylabel("")
    page.colorbar(tiles, ax=list(axes), label="MU per fraction", shrink=0.85, pad=0.008, aspect=14)


# -------------------------------------------------------------------------------------------------------------- files


def _goal_columns(report: PlanReport) -> tuple[Sequence[str], Sequence[Sequence[str]]]:
    """Names of the columns and rows of the table of goals."""
    rows = report.goals.rows()
    if report.fluence_goals is None:
        return GoalTable.COLUMNS, rows
    *start, value, met = GoalTable.COLUMNS
    beside = [(*row[:-1], fluence[-2], row[-1]) for row, fluence in zip(rows, report.fluence_goals.rows(), strict=True)]
    return (*start, value, "fluence", met), beside


def goals_table(report: PlanReport) -> str:
    """Lay out the goals as text, with the values of the fluence beside those of the segments if there are both.

    Parameters
    ----------
    report : PlanReport

    Returns
    -------
    str
    """
    return format_table(*_goal_columns(report))


def _statistics_rows(report: PlanReport) -> list[list[str]]:
    rows = []
    for each in dose_statistics(report.dose, report.structures):
        doses = (each.minimum, each.mean, each.maximum, each.d98, each.d95, each.d50, each.d10, each.d2)
        rows.append([each.structure, *(f"{dose:.1f}" for dose in doses)])
    return rows


def statistics_table(report: PlanReport) -> str:
    """Lay out the dose statistics as text.

    Parameters
    ----------
    report : PlanReport

    Returns
    -------
    str
    """
    return format_table(_STATISTICS, _statistics_rows(report))


def save_report(report: PlanReport, folder: Path) -> list[Path]:
    """Write figure, DVHs and goals into a folder.

    Parameters
    ----------
    report : PlanReport
    folder : Path
        Exists; files of the names in `REPORT_FILES` are replaced.

    Returns
    -------
    list of Path
        What was written: ``report.png``; ``dvh.csv`` with a column ``dose_gy`` and one for each structure, in
        percent of its volume; ``goals.txt``; ``goals.json``.
    """
    paths = [Path(folder) / name for name in REPORT_FILES]
    report_figure(report).savefig(paths[0])
    _write_dvhs(report, paths[1])
    facts = "\n".join(f"{name}: {value}" for name, value in report.facts.items())
    parts = (report.title, facts, goals_table(report), f"Dose statistics (Gy)\n\n{statistics_table(report)}")
    paths[2].write_text("\n\n".join(part for part in parts if part) + "\n", encoding="utf-8")
    document = {"title": report.title, "all_met": report.goals.all_met, "goals": report.goals.records()}
    if report.fluence_goals is not None:
        document["fluence_goals"] = report.fluence_goals.records()
    paths[3].write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    return paths


def dvh_columns(report: PlanReport) -> tuple[FloatArray, dict[str, FloatArray]]:
    """Cumulative DVHs of all structures on one axis.

    Parameters
    ----------
    report : PlanReport

    Returns
    -------
    dose_gy : ndarray, shape (n,)
        Every 0.1 Gy, until beyond the highest dose.
    volumes_percent : dict of str to ndarray, shape (n,)
        Of each structure's volume, by its name.
    """
    axis = np.arange(0.0, float(np.max(report.dose)) + 2 * _DVH_STEP_GY, _DVH_STEP_GY)
    return axis, {each.name: 100 * cumulative_dvh(report.dose, each.share, axis) for each in report.structures}


def _write_dvhs(report: PlanReport, path: Path) -> None:
    import csv

    axis, columns = dvh_columns(report)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["dose_gy", *columns])
        for dose, *volumes in zip(axis, *columns.values(), strict=True):
            writer.writerow([f"{dose:.1f}", *(f"{volume:.4f}" for volume in volumes)])


# ---------------------------------------------------------------------------------------------------------- apertures


def machine_beams(deliverable: DeliverablePlan) -> list[SequencedBeam]:
    """Sequenced beams with the machine's MU instead of the engine's.

    Parameters
    ----------
    deliverable : DeliverablePlan

    Returns
    -------
    list of SequencedBeam
        Those that have segments.
    """
    factor = deliverable.calibration.factor
    return [
        dataclasses.replace(
            beam,
            apertures=tuple(dataclasses.replace(aperture, mu=factor * aperture.mu) for aperture in beam.apertures),
            wanted=factor * beam.wanted,
        )
        for beam in deliverable.sequenced_beams
    ]


def save_apertures(beams: Sequence[SequencedBeam], names: Sequence[str], path: Path) -> None:
    """Draw every beam's fluence, wanted and delivered, and its apertures, all in beam's eye view.

    Parameters
    ----------
    beams : sequence of SequencedBeam
        With at least one aperture each.
    names : sequence of str
        Names of all beams, which `beam_index` counts.
    path : Path
        PNG file to write, with a strip for each beam; replaced if it exists.
    """
    from matplotlib.image import imsave

    imsave(path, np.concatenate([_beam_strip(beam, names[beam.beam_index]) for beam in beams]))


def _beam_strip(beam: SequencedBeam, name: str) -> npt.NDArray[np.uint8]:
    """Picture of a beam; a figure of its own, since the layout of hundreds of axes together takes long."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from opentps_brimstone.visualization.apertures import plot_apertures, plot_fluence_comparison

    rows = -(-len(beam.apertures) // _APERTURES_IN_A_ROW)
    width, above, tall = _STRIP_INCHES
    left, top = _FLUENCE_INCHES
    height = above + tall * max(rows, _LEAST_ROWS)
    figure = Figure(
        figsize=(width, height),
        dpi=_STRIP_DOTS_PER_INCH,
        layout="constrained",
        facecolor="white",
    )
    figure.suptitle(name.replace("\n", ", "), x=0.006, ha="left", weight="bold", fontsize="x-large")
    halves: Any = figure.subfigures(1, 2, width_ratios=[left, width - left])
    left_half, apertures = halves
    fluence: Any = left_half.subfigures(2, 1, height_ratios=[top, height - top])[0]
    plot_fluence_comparison(beam, figure=fluence)
    plot_apertures(beam, columns=_APERTURES_IN_A_ROW, figure=apertures)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
