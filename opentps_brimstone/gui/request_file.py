"""Requests as the TOML files of ``opentps-brimstone plan``, and back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from opentps_brimstone.gui.asked import Asked
from opentps_brimstone.gui.request import BeamRow, Request
from opentps_brimstone.optimization.terms import KLDivergenceTerm, MaximumDoseTerm, MinimumDoseTerm

if TYPE_CHECKING:
    from opentps_brimstone.request.prescription_file import PrescriptionFile

__all__ = ["read_request", "request_of", "request_text", "write_request"]


def request_text(request: Request) -> str:
    """Write a request as a prescription file.

    Parameters
    ----------
    request : Request

    Returns
    -------
    str
        TOML.
    """
    lines = ["[plan]", f"name = {_text(request.name)}", f"fractions = {request.fractions}"]
    if request.dose_grid_mm is not None:
        lines.append(f"dose_grid_mm = {request.dose_grid_mm!r}")
    if request.isocenter_mm is not None:
        lines.append(f"isocenter_mm = {list(request.isocenter_mm)}")
    lines += ["", "[beamlets]", f"spacing_mm = {request.beamlet_mm!r}", f"margin_mm = {request.margin_mm!r}"]
    for beam in request.beams:
        lines += ["", "[[beams]]", f"gantry_angle = {beam.gantry!r}"]
        lines += [f"couch_angle = {beam.couch!r}", f"collimator_angle = {beam.collimator!r}"]
    for each in request.asked:
        if each.is_target:
            lines += ["", "[[targets]]", f"structure = {_text(each.structure)}", f"dose_gy = {each.prescribed_gy!r}"]
    lines += ["", "[prescription]", f"goals = {json.dumps(list(request.goals), ensure_ascii=False)}"]
    for each in request.asked:
        lines += _term_lines(each)
    lines += ["", "[machine]", f"mlc = {_text(request.mlc)}", ""]
    return "\n".join(lines)


def _text(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)


def _term_lines(asked: Asked) -> list[str]:
    lines = []
    for term in asked.terms():
        lines += ["", "[[terms]]", f"structure = {_text(asked.structure)}"]
        if isinstance(term, KLDivergenceTerm):
            lines += ['kind = "kl"', f"dvh = {[list(point) for point in asked.points]}"]
        elif isinstance(term, MaximumDoseTerm):
            lines += ['kind = "maximum-dose"', f"limit_gy = {term.limit_gy!r}"]
        elif isinstance(term, MinimumDoseTerm):
            lines += ['kind = "minimum-dose"', f"limit_gy = {term.limit_gy!r}"]
        lines.append(f"weight = {term.weight!r}")
    return lines


def write_request(request: Request, path: Path) -> None:
    """Write a request to a file; replaced if it exists.

    Parameters
    ----------
    request : Request
    path : Path
    """
    path.write_text(request_text(request), encoding="utf-8")


def read_request(path: Path) -> Request:
    """Read a request from a prescription file.

    Parameters
    ----------
    path : Path

    Returns
    -------
    Request

    Raises
    ------
    PrescriptionFileError
        Naming line and key of everything that is wrong.
    ValueError
        If a term is of a kind that cannot be drawn.
    """
    from opentps_brimstone.request.reader import read_prescription

    return request_of(read_prescription(path))


def request_of(file: PrescriptionFile) -> Request:
    """Make a request of what a prescription file asks for.

    Parameters
    ----------
    file : PrescriptionFile

    Returns
    -------
    Request

    Raises
    ------
    ValueError
        If a term is of a kind that cannot be drawn, or a dose grid is not the same in all directions.
    """
    names = list(dict.fromkeys(name for name, _ in file.terms))
    grid = file.dose_grid_mm
    if isinstance(grid, tuple):
        if len(set(grid)) > 1:
            raise ValueError(
                f"{file.source}: the dose grid {grid} mm differs by direction; the panel knows one spacing"
            )
        grid = grid[0]
    return Request(
        name=file.name,
        fractions=file.fractions,
        beams=tuple(BeamRow(each.gantry_angle, each.couch_angle, each.collimator_angle) for each in file.beams),
        isocenter_mm=file.isocenter_mm,
        beamlet_mm=file.beamlet_spacing_mm,
        margin_mm=file.beamlet_margin_mm,
        dose_grid_mm=grid,
        asked=tuple(_asked(name, file) for name in names),
        goals=tuple(str(goal) for goal in file.goals),
        mlc=file.machine.mlc,
    )


def _asked(name: str, file: PrescriptionFile) -> Asked:
    points, weight = None, 1.0
    limits: dict[str, float] = {}
    for term in (term for structure, term in file.terms if structure == name):
        if isinstance(term, KLDivergenceTerm) and points is None:
            points, weight = tuple((float(dose), float(share)) for dose, share in term.dvh), term.weight
        elif isinstance(term, MaximumDoseTerm) and "maximum_gy" not in limits:
            limits["maximum_gy"] = term.limit_gy
        elif isinstance(term, MinimumDoseTerm) and "minimum_gy" not in limits:
            limits["minimum_gy"] = term.limit_gy
        else:
            raise ValueError(f"{file.source}: {term!r} on {name!r} cannot be drawn beside the others; leave it out")
    if points is None:
        raise ValueError(f"{file.source}: {name!r} has limits and no target DVH to draw; give it a term of kind 'kl'")
    prescribed = file.targets.get(name)
    if prescribed is not None and prescribed != points[0][0]:
        limits["prescription_gy"] = prescribed
    return Asked(name, name in file.targets, points, weight, **limits)
