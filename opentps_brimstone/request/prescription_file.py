"""What a prescription file asks for."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from opentps_brimstone._util.errors import BrimstoneError
from opentps_brimstone._util.toml_positions import KeyPath
from opentps_brimstone.dicom.choice import Choice
from opentps_brimstone.engine.reference_field import ReferenceField
from opentps_brimstone.evaluation import DVHGoal, as_goals
from opentps_brimstone.evaluation.goals import GOALS_OF_DOSE
from opentps_brimstone.goal_planning.settings import GoalPlannerSettings
from opentps_brimstone.model.derived import OUTSIDE_TARGETS, base_of, is_derived
from opentps_brimstone.optimization.settings import OptimizerSettings
from opentps_brimstone.optimization.terms import KLDivergenceTerm, ObjectiveTerm
from opentps_brimstone.sequencing import SequencingSettings
from opentps_brimstone.sequencing.aperture_settings import ApertureSettings

if TYPE_CHECKING:
    from opentps_brimstone.model.structure import StructureSet

__all__ = [
    "MATCHED",
    "BeamRequest",
    "MachineRequest",
    "PrescriptionFile",
    "PrescriptionFileError",
    "PreviousDoseRequest",
    "TissueRequest",
    "complaint",
    "line_of",
]

MATCHED = "matched"
"""Identifier of a collimator whose leaves match the plan's own rows of beamlets."""


class PrescriptionFileError(BrimstoneError, ValueError):
    """A prescription file is in error; the message has a line for each problem."""


class BeamRequest(NamedTuple):
    """A beam to plan with; angles are IEC, in degrees, and the plan's isocenter is its own unless it has another."""

    gantry_angle: float
    couch_angle: float
    collimator_angle: float
    isocenter_mm: tuple[float, float, float] | None
    name: str | None


class PreviousDoseRequest(NamedTuple):
    """Dose of an earlier course, in an RT Dose file; for all structures if none is named."""

    file: str
    fractions: int
    recovery: float
    structures: tuple[str, ...] | None


