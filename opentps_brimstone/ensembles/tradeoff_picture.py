"""The scatter matrix of a trade-off."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from opentps_brimstone.ensembles.tradeoff import MixedPlan, Tradeoff

__all__ = ["plot_tradeoff"]

_PANEL_INCHES = 2.9
_LEFT_OUT = "0.8"
_COLORS = "viridis"


def plot_tradeoff(tradeoff: Tradeoff, figure: Figure | None = None, *, mixed: MixedPlan | None = None) -> Figure:
    """Draw every criterion against every other one, colored by the first; plans that were left out are gray.

    Parameters
    ----------
    tradeoff : Tradeoff
    figure : Figure, optional
        Default: a new one.
    mixed : MixedPlan, optional
        Shown as a star.

    Returns
    -------
    Figure

    Examples
    --------
    >>> from opentps_brimstone.ensembles.example import three_voxel_tradeoff
    >>> figure = plot_tradeoff(three_voxel_tradeoff())
    >>> figure.axes[0].get_xlabel(), figure.axes[0].get_ylabel()
    ('PTV Dmin (Gy), more is better', 'Cord Dmax (Gy), less is better')
    """
    from matplotlib.figure import Figure

    criteria = tradeoff.criteria
    count = len(criteria) - 1
    if figure is None:
        size = (_PANEL_INCHES * count + 1.4, _PANEL_INCHES * count + 0.4)
        figure = Figure(figsize=size, layout="constrained", facecolor="white")
    axes = figure.subplots(count, count, squeeze=False, sharex="col", sharey="row")
    points = None
    for row in range(count):
        for column in range(count):
            ax = axes[row, column]
            if column > row:
                ax.set_visible(False)
                continue
            x, y = column, row + 1
            ax.scatter(*tradeoff.dominated[:, [x, y]].T, s=12, color=_LEFT_OUT, zorder=1)
            points = ax.scatter(
                *tradeoff.values[:, [x, y]].T,
                s=22,
                c=tradeoff.values[:, 0],
                cmap=_COLORS,
                edgecolor="0.2",
                linewidth=0.4,
            )
            if mixed is not None:
                values = np.array(list(mixed.values.values()))
                ax.scatter(values[x], values[y], marker="*", s=190, color="#D55E00", edgecolor="white", zorder=4)
            ax.grid(True, color="0.92", linewidth=0.8)
            ax.set_axisbelow(True)
            if row == count - 1:
                ax.set_xlabel(_arrow(criteria[x].label, criteria[x].sign))
            if column == 0:
                ax.set_ylabel(_arrow(criteria[y].label, criteria[y].sign))
    assert points is not None
    bar = figure.colorbar(points, ax=list(axes.ravel()), shrink=0.85, pad=0.02)
    bar.set_label(criteria[0].label)
    figure.suptitle(tradeoff.summary, fontsize=11)
    return figure


def _arrow(label: str, sign: float) -> str:
    """Say which way is better."""
    return f"{label}, {'less' if sign > 0 else 'more'} is better"
