"""Requests as the TOML files of ``opentps-brimstone plan``, and back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from opentps_brimstone.gui.asked import Asked
from opentps_brimstone.gui.limits import Limit, limit_of_term
from opentps_brimstone.gui.request import BeamRow, Request
from opentps_brimstone.optimization.objectives import DVHLimitTerm
from opentps_brimstone.optimization.terms import (
    DoseLimitTerm,
    KLDivergenceTerm,
    MaximumDoseTerm,
    MeanDoseTerm,
    MinimumDoseTerm,
    ObjectiveTerm,
)

if TYPE_CHECKING:
    from opentps_brimstone.request.prescription_file import PrescriptionFile

__all__ = ["read_request", "request_of", "request_text", "write_request"]


_KINDS: dict[type[DoseLimitTerm], str] = {
    MaximumDoseTerm: "maximum-dose",
    MinimumDoseTerm: "minimum-dose",
    MeanDoseTerm: "mean-dose",
}


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
        kind, keys = _kind_and_keys(term)
        lines += ["", "[[terms]]", f"structure = {_text(asked.structure)}", f'kind = "{kind}"']
        lines += [f"{key} = {value}" for key, value in keys.items()]
        lines.append(f"weight = {term.weight!r}")
    return lines


def _kind_and_keys(term: ObjectiveTerm) -> tuple[str, dict[str, str]]:
    """Give the name of a term's kind in files, and its keys as TOML."""
    if isinstance(term, KLDivergenceTerm):
        return "kl", {"dvh": str([[float(dose), float(share)] for dose, share in term.dvh])}
    if isinstance(term, DVHLimitTerm):
        minimum = {"minimum": "true"} if term.minimum else {}
        return "dvh-limit", {"dose_gy": repr(term.dose_gy), "volume": repr(term.volume), **minimum}
    assert isinstance(term, DoseLimitTerm)
    return _KINDS[type(term)], {"limit_gy": repr(term.limit_gy)}


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
        goals=tuple(str(goal.written or goal) for goal in file.goals),
        mlc=file.machine.mlc,
    )


def _asked(name: str, file: PrescriptionFile) -> Asked:
    points: tuple[tuple[float, float], ...] = ()
    weight = 1.0
    limits: list[Limit] = []
    for term in (term for structure, term in file.terms if structure == name):
        limit = limit_of_term(term)
        if limit is not None:
            limits.append(limit)
        elif _can_be_drawn(term) and not points:
            assert isinstance(term, KLDivergenceTerm)
            points, weight = tuple((float(dose), float(share)) for dose, share in term.dvh), term.weight
        else:
            raise ValueError(f"{file.source}: {term!r} on {name!r} cannot be drawn beside the others; leave it out")
    prescribed = file.targets.get(name)
    own = prescribed if prescribed is not None and points and prescribed != points[0][0] else None
    return Asked(name, name in file.targets, points, weight, tuple(limits), own)


def _can_be_drawn(term: ObjectiveTerm) -> bool:
    return isinstance(term, KLDivergenceTerm) and term.quantity == "physical_dose" and term.direction is None
