"""Notes of a planning: what the libraries and the planning itself warn of."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator
from typing import Any

__all__ = ["noted_warnings"]

_log = logging.getLogger(__name__)


@contextlib.contextmanager
def noted_warnings() -> Iterator[list[str]]:
    """Turn warnings into notes: log each `UserWarning` of the block once, and collect their texts.

    Yields
    ------
    list of str
        Grows while the block runs.
    """
    notes: list[str] = []
    with warnings.catch_warnings():
        warnings.simplefilter("always", UserWarning)
        shown = warnings.showwarning

        def note(message: Warning | str, category: type[Warning], *place: Any) -> None:
            if not issubclass(category, UserWarning):
                shown(message, category, *place)
            elif (text := str(message)) not in notes:
                notes.append(text)
                _log.info("note: %s", text)

        warnings.showwarning = note  # type: ignore[assignment]
        yield notes
