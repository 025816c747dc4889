"""Methods to decompose a fluence matrix, by identifier."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from opentps_brimstone._typing import IntArray
from opentps_brimstone.sequencing.decomposition import Decomposition
from opentps_brimstone.sequencing.engel import engel
from opentps_brimstone.sequencing.kalinowski import kalinowski
from opentps_brimstone.sequencing.sliding_window import sliding_window
from opentps_brimstone.sequencing.xia_verhey import xia_verhey

Decompose = Callable[[IntArray], Decomposition]


@dataclass(frozen=True)
class Method:
    """A method to decompose a fluence matrix.

    Attributes
    ----------
    interdigitating : callable or None
        From a matrix to its decomposition for leaves that may pass the tips of the opposing leaves' neighbors; None if
        there is no separate one, and `kept_apart` is used.
    kept_apart : callable or None
        The same for leaves that must not; None if the method cannot.
    without_tongue_and_groove : callable or None
        The same without tongue-and-groove underdosage, which also keeps leaves apart; None if the method cannot.
    """

    identifier: str
    interdigitating: Decompose | None = None
    kept_apart: Decompose | None = None
    without_tongue_and_groove: Decompose | None = None

    def choose(self, *, interdigitation: bool, tongue_and_groove: bool) -> Decompose:
        """Choose the decomposition for an MLC; if the method cannot, the error names those that can.

        Parameters
        ----------
        interdigitation : bool
            Whether the MLC's leaves may pass the tips of the opposing leaves' neighbors.
        tongue_and_groove : bool
            Whether tongue-and-groove underdosage is to be avoided.
        """
        if tongue_and_groove:
            return self._known(self.without_tongue_and_groove, "avoid tongue-and-groove underdosage")
        if interdigitation and self.interdigitating is not None:
            return self.interdigitating
        return self._known(self.kept_apart, "keep opposing leaves of neighboring rows apart")

    def _known(self, decompose: Decompose | None, task: str) -> Decompose:
        if decompose is None:
            field = "without_tongue_and_groove" if "tongue" in task else "kept_apart"
            able = ", ".join(name for name, method in METHODS.items() if getattr(method, field) is not None)
            raise ValueError(f"the sequencing method {self.identifier!r} cannot {task}; {able} can")
        return decompose


METHODS = {
    method.identifier: method
    for method in (
        Method("engel", interdigitating=engel),
        Method("kalinowski", kept_apart=kalinowski),
        Method(
            "sliding-window",
            interdigitating=sliding_window,
            kept_apart=partial(sliding_window, collisions=True),
            without_tongue_and_groove=partial(sliding_window, tongue_and_groove=True),
        ),
        Method("xia-verhey", interdigitating=xia_verhey),
    )
}
"""The methods by identifier."""


def get_method(identifier: str) -> Method:
    """Find one of `METHODS`; the error for an unknown identifier lists the known ones."""
    if identifier not in METHODS:
        raise ValueError(f"there is no sequencing method {identifier!r}; there are {', '.join(METHODS)}")
    return METHODS[identifier]
