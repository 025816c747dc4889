"""A plan's report as one HTML file that needs nothing else: its pictures are inside it."""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from opentps_brimstone import __version__, visualization
from opentps_brimstone._util.versions import installed_versions
from opentps_brimstone.evaluation import voxel_volume_cc
from opentps_brimstone.evaluation.goals import FAIL_COLOR, PASS_COLOR
from opentps_brimstone.report.figure import draw_eqd2_dvh, draw_planes
from opentps_brimstone.report.page import Table, data_uri, figure_of, rendered
from opentps_brimstone.report.plan_report import EQD2_COLUMNS, STATISTICS
from opentps_brimstone.visualization.plots import structure_colors

if TYPE_CHECKING:
    from opentps_brimstone.report.plan_report import PlanReport
    from opentps_brimstone.request.prescription_file import MachineRequest, PrescriptionFile
    from opentps_brimstone.sequencing import SequencedBeam

__all__ = ["html_report"]

_APERTURES_IN_A_ROW = 6
# Facts of the report that the section on the machine or the verdicts state.
_TOLD_ELSEWHERE = ("MLC", "1 MU", "engine MU", "recalculation differs by", "gamma 2 %/2 mm")
_PACKAGES = ("opentps-core", "numpy", "scipy", "pydicom", "matplotlib")

_Facts = list[tuple[str, str]]


def html_report(report: PlanReport, asked: PrescriptionFile, patient: Mapping[str, str]) -> str:
    """Lay out the report of a plan as an HTML page.

    Parameters
    ----------
    report : PlanReport
    asked : PrescriptionFile
        What was asked for.
    patient : mapping of str to str
        DICOM attributes of patient and series by keyword.

    Returns
    -------
    str
        An HTML document without references to anything outside it; text from files is escaped.
    """
    return rendered(
        "report.html",
        report=report,
        asked=asked,
        verdicts=_verdicts(report),
        facts={
            "Patient": _patient(patient),
            "Plan": _plan(report, asked),
            "Machine and calibration": _machine(report, asked),
            "Software": _software(report),
        },
        goal_table=_goal_table(report),
        statistics_table=_statistics_table(report),
        dvh=_dvh(report),
        eqd2_table=_eqd2_table(report),
        eqd2_dvh=_eqd2_dvh(report),
        eqd2_planes=_eqd2_planes(report),
        planes=_planes(report),
        colors=structure_colors(report.structures),
        beam_table=_beam_table(report, asked),
        fluence=None if report.deliverable else _fluence(report),
        beams=[_beam(report.beam_names[number], beam) for number, beam in report.machine_beams.items()],
        rounds=(rounds := getattr(report.optimization, "rounds", ())),
        round_table=_round_table(rounds),
        convergence=_convergence(report),
        settings=_settings(report, asked),
    )


# ---------------------------------------------------------------------------------------------------------------- facts


def _verdicts(report: PlanReport) -> list[tuple[str, bool]]:
    goals = report.goals
    met = f"{sum(each.met for each in goals)} of {len(goals)} goals met" if len(goals) else "no goals stated"
    return [(met, goals.all_met), *report.checks()]


def _patient(patient: Mapping[str, str]) -> _Facts:
    keys = {
        "name": "PatientName",
        "number": "PatientID",
        "born": "PatientBirthDate",
        "sex": "PatientSex",
        "CT series": "SeriesInstanceUID",
        "structure set": "StructureSetUID",
        "frame of reference": "FrameOfReferenceUID",
    }
    return [(name, patient.get(key) or "not stated") for name, key in keys.items()]


def _plan(report: PlanReport, asked: PrescriptionFile) -> _Facts:
    doses = ", ".join(f"{name} {dose:g} Gy" for name, dose in asked.targets.items())
    isocenter = ", ".join(f"{place:.1f}" for place in report.isocenter_mm)
    return [
        ("prescribed", f"{doses} in {asked.fractions} fractions of {asked.prescription_gy / asked.fractions:.3g} Gy"),
        (
            "isocenter (x, y, z)",
            f"{isocenter} mm, DICOM patient coordinates" + (" (first beam)" if _several_isocenters(asked) else ""),
        ),
        ("prescription file", asked.source),
        *((name, value) for name, value in report.facts.items() if name not in _TOLD_ELSEWHERE),
    ]


