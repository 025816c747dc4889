"""Short pieces of work that Ctrl-C must not interrupt."""

from __future__ import annotations

import contextlib
import shutil
import signal
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

__all__ = ["interrupt_held_back", "short_lived_folder"]


@contextlib.contextmanager
def interrupt_held_back() -> Iterator[None]:
    """Delay the effect of Ctrl-C to the end of the block.

    Outside the main thread, where Python never interrupts, nothing is held back.
    """
    previous = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or previous is None:
        yield
        return
    caught: list[int] = []
    signal.signal(signal.SIGINT, lambda number, _frame: caught.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)
        if caught:
            signal.raise_signal(signal.SIGINT)


@contextlib.contextmanager
def short_lived_folder(prefix: str, parent: Path | None = None) -> Iterator[Path]:
    """Make a folder that is removed after the block, even if Ctrl-C comes again meanwhile.

    It may be moved away in the block.
    """
    with interrupt_held_back():
        folder = tempfile.mkdtemp(prefix=prefix, dir=parent)
    try:
        yield Path(folder)
    finally:
        with interrupt_held_back():
            shutil.rmtree(folder, ignore_errors=True)
