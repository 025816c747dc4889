"""Work in a thread of its own, whose end is a Qt signal in the window's thread."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from PyQt5.QtCore import QObject, QThread, pyqtSignal

__all__ = ["Worker"]

_log = logging.getLogger(__name__)


class Worker(QThread):
    """Runs one piece of work.

    Signals
    -------
    done(object)
        What the work returned.
    failed(object)
        The exception it raised.

    Parameters
    ----------
    work : callable
        Takes nothing. It must not touch widgets, nor anything of OpenTPS that the window listens to: OpenTPS's events
        run in the thread that sets off a change.
    parent : QObject, optional
    """

    done = pyqtSignal(object)
    failed = pyqtSignal(object)

    def __init__(self, work: Callable[[], Any], parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._work = work

    def run(self) -> None:
        """Do the work; called by Qt in the new thread."""
        try:
            result = self._work()
        except BaseException as error:  # an exception that leaves a QThread ends the process
            _log.debug("work failed", exc_info=True)
            self.failed.emit(error)
        else:
            self.done.emit(result)
