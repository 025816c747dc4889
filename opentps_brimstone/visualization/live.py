"""A live view of an optimization, and plots of its course."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from opentps_brimstone._typing import FloatArray
from opentps_brimstone.optimization.callbacks import Recorder
from opentps_brimstone.optimization.terms import KLDivergenceTerm
from opentps_brimstone.visualization import plots
from opentps_brimstone.visualization.views import View, open_view

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from opentps_brimstone.model.plan import Plan
    from opentps_brimstone.model.structure import Structure
    from opentps_brimstone.optimization.prescription import Prescription
    from opentps_brimstone.optimization.result import OptimizationResult

__all__ = ["VisualizationCallback"]


_OVERVIEW_INCHES = (12.5, 9.5)
_ANIMATION_INCHES = (8.0, 5.5)
_DOTS_PER_INCH = 90
_MOST_FRAMES_PER_SECOND = 50
_LAST_FRAME_MILLISECONDS = 2000
# Isodoses are in percent of the dose that is prescribed to at least this share of a target.
_PRESCRIBED_VOLUME = 0.95


class VisualizationCallback(Recorder):
    """Shows an optimization while it runs, and plots its course.

    In a notebook the figure is updated in the cell; in a script in a window, if matplotlib's backend has windows.
    Otherwise nothing is shown while it runs. Plots can be made at any time after the first iteration.

    Parameters
    ----------
    update_interval : int
        Iterations between updates of the figure, and between snapshots in the history.
    live : bool
        Show the optimization while it runs.
    prescription_gy : float, optional
        Dose that is 100 % for isodoses; by default the highest dose prescribed to 95 % of a target.

    Attributes
    ----------
    history : dict
        That of `Recorder`, with doses, DVHs and beamlet weights.

    Examples
    --------
    >>> import opentps_brimstone as pb
    >>> from opentps_brimstone.optimization.example import three_voxel_optimizer
    >>> optimizer = three_voxel_optimizer()  # of a target that is to get 9 to 11 Gy
    >>> viz = pb.VisualizationCallback(update_interval=5, live=False)
    >>> result = optimizer.optimize(callback=viz)
    >>> viz.plot_dvh().get_xlabel()
    'dose (Gy)'
    """

    def __init__(self, update_interval: int = 10, *, live: bool = True, prescription_gy: float | None = None) -> None:
        super().__init__(update_interval, doses=True, dvhs=True, weights=True)
        if prescription_gy is not None and not prescription_gy > 0:
            raise ValueError(f"the prescription is {prescription_gy} Gy; it must be positive")
        self.update_interval = self.every
        self.live = live
        self._given_prescription_gy = prescription_gy
        self._view: View | None = None

    # ---------------------------------------------------------------------------------------------------- watching

    def on_start(self, plan: Plan, prescription: Prescription) -> None:
        """Start a new history, and show an empty figure if possible."""
        super().on_start(plan, prescription)
        self._view = open_view(_OVERVIEW_INCHES) if self.live else None

    def _on_snapshot(self) -> None:
        self._show()

    def on_end(self, result: OptimizationResult) -> None:
        """Record and show the result."""
        super().on_end(result)
        self._show()

    def _show(self) -> None:
        if self._view is not None:
            self.plot_overview(self._view.figure)
            self._view.refresh(self._status())

    def _status(self, snapshot: int = -1) -> str:
        number = self.history["snapshot_iteration"][snapshot]
        place = self.history["iteration"].index(number)
        level, cost = self.history["level"][place], self.history["cost"][place]
        return f"iteration {number}, level {level}, cost {cost:.4g}"

    # ---------------------------------------------------------------------------------------------------- plotting

    def plot_overview(self, figure: Figure | None = None) -> Figure:
        """Draw convergence, dose, DVHs and the weights of the first beam on one page.

        Parameters
        ----------
        figure : matplotlib Figure, optional
            Cleared and drawn on; a new one of pyplot by default.

        Returns
        -------
        matplotlib Figure
        """
        self._planned()
        if figure is None:
            from matplotlib import pyplot

            figure = pyplot.figure(figsize=_OVERVIEW_INCHES, layout="constrained")
        figure.clear()
        axes = figure.subplots(2, 2)
        self.plot_convergence(ax=axes[0, 0])
        self.plot_dose_slice(ax=axes[0, 1])
        self.plot_dvh(ax=axes[1, 0])
        self.plot_beamlet_weights(ax=axes[1, 1])
        figure.suptitle(self._status())
        return figure

    def plot_convergence(self, ax: Axes | None = None) -> Axes:
        """Plot the cost of every iteration.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Axes of a new figure by default, as in all plots.

        Returns
        -------
        matplotlib Axes
        """
        self._planned()
        drawn: Axes = _axes(ax)
        plots.plot_convergence(self.history, ax=drawn)
        return drawn

    def plot_dose_slice(self, slice_idx: int | None = None, ax: Axes | None = None, *, plane: str = "axial") -> Axes:
        """Plot the last snapshot's dose on a slice of the CT, with the outlines of the structures.

        Parameters
        ----------
        slice_idx : int, optional
            Which slice of the dose grid, counted from 0; the middle of the targets by default.
        ax : matplotlib Axes, optional
        plane : {"axial", "coronal", "sagittal"}

        Returns
        -------
        matplotlib Axes

        Raises
        ------
        ValueError
            If the slice or plane does not exist.
        """
        plan = self._planned()
        if plane not in plots.PLANES:
            raise ValueError(f"plane {plane!r} is unknown; it may be {', '.join(plots.PLANES)}")
        grid, axis = plan.dose_influence.grid, plots.PLANES[plane].normal
        index = self._target_slice(plan, axis) if slice_idx is None else slice_idx
        if not 0 <= index < grid.shape[axis]:
            raise ValueError(f"there is no {plane} slice {index}; they are counted from 0 to {grid.shape[axis] - 1}")
        drawn: Axes = _axes(ax)
        prescription_gy = self._prescription_gy()
        plots.plot_dose_wash(
            self.history["doses"][-1],
            plan.ct_hu,
            grid,
            [structure for structure in plan.structures.values() if structure.is_on_grid],
            prescription_gy=prescription_gy,
            plane=plane,
            position_mm=grid.origin_mm[axis] + grid.spacing_mm[axis] * index,
            ax=drawn,
        )
        plots.plot_isodose_bar(prescription_gy, ax=drawn)
        return drawn

    def plot_dvh(self, structures: Sequence[Structure | str] | None = None, ax: Axes | None = None) -> Axes:
        """Plot the last snapshot's DVHs, with the target DVHs dashed.

        Parameters
        ----------
        structures : sequence of Structure or str, optional
            Structures of the plan, by their names; all by default.
        ax : matplotlib Axes, optional

        Returns
        -------
        matplotlib Axes

        Raises
        ------
        ValueError
            If a structure is unknown.
        """
        self._planned()
        drawn: Axes = _axes(ax)
        names = self._names(structures)
        self._draw_dvhs(names, -1, self._highest_gy(names, [-1]), drawn)
        return drawn

    def plot_beamlet_weights(self, beam_idx: int = 0, ax: Axes | None = None) -> Axes:
        """Plot the last snapshot's MU of a beam's beamlets, in the beam's eye view.

        Parameters
        ----------
        beam_idx : int
            Counted from 0.
        ax : matplotlib Axes, optional

        Returns
        -------
        matplotlib Axes

        Raises
        ------
        ValueError
            If the beam does not exist.
        """
        plan = self._planned()
        drawn: Axes = _axes(ax)
        layout = plan.dose_influence.layout
        beams = plan.beams
        title = beams[beam_idx].name if len(beams) == layout.n_beams and 0 <= beam_idx < len(beams) else None
        tiles = plots.plot_fluence(layout, self.history["weights"][-1], beam_idx, title=title, ax=drawn)
        drawn.figure.colorbar(tiles, ax=drawn, label="MU per fraction", shrink=0.9)
        return drawn

    def save_animation(
        self,
        path: str | Path,
        structures: Sequence[Structure | str] | None = None,
        *,
        frames_per_second: float = 5.0,
    ) -> Path:
        """Write an animated GIF of the DVHs of all snapshots.

        Parameters
        ----------
        path : str or Path
            File ending in .gif; replaced if it exists.
        structures : sequence of Structure or str, optional
            Structures of the plan, by their names; all by default.
        frames_per_second : float
            At most 50, the limit of viewers. The last frame stays for two seconds.

        Returns
        -------
        Path

        Raises
        ------
        ValueError
            If the name does not end in .gif, a structure is unknown, or nothing was optimized.
        FileNotFoundError
            If the folder does not exist.
        """
        self._planned()
        file = Path(path)
        if file.suffix.lower() != ".gif":
            raise ValueError(f"an animation is written as a GIF; the name {file.name!r} does not end in .gif")
        if not file.absolute().parent.is_dir():
            raise FileNotFoundError(f"the folder {file.parent} does not exist; {file.name} cannot be written there")
        if not 0 < frames_per_second <= _MOST_FRAMES_PER_SECOND:
            raise ValueError(
                f"there are {frames_per_second} frames per second; it must be above 0 and at most "
                f"{_MOST_FRAMES_PER_SECOND}"
            )
        names = self._names(structures)
        frames = self._dvh_frames(names)
        milliseconds = [round(1000 / frames_per_second)] * (len(frames) - 1) + [_LAST_FRAME_MILLISECONDS]
        frames[0].save(file, format="GIF", save_all=True, append_images=frames[1:], duration=milliseconds, loop=0)
        return file

    def _dvh_frames(self, names: Sequence[str]) -> list[Any]:
        """Draw the DVHs of all snapshots as Pillow images, with the same axes and legend in all."""
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
        from PIL import Image

        figure = Figure(figsize=_ANIMATION_INCHES, dpi=_DOTS_PER_INCH, layout="constrained")
        canvas, ax = FigureCanvasAgg(figure), figure.add_subplot()
        snapshots = range(len(self.history["snapshot_iteration"]))
        highest_gy = self._highest_gy(names, snapshots)
        frames = []
        for snapshot in snapshots:
            ax.clear()
            self._draw_dvhs(names, snapshot, highest_gy, ax)
            ax.set_title(self._status(snapshot))
            # Beside the curves: the best place among them changes from frame to frame.
            legend: Any = ax.get_legend()
            legend.set_loc("center left")
            legend.set_bbox_to_anchor((1.01, 0.5), ax.transAxes)
            canvas.draw()
            figure.set_layout_engine("none")
            frames.append(Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB").quantize(64))
        return frames

    # ------------------------------------------------------------------------------------------------------- parts

    def _planned(self) -> Plan:
        if self._plan is None or not self.history["snapshot_iteration"]:
            raise ValueError("there is nothing to plot yet: give this callback to PlanOptimizer.optimize first")
        return self._plan

    def _names(self, structures: Sequence[Structure | str] | None) -> list[str]:
        known = list(self.history["dvhs"])
        if structures is None:
            return known
        names = [each if isinstance(each, str) else each.name for each in structures]
        for name in names:
            if name not in known:
                raise ValueError(f"the plan has no structure {name!r}; it has {', '.join(known)}")
        return names

    def _highest_gy(self, names: Sequence[str], snapshots: Iterable[int]) -> float:
        ends = [self.history["dvhs"][name][snapshot][0][-1] for snapshot in snapshots for name in names]
        return float(max(ends, default=0.0))

    def _draw_dvhs(self, names: Sequence[str], snapshot: int, highest_gy: float, ax: Axes) -> None:
        plan = self._planned()
        curves = {name: self.history["dvhs"][name][snapshot] for name in names}
        colors = plots.structure_colors(list(plan.structures.values()))
        plots.plot_dvh_curves(curves, colors, targets=self._target_dvhs(), highest_gy=highest_gy, ax=ax)

    def _target_dvhs(self) -> dict[str, FloatArray]:
        terms = [] if self._prescription is None else self._prescription.objectives
        return {
            term.structure.name: term.dvh
            for term in terms
            if isinstance(term, KLDivergenceTerm) and term.structure is not None
        }

    def _prescription_gy(self) -> float:
        if self._given_prescription_gy is not None:
            return self._given_prescription_gy
        plan = self._planned()
        asked = [dvh for name, dvh in self._target_dvhs().items() if plan.structures[name].is_target]
        doses = [float(dvh[dvh[:, 1] >= _PRESCRIBED_VOLUME][-1, 0]) for dvh in asked]
        return max([dose for dose in doses if dose > 0], default=float(np.max(self.history["doses"][-1])))

    @staticmethod
    def _target_slice(plan: Plan, axis: int) -> int:
        shares = [each.share for each in plan.structures.values() if each.is_target and each.is_on_grid]
        if not shares:
            return plan.dose_influence.grid.shape[axis] // 2
        others = tuple(other for other in range(3) if other != axis)
        profile = np.sum([share.sum(axis=others) for share in shares], axis=0)
        return round(float(np.average(np.arange(len(profile)), weights=profile)))


def _axes(ax: Axes | None) -> Any:
    if ax is not None:
        return ax
    from matplotlib import pyplot

    return pyplot.subplots(layout="constrained")[1]
