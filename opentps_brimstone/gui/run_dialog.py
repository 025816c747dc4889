"""A dialog over OpenTPS's window while a plan is computed and optimized: live DVHs, cost, progress, stop."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from PyQt5.QtCore import QTimer
from PyQt5.QtGui import QCloseEvent
from PyQt5.QtWidgets import QDialog, QHBoxLayout, QLabel, QProgressBar, QPushButton, QSplitter, QVBoxLayout, QWidget

from opentps_brimstone.gui.plots import Color, CostPlot, DVHPlot
from opentps_brimstone.gui.watch import Watch
from opentps_brimstone.gui.worker import Worker

__all__ = ["RunDialog"]

_DRAW_EVERY_MS = 80


class RunDialog(QDialog):
    """Runs work in another thread and shows how it goes; closing it stops the work and waits for it.

    Parameters
    ----------
    parent : QWidget
    title : str
    work : callable
        For a `Worker`; it tells `watch` what it does.
    watch : Watch
    colors : mapping of str to (int, int, int)
        Of structures.
    highest_gy : float
        End of the doses shown.

    Attributes
    ----------
    result : object
        What the work returned.
    error : BaseException or None
        What it raised.
    watch : Watch
    """

    def __init__(
        self,
        parent: QWidget | None,
        title: str,
        work: Callable[[], Any],
        watch: Watch,
        colors: Mapping[str, Color],
        highest_gy: float,
    ) -> None:
        super().__init__(parent)
        self.setWindowTitle(title)
        self.resize(900, 460)
        self.result: Any = None
        self.error: BaseException | None = None
        self.watch = watch
        self._dvh, self._cost = DVHPlot(), CostPlot()
        self._dvh.set_colors(colors)
        self._dvh.set_dose_range(highest_gy)
        self._words, self._bar = QLabel("preparing"), QProgressBar()
        self.stop_button = QPushButton("Stop")
        self.stop_button.setToolTip("End with the weights found so far; before the first iteration, without a plan")
        self.stop_button.clicked.connect(self.stop)
        self._lay_out()
        self._worker = Worker(work, self)
        self._worker.done.connect(self._done)
        self._worker.failed.connect(self._failed)
        self._timer = QTimer(self)
        self._timer.timeout.connect(self._draw)

    def _lay_out(self) -> None:
        plots = QSplitter()
        plots.addWidget(self._dvh)
        plots.addWidget(self._cost)
        plots.setSizes([540, 360])
        row = QHBoxLayout()
        row.addWidget(self._bar, 1)
        row.addWidget(self.stop_button)
        layout = QVBoxLayout(self)
        layout.addWidget(self._dvh.names)
        layout.addWidget(plots, 1)
        layout.addWidget(self._words)
        layout.addLayout(row)

    def run(self) -> None:
        """Do the work; returns when it is done, has failed or was stopped."""
        self._timer.start(_DRAW_EVERY_MS)
        self._worker.start()
        self.exec_()
        self._worker.wait()
        self._timer.stop()

    def stop(self) -> None:
        """Ask the work to end."""
        self.watch.stop()
        self.stop_button.setEnabled(False)
        self._words.setText("stopping, with the weights found so far")

    def join(self, most_ms: int) -> None:
        """Wait until the work has ended, at most so long."""
        self._worker.wait(most_ms)

    def reject(self) -> None:
        """Esc means stop: the dialog stays until the work has ended."""
        self.stop()

    def closeEvent(self, event: QCloseEvent) -> None:  # noqa: N802  # Qt's name
        """Stop; the dialog closes itself when the work has ended."""
        if self._worker.isRunning():
            self.stop()
            event.ignore()

    def _done(self, result: Any) -> None:
        self.result = result
        self._draw()
        self.accept()

    def _failed(self, error: BaseException) -> None:
        self.error = error
        self.accept()

    def _draw(self) -> None:
        frame, progress = self.watch.last, self.watch.progress
        if frame is not None:
            self._dvh.show_dvhs({name: (frame.dose_gy, share) for name, share in frame.dvhs.items()})
            self._cost.show_costs(list(self.watch.costs))
            self._bar.setRange(0, 0)
            if not self.watch.is_stopping:
                costs = self.watch.costs
                level, cost = costs[-1]
                place = f"level {level}" if level else "finest level"
                self._words.setText(f"{place}, iteration {len(costs)}, cost {cost:.4g}")
        elif progress is not None:
            done, total = progress
            self._bar.setRange(0, total)
            self._bar.setValue(done)
            if not self.watch.is_stopping:
                self._words.setText(f"doses of beamlets: {done} of {total}{self.watch.time_left()}")
