"""Objectives that goal planning sets for a structure, and how they change from round to round."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from opentps_brimstone._typing import FloatArray
from opentps_brimstone.evaluation import DVHGoal
from opentps_brimstone.model.structure import Structure
from opentps_brimstone.optimization.objectives import DVHLimitTerm, EUDTerm
from opentps_brimstone.optimization.terms import (
    KLDivergenceTerm,
    MaximumDoseTerm,
    MeanDoseTerm,
    MinimumDoseTerm,
    ObjectiveTerm,
)

__all__ = ["VOLUMES", "Cap", "FarAsk", "OrganAsk", "QuantityAsk", "TargetAsk", "capped"]

# Volume shares at which a DVH is described.
VOLUMES = np.array([0, 0.005, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0])
# A goal for at most this share of an organ is for its hottest part, and gets a guard.
_HOTTEST = 0.15
_HIGHEST_CAP_WEIGHT = 1e4
_HIGHEST_GUARD_WEIGHT = 2e4


class Cap(NamedTuple):
    """Upper bound of a DVH: no more than a share of the volume may exceed a dose."""

    volume: float
    dose_gy: float


class QuantityAsk(NamedTuple):
    """A goal of a quantity that is not told in what is planned, as where dose was given before.

    It gets a term of its own on the quantity.
    """

    goal: DVHGoal
    volume: float | None
    """Share of the volume that it leaves out; None: it is for the mean."""
    limit_gy: float
    """The goal, with its margin."""

    def term(self, weight: float) -> ObjectiveTerm:
        """Make a new term to add to a prescription."""
        on: dict[str, Any] = {"weight": weight, "quantity": self.goal.quantity, "alpha_beta": self.goal.alpha_beta}
        lower = self.goal.is_lower_bound
        if self.volume is None:
            return EUDTerm(self.limit_gy, 1.0, minimum=True, **on) if lower else MeanDoseTerm(self.limit_gy, **on)
        if self.volume <= _HOTTEST and not lower:
            return MaximumDoseTerm(self.limit_gy, **on)
        if self.volume >= 1 - _HOTTEST and lower:
            return MinimumDoseTerm(self.limit_gy, **on)
        return DVHLimitTerm(self.limit_gy, self.volume, minimum=lower, **on)


@dataclass
class TargetAsk:
    """Objectives of a target.

    Attributes
    ----------
    prescription_gy : float
        Its highest lower goal.
    doses : ndarray
        Of its target DVH at `VOLUMES`, falling.
    low_gy, high_gy : float
        Doses from which its guards cost.
    cold_guards : list of (float, float)
        Dose and weight of a guard for each lower goal.
    limit_gy : float or None
        For a target without a goal for its highest dose: what 2 % of it may get, beside targets of a higher dose.
    quantity : str
        What all of these doses are values of.
    """

    structure: Structure
    prescription_gy: float
    doses: FloatArray = field(repr=False)
    low_gy: float
    high_gy: float
    weight: float
    guard_weight: float
    cold_guards: list[tuple[float, float]]
    quantity_asks: list[QuantityAsk] = field(default_factory=list)
    limit_gy: float | None = None
    quantity: str = "physical_dose"

    def terms(self) -> list[ObjectiveTerm]:
        """Make new terms to add to a prescription."""
        on = self.quantity
        return [
            KLDivergenceTerm(dvh=_points(self.doses), weight=self.weight, quantity=on),
            *(MinimumDoseTerm(dose, weight=weight, quantity=on) for dose, weight in self.cold_guards),
            MaximumDoseTerm(self.high_gy, weight=self.guard_weight, quantity=on),
            *(ask.term(self.guard_weight) for ask in self.quantity_asks),
        ]

    def tighten(self, factor: float) -> None:
        """Make the guards on both sides stricter."""
        self.guard_weight = min(self.guard_weight * factor, _HIGHEST_GUARD_WEIGHT)
        self.cold_guards = [(dose, min(weight * factor, _HIGHEST_GUARD_WEIGHT)) for dose, weight in self.cold_guards]

    def lower_by(self, share: float) -> None:
        """Lower the guard against high doses by a share, at most halfway to the other guard."""
        self.high_gy = max(self.high_gy * (1 - share), (self.low_gy + self.high_gy) / 2)


@dataclass
class OrganAsk:
    """Objectives of a structure that is not a target.

    Attributes
    ----------
    doses : ndarray
        Of its target DVH at `VOLUMES`, falling.
    mean_cap_gy : float
        Highest mean dose.
    limit_gy : float
        Dose from which its guard costs.
    cap_weight : float
        Of a second guard, at the lowest cap of the hottest part of the volume.
    mean_weight : float
        Cost of the mean dose `mean_gy`.
    mean_gy : float
        Current mean dose; at first, the one expected from its position.
    reference_gy : float
        Highest dose requested of a target.
    priority : float
        Factor on its mean weight while it misses its goals.
    quantity : str
        What all of these doses are values of.
    """

    structure: Structure
    caps: list[Cap]
    mean_cap_gy: float
    limit_gy: float
    weight: float
    guard_weight: float
    cap_weight: float
    mean_weight: float
    mean_gy: float
    reference_gy: float
    has_goals: bool
    priority: float = 1.0
    quantity_asks: list[QuantityAsk] = field(default_factory=list)
    doses: FloatArray = field(default_factory=lambda: np.zeros(len(VOLUMES)), repr=False)
    quantity: str = "physical_dose"

    def ask_for(self, doses: FloatArray) -> None:
        """Request the DVH with these doses at `VOLUMES`, lowered to the goals."""
        asked = capped(doses, self.caps)
        mean = float(np.sum(np.diff(VOLUMES) * (asked[1:] + asked[:-1]) / 2))
        self.doses = asked * min(1.0, self.mean_cap_gy / mean) if mean > 0 else asked

    def press(self, pressure: float, dose: FloatArray) -> None:
        """Set the weights so that mean dose and excess over the lowest cap of the hottest part each cost `pressure`."""
        inside = self.structure.share > 0
        doses, shares = dose[inside], self.structure.share[inside] / self.structure.share.sum()
        self.mean_weight = pressure
        self.mean_gy = float(shares @ doses)
        if (cap := self._hottest_cap_gy) is not None:
            excess = float(shares @ np.maximum(0.0, doses - cap) ** 2) / self.reference_gy**2
            self.cap_weight = pressure / max(excess, pressure / _HIGHEST_CAP_WEIGHT)

    @property
    def _hottest_cap_gy(self) -> float | None:
        caps = [cap.dose_gy for cap in self.caps if cap.volume <= _HOTTEST]
        return min(caps) if caps and min(caps) < self.limit_gy else None

    def terms(self) -> list[ObjectiveTerm]:
        """Make new terms to add to a prescription."""
        on = self.quantity
        terms: list[ObjectiveTerm] = [MaximumDoseTerm(self.limit_gy, weight=self.guard_weight, quantity=on)]
        if self.doses[0] > 0:
            terms.append(KLDivergenceTerm(dvh=_points(self.doses), weight=self.weight, quantity=on))
        if (cap := self._hottest_cap_gy) is not None:
            terms.append(MaximumDoseTerm(cap, weight=self.cap_weight, quantity=on))
        terms += [ask.term(self.guard_weight * self.priority) for ask in self.quantity_asks]
        if self.mean_gy > 0:
            weight = self.mean_weight * (self.reference_gy / self.mean_gy) ** 2
            terms.append(MeanDoseTerm(0.0, weight=weight, quantity=on))
        return terms


@dataclass
class FarAsk:
    """Guard of the part of a structure, named after the whole, that is far from all targets."""

    structure: Structure
    limit_gy: float
    weight: float
    quantity: str = "physical_dose"

    def terms(self) -> list[ObjectiveTerm]:
        """Make new terms to add to a prescription."""
        return [MaximumDoseTerm(self.limit_gy, weight=self.weight, quantity=self.quantity)]


def capped(doses: FloatArray, caps: Sequence[Cap]) -> FloatArray:
    """Lower the doses at `VOLUMES` to caps."""
    lowered = np.array(doses, dtype=np.float64)
    for volume, dose in caps:
        first = int(np.searchsorted(VOLUMES, volume + 1e-9, side="right")) - 1
        lowered[first:] = np.minimum(lowered[first:], dose)
    return lowered


def _points(doses: FloatArray) -> list[tuple[float, float]]:
    """Points of a target DVH from its doses at `VOLUMES`."""
    points = list(zip(doses[::-1].tolist(), VOLUMES[::-1].tolist(), strict=True))
    if points[-1][0] <= points[0][0]:  # a DVH needs some width
        points = [(0.0, 1.0), (points[0][0], 0.0)]
    return points