def _several_isocenters(asked: PrescriptionFile) -> bool:
    return any(beam.isocenter_mm is not None for beam in asked.beams)


def _machine(report: PlanReport, asked: PrescriptionFile) -> _Facts:
    machine, made = asked.machine, report.deliverable
    fluence = ("fluence", str(report.calibration))
    if made is None:
        return [("delivery", "none: fluence alone, no segments"), ("1 MU", str(machine.reference)), fluence]
    method = machine.sequencing.method_for(made.mlc)
    return [
        ("machine", machine.name or made.mlc.name),
        ("collimator", f"{made.mlc.name}, {made.mlc.n_pairs} leaf pairs"),
        ("sequencing", _sequencing(machine, method)),
        ("segments", f"at least {machine.minimum_mu:g} MU, in steps of {machine.step_mu:g} MU"),
        ("nominal energy", f"{machine.energy_mv:g} MV, as the plan file says; the engine has its own beam"),
        ("calibration of segments", str(made.calibration)),
        fluence,
    ]


def _sequencing(machine: MachineRequest, method: str) -> str:
    if machine.refine:
        return f"{method}, {machine.apertures.levels} levels; then leaves and MU optimized by the dose of the segments"
    return f"{method}, {machine.sequencing.levels} levels"


def _software(report: PlanReport) -> _Facts:
    found = [("opentps-brimstone", __version__), *installed_versions(_PACKAGES)]
    times = ", ".join(f"{stage} {seconds:.1f} s" for stage, seconds in report.times_s.items())
    return [*found, ("made", datetime.datetime.now().strftime("%Y-%m-%d %H:%M")), ("took", times)]


def _settings(report: PlanReport, asked: PrescriptionFile) -> str:
    document: dict[str, Any] = {
        **asked.settings(),
        "terms of the last optimization": [f"{name}: {term!r}" for name, term in report.objectives],
    }
    return json.dumps(document, indent=2, ensure_ascii=False, default=str)


# --------------------------------------------------------------------------------------------------------------- tables


def _goal_table(report: PlanReport) -> Table:
    final = "recalculated" if report.deliverable is None else "segments"
    shown = {"optimized fluence": report.fluence_goals, final: report.goals}
    if report.goals_in_opentps is not None:
        shown["as OpenTPS computes them"] = report.goals_in_opentps
    columns = ("structure", "metric", "goal", *shown, "met")
    rows, fills = [], []
    for each, *others in zip(report.goals, *shown.values(), strict=True):
        goal = each.goal
        values = [f"{other.value:.2f} {goal.unit}".rstrip() for other in others]
        relation = goal.requirement.replace(">=", "≥").replace("<=", "≤")
        mark = "✓ met" if each.met else "✗ MISSED"
        rows.append((goal.structure, goal.metric_name, relation, *values, mark))
        fills.append(PASS_COLOR if each.met else FAIL_COLOR)
    return Table(columns, rows, fills)


def _statistics_table(report: PlanReport) -> Table:
    voxel_cc = voxel_volume_cc(report.grid)
    rows = []
    for structure, (name, *doses) in zip(report.structures, report.statistics_rows(digits=2), strict=True):
        volume = f"{structure.share.sum() * voxel_cc:.1f}"
        rows.append((name, "target" if structure.is_target else "", volume, *doses))
    return Table(("structure", "", "volume (cm³)", *STATISTICS.values()), rows)


def _eqd2_table(report: PlanReport) -> Table | None:
    return Table(EQD2_COLUMNS, report.eqd2_rows(digits=2)) if report.has_previous_dose else None


