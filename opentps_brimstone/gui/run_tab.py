"""The tab "Run": start, stop, undo, and in words what goes on."""

from __future__ import annotations

from collections.abc import Iterable

from PyQt5.QtWidgets import QCheckBox, QGridLayout, QLabel, QProgressBar, QVBoxLayout, QWidget

from opentps_brimstone.gui.fields import button, show_progress
from opentps_brimstone.gui.messages import shows_errors
from opentps_brimstone.gui.planner import Planner
from opentps_brimstone.gui.session import State

__all__ = ["RunTab"]


class RunTab(QWidget):
    """Starts and stops.

    Parameters
    ----------
    planner : Planner
    """

    def __init__(self, planner: Planner) -> None:
        super().__init__()
        self._planner = planner
        self.start_button = button("Start", self._start, "Optimize; from the weights there are, if beams are the same")
        self.stop_button = button("Stop", planner.stop, "End with the weights found so far")
        self.undo_button = button("Undo", planner.undo, "Undo the last change of what is asked")
        self.redo_button = button("Redo", planner.redo)
        self.follow = QCheckBox("follow changes at once")
        self.follow.setChecked(planner.follows_changes)
        self.follow.toggled.connect(self._follow)
        self.bar = QProgressBar()
        self.bar.setTextVisible(False)
        self.words = QLabel()
        self.words.setWordWrap(True)
        self.facts = QLabel()
        self.facts.setWordWrap(True)
        grid = QGridLayout()
        for place, widget in enumerate((self.start_button, self.stop_button, self.undo_button, self.redo_button)):
            grid.addWidget(widget, place // 2, place % 2)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(4, 4, 4, 4)
        layout.addLayout(grid)
        layout.addWidget(self.follow)
        layout.addWidget(self.bar)
        layout.addWidget(self.words)
        layout.addWidget(self.facts)
        layout.addStretch()
        for signal in (planner.state_changed, planner.request_changed, planner.planned_changed, planner.moved):
            signal.connect(self.refresh)
        self.refresh()

    def refresh(self) -> None:
        """Show what goes on."""
        planner, session = self._planner, self._planner.session
        resumes = session.planned is not None and session.beamlets_are_known
        self.start_button.setText("Resume" if resumes else "Start")
        self.start_button.setEnabled(not planner.is_busy and session.state is not State.NOTHING_LOADED)
        self.stop_button.setEnabled(planner.is_busy and session.state is not State.STOPPING)
        self.undo_button.setEnabled(session.can_undo)
        self.redo_button.setEnabled(session.can_redo)
        self.words.setText(planner.words())
        self.words.setStyleSheet(
            "color: #b00000; font-weight: bold;" if session.is_stale and not planner.is_busy else ""
        )
        show_progress(self.bar, planner.watch if planner.is_busy else None)
        self.facts.setText(_facts(planner))

    @shows_errors("The plan was not optimized")
    def _start(self) -> None:
        self._planner.start()

    def _follow(self, follows: bool) -> None:
        self._planner.follows_changes = follows


def _facts(planner: Planner) -> str:
    """Which CT, grid and beamlets the plan belongs to."""
    planned = planner.session.planned
    if planned is None:
        return ""
    influence, request = planned.plan.dose_influence, planned.request
    layout, grid = influence.layout, influence.grid
    parts = [
        f"<b>{request.name}</b>, {request.fractions} fractions, {len(request.beams) or layout.n_beams} beams",
        f"{layout.n_beamlets} beamlets",
        f"dose grid {_by(grid.shape)} voxels of {_by(grid.spacing_mm)} mm",
    ]
    if planner.session.series is not None:
        parts.insert(1, f"CT: {planner.session.series.name or 'without name'}")
    return "<br>".join(parts)


def _by(numbers: Iterable[float]) -> str:
    return " x ".join(f"{number:g}" for number in numbers)
