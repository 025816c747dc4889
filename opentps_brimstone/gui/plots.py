"""DVHs, cost and a slice of dose, drawn with pyqtgraph as OpenTPS draws its own."""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pyqtgraph as pg
from contourpy import LineType, contour_generator
from PyQt5.QtCore import QPointF, QRectF, Qt, pyqtSignal
from PyQt5.QtWidgets import QLabel, QSizePolicy, QVBoxLayout, QWidget

from opentps_brimstone._typing import BoolArray, FloatArray
from opentps_brimstone.gui.asked import Asked
from opentps_brimstone.model.derived import base_of

__all__ = ["Color", "CostPlot", "DVHPlot", "DoseSlice"]

Color = tuple[int, int, int]

_GRAY: Color = (200, 200, 200)
_GHOST_ALPHA = 80
_LINES = 3  # of words below a slice
_HANDLES_APART = 0.1  # of the doses and of the volume that a target DVH spans
# Percent of the prescription, and the color its isodose is drawn in.
ISODOSES: tuple[tuple[float, Color], ...] = (
    (107.0, (255, 0, 160)),
    (100.0, (255, 60, 60)),
    (95.0, (255, 170, 0)),
    (80.0, (240, 240, 60)),
    (50.0, (60, 220, 90)),
    (30.0, (70, 160, 255)),
)


