"""What a prescription file asks for."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from opentps_brimstone._util.errors import BrimstoneError
from opentps_brimstone._util.toml_positions import KeyPath
from opentps_brimstone.engine.monitor_units import ReferenceField
from opentps_brimstone.evaluation import DVHGoal
from opentps_brimstone.goal_planning.settings import GoalPlannerSettings
from opentps_brimstone.optimization.settings import OptimizerSettings
from opentps_brimstone.optimization.terms import KLDivergenceTerm, ObjectiveTerm
from opentps_brimstone.sequencing import SequencingSettings

if TYPE_CHECKING:
    from opentps_brimstone.model.structure import StructureSet

__all__ = [
    "MATCHED",
    "BeamRequest",
    "MachineRequest",
    "PrescriptionFile",
    "PrescriptionFileError",
    "complaint",
    "line_of",
]

MATCHED = "matched"
"""Identifier of a collimator whose leaves match the plan's own rows of beamlets."""


class PrescriptionFileError(BrimstoneError, ValueError):
    """A prescription file is in error; the message has a line for each problem."""


class BeamRequest(NamedTuple):
    """A beam to plan with; angles are IEC, in degrees."""

    gantry_angle: float
    couch_angle: float
    collimator_angle: float
    name: str | None


@dataclass(frozen=True)
class MachineRequest:
    """The machine that is to deliver a plan.

    Attributes
    ----------
    mlc : str
        An identifier of `MLCS`, or ``matched``.
    name : str or None
        Name of the treatment machine, for the plan file.
    minimum_mu, step_mu : float
        Machine MU, as for `make_deliverable`.
    energy_mv, dose_rate_mu_per_min : float or None
        For the plan file.
    sequencing : SequencingSettings
    reference : ReferenceField
        Definition of the machine's MU.
    """

    mlc: str = "millennium-120"
    name: str | None = None
    minimum_mu: float = 1.0
    step_mu: float = 0.1
    energy_mv: float = 6.0
    dose_rate_mu_per_min: float | None = None
    sequencing: SequencingSettings = field(default_factory=SequencingSettings)
    reference: ReferenceField = field(default_factory=ReferenceField)


