from __future__ import annotations

import re

import numpy as np
import pytest

from opentps_brimstone._util.tables import Html, html_table, sparkline


def points(svg: str) -> np.ndarray:
    text = re.search(r'points="([^"]*)"', svg)[1]
    return np.array([[float(number) for number in point.split(",")] for point in text.split()])


def test_text_is_escaped_and_html_is_not():
    table = html_table(("<a>",), [("x & y",), (Html("<i>z</i>"),)], caption="b < c")
    assert isinstance(table, Html)
    for text in ("&lt;a&gt;", "x &amp; y", "<i>z</i>", "b &lt; c"):
        assert text in table


def test_a_curve_fills_its_box_and_falls_where_the_values_do():
    x, y = points(sparkline([0, 5, 10], [1.0, 0.75, 0.0])).T
    assert (x[0], x[-1], y[0], y[-1]) == (1, 119, 1, 23)
    assert x[1] == 60
    assert y[1] == pytest.approx(1 + 22 / 4)


def test_a_constant_curve_is_a_line():
    assert len(set(points(sparkline([0, 1, 2], [3, 3, 3]))[:, 1])) == 1
