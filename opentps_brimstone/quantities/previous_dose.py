"""Dose that was given before."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from array_api_compat import array_namespace

from opentps_brimstone.quantities.arrays import as_array, check

__all__ = ["PreviousDose"]


@dataclass(frozen=True, eq=False)
class PreviousDose:
    """Dose of an earlier course of photons.

    Parameters
    ----------
    dose : float or array
        Gy over all its fractions, one or for each voxel.
    number_of_fractions : int
        Fractions of that course.
    recovery : float
        Share of its effect that the tissue has recovered from since, in [0, 1].

    Raises
    ------
    TypeError, ValueError
        If a number is out of its range.
    """

    dose: Any
    number_of_fractions: int
    recovery: float = 0.0

    def __post_init__(self) -> None:
        dose = as_array(self.dose, "the previous dose")
        check(array_namespace(dose).isfinite(dose) & (dose >= 0), dose, "the previous dose", "voxel", "0 Gy or more")
        object.__setattr__(self, "dose", float(dose) if dose.ndim == 0 else dose)
        n = self.number_of_fractions
        if not math.isfinite(n) or n < 1 or n != int(n):
            raise ValueError(f"the number of previous fractions is {n}; it must be a whole number from 1")
        if not 0 <= self.recovery <= 1:
            raise ValueError(f"the recovery is {self.recovery}; it must be a share from 0 to 1")