@dataclass(frozen=True)
class PrescriptionFile:
    """What a prescription file asks for.

    Attributes
    ----------
    source : str
        Name of the file, for messages.
    text : str
    name : str
        Of the plan.
    fractions : int
    beams : tuple of BeamRequest
    targets : dict of str to float
        Prescribed dose in Gy over all fractions by the name of the structure.
    goals : tuple of DVHGoal
    terms : tuple of (str, ObjectiveTerm)
        Name of the structure, and its term.
    leave_out : tuple of str
        Structures that are not used in planning.
    dose_grid_mm : float, tuple of float or None
    isocenter_mm : tuple of float or None
    beamlet_spacing_mm, beamlet_margin_mm : float
    series, structure_set : str or None
        As for `Series.from_dicom`.
    machine : MachineRequest
    optimizer : OptimizerSettings
    planner : GoalPlannerSettings
    """

    source: str
    text: str = field(repr=False)
    name: str
    fractions: int
    beams: tuple[BeamRequest, ...]
    targets: dict[str, float]
    goals: tuple[DVHGoal, ...]
    terms: tuple[tuple[str, ObjectiveTerm], ...]
    leave_out: tuple[str, ...]
    dose_grid_mm: float | tuple[float, float, float] | None
    isocenter_mm: tuple[float, float, float] | None
    beamlet_spacing_mm: float
    beamlet_margin_mm: float
    series: str | None
    structure_set: str | None
    machine: MachineRequest
    optimizer: OptimizerSettings
    planner: GoalPlannerSettings
    lines: Mapping[KeyPath, int] = field(repr=False, default_factory=dict)

    @property
    def prescription_gy(self) -> float:
        """Highest prescribed dose."""
        return max(self.targets.values())

    def states(self, *path: str | int) -> bool:
        """Tell a value that the file states from a default.

        Parameters
        ----------
        *path : str or int
            Of the key, such as ``"planner", "margin"``.

        Returns
        -------
        bool
        """
        return path in self.lines

    def settings(self) -> dict[str, Any]:
        """Give the whole prescription, defaults included, as plain data.

        Returns
        -------
        dict
            As JSON can hold.
        """
        plain: dict[str, Any] = {
            each.name: getattr(self, each.name)
            for each in dataclasses.fields(self)
            if each.name not in ("source", "text", "lines", "goals", "terms", "beams")
        }
        plain |= {name: dataclasses.asdict(plain[name]) for name in ("machine", "optimizer", "planner")}
        plain["beams"] = [beam._asdict() for beam in self.beams]
        plain["goals"] = [str(goal) for goal in self.goals]
        plain["terms"] = [f"{name}: {term!r}" for name, term in self.terms]
        return plain

    def problem(self, path: KeyPath, message: object) -> PrescriptionFileError:
        """Make an error that names the file, the line and the key.

        Parameters
        ----------
        path : tuple of str or int
            Of the key.
        message : object
            What is wrong.

        Returns
        -------
        PrescriptionFileError
        """
        return PrescriptionFileError(complaint(self.source, self.lines, path, message))

    def for_structures(self, structures: StructureSet) -> PrescriptionFile:
        """Check the names of structures, and spell them as the structure set does.

        Parameters
        ----------
        structures : StructureSet

        Returns
        -------
        PrescriptionFile

        Raises
        ------
        PrescriptionFileError
            If a structure is unknown, naming those there are; if a goal asks for dose in a structure that is not a
            target, or nothing asks for dose in a target.
        """
        complaints: list[str] = []

        def spelled(name: str, path: KeyPath) -> str:
            try:
                return structures[name].name
            except KeyError as error:
                complaints.append(complaint(self.source, self.lines, path, error))
                return name

        targets: dict[str, float] = {}
        for number, (name, dose) in enumerate(self.targets.items()):
            path: KeyPath = ("targets", number, "structure")
            target = spelled(name, path)
            if target in targets:
                complaints.append(complaint(self.source, self.lines, path, f"{target!r} is a target already"))
            targets[target] = dose
        goals = [
            dataclasses.replace(goal, structure=spelled(goal.structure, ("prescription", "goals", number)))
            for number, goal in enumerate(self.goals)
        ]
        terms = [
            (spelled(name, ("terms", number, "structure")), term) for number, (name, term) in enumerate(self.terms)
        ]
        leave_out = [spelled(name, ("plan", "leave_out", number)) for number, name in enumerate(self.leave_out)]
        used = {*targets, *(goal.structure for goal in goals), *(name for name, _ in terms)}
        for number, name in enumerate(leave_out):
            if name in used:
                path = ("plan", "leave_out", number)
                complaints.append(
                    complaint(self.source, self.lines, path, f"{name!r} is a target or has goals or terms")
                )
        if not complaints:
            complaints += self._doses_asked(targets, goals, terms)
        if complaints:
            raise PrescriptionFileError("\n".join(complaints))
        return dataclasses.replace(
            self, targets=targets, goals=tuple(goals), terms=tuple(terms), leave_out=tuple(leave_out)
        )

    def _doses_asked(
        self, targets: Mapping[str, float], goals: Sequence[DVHGoal], terms: Sequence[tuple[str, ObjectiveTerm]]
    ) -> list[str]:
        """List goals that ask for dose in organs, and targets in which nothing asks for dose."""
        complaints = []
        for number, goal in enumerate(goals):
            if goal.is_lower_bound and goal.metric.unit and goal.structure not in targets:
                message = f"'{goal}' asks for dose in {goal.structure!r}, which is not a target; name it in [[targets]]"
                complaints.append(complaint(self.source, self.lines, ("prescription", "goals", number), message))
        for number, name in enumerate(targets):
            if self.terms:
                asked = any(on == name and isinstance(term, KLDivergenceTerm) for on, term in terms)
                wanted = f'a term of kind "kl", such as dose_range = [{targets[name]:g}, {1.05 * targets[name]:g}]'
            else:
                asked = any(goal.structure == name and goal.is_lower_bound and goal.metric.unit for goal in goals)
                wanted = f"a goal for its lowest dose, such as '{name} D95 >= {targets[name]:g} Gy'"
            if not asked:
                message = f"nothing asks for dose in the target {name!r}; add {wanted}"
                complaints.append(complaint(self.source, self.lines, ("targets", number, "structure"), message))
        return complaints


