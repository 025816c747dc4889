"""The planning cases of AAPM Task Group 119 as one benchmark: planned to their goals, recalculated and tabulated."""

from __future__ import annotations

import csv
import json
import logging
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from opentps_brimstone._util.output_folder import check_folder
from opentps_brimstone._util.run_options import RunOptions
from opentps_brimstone.evaluation import DVHGoal, GoalTable, format_table, mean_dose
from opentps_brimstone.evaluation.extremes import hot_spot
from opentps_brimstone.evaluation.tables import FAIL_COLOR, PASS_COLOR
from opentps_brimstone.integration.deliverable import LEAST_GAMMA_PASS_PERCENT
from opentps_brimstone.phantoms import Phantom, make_phantom
from opentps_brimstone.workflow.phantom_case import PhantomSettings, run_demo
from opentps_brimstone.workflow.planning import PlanningResult

__all__ = ["CASES", "INSTITUTIONS", "SOURCE", "SUITE_FILES", "CaseResult", "SuiteResult", "run_case", "run_suite"]

_log = logging.getLogger(__name__)

CASES = ("multitarget", "prostate", "head-neck", "c-shape", "c-shape-hard")
"""Names of the cases, of `opentps_brimstone.phantoms.PHANTOMS`."""

SUITE_FILES = ("tg119.txt", "tg119.md", "tg119.csv", "tg119.json", "tg119.png")
"""Names of the files that a suite writes beside the folders of its cases."""

SOURCE = (
    "Goals and institutions' means ± SD: G. A. Ezzell et al., Med. Phys. 36 (2009) 5359, doi 10.1118/1.3238104, quoted "
    "at second hand; not checked against the report's own tables."
)
"""Source of the goals, and whether they were checked against it."""

_PAROTID = (18.0, 1.8)
INSTITUTIONS: dict[str, dict[str, tuple[float, float]]] = {
    "multitarget": {
        "Central D99": (49.6, 1.6),
        "Central D10": (54.6, 1.7),
        "Superior D99": (25.2, 0.9),
        "Superior D10": (34.1, 3.0),
        "Inferior D99": (14.1, 1.9),
        "Inferior D10": (24.2, 2.7),
    },
    "prostate": {
        "PTV D95": (75.7, 0.2),
        "PTV D5": (81.4, 1.6),
        "Rectum D30": (65.4, 3.0),
        "Rectum D10": (73.0, 1.5),
        "Bladder D30": (43.9, 8.8),
        "Bladder D10": (62.7, 8.2),
    },
    "head-neck": {
        "PTV D90": (50.3, 0.6),
        "PTV D99": (47.0, 0.5),
        "PTV D20": (53.0, 0.9),
        "Cord Dmax": (37.4, 2.5),
        "Left parotid D50": _PAROTID,
        "Right parotid D50": _PAROTID,
    },
    "c-shape": {"PTV D95": (50.1, 0.2), "PTV D10": (54.4, 0.5), "Core D10": (22.0, 3.1)},
    "c-shape-hard": {"PTV D95": (50.1, 0.2), "PTV D10": (57.0, 2.2), "Core D10": (16.3, 3.1)},
}
"""Mean and standard deviation of the institutions' plans, in Gy, by case, structure and metric."""

_HOT_SPOT_SHARE = 1.1
_MET, _AS_INSTITUTIONS, _MISSED = "yes", "as institutions", "NO"
_COLUMNS = ("case", "goal", "institutions", "fluence", "recalculated", "sequenced", "met")


