"""Prescription files as TOML: read, and checked before any long work.

Every problem of a file is named with its line, its key and what is allowed, all of them at once.
"""

from __future__ import annotations

import dataclasses
import re
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from opentps_brimstone._util.toml_positions import KeyPath, key_lines
from opentps_brimstone.dicom.identity import IDENTITIES
from opentps_brimstone.engine.reference_field import ReferenceField
from opentps_brimstone.goal_planning.settings import GoalPlannerSettings
from opentps_brimstone.optimization.settings import OptimizerSettings
from opentps_brimstone.optimization.terms import ObjectiveTerm
from opentps_brimstone.request.prescription_file import (
    BeamRequest,
    MachineRequest,
    PrescriptionFile,
    PrescriptionFileError,
    PreviousDoseRequest,
    TissueRequest,
    complaint,
    line_of,
)
from opentps_brimstone.request.schema import LISTS, REQUIRED, SCHEMA, TERMS, Entry, unknown_key
from opentps_brimstone.request.values import Check, choice, described, dvh_goal, nonempty_text
from opentps_brimstone.sequencing import SequencingSettings
from opentps_brimstone.sequencing.aperture_settings import ApertureSettings

__all__ = ["parse_prescription", "read_prescription"]


def read_prescription(path: Path | str) -> PrescriptionFile:
    """Read a prescription file and check all that can be checked without the patient.

    Raises
    ------
    OSError
        If the file cannot be read.
    PrescriptionFileError
        If it is not valid TOML or has errors: a line for each problem, naming file, line, key and what is allowed.
    """
    try:
        text = Path(path).read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise PrescriptionFileError(
            f"{path}: this is not text in UTF-8: {error.reason} at byte {error.start}"
        ) from None
    return parse_prescription(text, str(path))


def parse_prescription(text: str, source: str = "prescription") -> PrescriptionFile:
    """Read a prescription from text.

    Parameters
    ----------
    text : str
        TOML.
    source : str
        Name of its source, for messages.

    Raises
    ------
    PrescriptionFileError
        As `read_prescription`.

    Examples
    --------
    >>> asked = parse_prescription('''
    ... plan.fractions = 25
    ... beams = [{gantry_angle = 0}, {gantry_angle = 120}, {gantry_angle = 240}]
    ... targets = [{structure = "PTV", dose_gy = 50}]
    ... prescription.goals = ["PTV D95 >= 50 Gy", "Cord Dmax <= 45 Gy"]
    ... ''')
    >>> asked.fractions, len(asked.beams), asked.goals[1], asked.machine.mlc
    (25, 3, DVHGoal('Cord Dmax <= 45 Gy'), 'millennium-120')
    """
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise PrescriptionFileError(_syntax_complaint(source, text, str(error))) from None
    # tomllib turns the line ends of Windows into \n; so that positions agree, so does this.
    return _Reader(source, key_lines(text.replace("\r\n", "\n")), text).prescription(data)


def _syntax_complaint(source: str, text: str, error: str) -> str:
    """Put the line of a syntax error where other errors have it."""
    place = re.search(r" \(at (?:line (\d+), column (\d+)|end of document)\)$", error)
    if place is None:
        return f"{source}: this is not valid TOML: {error}"
    line, column = (place[1], f" in column {place[2]}") if place[1] else (len(text.splitlines()), " at the end")
    return f"{source}, line {line}: this is not valid TOML: {error[: place.start()]}{column}"


