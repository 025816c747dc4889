"""The limits of one structure as a table, to be changed, added and taken away."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from PyQt5.QtWidgets import QComboBox, QLabel, QVBoxLayout, QWidget

from opentps_brimstone.gui.fields import button, number_in, quiet, row_of, set_cell, spin, table
from opentps_brimstone.gui.limits import KINDS, Limit
from opentps_brimstone.gui.messages import shows_errors

__all__ = ["LimitsTable"]

_NOT_TAKEN = "The limits were not changed"
_FIRST_VOLUME = 0.1
_WHAT, _DOSE, _VOLUME, _WEIGHT = range(4)


class LimitsTable(QWidget):
    """Shows limits and tells of changes.

    Parameters
    ----------
    changed : callable
        Takes the number of a limit and what it is to be; None takes it away, and the count of limits adds one.
    """

    def __init__(self, changed: Callable[[int, Limit | None], None]) -> None:
        super().__init__()
        self._changed = changed
        self._limits: tuple[Limit, ...] = ()
        self._new_weight = 0.0
        self.table = table(["limit", "Gy", "%", "weight"])
        for column, width in enumerate((86, 54, 32)):
            self.table.setColumnWidth(column, width)
        self.table.setMaximumHeight(96)
        self.table.cellChanged.connect(self._type)
        self.kind = QComboBox()
        self.kind.addItems(KINDS.values())
        self.dose_gy = spin(50, 0, 300, 1, " Gy")
        self.add_button = button("Add limit", self._add, "Limit the dose of the structure chosen above")
        self.remove_button = button("Remove limit", self._remove, "Take the limit chosen in this table away")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(QLabel("<b>Limits</b> beside the histogram"))
        layout.addWidget(self.table)
        layout.addLayout(row_of(self.kind, self.dose_gy))
        layout.addLayout(row_of(self.add_button, self.remove_button))

    def show_limits(self, limits: tuple[Limit, ...], new_weight: float) -> None:
        """Show other limits.

        Parameters
        ----------
        limits : tuple of Limit
        new_weight : float
            Of the next one that is added.
        """
        self._limits, self._new_weight = limits, new_weight
        with quiet(self.table):
            self.table.setRowCount(len(limits))
            for row, limit in enumerate(limits):
                set_cell(self.table, row, _WHAT, KINDS[limit.kind]).setToolTip(limit.describe())
                set_cell(self.table, row, _DOSE, f"{limit.dose_gy:.4g}", editable=True)
                volume = f"{100 * limit.volume:.3g}" if limit.has_volume else ""
                set_cell(self.table, row, _VOLUME, volume, editable=limit.has_volume)
                set_cell(self.table, row, _WEIGHT, f"{limit.weight:.3g}", editable=True)

    @shows_errors(_NOT_TAKEN)
    def _type(self, row: int, column: int) -> None:
        limits = self._limits
        try:
            value = number_in(self.table.item(row, column).text(), f"limit {row + 1}")
            self._changed(row, _with_cell(limits[row], column, value))
        finally:
            self.show_limits(self._limits, self._new_weight)

    def _add(self) -> None:
        kind = list(KINDS)[self.kind.currentIndex()]
        limit = Limit(kind, float(self.dose_gy.value()), self._new_weight)
        self._changed(len(self._limits), replace(limit, volume=_FIRST_VOLUME) if limit.has_volume else limit)

    @shows_errors(_NOT_TAKEN)
    def _remove(self) -> None:
        row = self.table.currentRow()
        if not 0 <= row < len(self._limits):
            raise ValueError("Objectives, limits: choose one in the table of limits first")
        self._changed(row, None)


def _with_cell(limit: Limit, column: int, value: float) -> Limit:
    if column == _DOSE:
        return replace(limit, dose_gy=value)
    return replace(limit, volume=value / 100) if column == _VOLUME else replace(limit, weight=value)
