"""The tab "Plan": CT, beams with their sides of entry, isocenter, grids."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from PyQt5.QtWidgets import QComboBox, QFormLayout, QHBoxLayout, QLabel, QLineEdit, QVBoxLayout, QWidget

from opentps_brimstone.gui.beam_rose import BeamRose
from opentps_brimstone.gui.fields import button, quiet, set_cell, spin, table
from opentps_brimstone.gui.messages import shows_errors
from opentps_brimstone.gui.planner import Planner
from opentps_brimstone.gui.request import BEAM_SETS, BeamRow, beam_set

__all__ = ["PlanTab"]

_CENTER, _TYPED = "center of targets", "typed"
_NOT_TAKEN = "The plan was not changed"
_FROM_CT = "from CT"
_MU_COLUMN = 4
_MU_WORDS = {
    "MU": "Machine MU per fraction of the beam's segments",
    "fluence": "Engine MU per fraction of the beam's beamlets, summed; segments have machine MU, and far fewer",
    "": "There is no plan of these beams yet",
}


class PlanTab(QWidget):
    """What is planned, apart from what is asked of structures.

    Parameters
    ----------
    planner : Planner
    ct_box : QWidget
        Chooses the CT.
    """

    def __init__(self, planner: Planner, ct_box: QWidget) -> None:
        super().__init__()
        self._planner = planner
        self.name = QLineEdit()
        self.name.editingFinished.connect(lambda: self._set(name=self.name.text().strip() or "Brimstone plan"))
        self.fractions = spin(25, 1, 99, 0)
        self.fractions.valueChanged.connect(lambda value: self._set(fractions=int(value)))
        self.beamlet_mm = spin(5, 1, 50, 1, " mm")
        self.beamlet_mm.valueChanged.connect(lambda value: self._set(beamlet_mm=float(value)))
        self.margin_mm = spin(5, 0, 100, 1, " mm")
        self.margin_mm.valueChanged.connect(lambda value: self._set(margin_mm=float(value)))
        self.dose_grid_mm = spin(0, 0, 20, 1, " mm")
        self.dose_grid_mm.setSpecialValueText(_FROM_CT)
        self.dose_grid_mm.valueChanged.connect(lambda value: self._set(dose_grid_mm=float(value) or None))
        self.isocenter = QComboBox()
        self.isocenter.activated.connect(self._choose_isocenter)
        self.isocenter_mm = QLineEdit()
        self.isocenter_mm.setPlaceholderText("x, y, z in mm")
        self.isocenter_mm.editingFinished.connect(self._type_isocenter)
        self.beam_set = QComboBox()
        self.beam_set.addItems(["set of beams …", *BEAM_SETS])
        self.beam_set.activated.connect(self._choose_beam_set)
        self.beams = table(["gantry", "couch", "coll", "enters from", "MU"])
        self.beams.setMinimumHeight(100)
        for column, width in enumerate((44, 40, 28, 76)):
            self.beams.setColumnWidth(column, width)
        self.beams.cellChanged.connect(self._type_angle)
        self.beams.itemSelectionChanged.connect(self._mark_beam)
        self.rose = BeamRose()
        self._lay_out(ct_box)
        planner.request_changed.connect(self.refresh)
        for signal in (planner.planned_changed, planner.delivered_changed):
            signal.connect(self._show_beams)
        planner.series_changed.connect(self._list_structures)
        self.refresh()

    def _lay_out(self, ct_box: QWidget) -> None:
        form = QFormLayout()
        form.setVerticalSpacing(2)
        self.beamlet_mm.setToolTip("Size of the beamlets")
        self.margin_mm.setToolTip("How far beamlets reach beyond the targets")
        for text, widget in (
            ("CT", ct_box),
            ("Plan name", self.name),
            ("Fractions", self.fractions),
            ("Beamlets", self.beamlet_mm),
            ("Margin", self.margin_mm),
            ("Dose grid", self.dose_grid_mm),
            ("Isocenter", self.isocenter),
            ("", self.isocenter_mm),
        ):
            form.addRow(text, widget)
        self.add_button = button("Add", self._add_beam, "Add a beam halfway to the next one")
        self.remove_button = button("Remove", self._remove_beam, "Remove the beam that is chosen in the table")
        row = QHBoxLayout()
        for widget in (self.beam_set, self.add_button, self.remove_button):
            row.addWidget(widget)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(4, 4, 4, 4)
        layout.addLayout(form)
        layout.addWidget(QLabel("<b>Beams</b>, angles after IEC 61217"))
        layout.addLayout(row)
        layout.addWidget(self.beams, 1)
        layout.addWidget(self.rose)

    # --------------------------------------------------------------------------------------------- showing

    def refresh(self) -> None:
        """Show what is asked for now."""
        request = self._planner.request
        fields: tuple[tuple[Any, Any, Callable[[Any], Any]], ...] = (
            (self.name, request.name, self.name.setText),
            (self.fractions, request.fractions, self.fractions.setValue),
            (self.beamlet_mm, request.beamlet_mm, self.beamlet_mm.setValue),
            (self.margin_mm, request.margin_mm, self.margin_mm.setValue),
            (self.dose_grid_mm, request.dose_grid_mm or 0.0, self.dose_grid_mm.setValue),
        )
        for field, value, show in fields:
            with quiet(field):
                show(value)
        self._show_isocenter()
        self._show_beams()

    def _show_beams(self) -> None:
        beams, chosen = self._planner.request.beams, self.beams.currentRow()
        of, mu = self._planner.beam_mu()
        header = self.beams.horizontalHeaderItem(_MU_COLUMN)
        header.setText(of or "MU")
        header.setToolTip(_MU_WORDS[of])
        with quiet(self.beams):
            self.beams.setRowCount(len(beams))
            for row, beam in enumerate(beams):
                for column, angle in enumerate((beam.gantry, beam.couch, beam.collimator)):
                    set_cell(self.beams, row, column, f"{angle:g}", editable=True)
                set_cell(self.beams, row, 3, beam.side.replace("patient's ", ""))
                set_cell(self.beams, row, _MU_COLUMN, f"{mu[row]:.0f}" if of else "").setToolTip(_MU_WORDS[of])
        self.rose.show_beams(beams, chosen)

    def _show_isocenter(self) -> None:
        place = self._planner.request.isocenter_mm
        with quiet(self.isocenter, self.isocenter_mm):
            if place is None:
                self.isocenter.setCurrentText(_CENTER)
                self.isocenter_mm.clear()
            else:
                self.isocenter_mm.setText(", ".join(f"{value:g}" for value in place))
                if self.isocenter.currentText() == _CENTER:
                    self.isocenter.setCurrentText(_TYPED)

    def _list_structures(self) -> None:
        with quiet(self.isocenter):
            self.isocenter.clear()
            self.isocenter.addItems([_CENTER, _TYPED, *self._planner.session.structures()])

    def _mark_beam(self) -> None:
        self.rose.show_beams(self._planner.request.beams, self.beams.currentRow())

    # --------------------------------------------------------------------------------------------- changing

    @shows_errors(_NOT_TAKEN)
    def _set(self, **values: Any) -> None:
        self._planner.ask(replace(self._planner.request, **values))

    @shows_errors(_NOT_TAKEN)
    def _type_angle(self, row: int, column: int) -> None:
        text = self.beams.item(row, column).text().strip().rstrip("°")
        field = ("gantry", "couch", "collimator")[column]
        try:
            angle = float(text.replace(",", "."))
            beams = list(self._planner.request.beams)
            beams[row] = replace(beams[row], **{field: angle})
        except ValueError:
            self._show_beams()
            raise ValueError(
                f"Plan, beams, {field} of beam {row + 1}: {text!r} is not a number of degrees; write one such as 270"
            ) from None
        self._set(beams=tuple(beams))
        self._show_beams()

    def _add_beam(self) -> None:
        beams = self._planner.request.beams
        angle = (beams[-1].gantry + 40.0) % 360.0 if beams else 0.0
        self._set(beams=(*beams, BeamRow(angle)))

    def _remove_beam(self) -> None:
        chosen = self.beams.currentRow()
        beams = self._planner.request.beams
        self._set(beams=tuple(beam for number, beam in enumerate(beams) if number != chosen))

    def _choose_beam_set(self, number: int) -> None:
        if number > 0:
            self._set(beams=beam_set(self.beam_set.itemText(number)))
        self.beam_set.setCurrentIndex(0)

    def _choose_isocenter(self, number: int) -> None:
        text = self.isocenter.itemText(number)
        if text == _CENTER:
            self._set(isocenter_mm=None)
        elif text != _TYPED:
            self._set(isocenter_mm=self._center_of(text))

    def _center_of(self, name: str) -> tuple[float, float, float]:
        structure = self._planner.session.structures()[name]
        grid = structure.grid
        assert grid is not None
        share = structure.share
        index = [
            float(np.average(np.arange(n), weights=share.sum(axis=_others(axis)))) for axis, n in enumerate(share.shape)
        ]
        x, y, z = (o + i * s for o, i, s in zip(grid.origin_mm, index, grid.spacing_mm, strict=True))
        return round(x, 1), round(y, 1), round(z, 1)

    @shows_errors(_NOT_TAKEN)
    def _type_isocenter(self) -> None:
        text = self.isocenter_mm.text().strip()
        if not text:
            self._set(isocenter_mm=None)
            return
        try:
            x, y, z = (float(part) for part in text.strip("()[]").replace(";", ",").split(","))
        except ValueError:
            self._show_isocenter()
            raise ValueError(
                f"Plan, isocenter: {text!r} is not understood; write three numbers in mm, such as 0, -12.5, 40"
            ) from None
        self._set(isocenter_mm=(x, y, z))


def _others(axis: int) -> tuple[int, ...]:
    return tuple(other for other in range(3) if other != axis)
