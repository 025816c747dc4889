"""The plots: DVHs with what is asked, cost, a slice of dose, beam's eye view, and a slider that plays a run back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from PyQt5.QtCore import Qt
from PyQt5.QtWidgets import QCheckBox, QHBoxLayout, QLabel, QSlider, QSplitter, QTabWidget, QVBoxLayout, QWidget

from opentps_brimstone.gui.beams_eye import BeamsEye
from opentps_brimstone.gui.fields import button, quiet
from opentps_brimstone.gui.messages import shows_errors
from opentps_brimstone.gui.planner import Planner
from opentps_brimstone.gui.plots import Color, CostPlot, DoseSlice, DVHPlot
from opentps_brimstone.gui.watch import Frame, dvh_on, middle_plane

__all__ = ["Board"]

_NOT_TAKEN = "The target was not changed"
_BEYOND = 1.2


class Board(QWidget):
    """Everything that is drawn.

    Parameters
    ----------
    planner : Planner
    enlarge : callable
        Gives the board the whole area of the views, or gives it back.
    """

    def __init__(self, planner: Planner, enlarge: Callable[[], None]) -> None:
        super().__init__()
        self._planner = planner
        self._colors: dict[str, Color] = {}
        self._drawn: Frame | None = None
        self._page_is_next = False
        self.dvh, self.cost, self.slice, self.beams_eye = DVHPlot(), CostPlot(), DoseSlice(), BeamsEye(planner)
        self.dvh.point_moved.connect(self._move_point)
        self.dvh.point_wanted.connect(self._add_point)
        self.dvh.point_unwanted.connect(self._remove_point)
        self.tabs = QTabWidget()
        for name, widget in (("Dose", self._dose_page()), ("Cost", self.cost), ("Beam's eye", self.beams_eye)):
            self.tabs.addTab(widget, name)
        self.tabs.currentChanged.connect(self._turn_page)
        splitter = QSplitter()
        splitter.addWidget(self._dvh_page())
        splitter.addWidget(self.tabs)
        splitter.setSizes([300, 260])
        self.replay = QSlider(Qt.Horizontal)
        self.replay.setToolTip("Play the last run back")
        self.replay.valueChanged.connect(self._show_moment)
        self.replay_words = QLabel()
        self.ghosts = QCheckBox("last plan")
        self.ghosts.setToolTip("Draw palely what the plan before did")
        self.ghosts.setChecked(True)
        self.ghosts.toggled.connect(self._show_ghosts)
        self.enlarge_button = button("⤢", enlarge, "Use the whole area of the views, or give it back")
        self.enlarge_button.setFixedWidth(28)
        row = QHBoxLayout()
        for widget, stretch in ((self.replay, 1), (self.replay_words, 0), (self.ghosts, 0), (self.enlarge_button, 0)):
            row.addWidget(widget, stretch)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(splitter, 1)
        layout.addLayout(row)
        planner.series_changed.connect(self._show_background)
        planner.request_changed.connect(self._show_asked)
        planner.planned_changed.connect(self._show_planned)
        planner.delivered_changed.connect(self._show_plane)
        planner.moved.connect(self._show_running)

    def _dvh_page(self) -> QWidget:
        page = QWidget()
        layout = QVBoxLayout(page)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addWidget(self.dvh.names)
        layout.addWidget(self.dvh, 1)
        return page

    def _dose_page(self) -> QWidget:
        self.plane = QSlider(Qt.Vertical)
        self.plane.setToolTip("Axial slice")
        self.plane.valueChanged.connect(self._choose_plane)
        page = QWidget()
        layout = QHBoxLayout(page)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.slice, 1)
        layout.addWidget(self.plane)
        return page

    def set_colors(self, colors: dict[str, Color]) -> None:
        """Draw structures in these colors."""
        self._colors = colors
        self.dvh.set_colors(colors)
        self._show_asked()
        self._show_background()

    # --------------------------------------------------------------------------------------------- what is asked

    def _show_asked(self) -> None:
        asked = self._planner.request.asked
        self.dvh.show_asked(asked)
        if asked:
            self.dvh.set_dose_range(_BEYOND * max(each.highest_gy for each in asked))
        if self._planner.plane is None:
            self._show_background()

    @shows_errors(_NOT_TAKEN)
    def _move_point(self, structure: str, number: int, dose: float, share: float) -> None:
        each = self._planner.request.of(structure)
        if each is not None:
            self._planner.ask(self._planner.request.asking(each.with_point(number, dose, share)))
        self._show_asked()

    @shows_errors(_NOT_TAKEN)
    def _add_point(self, structure: str, dose: float, share: float) -> None:
        each = self._planner.request.of(structure)
        if each is not None:
            self._planner.ask(self._planner.request.asking(each.with_new_point(dose, share)))

    @shows_errors(_NOT_TAKEN)
    def _remove_point(self, structure: str, number: int) -> None:
        each = self._planner.request.of(structure)
        if each is not None:
            self._planner.ask(self._planner.request.asking(each.without_point(number)))

    # --------------------------------------------------------------------------------------------- runs

    def _show_running(self) -> None:
        """Draw the latest moment, DVHs at one tick and the page beside them at the next: each takes its time."""
        watch = self._planner.watch
        if watch is None or watch.last is None or not self._planner.is_busy:
            return
        if self._page_is_next and self._drawn is not None:
            self._page_is_next = False
            self._draw_page(self._drawn, watch.costs)
        elif watch.last is not self._drawn:
            self._drawn, self._page_is_next = watch.last, True
            self._draw_dvhs(watch.last)

    def _draw_dvhs(self, frame: Frame) -> None:
        self.dvh.show_dvhs({name: (frame.dose_gy, share) for name, share in frame.dvhs.items()})

    def _draw_page(self, frame: Frame, costs: Sequence[tuple[int, float]], at: int | None = None) -> None:
        """Draw the page that is in front; the others are drawn when they come there."""
        page = self.tabs.currentWidget()
        if page is self.cost:
            self.cost.show_costs(list(costs), at=at)
        elif page is not self.beams_eye:
            plane = frame.plane if frame.plane.any() else None
            words = f"iteration {frame.iteration}, voxels asked of"
            self.slice.show_dose(plane, self._prescription_gy(), words)

    def _turn_page(self, *_: Any) -> None:
        if not self._planner.is_busy:
            self._show_moment(self.replay.value())
        elif self._drawn is not None and self._planner.watch is not None:
            self._draw_page(self._drawn, self._planner.watch.costs)

    def _show_planned(self) -> None:
        planned = self._planner.session.planned
        frames = [] if planned is None else planned.course.frames
        with quiet(self.replay):
            self.replay.setRange(0, max(len(frames) - 1, 0))
            self.replay.setValue(len(frames) - 1)
        self.replay.setEnabled(len(frames) > 1)
        self.replay_words.clear()
        self._show_ghosts()
        self._show_result()

    def _show_result(self) -> None:
        planned = self._planner.session.planned
        if planned is None:
            self.dvh.show_dvhs({})
            self.cost.show_costs([])
        else:
            last = planned.course.frames[-1]
            highest = float(last.dose_gy[-1])
            self.dvh.show_dvhs(
                {
                    each.name: dvh_on(each, np.asarray(planned.result.dose), highest)
                    for each in planned.structures
                    if each.is_on_grid
                }
            )
            self.cost.show_costs(planned.course.costs)
        self._show_plane()

    def _show_moment(self, number: int) -> None:
        planned = self._planner.session.planned
        if planned is None or self._planner.is_busy:
            return
        frames = planned.course.frames
        if number >= len(frames) - 1:
            self.replay_words.clear()
            self._show_result()
            return
        frame = frames[number]
        self._draw_dvhs(frame)
        self._draw_page(frame, planned.course.costs, at=frame.iteration)
        self.replay_words.setText(f"iteration {frame.iteration}")

    def _show_ghosts(self, *_: Any) -> None:
        ghost = self._planner.session.ghost
        shown = ghost is not None and self.ghosts.isChecked()
        self.ghosts.setEnabled(ghost is not None)
        last = ghost.course.frames[-1] if ghost is not None and shown else None
        self.dvh.show_ghosts({} if last is None else {name: (last.dose_gy, share) for name, share in last.dvhs.items()})

    # --------------------------------------------------------------------------------------------- dose slice

    def _prescription_gy(self) -> float:
        return self._planner.request.prescription_gy or 1.0

    def _show_background(self) -> None:
        view = self._planner.session.on_dose_grid()
        if view is None:
            return
        request, grid = self._planner.request, view.grid
        structures = [each for each in self._planner.session.structures().values() if each.is_on_grid]
        shown = self._planner.plane
        if shown is None or not 0 <= shown < grid.shape[2]:
            targets = [each for each in structures if each.name in request.targets]
            shown = middle_plane(targets or structures)
        with quiet(self.plane):
            self.plane.setRange(0, grid.shape[2] - 1)
            self.plane.setValue(shown)
        outlines = {each.name: (each.share[:, :, shown] >= 0.5, self.dvh.color(each.name)) for each in structures}
        self.slice.show_background(
            None if view.ct_hu is None else view.ct_hu[:, :, shown],
            grid.shape[:2],
            grid.spacing_mm[:2],
            grid.origin_mm[:2],
            {name: entry for name, entry in outlines.items() if entry[0].any()},
        )

    def _choose_plane(self, number: int) -> None:
        self._planner.plane = number
        self._show_plane()

    def _show_plane(self) -> None:
        self._show_background()
        planned, delivered, number = self._planner.session.planned, self._planner.delivered, self.plane.value()
        if planned is None:
            self.slice.show_dose(None, 1.0, "no dose yet")
            return
        grid = planned.plan.dose_influence.grid
        dose = np.asarray(planned.result.dose) if delivered is None else delivered.deliverable.dose
        kind = "optimized fluence" if delivered is None else "segments, recalculated"
        z = grid.origin_mm[2] + number * grid.spacing_mm[2]
        self.slice.show_dose(dose[:, :, number], self._prescription_gy(), f"{kind}, z = {z:g} mm")
