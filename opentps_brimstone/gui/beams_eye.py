"""Fluence and apertures in the beam's eye view, with a slider through the segments."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyqtgraph as pg
from PyQt5.QtCore import QRectF, Qt
from PyQt5.QtWidgets import QComboBox, QHBoxLayout, QLabel, QSizePolicy, QSlider, QVBoxLayout, QWidget

from opentps_brimstone.gui.fields import quiet

if TYPE_CHECKING:
    from opentps_brimstone.gui.planner import Planner

__all__ = ["BeamsEye"]


class BeamsEye(QWidget):
    """Shows one beam: its fluence, and over it the segment that the slider is at.

    Parameters
    ----------
    planner : Planner
    """

    def __init__(self, planner: Planner) -> None:
        super().__init__()
        self._planner = planner
        self.beam = QComboBox()
        self.beam.currentIndexChanged.connect(self._beam_changed)
        self.segment = QSlider(Qt.Horizontal)
        self.segment.valueChanged.connect(self._draw_segment)
        self.words = QLabel()
        self.words.setSizePolicy(QSizePolicy.Ignored, QSizePolicy.Fixed)
        self.words.setToolTip("Of the beam chosen on the left")
        self._view = pg.PlotWidget()
        self._view.setAspectLocked(True)
        self._view.setMenuEnabled(False)
        self._view.hideButtons()
        self._view.setLabel("bottom", "x (mm) at the isocenter")
        self._view.setLabel("left", "y (mm)")
        self._fluence = pg.ImageItem()
        self._fluence.setColorMap(pg.colormap.get("CET-L3"))
        self._view.addItem(self._fluence)
        self._leaves: list[Any] = []
        self._frame = QRectF(0, 0, 1, 1)
        row = QHBoxLayout()
        row.addWidget(self.beam)
        row.addWidget(self.segment, 1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._view, 1)
        layout.addLayout(row)
        layout.addWidget(self.words)
        planner.planned_changed.connect(self.refresh)
        planner.delivered_changed.connect(self.refresh)

    def refresh(self) -> None:
        """Show the plan there is now."""
        planned = self._planner.session.planned
        names = [] if planned is None else [beam.name for beam in planned.plan.beams]
        chosen = max(self.beam.currentIndex(), 0)
        with quiet(self.beam):
            self.beam.clear()
            self.beam.addItems(names)
            self.beam.setCurrentIndex(min(chosen, len(names) - 1))
        self._beam_changed()

    def _beam_changed(self, *_: Any) -> None:
        apertures = self._apertures()
        with quiet(self.segment):
            self.segment.setRange(0, len(apertures))
            self.segment.setValue(min(self.segment.value(), len(apertures)))
        self.segment.setEnabled(bool(apertures))
        self._draw_fluence()
        self._draw_segment()

    def _sequenced(self) -> Any:
        delivered, number = self._planner.delivered, self.beam.currentIndex()
        if delivered is None:
            return None
        return next((each for each in delivered.deliverable.sequenced_beams if each.beam_index == number), None)

    def _apertures(self) -> tuple[Any, ...]:
        sequenced = self._sequenced()
        return () if sequenced is None else tuple(sequenced.apertures)

    def _draw_fluence(self) -> None:
        planned, number = self._planner.session.planned, self.beam.currentIndex()
        self._fluence.setVisible(planned is not None and number >= 0)
        if planned is None or number < 0:
            return
        beam = planned.plan.beams[number]
        fluence, (dx, dy) = beam.intensity_map, beam.beamlet_spacing_mm
        self._fluence.setImage(np.asarray(fluence, dtype=np.float32), levels=(0.0, float(np.nanmax(fluence)) or 1.0))
        self._frame = QRectF(beam.x_mm[0] - dx / 2, beam.y_mm[0] - dy / 2, dx * len(beam.x_mm), dy * len(beam.y_mm))
        self._fluence.setRect(self._frame)
        self._view.setRange(self._frame, padding=0.08)

    def _draw_segment(self, *_: Any) -> None:
        for item in self._leaves:
            self._view.removeItem(item)
        self._leaves = []
        sequenced, apertures = self._sequenced(), self._apertures()
        number = self.segment.value()
        if not apertures or number == 0:
            self.words.setText(self._fluence_words())
            return
        aperture = apertures[number - 1]
        edges = np.asarray(sequenced.mlc.leaf_boundaries_mm)
        for tips, far in ((aperture.left_mm, self._frame.left()), (aperture.right_mm, self._frame.right())):
            self._leaves.append(
                pg.BarGraphItem(
                    x0=np.full(len(tips), far),
                    x1=np.clip(np.asarray(tips, dtype=np.float64), self._frame.left(), self._frame.right()),
                    y0=edges[:-1],
                    y1=edges[1:],
                    brush=pg.mkBrush(130, 140, 150, 215),
                    pen=pg.mkPen((60, 65, 70), width=1),
                )
            )
            self._view.addItem(self._leaves[-1])
        delivered = self._planner.delivered
        assert delivered is not None
        mu = float(delivered.deliverable.calibration.machine_mu(aperture.mu))
        self.words.setText(f"segment {number} of {len(apertures)}: {mu:.1f} MU per fraction")

    def _fluence_words(self) -> str:
        planned = self._planner.session.planned
        if planned is None or self.beam.currentIndex() < 0:
            return "not planned yet"
        beam = planned.plan.beams[self.beam.currentIndex()]
        highest = float(np.nanmax(beam.intensity_map))
        hint = "; move the slider to see the segments" if self._apertures() else ""
        return f"fluence, at most {highest:.3g} engine MU per fraction{hint}"
