"""Measured beam data: depth doses, output factors and profiles in water, read from a CSV file.

The columns are ``curve,field_mm,ssd_mm,depth_mm,x_mm,value``; a row is a point of one curve::

    curve,field_mm,ssd_mm,depth_mm,x_mm,value
    depth_dose,100,1000,100,,66.7
    output,40,,,,0.88
    profile,100,900,100,-50,51.2

Fields are squares at the isocenter plane. Depth doses and profiles are in any unit. Output factors are doses per MU at
the reference depth and SSD of the beam model, in any unit, the reference field among them.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from opentps_brimstone._typing import FloatArray
from opentps_brimstone._util.errors import BrimstoneError
from opentps_brimstone.engine.reference_field import ReferenceField

__all__ = ["BeamDataError", "BeamGeometry", "MeasuredBeam", "MeasuredCurve", "read_measured_beam"]

COLUMNS = ("curve", "field_mm", "ssd_mm", "depth_mm", "x_mm", "value")
FEWEST_POINTS = 4


class BeamDataError(BrimstoneError, ValueError):
    """Measured beam data cannot be read, or cannot be of a beam."""


@dataclass(frozen=True)
class BeamGeometry:
    """A square field on a water tank: its side at the isocenter plane, and the distance from source to surface."""

    field_mm: float
    ssd_mm: float


@dataclass(frozen=True, eq=False)
class MeasuredCurve:
    """A depth dose on the axis, or a profile across it.

    Attributes
    ----------
    geometry : BeamGeometry
    depth_mm : float or None
        Of a profile; None for a depth dose.
    position_mm : ndarray, shape (n,)
        Depths, or positions along x in the plane of a profile; rising.
    value : ndarray, shape (n,)
        Relative to the reference depth, or to the axis.
    """

    geometry: BeamGeometry
    depth_mm: float | None
    position_mm: FloatArray
    value: FloatArray

    def __str__(self) -> str:
        side = f"{self.geometry.field_mm / 10:g} cm field, SSD {self.geometry.ssd_mm / 10:g} cm"
        if self.depth_mm is None:
            return f"depth dose of the {side}"
        return f"profile of the {side}, {self.depth_mm / 10:g} cm deep"


@dataclass(frozen=True, eq=False)
class MeasuredBeam:
    """What was measured of a beam.

    Attributes
    ----------
    depth_doses, profiles : tuple of MeasuredCurve
    outputs : dict of float to float
        Output factor relative to the reference field, by side of the field in mm.
    """

    depth_doses: tuple[MeasuredCurve, ...]
    profiles: tuple[MeasuredCurve, ...]
    outputs: dict[float, float]


def read_measured_beam(path: str | Path, reference: ReferenceField) -> MeasuredBeam:
    """Read measured beam data.

    Parameters
    ----------
    path : str or Path
        CSV file.
    reference : ReferenceField
        To whose depth and field doses are relative.

    Returns
    -------
    MeasuredBeam

    Raises
    ------
    BeamDataError
        If the file cannot be read, a value is missing or cannot be, there is no depth dose, one does not reach the
        reference depth or does not fall, outputs lack the reference field, or a profile does not show an edge; with the
        line or the curve.
    """
    groups: dict[tuple[str, BeamGeometry, float | None], list[tuple[float, float]]] = {}
    for point in _points(Path(path)):
        key, position, value = point.place(reference)
        groups.setdefault(key, []).append((position, value))
    curves = {key: _curve(key, points) for key, points in groups.items() if key[0] != "output"}
    outputs = {key[1].field_mm: points for key, points in groups.items() if key[0] == "output"}
    depth_doses = tuple(_checked_depth_dose(c, reference) for key, c in curves.items() if key[0] == "depth_dose")
    if not depth_doses:
        raise BeamDataError(f"{path} has no depth dose, and without one the spectrum cannot be told")
    return MeasuredBeam(
        depth_doses,
        tuple(_checked_profile(c) for key, c in curves.items() if key[0] == "profile"),
        _checked_outputs(outputs, reference),
    )


# ------------------------------------------------------------------------------------------------- points


@dataclass(frozen=True)
class _Point:
    where: str
    curve: str
    number: dict[str, float | None]

    def place(self, reference: ReferenceField) -> tuple[tuple[str, BeamGeometry, float | None], float, float]:
        """Which curve it is of, where on it, and its value."""
        value = self._needed("value")
        if not value > 0:
            raise BeamDataError(f"{self.where}: the value is {value:g}; doses must be positive")
        field = self._needed("field_mm")
        if not 5 <= field <= 400:
            raise BeamDataError(f"{self.where}: field_mm is {field:g}; it must lie between 5 and 400")
        if self.curve == "output":
            self._same("ssd_mm", reference.ssd_mm)
            self._same("depth_mm", reference.depth_mm)
            return ("output", BeamGeometry(field, reference.ssd_mm), None), 0.0, value
        ssd, depth = self._needed("ssd_mm"), self._needed("depth_mm")
        if not 500 <= ssd <= reference.sad_mm:
            raise BeamDataError(
                f"{self.where}: ssd_mm is {ssd:g}; it must lie between 500 and the source-axis distance, "
                f"{reference.sad_mm:g}"
            )
        if not 0 <= depth <= 400:
            raise BeamDataError(f"{self.where}: depth_mm is {depth:g}; it must lie between 0 and 400")
        geometry = BeamGeometry(field, ssd)
        if self.curve == "depth_dose":
            self._same("x_mm", 0.0)
            return ("depth_dose", geometry, None), depth, value
        return ("profile", geometry, depth), self._needed("x_mm"), value

    def _needed(self, name: str) -> float:
        value = self.number[name]
        if value is None:
            raise BeamDataError(f"{self.where}: {name} is missing; a {self.curve} needs it")
        return value

    def _same(self, name: str, expected: float) -> None:
        value = self.number[name]
        if value is not None and abs(value - expected) > 0.1:
            raise BeamDataError(
                f"{self.where}: {name} of a {self.curve} is {value:g}; it must be {expected:g} or empty"
            )


def _points(path: Path) -> list[_Point]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise BeamDataError(f"there is no file {path}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise BeamDataError(f"{path} cannot be read: {error}") from None
    rows = csv.reader(text.splitlines())
    header = [name.strip() for name in next(rows, [])]
    if header != list(COLUMNS):
        raise BeamDataError(f"{path} must begin with the line {','.join(COLUMNS)}, not {','.join(header)!r}")
    return [_point(row, f"{path}, line {line}") for line, row in enumerate(rows, start=2) if any(map(str.strip, row))]


def _point(row: Sequence[str], where: str) -> _Point:
    if len(row) != len(COLUMNS):
        raise BeamDataError(f"{where}: there are {len(row)} values, not {len(COLUMNS)}")
    curve = row[0].strip()
    if curve not in ("depth_dose", "output", "profile"):
        raise BeamDataError(f"{where}: curve must be depth_dose, output or profile, not {curve!r}")
    return _Point(
        where, curve, {name: _number(text, name, where) for name, text in zip(COLUMNS[1:], row[1:], strict=True)}
    )


def _number(text: str, name: str, where: str) -> float | None:
    if not text.strip():
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise BeamDataError(f"{where}: {name} must be a finite number, not {text.strip()!r}")
    return value


# ------------------------------------------------------------------------------------------------- curves


def _curve(key: tuple[str, BeamGeometry, float | None], points: list[tuple[float, float]]) -> MeasuredCurve:
    _, geometry, depth = key
    position, value = np.array(sorted(points)).T
    curve = MeasuredCurve(geometry, depth, position, value)
    if len(points) < FEWEST_POINTS:
        raise BeamDataError(f"the {curve} has {len(points)} points; {FEWEST_POINTS} are needed")
    twice = np.flatnonzero(np.diff(position) <= 0)
    if twice.size:
        raise BeamDataError(f"the {curve} has two values at {position[twice[0]]:g} mm")
    return curve


def _checked_depth_dose(curve: MeasuredCurve, reference: ReferenceField) -> MeasuredCurve:
    depth, value = curve.position_mm, curve.value
    if not depth[0] <= reference.depth_mm <= depth[-1]:
        raise BeamDataError(
            f"the {curve} reaches from {depth[0]:g} to {depth[-1]:g} mm, and lacks the depth of reference, "
            f"{reference.depth_mm:g} mm"
        )
    highest = int(value.argmax())
    rising = highest + np.flatnonzero(np.diff(value[highest:]) >= 0)
    if rising.size or highest == len(value) - 1:
        at = depth[rising[0]] if rising.size else depth[-2]
        raise BeamDataError(f"the {curve} does not fall from {at:g} mm on; doses must fall below their maximum")
    return MeasuredCurve(curve.geometry, None, depth, value / np.interp(reference.depth_mm, depth, value))


def _checked_profile(curve: MeasuredCurve) -> MeasuredCurve:
    x = curve.position_mm
    if not x[0] <= 0 <= x[-1]:
        raise BeamDataError(f"the {curve} reaches from {x[0]:g} to {x[-1]:g} mm, and lacks the axis")
    value = curve.value / np.interp(0.0, x, curve.value)
    if value.min() > 0.4:
        raise BeamDataError(f"the {curve} does not fall below 40 % of the axis: it must show an edge of the field")
    return MeasuredCurve(curve.geometry, curve.depth_mm, x, value)


def _checked_outputs(points: dict[float, list[tuple[float, float]]], reference: ReferenceField) -> dict[float, float]:
    if not points:
        return {}
    for field, values in points.items():
        if len(values) > 1:
            raise BeamDataError(f"there are {len(values)} output factors of the {field:g} mm field")
    if reference.field_mm not in points:
        known = ", ".join(f"{field:g}" for field in sorted(points))
        raise BeamDataError(
            f"output factors are of fields of {known} mm; that of the reference field, {reference.field_mm:g} mm, is "
            "missing"
        )
    unit = points[reference.field_mm][0][1]
    return {field: values[0][1] / unit for field, values in points.items()}
