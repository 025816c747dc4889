"""What can go wrong while doses are computed."""

from __future__ import annotations

from opentps_brimstone._util.errors import BrimstoneError

__all__ = ["DoseCanceledError", "DoseMemoryError", "EngineError"]


class EngineError(BrimstoneError, RuntimeError):
    """The dose engine is missing, cannot run, or did not deliver what it was asked for."""


class DoseMemoryError(BrimstoneError, MemoryError):
    """Doses that were asked for do not fit into the memory that is free."""


class DoseCanceledError(EngineError):
    """Whoever follows the progress of a dose calculation has stopped it."""
