"""What the package logs."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator


class _Messages(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage())


@contextlib.contextmanager
def recorded_messages(level: int = logging.INFO) -> Iterator[list[str]]:
    """Record the messages that the package logs in the block; for fixtures, which cannot use caplog."""
    logger, handler = logging.getLogger("opentps_brimstone"), _Messages()
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(level)
    try:
        yield handler.texts
    finally:
        logger.setLevel(before)
        logger.removeHandler(handler)
