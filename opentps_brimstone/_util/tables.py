"""Tables as text, for a terminal, and as HTML with small curves, for notebooks and pages."""

from __future__ import annotations

import html
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

__all__ = ["Html", "format_table", "html_table", "sparkline"]

_CELL = "padding:3px 10px;text-align:left;border:1px solid #ccc"
_SPARKLINE_PX = (120, 24)


class Html(str):
    """Text that is HTML already: `html_table` does not escape it."""

    __slots__ = ()


def format_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lay out rows of text, with an entry for each column, below column names; there is no newline at the end."""
    widths = [max(len(row[i]) for row in (columns, *rows)) for i in range(len(columns))]
    lines = [columns, ["-" * width for width in widths], *rows]
    return "\n".join(
        "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def html_table(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    fills: Sequence[str | None] | None = None,
    caption: str = "",
) -> Html:
    """Lay out rows of text as an HTML table that brings its own style.

    Special characters are escaped, except in `Html`. `fills` has the background of each row, such as "#DDF1E4".
    """
    head = "".join(f'<th style="{_CELL};background:#e6e6e6;color:#111">{_escaped(name)}</th>' for name in columns)
    lines = [f"<tr>{head}</tr>"]
    for row, fill in zip(rows, fills or [None] * len(rows), strict=True):
        style = f"{_CELL};background:{fill};color:#111" if fill else _CELL
        cells = "".join(f'<td style="{style}">{_escaped(text)}</td>' for _, text in zip(columns, row, strict=True))
        lines.append(f"<tr>{cells}</tr>")
    title = f'<caption style="text-align:left;font-weight:bold">{_escaped(caption)}</caption>' if caption else ""
    return Html(f'<table style="border-collapse:collapse">{title}' + "\n".join(lines) + "</table>")


def _escaped(text: str) -> str:
    return text if isinstance(text, Html) else html.escape(text)


def sparkline(x: npt.ArrayLike, y: npt.ArrayLike) -> Html:
    """Draw a curve as small as a line of text, in the color of the text, as an SVG element that it fills.

    Examples
    --------
    >>> sparkline([0, 1, 2], [1.0, 0.5, 0.0]).count("polyline")
    1
    """
    width, height = _SPARKLINE_PX
    across = 1 + (width - 2) * _scaled(x)
    down = height - 1 - (height - 2) * _scaled(y)
    points = " ".join(f"{px:.1f},{py:.1f}" for px, py in zip(across, down, strict=True))
    return Html(
        f'<svg width="{width}" height="{height}" role="img" style="vertical-align:middle">'
        f'<polyline points="{points}" fill="none" stroke="currentColor"/></svg>'
    )


def _scaled(values: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Values from 0 to 1."""
    array = np.asarray(values, dtype=np.float64)
    span = float(np.ptp(array))
    scaled: npt.NDArray[np.float64] = (array - array.min()) / span if span else np.zeros_like(array)
    return scaled
