"""Pictures of the segments of a plan."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from opentps_brimstone.sequencing import SequencedBeam

__all__ = ["save_apertures"]

_STRIP_INCHES = (22.0, 0.9, 2.0)
"""Of a beam's picture: width, and the heights of titles and of a row of apertures."""
_FLUENCE_INCHES = (9.5, 3.4)
_STRIP_DOTS_PER_INCH = 90
_APERTURES_IN_A_ROW = 7
_LEAST_ROWS = 2


def save_apertures(beams: Iterable[SequencedBeam], names: Sequence[str], path: Path) -> None:
    """Draw every beam's fluence, wanted and delivered, and its apertures, all in beam's eye view.

    Parameters
    ----------
    beams : iterable of SequencedBeam
        With at least one aperture each.
    names : sequence of str
        Names of all beams, indexed by `beam_index`.
    path : Path
        PNG file to write, one strip per beam; replaced if it exists.
    """
    from matplotlib.image import imsave

    imsave(path, np.concatenate([_beam_strip(beam, names[beam.beam_index]) for beam in beams]))


def _beam_strip(beam: SequencedBeam, name: str) -> npt.NDArray[np.uint8]:
    """Draw a beam; as a figure of its own, since laying out hundreds of axes together takes long."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from opentps_brimstone.visualization.apertures import plot_apertures, plot_fluence_comparison

    rows = -(-len(beam.apertures) // _APERTURES_IN_A_ROW)
    width, above, tall = _STRIP_INCHES
    left, top = _FLUENCE_INCHES
    height = above + tall * max(rows, _LEAST_ROWS)
    figure = Figure(
        figsize=(width, height),
        dpi=_STRIP_DOTS_PER_INCH,
        layout="constrained",
        facecolor="white",
    )
    figure.suptitle(name, x=0.006, ha="left", weight="bold", fontsize="x-large")
    halves: Any = figure.subfigures(1, 2, width_ratios=[left, width - left])
    left_half, apertures = halves
    fluence: Any = left_half.subfigures(2, 1, height_ratios=[top, height - top])[0]
    plot_fluence_comparison(beam, figure=fluence)
    plot_apertures(beam, columns=_APERTURES_IN_A_ROW, figure=apertures)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
