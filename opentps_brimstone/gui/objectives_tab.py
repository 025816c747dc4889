"""The tab "Objectives": what is asked of each structure, as numbers, and goals with what they are now."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from PyQt5.QtGui import QColor
from PyQt5.QtWidgets import (
    QComboBox,
    QFileDialog,
    QLabel,
    QPlainTextEdit,
    QVBoxLayout,
    QWidget,
)

from opentps_brimstone.gui import asked as presets
from opentps_brimstone.gui.asked import Asked
from opentps_brimstone.gui.fields import button, number_in, quiet, row_of, set_cell, spin, table
from opentps_brimstone.gui.limits import Limit
from opentps_brimstone.gui.limits_table import LimitsTable
from opentps_brimstone.gui.messages import shows_errors
from opentps_brimstone.gui.planner import Planner
from opentps_brimstone.gui.plots import Color
from opentps_brimstone.gui.request_file import read_request, write_request

__all__ = ["ObjectivesTab"]

_NOT_TAKEN = "The objectives were not changed"
_PRESETS: dict[str, Callable[[str, float], Asked]] = {
    "target": presets.target,
    "organ at risk": presets.organ,
    "falling body": presets.falling_body,
}
_RING = "ring around targets"
_FIRST_LIMIT_WEIGHT = 1000.0


class ObjectivesTab(QWidget):
    """What is asked of structures.

    Parameters
    ----------
    planner : Planner
    from_opentps : callable
        Asks for what OpenTPS's own objectives ask for.
    """

    def __init__(self, planner: Planner, from_opentps: Callable[[], None]) -> None:
        super().__init__()
        self._planner = planner
        self._colors: dict[str, Color] = {}
        self.structures = table(["name", "role", "weight", "cost"])
        for column, width in enumerate((70, 52, 52)):
            self.structures.setColumnWidth(column, width)
        self.structures.setMaximumHeight(150)
        self.structures.itemSelectionChanged.connect(self._show_chosen)
        self.structures.cellChanged.connect(self._type_weight)
        self.preset = QComboBox()
        self.preset.addItems([*_PRESETS, _RING])
        self.dose_gy = spin(50, 0.1, 200, 1, " Gy")
        self.apply_button = button("Ask", self._apply_preset, "Ask this of the structure chosen above")
        self.remove_button = button("Ask nothing", self._remove, "Leave the structure chosen above out")
        self.words = QLabel()
        self.words.setMinimumHeight(60)
        self.words.setWordWrap(True)
        self.points = table(["dose (Gy)", "volume (%)"])
        self.points.setColumnWidth(0, 110)
        self.points.setMaximumHeight(140)
        self.points.cellChanged.connect(self._type_point)
        self.limits = LimitsTable(self._limit_changed)
        self.goals = QPlainTextEdit()
        self.goals.setPlaceholderText("a goal in each line, such as\nPTV D95 >= 50 Gy\ncord Dmax <= 45 Gy")
        self.goals.setMaximumHeight(70)
        self.goals_button = button("Take goals", self._type_goals)
        self.goal_table = table(["goal", "now"])
        self.goal_table.setColumnWidth(0, 128)
        self.goal_table.setMaximumHeight(110)
        self.from_opentps_button = button(
            "From OpenTPS's objectives", from_opentps, "Take the objectives typed in 'Plan optimization'"
        )
        self.save_button = button("Save …", self._save, "Write a file for 'opentps-brimstone plan'")
        self.load_button = button("Load …", self._load, "Read a file of 'opentps-brimstone plan'")
        self._lay_out()
        planner.series_changed.connect(self.refresh)
        planner.request_changed.connect(self.refresh)
        planner.planned_changed.connect(self._show_now)

    def _lay_out(self) -> None:
        layout = QVBoxLayout(self)
        layout.setContentsMargins(4, 4, 4, 4)
        layout.addWidget(self.structures, 2)
        layout.addLayout(row_of(self.preset, self.dose_gy))
        layout.addLayout(row_of(self.apply_button, self.remove_button))
        layout.addWidget(self.words)
        layout.addWidget(self.points, 1)
        layout.addWidget(self.limits)
        layout.addWidget(QLabel("<b>Goals</b>"))
        layout.addWidget(self.goals)
        layout.addWidget(self.goals_button)
        layout.addWidget(self.goal_table)
        layout.addWidget(self.from_opentps_button)
        layout.addLayout(row_of(self.save_button, self.load_button))

    # --------------------------------------------------------------------------------------------- showing

    def set_colors(self, colors: dict[str, Color]) -> None:
        """Show structures in these colors."""
        self._colors = colors
        self.refresh()

    @property
    def chosen(self) -> str | None:
        """Name of the structure that is chosen."""
        item = self.structures.item(self.structures.currentRow(), 0)
        return None if item is None else item.text()

    def choose(self, structure: str) -> None:
        """Choose a structure."""
        for row in range(self.structures.rowCount()):
            if self.structures.item(row, 0).text() == structure:
                self.structures.selectRow(row)

    def refresh(self) -> None:
        """Show what is asked for now."""
        chosen, request = self.chosen, self._planner.request
        names = list(self._planner.session.structures())
        with quiet(self.structures):
            self.structures.setRowCount(len(names))
            for row, name in enumerate(names):
                each = request.of(name)
                item = set_cell(self.structures, row, 0, name)
                item.setForeground(QColor(*self._colors.get(name, (60, 60, 60))))
                role = "" if each is None else "target" if each.is_target else "organ"
                set_cell(self.structures, row, 1, role)
                weighs = each is not None and bool(each.points)  # limits have weights of their own
                set_cell(self.structures, row, 2, f"{each.weight:.3g}" if each and weighs else "", editable=weighs)
                set_cell(self.structures, row, 3, "")
        with quiet(self.goals):
            if not self.goals.hasFocus():
                self.goals.setPlainText("\n".join(request.goals))
        if chosen is not None:
            self.choose(chosen)
        self._show_chosen()
        self._show_now()

    def _show_chosen(self) -> None:
        each = None if self.chosen is None else self._planner.request.of(self.chosen)
        with quiet(self.points):
            self.points.setRowCount(0 if each is None else len(each.points))
            for row, (dose, share) in enumerate(() if each is None else each.points):
                set_cell(self.points, row, 0, f"{dose:.4g}", editable=True)
                set_cell(self.points, row, 1, f"{100 * share:.4g}", editable=True)
        of_all = [limit for asked in self._planner.request.asked for limit in asked.limits]
        heaviest = max((limit.weight for limit in of_all), default=_FIRST_LIMIT_WEIGHT)
        self.limits.show_limits(() if each is None else each.limits, heaviest)
        if self.chosen is None:
            self.words.setText("choose a structure above")
        else:
            self.words.setText(f"{self.chosen}: {'nothing is asked' if each is None else each.describe()}")

    def _show_now(self) -> None:
        costs = self._planner.session.costs()
        with quiet(self.structures):
            for row in range(self.structures.rowCount()):
                cost = costs.get(self.structures.item(row, 0).text())
                set_cell(self.structures, row, 3, "" if cost is None else f"{cost:.3g}")
        self._show_goals()

    @shows_errors("The goals cannot be judged")
    def _show_goals(self) -> None:
        table_of_goals = self._planner.session.goals()
        results = [] if table_of_goals is None else list(table_of_goals)
        texts = [str(result.goal) for result in results] or list(self._planner.request.goals)
        self.goal_table.setRowCount(len(texts))
        for row, text in enumerate(texts):
            set_cell(self.goal_table, row, 0, text)
            now = "" if not results else f"{results[row].value:.1f} {'met' if results[row].met else 'NOT MET'}"
            item = set_cell(self.goal_table, row, 1, now)
            if results:
                item.setForeground(QColor(0, 120, 0) if results[row].met else QColor(190, 0, 0))

    # --------------------------------------------------------------------------------------------- changing

    def _chosen_asked(self) -> Asked:
        if self.chosen is None:
            raise ValueError("Objectives: choose a structure in the table first")
        each = self._planner.request.of(self.chosen)
        if each is None:
            raise ValueError(f"Objectives, {self.chosen}: nothing is asked of it yet; choose a preset and press 'Ask'")
        return each

    @shows_errors(_NOT_TAKEN)
    def _limit_changed(self, number: int, limit: Limit | None) -> None:
        if self.chosen is None:
            raise ValueError("Objectives: choose a structure in the table first")
        request = self._planner.request
        each = request.of(self.chosen)
        try:
            if each is None:
                self._planner.ask(request.asking(Asked(self.chosen, False, (), limits=(limit,) if limit else ())))
            elif limit is None and not each.points and len(each.limits) == 1:
                self._planner.ask(request.without(each.structure))
            else:
                self._planner.ask(request.asking(each.with_limit(number, limit)))
        finally:
            self._show_chosen()

    @shows_errors(_NOT_TAKEN)
    def _apply_preset(self) -> None:
        kind, dose = self.preset.currentText(), self.dose_gy.value()
        if kind == _RING:
            self._add_ring(dose)
            return
        if self.chosen is None:
            raise ValueError("Objectives: choose a structure in the table first")
        self._planner.ask(self._planner.request.asking(_PRESETS[kind](self.chosen, dose)))

    def _add_ring(self, dose_gy: float) -> None:
        ring = self._planner.session.ring()
        self._planner.ask(self._planner.request.asking(presets.organ(ring, dose_gy, weight=0.3)))
        self.choose(ring)

    @shows_errors(_NOT_TAKEN)
    def _remove(self) -> None:
        self._planner.ask(self._planner.request.without(self._chosen_asked().structure))

    @shows_errors(_NOT_TAKEN)
    def _type_weight(self, row: int, column: int) -> None:
        name, text = self.structures.item(row, 0).text(), self.structures.item(row, column).text()
        each = self._planner.request.of(name)
        if column != 2 or each is None:
            return
        try:
            self._planner.ask(self._planner.request.asking(each.weighted(number_in(text, f"{name}, weight"))))
        finally:
            self.refresh()

    @shows_errors(_NOT_TAKEN)
    def _type_point(self, row: int, column: int) -> None:
        each = self._chosen_asked()
        dose, share = each.points[row]
        try:
            value = number_in(self.points.item(row, column).text(), f"{each.structure}, point {row + 1}")
            dose, share = (value, share) if column == 0 else (dose, value / 100)
            self._planner.ask(self._planner.request.asking(each.with_point(row, dose, share)))
        finally:
            self._show_chosen()

    @shows_errors("The goals were not taken")
    def _type_goals(self) -> None:
        lines = tuple(line.strip() for line in self.goals.toPlainText().splitlines() if line.strip())
        changed = replace(self._planner.request, goals=lines)
        known = self._planner.session.structures_for(changed)
        for goal in changed.parsed_goals():
            if goal.structure not in known:
                raise ValueError(
                    f"Objectives, goals: {str(goal)!r} is on {goal.structure!r}; there are {', '.join(known)}"
                )
        self._planner.ask(changed)
        self._show_goals()

    # --------------------------------------------------------------------------------------------- files

    @shows_errors("The file was not written")
    def _save(self) -> None:
        name, _ = QFileDialog.getSaveFileName(self, "Save request", "prescription.toml", "Prescription (*.toml)")
        if name:
            write_request(self._planner.request, Path(name))

    @shows_errors("The file was not read")
    def _load(self) -> None:
        name, _ = QFileDialog.getOpenFileName(self, "Load request", "", "Prescription (*.toml)")
        if name:
            request = read_request(Path(name))
            self._planner.session.check(request)
            self._planner.ask(request)
