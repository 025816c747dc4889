"""A beam model fitted to measured data, as a file with a picture."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from opentps_brimstone._util.run_options import RunOptions

if TYPE_CHECKING:
    from opentps_brimstone.engine.beam_fit import BeamFit, Comparison

__all__ = ["fit_beam_model_file", "fit_figure"]

_log = logging.getLogger(__name__)

_AXES = {
    "depth doses": ("depth (mm)", "dose / dose at the reference depth"),
    "output factors": ("side of the field (mm)", "output / reference field"),
    "profiles": ("x (mm)", "dose / axis"),
}


def fit_beam_model_file(
    measured: str | Path,
    out: str | Path,
    *,
    start: str | Path = "Kernels_6MV",
    force: bool = False,
    options: RunOptions | None = None,
) -> BeamFit:
    """Fit a beam model to measured data, write it, and draw measured beside computed.

    Parameters
    ----------
    measured : str or Path
        CSV file, as for `opentps_brimstone.engine.measured_beam.read_measured_beam`.
    out : str or Path
        TOML file to write; its name is that of the model. The picture is beside it, as PNG.
    start : str or Path
        Beam model to start from, whose collimator and output are kept.
    force : bool
        Replace existing files.
    options : RunOptions, optional

    Returns
    -------
    BeamFit

    Raises
    ------
    BeamModelError, BeamDataError
        Before the fit: if the start or the data cannot be read or used.
    OSError
        Before the fit: if a file exists and `force` is not given, or there is no folder for it.
    BeamFitError
        If no fit reaches the data; nothing is written.
    """
    from opentps_brimstone.engine.beam_fit import fit_beam_model
    from opentps_brimstone.engine.beam_model import beam_model_text, read_beam_model
    from opentps_brimstone.engine.measured_beam import read_measured_beam

    options = options or RunOptions()
    target = Path(out)
    picture = target.with_suffix(".png")
    if target.suffix != ".toml":
        raise ValueError(f"a beam model is a TOML file: name it {target.with_suffix('.toml')}, not {target}")
    for path in (target, picture):
        if path.exists() and not force:
            raise FileExistsError(f"{path} exists; give another name, or force it to be replaced")
    if not target.absolute().parent.is_dir():
        raise FileNotFoundError(f"the folder {target.absolute().parent} of the file to write does not exist")
    model = read_beam_model(start)
    data = read_measured_beam(measured, model.output)
    fit = fit_beam_model(
        data, model, name=target.stem, threads=options.threads, progress=lambda n: _log.debug("dose %d of the fit", n)
    )
    target.write_text(beam_model_text(fit.model), encoding="utf-8")
    fit_figure(fit.comparisons).savefig(picture)
    _log.info("%s", fit)
    return fit


def fit_figure(comparisons: tuple[Comparison, ...]) -> Any:
    """Draw measured and computed curves, a panel for each kind.

    Parameters
    ----------
    comparisons : tuple of Comparison

    Returns
    -------
    matplotlib Figure
    """
    from matplotlib.figure import Figure

    from opentps_brimstone.visualization import plot_measured_and_computed

    kinds = list(dict.fromkeys(each.kind for each in comparisons))
    figure = Figure(figsize=(5.5 * len(kinds), 4.5), layout="constrained", dpi=110)
    for ax, kind in zip(figure.subplots(1, len(kinds), squeeze=False)[0], kinds, strict=True):
        curves = [
            (each.name, each.position_mm, each.measured, each.computed) for each in comparisons if each.kind == kind
        ]
        plot_measured_and_computed(ax, curves)
        ax.set(xlabel=_AXES[kind][0], ylabel=_AXES[kind][1], title=kind.capitalize())
    return figure
