"""Limits that are asked of a structure beside its target DVH."""

from __future__ import annotations

import math
from dataclasses import dataclass

from opentps_brimstone.optimization.objectives import DVHLimitTerm
from opentps_brimstone.optimization.terms import MaximumDoseTerm, MeanDoseTerm, MinimumDoseTerm, ObjectiveTerm

__all__ = ["KINDS", "Limit", "limit_of_term"]

KINDS = {
    "maximum": "all at most",
    "minimum": "all at least",
    "mean": "mean at most",
    "volume maximum": "volume at most",
    "volume minimum": "volume at least",
}
"""Kinds of limits, and what they are called in a table."""
_PARTIAL = ("volume maximum", "volume minimum")
_NEEDS_DOSE = (*_PARTIAL, "minimum")


@dataclass(frozen=True)
class Limit:
    """A limit on dose, penalized by the mean of the squares of what is beyond it.

    Attributes
    ----------
    kind : str
        Of `KINDS`: on the dose of every voxel, on the mean dose, or on the share of the volume above a dose.
    dose_gy : float
    weight : float
        In the cost, in the same units as the weights of target DVHs.
    volume : float
        Share of the volume that gets this dose, of limits on it.
    """

    kind: str
    dose_gy: float
    weight: float
    volume: float = 0.0

    @property
    def has_volume(self) -> bool:
        """Whether it limits the share of the volume above a dose."""
        return self.kind in _PARTIAL

    def check(self) -> None:
        """Check the numbers.

        Raises
        ------
        ValueError
            Naming the number that is out of its range.
        """
        if self.kind not in KINDS:
            raise ValueError(f"its kind is {self.kind!r}; it may be {', '.join(KINDS)}")
        least = "positive" if self.kind in _NEEDS_DOSE else "0 or more"
        if not (math.isfinite(self.dose_gy) and (self.dose_gy > 0 or (self.dose_gy == 0 and least != "positive"))):
            raise ValueError(f"{self.kind} dose is {self.dose_gy:g} Gy; it must be {least}")
        if not (math.isfinite(self.weight) and self.weight > 0):
            raise ValueError(f"weight is {self.weight:g}; it must be positive")
        if self.has_volume and not 0 <= self.volume <= 1:
            raise ValueError(f"volume is {100 * self.volume:g} %; it must be from 0 to 100")

    def describe(self) -> str:
        """Say in words what it asks.

        Returns
        -------
        str
        """
        match self.kind:
            case "maximum":
                text = f"every voxel at most {self.dose_gy:.4g} Gy"
            case "minimum":
                text = f"every voxel at least {self.dose_gy:.4g} Gy"
            case "mean":
                text = f"on average at most {self.dose_gy:.4g} Gy"
            case _:
                side = "at most" if self.kind == "volume maximum" else "at least"
                text = f"{side} {100 * self.volume:.3g} % above {self.dose_gy:.4g} Gy"
        return f"{text} (limit, weight {self.weight:.3g})"

    def term(self) -> ObjectiveTerm:
        """Make its term of the cost.

        Returns
        -------
        ObjectiveTerm
        """
        match self.kind:
            case "maximum":
                return MaximumDoseTerm(self.dose_gy, weight=self.weight)
            case "minimum":
                return MinimumDoseTerm(self.dose_gy, weight=self.weight)
            case "mean":
                return MeanDoseTerm(self.dose_gy, weight=self.weight)
        is_minimum = self.kind == "volume minimum"
        return DVHLimitTerm(self.dose_gy, self.volume, minimum=is_minimum, weight=self.weight)


def limit_of_term(term: ObjectiveTerm) -> Limit | None:
    """Make the limit whose term is given.

    Parameters
    ----------
    term : ObjectiveTerm

    Returns
    -------
    Limit or None
        None if the term is on another quantity than dose, or not one of a limit.
    """
    if term.quantity != "physical_dose":
        return None
    if isinstance(term, DVHLimitTerm):
        kind = "volume minimum" if term.minimum else "volume maximum"
        return Limit(kind, term.dose_gy, term.weight, term.volume)
    kinds: tuple[tuple[type[MaximumDoseTerm | MinimumDoseTerm | MeanDoseTerm], str], ...] = (
        (MaximumDoseTerm, "maximum"),
        (MinimumDoseTerm, "minimum"),
        (MeanDoseTerm, "mean"),
    )
    for made_by, kind in kinds:
        if isinstance(term, made_by):
            return Limit(kind, term.limit_gy, term.weight)
    return None