@dataclass(frozen=True)
class CaseResult:
    """Plan of a case, judged.

    Attributes
    ----------
    name, title : str
    fluence : GoalTable
        For the dose of the optimized fluence, as the optimizer knows it.
    recalculated : GoalTable or None
        For the dose engine's dose of the fluence, if no segments were made.
    mean_doses : dict of str to float
        Recalculated mean doses of the structures that are not targets, in Gy.
    hot_spot_gy, hot_spot_limit_gy : float
        Highest recalculated dose outside the targets, and 110 % of the prescription.
    difference : float
        Largest difference between the recalculated dose and the dose of the same fluence from beamlet doses, as a
        share of the latter's maximum.
    times_s : dict of str to float
        Wall time of each stage.
    rounds, iterations : int
    sequenced : GoalTable or None
        For the dose engine's dose of the segments, if any were made.
    segments : int or None
    monitor_units : float or None
        Machine MU per fraction of the segments.
    gamma_pass_percent : float or None
        Percentage of the voxels where the dose of the segments agrees with the optimized one, by gamma 2 %/2 mm.
    """

    name: str
    title: str
    fluence: GoalTable = field(repr=False)
    recalculated: GoalTable | None = field(repr=False)
    mean_doses: dict[str, float] = field(repr=False)
    hot_spot_gy: float
    hot_spot_limit_gy: float
    difference: float
    times_s: dict[str, float] = field(repr=False)
    rounds: int = 0
    iterations: int = 0
    sequenced: GoalTable | None = field(default=None, repr=False)
    segments: int | None = None
    monitor_units: float | None = None
    gamma_pass_percent: float | None = None

    @property
    def judged(self) -> GoalTable:
        """Goals for the final dose: recalculated from segments if there are any, else from the fluence."""
        table = self.recalculated if self.sequenced is None else self.sequenced
        assert table is not None
        return table

    @property
    def passed(self) -> bool:
        """Whether every goal is met, or missed by no more than the institutions' mean.

        For segments, gamma must agree too.
        """
        reached = all(verdict(self.name, result.goal, result.value) != _MISSED for result in self.judged)
        agrees = self.gamma_pass_percent is None or self.gamma_pass_percent >= LEAST_GAMMA_PASS_PERCENT
        return reached and agrees and self.hot_spot_gy <= self.hot_spot_limit_gy

    @property
    def time_s(self) -> float:
        """Wall time of all stages."""
        return sum(self.times_s.values())

    def rows(self) -> list[tuple[str, ...]]:
        """Lay out the goals as rows of the suite's table.

        Returns
        -------
        list of tuple of str
        """
        recalculated, sequenced = (
            [""] * len(self.fluence) if table is None else [f"{result.value:.2f}" for result in table]
            for table in (self.recalculated, self.sequenced)
        )
        return [
            (
                self.name,
                f"{result.goal} ",
                _institutions(self.name, result.goal),
                f"{fluence.value:.2f}",
                fluence_again,
                segments,
                verdict(self.name, result.goal, result.value),
            )
            for fluence, result, fluence_again, segments in zip(
                self.fluence, self.judged, recalculated, sequenced, strict=True
            )
        ]

    def record(self) -> dict[str, Any]:
        """Give the result as plain data, as JSON can hold.

        Returns
        -------
        dict
        """
        return {
            "case": self.name,
            "passed": self.passed,
            "fluence": self.fluence.records(),
            "recalculated": None if self.recalculated is None else self.recalculated.records(),
            "sequenced": None if self.sequenced is None else self.sequenced.records(),
            "institutions": {key: list(value) for key, value in INSTITUTIONS.get(self.name, {}).items()},
            "mean_doses_gy": self.mean_doses,
            "hot_spot_gy": self.hot_spot_gy,
            "hot_spot_limit_gy": self.hot_spot_limit_gy,
            "largest_difference": self.difference,
            "segments": self.segments,
            "monitor_units": self.monitor_units,
            "gamma_pass_percent": self.gamma_pass_percent,
            "rounds": self.rounds,
            "iterations": self.iterations,
            "times_s": self.times_s,
        }


@dataclass(frozen=True)
class SuiteResult:
    """Plans of all cases, judged.

    Attributes
    ----------
    folder : Path
        Where the files are.
    cases : tuple of CaseResult
    time_s : float
    """

    folder: Path
    cases: tuple[CaseResult, ...]
    time_s: float

    @property
    def passed(self) -> bool:
        """Whether every case passed."""
        return all(case.passed for case in self.cases)

    def __str__(self) -> str:
        rows = [row for case in self.cases for row in case.rows()]
        parts = [format_table(_COLUMNS, rows), "Doses in Gy.", _plans_table(self.cases), *_notes(self.time_s)]
        return "\n\n".join(parts)

    def markdown(self) -> str:
        """Lay out the tables in Markdown.

        Returns
        -------
        str
        """
        rows = [row for case in self.cases for row in case.rows()]
        parts = [_markdown_table(_COLUMNS, rows), "Doses in Gy."]
        parts += [_markdown_table(_PLAN_COLUMNS, _plan_rows(self.cases)), *_notes(self.time_s)]
        return "\n\n".join(parts) + "\n"


