"""The planning cases of AAPM Task Group 119 as one benchmark: planned to their goals, recalculated and tabulated."""

from __future__ import annotations

import csv
import json
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from opentps_brimstone._util.output_folder import check_folder
from opentps_brimstone._util.run_options import RunOptions
from opentps_brimstone.evaluation import DVHGoal, format_table, mean_dose
from opentps_brimstone.evaluation.extremes import hot_spot
from opentps_brimstone.evaluation.goals import FAIL_COLOR, PASS_COLOR
from opentps_brimstone.integration.deliverable import LEAST_GAMMA_PASS_PERCENT
from opentps_brimstone.phantoms import Phantom, make_phantom
from opentps_brimstone.workflow.phantom_case import PhantomSettings, run_demo
from opentps_brimstone.workflow.planning import PlanningResult

__all__ = ["CASES", "INSTITUTIONS", "SOURCE", "SUITE_FILES", "CaseResult", "SuiteResult", "run_suite"]

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
_LEGEND = "met: by the recalculated dose, of segments if any; as institutions: missed, but no more than by their mean."
_COLUMNS = ("case", "goal", "institutions", "fluence", "recalculated", "sequenced", "met")


@dataclass(frozen=True, eq=False)
class CaseResult:
    """A planned case, judged by its goals and the institutions' means.

    Attributes
    ----------
    phantom : Phantom
    planned : PlanningResult
    """

    phantom: Phantom = field(repr=False)
    planned: PlanningResult

    @property
    def name(self) -> str:
        """Name of the case."""
        return self.phantom.name

    @property
    def passed(self) -> bool:
        """Whether every goal is met, or missed by no more than the institutions' mean.

        OpenTPS's program must agree too, and for segments gamma.
        """
        made = self.planned.deliverable
        reached = all(verdict(self.name, result.goal, result.value) != _MISSED for result in self.planned.goals)
        check = self.planned.check
        agrees = made is None or made.gamma_pass_percent >= LEAST_GAMMA_PASS_PERCENT
        agrees = agrees and (check is None or check.passed)
        return reached and agrees and self.hot_spot_gy <= self.hot_spot_limit_gy

    @property
    def mean_doses(self) -> dict[str, float]:
        """Recalculated mean doses of the structures that are not targets, in Gy."""
        organs = [structure for structure in self.phantom.structures if not structure.is_target]
        return {structure.name: mean_dose(*structure.sample(self.planned.dose)) for structure in organs}

    @property
    def hot_spot_gy(self) -> float:
        """Highest recalculated dose outside the targets."""
        return hot_spot(self.planned.dose, self.phantom.structures)

    @property
    def hot_spot_limit_gy(self) -> float:
        """110 % of the prescription."""
        return _HOT_SPOT_SHARE * self.phantom.prescription_gy

    @property
    def rounds(self) -> int:
        """Rounds of planning."""
        return len(getattr(self.planned.optimization, "rounds", ()))

    def rows(self) -> list[tuple[str, ...]]:
        """Lay out the goals as rows of the suite's table.

        Returns
        -------
        list of tuple of str
        """
        rows: list[tuple[str, ...]] = []
        for fluence, result in zip(self.planned.fluence_goals, self.planned.goals, strict=True):
            value = f"{result.value:.2f}"
            final = (value, "") if self.planned.deliverable is None else ("", value)
            institutions = _institutions(self.name, result.goal)
            judged = verdict(self.name, result.goal, result.value)
            rows.append((self.name, f"{result.goal} ", institutions, f"{fluence.value:.2f}", *final, judged))
        return rows

    def record(self) -> dict[str, Any]:
        """Give the result as plain data, as JSON can hold.

        Returns
        -------
        dict
        """
        planned, made = self.planned, self.planned.deliverable
        return {
            "case": self.name,
            "passed": self.passed,
            "fluence": planned.fluence_goals.records(),
            "recalculated": planned.goals.records() if made is None else None,
            "sequenced": None if made is None else planned.goals.records(),
            "in_opentps": None if planned.goals_in_opentps is None else planned.goals_in_opentps.records(),
            "institutions": {key: list(value) for key, value in INSTITUTIONS.get(self.name, {}).items()},
            "mean_doses_gy": self.mean_doses,
            "hot_spot_gy": self.hot_spot_gy,
            "hot_spot_limit_gy": self.hot_spot_limit_gy,
            "largest_difference": planned.difference,
            "opentps_program": None if planned.check is None else str(planned.check),
            "segments": None if made is None else made.n_segments,
            "monitor_units": None if made is None else made.machine_mu,
            "gamma_pass_percent": None if made is None else made.gamma_pass_percent,
            "rounds": self.rounds,
            "iterations": planned.optimization.iterations,
            "times_s": dict(planned.times_s),
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

    def rows(self) -> list[tuple[str, ...]]:
        """Lay out the goals of all cases as rows.

        Returns
        -------
        list of tuple of str
        """
        return [row for case in self.cases for row in case.rows()]

    def __str__(self) -> str:
        return self._laid_out(format_table)

    def markdown(self) -> str:
        """Lay out the tables in Markdown.

        Returns
        -------
        str
        """
        return self._laid_out(_markdown_table) + "\n"

    def _laid_out(self, table: Callable[[Sequence[str], Sequence[Sequence[str]]], str]) -> str:
        notes = (_LEGEND, SOURCE, f"All cases took {self.time_s / 60:.1f} minutes.")
        plans = table(_PLAN_COLUMNS, [_plan_row(case) for case in self.cases])
        return "\n\n".join([table(_COLUMNS, self.rows()), "Doses in Gy.", plans, *notes])


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
        results.append(CaseResult(phantom, run_demo(phantom, folder / phantom.name, settings, options)))
    suite = SuiteResult(folder, tuple(results), time.perf_counter() - started)
    _save(suite)
    return suite


# ------------------------------------------------------------------------------------------------------------- tables

_PLAN_COLUMNS = ("case", "mean doses", "hot spot", "largest difference", "segments", "MU", "gamma", "rounds", "time")


def _plan_row(case: CaseResult) -> tuple[str, ...]:
    made = case.planned.deliverable
    segments = ("", "", "")
    if made is not None:
        segments = (str(made.n_segments), f"{made.machine_mu:.0f}", f"{made.gamma_pass_percent:.2f} %")
    return (
        case.name,
        ", ".join(f"{name} {dose:.2f}" for name, dose in case.mean_doses.items()),
        f"{case.hot_spot_gy:.1f} (limit {case.hot_spot_limit_gy:.1f})",
        f"{case.planned.difference:.1e}",
        *segments,
        str(case.rounds),
        f"{sum(case.planned.times_s.values()):.0f} s",
    )


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
        writer.writerows([text.strip() for text in row] for row in suite.rows())
    records = {"source": SOURCE, "time_s": suite.time_s, "cases": [case.record() for case in suite.cases]}
    document.write_text(json.dumps(records, indent=2) + "\n", encoding="utf-8")
    table_figure(suite).savefig(picture)


def table_figure(suite: SuiteResult) -> Any:
    """Draw the table of goals."""
    from matplotlib.figure import Figure
    from matplotlib.transforms import Bbox

    titles = {case.name: case.phantom.title for case in suite.cases}
    rows = suite.rows()
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
