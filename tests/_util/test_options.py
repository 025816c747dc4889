from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from opentps_brimstone._util.options import POSITIVE, Options, above, at_least, each, one_of, option, or_none


@dataclass(frozen=True, repr=False)
class Example(Options):
    """An example.

    Examples
    --------
    >>> Example()
    Example()
    """

    width: float = option(2.0, "How wide.", POSITIVE)
    factor: float = option(4.0, "How much more.", above(1))
    sizes: float | tuple[float, ...] = option(1.0, "One, or one each.", each(at_least(0.5)))
    way: str = option("left", "Where to.", one_of("left", "right"))
    start: int | None = option(None, "Where from.", or_none(at_least(0)))
    flag: bool = option(True, "Whether.")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"width": 0.0}, "width is 0.0; it must be positive"),
        ({"width": float("nan")}, "width is nan; it must be positive"),
        ({"factor": 1.0}, "factor is 1.0; it must be above 1"),
        ({"sizes": 0.4}, "sizes is 0.4; it must be at least 0.5"),
        ({"sizes": (1.0, 0.0)}, r"sizes is \(1.0, 0.0\); it must be at least 0.5"),
        ({"way": "up"}, r"way is 'up'; it must be one of \('left', 'right'\)"),
        ({"start": -1}, "start is -1; it must be None or at least 0"),
    ],
)
def test_an_option_out_of_its_bounds_is_named(change, message):
    with pytest.raises(ValueError, match=message):
        Example(**change)
    with pytest.raises(ValueError, match=message):
        replace(Example(), **change)


def test_values_within_their_bounds_are_taken():
    made = Example(width=1e-9, factor=1.1, sizes=(0.5, 3.0), way="right", start=0, flag=False)
    assert (made.width, made.sizes, made.start) == (1e-9, (0.5, 3.0), 0)


def test_only_what_differs_from_the_defaults_is_shown():
    assert repr(Example()) == "Example()"
    assert repr(Example(way="right", start=2)) == "Example(way='right', start=2)"


def test_every_option_is_documented_with_type_default_and_bounds_before_the_examples():
    text = Example.__doc__
    assert text.index("Attributes") < text.index("width : float, default 2.0") < text.index("Examples")
    assert "        How wide. Must be positive.\n" in text
    assert "sizes : float or tuple[float, ...], default 1.0" in text
    assert "        Whether.\n" in text
    assert text.rstrip().endswith("Example()")
