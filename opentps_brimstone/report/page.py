"""What all HTML pages have in common: one file that needs nothing else, with its pictures inside."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from opentps_brimstone.evaluation.goals import FAIL_COLOR, PASS_COLOR

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Table", "data_uri", "figure_of", "rendered"]

_NOTICE = (
    "Made by research software that is not a medical device. Nothing here may be used to treat a patient: machine "
    "model, dose and monitor units are not commissioned for any machine."
)
_DOTS_PER_INCH = 110


class Table(NamedTuple):
    """Cells of a table, the heads of its columns, and the color behind each row."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    fills: Sequence[str] | None = None


def rendered(template: str, **values: Any) -> str:
    """Lay out a page of `templates`; text in it is escaped."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    pages = Environment(
        loader=PackageLoader("opentps_brimstone.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    colors = {"pass_color": PASS_COLOR, "fail_color": FAIL_COLOR}
    page: str = pages.get_template(template).render(notice=_NOTICE, **colors, **values)
    return page


def figure_of(width: float, height: float) -> Figure:
    """Make a figure of so many inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained", facecolor="white")


def data_uri(figure: Figure, kind: str = "png") -> str:
    """Encode a figure as the address of an image that holds it."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind, dpi=_DOTS_PER_INCH, metadata={"Date": None} if kind == "svg" else None)
    mime = "image/svg+xml" if kind == "svg" else "image/png"
    return f"data:{mime};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
