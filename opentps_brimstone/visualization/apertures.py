"""Plots of apertures and of the fluence that they deliver, in the beam's eye view.

Each plot draws on the axes or figure that it is given and does not deal with files or windows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from opentps_brimstone.sequencing.segments import Aperture, SequencedBeam

_LEAF_COLOR = "#8A94A0"
_LEAF_EDGE = "#5A636E"
_JAW_COLOR = "#E69F00"
_MARGIN_MM = 12.0


def _extent(beam: SequencedBeam) -> tuple[float, float, float, float]:
    """Return the left, right, lower and upper edge of the beamlet grid."""
    width, height = beam.spacing_mm
    return (
        float(beam.x_mm[0] - width / 2),
        float(beam.x_mm[-1] + width / 2),
        float(beam.y_mm[0] - height / 2),
        float(beam.y_mm[-1] + height / 2),
    )


def plot_aperture(beam: SequencedBeam, aperture: Aperture, *, label: str | None = None, ax: Axes) -> None:
    """Plot the leaves and jaws of one of a beam's apertures over its fluence; a label precedes the MU in the title."""
    from matplotlib.collections import PatchCollection
    from matplotlib.patches import Rectangle

    left, right, low, high = _extent(beam)
    ax.imshow(
        beam.wanted,
        origin="lower",
        extent=(left, right, low, high),
        cmap="viridis",
        vmin=0.0,
        vmax=max(float(beam.wanted.max()), 1e-9),
        interpolation="nearest",
    )
    view = (left - _MARGIN_MM, right + _MARGIN_MM, low - _MARGIN_MM, high + _MARGIN_MM)
    boundaries = np.asarray(beam.mlc.leaf_boundaries_mm)
    seen = np.flatnonzero((boundaries[1:] > view[2]) & (boundaries[:-1] < view[3]))
    blocks = []
    for pair in seen:
        lower, tall = boundaries[pair], boundaries[pair + 1] - boundaries[pair]
        tips = np.clip([aperture.left_mm[pair], aperture.right_mm[pair]], view[0], view[1])
        blocks.append(Rectangle((view[0], lower), tips[0] - view[0], tall))
        blocks.append(Rectangle((tips[1], lower), view[1] - tips[1], tall))
    ax.add_collection(PatchCollection(blocks, facecolor=_LEAF_COLOR, edgecolor=_LEAF_EDGE, linewidth=0.4, alpha=0.88))
    if beam.jaws.x_mm is not None:
        for position in beam.jaws.x_mm:
            ax.axvline(position, color=_JAW_COLOR, linewidth=1.2)
    if beam.jaws.y_mm is not None:
        for position in beam.jaws.y_mm:
            ax.axhline(position, color=_JAW_COLOR, linewidth=1.2)
    ax.set_xlim(view[0], view[1])
    ax.set_ylim(view[2], view[3])
    ax.set_aspect("equal")
    ax.set_title(f"{label + ': ' if label else ''}{aperture.mu:.3g} MU", fontsize="small")
    ax.tick_params(labelsize="x-small")


def plot_apertures(beam: SequencedBeam, *, columns: int = 5, figure: Figure) -> None:
    """Plot all apertures of a beam, in the order of delivery."""
    number = len(beam.apertures)
    figure.suptitle(
        f"Beam {beam.beam_index + 1}: {number} apertures of {beam.mlc.name}, {beam.mu:.4g} MU per fraction, "
        "beam's eye view",
        fontsize="medium",
    )
    if not number:
        return
    across = min(columns, number)
    axes = figure.subplots(-(-number // across), across, squeeze=False, sharex=True, sharey=True)
    for place, ax in enumerate(axes.flat):
        if place >= number:
            ax.set_visible(False)
            continue
        plot_aperture(beam, beam.apertures[place], label=str(place + 1), ax=ax)
        if place % across == 0:
            ax.set_ylabel("y (mm)", fontsize="small")
        if place + across >= number:
            ax.set_xlabel("x (mm)", fontsize="small")
            ax.tick_params(labelbottom=True)


def plot_fluence_comparison(beam: SequencedBeam, *, figure: Figure) -> None:
    """Plot the fluence to deliver, the fluence that the apertures deliver, and the difference."""
    delivered = beam.delivered
    difference = delivered - beam.wanted
    highest = max(float(beam.wanted.max()), float(delivered.max()), 1e-9)
    furthest = max(float(np.abs(difference).max()), 0.01 * highest)
    rms = float(np.sqrt(np.mean(difference**2)))
    panels = (
        ("wanted", beam.wanted, "viridis", 0.0, highest),
        ("delivered", delivered, "viridis", 0.0, highest),
        ("delivered less wanted", difference, "RdBu_r", -furthest, furthest),
    )
    axes = figure.subplots(1, 3, sharex=True, sharey=True)
    for ax, (title, values, colors, least, most) in zip(axes, panels, strict=True):
        image = ax.imshow(
            values, origin="lower", extent=_extent(beam), cmap=colors, vmin=least, vmax=most, interpolation="nearest"
        )
        bar = figure.colorbar(image, ax=ax, shrink=0.8)
        bar.set_label("MU per fraction", fontsize="small")
        ax.set_title(title, fontsize="medium")
        ax.set_xlabel("x (mm)", fontsize="small")
    axes[0].set_ylabel("y (mm)", fontsize="small")
    figure.suptitle(
        f"Beam {beam.beam_index + 1}: fluence in beam's eye view, {len(beam.apertures)} apertures, "
        f"rms difference {rms:.3g} MU ({100 * rms / highest:.2g} % of the maximum)",
        fontsize="medium",
    )