class TissueRequest(NamedTuple):
    """Radiosensitivity of a structure: α/β in Gy, and α in 1/Gy if it is known."""

    structure: str
    alpha_beta: float
    alpha: float | None


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
    reference : ReferenceField
        Definition of the machine's MU.
    refine : bool or None
        Whether leaf positions are optimized by the dose of the segments, as for `make_deliverable`; None: if that dose
        has full scatter.
    apertures : ApertureSettings
        How.
    scatter : {"opentps", "full"} or None
        How far scatter reaches in optimization and final dose; None: as the rest of the request suggests.
    beam_model : str or None
        Beam of the machine, as for `compute_dose`: its name, or a TOML file.
    """

    mlc: str = "millennium-120"
    name: str | None = None
    minimum_mu: float = 1.0
    step_mu: float = 0.1
    energy_mv: float = 6.0
    dose_rate_mu_per_min: float | None = None
    sequencing: SequencingSettings = field(default_factory=SequencingSettings)
    reference: ReferenceField = field(default_factory=ReferenceField)
    refine: bool | None = None
    apertures: ApertureSettings = field(default_factory=ApertureSettings)
    scatter: str | None = None
    beam_model: str | None = None

    @property
    def refinement(self) -> ApertureSettings | bool:
        """What `make_deliverable` takes as `refine`."""
        return self.apertures if self.refine else False


@dataclass(frozen=True)
class PrescriptionFile:
    """What a prescription file asks for.

    Attributes
    ----------
    source : str
        Name of the file, for messages.
    name : str
        Of the plan.
    targets : dict of str to float
        Prescribed dose in Gy over all fractions by the name of the structure.
    terms : tuple of (str, ObjectiveTerm)
        Name of the structure, and its term.
    leave_out : tuple of str
        Structures that are not used in planning.
    series, structure_set, accept, patient_position
        As for `Series.from_dicom`.
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
    accept: tuple[str, ...]
    patient_position: str | None
    machine: MachineRequest
    optimizer: OptimizerSettings
    planner: GoalPlannerSettings
    lines: Mapping[KeyPath, int] = field(repr=False, default_factory=dict)
    previous_doses: tuple[PreviousDoseRequest, ...] = ()
    tissues: tuple[TissueRequest, ...] = ()

    @property
    def prescription_gy(self) -> float:
        """Highest prescribed dose."""
        return max(self.targets.values())

    @property
    def choice(self) -> Choice:
        """What the file says of the folder to read."""
        return Choice(self.series, self.structure_set, self.accept, self.patient_position)

    def states(self, *path: str | int) -> bool:
        """Tell a value that the file states from a default, by the path of its key, such as ``"planner", "margin"``."""
        return path in self.lines

    def settings(self) -> dict[str, Any]:
        """Give the whole prescription, defaults included, as plain data such as JSON can hold."""
        plain: dict[str, Any] = {
            each.name: getattr(self, each.name)
            for each in dataclasses.fields(self)
            if each.name not in ("source", "text", "lines", "goals", "terms", "beams")
        }
        plain |= {name: dataclasses.asdict(plain[name]) for name in ("machine", "optimizer", "planner")}
        for name in ("previous_doses", "tissues"):
            plain[name] = [each._asdict() for each in getattr(self, name)]
        plain["beams"] = [beam._asdict() for beam in self.beams]
        plain["goals"] = [str(goal) for goal in self.goals]
        plain["terms"] = [f"{name}: {term!r}" for name, term in self.terms]
        return plain

    def previous_dose_file(self, number: int) -> Path:
        """Find the file of an earlier course; a relative path is seen from the folder of the prescription."""
        return self.beside(self.previous_doses[number].file)

    def beside(self, file: str) -> Path:
        """Find a file that the prescription names."""
        return Path(self.source).parent / file

    def problem(self, path: KeyPath, message: object) -> PrescriptionFileError:
        """Make an error that names the file, the line and the key."""
        return PrescriptionFileError(complaint(self.source, self.lines, path, message))

    def for_structures(self, structures: StructureSet) -> PrescriptionFile:
        """Check the names of structures, and spell them as the structure set does.

        Raises
        ------
        PrescriptionFileError
            If a structure is unknown, naming those there are; if a goal does not follow from dose, or asks for dose in
            a structure that is not a target, or nothing asks for dose in a target.
        """
        complaints: list[str] = []

        def spelled(name: str, path: KeyPath) -> str:
            try:
                return _spelled(name, structures)
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
        goals = as_goals(goals, prescribed_dose=targets)
        terms = [
            (spelled(name, ("terms", number, "structure")), term) for number, (name, term) in enumerate(self.terms)
        ]
        previous = [
            each
            if each.structures is None
            else each._replace(
                structures=tuple(spelled(name, ("previous_dose", number, "structures")) for name in each.structures)
            )
            for number, each in enumerate(self.previous_doses)
        ]
        tissues = [
            each._replace(structure=spelled(each.structure, ("tissue", number, "structure")))
            for number, each in enumerate(self.tissues)
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
            self,
            targets=targets,
            goals=tuple(goals),
            terms=tuple(terms),
            leave_out=tuple(leave_out),
            previous_doses=tuple(previous),
            tissues=tuple(tissues),
        )

    def _doses_asked(
        self, targets: Mapping[str, float], goals: Sequence[DVHGoal], terms: Sequence[tuple[str, ObjectiveTerm]]
    ) -> list[str]:
        """List goals that are not of dose or ask for it in organs, and targets in which nothing asks for dose."""
        complaints = []
        for number, goal in enumerate(goals):
            if not goal.is_of_dose:
                message = f"'{goal}': {goal.quantity} does not follow from dose; {GOALS_OF_DOSE}"
                complaints.append(complaint(self.source, self.lines, ("prescription", "goals", number), message))
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


def _spelled(name: str, structures: StructureSet) -> str:
    """Spell a name as a structure set does; that of a structure which follows from others, as far as they are in it."""
    if name in structures or not is_derived(name):
        return structures[name].name
    base = base_of(name)
    return name if base is None else f"{structures[base].name}{OUTSIDE_TARGETS}"


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
