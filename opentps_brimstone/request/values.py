"""What the values of a prescription file may be: functions that return a value, or raise ValueError saying why not."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from opentps_brimstone.evaluation import DVHGoal

Check = Callable[[Any], Any]


def described(value: Any) -> str:
    """Say what kind of value was found, in the words of a message."""
    names = {str: "text", bool: "true or false", list: "a list", dict: "a table", int: "a number", float: "a number"}
    kind = names.get(type(value), "a date or time")
    return f"{value!r} is {kind}" if not isinstance(value, list | dict) else f"this is {kind}"


def _of_type(value: Any, kind: type, what: str) -> Any:
    if not isinstance(value, kind):
        raise ValueError(f"{described(value)}; it must be {what}")
    return value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def number(
    low: float = -math.inf, high: float = math.inf, *, above: float | None = None, unit: str = "", whole: bool = False
) -> Check:
    """Check for a finite number inside bounds, of the unit that the message names."""
    bounds = []
    if above is not None:
        bounds.append(f"above {above:g}")
    if math.isfinite(low) and math.isfinite(high):
        bounds.append(f"from {low:g} to {high:g}")
    elif math.isfinite(low):
        bounds.append(f"{low:g} or more")
    elif math.isfinite(high):
        bounds.append(f"at most {high:g}")
    kind = f"a {'whole ' if whole else ''}number{' of ' + unit if unit else ''}"
    allowed = ", ".join([kind, *bounds])

    def check(value: Any) -> Any:
        if not _is_number(value) or (whole and not isinstance(value, int)):
            raise ValueError(f"{described(value)}; it must be {allowed}")
        try:
            found = float(value)
        except OverflowError:  # of a whole number with hundreds of digits
            found = math.inf
        if not (math.isfinite(found) and low <= found <= high and (above is None or found > above)):
            raise ValueError(f"this is {value if math.isfinite(found) else found}; it must be {allowed}")
        return value if whole else found

    return check


def choice(*allowed: str) -> Check:
    """Check for one of some texts."""

    def check(value: Any) -> str:
        if not isinstance(value, str) or value not in allowed:
            raise ValueError(f"this is {value!r}; it may be {', '.join(map(repr, allowed))}")
        return value

    return check


def nonempty_text(value: Any) -> str:
    """Return a text that is not blank."""
    text: str = _of_type(value, str, "text in quotes")
    if not text.strip():
        raise ValueError("this is empty; it must be some text")
    return text


def short_text(longest: int) -> Check:
    """Check for a text of at most so many letters."""

    def check(value: Any) -> str:
        text = nonempty_text(value)
        if len(text) > longest:
            raise ValueError(f"{text!r} has {len(text)} letters; DICOM has room for {longest}")
        return text

    return check


def truth(value: Any) -> bool:
    """Return true or false."""
    return bool(_of_type(value, bool, "true or false"))


def several(count: int, each: Check, what: str) -> Check:
    """Check for a list of a length, each item by itself; `what` is what the message calls it."""

    def check(value: Any) -> tuple[Any, ...]:
        if not isinstance(value, list) or len(value) != count:
            found = f"a list of {len(value)}" if isinstance(value, list) else described(value)
            raise ValueError(f"{found}; it must be {what}")
        return tuple(each(item) for item in value)

    return check


def texts(value: Any) -> tuple[str, ...]:
    """Return a list of texts that are not blank."""
    if not isinstance(value, list) or not value:
        found = "this is empty" if value == [] else described(value)
        raise ValueError(f"{found}; it must be a list of texts in quotes")
    return tuple(nonempty_text(item) for item in value)


def grid_spacing(value: Any) -> Any:
    """Return a voxel spacing: a number of mm, or three."""
    size = number(above=0, unit="mm")
    return several(3, size, "a number of mm, or three [x, y, z]")(value) if isinstance(value, list) else size(value)


def points(value: Any) -> list[tuple[float, float]]:
    """Return the points of a DVH."""
    pair = several(2, number(), "a pair [dose in Gy, volume share]")
    return [pair(point) for point in _of_type(value, list, "a list of [dose in Gy, volume share] pairs")]


def like(default: Any) -> Check:
    """Check the type of a setting by that of its default; its range is checked where it is used."""
    if isinstance(default, bool):
        return truth
    if isinstance(default, str):
        return nonempty_text
    if default is None or isinstance(default, int):
        return number(whole=True)
    one = number(whole=isinstance(default, tuple) and all(isinstance(item, int) for item in default))

    def check(value: Any) -> Any:
        if isinstance(value, list):
            return tuple(one(item) for item in value)
        if isinstance(default, tuple):
            raise ValueError(f"{described(value)}; it must be a list of numbers")
        return one(value)

    return check


def dvh_goal(value: Any) -> DVHGoal:
    """Return a goal, such as ``PTV D95 >= 50 Gy``."""
    return DVHGoal.parse(nonempty_text(value))
