"""A drawing of where the beams enter, seen from the feet as on an axial slice: patient's right is on the left."""

from __future__ import annotations

import math

from PyQt5.QtCore import QPointF, QRectF, Qt
from PyQt5.QtGui import QColor, QPainter, QPaintEvent, QPen, QPolygonF
from PyQt5.QtWidgets import QSizePolicy, QWidget

from opentps_brimstone.gui.request import BeamRow

__all__ = ["BeamRose"]

_BODY, _BEAM, _CHOSEN = QColor(150, 165, 150), QColor(190, 130, 20), QColor(210, 40, 40)


class BeamRose(QWidget):
    """Draws beams as arrows into a patient.

    Parameters
    ----------
    parent : QWidget, optional
    """

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setFixedHeight(126)
        self.setSizePolicy(QSizePolicy.Expanding, QSizePolicy.Fixed)
        self._beams: tuple[BeamRow, ...] = ()
        self._chosen = -1

    def show_beams(self, beams: tuple[BeamRow, ...], chosen: int = -1) -> None:
        """Draw other beams.

        Parameters
        ----------
        beams : tuple of BeamRow
        chosen : int
            Number of the one that is marked.
        """
        self._beams, self._chosen = beams, chosen
        self.update()

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: ARG002, N802  # Qt's name
        """Draw."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.Antialiasing)
        middle = QPointF(self.width() / 2, self.height() / 2)
        radius = self.height() / 2 - 14
        painter.setPen(QPen(_BODY, 2))
        painter.setBrush(QColor(_BODY.red(), _BODY.green(), _BODY.blue(), 60))
        painter.drawEllipse(middle, 0.62 * radius, 0.45 * radius)
        painter.setPen(Qt.black)
        for text, x, y in (("front", 0, -1), ("back", 0, 1), ("right", -1, 0), ("left", 1, 0)):
            place = middle + QPointF(x * (radius + 34 * abs(x)), y * (radius + 4))
            painter.drawText(QRectF(place.x() - 30, place.y() - 9, 60, 18), Qt.AlignCenter, text)
        for number, beam in enumerate(self._beams):
            self._draw_beam(painter, middle, radius - 8, beam, number == self._chosen)

    def _draw_beam(self, painter: QPainter, middle: QPointF, radius: float, beam: BeamRow, chosen: bool) -> None:
        gantry, couch = math.radians(beam.gantry), math.radians(beam.couch)
        # Seen from the feet, the patient's left is on the right and the front is above.
        direction = QPointF(math.sin(gantry) * math.cos(couch), -math.cos(gantry))
        start, end = middle + direction * radius, middle + direction * (0.2 * radius)
        painter.setPen(QPen(_CHOSEN if chosen else _BEAM, 3 if chosen else 2))
        painter.drawLine(start, end)
        across = QPointF(-direction.y(), direction.x())
        head = [end, end + direction * 9 + across * 4, end + direction * 9 - across * 4]
        painter.setBrush(painter.pen().color())
        painter.drawPolygon(QPolygonF(head))
