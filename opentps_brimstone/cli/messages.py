"""Messages of the package on the terminal."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Iterator

__all__ = ["shown_messages"]

_DATED = "%(asctime)s %(levelname)s %(name)s: %(message)s"


@contextlib.contextmanager
def shown_messages(*, quiet: bool = False, verbose: bool = False) -> Iterator[None]:
    """Show what the package logs on standard output while the block runs.

    The package's logger does not propagate meanwhile: OpenTPS gives the root logger a handler of its own when it is
    imported, which would show every message again.

    Parameters
    ----------
    quiet : bool
        Show errors only.
    verbose : bool
        Show messages for debugging too, each with time, level and module; otherwise their text alone.
    """
    logger = logging.getLogger("opentps_brimstone")
    # The stream of now: OpenTPS's prints are kept off by redirecting standard output later.
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(logging.Formatter(_DATED if verbose else "%(message)s"))
    level, propagate = logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(logging.ERROR if quiet else logging.DEBUG if verbose else logging.INFO)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        logger.propagate = propagate