class DVHPlot(pg.PlotWidget):
    """DVHs: solid is what the dose does, dashed what is asked, pale what the last plan did.

    Signals
    -------
    point_moved(str, int, float, float)
        Structure, number of the point, dose in Gy and volume share, when a point of a target DVH was dropped.
    point_wanted(str, float, float)
        Structure, dose and share, when a target curve was double-clicked.
    point_unwanted(str, int)
        Structure and number, when a point was clicked with the right button.

    Parameters
    ----------
    parent : QWidget, optional

    Attributes
    ----------
    names : QLabel
        Structures in their colors, to be laid beside the plot: on it, they would cover curves.
    """

    point_moved = pyqtSignal(str, int, float, float)
    point_wanted = pyqtSignal(str, float, float)
    point_unwanted = pyqtSignal(str, int)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setLabel("bottom", "Dose (Gy)")
        self.setLabel("left", "Volume (%)")
        self.setYRange(0, 103, padding=0)
        self.setLimits(xMin=0, yMin=-2, yMax=108)
        self.showGrid(x=True, y=True, alpha=0.25)
        self.setMenuEnabled(False)
        self.setMouseEnabled(x=False, y=False)
        self.hideButtons()
        self.names = QLabel()
        self.names.setWordWrap(True)
        self.names.setStyleSheet("background: black; padding: 2px;")
        self._colors: Mapping[str, Color] = {}
        self._curves: dict[str, Any] = {}
        self._ghosts: dict[str, Any] = {}
        self._targets: dict[str, Any] = {}
        self._handles: list[Any] = []
        self._asked: tuple[Asked, ...] = ()
        self.scene().sigMouseClicked.connect(self._clicked)

    @property
    def handles(self) -> list[Any]:
        """Points that can be dragged."""
        return list(self._handles)

    def color(self, structure: str) -> Color:
        """Color of a structure."""
        return self._colors.get(structure, self._colors.get(base_of(structure) or "", _GRAY))

    def set_colors(self, colors: Mapping[str, Color]) -> None:
        """Draw structures in these colors from now on."""
        self._colors = dict(colors)

    def set_dose_range(self, highest_gy: float) -> None:
        """Show doses from 0 to this."""
        self.setXRange(0, highest_gy, padding=0)

    def show_dvhs(self, dvhs: Mapping[str, tuple[FloatArray, FloatArray]]) -> None:
        """Draw what a dose does.

        Parameters
        ----------
        dvhs : mapping of str to (ndarray, ndarray)
            Dose in Gy and volume share of each structure.
        """
        _draw(self, self._curves, dvhs, lambda name: pg.mkPen(self.color(name), width=2))
        self._name_structures()

    def _name_structures(self) -> None:
        names = dict.fromkeys([*(each.structure for each in self._asked), *self._curves])
        text = " &nbsp; ".join(
            f"<span style='color: rgb{self.color(name)};'>{html.escape(name).replace(' ', '&nbsp;')}</span>"
            for name in names
        )
        if text != self.names.text():
            self.names.setText(text)

    def show_ghosts(self, dvhs: Mapping[str, tuple[FloatArray, FloatArray]]) -> None:
        """Draw palely what the last plan did."""
        _draw(self, self._ghosts, dvhs, lambda name: pg.mkPen((*self.color(name), _GHOST_ALPHA), width=4))

    def show_asked(self, asked: Iterable[Asked], movable: bool = True) -> None:
        """Draw what is asked of the structures, with points to drag.

        Parameters
        ----------
        asked : iterable of Asked
        movable : bool
            Whether the points can be dragged.
        """
        self._asked = tuple(each for each in asked if each.points)
        dvhs = {each.structure: _curve_of(each) for each in self._asked}
        _draw(
            self,
            self._targets,
            dvhs,
            lambda name: pg.mkPen(self.color(name), width=1.5, style=Qt.DashLine),
        )
        self._name_structures()
        for handle in self._handles:
            self.removeItem(handle)
        self._handles = [self._handle(each, number) for each in self._asked for number in _apart(each) if movable]

    def _handle(self, asked: Asked, number: int) -> Any:
        dose, share = asked.points[number]
        color = self.color(asked.structure)
        handle = pg.TargetItem(
            (dose, 100 * share), size=11, symbol="o", pen=pg.mkPen(color), brush=pg.mkBrush(*color, 90), movable=True
        )
        handle.setZValue(10)
        handle.structure, handle.number = asked.structure, number
        handle.setToolTip(f"{asked.structure}: {dose:.2f} Gy, {100 * share:.1f} %")
        handle.sigPositionChanged.connect(self._follow)
        handle.sigPositionChangeFinished.connect(self._dropped)
        self.addItem(handle)
        return handle

    def _follow(self, handle: Any) -> None:
        """While a point is dragged, draw the curve that would be asked."""
        asked = next(each for each in self._asked if each.structure == handle.structure)
        moved = asked.with_point(handle.number, handle.pos().x(), handle.pos().y() / 100)
        self._targets[handle.structure].setData(*_percent(_curve_of(moved)))

    def _dropped(self, handle: Any) -> None:
        self.point_moved.emit(handle.structure, handle.number, handle.pos().x(), handle.pos().y() / 100)

    def _clicked(self, event: Any) -> None:
        place: QPointF = self.plotItem.vb.mapSceneToView(event.scenePos())
        if event.double() and event.button() == Qt.LeftButton:
            nearest = min(self._asked, key=lambda each: _distance(each, place), default=None)
            if nearest is not None:
                self.point_wanted.emit(nearest.structure, place.x(), place.y() / 100)
        elif event.button() == Qt.RightButton:
            hit = next((each for each in self._handles if each.contains(each.mapFromScene(event.scenePos()))), None)
            if hit is not None:
                self.point_unwanted.emit(hit.structure, hit.number)


def _apart(asked: Asked) -> list[int]:
    """Choose the points of a target DVH that can be told apart with a mouse; the ends are among them."""
    points = np.array(asked.points) / (asked.points[-1][0], 1.0)
    last = len(points) - 1
    shown = [0]
    for number in range(1, last):
        if min(np.linalg.norm(points[number] - points[other]) for other in (shown[-1], last)) >= _HANDLES_APART:
            shown.append(number)
    return [*shown, last]


def _curve_of(asked: Asked) -> tuple[FloatArray, FloatArray]:
    points = np.array([(0.0, 1.0), *asked.points])
    return points[:, 0], points[:, 1]


def _percent(dvh: tuple[FloatArray, FloatArray]) -> tuple[FloatArray, FloatArray]:
    return dvh[0], 100 * np.asarray(dvh[1])


def _distance(asked: Asked, place: QPointF) -> float:
    dose, share = _curve_of(asked)
    return float(abs(np.interp(place.x(), dose, share, right=0.0) - place.y() / 100))


def _draw(
    plot: Any,
    curves: dict[str, Any],
    dvhs: Mapping[str, tuple[FloatArray, FloatArray]],
    pen: Callable[[str], Any],
) -> None:
    for name in [name for name in curves if name not in dvhs]:
        plot.removeItem(curves.pop(name))
    for name, dvh in dvhs.items():
        if name not in curves:
            curves[name] = plot.plot()
        curves[name].setPen(pen(name))
        curves[name].setData(*_percent(dvh))


