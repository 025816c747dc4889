"""Doses that people ask for by mistake."""

from __future__ import annotations

import warnings

__all__ = ["HIGHEST_PLAUSIBLE_GY", "warn_of_centigray"]

HIGHEST_PLAUSIBLE_GY = 300.0
"""No course of photons asks for more; a tenth of a course in cGy does."""


def warn_of_centigray(dose_gy: float, what: str) -> None:
    """Warn of a dose that is likely to be meant in cGy.

    Warns
    -----
    UserWarning
        Naming the dose, and what it is of.
    """
    if dose_gy > HIGHEST_PLAUSIBLE_GY:
        warnings.warn(
            f"{what}: {dose_gy:g} Gy is more than any course gives; doses are in Gy over all fractions, "
            f"{dose_gy:g} cGy would be {dose_gy / 100:g} Gy",
            stacklevel=3,
        )
