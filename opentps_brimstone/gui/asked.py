"""What is asked of a structure: a target DVH that can be drawn, its weight, and limits beside it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from opentps_brimstone.gui.limits import Limit
from opentps_brimstone.optimization.terms import KLDivergenceTerm, ObjectiveTerm, check_target_dvh

__all__ = ["Asked", "falling_body", "organ", "target"]

Point = tuple[float, float]

# Neighboring points of a drawn DVH keep at least this far apart.
_LEAST_STEP_GY = 0.1
_LEAST_STEP_SHARE = 1e-3
_LIMIT_WEIGHT = 1000.0  # of a preset's limits, in units of its DVH's weight
_FALL_STEPS = 4
_MOST_POINTS_IN_WORDS = 6


@dataclass(frozen=True)
class Asked:
    """What is asked of one structure.

    Attributes
    ----------
    structure : str
        Its name.
    is_target : bool
    points : tuple of (float, float)
        Target DVH: dose in Gy and share of the volume that gets at least this dose; doses rise, shares fall from 1
        to 0. Empty if only limits are asked of an organ.
    weight : float
        Of the DVH in the cost.
    limits : tuple of Limit
        Beside the DVH, which hardly sees a few hot or cold voxels.
    prescription_gy : float or None
        Dose prescribed to a target; None is that which all of it is asked to get.

    Raises
    ------
    ValueError
        Naming the structure, if the points are not a falling DVH or a number is out of its range.
    """

    structure: str
    is_target: bool
    points: tuple[Point, ...]
    weight: float = 1.0
    limits: tuple[Limit, ...] = ()
    prescription_gy: float | None = None

    def __post_init__(self) -> None:
        if self.points:
            try:
                check_target_dvh(self.points)
            except ValueError as error:
                raise ValueError(f"target DVH of {self.structure!r}: {error}") from None
        elif self.is_target:
            raise ValueError(f"the target {self.structure!r} has no target DVH; choose the preset 'target' for it")
        elif not self.limits:
            raise ValueError(f"nothing is asked of {self.structure!r}: it has neither a target DVH nor limits")
        if not (math.isfinite(self.weight) and self.weight > 0):
            raise ValueError(f"weight of {self.structure!r} is {self.weight:g}; it must be positive")
        for limit in self.limits:
            try:
                limit.check()
            except ValueError as error:
                raise ValueError(f"limit of {self.structure!r}: {error}") from None
        dose = self.prescription_gy
        if dose is not None and not (math.isfinite(dose) and dose > 0):
            raise ValueError(f"prescribed dose of {self.structure!r} is {dose:g} Gy; it must be positive")

    @property
    def prescribed_gy(self) -> float:
        """Dose prescribed to a target."""
        return self.points[0][0] if self.prescription_gy is None else self.prescription_gy

    @property
    def highest_gy(self) -> float:
        """Highest dose that is asked for."""
        return max([dose for dose, _ in self.points[-1:]] + [limit.dose_gy for limit in self.limits])

    @property
    def maximum_gy(self) -> float | None:
        """Dose that no voxel is to exceed, if there is such a limit."""
        return min((limit.dose_gy for limit in self.limits if limit.kind == "maximum"), default=None)

    @property
    def minimum_gy(self) -> float | None:
        """Dose that every voxel is to get, if there is such a limit."""
        return max((limit.dose_gy for limit in self.limits if limit.kind == "minimum"), default=None)

    def terms(self) -> list[ObjectiveTerm]:
        """Make the terms of the cost.

        Returns
        -------
        list of ObjectiveTerm
        """
        dvh = [KLDivergenceTerm(dvh=self.points, weight=self.weight)] if self.points else []
        return [*dvh, *(limit.term() for limit in self.limits)]

    def weighted(self, weight: float) -> Asked:
        """Give everything that is asked of the structure another weight, its limits in proportion.

        Parameters
        ----------
        weight : float
            Of the DVH.

        Returns
        -------
        Asked
        """
        if not (math.isfinite(weight) and weight > 0):
            raise ValueError(f"weight of {self.structure!r} is {weight:g}; it must be positive")
        factor = weight / self.weight
        limits = tuple(replace(limit, weight=limit.weight * factor) for limit in self.limits)
        return replace(self, weight=weight, limits=limits)

    def with_limit(self, number: int, limit: Limit | None) -> Asked:
        """Put a limit in the place of another one, or behind all.

        Parameters
        ----------
        number : int
            Of the limit that is replaced; their count adds one.
        limit : Limit or None
            None takes it away.

        Returns
        -------
        Asked
        """
        new = () if limit is None else (limit,)
        return replace(self, limits=(*self.limits[:number], *new, *self.limits[number + 1 :]))

    def with_point(self, number: int, dose_gy: float, share: float) -> Asked:
        """Move a point of the target DVH as far toward a place as its neighbors let it.

        Parameters
        ----------
        number : int
            Of the point; the first stays at the whole volume and the last at none.
        dose_gy, share : float
            Where it is wanted.

        Returns
        -------
        Asked
        """
        if not 0 <= number < len(self.points):
            raise ValueError(f"point {number} of {self.structure!r} does not exist; there are {len(self.points)}")
        points = list(self.points)
        last = len(points) - 1
        low = points[number - 1][0] + _LEAST_STEP_GY if number > 0 else 0.0
        high = points[number + 1][0] - _LEAST_STEP_GY if number < last else math.inf
        share_high = 1.0 if number == 0 else points[number - 1][1]
        share_low = 0.0 if number == last else points[number + 1][1]
        if number == 0:
            share_low = 1.0
        if number == last:
            share_high = 0.0
        points[number] = (float(min(max(dose_gy, low), max(low, high))), float(min(max(share, share_low), share_high)))
        return replace(self, points=tuple(points))

    def with_new_point(self, dose_gy: float, share: float) -> Asked:
        """Insert a point, where the neighbors it falls between let it.

        Parameters
        ----------
        dose_gy, share : float

        Returns
        -------
        Asked
            The same if there is no room between its neighbors.
        """
        if not self.points:
            return self
        doses = [point[0] for point in self.points]
        number = int(np.clip(np.searchsorted(doses, dose_gy), 1, len(doses) - 1))
        if doses[number] - doses[number - 1] < 2 * _LEAST_STEP_GY:
            return self
        inserted = replace(self, points=(*self.points[:number], self._between(number), *self.points[number:]))
        return inserted.with_point(number, dose_gy, share)

    def _between(self, number: int) -> Point:
        (d0, v0), (d1, v1) = self.points[number - 1 : number + 1]
        return ((d0 + d1) / 2, (v0 + v1) / 2)

    def without_point(self, number: int) -> Asked:
        """Take an inner point away; the ends stay.

        Parameters
        ----------
        number : int

        Returns
        -------
        Asked
        """
        if not 0 < number < len(self.points) - 1:
            return self
        return replace(self, points=self.points[:number] + self.points[number + 1 :])

    def describe(self) -> str:
        """Say in words what is asked.

        Returns
        -------
        str
        """
        limits = "; ".join(limit.describe() for limit in self.limits)
        if not self.points:
            return limits
        return f"{self._describe_dvh()}; {limits}" if limits else self._describe_dvh()

    def _describe_dvh(self) -> str:
        (low, _), (high, _) = self.points[0], self.points[-1]
        if len(self.points) == 2:
            return f"all of it between {low:.4g} and {high:.4g} Gy, evenly"
        inner = self.points[1:-1]
        shown = inner[:: math.ceil(len(inner) / _MOST_POINTS_IN_WORDS)]
        words = ", ".join(f"{100 * share:.3g} % above {dose:.4g} Gy" for dose, share in shown)
        return f"nothing below {low:.4g} Gy, {words}, nothing above {high:.4g} Gy"


# ------------------------------------------------------------------------------------------------- presets


def target(structure: str, prescription_gy: float, weight: float = 1.0) -> Asked:
    """Ask a target for its prescription: from 99 to 104 % of it, no voxel below 95 % or above 107 %.

    Parameters
    ----------
    structure : str
    prescription_gy, weight : float

    Examples
    --------
    >>> target("PTV", 50.0).points
    ((49.5, 1.0), (52.0, 0.0))
    """
    _check_dose("prescription", structure, prescription_gy)
    p = float(prescription_gy)
    limits = (Limit("maximum", 1.07 * p, _LIMIT_WEIGHT * weight), Limit("minimum", 0.95 * p, _LIMIT_WEIGHT * weight))
    return Asked(structure, True, ((0.99 * p, 1.0), (1.04 * p, 0.0)), weight, limits, p)


def organ(structure: str, limit_gy: float, weight: float = 0.3) -> Asked:
    """Ask an organ at risk to stay below a limit, most of it far below.

    Parameters
    ----------
    structure : str
    limit_gy, weight : float

    Examples
    --------
    >>> organ("cord", 40.0).points[-1]
    (40.0, 0.0)
    """
    _check_dose("limit", structure, limit_gy)
    limits = (Limit("maximum", float(limit_gy), _LIMIT_WEIGHT * weight),)
    return Asked(structure, False, _falling(limit_gy), weight, limits)


def falling_body(structure: str, prescription_gy: float, weight: float = 0.3) -> Asked:
    """Ask the body around a target for a dose that falls steeply, and no voxel above 105 % of the prescription.

    Parameters are those of `target`.
    """
    limits = (Limit("maximum", 1.05 * prescription_gy, _LIMIT_WEIGHT * weight),)
    return replace(organ(structure, prescription_gy, weight), limits=limits)


def _falling(highest_gy: float) -> tuple[Point, ...]:
    """Draw an exponential fall to a fifth of the dose on average with a few points."""
    inner = np.arange(1, _FALL_STEPS) / _FALL_STEPS
    shares = (np.exp(-5 * inner) - math.exp(-5)) / (1 - math.exp(-5))
    middle = tuple(
        (round(float(at * highest_gy), 3), round(float(share), 4)) for at, share in zip(inner, shares, strict=True)
    )
    return ((0.0, 1.0), *middle, (float(highest_gy), 0.0))


def _check_dose(what: str, structure: str, dose_gy: float) -> None:
    if not (math.isfinite(dose_gy) and dose_gy > 0):
        raise ValueError(f"{what} of {structure!r} is {dose_gy:g} Gy; it must be positive")
