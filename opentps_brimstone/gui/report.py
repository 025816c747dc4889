"""The report of a plan made in the window: the page that ``opentps-brimstone plan`` writes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from opentps_brimstone.adapters.density_table import density_table_name
from opentps_brimstone.evaluation import evaluate
from opentps_brimstone.gui.request_file import request_text
from opentps_brimstone.report.html import html_report
from opentps_brimstone.report.plan_report import PlanReport
from opentps_brimstone.request.reader import parse_prescription

if TYPE_CHECKING:
    from opentps_brimstone.gui.delivery import Delivered
    from opentps_brimstone.gui.request import Request

__all__ = ["plan_report", "write_report"]

_FILE = "report.html"


def plan_report(delivered: Delivered, request: Request) -> PlanReport:
    """Collect what a report tells of a plan and its segments.

    Parameters
    ----------
    delivered : Delivered
    request : Request
        With the goals that judge it.

    Returns
    -------
    PlanReport
    """
    planned, made = delivered.planned, delivered.deliverable
    plan = planned.plan
    structures, goals = planned.structures, request.parsed_goals()
    assert plan.ct_hu is not None
    x, y, z = (plan.beams[0].isocenter.round(2) + 0.0).tolist()
    return PlanReport(
        title=request.name,
        ct_hu=plan.ct_hu,
        dose=made.dose,
        grid=made.grid,
        structures=structures,
        goals=evaluate(made.dose, structures, goals, grid=made.grid),
        fluence_goals=evaluate(np.asarray(planned.result.dose), structures, goals, grid=made.grid),
        prescription_gy=request.prescription_gy or float(made.dose.max()),
        number_of_fractions=request.fractions,
        isocenter_mm=(x, y, z),
        layout=plan.dose_influence.layout,
        beam_names=[f"{beam.name}, gantry {beam.gantry_angle:g}°" for beam in plan.beams],
        optimization=planned.result,
        objectives=[(asked.structure, term) for asked in request.asked for term in asked.terms()],
        calibration=made.planned_calibration,
        difference=made.difference,
        check=made.check,
        deliverable=made,
        density_table=density_table_name(photon_plan=made.photon_plan),
        times_s=made.times_s,
    )


def write_report(delivered: Delivered, request: Request, folder: Path) -> Path:
    """Write the report as a page for a browser.

    Parameters
    ----------
    delivered : Delivered
    request : Request
        With the goals that judge it.
    folder : Path
        Exists.

    Returns
    -------
    Path
        Of the page.
    """
    series = delivered.planned.plan.series
    asked = parse_prescription(request_text(request), "OpenTPS's window")
    page = folder / _FILE
    text = html_report(plan_report(delivered, request), asked, series.dicom if series else {})
    page.write_text(text, encoding="utf-8")
    return page
