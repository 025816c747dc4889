"""A plan's report as one HTML file that needs nothing else: pictures are inside it."""

from __future__ import annotations

import base64
import datetime
import html
import importlib.metadata
import io
import json
import platform
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from opentps_brimstone import __version__, visualization
from opentps_brimstone.evaluation import dose_statistics, html_table, voxel_volume_cc
from opentps_brimstone.evaluation.goals import FAIL_COLOR, PASS_COLOR
from opentps_brimstone.report.pages import draw_planes, machine_beams
from opentps_brimstone.visualization.plots import structure_colors

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from opentps_brimstone.report.result import PlanFolderResult
    from opentps_brimstone.sequencing import SequencedBeam

__all__ = ["html_report"]

_NOTICE = (
    "Made by research software that is no medical device. Nothing here may be used to treat a patient: machine model, "
    "dose and monitor units are not commissioned for any machine."
)
_DOTS_PER_INCH = 110
_APERTURES_IN_A_ROW = 6
_STATISTICS = {
    "minimum": "min",
    "mean": "mean",
    "maximum": "max",
    "d98": "D98",
    "d95": "D95",
    "d50": "D50",
    "d10": "D10",
    "d2": "D2",
}
# Facts of the report that the section on the machine or the verdicts state.
_TOLD_ELSEWHERE = ("MLC", "1 MU", "engine MU", "recalculation differs by", "gamma 2 %/2 mm")
_PACKAGES = ("opentps-core", "numpy", "scipy", "pydicom", "matplotlib", "pymedphys")
_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; color: #1a1a1a; background: #fff; max-width: 1180px;
       margin: 0 auto; padding: 0 20px 40px; }
