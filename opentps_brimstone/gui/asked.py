"""What is asked of a structure: a target DVH that can be drawn, its weight, and limits beside it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.ndimage import distance_transform_edt

from opentps_brimstone._typing import BoolArray
from opentps_brimstone.model.influence import VoxelGrid
from opentps_brimstone.model.structure import Structure
from opentps_brimstone.optimization.terms import (
    KLDivergenceTerm,
    MaximumDoseTerm,
    MinimumDoseTerm,
    ObjectiveTerm,
    check_target_dvh,
)

__all__ = ["Asked", "falling_body", "organ", "ring_around", "target"]

Point = tuple[float, float]

# Neighboring points of a drawn DVH keep at least this far apart.
_LEAST_STEP_GY = 0.1
_LEAST_STEP_SHARE = 1e-3
_LIMIT_WEIGHT = 1000.0  # as that of an organ's limit taken from OpenTPS's objectives
_FALL_STEPS = 4


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
        to 0.
    weight : float
        Of the DVH in the cost.
    maximum_gy, minimum_gy : float or None
        Limits beside the DVH, which hardly sees a few hot or cold voxels.
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
    maximum_gy: float | None = None
    minimum_gy: float | None = None
    prescription_gy: float | None = None

    def __post_init__(self) -> None:
        try:
            check_target_dvh(self.points)
        except ValueError as error:
            raise ValueError(f"target DVH of {self.structure!r}: {error}") from None
        if not (math.isfinite(self.weight) and self.weight > 0):
            raise ValueError(f"weight of {self.structure!r} is {self.weight:g}; it must be positive")
        doses = {"maximum": self.maximum_gy, "minimum": self.minimum_gy, "prescribed": self.prescription_gy}
        for name, value in doses.items():
            if value is not None and not (math.isfinite(value) and value > 0):
                raise ValueError(f"{name} dose of {self.structure!r} is {value:g} Gy; it must be positive")

    @property
    def prescribed_gy(self) -> float:
        """Dose prescribed to a target."""
        return self.points[0][0] if self.prescription_gy is None else self.prescription_gy

    @property
    def highest_gy(self) -> float:
        """Highest dose that is asked for."""
        return max(self.points[-1][0], self.maximum_gy or 0.0)

    def terms(self) -> list[ObjectiveTerm]:
        """Make the terms of the cost.

        Returns
        -------
        list of ObjectiveTerm
        """
        terms: list[ObjectiveTerm] = [KLDivergenceTerm(dvh=self.points, weight=self.weight)]
        if self.maximum_gy is not None:
            terms.append(MaximumDoseTerm(self.maximum_gy, weight=_LIMIT_WEIGHT * self.weight))
        if self.minimum_gy is not None:
            terms.append(MinimumDoseTerm(self.minimum_gy, weight=_LIMIT_WEIGHT * self.weight))
        return terms

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

    def scaled_to(self, highest_gy: float) -> Asked:
        """Stretch the doses so that the DVH ends at another dose.

        Parameters
        ----------
        highest_gy : float

        Returns
        -------
        Asked
        """
        factor = max(highest_gy, _LEAST_STEP_GY) / self.points[-1][0]
        prescription = None if self.prescription_gy is None else self.prescription_gy * factor
        points = tuple((dose * factor, share) for dose, share in self.points)
        return replace(self, points=points, prescription_gy=prescription)

    def describe(self) -> str:
        """Say in words what is asked.

        Returns
        -------
        str
        """
        (low, _), (high, _) = self.points[0], self.points[-1]
        if len(self.points) == 2:
            text = f"all of it between {low:g} and {high:g} Gy, evenly"
        else:
            inner = ", ".join(f"{100 * share:.3g} % above {dose:.4g} Gy" for dose, share in self.points[1:-1])
            text = f"nothing below {low:.4g} Gy, {inner}, nothing above {high:.4g} Gy"
        limits = [
            f"{word} {value:.4g} Gy"
            for word, value in (("at most", self.maximum_gy), ("at least", self.minimum_gy))
            if value is not None
        ]
        return f"{text}; every voxel {' and '.join(limits)}" if limits else text


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
    return Asked(structure, True, ((0.99 * p, 1.0), (1.04 * p, 0.0)), weight, 1.07 * p, 0.95 * p, p)


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
    return Asked(structure, False, _falling(limit_gy), weight, maximum_gy=float(limit_gy))


def falling_body(structure: str, prescription_gy: float, weight: float = 0.3) -> Asked:
    """Ask the body around a target for a dose that falls steeply, and no voxel above 105 % of the prescription.

    Parameters are those of `target`.
    """
    return replace(organ(structure, prescription_gy, weight), maximum_gy=1.05 * prescription_gy)


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


def ring_around(
    targets: Sequence[Structure], body: Structure | None, grid: VoxelGrid, inner_mm: float = 5.0, outer_mm: float = 25.0
) -> Structure:
    """Make a ring of tissue around targets, in which dose is made to fall.

    Parameters
    ----------
    targets : sequence of Structure
    body : Structure or None
        What the ring is part of.
    grid : VoxelGrid
        That the structures are on.
    inner_mm, outer_mm : float
        Distances from the targets where it begins and ends.

    Returns
    -------
    Structure
        Named after the distances.

    Raises
    ------
    ValueError
        If there is no target, the distances do not rise, or nothing is left of the ring.
    """
    if not targets:
        raise ValueError("a ring needs a target to lie around; give a structure the role of a target first")
    if not 0 <= inner_mm < outer_mm:
        raise ValueError(f"a ring from {inner_mm:g} to {outer_mm:g} mm is empty; the second must be larger")
    inside: BoolArray = np.logical_or.reduce([each.touched for each in targets])
    distance = distance_transform_edt(~inside, sampling=grid.spacing_mm)
    ring = (distance > inner_mm) & (distance <= outer_mm)
    if body is not None:
        ring &= body.touched
    name = f"ring {inner_mm:g}-{outer_mm:g} mm"
    if not ring.any():
        raise ValueError(f"the {name} around {', '.join(each.name for each in targets)} holds no voxel")
    return Structure(name, ring, grid=grid)
