"""Checked values of an RT Plan file that may be damaged, with errors that name the place."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from opentps_brimstone._typing import FloatArray
from opentps_brimstone.dicom.errors import DicomError
from opentps_brimstone.dicom.tags import tag_name, value_of

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

__all__ = ["Item", "Place", "RTPlanError"]


class RTPlanError(DicomError):
    """An RT Plan file that is damaged, or that holds what OpenTPS's photon plans cannot.

    Attributes
    ----------
    path : str
        The file.
    beam : str or None
        Number and name of the beam, as ``2 ('left')``.
    control_point : int or None
        Counted from 0, as in the file.
    tag : str or None
        Name and number of the element, as ``GantryAngle (300A,011E)``.
    """

    def __init__(self, message: str, path: str, beam: str | None, control_point: int | None, tag: str | None) -> None:
        self.path = path
        self.beam = beam
        self.control_point = control_point
        self.tag = tag
        place = path
        if beam is not None:
            place += f", beam {beam}"
        if control_point is not None:
            place += f", control point {control_point}"
        super().__init__(f"{place}: {tag} {message}" if tag else f"{place}: {message}")


@dataclass(frozen=True)
class Place:
    """Place of a value in a file."""

    path: str
    beam: str | None = None
    control_point: int | None = None

    def error(self, message: str, keyword: str | None = None) -> RTPlanError:
        """Make an error at this place; with a keyword, the message continues from the element's name."""
        return RTPlanError(message, self.path, self.beam, self.control_point, keyword and tag_name(keyword))

    def at(self, *, beam: str | None = None, control_point: int | None = None) -> Place:
        """Return a place inside this one."""
        return replace(self, beam=beam or self.beam, control_point=control_point)


@dataclass(frozen=True)
class Item:
    """A dataset or an item of a sequence, whose values are checked when they are read.

    If a value is missing or empty, the methods return their `default` or None. If it is invalid in any way, they raise
    RTPlanError.
    """

    dataset: Dataset
    place: Place

    def at(self, *, beam: str | None = None, control_point: int | None = None) -> Item:
        """Return the same item with a more precise place."""
        return Item(self.dataset, self.place.at(beam=beam, control_point=control_point))

    def error(self, message: str, keyword: str | None = None) -> RTPlanError:
        """Make an error in this item."""
        return self.place.error(message, keyword)

    def _value(self, keyword: str, *, numeric: bool = False) -> Any:
        # pydicom decodes when a value is asked for, and a damaged one may raise anything.
        try:
            value = value_of(self.dataset, keyword, numeric=numeric)
            empty = value is None or (hasattr(value, "__len__") and len(value) == 0)
        except Exception as error:
            raise self.error(f"cannot be decoded: {error}", keyword) from error
        return None if empty else value

    def text(self, keyword: str, default: str = "") -> str:
        """Read one line of printable text."""
        value = self._value(keyword)
        if value is None:
            return default
        if isinstance(value, bytes | Sequence) and not isinstance(value, str):
            raise self.error(f"must be a text, got {_shown(value)}", keyword)
        try:
            return "".join(letter if letter.isprintable() else " " for letter in str(value)).strip()
        except Exception as error:
            raise self.error(f"cannot be decoded: {error}", keyword) from error

    def numbers(self, keyword: str, count: int | None = None, limit: float = 1e9) -> FloatArray | None:
        """Read finite numbers between -limit and limit, `count` of them if it is given."""
        value = self._value(keyword, numeric=True)
        if value is None:
            return None
        value = value.tolist() if isinstance(value, np.ndarray) else value
        several = isinstance(value, Sequence) and not isinstance(value, str | bytes)
        values = list(value) if several else [value]
        numbers = [_number(part) for part in values]
        for number, part in zip(numbers, values, strict=True):
            if number is None or not abs(number) <= limit:
                raise self.error(f"must hold numbers between {-limit:g} and {limit:g}, got {_shown(part)}", keyword)
        if count is not None and len(numbers) != count:
            raise self.error(f"must hold {count} numbers, got {len(numbers)}", keyword)
        return np.array(numbers, dtype=np.float64)

    def number(self, keyword: str, limit: float = 1e9) -> float | None:
        """Read one finite number."""
        numbers = self.numbers(keyword, 1, limit)
        return None if numbers is None else float(numbers[0])

    def integer(self, keyword: str, lowest: int, highest: int = 2**31 - 1) -> int | None:
        """Read one integer."""
        number = self.number(keyword)
        if number is None:
            return None
        if number != int(number) or not lowest <= number <= highest:
            raise self.error(f"must be an integer from {lowest} to {highest}, got {number:g}", keyword)
        return int(number)

    def items(self, keyword: str) -> list[Item]:
        """Read the items of a sequence."""
        from pydicom.sequence import Sequence as DicomSequence

        value = self._value(keyword)
        if value is None:
            return []
        if not isinstance(value, DicomSequence):
            raise self.error(f"must be a sequence, got {_shown(value)}", keyword)
        return [Item(dataset, self.place) for dataset in value]


def _number(value: Any) -> float | None:
    if isinstance(value, bytes | bool):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _shown(value: Any) -> str:
    """Format a value for an error, shortened."""
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return f"{len(value)} values"
    shown = repr(value)
    return shown if len(shown) <= 40 else f"{shown[:37]}..."