def verdict(case: str, goal: DVHGoal, value: float) -> str:
    """Judge the value that a plan has for a goal.

    Parameters
    ----------
    case : str
    goal : DVHGoal
    value : float

    Returns
    -------
    str
        ``yes``; ``as institutions`` when a goal that the institutions' mean misses is missed by no more; ``NO``.
    """
    if goal.is_met(value):
        return _MET
    mean = INSTITUTIONS.get(case, {}).get(f"{goal.structure} {goal.metric.name}")
    if mean is None or goal.is_met(mean[0]):
        return _MISSED
    no_worse = value >= mean[0] if goal.relation.startswith(">") else value <= mean[0]
    return _AS_INSTITUTIONS if no_worse else _MISSED


def _institutions(case: str, goal: DVHGoal) -> str:
    mean = INSTITUTIONS.get(case, {}).get(f"{goal.structure} {goal.metric.name}")
    return "" if mean is None else f"{mean[0]:.1f} ± {mean[1]:.1f}"


# ------------------------------------------------------------------------------------------------------------ planning


def run_case(
    case: str | Phantom,
    out: Path | str,
    settings: PhantomSettings | None = None,
    options: RunOptions | None = None,
) -> tuple[CaseResult, PlanningResult]:
    """Plan a case to its goals, recalculate it and write its report.

    Parameters
    ----------
    case : str or Phantom
        One of `CASES`, or a phantom of your own.
    out : Path or str
        Folder for its files, as `run_demo` writes them.
    settings : PhantomSettings, optional
    options : RunOptions, optional

    Returns
    -------
    CaseResult, PlanningResult

    Raises
    ------
    ValueError, OSError, EngineError
        As `run_demo`.
    """
    settings = settings or PhantomSettings()
    phantom = make_phantom(case, settings.grid_mm) if isinstance(case, str) else case
    planned = run_demo(phantom, out, settings, options)
    found, made = planned.optimization, planned.deliverable
    result = CaseResult(
        name=phantom.name,
        title=phantom.title,
        fluence=planned.fluence_goals,
        recalculated=planned.goals if made is None else None,
        mean_doses={
            structure.name: mean_dose(planned.dose, structure.share)
            for structure in phantom.structures
            if not structure.is_target
        },
        hot_spot_gy=hot_spot(planned.dose, phantom.structures),
        hot_spot_limit_gy=_HOT_SPOT_SHARE * phantom.prescription_gy,
        difference=planned.difference,
        times_s=dict(planned.times_s),
        rounds=len(getattr(found, "rounds", ())),
        iterations=found.iterations,
        sequenced=None if made is None else planned.goals,
        segments=None if made is None else made.n_segments,
        monitor_units=None if made is None else made.machine_mu,
        gamma_pass_percent=None if made is None else made.gamma_pass_percent,
    )
    return result, planned


def run_suite(
    out: Path | str = "brimstone-tg119",
    cases: Iterable[str | Phantom] = CASES,
    settings: PhantomSettings | None = None,
    options: RunOptions | None = None,
) -> SuiteResult:
    """Plan all cases, and write a table of them.

    Parameters
    ----------
    out : Path or str
        Folder: the files of `SUITE_FILES`, and one folder for each case.
    cases : iterable of str or Phantom
        Names of cases, or phantoms of your own.
    settings : PhantomSettings, optional
        By default that of fluence alone (``PhantomSettings(mlc=None)``).
    options : RunOptions, optional

    Returns
    -------
    SuiteResult

    Raises
    ------
    ValueError, OSError, EngineError
        As `run_demo`; wrong names, spacings and folders before any work.
    """
    started = time.perf_counter()
    settings = settings or PhantomSettings(mlc=None)
    phantoms = [make_phantom(case, settings.grid_mm) if isinstance(case, str) else case for case in cases]
    if not phantoms:
        raise ValueError(f"the list of cases is empty; it may have {', '.join(CASES)}")
    folder = Path(out)
    check_folder(folder, SUITE_FILES)
    results = []
    for number, phantom in enumerate(phantoms, start=1):
        _log.info("case %d of %d", number, len(phantoms))
        result, _ = run_case(phantom, folder / phantom.name, settings, options)
        results.append(result)
    suite = SuiteResult(folder, tuple(results), time.perf_counter() - started)
    _save(suite)
    return suite


