"""What may differ from the plan when it is delivered: where the patient lies, and how dense the tissue is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from opentps_brimstone._typing import FloatArray
from opentps_brimstone.model.influence import DoseInfluence

__all__ = ["Scenario", "ScenarioInfluence", "checked_scenarios", "setup_scenarios"]

_AXES = ("x", "y", "z")


@dataclass(frozen=True)
class Scenario:
    """A setup error and a density error.

    Parameters
    ----------
    shift_mm : (float, float, float)
        Displacement of the patient from where it was planned to lie, along DICOM's patient axes: the beams' isocenters
        lie displaced by its opposite in the patient.
    density_percent : float
        By how much all densities are higher than planned; above -100.
    probability : float
        Relative to those of the other scenarios; positive.
    name : str
        Default: from the errors.
    source : str
        Where its doses come from if its errors are not known.

    Raises
    ------
    ValueError
        If a number is out of its range.

    Examples
    --------
    >>> Scenario((0.0, 0.0, 3.0)).name
    'z +3 mm'
    >>> Scenario(density_percent=-2.5).name
    'density -2.5 %'
    """

    shift_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)
    density_percent: float = 0.0
    probability: float = 1.0
    name: str = field(default="", compare=False)
    source: str = ""

    def __post_init__(self) -> None:
        shift = np.array(self.shift_mm, dtype=np.float64)
        if shift.shape != (3,) or not np.isfinite(shift).all():
            raise ValueError(f"the shift of a scenario is {self.shift_mm!r}; it must be three finite numbers in mm")
        object.__setattr__(self, "shift_mm", tuple(shift.tolist()))
        if not (np.isfinite(self.density_percent) and self.density_percent > -100.0):
            raise ValueError(f"density_percent is {self.density_percent}; it must be finite and above -100")
        if not (np.isfinite(self.probability) and self.probability > 0.0):
            raise ValueError(
                f"the probability of a scenario is {self.probability}; it must be positive: leave out a scenario that "
                "does not happen"
            )
        if not self.name:
            object.__setattr__(self, "name", self._default_name())

    def _default_name(self) -> str:
        parts = [f"{axis} {mm:+g} mm" for axis, mm in zip(_AXES, self.shift_mm, strict=True) if mm]
        if self.density_percent:
            parts.append(f"density {self.density_percent:+g} %")
        return self.source or ", ".join(parts) or "nominal"

    @property
    def is_nominal(self) -> bool:
        """Whether everything is as planned."""
        return not any(self.shift_mm) and not self.density_percent and not self.source

    @property
    def density_factor(self) -> float:
        """Factor of all densities."""
        return 1.0 + self.density_percent / 100.0

    def isocenter(self, planned_mm: npt.ArrayLike) -> FloatArray:
        """Isocenter of a beam in the displaced patient, from the planned one, in mm."""
        place: FloatArray = np.asarray(planned_mm, dtype=np.float64) - np.array(self.shift_mm)
        return place


@dataclass(frozen=True)
class ScenarioInfluence:
    """A scenario with the doses of a plan's beamlets in it.

    Attributes
    ----------
    scenario : Scenario
    dose_influence : DoseInfluence
        Of the same beamlets as the plan's, on its dose grid.
    structures : tuple of str or None
        Names of the structures that it has doses in; None: it has them everywhere.
    """

    scenario: Scenario
    dose_influence: DoseInfluence
    structures: tuple[str, ...] | None = None


def setup_scenarios(
    shift_mm: float | Sequence[float], density_percent: float = 0.0, *, nominal_probability: float = 1.0
) -> list[Scenario]:
    """Make the nominal scenario and one for each way along each axis, and two with other densities.

    Parameters
    ----------
    shift_mm : float or (float, float, float)
        How far the patient is displaced, along all axes or along x, y and z; 0: not at all.
    density_percent : float
        By how much densities are higher in one scenario and lower in another; 0: no such scenarios.
    nominal_probability : float
        Of the nominal scenario, where each other one has 1.

    Returns
    -------
    list of Scenario

    Raises
    ------
    ValueError
        If a number is out of its range.

    Examples
    --------
    >>> [scenario.name for scenario in setup_scenarios((3.0, 0.0, 5.0), 2.0)]
    ['nominal', 'x +3 mm', 'x -3 mm', 'z +5 mm', 'z -5 mm', 'density +2 %', 'density -2 %']
    """
    shift = np.array(shift_mm, dtype=np.float64)
    if shift.shape not in ((), (3,)) or not (np.isfinite(shift) & (shift >= 0)).all():
        raise ValueError(f"shift_mm is {shift_mm!r}; it must be a distance of at least 0 mm, or one for each axis")
    if not (np.isfinite(density_percent) and 0 <= density_percent < 100):
        raise ValueError(f"density_percent is {density_percent}; it must be from 0 to below 100")
    scenarios = [Scenario(probability=nominal_probability)]
    for axis, distance in enumerate(np.broadcast_to(shift, (3,)).tolist()):
        for sign in (1.0, -1.0) if distance else ():
            x, y, z = (sign * distance if axis == other else 0.0 for other in range(3))
            scenarios.append(Scenario((x, y, z)))
    if density_percent:
        scenarios += [Scenario(density_percent=sign * density_percent) for sign in (1.0, -1.0)]
    return scenarios


def checked_scenarios(scenarios: Iterable[Scenario]) -> tuple[Scenario, ...]:
    """Check that a list of scenarios is one, not empty, and has no scenario and no name twice."""
    given = tuple(scenarios)
    for each in given:
        if not isinstance(each, Scenario):
            raise TypeError(f"{each!r} is not a Scenario; setup_scenarios makes a list of them")
    if not given:
        raise ValueError("the list of scenarios is empty")
    seen: dict[tuple[object, ...], str] = {}
    for each in given:
        errors = (each.shift_mm, each.density_percent, each.source)
        if errors in seen:
            raise ValueError(f"the scenarios {seen[errors]!r} and {each.name!r} are the same; raise one's probability")
        if each.name in seen.values():
            raise ValueError(f"two scenarios have the name {each.name!r}; give them names of their own")
        seen[errors] = each.name
    return given
