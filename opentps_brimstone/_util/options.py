"""Options of a calculation, each described once: default, bounds and text."""

from __future__ import annotations

import dataclasses
import textwrap
from collections.abc import Callable
from typing import Any

__all__ = ["POSITIVE", "Bounds", "Options", "above", "at_least", "each", "one_of", "option", "or_none"]

_WIDTH = 120


@dataclasses.dataclass(frozen=True)
class Bounds:
    """A condition on a value.

    Attributes
    ----------
    text : str
        What the value must be, such as "at least 1".
    hold : callable
        Whether a value fulfills it.
    """

    text: str
    hold: Callable[[Any], bool]


POSITIVE = Bounds("positive", lambda value: value > 0)
"""Above 0."""

_ANY = Bounds("", lambda _: True)


def above(low: float) -> Bounds:
    """Require a number above a limit."""
    return Bounds(f"above {low:g}", lambda value: value > low)


def at_least(low: float) -> Bounds:
    """Require a number of at least a limit."""
    return Bounds(f"at least {low:g}", lambda value: value >= low)


def one_of(*choices: str) -> Bounds:
    """Require one of some texts."""
    return Bounds(f"one of {choices}", lambda value: value in choices)


def or_none(bounds: Bounds) -> Bounds:
    """Allow None, too."""
    return Bounds(f"None or {bounds.text}", lambda value: value is None or bounds.hold(value))


def each(bounds: Bounds) -> Bounds:
    """Require the same of a number, or of all numbers of a sequence."""
    return Bounds(
        bounds.text,
        lambda value: all(bounds.hold(item) for item in (value if isinstance(value, tuple | list) else (value,))),
    )


def option(default: Any, text: str, bounds: Bounds = _ANY) -> Any:
    """Describe a field of `Options`, with the text for the documentation."""
    return dataclasses.field(default=default, metadata={"text": text, "bounds": bounds})


class Options:
    """Base of frozen dataclasses whose fields are made by `option`: documents, checks and shows them."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        entries = [_entry(name, kind, vars(cls)[name]) for name, kind in cls.__annotations__.items()]
        head, examples, rest = (cls.__doc__ or "").partition("\n    Examples\n")
        cls.__doc__ = f"{head.rstrip()}\n\n    Attributes\n    ----------\n{''.join(entries)}{examples}{rest}"

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):  # type: ignore[arg-type]
            bounds = field.metadata["bounds"]
            self._require(field.name, bounds.hold(getattr(self, field.name)), bounds.text)

    def _require(self, name: str, holds: bool, rule: str) -> None:
        if not holds:
            raise ValueError(f"{name} is {getattr(self, name)!r}; it must be {rule}")

    def __repr__(self) -> str:
        """Name the options that differ from their defaults."""
        changed = [
            f"{field.name}={value!r}"
            for field in dataclasses.fields(self)  # type: ignore[arg-type]
            if (value := getattr(self, field.name)) != field.default
        ]
        return f"{type(self).__name__}({', '.join(changed)})"


def _entry(name: str, kind: str, field: dataclasses.Field[Any]) -> str:
    """Describe an option as numpydoc does."""
    bounds = field.metadata["bounds"].text
    text = field.metadata["text"] + (f" Must be {bounds}." if bounds else "")
    lines = textwrap.wrap(text, _WIDTH, initial_indent=8 * " ", subsequent_indent=8 * " ")
    return "\n".join([f"    {name} : {kind.replace(' | ', ' or ')}, default {field.default!r}", *lines, ""])
