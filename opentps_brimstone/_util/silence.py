"""OpenTPS's talking kept off the terminal."""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Iterator

__all__ = ["silent_opentps"]


@contextlib.contextmanager
def silent_opentps() -> Iterator[None]:
    """Keep what OpenTPS prints and logs off the terminal, and its logging configuration out of the process."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    opentps = logging.getLogger("opentps")
    opentps_level = opentps.level
    opentps.setLevel(logging.CRITICAL)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        opentps.setLevel(opentps_level)
        root.handlers[:] = handlers
        root.setLevel(level)
