"""Plots on given axes, and a live view of an optimization."""

from __future__ import annotations

from opentps_brimstone.visualization.live import VisualizationCallback
from opentps_brimstone.visualization.plots import (
    ISODOSES_PERCENT,
    PLANES,
    DVHBand,
    plot_convergence,
    plot_dose_wash,
    plot_dvh,
    plot_dvh_bands,
    plot_dvh_curves,
    plot_fluence,
    plot_isodose_bar,
    plot_isodose_legend,
    plot_measured_and_computed,
    structure_colors,
)

__all__ = [
    "ISODOSES_PERCENT",
    "PLANES",
    "DVHBand",
    "VisualizationCallback",
    "plot_convergence",
    "plot_dose_wash",
    "plot_dvh",
    "plot_dvh_bands",
    "plot_dvh_curves",
    "plot_fluence",
    "plot_isodose_bar",
    "plot_isodose_legend",
    "plot_measured_and_computed",
    "structure_colors",
]
