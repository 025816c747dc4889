"""Tables as text, for a terminal, and as HTML, for notebooks and pages."""

from __future__ import annotations

import html
from collections.abc import Sequence

__all__ = ["FAIL_COLOR", "PASS_COLOR", "format_table", "html_table"]

PASS_COLOR, FAIL_COLOR = "#DDF1E4", "#F8D7CC"
"""Backgrounds of goals that are met and that are not."""

_CELL = "padding:3px 10px;text-align:left;border:1px solid #ccc"


def format_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lay out rows of text below column names.

    Parameters
    ----------
    columns : sequence of str
    rows : sequence of sequence of str
        As many entries each as there are columns.

    Returns
    -------
    str
        Without a newline at its end.
    """
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
) -> str:
    """Lay out rows of text as an HTML table that brings its own style.

    Parameters
    ----------
    columns : sequence of str
    rows : sequence of sequence of str
        As many entries each as there are columns; special characters are escaped.
    fills : sequence of str or None, optional
        Background of each row, such as "#DDF1E4".
    caption : str

    Returns
    -------
    str
    """
    head = "".join(f'<th style="{_CELL};background:#e6e6e6;color:#111">{html.escape(name)}</th>' for name in columns)
    lines = [f"<tr>{head}</tr>"]
    for row, fill in zip(rows, fills or [None] * len(rows), strict=True):
        style = f"{_CELL};background:{fill};color:#111" if fill else _CELL
        cells = "".join(f'<td style="{style}">{html.escape(text)}</td>' for _, text in zip(columns, row, strict=True))
        lines.append(f"<tr>{cells}</tr>")
    title = f'<caption style="text-align:left;font-weight:bold">{html.escape(caption)}</caption>' if caption else ""
    return f'<table style="border-collapse:collapse">{title}' + "\n".join(lines) + "</table>"
