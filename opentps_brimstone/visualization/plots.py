"""Plots. Each draws on the axes that it is given and does not deal with figures, files or windows.

Images follow the radiological convention: the patient's right on the left, the front at the top of axial slices, the
head at the top of the others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from opentps_brimstone._typing import FloatArray
from opentps_brimstone.evaluation import cumulative_dvh

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import BoundaryNorm, Colormap

    from opentps_brimstone.model.influence import BeamletLayout, VoxelGrid
    from opentps_brimstone.model.structure import Structure


DVHBand = tuple[npt.ArrayLike, npt.ArrayLike, npt.ArrayLike, npt.ArrayLike]
"""Doses in Gy, and lowest, highest and planned share of a volume that gets at least each."""

ISODOSES_PERCENT = (10.0, 30.0, 50.0, 70.0, 80.0, 90.0, 95.0, 100.0, 105.0, 110.0)
"""Isodoses of a dose wash, in percent of the prescription."""

# Okabe and Ito's colors for the color-blind: warm ones for targets, the others for organs.
_TARGET_COLORS = ("#D55E00", "#CC79A7", "#E69F00", "#882255")
# Tol's colors follow, so that a dozen organs have different ones.
_ORGAN_COLORS = (
    *("#0072B2", "#009E73", "#56B4E9", "#8C6D31", "#7F7F7F"),
    *("#332288", "#44AA99", "#999933", "#117733", "#AA99DD", "#661100", "#BBBB77"),
)
_CT_WINDOW_HU = (-600.0, 400.0)
_WASH_OPACITY = (0.45, 0.9)
# The gray of water, as background of a wash without CT, so that its colors are those of the bar.
_WATER_GRAY = "0.6"
_DRAWN_ISODOSES_PERCENT = {50.0: "dashed", 95.0: "solid"}


@dataclass(frozen=True)
class Plane:
    """Orientation of a slice on the page.

    Attributes
    ----------
    across, up, normal : int
        Image axis (0 x, 1 y, 2 z) to the right, along the page's vertical, and through it.
    flip_vertical : bool
        Whether the vertical axis rises downwards.
    sides : tuple of str
        Letters of the left, right, lower and upper edge for a patient lying head first supine.
    """

    across: int
    up: int
    normal: int
    flip_vertical: bool
    sides: tuple[str, str, str, str]


PLANES = {
    "axial": Plane(0, 1, 2, True, ("R", "L", "P", "A")),
    "coronal": Plane(0, 2, 1, False, ("R", "L", "I", "S")),
    "sagittal": Plane(1, 2, 0, False, ("A", "P", "I", "S")),
}


def structure_colors(structures: Sequence[Structure]) -> dict[str, str]:
    """Assign each structure its color by name, the same in every plot."""
    colors = {}
    for kind, palette in ((True, _TARGET_COLORS), (False, _ORGAN_COLORS)):
        names = [structure.name for structure in structures if structure.is_target == kind]
        colors.update({name: palette[i % len(palette)] for i, name in enumerate(names)})
    return colors


# ---------------------------------------------------------------------------------------------------------- dose wash


def _isodoses(prescription_gy: float) -> tuple[list[float], Colormap, BoundaryNorm]:
    """Return the isodoses in Gy, and the colors of the bands between them."""
    from matplotlib import colormaps
    from matplotlib.colors import BoundaryNorm, ListedColormap

    levels = [percent / 100 * prescription_gy for percent in ISODOSES_PERCENT]
    colors = colormaps["viridis"](np.linspace(0.0, 1.0, len(levels)))
    colors[:, 3] = np.linspace(*_WASH_OPACITY, len(levels))
    transparent = (0.0, 0.0, 0.0, 0.0)
    colormap = ListedColormap(colors[:-1]).with_extremes(under=transparent, over=colors[-1])
    return levels, colormap, BoundaryNorm(levels, len(levels) - 1)


def _edges(grid: VoxelGrid, axis: int) -> tuple[float, float]:
    low = grid.origin_mm[axis] - grid.spacing_mm[axis] / 2
    return low, low + grid.shape[axis] * grid.spacing_mm[axis]


def _centers(grid: VoxelGrid, axis: int) -> FloatArray:
    """Where the values of `_slice` are."""
    if grid.shape[axis] == 1:
        return np.array(_edges(grid, axis))
    return grid.origin_mm[axis] + grid.spacing_mm[axis] * np.arange(grid.shape[axis], dtype=np.float64)


def _slice(image: FloatArray, grid: VoxelGrid, plane: Plane, position_mm: float) -> FloatArray:
    """Slice of an image, rows along the plane's vertical; interpolated between the two nearest layers of voxels.

    Where there is one voxel only its value comes twice, as contours need two.
    """
    place = (position_mm - grid.origin_mm[plane.normal]) / grid.spacing_mm[plane.normal]
    place = float(np.clip(place, 0, grid.shape[plane.normal] - 1))
    low = min(int(place), max(grid.shape[plane.normal] - 2, 0))
    high = min(low + 1, grid.shape[plane.normal] - 1)
    part = place - low
    layers = np.moveaxis(image, plane.normal, 0)
    between: FloatArray = (1 - part) * layers[low] + part * layers[high]
    for axis in (0, 1):
        if between.shape[axis] == 1:
            between = np.repeat(between, 2, axis)
    return between.T


def plot_dose_wash(
    dose: npt.ArrayLike,
    ct_hu: npt.ArrayLike | None,
    grid: VoxelGrid,
    structures: Sequence[Structure],
    *,
    prescription_gy: float,
    plane: str = "axial",
    position_mm: float | None = None,
    crop_mm: float | None = None,
    ax: Axes,
) -> None:
    """Dose in bands between isodoses over a CT slice, with the outlines of structures.

    Parameters
    ----------
    dose : array_like, shape (nx, ny, nz)
        Gy.
    ct_hu : array_like, shape (nx, ny, nz), or None
        HU; without a CT the dose lies on a plain ground.
    grid : VoxelGrid
        Of both.
    structures : sequence of Structure
        Outlined where half of a voxel belongs to them.
    prescription_gy : float
        Dose that is 100 %.
    plane : {"axial", "coronal", "sagittal"}
    position_mm : float, optional
        Where the plane cuts its normal; the middle of the grid by default.
    crop_mm : float, optional
        Margin of what is shown around the body of the CT; the whole grid by default.

    Raises
    ------
    ValueError
        If the plane is unknown or outside the grid, a grid does not fit, or the prescription is not positive.
    """
    if plane not in PLANES:
        raise ValueError(f"plane {plane!r} is unknown; it may be {', '.join(PLANES)}")
    if not prescription_gy > 0:
        raise ValueError(f"the prescription is {prescription_gy} Gy; it must be positive")
    lying = PLANES[plane]
    low, high = _edges(grid, lying.normal)
    where = (low + high) / 2 if position_mm is None else float(position_mm)
    if not low <= where <= high:
        raise ValueError(f"the {plane} plane at {where:g} mm is outside the grid, from {low:g} to {high:g} mm")
    images = {"dose": np.asarray(dose, dtype=np.float64)}
    if ct_hu is not None:
        images["CT"] = np.asarray(ct_hu, dtype=np.float64)
    images |= {structure.name: structure.share for structure in structures}
    for name, image in images.items():
        if image.shape != grid.shape:
            raise ValueError(f"{name} has the grid {image.shape}; the plot's is {grid.shape}")

    across, up = _edges(grid, lying.across), _edges(grid, lying.up)
    ct_slice = _slice(images["CT"], grid, lying, where) if "CT" in images else None
    if ct_slice is not None:
        ax.imshow(
            ct_slice,
            cmap="gray",
            vmin=_CT_WINDOW_HU[0],
            vmax=_CT_WINDOW_HU[1],
            extent=(*across, *up),
            origin="lower",
            interpolation="nearest",
            zorder=0,
        )
    x, y = _centers(grid, lying.across), _centers(grid, lying.up)
    levels, colormap, norm = _isodoses(prescription_gy)
    dose_slice = _slice(images["dose"], grid, lying, where)
    if dose_slice.max() > levels[0]:
        ax.contourf(x, y, dose_slice, levels=levels, cmap=colormap, norm=norm, extend="max", zorder=1)
    for percent, style in _DRAWN_ISODOSES_PERCENT.items():
        level = percent / 100 * prescription_gy
        if dose_slice.min() < level < dose_slice.max():
            ax.contour(x, y, dose_slice, levels=[level], colors="black", linestyles=style, linewidths=0.9, zorder=2)
    outlines = {structure.name: _slice(structure.share, grid, lying, where) for structure in structures}
    _outline_structures(ax, (x, y), outlines, structure_colors(structures))
    _frame(ax, lying, across, up, plane, where)
    if ct_slice is None:
        ax.set_facecolor(_WATER_GRAY)
    elif crop_mm is not None:
        _crop(ax, lying, (x, y), ct_slice, crop_mm)


def _outline_structures(
    ax: Axes, centers: tuple[FloatArray, FloatArray], slices: Mapping[str, FloatArray], colors: Mapping[str, str]
) -> None:
    from matplotlib.patheffects import Normal, Stroke

    for name, share in reversed(list(slices.items())):
        others = [other for other_name, other in slices.items() if other_name != name]
        filled = _without_holes_of_others(share, others)
        if filled.max() <= 0.5 or filled.min() >= 0.5:
            continue
        lines = ax.contour(*centers, filled, levels=[0.5], colors=[colors[name]], linewidths=1.8, zorder=3)
        lines.set_path_effects([Stroke(linewidth=3.2, foreground="white"), Normal()])


def _without_holes_of_others(share: FloatArray, others: Sequence[FloatArray]) -> FloatArray:
    """Close the holes that other structures fill: their own outlines are there."""
    from scipy.ndimage import binary_fill_holes

    if not others:
        return share
    inside = share >= 0.5
    hole = np.asarray(binary_fill_holes(inside)) & ~inside
    return np.where(hole & (np.max(others, axis=0) > 0), 1.0, share)


def _frame(
    ax: Axes, lying: Plane, across: tuple[float, float], up: tuple[float, float], plane: str, where: float
) -> None:
    letters = "xyz"
    ax.set_aspect("equal")
    ax.set_facecolor("black")
    ax.set_xlim(across)
    ax.set_ylim(up[::-1] if lying.flip_vertical else up)
    ax.set_xlabel(f"{letters[lying.across]} (mm)")
    ax.set_ylabel(f"{letters[lying.up]} (mm)", labelpad=0)
    ax.set_title(f"{plane}, {letters[lying.normal]} = {where:.0f} mm")
    left, right, bottom, top = lying.sides
    spots = (
        (left, 0.01, 0.5, "left", "center"),
        (right, 0.99, 0.5, "right", "center"),
        (bottom, 0.5, 0.01, "center", "bottom"),
        (top, 0.5, 0.99, "center", "top"),
    )
    for letter, x, y, ha, va in spots:
        ax.text(x, y, letter, transform=ax.transAxes, color="white", ha=ha, va=va, weight="bold", zorder=4)


def _crop(
    ax: Axes, lying: Plane, centers: tuple[FloatArray, FloatArray], ct_slice: FloatArray, margin_mm: float
) -> None:
    body = ct_slice > _CT_WINDOW_HU[0]
    if not body.any():
        return
    x = centers[0][body.any(axis=0)]
    y = centers[1][body.any(axis=1)]
    ax.set_xlim(x.min() - margin_mm, x.max() + margin_mm)
    vertical = (y.min() - margin_mm, y.max() + margin_mm)
    ax.set_ylim(vertical[::-1] if lying.flip_vertical else vertical)


def plot_isodose_bar(prescription_gy: float, *, ax: Axes) -> None:
    """Draw the color bar of a dose wash beside its axes, in percent of the prescription."""
    from matplotlib.cm import ScalarMappable

    levels, colormap, norm = _isodoses(prescription_gy)
    bar = ax.figure.colorbar(ScalarMappable(norm, colormap), ax=ax, extend="max", ticks=levels, shrink=0.9)
    bar.ax.set_yticklabels([f"{percent:.0f}" for percent in ISODOSES_PERCENT], fontsize="small")
    bar.ax.set_facecolor(_WATER_GRAY)
    bar.set_label(f"dose (% of {prescription_gy:g} Gy)")
    for percent, style in _DRAWN_ISODOSES_PERCENT.items():
        bar.ax.axhline(percent / 100 * prescription_gy, color="black", linestyle=style, linewidth=1.2)


def plot_isodose_legend(prescription_gy: float, *, ax: Axes) -> None:
    """Draw the legend of a dose wash on axes of its own: one field for each band, in percent and Gy."""
    from matplotlib.patches import Rectangle

    levels, colormap, norm = _isodoses(prescription_gy)
    for i, (percent, level) in enumerate(zip(ISODOSES_PERCENT, levels, strict=True)):
        band = colormap(norm(level)) if i < len(levels) - 1 else colormap(norm(2 * level))
        ax.add_patch(Rectangle((0, i), 1, 1, facecolor=band, edgecolor="0.4", linewidth=0.5))
        ax.text(1.25, i, f"{percent:.0f} %", va="center", fontsize="small")
        ax.text(3.9, i, f"{level:.1f}", va="center", ha="right", fontsize="small")
        if percent in _DRAWN_ISODOSES_PERCENT:
            ax.plot([0, 1], [i, i], color="black", linewidth=1.4, linestyle=_DRAWN_ISODOSES_PERCENT[percent])
    ax.text(1.25, len(levels) + 0.25, "dose", va="bottom", fontsize="small", weight="bold")
    ax.text(3.9, len(levels) + 0.25, "Gy", va="bottom", ha="right", fontsize="small", weight="bold")
    ax.set_xlim(0, 4)
    ax.set_ylim(-0.5, len(levels) + 1)
    ax.set_axis_off()


# ---------------------------------------------------------------------------------------------------------------- DVH


def plot_dvh(
    dose: npt.ArrayLike,
    structures: Sequence[Structure],
    *,
    targets: Mapping[str, npt.ArrayLike] | None = None,
    ax: Axes,
) -> None:
    """Plot cumulative dose-volume histograms, with the prescribed ones dashed.

    Parameters
    ----------
    dose : array_like, shape (nx, ny, nz)
        Gy.
    targets : mapping of str to array_like, shape (n, 2), optional
        Points (Gy, volume share) of target DVHs, non-increasing from 1 to 0, by the name of the structure.
    """
    values = np.asarray(dose, dtype=np.float64)
    samples = {structure.name: structure.sample(values) for structure in structures}
    highest = max([float(doses.max()) for doses, _ in samples.values()], default=0.0)
    axis = np.linspace(0.0, max(highest, 1.0) * 1.02, 2000)
    curves = {name: (axis, cumulative_dvh(*sample, axis)) for name, sample in samples.items()}
    plot_dvh_curves(curves, structure_colors(structures), targets=targets, highest_gy=highest, ax=ax)


def plot_dvh_curves(
    curves: Mapping[str, tuple[npt.ArrayLike, npt.ArrayLike]],
    colors: Mapping[str, str],
    *,
    targets: Mapping[str, npt.ArrayLike] | None = None,
    highest_gy: float = 0.0,
    ax: Axes,
) -> None:
    """Plot given cumulative dose-volume histograms, with the prescribed ones dashed.

    Parameters
    ----------
    curves : mapping of str to (array_like, array_like), each of shape (n,)
        Gy, and share of the volume that gets at least this dose, by the name of the structure.
    colors : mapping of str to str
        By the name of the structure.
    targets : mapping of str to array_like, shape (n, 2), optional
        As for `plot_dvh`.
    highest_gy : float
        The dose axis reaches at least this far.
    """
    from matplotlib.lines import Line2D

    asked = {name: np.asarray(points, dtype=np.float64) for name, points in (targets or {}).items() if name in curves}
    highest = max([highest_gy, *(float(points[-1, 0]) for points in asked.values()), 1.0])
    for name, (doses_gy, volume) in curves.items():
        color = colors[name]
        ax.plot(np.asarray(doses_gy), 100 * np.asarray(volume), color=color, linewidth=2, label=name)
        if name in asked:
            points = asked[name]
            doses = np.concatenate([[0.0], points[:, 0]])
            volumes = 100 * np.concatenate([[1.0], points[:, 1]])
            ax.plot(doses, volumes, color=color, linewidth=1.3, linestyle=(0, (4, 2)))
    handles, _ = ax.get_legend_handles_labels()
    if asked:
        handles.append(Line2D([], [], color="0.3", linewidth=1.3, linestyle=(0, (4, 2)), label="asked for"))
    ax.legend(handles=handles, loc="best", framealpha=0.9)
    ax.set_xlim(0, highest * 1.04)
    ax.set_ylim(0, 102)
    ax.set_xlabel("dose (Gy)")
    ax.set_ylabel("volume that gets at least this dose (%)")
    ax.grid(True, color="0.9", linewidth=0.8)
    ax.set_axisbelow(True)
    ax.set_title("dose-volume histograms")


def plot_dvh_bands(
    bands: Mapping[str, DVHBand], colors: Mapping[str, str], *, highest_gy: float = 0.0, ax: Axes
) -> None:
    """Plot the range of cumulative dose-volume histograms over scenarios, with the planned ones as lines.

    Parameters
    ----------
    bands : mapping of str to (array_like, array_like, array_like, array_like), each of shape (n,)
        Gy; and lowest, highest and planned share of the volume that gets at least this dose, by the name of the
        structure.
    colors : mapping of str to str
        By the name of the structure, as `structure_colors` gives them.
    highest_gy : float
        The dose axis reaches at least this far.
    """
    curves = {name: (doses, planned) for name, (doses, _, _, planned) in bands.items()}
    reached = [float(np.asarray(doses)[np.asarray(high) > 0].max(initial=0.0)) for doses, _, high, _ in bands.values()]
    plot_dvh_curves(curves, colors, highest_gy=max([highest_gy, *reached]), ax=ax)
    for name, (doses, low, high, _) in bands.items():
        shares = (100 * np.asarray(each) for each in (low, high))
        ax.fill_between(np.asarray(doses), *shares, color=colors[name], alpha=0.3, linewidth=0, zorder=1.5)
    ax.set_title("dose-volume histograms over scenarios")


# -------------------------------------------------------------------------------------------------------- convergence


def plot_convergence(history: Mapping[str, Sequence[Any]], *, log: bool = True, ax: Axes) -> None:
    """Plot the cost of every iteration, with the levels of the pyramid shaded.

    Costs of different levels cannot be compared, as each smooths the histograms differently. The history has the lists
    "iteration", "level" and "cost", as `OptimizationResult.convergence_history`.
    """
    for name in ("iteration", "level", "cost"):
        if name not in history:
            raise ValueError(f"the convergence history has no {name!r}; it has {', '.join(history)}")
    iteration, level, cost = (np.asarray(history[name], dtype=np.float64) for name in ("iteration", "level", "cost"))
    if not len(iteration) == len(level) == len(cost):
        raise ValueError(f"the lists of the history have the lengths {len(iteration)}, {len(level)} and {len(cost)}")
    if log:
        ax.set_yscale("log")
    if len(iteration):
        starts = np.flatnonzero(np.diff(level, prepend=level[0] - 1))
        for start, end in zip(starts, [*starts[1:], len(level)], strict=True):
            _plot_level(ax, iteration[start:end], cost[start:end], int(level[start]), (end - start) / len(iteration))
        ax.set_xlim(iteration[0] - 0.5, iteration[-1] + 0.5)
        _readable_cost_axis(ax, cost, log=log)
    ax.set_xlabel("iteration")
    ax.set_ylabel("cost")
    ax.set_title("convergence")


def _plot_level(ax: Axes, iteration: FloatArray, cost: FloatArray, level: int, part: float) -> None:
    left, right = iteration[0] - 0.5, iteration[-1] + 0.5
    ax.axvspan(left, right, facecolor="0.93" if level % 2 else "1.0", linewidth=0, zorder=0)
    ax.plot(iteration, cost, color="#0072B2", linewidth=1.6, marker=".", markersize=4, zorder=2)
    # A name takes about a tenth of the axis, a number a fiftieth; without room for either, only the shades show.
    label = f"level {level}" if part > 0.1 else f"{level}" if part > 0.02 else ""
    ax.text(
        (left + right) / 2,
        0.975,
        label,
        transform=ax.get_xaxis_transform(),
        ha="center",
        va="top",
        fontsize="small",
        color="0.3",
    )


def _readable_cost_axis(ax: Axes, cost: FloatArray, *, log: bool) -> None:
    """Set readable ticks, also if the cost spans less than a decade."""
    from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

    if not log:
        return
    decades = np.log10(cost.max() / cost.min()) if cost.min() > 0 else 0.0
    subs = (1.0,) if decades > 3 else (1.0, 2.0, 5.0)
    ax.yaxis.set_major_locator(LogLocator(base=10, subs=subs))
    ax.yaxis.set_minor_formatter(NullFormatter())
    if decades <= 3:
        formatter = ScalarFormatter()
        formatter.set_scientific(False)
        ax.yaxis.set_major_formatter(formatter)
    ax.set_ylim(cost.min() / 1.3, cost.max() * 10 ** (0.12 * max(decades, 0.5)))


# ------------------------------------------------------------------------------------------------------- fluence maps


def plot_fluence(
    layout: BeamletLayout,
    weights_mu: npt.ArrayLike,
    beam: int,
    *,
    highest_mu: float | None = None,
    title: str | None = None,
    ax: Axes,
) -> Any:
    """Plot the MU of one beam's beamlets, in the beam's eye view.

    Parameters
    ----------
    weights_mu : array_like, shape (n_beamlets,)
        MU per fraction of all beamlets.
    beam : int
        Index in ``layout.beam_index``.
    highest_mu : float, optional
        Upper end of the color scale; by default the maximum of all beams, so that all maps have the same scale.
    title : str, optional
        Such as the gantry angle.

    Returns
    -------
    matplotlib PolyCollection
        For a color bar.

    Raises
    ------
    ValueError
        If the beam does not exist or there is not one weight for each beamlet.
    """
    from matplotlib.collections import PolyCollection
    from matplotlib.colors import Normalize

    weights = np.asarray(weights_mu, dtype=np.float64)
    if weights.shape != (layout.n_beamlets,):
        raise ValueError(f"expected {layout.n_beamlets} beamlet weights, got an array of shape {weights.shape}")
    if not 0 <= beam < layout.n_beams:
        raise ValueError(f"there is no beam {beam}; beams are counted from 0 to {layout.n_beams - 1}")
    mine = layout.beam_index == beam
    top = float(weights.max()) if highest_mu is None else highest_mu
    half = layout.spacing_mm[beam] / 2
    corners = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) * half
    tiles = PolyCollection(
        layout.xy_mm[mine][:, None, :] + corners,
        array=weights[mine],
        cmap="cividis",
        norm=Normalize(0, top if top > 0 else 1.0),
        edgecolors="face",
        linewidths=0.2,
    )
    ax.add_collection(tiles)
    reach = np.abs(layout.xy_mm).max(axis=0) + layout.spacing_mm.max(axis=0)
    ax.set_xlim(-reach[0], reach[0])
    ax.set_ylim(-reach[1], reach[1])
    ax.set_aspect("equal")
    ax.set_facecolor("0.92")
    ax.set_xlabel("x (mm)")
    ax.set_ylabel("y (mm)", labelpad=0)
    ax.set_title(f"beam {beam + 1}" if title is None else title)
    return tiles


def plot_measured_and_computed(ax: Axes, curves: Sequence[tuple[str, FloatArray, FloatArray, FloatArray]]) -> None:
    """Draw measured points, and lines through the computed ones.

    Parameters
    ----------
    ax : Axes
    curves : sequence of (str, ndarray, ndarray, ndarray)
        Name, positions, measured and computed values of each.
    """
    for number, (name, position, measured, computed) in enumerate(curves):
        color = _ORGAN_COLORS[number % len(_ORGAN_COLORS)]
        ax.plot(position, computed, "-", color=color, linewidth=1.2, label=f"{name}, computed")
        ax.plot(position, measured, "o", color=color, markersize=3.5, fillstyle="none", label="measured")
    ax.grid(alpha=0.3)
    ax.set_ylim(bottom=0.0)
    ax.legend(fontsize="small", frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.14))
