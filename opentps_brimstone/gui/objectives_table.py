"""OpenTPS's table of objectives, read with errors that name the cell."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

__all__ = ["TypedObjectives", "read_objectives"]

_NOT_GIVEN = "None"  # what OpenTPS writes into empty cells


@dataclass(frozen=True)
class TypedObjectives:
    """What a user typed.

    Attributes
    ----------
    objectives : tuple of opentps objectives
        Each with ``isTarget`` and ``prescription``.
    targets : tuple of (ROI, float)
        ROIs ticked as targets, with their prescription in Gy.
    """

    objectives: tuple[Any, ...]
    targets: tuple[tuple[Any, float], ...]


def read_objectives(table: Any) -> TypedObjectives:
    """Read the table of objectives.

    Parameters
    ----------
    table : opentps ROITable
        Not changed.

    Returns
    -------
    TypedObjectives

    Raises
    ------
    ValueError
        Naming ROI, column and what was typed, if a cell is not a number or out of its range; or if there is no
        objective, no target, or a target without prescription.
    """
    rows = range(len(table._rois))
    for row in rows:
        _check_row(table, row)
    targets = [
        (table._rois[row], _prescription(table, row))
        for row in rows
        if table.cellWidget(row, table._TargetCol).isChecked()
    ]
    objectives = table.getObjectiveTerms()
    if not objectives:
        raise ValueError("Objectives: there are none; open the objectives panel and type a Dmin, Dmax or Dmean")
    if not targets:
        raise ValueError("Objectives: no ROI is ticked as target, so there is nowhere to put beamlets")
    for roi, _ in targets:
        if not any(objective.roi is roi for objective in objectives):
            raise ValueError(
                f"Objectives, {roi.name}: it is ticked as target and has no objective; type a Dmin or Dmax"
            )
    return TypedObjectives(tuple(objectives), tuple(targets))


def _check_row(table: Any, row: int) -> None:
    doses = (table._dMinCol, table._dMaxCol, table._dMeanCol)
    weights = (table._weightMinCol, table._weightMaxCol, table._weightMeanCol)
    for dose, weight in zip(doses, weights, strict=True):
        if _text(table, row, dose) != _NOT_GIVEN:
            _number(table, row, dose, least=0.0)
            _number(table, row, weight, least=0.0)


def _prescription(table: Any, row: int) -> float:
    if _text(table, row, table._PrescriptionCol) == _NOT_GIVEN:
        name = table._rois[row].name
        raise ValueError(f"Objectives, {name}: it is ticked as target and has no prescription; type one in Gy")
    value = _number(table, row, table._PrescriptionCol, least=0.0)
    if value == 0:
        raise ValueError(f"{_place(table, row, table._PrescriptionCol)}: 0 Gy; it must be above 0")
    return value


def _number(table: Any, row: int, column: int, least: float) -> float:
    text = _text(table, row, column)
    try:
        value = float(text)
    except ValueError:
        hint = f"; write {text.replace(',', '.')}" if "," in text else ""
        raise ValueError(f"{_place(table, row, column)}: {text!r} is not a number{hint}") from None
    if not (math.isfinite(value) and value >= least):
        raise ValueError(f"{_place(table, row, column)}: {text}; it must be at least {least:g}")
    return value


def _text(table: Any, row: int, column: int) -> str:
    return str(table.item(row, column).text()).strip() or _NOT_GIVEN


def _place(table: Any, row: int, column: int) -> str:
    header = table.horizontalHeaderItem(column).text().strip("*")
    if header == "Weight":
        header = f"weight of {table.horizontalHeaderItem(column + 1).text()}"
    return f"Objectives, {table._rois[row].name}, {header}"
