"""A session in the window: its runs in another thread, its changes as Qt signals."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from PyQt5.QtCore import QObject, QTimer, pyqtSignal

from opentps_brimstone.engine.errors import DoseCanceledError
from opentps_brimstone.gui.messages import tell
from opentps_brimstone.gui.session import Session, State
from opentps_brimstone.gui.watch import Watch
from opentps_brimstone.gui.worker import Worker

if TYPE_CHECKING:
    from PyQt5.QtWidgets import QWidget

    from opentps_brimstone.gui.delivery import Delivered
    from opentps_brimstone.gui.request import Request
    from opentps_brimstone.model.series import Series

__all__ = ["Planner"]

_TICK_MS = 50


class Planner(QObject):
    """Runs a session.

    Signals
    -------
    series_changed
        Another CT is planned on.
    request_changed
        Something else is asked for.
    state_changed
        A run began, ended or is to stop.
    moved
        A run that goes on has news.
    planned_changed
        There is another plan, or none.
    delivered_changed
        There are other segments, or none.

    Parameters
    ----------
    parent : QWidget
        Over which messages are shown.
    """

    series_changed = pyqtSignal()
    request_changed = pyqtSignal()
    state_changed = pyqtSignal()
    moved = pyqtSignal()
    planned_changed = pyqtSignal()
    delivered_changed = pyqtSignal()

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self._window = parent
        self.session = Session()
        self.delivered: Delivered | None = None
        self.follows_changes = True
        self.plane: int | None = None
        self._worker: Worker | None = None
        self._watch: Watch | None = None
        self._title = ""
        self._timer = QTimer(self)
        self._timer.timeout.connect(self.moved)

    @property
    def request(self) -> Request:
        """What is asked for now."""
        return self.session.request

    @property
    def watch(self) -> Watch | None:
        """Of the work that goes on, or the last plan's."""
        if self._watch is not None:
            return self._watch
        return None if self.session.planned is None else self.session.planned.course

    @property
    def is_busy(self) -> bool:
        """Whether work goes on in another thread."""
        return self._worker is not None

    def words(self) -> str:
        """Say in words what is going on."""
        if self._watch is not None and self.session.state not in (State.RUNNING, State.STOPPING):
            progress = self._watch.progress
            doing = f"stopping: {self._title}" if self._watch.is_stopping else self._title
            left = "" if self._watch.is_stopping else self._watch.time_left()
            return doing + (f", dose {progress[0]} of {progress[1]}{left}" if progress else "")
        return self.session.words()

    def beam_mu(self) -> tuple[str, tuple[float, ...]]:
        """Tell the MU per fraction of each beam.

        Returns
        -------
        of : {"MU", "fluence", ""}
            Machine MU of the segments; or engine MU of the beamlets, summed; or empty: there is no plan of these beams.
        mu : tuple of float
        """
        planned = self.session.planned
        if planned is None or planned.request.beams != self.request.beams:
            return "", ()
        numbers = range(len(planned.request.beams))
        if self.delivered is not None:
            made = {beam.beam_index: beam.mu for beam in self.delivered.deliverable.machine_beams}
            return "MU", tuple(float(made.get(number, 0.0)) for number in numbers)
        of_beam = np.bincount(
            planned.plan.dose_influence.layout.beam_index, planned.result.beamlet_weights, minlength=len(numbers)
        )
        return "fluence", tuple(of_beam.tolist())

    # --------------------------------------------------------------------------------------------- changes

    def load(self, series: Series, request: Request) -> None:
        """Plan on another series.

        Parameters
        ----------
        series : Series
        request : Request
        """
        self.halt()
        self.session.load(series, request)
        self._forget_segments()
        self.plane = None
        for signal in (self.series_changed, self.request_changed, self.planned_changed, self.state_changed):
            signal.emit()

    def ask(self, request: Request) -> None:
        """Ask for something else; the plan follows at once if it can within seconds.

        Parameters
        ----------
        request : Request
        """
        if self.session.change(request):
            self._changed()

    def undo(self) -> None:
        """Undo the last change."""
        self.session.undo()
        self._changed()

    def redo(self) -> None:
        """Make an undone change again."""
        self.session.redo()
        self._changed()

    def _changed(self) -> None:
        self.request_changed.emit()
        session = self.session
        if self.follows_changes and not self.is_busy and session.is_stale and session.beamlets_are_known:
            self.start()
        else:
            self.state_changed.emit()

    # --------------------------------------------------------------------------------------------- runs

    def start(self) -> None:
        """Begin to plan, or go on from the weights there are."""
        run = self.session.begin(self.plane)
        self._begin("The plan was not optimized", run.work, run.watch, self._planned, self._not_planned)

    def stop(self) -> None:
        """End the work that goes on, with what it has."""
        self.session.stop()
        if self._watch is not None:
            self._watch.stop()
        self.state_changed.emit()

    def halt(self) -> None:
        """End the work that goes on and wait for it; nothing comes of it."""
        worker = self._worker
        if worker is None:
            return
        self.stop()
        worker.done.disconnect()
        worker.failed.disconnect()
        worker.wait()
        self._ended()
        self.session.fail(DoseCanceledError())
        self.state_changed.emit()

    def in_background(self, title: str, work: Callable[[Watch], Any], done: Callable[[Any], None]) -> None:
        """Do other work in another thread.

        Parameters
        ----------
        title : str
            What is done, such as "making segments".
        work : callable
            Takes a Watch to ask whether to stop, and to tell progress.
        done : callable
            Takes what the work returned, in the window's thread.
        """
        if self.is_busy:
            raise RuntimeError(f"{self._title or 'a run'} is going on; stop it first, or wait until it is done")
        watch = Watch(1.0)
        self._title = title

        def finished(result: Any) -> None:
            self._ended()
            done(result)
            self.state_changed.emit()

        def failed(error: BaseException) -> None:
            self._ended()
            self.state_changed.emit()
            if not isinstance(error, DoseCanceledError):
                tell(self._window, f"Not done: {title}", error)

        self._begin(title, lambda: work(watch), watch, finished, failed)

    def _begin(
        self,
        title: str,
        work: Callable[[], Any],
        watch: Watch,
        done: Callable[[Any], None],
        failed: Callable[[BaseException], None],
    ) -> None:
        self._title = title
        self._watch = watch
        self._worker = Worker(work, self)
        self._worker.done.connect(done)
        self._worker.failed.connect(failed)
        self._timer.start(_TICK_MS)
        self._worker.start()
        self.state_changed.emit()

    def _ended(self) -> None:
        if self._worker is not None:
            self._worker.wait()
            self._worker.deleteLater()
        self._worker = self._watch = None
        self._timer.stop()

    def _planned(self, planned: Any) -> None:
        self._ended()
        again = self.session.finish(planned)
        self._forget_segments()
        self.planned_changed.emit()
        self._go_on(again)

    def _not_planned(self, error: BaseException) -> None:
        self._ended()
        again = self.session.fail(error)
        self._go_on(again)
        if not isinstance(error, DoseCanceledError):
            tell(self._window, self._title, error)

    def _go_on(self, again: bool) -> None:
        if again:
            try:
                self.start()
            except ValueError as error:
                self.state_changed.emit()
                tell(self._window, "The changed plan cannot be optimized", error)
        else:
            self.state_changed.emit()

    # --------------------------------------------------------------------------------------------- segments

    def set_delivered(self, delivered: Delivered) -> None:
        """Take segments that were made."""
        self.delivered = delivered
        self.delivered_changed.emit()

    def _forget_segments(self) -> None:
        if self.delivered is not None:
            self.delivered = None
            self.delivered_changed.emit()
