"""What is planned, as one immutable value: beams, grids, what is asked of structures, goals, machine."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

from opentps_brimstone.evaluation import DVHGoal, as_goals
from opentps_brimstone.gui.asked import Asked

__all__ = ["BEAM_SETS", "BeamRow", "Request", "beam_set", "side_of_entry"]

_NEARLY = 0.08  # of a unit vector's component that is not worth a word


@dataclass(frozen=True)
class BeamRow:
    """A static field; angles after IEC 61217, degrees in [0, 360).

    Attributes
    ----------
    gantry, couch, collimator : float
    """

    gantry: float
    couch: float = 0.0
    collimator: float = 0.0

    def __post_init__(self) -> None:
        for name in ("gantry", "couch", "collimator"):
            angle = getattr(self, name)
            if not math.isfinite(angle):
                raise ValueError(f"{name} angle is {angle}; it must be a number of degrees")
            object.__setattr__(self, name, float(angle) % 360.0 % 360.0)

    @property
    def side(self) -> str:
        """Where it enters."""
        return side_of_entry(self.gantry, self.couch)


def side_of_entry(gantry: float, couch: float = 0.0) -> str:
    """Name the side on which a beam enters a patient who lies head first supine.

    Parameters
    ----------
    gantry, couch : float
        IEC angles in degrees.

    Returns
    -------
    str

    Examples
    --------
    >>> side_of_entry(90.0), side_of_entry(315.0)
    ("patient's left", "front, patient's right")
    """
    theta, psi = math.radians(gantry), math.radians(couch)
    toward = (
        (math.cos(theta), "front", "back"),
        (math.sin(theta) * math.cos(psi), "patient's left", "patient's right"),
        (-math.sin(theta) * math.sin(psi), "head", "feet"),
    )
    words = [(abs(part), plus if part > 0 else minus) for part, plus, minus in toward if abs(part) > _NEARLY]
    return ", ".join(word for _, word in sorted(words, key=lambda entry: -round(entry[0], 6)))


BEAM_SETS = {
    "5 fields": 5,
    "7 fields": 7,
    "9 fields": 9,
    "18 fields": 18,
}
"""Sets of coplanar beams, evenly around, by name."""


def beam_set(name: str) -> tuple[BeamRow, ...]:
    """Make the beams of a set of `BEAM_SETS`.

    Parameters
    ----------
    name : str

    Returns
    -------
    tuple of BeamRow
    """
    count = BEAM_SETS[name]
    return tuple(BeamRow(round(360.0 * number / count, 1)) for number in range(count))


@dataclass(frozen=True)
class Request:
    """Everything a plan is made of.

    Attributes
    ----------
    name : str
        Of the plan.
    fractions : int
    beams : tuple of BeamRow
    isocenter_mm : tuple of float or None
        In DICOM's patient coordinates; None is the center of the targets.
    beamlet_mm, margin_mm : float
        Size of the beamlets, and how far they reach beyond the targets.
    dose_grid_mm : float or None
        None: the CT's, not finer than 3 mm.
    asked : tuple of Asked
    goals : tuple of str
        As `DVHGoal.parse` reads them.
    mlc : str
        Identifier of the collimator.
    """

    name: str = "Brimstone plan"
    fractions: int = 25
    beams: tuple[BeamRow, ...] = ()
    isocenter_mm: tuple[float, float, float] | None = None
    beamlet_mm: float = 5.0
    margin_mm: float = 5.0
    dose_grid_mm: float | None = None
    asked: tuple[Asked, ...] = ()
    goals: tuple[str, ...] = ()
    mlc: str = "matched"

    @property
    def targets(self) -> tuple[str, ...]:
        """Names of the structures to be irradiated."""
        return tuple(each.structure for each in self.asked if each.is_target)

    @property
    def structures(self) -> tuple[str, ...]:
        """Names of the structures that something is asked of, or that a goal judges."""
        judged = [goal.structure for goal in self._understood_goals()]
        return tuple(dict.fromkeys([*(each.structure for each in self.asked), *judged]))

    def _understood_goals(self) -> list[DVHGoal]:
        try:
            return self.parsed_goals()
        except ValueError:
            return []

    @property
    def doses_depend_on(self) -> tuple[object, ...]:
        """What the doses of the beamlets depend on beside the CT; equal values have equal beamlets."""
        return (self.beams, self.isocenter_mm, self.beamlet_mm, self.margin_mm, self.dose_grid_mm, self.targets)

    @property
    def plan_depends_on(self) -> tuple[object, ...]:
        """What the plan depends on beside the CT; goals judge it, and the collimator delivers it."""
        return (self.doses_depend_on, self.name, self.fractions, self.asked)

    @property
    def prescribed_doses(self) -> dict[str, float]:
        """Dose prescribed to each target, in Gy."""
        return {each.structure: each.prescribed_gy for each in self.asked if each.is_target}

    @property
    def prescription_gy(self) -> float | None:
        """Highest dose prescribed to a target; that of 100 % isodoses."""
        return max(self.prescribed_doses.values(), default=None)

    def of(self, structure: str) -> Asked | None:
        """Find what is asked of a structure, or None."""
        return next((each for each in self.asked if each.structure == structure), None)

    def asking(self, asked: Asked) -> Request:
        """Ask something of a structure, instead of what was asked of it before.

        Parameters
        ----------
        asked : Asked

        Returns
        -------
        Request
        """
        if self.of(asked.structure) is None:
            return replace(self, asked=(*self.asked, asked))
        return replace(self, asked=tuple(asked if e.structure == asked.structure else e for e in self.asked))

    def without(self, structure: str) -> Request:
        """Ask nothing of a structure.

        Parameters
        ----------
        structure : str

        Returns
        -------
        Request
        """
        return replace(self, asked=tuple(each for each in self.asked if each.structure != structure))

    def parsed_goals(self) -> list[DVHGoal]:
        """Read the goals.

        Returns
        -------
        list of DVHGoal

        Raises
        ------
        ValueError
            Naming the goal that is not understood.
        """
        return as_goals(self.goals, prescribed_dose=self.prescribed_doses, of_dose=True)

    def check(self, structures: Iterable[str]) -> None:
        """Check what a run needs, before any long work.

        Parameters
        ----------
        structures : iterable of str
            Names of those there are.

        Raises
        ------
        ValueError
            Naming the field that is wrong and what would be right.
        """
        if self.fractions < 1:
            raise ValueError(f"Plan, fractions: {self.fractions}; it must be 1 or more")
        if not self.beams:
            raise ValueError("Plan, beams: there are none; add a beam or choose a set of beams")
        if len(set(self.beams)) < len(self.beams):
            raise ValueError("Plan, beams: two beams have the same angles; remove one")
        for field, value in (("beamlet size", self.beamlet_mm), ("dose grid", self.dose_grid_mm)):
            if value is not None and not (math.isfinite(value) and value > 0):
                raise ValueError(f"Plan, {field}: {value:g} mm; it must be positive")
        if not (math.isfinite(self.margin_mm) and self.margin_mm >= 0):
            raise ValueError(f"Plan, margin: {self.margin_mm:g} mm; it must be 0 or more")
        if not self.targets:
            raise ValueError("Objectives: no structure is a target; choose the preset 'target' for one")
        known = set(structures)
        for each in self.asked:
            if each.structure not in known:
                raise ValueError(f"Objectives: structure {each.structure!r} is not among those of the CT")
        self.parsed_goals()