h1 { font-size: 27px; margin: 22px 0 4px; }
h2 { font-size: 20px; margin: 34px 0 8px; border-bottom: 2px solid #0072B2; padding-bottom: 3px; }
h3 { font-size: 16px; margin: 22px 0 6px; }
.notice { background: #FBF1D0; border: 1px solid #C9A227; padding: 8px 14px; margin-top: 14px; }
.verdict { padding: 4px 12px; font-weight: 600; margin: 5px 0; width: fit-content; }
.facts { display: grid; grid-template-columns: repeat(2, minmax(0, 1fr)); gap: 2px 34px; margin: 10px 0; }
.facts div { border-bottom: 1px solid #e5e5e5; padding: 2px 0; display: flex; }
.facts b { flex: 0 0 172px; font-weight: 600; color: #444; padding-right: 10px; }
.facts span { overflow-wrap: anywhere; }
.key span { display: inline-block; margin-right: 18px; }
.key i { display: inline-block; width: 22px; height: 4px; margin-right: 6px; vertical-align: middle; }
.columns { display: flex; flex-wrap: wrap; gap: 26px; align-items: flex-start; }
img { max-width: 100%; height: auto; display: block; }
td, th { font-size: 14px; }
pre { background: #f5f5f5; padding: 12px; overflow-x: auto; font-size: 12.5px; }
summary { cursor: pointer; color: #0072B2; margin: 6px 0; }
p.small { color: #555; font-size: 13.5px; margin: 4px 0; }
@media print { h2 { break-after: avoid; } img, table { break-inside: avoid; } }
"""


def html_report(result: PlanFolderResult) -> str:
    """Make the report of a plan.

    Parameters
    ----------
    result : PlanFolderResult

    Returns
    -------
    str
        An HTML document without references to anything outside it.
    """
    title = result.prescription.name
    sections = [
        _head(result),
        _goals(result),
        _section("Dose-volume histograms", _dvh(result)),
        _section("Dose", _planes(result)),
        _section("Beams", _beam_table(result) + _beams(result)),
        _section("Optimization", _convergence(result)),
        _section("What was asked for", _settings(result)),
        f'<p class="notice">{_text(_NOTICE)}</p>',
    ]
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f"<title>{_text(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        + "\n".join(sections)
        + "\n</body>\n</html>\n"
    )


# ------------------------------------------------------------------------------------------------------ building bricks


def _text(value: object) -> str:
    return html.escape(str(value))


def _section(title: str, content: str) -> str:
    return f"<h2>{_text(title)}</h2>\n{content}"


def _facts(facts: Iterable[tuple[str, object]]) -> str:
    return (
        '<div class="facts">'
        + "".join(f"<div><b>{_text(k)}</b><span>{_text(v)}</span></div>" for k, v in facts)
        + "</div>"
    )


def _picture(figure: Figure, description: str, *, kind: str = "png") -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind, dpi=_DOTS_PER_INCH, metadata={"Date": None} if kind == "svg" else None)
    data = base64.b64encode(buffer.getvalue()).decode("ascii")
    mime = "image/svg+xml" if kind == "svg" else "image/png"
    return f'<img alt="{html.escape(description, quote=True)}" src="data:{mime};base64,{data}">'


def _figure(width: float, height: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained", facecolor="white")


# ----------------------------------------------------------------------------------------------------------------- head


def _head(result: PlanFolderResult) -> str:
    report, asked = result.report, result.prescription
    met = sum(each.met for each in result.goals)
    verdicts = [
        (f"{met} of {len(result.goals)} goals met" if len(result.goals) else "no goals stated", result.goals.all_met),
        *result.checks(),
    ]
    marks = "".join(
        f'<div class="verdict" style="background:{PASS_COLOR if good else FAIL_COLOR};color:#111">{_text(text)}</div>'
        for text, good in verdicts
    )
    doses = ", ".join(f"{name} {dose:g} Gy" for name, dose in asked.targets.items())
    isocenter = ", ".join(f"{place:.1f}" for place in report.isocenter_mm)
    plan = [
        ("prescribed", f"{doses} in {asked.fractions} fractions of {asked.prescription_gy / asked.fractions:.3g} Gy"),
        ("isocenter (x, y, z)", f"{isocenter} mm, DICOM patient coordinates"),
        ("prescription file", asked.source),
        *((name, value) for name, value in report.facts.items() if name not in _TOLD_ELSEWHERE),
    ]
    notes = "".join(f"<li>{_text(note)}</li>" for note in result.notes)
    return "\n".join(
        [
            f'<p class="notice">{_text(_NOTICE)}</p>',
            f"<h1>{_text(asked.name)}</h1>",
            marks,
            "<h3>Patient</h3>",
            _facts(_patient(result)),
            "<h3>Plan</h3>",
            _facts(plan),
            "<h3>Machine and calibration</h3>",
            _facts(_machine(result)),
            "<h3>Software</h3>",
            _facts(_versions(result)),
            f"<h3>Notes</h3><ul>{notes}</ul>" if notes else "",
        ]
    )


def _patient(result: PlanFolderResult) -> list[tuple[str, str]]:
    keys = (
        ("name", "PatientName"),
        ("number", "PatientID"),
        ("born", "PatientBirthDate"),
        ("sex", "PatientSex"),
        ("CT series", "SeriesInstanceUID"),
        ("structure set", "StructureSetUID"),
        ("frame of reference", "FrameOfReferenceUID"),
    )
    return [(name, result.series.dicom.get(key) or "not stated") for name, key in keys]


def _machine(result: PlanFolderResult) -> list[tuple[str, str]]:
    machine = result.prescription.machine
    facts = [("1 MU", str(machine.reference)), ("fluence", str(result.calibration))]
    if result.deliverable is None:
        return [("delivery", "none: fluence alone, no segments"), *facts]
    mlc = result.deliverable.sequenced_beams[0].mlc
    ways = machine.sequencing
    return [
        ("machine", machine.name or mlc.name),
        ("collimator", f"{mlc.name}, {mlc.n_pairs} leaf pairs"),
        ("sequencing", f"{ways.method_for(mlc)}, {ways.levels} levels"),
        ("segments", f"at least {machine.minimum_mu:g} MU, in steps of {machine.step_mu:g} MU"),
        (
            "nominal energy",
            f"{machine.energy_mv:g} MV, as the plan file says; the engine has its own beam",
        ),
        ("calibration of segments", str(result.deliverable.calibration)),
        *facts[1:],
    ]


def _versions(result: PlanFolderResult) -> list[tuple[str, str]]:
    found = [("opentps-brimstone", __version__), ("Python", platform.python_version())]
    for name in _PACKAGES:
        try:
            found.append((name, importlib.metadata.version(name)))
        except importlib.metadata.PackageNotFoundError:
            continue
    times = ", ".join(f"{stage} {seconds:.1f} s" for stage, seconds in result.times_s.items())
    return [*found, ("made", datetime.datetime.now().strftime("%Y-%m-%d %H:%M")), ("took", times)]


# ---------------------------------------------------------------------------------------------------------------- goals


def _goals(result: PlanFolderResult) -> str:
    final = "segments" if result.deliverable is not None else "recalculated"
    columns = ("structure", "metric", "goal", "optimized fluence", final, "met")
    rows, fills = [], []
    for best, each in zip(result.optimized_goals, result.goals, strict=True):
        goal = each.goal
        unit = goal.metric.unit
        values = [f"{value:.2f} {unit}".rstrip() for value in (best.value, each.value)]
        mark = "✓ met" if each.met else "✗ MISSED"
        rows.append((goal.structure, goal.metric.name, _relation(goal.requirement), *values, mark))
        fills.append(PASS_COLOR if each.met else FAIL_COLOR)
    goals = html_table(columns, rows, fills=fills) if rows else "<p>The prescription states no goals.</p>"
    return _section("Goals", goals) + _section("Dose statistics (Gy)", _statistics(result))


def _relation(requirement: str) -> str:
    return requirement.replace(">=", "≥").replace("<=", "≤")


def _statistics(result: PlanFolderResult) -> str:
    report = result.report
    voxel_cc = voxel_volume_cc(report.grid)
    rows = [
        (
            each.structure,
            "target" if structure.is_target else "",
            f"{structure.share.sum() * voxel_cc:.1f}",
            *(
                f"{d:.2f}"
                for d in (each.minimum, each.mean, each.maximum, each.d98, each.d95, each.d50, each.d10, each.d2)
            ),
        )
        for each, structure in zip(dose_statistics(report.dose, report.structures), report.structures, strict=True)
    ]
    columns = ("structure", "", "volume (cm³)", *_STATISTICS.values())
    return html_table(columns, rows)


# -------------------------------------------------------------------------------------------------------- DVH, planes


def _dvh(result: PlanFolderResult) -> str:
    report = result.report
    figure = _figure(10.5, 5.2)
    ax = figure.subplots()
    visualization.plot_dvh(report.dose, report.structures, targets=report.target_dvhs, ax=ax)
    ax.set_title("")
    dose = _text(report.facts["dose"])
    return _picture(figure, "Dose-volume histograms", kind="svg") + f'<p class="small">Dose {dose}.</p>'


def _planes(result: PlanFolderResult) -> str:
    report = result.report
    figure = _figure(15.5, 4.9)
    draw_planes(figure, report)
    key = "".join(
        f'<span><i style="background:{color}"></i>{_text(name)}</span>'
        for name, color in structure_colors(report.structures).items()
    )
    return _picture(figure, "Dose on three planes through the isocenter") + f'<p class="key">{key}</p>'


# ---------------------------------------------------------------------------------------------------------------- beams


def _beam_table(result: PlanFolderResult) -> str:
    report = result.report
    sequenced = (
        {} if result.deliverable is None else {beam.beam_index: beam for beam in machine_beams(result.deliverable)}
    )
    rows = []
    for number, (name, beam) in enumerate(zip(report.beam_names, result.prescription.beams, strict=True)):
        mine = report.layout.beam_index == number
        row = [
            str(number + 1),
            name.split(",")[0],
            *(f"{angle % 360:g}" for angle in (beam.gantry_angle, beam.couch_angle, beam.collimator_angle)),
            str(int(mine.sum())),
        ]
        if result.deliverable is not None:
            made = sequenced.get(number)
            row += ["0", "0.0", ""] if made is None else _segment_cells(made)
        rows.append(row)
    columns = ["", "beam", "gantry (°)", "couch (°)", "collimator (°)", "beamlets"]
    total = ""
    if result.deliverable is not None:
        columns += ["segments", "MU per fraction", "MU of the segments"]
        total = (
            f"<p>{result.deliverable.n_segments} segments, {result.deliverable.machine_mu:.1f} MU per fraction. "
            f"Angles are IEC 61217.</p>"
        )
    return html_table(columns, rows) + total


def _segment_cells(beam: SequencedBeam) -> list[str]:
    each = ", ".join(f"{aperture.mu:.1f}" for aperture in beam.apertures)
    return [str(len(beam.apertures)), f"{beam.mu:.1f}", each]


def _beams(result: PlanFolderResult) -> str:
    if result.deliverable is None:
        return _fluence(result)
    from opentps_brimstone.visualization.apertures import plot_apertures, plot_fluence_comparison

    parts = []
    for beam in machine_beams(result.deliverable):
        name = result.report.beam_names[beam.beam_index]
        fluence = _figure(11.5, 3.7)
        plot_fluence_comparison(beam, figure=fluence)
        columns = min(_APERTURES_IN_A_ROW, len(beam.apertures))
        apertures = _figure(1.95 * columns + 0.4, 2.15 * -(-len(beam.apertures) // columns) + 0.6)
        plot_apertures(beam, columns=columns, figure=apertures)
        parts.append(
            f"<h3>Beam {beam.beam_index + 1}: {_text(name)}</h3>"
            + _picture(fluence, f"Fluence of {name}, wanted and delivered")
            + f"<details open><summary>{len(beam.apertures)} apertures</summary>"
            + _picture(apertures, f"Apertures of {name}")
            + "</details>"
        )
    return "".join(parts)


def _fluence(result: PlanFolderResult) -> str:
    report = result.report
    columns = min(5, report.layout.n_beams)
    rows = -(-report.layout.n_beams // columns)
    figure = _figure(2.3 * columns + 0.8, 2.5 * rows)
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for number, ax in enumerate(axes):
        if number >= report.layout.n_beams:
            ax.set_visible(False)
            continue
        tiles = visualization.plot_fluence(
            report.layout, report.beamlet_weights, number, title=report.beam_names[number], ax=ax
        )
    figure.colorbar(tiles, ax=list(axes), label="MU per fraction", shrink=0.85)
    return _picture(figure, "Optimized fluence of the beams")


# ------------------------------------------------------------------------------------------ optimization, settings


def _convergence(result: PlanFolderResult) -> str:
    found = result.optimization
    figure = _figure(10.5, 3.6)
    ax = figure.subplots()
    visualization.plot_convergence(result.report.convergence_history, ax=ax)
    ax.set_title("")
    text = f"<p>{found.iterations} iterations in {found.time_s:.1f} s: {_text(found.message)}.</p>"
    rounds = getattr(found, "rounds", ())
    if rounds:
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
        columns = ("round", "goals met", "mean doses (Gy)", "highest dose outside targets (Gy)", "iterations")
        text += f"<details><summary>{len(rows)} rounds of planning</summary>{html_table(columns, rows)}</details>"
    return text + _picture(figure, "Cost of every iteration", kind="svg")


def _settings(result: PlanFolderResult) -> str:
    document: dict[str, Any] = {
        **result.prescription.settings(),
        "asked in the last optimization": [f"{name}: {term!r}" for name, term in result.report.objectives],
    }
    text = json.dumps(document, indent=2, ensure_ascii=False, default=str)
    return (
        f"<details><summary>Settings, defaults included (JSON)</summary><pre>{_text(text)}</pre></details>"
        f"<details><summary>The prescription file</summary><pre>{_text(result.prescription.text)}</pre></details>"
    )