# ----------------------------------------------------------------------------------------------------------- messages


def _key(path: KeyPath) -> str:
    """Name a key: ``beams 2, gantry_angle``; items are counted from 1."""
    words: list[str] = []
    for part in path:
        if isinstance(part, int):
            words[-1] += f" {part + 1}"
        else:
            words.append(part)
    return ", ".join(words)


def complaint(source: str, lines: Mapping[KeyPath, int], path: KeyPath, message: object) -> str:
    """Name file, line and key of a problem before saying what it is."""
    line = line_of(lines, path)
    where = source if line is None else f"{source}, line {line}"
    return f"{where}: {_key(path)}: {message}" if path else f"{where}: {message}"


def line_of(lines: Mapping[KeyPath, int], path: KeyPath) -> int | None:
    """Find the line of a key, or of the table that it would be in."""
    return next((lines[path[:length]] for length in range(len(path), 0, -1) if path[:length] in lines), None)


def _syntax_complaint(source: str, text: str, error: str) -> str:
    """Put the line of a syntax error where other errors have it."""
    place = re.search(r" \(at (?:line (\d+), column (\d+)|end of document)\)$", error)
    if place is None:
        return f"{source}: this is no TOML: {error}"
    line, column = (place[1], f" in column {place[2]}") if place[1] else (len(text.splitlines()), " at the end")
    return f"{source}, line {line}: this is no TOML: {error[: place.start()]}{column}"


# ------------------------------------------------------------------------------------------------- what values may be

_Check = Callable[[Any], Any]


def _said(value: Any) -> str:
    names = {str: "text", bool: "true or false", list: "a list", dict: "a table", int: "a number", float: "a number"}
    kind = names.get(type(value), "a date or time")
    return f"{value!r} is {kind}" if not isinstance(value, list | dict) else f"this is {kind}"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _number(
    low: float = -math.inf, high: float = math.inf, *, above: float | None = None, unit: str = "", whole: bool = False
) -> _Check:
    bounds = []
    if above is not None:
        bounds.append(f"above {above:g}")
    if math.isfinite(low) and math.isfinite(high):
        bounds.append(f"from {low:g} to {high:g}")
    elif math.isfinite(low):
        bounds.append(f"{low:g} or more")
    elif math.isfinite(high):
        bounds.append(f"at most {high:g}")
    kind = f"a {'whole ' if whole else ''}number{' of ' + unit if unit else ''}"
    allowed = ", ".join([kind, *bounds])

    def check(value: Any) -> Any:
        if not _is_number(value) or (whole and not isinstance(value, int)):
            raise ValueError(f"{_said(value)}; it must be {allowed}")
        try:
            number = float(value)
        except OverflowError:  # of a whole number with hundreds of digits
            number = math.inf
        if not (math.isfinite(number) and low <= number <= high and (above is None or number > above)):
            raise ValueError(f"this is {value if math.isfinite(number) else number}; it must be {allowed}")
        return value if whole else number

    return check


def _choice(*allowed: str) -> _Check:
    def check(value: Any) -> str:
        if not isinstance(value, str) or value not in allowed:
            raise ValueError(f"this is {value!r}; it may be {', '.join(map(repr, allowed))}")
        return value

    return check


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{_said(value)}; it must be text in quotes")
    if not value.strip():
        raise ValueError("this is empty; it must be some text")
    return value


def _short_text(longest: int) -> _Check:
    def check(value: Any) -> str:
        text = _text(value)
        if len(text) > longest:
            raise ValueError(f"{text!r} has {len(text)} letters; DICOM has room for {longest}")
        return text

    return check


