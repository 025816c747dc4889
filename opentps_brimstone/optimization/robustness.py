"""How the costs of a term in scenarios become one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from opentps_brimstone._util.choices import checked_choice

__all__ = ["KINDS", "Robustness", "shown", "state_of"]

KINDS = ("expected", "worst_case", "cvar")
"""How the costs of scenarios become one."""


@dataclass(frozen=True)
class Robustness:
    """How the costs of a term in scenarios become one.

    Attributes
    ----------
    kind : {"expected", "worst_case", "cvar"}
    alpha : float or None
        Of CVaR: the share of the probability, with the highest costs, whose mean counts.
    group : str or None
        Terms of the same group are added up in each scenario before scenarios are combined; None: the term alone.

    Raises
    ------
    ValueError
        If the kind is unknown, or alpha is missing, out of its range or of another kind.
    """

    kind: str
    alpha: float | None = None
    group: str | None = None

    def __post_init__(self) -> None:
        checked_choice("kind", self.kind, KINDS)
        if self.kind != "cvar":
            if self.alpha is not None:
                raise ValueError(f"alpha is of 'cvar'; {self.kind!r} has none")
        elif self.alpha is None or not (np.isfinite(self.alpha) and 0.0 < self.alpha <= 1.0):
            raise ValueError(f"alpha of 'cvar' is {self.alpha}; it must be above 0 and at most 1")

    @property
    def tail(self) -> float:
        """Share of the probability, with the highest costs, whose mean counts; 0: only the highest cost."""
        return {"expected": 1.0, "worst_case": 0.0}.get(self.kind, self.alpha or 0.0)


def shown(robustness: Robustness | None) -> str:
    """Describe a term's robustness for its `repr`; empty if it has none."""
    if robustness is None:
        return ""
    group = "" if robustness.group is None else f", group={robustness.group!r}"
    alpha = "" if robustness.alpha is None else f", alpha={robustness.alpha:g}"
    return f", {robustness.kind} over scenarios{alpha}{group}"


def state_of(robustness: Robustness | None) -> tuple[Any, ...]:
    """Give what a term's cost depends on, for its `state`; nothing if it is not robust."""
    return () if robustness is None else (robustness.kind, robustness.alpha, robustness.group)
