"""Small helpers for forms in the narrow toolbar."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from PyQt5.QtCore import QObject, Qt
from PyQt5.QtWidgets import (
    QAbstractButton,
    QAbstractItemView,
    QAbstractSpinBox,
    QComboBox,
    QDoubleSpinBox,
    QHBoxLayout,
    QLineEdit,
    QProgressBar,
    QPushButton,
    QTableWidget,
    QTableWidgetItem,
    QWidget,
)

if TYPE_CHECKING:
    from opentps_brimstone.gui.watch import Watch

__all__ = ["button", "narrow", "number_in", "quiet", "row_of", "set_cell", "show_progress", "spin", "table"]

_NARROWEST_COLUMN = 24


@contextlib.contextmanager
def quiet(*widgets: QObject) -> Iterator[None]:
    """Set widgets without their telling of it.

    Parameters
    ----------
    *widgets : QObject
    """
    before = [widget.blockSignals(True) for widget in widgets]
    try:
        yield
    finally:
        for widget, blocked in zip(widgets, before, strict=True):
            widget.blockSignals(blocked)


def narrow(page: QWidget, least_px: int = 40) -> None:
    """Let the fields of a page shrink to the width of OpenTPS's toolbar.

    Parameters
    ----------
    page : QWidget
    least_px : int
    """
    for kind in (QAbstractButton, QComboBox, QAbstractSpinBox, QLineEdit):
        for field in page.findChildren(kind):
            field.setMinimumWidth(least_px)


def spin(value: float, low: float, high: float, decimals: int = 1, suffix: str = "") -> QDoubleSpinBox:
    """Make a field for a number, which tells of it when it is finished.

    Parameters
    ----------
    value, low, high : float
    decimals : int
    suffix : str
        Unit.

    Returns
    -------
    QDoubleSpinBox
    """
    made = QDoubleSpinBox()
    made.setDecimals(decimals)
    made.setRange(low, high)
    made.setValue(value)
    made.setSuffix(suffix)
    made.setKeyboardTracking(False)
    return made


def button(text: str, act: Callable[[], object], tip: str = "") -> QPushButton:
    """Make a button.

    Parameters
    ----------
    text : str
    act : callable
    tip : str

    Returns
    -------
    QPushButton
    """
    made = QPushButton(text)
    made.setToolTip(tip)
    made.clicked.connect(lambda *_: act())
    return made


def show_progress(bar: QProgressBar, watch: Watch | None) -> None:
    """Show how far work is: beamlets done, or that nobody knows.

    Parameters
    ----------
    bar : QProgressBar
    watch : Watch or None
        None if nothing goes on.
    """
    if watch is None:
        bar.setRange(0, 1)
        bar.setValue(0)
    elif watch.last is None and watch.progress is not None:
        done, total = watch.progress
        bar.setRange(0, total)
        bar.setValue(done)
    else:
        bar.setRange(0, 0)


def table(headers: list[str], parent: QWidget | None = None) -> QTableWidget:
    """Make a table for a few short columns.

    Parameters
    ----------
    headers : list of str
    parent : QWidget, optional

    Returns
    -------
    QTableWidget
    """
    made = QTableWidget(0, len(headers), parent)
    made.setHorizontalHeaderLabels(headers)
    made.verticalHeader().hide()
    made.setHorizontalScrollBarPolicy(Qt.ScrollBarAlwaysOff)
    made.verticalHeader().setDefaultSectionSize(22)
    made.horizontalHeader().setMinimumSectionSize(_NARROWEST_COLUMN)
    made.horizontalHeader().setDefaultSectionSize(_NARROWEST_COLUMN)
    made.horizontalHeader().setStretchLastSection(True)
    made.horizontalHeader().setHighlightSections(False)  # bold headers would need more room
    made.setSelectionBehavior(QAbstractItemView.SelectRows)
    made.setSelectionMode(QAbstractItemView.SingleSelection)
    return made


def set_cell(made: QTableWidget, row: int, column: int, text: str, *, editable: bool = False) -> QTableWidgetItem:
    """Write a text into a cell.

    Parameters
    ----------
    made : QTableWidget
    row, column : int
    text : str
    editable : bool

    Returns
    -------
    QTableWidgetItem
    """
    item = QTableWidgetItem(text)
    if not editable:
        item.setFlags(item.flags() & ~Qt.ItemIsEditable)
    made.setItem(row, column, item)
    return item


def row_of(*widgets: QWidget) -> QHBoxLayout:
    """Lay widgets side by side.

    Parameters
    ----------
    *widgets : QWidget

    Returns
    -------
    QHBoxLayout
    """
    layout = QHBoxLayout()
    for widget in widgets:
        layout.addWidget(widget)
    return layout


def number_in(text: str, where: str) -> float:
    """Read a number that was typed into the tab "Objectives"; a decimal comma is understood.

    Parameters
    ----------
    text : str
    where : str
        What the error names.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        If it is not a number.
    """
    try:
        return float(text.strip().replace(",", "."))
    except ValueError:
        raise ValueError(f"Objectives, {where}: {text!r} is not a number") from None