# ------------------------------------------------------------------------------------------------------------- tables

_PLAN_COLUMNS = ("case", "mean doses", "hot spot", "largest difference", "segments", "MU", "gamma", "rounds", "time")


def _plan_rows(cases: Sequence[CaseResult]) -> list[tuple[str, ...]]:
    return [
        (
            case.name,
            ", ".join(f"{name} {dose:.2f}" for name, dose in case.mean_doses.items()),
            f"{case.hot_spot_gy:.1f} (limit {case.hot_spot_limit_gy:.1f})",
            f"{case.difference:.1e}",
            "" if case.segments is None else str(case.segments),
            "" if case.monitor_units is None else f"{case.monitor_units:.0f}",
            "" if case.gamma_pass_percent is None else f"{case.gamma_pass_percent:.2f} %",
            str(case.rounds),
            f"{case.time_s:.0f} s",
        )
        for case in cases
    ]


def _plans_table(cases: Sequence[CaseResult]) -> str:
    return format_table(_PLAN_COLUMNS, _plan_rows(cases))


def _notes(time_s: float) -> list[str]:
    return [
        "met: by the recalculated dose, of segments if any; as institutions: missed, but no more than by their mean.",
        SOURCE,
        f"All cases took {time_s / 60:.1f} minutes.",
    ]


def _markdown_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(text.strip() for text in line) + " |" for line in lines)


def _save(suite: SuiteResult) -> None:
    suite.folder.mkdir(parents=True, exist_ok=True)
    text, markdown, table, document, picture = (suite.folder / name for name in SUITE_FILES)
    text.write_text(f"{suite}\n", encoding="utf-8")
    markdown.write_text(suite.markdown(), encoding="utf-8")
    with table.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(_COLUMNS)
        writer.writerows([text.strip() for text in row] for case in suite.cases for row in case.rows())
    records = {"source": SOURCE, "time_s": suite.time_s, "cases": [case.record() for case in suite.cases]}
    document.write_text(json.dumps(records, indent=2) + "\n", encoding="utf-8")
    table_figure(suite).savefig(picture)


def table_figure(suite: SuiteResult) -> Any:
    """Draw the table of goals.

    Parameters
    ----------
    suite : SuiteResult

    Returns
    -------
    matplotlib Figure
    """
    from matplotlib.figure import Figure
    from matplotlib.transforms import Bbox

    titles = {case.name: case.title for case in suite.cases}
    rows = [row for case in suite.cases for row in case.rows()]
    fills = {_MET: PASS_COLOR, _AS_INSTITUTIONS: "#FBF1D0", _MISSED: FAIL_COLOR}
    cells = [[titles[row[0]] if i == 0 or rows[i - 1][0] != row[0] else "", *row[1:]] for i, row in enumerate(rows)]
    figure = Figure(figsize=(12, 0.9 + 0.3 * (len(rows) + 1)), dpi=130, layout="constrained", facecolor="white")
    ax = figure.add_subplot()
    ax.set_axis_off()
    ax.set_title("TG-119 suite: goals, and what the plans have (Gy)", loc="left")
    table = ax.table(
        cellText=cells,
        colLabels=list(_COLUMNS),
        cellLoc="left",
        colLoc="left",
        cellColours=[[fills[row[-1]]] * len(_COLUMNS) for row in rows],
        colColours=["0.9"] * len(_COLUMNS),
        colWidths=[0.22, 0.24, 0.13, 0.1, 0.12, 0.1, 0.12],
        bbox=Bbox.unit(),
    )
    table.auto_set_font_size(False)
    table.set_fontsize(10)
    for cell in table.get_celld().values():
        cell.set_edgecolor("0.8")
    return figure
