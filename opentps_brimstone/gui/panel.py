"""Brimstone in OpenTPS's window: controls in the toolbar, plots in the lower right quarter of the views."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from PyQt5.QtCore import Qt
from PyQt5.QtWidgets import QLabel, QScrollArea, QTabWidget, QVBoxLayout, QWidget

from opentps_brimstone.gui.board import Board
from opentps_brimstone.gui.deliver_tab import DeliverTab
from opentps_brimstone.gui.fields import narrow
from opentps_brimstone.gui.from_opentps import asked_by_opentps
from opentps_brimstone.gui.messages import shows_errors, tell
from opentps_brimstone.gui.objectives_tab import ObjectivesTab
from opentps_brimstone.gui.objectives_table import read_objectives
from opentps_brimstone.gui.opentps_data import roi_colors, rois_of, series_of
from opentps_brimstone.gui.plan_tab import PlanTab
from opentps_brimstone.gui.planner import Planner
from opentps_brimstone.gui.request import Request, beam_set
from opentps_brimstone.gui.run_tab import RunTab

__all__ = ["TITLE", "BrimstonePanel"]

TITLE = "Brimstone"
_QUARTER = 3  # the second sagittal view, which shows what the first one shows
_FIRST_BEAMS = "7 fields"


class BrimstonePanel(QWidget):
    """Controls of a planning.

    Parameters
    ----------
    view_controller : opentps ViewController
    """

    def __init__(self, view_controller: Any) -> None:
        super().__init__()
        from opentps.core.data.images import CTImage
        from opentps.gui.panels.patientDataWidgets import PatientDataComboBox

        self._view_controller = view_controller
        self._ct: Any = None
        self.planner = Planner(self)
        self.ct_box = PatientDataComboBox(CTImage, view_controller.currentPatient, self)
        self.ct_box.selectedDataEvent.connect(self.use_ct)
        view_controller.currentPatientChangedSignal.connect(self._use_patient)
        self.plan_tab = PlanTab(self.planner, self.ct_box)
        self.objectives_tab = ObjectivesTab(self.planner, self.take_opentps_objectives)
        self.run_tab = RunTab(self.planner)
        self.deliver_tab = DeliverTab(self.planner, lambda: self._ct)
        self.tabs = QTabWidget()
        self.tabs.setUsesScrollButtons(False)
        self.tabs.setStyleSheet("QTabBar::tab { padding: 3px 5px; }")
        pages = (self.plan_tab, self.objectives_tab, self.run_tab, self.deliver_tab)
        for name, page in zip(("Plan", "Objectives", "Run", "Deliver"), pages, strict=True):
            area = QScrollArea()
            area.setWidgetResizable(True)
            area.setHorizontalScrollBarPolicy(Qt.ScrollBarAlwaysOff)
            narrow(page)
            area.setWidget(page)
            self.tabs.addTab(area, name)
        self.words = QLabel()
        self.words.setWordWrap(True)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.tabs, 1)
        layout.addWidget(self.words)
        self.board = Board(self.planner, self._enlarge)
        self._views = _Views(view_controller, self.board)
        for signal in (self.planner.state_changed, self.planner.moved, self.planner.request_changed):
            signal.connect(lambda: self.words.setText(self.planner.words()))
        self.use_ct(self.ct_box.selectedData)

    # --------------------------------------------------------------------------------------------- patient and CT

    def _use_patient(self, patient: Any) -> None:
        self.ct_box.setPatient(patient)
        self.use_ct(self.ct_box.selectedData if patient is not None else None)
        if patient is not None:
            patient.rtStructAddedSignal.connectIfNotAlready(self._structures_added)

    def _structures_added(self, *_: Any) -> None:
        self._ct = None
        self.use_ct(self.ct_box.selectedData)

    def use_ct(self, ct: Any) -> None:
        """Plan on a CT of the window.

        Parameters
        ----------
        ct : opentps CTImage or None
        """
        if ct is None or ct is self._ct or ct.patient is None or not rois_of(ct.patient):
            return
        try:
            series = series_of(ct)
        except Exception as error:  # called by OpenTPS's event, which would print it only
            tell(self, "The CT cannot be planned on", error)
            return
        self._ct = ct
        colors = roi_colors(ct.patient)
        self.planner.load(series, Request(beams=beam_set(_FIRST_BEAMS)))
        self.board.set_colors(colors)
        self.objectives_tab.set_colors(colors)

    @shows_errors("OpenTPS's objectives were not taken")
    def take_opentps_objectives(self) -> None:
        """Ask for what the table in "Plan optimization" asks for, and say how it was read."""
        items = self._view_controller.mainWindow.mainToolbar.items
        panel = next(item.panel for item in items if item.panelName == "Plan optimization")
        typed = read_objectives(panel._objectivesWidget._roiWindow._roitTable)
        asked, words = asked_by_opentps(typed, self._ct)
        self.planner.ask(replace(self.planner.request, asked=tuple(asked)))
        tell(self, "Taken from OpenTPS", words)

    # --------------------------------------------------------------------------------------------- views

    def _enlarge(self) -> None:
        self._views.enlarge()

    def stop(self) -> None:
        """End what runs, and wait for it."""
        self.planner.halt()

    def remove(self) -> None:
        """Give the views back."""
        self.stop()
        self._view_controller.currentPatientChangedSignal.disconnect(self._use_patient)
        self._views.remove()


class _Views:
    """Tabs "Brimstone | Viewer" in a quarter of OpenTPS's views.

    Parameters
    ----------
    view_controller : opentps ViewController
    board : QWidget
    """

    def __init__(self, view_controller: Any, board: QWidget) -> None:
        grid = view_controller.mainWindow.viewerPanel._viewerGrid
        self._viewer = grid.gridElements[_QUARTER]
        self._quarter = self._viewer.parentWidget()
        self._others = [element.parentWidget() for element in grid.gridElements[:_QUARTER]]
        self._left = grid._leftPart
        self._tabs = QTabWidget()
        layout = self._quarter.layout()
        layout.removeWidget(self._viewer)
        self._tabs.addTab(board, TITLE)
        self._tabs.addTab(self._viewer, "Viewer")
        layout.addWidget(self._tabs)

    def enlarge(self) -> None:
        """Hide the other views, or show them again."""
        hidden = not self._left.isHidden()
        self._left.setVisible(not hidden)
        for other in self._others:
            other.setVisible(not hidden)

    def remove(self) -> None:
        """Give the quarter back to OpenTPS's viewer."""
        layout = self._quarter.layout()
        layout.removeWidget(self._tabs)
        layout.addWidget(self._viewer)
        self._viewer.show()
        self._tabs.setParent(None)
