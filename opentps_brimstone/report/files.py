"""Plain files about a plan: figure, DVHs and goals."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from opentps_brimstone.evaluation import voxel_volume_cc
from opentps_brimstone.report.figure import report_figure

if TYPE_CHECKING:
    from opentps_brimstone.report.plan_report import PlanReport

__all__ = ["REPORT_FILES", "save_dvhs", "save_report"]

REPORT_FILES = ("report.png", "dvh.csv", "goals.txt", "goals.json")
"""Names of the files that `save_report` writes."""


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
    picture, dvhs, goals, document = paths = [Path(folder) / name for name in REPORT_FILES]
    report_figure(report).savefig(picture)
    _write_columns(report, dvhs)
    facts = "\n".join(f"{name}: {value}" for name, value in report.facts.items())
    goals.write_text("\n\n".join([report.title, facts, *report.tables()]) + "\n", encoding="utf-8")
    records = {"title": report.title, "all_met": report.goals.all_met, "goals": report.goals.records()}
    if report.deliverable is not None:
        records["fluence_goals"] = report.fluence_goals.records()
    if report.goals_in_opentps is not None:
        records["goals_in_opentps"] = report.goals_in_opentps.records()
    document.write_text(json.dumps(records, indent=2) + "\n", encoding="utf-8")
    return paths


def _write_columns(report: PlanReport, path: Path) -> None:
    axis, columns = report.dvhs()
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["dose_gy", *columns])
        for dose, *volumes in zip(axis, *columns.values(), strict=True):
            writer.writerow([f"{dose:.1f}", *(f"{volume:.4f}" for volume in volumes)])


def save_dvhs(report: PlanReport, path: Path) -> None:
    """Write the DVHs as JSON: a dose axis, and for each structure its volume and percentages of it.

    With dose given before, so are those of EQD2: of both courses, and of this one alone.

    Parameters
    ----------
    report : PlanReport
    path : Path
        Replaced if it exists.
    """
    axis, volumes = report.dvhs()
    voxel_cc = voxel_volume_cc(report.grid)
    structures = {
        structure.name: {
            "is_target": structure.is_target,
            "volume_cc": round(float(structure.share.sum()) * voxel_cc, 4),
            "volume_percent": np.round(volumes[structure.name], 4).tolist(),
        }
        for structure in report.structures
    }
    document: dict[str, Any] = {"dose_gy": np.round(axis, 4).tolist(), "structures": structures}
    if report.has_previous_dose:
        for key, before in (("cumulative_percent", True), ("this_course_percent", False)):
            for name, (eqd2, volume) in report.eqd2_dvhs(before=before).items():
                entry = document.setdefault("eqd2", {"eqd2_gy": np.round(eqd2, 4).tolist(), "structures": {}})
                entry["structures"].setdefault(name, {})[key] = np.round(100 * volume, 4).tolist()
    path.write_text(json.dumps(document) + "\n", encoding="utf-8")
