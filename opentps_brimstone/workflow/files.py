"""What is written about a planned case: reports, DICOM and OpenTPS's plan."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

from opentps_brimstone._util.output_folder import written_together
from opentps_brimstone._util.silence import silent_opentps
from opentps_brimstone.report.apertures import save_apertures
from opentps_brimstone.report.figure import report_figure
from opentps_brimstone.report.files import REPORT_FILES, save_dvhs, save_report
from opentps_brimstone.report.html import html_report
from opentps_brimstone.workflow.references import named_in

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

    from opentps_brimstone.workflow.case import Case
    from opentps_brimstone.workflow.planning import PlanningResult

__all__ = ["DEMO_FILES", "EQD2_FILE", "FLUENCE_FILES", "PLAN_FILES", "case_files", "write_case"]

RT_DOSE_FILE, OPENTPS_FILE = "rtdose.dcm", "plan.tps"
RT_PLAN_FILE, APERTURES_FILE = "rtplan.dcm", "apertures.png"
REPORT_PDF, REPORT_HTML, DVH_JSON, REQUEST_FILE = "report.pdf", "report.html", "dvh.json", "prescription.toml"
FLUENCE_FILES = (*REPORT_FILES, RT_DOSE_FILE, OPENTPS_FILE)
"""Names of the files of a phantom's plan of fluence alone."""
DEMO_FILES = (*FLUENCE_FILES, RT_PLAN_FILE, APERTURES_FILE)
"""Names of the files of a phantom's deliverable plan."""
PLAN_FILES = (*DEMO_FILES, REPORT_PDF, REPORT_HTML, DVH_JSON, REQUEST_FILE)
"""Names of the files of a patient's plan; one of fluence alone has neither RT Plan nor apertures."""
EQD2_FILE = "rtdose_eqd2.dcm"
"""Name of the file of a patient's plan that has EQD2 of this course and of those before, if there were some."""


def case_files(case: Case) -> tuple[str, ...]:
    """Name the files a plan of a case may have: `write_case` replaces them, or removes those that this plan has not."""
    return DEMO_FILES if case.request is None else (*PLAN_FILES, EQD2_FILE)


def write_case(result: PlanningResult, folder: Path | str) -> PlanningResult:
    """Write a planned case: all of its files or, on an error or Ctrl-C, none.

    Parameters
    ----------
    result : PlanningResult
    folder : Path or str
        Made if it does not exist; files of the names of `case_files` are replaced, others left alone.

    Returns
    -------
    PlanningResult
        With its folder.

    Raises
    ------
    OSError
        If the folder cannot be written.
    """
    target = Path(folder)
    with silent_opentps(), written_together(target, case_files(result.case)) as staging:
        _write_files(result, staging)
    return dataclasses.replace(result, folder=target)


def _write_files(result: PlanningResult, folder: Path) -> None:
    from opentps_brimstone.adapters.files import save_plan

    save_report(result, folder)
    if result.deliverable is not None:
        save_apertures(result.machine_beams.values(), result.beam_names, folder / APERTURES_FILE)
    _write_dicom(result, folder)
    save_plan(result.photon_plan, folder / OPENTPS_FILE)
    if (request := result.case.request) is not None:
        report_figure(result).savefig(folder / REPORT_PDF)
        save_dvhs(result, folder / DVH_JSON)
        (folder / REQUEST_FILE).write_text(request.text, encoding="utf-8", newline="")
        (folder / REPORT_HTML).write_text(html_report(result, request, result.case.dicom), encoding="utf-8")


def _write_dicom(result: PlanningResult, folder: Path) -> None:
    from opentps_brimstone.dicom import write_rt_dose

    case = result.case
    rt_plan = None if result.deliverable is None else _write_rt_plan(result, folder)
    alone = rt_plan is None and not case.references
    belongs: dict[str, Any] = {
        "patient_id": case.dicom.get("PatientID") or "unknown",
        "plan_uid": result.photon_plan.SOPInstanceUID if alone else None,
        "frame_of_reference_uid": _frame(case),
        "rt_plan": rt_plan,
        "ct": case.references.get("ct"),
    }
    write_rt_dose(result.dose, result.grid, folder / RT_DOSE_FILE, description=case.title, **belongs)
    if case.request is not None and result.has_previous_dose:
        both, title = result.cumulative_eqd2(), f"{case.title}, with earlier courses"
        write_rt_dose(both, result.grid, folder / EQD2_FILE, description=title, quantity="eqd2", **belongs)


def _write_rt_plan(result: PlanningResult, folder: Path) -> Dataset:
    from opentps_brimstone.dicom import write_rt_plan

    case, made = result.case, result.deliverable
    assert made is not None
    structure_set = case.references.get("structure_set")
    return write_rt_plan(
        made.machine_plan(),
        folder / RT_PLAN_FILE,
        mlc=made.mlc,
        prescription=named_in(structure_set, case.targets),
        structure_set=structure_set,
        ct=case.references.get("ct"),
        frame_of_reference_uid=_frame(case),
        patient_id=None if case.references else case.dicom.get("PatientID"),
        label=case.name[:16],
        description=case.title,
        calibration=str(made.calibration),
        machine=case.machine.name,
        nominal_energy_mv=case.machine.energy_mv,
        dose_rate_mu_per_min=case.machine.dose_rate_mu_per_min,
    )


def _frame(case: Case) -> str | None:
    """Frame of reference, where no object that is referred to says it."""
    return None if case.references else case.dicom.get("FrameOfReferenceUID")