class _CostAxis(pg.AxisItem):
    """A logarithmic axis that has a few round numbers at any range."""

    def logTickValues(self, minVal: float, maxVal: float, size: float, stdTicks: Any) -> Any:  # noqa: N802, N803
        """Place ticks; by default there are none between powers of ten, if the range is less than one."""
        if maxVal - minVal > 1:
            return super().logTickValues(minVal, maxVal, size, stdTicks)
        from matplotlib.ticker import MaxNLocator

        ticks = MaxNLocator(6).tick_values(10**minVal, 10**maxVal)
        return [(None, [math.log10(tick) for tick in ticks if minVal <= math.log10(max(tick, 1e-300)) <= maxVal])]

    def logTickStrings(self, values: list[float], scale: float, spacing: float) -> list[str]:  # noqa: N802, ARG002
        """Write ticks with the digits they need."""
        return [f"{10**value * scale:.4g}" for value in values]


class CostPlot(pg.PlotWidget):
    """Cost of every iteration, a curve for each level: each has a yardstick of its own.

    Parameters
    ----------
    parent : QWidget, optional
    """

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent, axisItems={"left": _CostAxis("left")})
        self.setLabel("bottom", "Iteration")
        self.setLabel("left", "Cost")
        self.getAxis("left").enableAutoSIPrefix(False)
        self.setLogMode(y=True)
        self.showGrid(x=True, y=True, alpha=0.25)
        self.addLegend(offset=(-5, 5), labelTextSize="8pt", labelTextColor=_GRAY)
        self.setMenuEnabled(False)
        self.setMouseEnabled(x=False, y=False)
        self.hideButtons()
        self._curves: dict[int, Any] = {}
        self._cursor = pg.InfiniteLine(angle=90, pen=pg.mkPen((255, 255, 255, 120)))
        self.addItem(self._cursor)

    def show_costs(self, costs: Sequence[tuple[int, float]], at: int | None = None) -> None:
        """Draw a course.

        Parameters
        ----------
        costs : sequence of (int, float)
            Level and cost of each iteration.
        at : int, optional
            Iteration to mark.
        """
        of_level: dict[int, list[tuple[int, float]]] = {}
        for number, (level, cost) in enumerate(costs, start=1):
            of_level.setdefault(level, []).append((number, cost))
        for level in [level for level in self._curves if level not in of_level]:
            self.removeItem(self._curves.pop(level))
        for order, (level, points) in enumerate(of_level.items()):
            if level not in self._curves:
                pen = pg.mkPen(pg.intColor(order, hues=6), width=2)
                self._curves[level] = self.plot(pen=pen, name="finest level" if level == 0 else f"level {level}")
            iterations, values = zip(*points, strict=True)
            self._curves[level].setData(np.array(iterations), np.maximum(np.array(values), 1e-12))
        self._cursor.setVisible(at is not None)
        if at is not None:
            self._cursor.setValue(at)


def _contour(color: Color, width: float) -> Any:
    """Make an item for lines of equal value; pyqtgraph's own finds them in Python, in a hundred times the time."""
    return pg.PlotCurveItem(pen=pg.mkPen(color, width=width), connect="finite")


def _lines(contours: Any, level: float) -> tuple[FloatArray, FloatArray]:
    """Find the lines of one value, apart from each other by NaN."""
    points = contours.lines(level)[0][0]
    if points is None:
        return np.empty(0), np.empty(0)
    return points[:, 0], points[:, 1]