class _Reader:
    """Reads the data of a file and collects its problems."""

    def __init__(self, source: str, lines: Mapping[KeyPath, int], text: str) -> None:
        self._source = source
        self._lines = lines
        self._text = text
        self._complaints: list[tuple[int, str]] = []

    def _complain(self, path: KeyPath, message: object) -> None:
        text = complaint(self._source, self._lines, path, message)
        self._complaints.append((line_of(self._lines, path) or 0, text))

    def prescription(self, data: dict[str, Any]) -> PrescriptionFile:
        """Read the whole prescription."""
        for name in data.keys() - SCHEMA.keys():
            self._complain((name,), unknown_key(name, SCHEMA))
        tables = {name: self._table(data.get(name, {}), (name,), SCHEMA[name]) for name in SCHEMA if name not in LISTS}
        beams = [BeamRequest(**beam) for beam in self._tables(data, "beams", required=True)]
        targets = self._targets(data)
        previous, tissues = self._tables(data, "previous_dose"), self._tables(data, "tissue")
        goals = self._listed(tables["prescription"], ("prescription", "goals"), dvh_goal)
        leave_out = self._listed(tables["plan"], ("plan", "leave_out"), nonempty_text)
        accept = self._listed(tables["input"], ("input", "accept"), choice(*IDENTITIES))
        terms = self._terms(data)
        if not goals and not terms and not self._complaints:
            self._complain(("prescription",), "there are neither goals nor [[terms]]; state what the plan is to reach")
        machine = self._machine(tables["machine"], tables["calibration"], tables["apertures"])
        optimizer = self._made(OptimizerSettings, tables["optimizer"], ("optimizer",))
        planner = self._made(GoalPlannerSettings, tables["planner"], ("planner",))
        if self._complaints:
            raise PrescriptionFileError("\n".join(text for _, text in sorted(self._complaints)))
        assert machine is not None
        return PrescriptionFile(
            source=self._source,
            text=self._text,
            lines=self._lines,
            **tables["plan"] | {"leave_out": tuple(leave_out)},
            **tables["input"] | {"accept": tuple(accept)},
            beams=tuple(beams),
            targets=targets,
            goals=tuple(goals),
            terms=tuple(terms),
            beamlet_spacing_mm=tables["beamlets"]["spacing_mm"],
            beamlet_margin_mm=tables["beamlets"]["margin_mm"],
            machine=machine,
            optimizer=optimizer,
            planner=planner,
            previous_doses=tuple(PreviousDoseRequest(**each) for each in previous),
            tissues=tuple(TissueRequest(**each) for each in tissues),
        )

    def _table(self, data: Any, path: KeyPath, schema: Mapping[str, Entry]) -> dict[str, Any]:
        """Read the values of a table; defaults where one is missing or wrong."""
        found = {name: None if entry.default is REQUIRED else entry.default for name, entry in schema.items()}
        if not isinstance(data, dict):
            self._complain(path, f"{described(data)}; it must be a table")
            return found
        for name in data:
            if name not in schema:
                self._complain((*path, name), unknown_key(name, schema))
        for name, entry in schema.items():
            if name not in data:
                if entry.default is REQUIRED:
                    self._complain(path, f"{name} is missing")
                continue
            try:
                found[name] = entry.check(data[name])
            except ValueError as error:
                self._complain((*path, name), error)
        return found

    def _tables(self, data: Mapping[str, Any], name: str, *, required: bool = False) -> list[dict[str, Any]]:
        """Read an array of tables."""
        listed = data.get(name, [])
        if not isinstance(listed, list):
            self._complain(
                (name,), f"{described(listed)}; it must be an array of tables, each with the head [[{name}]]"
            )
            return []
        if required and not listed:
            self._complain((name,), f"there are none; add one with the head [[{name}]]")
        return [self._table(each, (name, number), SCHEMA[name]) for number, each in enumerate(listed)]

    def _listed(self, table: Mapping[str, Any], path: KeyPath, check: Check) -> list[Any]:
        """Read a list, checking each item by itself."""
        listed = table[str(path[-1])]
        if not isinstance(listed, list | tuple):
            self._complain(path, f"{described(listed)}; it must be a list of texts")
            return []
        found = []
        for number, each in enumerate(listed):
            try:
                found.append(check(each))
            except ValueError as error:
                self._complain((*path, number), error)
        return found

    def _targets(self, data: Mapping[str, Any]) -> dict[str, float]:
        targets: dict[str, float] = {}
        for number, target in enumerate(self._tables(data, "targets", required=True)):
            name = target["structure"]
            if name in targets:
                self._complain(("targets", number, "structure"), f"{name!r} is a target already")
            elif name is not None:
                targets[name] = target["dose_gy"]
        return targets

    def _terms(self, data: Mapping[str, Any]) -> list[tuple[str, ObjectiveTerm]]:
        listed = data.get("terms", [])
        if not isinstance(listed, list):
            self._complain(
                ("terms",), f"{described(listed)}; it must be an array of tables, each with the head [[terms]]"
            )
            return []
        terms = [self._term(each, ("terms", number)) for number, each in enumerate(listed)]
        return [term for term in terms if term is not None]

    def _term(self, data: Any, path: KeyPath) -> tuple[str, ObjectiveTerm] | None:
        kind = data.get("kind") if isinstance(data, dict) else None
        if isinstance(kind, str) and kind not in TERMS:
            self._complain((*path, "kind"), f"this is {kind!r}; it may be {', '.join(map(repr, TERMS))}")
            return None
        made_by, own = TERMS[kind] if isinstance(kind, str) else (None, {})
        before = len(self._complaints)
        found = self._table(data, path, SCHEMA["terms"] | own)
        if len(self._complaints) > before or made_by is None:
            return None
        options = {name: found[name] for name in own if found[name] is not None}
        try:
            return found["structure"], made_by(**options)
        except ValueError as error:
            self._complain(path, error)
            return None

    def _machine(
        self, machine: dict[str, Any], calibration: dict[str, Any], apertures: dict[str, Any]
    ) -> MachineRequest | None:
        sequencing_keys = {each.name for each in dataclasses.fields(SequencingSettings)}
        ways = {name: value for name, value in machine.items() if name in sequencing_keys}
        rest = {name: value for name, value in machine.items() if name not in sequencing_keys}
        reference = self._made(ReferenceField, calibration, ("calibration",))
        sequencing = self._made(SequencingSettings, ways, ("machine",))
        refinement = self._made(ApertureSettings, apertures, ("apertures",))
        if reference is None or sequencing is None or refinement is None:
            return None
        return MachineRequest(**rest, sequencing=sequencing, reference=reference, apertures=refinement)

    def _made(self, kind: Callable[..., Any], values: dict[str, Any], path: KeyPath) -> Any:
        """Make settings; their own errors begin with the name of the wrong field."""
        try:
            return kind(**values)
        except ValueError as error:
            name = str(error).split(maxsplit=1)[0]
            self._complain((*path, name) if (*path, name) in self._lines else path, error)
            return None