def _truth(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{_said(value)}; it must be true or false")
    return value


def _several(count: int, each: _Check, what: str) -> _Check:
    def check(value: Any) -> tuple[Any, ...]:
        if not isinstance(value, list) or len(value) != count:
            found = f"a list of {len(value)}" if isinstance(value, list) else _said(value)
            raise ValueError(f"{found}; it must be {what}")
        return tuple(each(item) for item in value)

    return check


def _grid(value: Any) -> Any:
    size = _number(above=0, unit="mm")
    return _several(3, size, "a number of mm, or three [x, y, z]")(value) if isinstance(value, list) else size(value)


def _points(value: Any) -> list[tuple[float, float]]:
    if not isinstance(value, list):
        raise ValueError(f"{_said(value)}; it must be a list of [dose in Gy, volume share] pairs")
    pair = _several(2, _number(), "a pair [dose in Gy, volume share]")
    return [pair(point) for point in value]


def _like(default: Any) -> _Check:
    """Check the type of a setting by that of its default; its range is checked where it is used."""
    if isinstance(default, bool):
        return _truth
    if isinstance(default, str):
        return _text
    if default is None or isinstance(default, int):
        return _number(whole=True)
    number = _number(whole=isinstance(default, tuple) and all(isinstance(item, int) for item in default))

    def check(value: Any) -> Any:
        if isinstance(value, list):
            return tuple(number(item) for item in value)
        if isinstance(default, tuple):
            raise ValueError(f"{_said(value)}; it must be a list of numbers")
        return number(value)

    return check


# ---------------------------------------------------------------------------------------------------- what keys exist

_REQUIRED: Any = object()


class _Entry(NamedTuple):
    check: _Check
    default: Any = None


_ANGLE = _number(-360, 360, unit="degrees")
_DOSE = _number(0, unit="Gy")
_SCHEMA: dict[str, dict[str, _Entry]] = {
    "plan": {
        "name": _Entry(_text, "Brimstone plan"),
        "fractions": _Entry(_number(1, 200, whole=True), _REQUIRED),
        "dose_grid_mm": _Entry(_grid),
        "isocenter_mm": _Entry(_several(3, _number(unit="mm"), "three numbers [x, y, z] in mm")),
        "leave_out": _Entry(lambda value: value, ()),
    },
    "input": {"series": _Entry(_text), "structure_set": _Entry(_text)},
    "beamlets": {
        "spacing_mm": _Entry(_number(1, 50, unit="mm"), 5.0),
        "margin_mm": _Entry(_number(0, 100, unit="mm"), 5.0),
    },
    "beams": {
        "gantry_angle": _Entry(_ANGLE, _REQUIRED),
        "couch_angle": _Entry(_ANGLE, 0.0),
        "collimator_angle": _Entry(_ANGLE, 0.0),
        "name": _Entry(_text),
    },
    "targets": {
        "structure": _Entry(_text, _REQUIRED),
        "dose_gy": _Entry(_number(above=0, unit="Gy over all fractions"), _REQUIRED),
    },
    "prescription": {"goals": _Entry(lambda value: value, ())},
    "terms": {"structure": _Entry(_text, _REQUIRED), "kind": _Entry(_text, _REQUIRED)},
    "machine": {
        "mlc": _Entry(_choice(*MLCS, MATCHED), MachineRequest.mlc),
        "name": _Entry(_short_text(16)),
        "levels": _Entry(_number(2, 1000, whole=True), 10),
        "method": _Entry(_choice(*METHODS)),
        "minimum_mu": _Entry(_number(0, unit="MU per fraction"), MachineRequest.minimum_mu),
        "step_mu": _Entry(_number(0, unit="MU per fraction"), MachineRequest.step_mu),
        "minimum_area_mm2": _Entry(_number(0, unit="mm²"), 0.0),
        "maximum_apertures": _Entry(_number(1, whole=True)),
        "avoid_tongue_and_groove": _Entry(_truth, False),
        "share_wide_leaves": _Entry(_truth, False),
        "energy_mv": _Entry(_number(above=0, unit="MV"), MachineRequest.energy_mv),
        "dose_rate_mu_per_min": _Entry(_number(above=0, unit="MU/min")),
    },
    "calibration": {
        "gy_per_mu": _Entry(_number(above=0, unit="Gy"), ReferenceField.gy_per_mu),
        "field_mm": _Entry(_number(above=0, unit="mm"), ReferenceField.field_mm),
        "depth_mm": _Entry(_number(above=0, unit="mm"), ReferenceField.depth_mm),
        "ssd_mm": _Entry(_number(above=0, unit="mm"), math.nan),
    },
    "optimizer": {
        each.name: _Entry(_like(each.default), each.default) for each in dataclasses.fields(OptimizerSettings)
    },
    "planner": {
        each.name: _Entry(_like(each.default), each.default) for each in dataclasses.fields(GoalPlannerSettings)
    },
}
_LISTS = ("beams", "targets", "terms")
_WEIGHT = {"weight": _Entry(_number(above=0))}
_LIMIT = {"limit_gy": _Entry(_DOSE, _REQUIRED), **_WEIGHT}
_TERMS: dict[str, tuple[Callable[..., ObjectiveTerm], dict[str, _Entry]]] = {
    "kl": (
        KLDivergenceTerm,
        {
            "dvh": _Entry(_points),
            "dose_range": _Entry(_several(2, _DOSE, "two doses [low, high] in Gy")),
            "volume_fraction": _Entry(_number(0, 1)),
            "direction": _Entry(_choice(*DIRECTIONS)),
            **_WEIGHT,
        },
    ),
    "maximum-dose": (MaximumDoseTerm, _LIMIT),
    "minimum-dose": (MinimumDoseTerm, _LIMIT),
    "mean-dose": (MeanDoseTerm, _LIMIT),
    "squared-deviation": (SquaredDeviationTerm, {"dose_gy": _Entry(_DOSE, _REQUIRED), **_WEIGHT}),
    "eud": (EUDTerm, {"a": _Entry(_number(), _REQUIRED), "minimum": _Entry(_truth), **_LIMIT}),
    "dvh-limit": (
        DVHLimitTerm,
        {
            "dose_gy": _Entry(_DOSE, _REQUIRED),
            "volume": _Entry(_number(0, 1), _REQUIRED),
            "minimum": _Entry(_truth),
            **_WEIGHT,
        },
    ),
    "homogeneity": (HomogeneityTerm, _WEIGHT),
}


# -------------------------------------------------------------------------------------------------------- the reading


class _Reader:
    """Reads the data of a file and gathers what is wrong with it."""

    def __init__(self, source: str, lines: Mapping[KeyPath, int], text: str) -> None:
        self._source = source
        self._lines = lines
        self._text = text
        self._complaints: list[tuple[int, str]] = []

    def _complain(self, path: KeyPath, message: object) -> None:
        text = _complaint(self._source, self._lines, path, message)
        self._complaints.append((_line(self._lines, path) or 0, text))

    def prescription(self, data: dict[str, Any]) -> PrescriptionFile:
        """Read everything.

        Raises
        ------
        PrescriptionFileError
        """
        for name in data.keys() - _SCHEMA.keys():
            self._complain((name,), _unknown(name, _SCHEMA))
        tables = {
            name: self._table(data.get(name, {}), (name,), _SCHEMA[name]) for name in _SCHEMA if name not in _LISTS
        }
        beams = [BeamRequest(**beam) for beam in self._tables(data, "beams", required=True)]
        targets = self._targets(data)
        goals = self._listed(tables["prescription"], ("prescription", "goals"), _goal)
        leave_out = self._listed(tables["plan"], ("plan", "leave_out"), _text)
        terms = self._terms(data)
        if not goals and not terms and not self._complaints:
            self._complain(("prescription",), "there are neither goals nor [[terms]]; state what the plan is to reach")
        machine = self._machine(tables["machine"], tables["calibration"])
        optimizer = self._made(OptimizerSettings, tables["optimizer"], ("optimizer",))
        planner = self._made(GoalPlannerSettings, tables["planner"], ("planner",))
        if self._complaints:
            raise PrescriptionFileError("\n".join(text for _, text in sorted(self._complaints)))
        assert machine is not None
        plan = tables["plan"]
        return PrescriptionFile(
            source=self._source,
            text=self._text,
            lines=self._lines,
            name=plan["name"],
            fractions=plan["fractions"],
            beams=tuple(beams),
            targets=targets,
            goals=tuple(goals),
            terms=tuple(terms),
            leave_out=tuple(leave_out),
            dose_grid_mm=plan["dose_grid_mm"],
            isocenter_mm=plan["isocenter_mm"],
            beamlet_spacing_mm=tables["beamlets"]["spacing_mm"],
            beamlet_margin_mm=tables["beamlets"]["margin_mm"],
            series=tables["input"]["series"],
            structure_set=tables["input"]["structure_set"],
            machine=machine,
            optimizer=optimizer,
            planner=planner,
        )

    def _table(self, data: Any, path: KeyPath, schema: Mapping[str, _Entry]) -> dict[str, Any]:
        """Values of a table's keys; defaults where a value is missing or wrong."""
        found = {name: None if entry.default is _REQUIRED else entry.default for name, entry in schema.items()}
        if not isinstance(data, dict):
            self._complain(path, f"{_said(data)}; it must be a table")
            return found
        for name in data:
            if name not in schema:
                self._complain((*path, name), _unknown(name, schema))
        for name, entry in schema.items():
            if name not in data:
                if entry.default is _REQUIRED:
                    self._complain(path, f"{name} is missing")
                continue
            try:
                found[name] = entry.check(data[name])
            except ValueError as error:
                self._complain((*path, name), error)
        return found

    def _tables(self, data: Mapping[str, Any], name: str, *, required: bool = False) -> list[dict[str, Any]]:
        """Values of an array of tables."""
        listed = data.get(name, [])
        if not isinstance(listed, list):
            self._complain((name,), f"{_said(listed)}; it must be an array of tables, each with the head [[{name}]]")
            return []
        if required and not listed:
            self._complain((name,), f"there are none; add one with the head [[{name}]]")
        return [self._table(each, (name, number), _SCHEMA[name]) for number, each in enumerate(listed)]

    def _listed(self, table: Mapping[str, Any], path: KeyPath, check: _Check) -> list[Any]:
        """Values of a list, each of which is checked apart."""
        listed = table[str(path[-1])]
        if not isinstance(listed, list | tuple):
            self._complain(path, f"{_said(listed)}; it must be a list of texts")
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
            self._complain(("terms",), f"{_said(listed)}; it must be an array of tables, each with the head [[terms]]")
            return []
        terms = [self._term(each, ("terms", number)) for number, each in enumerate(listed)]
        return [term for term in terms if term is not None]

    def _term(self, data: Any, path: KeyPath) -> tuple[str, ObjectiveTerm] | None:
        kind = data.get("kind") if isinstance(data, dict) else None
        if isinstance(kind, str) and kind not in _TERMS:
            self._complain((*path, "kind"), f"this is {kind!r}; it may be {', '.join(map(repr, _TERMS))}")
            return None
        made_by, own = _TERMS[kind] if isinstance(kind, str) else (None, {})
        before = len(self._complaints)
        found = self._table(data, path, _SCHEMA["terms"] | own)
        if len(self._complaints) > before or made_by is None:
            return None
        options = {name: found[name] for name in own if found[name] is not None}
        try:
            return found["structure"], made_by(**options)
        except ValueError as error:
            self._complain(path, error)
            return None

    def _machine(self, machine: dict[str, Any], calibration: dict[str, Any]) -> MachineRequest | None:
        sequencing_keys = {each.name for each in dataclasses.fields(SequencingSettings)} - {"minimum_engine_mu"}
        ways = {name: value for name, value in machine.items() if name in sequencing_keys}
        rest = {name: value for name, value in machine.items() if name not in sequencing_keys}
        reference = self._made(ReferenceField, calibration, ("calibration",))
        sequencing = self._made(SequencingSettings, ways, ("machine",))
        if reference is None or sequencing is None:
            return None
        return MachineRequest(**rest, sequencing=sequencing, reference=reference)

    def _made(self, kind: Callable[..., Any], values: dict[str, Any], path: KeyPath) -> Any:
        """Make settings, whose own checks name the field that is wrong first."""
        try:
            return kind(**values)
        except ValueError as error:
            name = str(error).split(maxsplit=1)[0]
            self._complain((*path, name) if (*path, name) in self._lines else path, error)
            return None


def _unknown(name: str, allowed: Mapping[str, Any]) -> str:
    close = difflib.get_close_matches(name, allowed, n=1)
    hint = f"; do you mean {close[0]}?" if close else ""
    return f"there is no such key; there are {', '.join(allowed)}{hint}"


def _goal(value: Any) -> DVHGoal:
    return DVHGoal.parse(_text(value))