class DoseSlice(QWidget):
    """One axial slice: CT, dose in color, isodoses, outlines of structures. Patient's right is on the left.

    Parameters
    ----------
    parent : QWidget, optional
    """

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._plot = pg.PlotWidget()
        self._plot.setAspectLocked(True)
        self._plot.invertY(True)  # DICOM's y runs to the back, which is below
        self._plot.hideButtons()
        self._plot.setMenuEnabled(False)
        self._plot.setMouseEnabled(x=False, y=False)
        self._plot.setLabel("bottom", "x (mm) → left")
        self._plot.setLabel("left", "y (mm) → back")
        self._ct, self._dose = pg.ImageItem(), pg.ImageItem()
        for item in (self._ct, self._dose):
            self._plot.addItem(item)
        self._dose.setOpacity(0.45)
        self._dose.setColorMap(pg.colormap.get("CET-R4"))
        self._isodoses = [(percent, _contour(color, 1.5)) for percent, color in ISODOSES]
        for _, item in self._isodoses:
            self._plot.addItem(item)
        self._outlines: list[Any] = []
        self._frame = QRectF(0, 0, 1, 1)
        self._label = QLabel()
        self._label.setWordWrap(True)
        # What is said changes often; the plots are to keep their sizes.
        self._label.setSizePolicy(QSizePolicy.Ignored, QSizePolicy.Fixed)
        self._label.setStyleSheet("font-size: 8pt;")
        self._label.setFixedHeight(_LINES * self._label.fontMetrics().lineSpacing())
        self._label.setAlignment(Qt.AlignLeft | Qt.AlignTop)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._plot, 1)
        layout.addWidget(self._label)

    def show_background(
        self,
        ct_hu: FloatArray | None,
        shape: tuple[int, int],
        spacing_mm: tuple[float, float],
        origin_mm: tuple[float, float],
        outlines: Mapping[str, tuple[BoolArray, Color]],
    ) -> None:
        """Draw what the dose lies on.

        Parameters
        ----------
        ct_hu : ndarray, shape (nx, ny), or None
        shape : (int, int)
            Voxels of the dose in the slice.
        spacing_mm, origin_mm : (float, float)
            Of them.
        outlines : mapping of str to (ndarray of shape `shape`, color)
            Structures by name.
        """
        (nx, ny), (dx, dy), (x0, y0) = shape, spacing_mm, origin_mm
        self._frame = QRectF(x0 - dx / 2, y0 - dy / 2, nx * dx, ny * dy)
        self._ct.setVisible(ct_hu is not None)
        if ct_hu is not None:
            self._ct.setImage(np.asarray(ct_hu, dtype=np.float32), levels=(-500, 500))
            self._ct.setRect(self._frame)
        for item in self._outlines:
            self._plot.removeItem(item)
        self._outlines = []
        for mask, color in outlines.values():
            item = _contour(color, 2)
            item.setData(*_lines(self._contours(mask), 0.5))
            self._plot.addItem(item)
            self._outlines.append(item)
        self._plot.setRange(self._frame, padding=0.02)

    def _contours(self, values: Any) -> Any:
        """Prepare to draw lines of equal value, in mm."""
        nx, ny = np.shape(values)
        dx, dy = self._frame.width() / nx, self._frame.height() / ny
        x = self._frame.left() + dx * (np.arange(nx) + 0.5)
        y = self._frame.top() + dy * (np.arange(ny) + 0.5)
        return contour_generator(x, y, np.asarray(values, dtype=np.float64).T, line_type=LineType.ChunkCombinedNan)

    def show_dose(self, plane: FloatArray | None, prescription_gy: float, what: str) -> None:
        """Draw a dose.

        Parameters
        ----------
        plane : ndarray, shape (nx, ny), or None
            Gy; None draws none.
        prescription_gy : float
            That is 100 % of the isodoses.
        what : str
            Which dose it is.
        """
        self._dose.setVisible(plane is not None)
        for _, item in self._isodoses:
            item.setVisible(plane is not None)
        if plane is None:
            self._label.setText(what)
            return
        values = np.asarray(plane, dtype=np.float32)
        shown = np.where(values > 0.05 * prescription_gy, values, np.nan)
        self._dose.setImage(shown, levels=(0.0, 1.1 * prescription_gy), autoLevels=False)
        self._dose.setRect(self._frame)
        contours = self._contours(values)
        for percent, item in self._isodoses:
            item.setData(*_lines(contours, percent / 100 * prescription_gy))
        legend = "".join(
            f"<span style='color: rgb{color}; background: black;'>&nbsp;{percent:g}&nbsp;</span>"
            for percent, color in reversed(ISODOSES)
        )
        self._label.setText(f"{what}<br>isodoses, % of {prescription_gy:g} Gy:<br>{legend}")