def _beam_table(report: PlanReport, asked: PrescriptionFile) -> Table:
    several = _several_isocenters(asked)
    columns = ["", "beam", "gantry (°)", "couch (°)", "collimator (°)"]
    columns += ["isocenter (mm)", "beamlets"] if several else ["beamlets"]
    if report.deliverable is not None:
        columns += ["segments", "MU per fraction", "MU of the segments"]
    sequenced = report.machine_beams
    rows = []
    for number, (name, beam) in enumerate(zip(report.beam_names, asked.beams, strict=True)):
        angles = (f"{angle % 360:g}" for angle in (beam.gantry_angle, beam.couch_angle, beam.collimator_angle))
        row = [str(number + 1), name.split(",")[0], *angles]
        if several:
            place = beam.isocenter_mm or asked.isocenter_mm
            row.append(", ".join(f"{x:g}" for x in place) if place else "center of the targets")
        row.append(str(int((report.layout.beam_index == number).sum())))
        if report.deliverable is not None:
            row += _segment_cells(sequenced[number]) if number in sequenced else ["0", "0.0", ""]
        rows.append(row)
    return Table(columns, rows)


def _segment_cells(beam: SequencedBeam) -> list[str]:
    each = ", ".join(f"{aperture.mu:.1f}" for aperture in beam.apertures)
    return [str(len(beam.apertures)), f"{beam.mu:.1f}", each]


def _round_table(rounds: Any) -> Table:
    columns = ("round", "goals met", "mean doses (Gy)", "highest dose outside targets (Gy)", "iterations")
    rows = [
        (
            str(each.number),
            f"{sum(goal.met for goal in each.goals)} of {len(each.goals)}",
            ", ".join(f"{name} {dose:.2f}" for name, dose in each.mean_doses.items()),
            f"{each.hot_spot_gy:.1f}",
            str(each.iterations),
        )
        for each in rounds
    ]
    return Table(columns, rows)


# ------------------------------------------------------------------------------------------------------------- pictures


def _dvh(report: PlanReport) -> str:
    figure = figure_of(10.5, 5.2)
    ax = figure.subplots()
    visualization.plot_dvh(report.dose, report.structures, targets=report.target_dvhs, ax=ax)
    ax.set_title("")
    return data_uri(figure, "svg")


def _eqd2_dvh(report: PlanReport) -> str:
    if not report.has_previous_dose:
        return ""
    figure = figure_of(10.5, 5.2)
    ax = figure.subplots()
    draw_eqd2_dvh(ax, report)
    ax.set_title("")
    return data_uri(figure, "svg")


def _eqd2_planes(report: PlanReport) -> str:
    if not report.has_previous_dose:
        return ""
    figure = figure_of(15.5, 4.9)
    draw_planes(figure, report, cumulative_eqd2=True)
    return data_uri(figure)


def _convergence(report: PlanReport) -> str:
    figure = figure_of(10.5, 3.6)
    ax = figure.subplots()
    visualization.plot_convergence(report.optimization.convergence_history, ax=ax)
    ax.set_title("")
    return data_uri(figure, "svg")


def _planes(report: PlanReport) -> str:
    figure = figure_of(15.5, 4.9)
    draw_planes(figure, report)
    return data_uri(figure)


def _beam(name: str, beam: SequencedBeam) -> dict[str, Any]:
    from opentps_brimstone.visualization.apertures import plot_apertures, plot_fluence_comparison

    fluence = figure_of(11.5, 3.7)
    plot_fluence_comparison(beam, figure=fluence)
    count = len(beam.apertures)
    columns = min(_APERTURES_IN_A_ROW, count)
    apertures = figure_of(1.95 * columns + 0.4, 2.15 * -(-count // columns) + 0.6)
    plot_apertures(beam, columns=columns, figure=apertures)
    pictures = {"fluence": data_uri(fluence), "apertures": data_uri(apertures)}
    return {"number": beam.beam_index + 1, "name": name, "n_apertures": count, **pictures}


def _fluence(report: PlanReport) -> str:
    columns = min(5, report.layout.n_beams)
    rows = -(-report.layout.n_beams // columns)
    figure = figure_of(2.3 * columns + 0.8, 2.5 * rows)
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    fluence = report.machine_fluence
    for number, ax in enumerate(axes):
        if number >= report.layout.n_beams:
            ax.set_visible(False)
            continue
        tiles = visualization.plot_fluence(report.layout, fluence, number, title=report.beam_names[number], ax=ax)
    figure.colorbar(tiles, ax=list(axes), label="MU per fraction", shrink=0.85)
    return data_uri(figure)
