"""Sequencing: from a beam's fluence to apertures of an MLC."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from opentps_brimstone._typing import BoolArray, FloatArray, IntArray
from opentps_brimstone.sequencing.alignment import leaf_pairs_of_rows
from opentps_brimstone.sequencing.decomposition import Decomposition
from opentps_brimstone.sequencing.leaves import place_jaws, place_leaves
from opentps_brimstone.sequencing.methods import get_method
from opentps_brimstone.sequencing.mlc import MLC, TOLERANCE_MM, get_mlc
from opentps_brimstone.sequencing.quantization import check_levels, quantize
from opentps_brimstone.sequencing.segments import Aperture, SequencedBeam

if TYPE_CHECKING:
    from opentps_brimstone.model.influence import BeamletLayout


@dataclass(frozen=True)
class SequencingSettings:
    """Settings of leaf sequencing.

    Attributes
    ----------
    method : str or None
        One of `METHODS`; by default engel if leaves may interdigitate, otherwise kalinowski, and sliding-window to
        avoid tongue-and-groove underdosage.
    levels : int
        Number of levels above 0 that the fluence is rounded to; its maximum is the highest.
    avoid_tongue_and_groove : bool
        Whether the cell with less fluence of two neighbors must be open only while the other is.
    minimum_engine_mu : float
        Apertures with less, in MU per fraction as those of the fluence, are dropped, the smallest first; after each
        the monitor units of the others are fitted to the fluence again (non-negative least squares).
    minimum_area_mm2 : float
        Apertures with a smaller open area are dropped, and the monitor units of the others fitted again.
    maximum_apertures : int or None
        While there are more, the one with the smallest product of monitor units and area is dropped, and the others
        are fitted again.
    share_wide_leaves : bool
        Whether beamlet rows under one leaf get the mean of their fluences; otherwise they are refused.
    """

    method: str | None = None
    # Fewer lost goals in segments of TG-119's multi-target case that their fluence met; more need more segments.
    levels: int = 15
    avoid_tongue_and_groove: bool = False
    minimum_engine_mu: float = 0.0
    minimum_area_mm2: float = 0.0
    maximum_apertures: int | None = None
    share_wide_leaves: bool = False

    def __post_init__(self) -> None:
        if self.method is not None:
            get_method(self.method)
        check_levels(self.levels)
        for name in ("minimum_engine_mu", "minimum_area_mm2"):
            value = getattr(self, name)
            if not (np.isfinite(value) and value >= 0):
                raise ValueError(f"{name} cannot be {value}; it must be finite and at least 0")
        most = self.maximum_apertures
        if most is not None and (isinstance(most, bool) or most != int(most) or most < 1):
            raise ValueError(f"maximum_apertures must be a whole number of at least 1, or None, not {most}")

    def method_for(self, mlc: MLC) -> str:
        """Choose the identifier of the method for an MLC."""
        if self.method is not None:
            return self.method
        if self.avoid_tongue_and_groove:
            return "sliding-window"
        return "engel" if mlc.interdigitation else "kalinowski"


@dataclass(frozen=True, eq=False)
class _Grid:
    """A beam's beamlets as a matrix."""

    x_mm: FloatArray
    y_mm: FloatArray
    spacing_mm: tuple[float, float]
    fluence: FloatArray


def _places(centers: FloatArray, spacing: float, axis: str, beam: int) -> tuple[FloatArray, IntArray]:
    """Find the regular positions along an axis, and the index of each center among them."""
    lowest = float(centers.min())
    steps = (centers - lowest) / spacing
    number = np.round(steps).astype(np.int64)
    off = np.abs(steps - number) * spacing
    if off.max() > TOLERANCE_MM:
        worst = int(off.argmax())
        raise ValueError(
            f"beamlet {worst} of beam {beam} is at {axis} = {centers[worst]:g} mm, {off[worst]:.3g} mm off the grid of "
            f"{spacing:g} mm from {lowest:g} mm"
        )
    return lowest + spacing * np.arange(number.max() + 1, dtype=np.float64), number


def _grid(xy_mm: npt.ArrayLike, weights: npt.ArrayLike, spacing_mm: npt.ArrayLike, beam: int) -> _Grid:
    xy, mu = np.asarray(xy_mm, dtype=np.float64), np.asarray(weights, dtype=np.float64)
    if xy.ndim != 2 or xy.shape[1] != 2 or not len(xy) or not np.isfinite(xy).all():
        raise ValueError(f"beam {beam} needs finite (x, y) centers of its beamlets, not an array of shape {xy.shape}")
    if mu.shape != (len(xy),):
        raise ValueError(f"beam {beam} has {len(xy)} beamlets, and fluence of shape {mu.shape}")
    bad = np.flatnonzero(~(np.isfinite(mu) & (mu >= 0)))
    if len(bad):
        raise ValueError(
            f"beamlet {bad[0]} of beam {beam} has a fluence of {mu[bad[0]]} MU; it must be finite and not negative"
        )
    width, height = (float(size) for size in np.broadcast_to(np.asarray(spacing_mm, dtype=np.float64), (2,)))
    if not (np.isfinite([width, height]).all() and width > 0 and height > 0):
        raise ValueError(f"the beamlet spacing of beam {beam} must be positive, not {width:g} by {height:g} mm")
    x, column = _places(xy[:, 0], width, "x", beam)
    y, row = _places(xy[:, 1], height, "y", beam)
    fluence = np.zeros((len(y), len(x)))
    taken = np.zeros(fluence.shape, dtype=np.int64)
    np.add.at(taken, (row, column), 1)
    if taken.max() > 1:
        twice = tuple(int(k) for k in np.unravel_index(taken.argmax(), taken.shape))
        raise ValueError(f"beam {beam} has two beamlets at ({x[twice[1]]:g}, {y[twice[0]]:g}) mm")
    fluence[row, column] = mu
    return _Grid(x, y, (width, height), fluence)


def _bands(grid: _Grid, mlc: MLC, *, share: bool) -> tuple[IntArray, FloatArray]:
    """Find the leaf pairs that move together, and the fluence under them."""
    pairs = leaf_pairs_of_rows(mlc, grid.y_mm, grid.spacing_mm[1])
    bands, member = np.unique(pairs, axis=0, return_inverse=True)
    rows_in = np.bincount(member)
    if rows_in.max() > 1 and not share:
        rows = grid.y_mm[member == rows_in.argmax()]
        raise ValueError(
            f"the beamlet rows at y = {', '.join(f'{y:g}' for y in rows)} mm are under one leaf of {mlc.name}, and "
            "cannot have different fluences: make the rows as high as the leaves, or give such rows their mean with "
            "share_wide_leaves=True"
        )
    fluence = np.zeros((len(bands), grid.fluence.shape[1]))
    np.add.at(fluence, member, grid.fluence)
    return bands, fluence / rows_in[:, None]


# -------------------------------------------------------------------------------------------------- small apertures


def _fitted(openings: BoolArray, fluence: FloatArray, areas: FloatArray) -> FloatArray:
    """Fit the weights of openings to a fluence by non-negative least squares over the area."""
    from scipy.optimize import nnls

    if not len(openings):
        return np.zeros(0)
    scale = np.sqrt(np.broadcast_to(areas[:, None], fluence.shape)).ravel()
    columns = openings.reshape(len(openings), -1).T * scale[:, None]
    weights: FloatArray = nnls(columns, fluence.ravel() * scale)[0]
    return weights


def _without_small(
    decomposition: Decomposition, mu: FloatArray, fluence: FloatArray, areas: FloatArray, settings: SequencingSettings
) -> tuple[IntArray, FloatArray]:
    """Choose the openings to keep, and fit their monitor units."""
    openings = decomposition.openings
    open_area = np.einsum("kij,i->k", openings.astype(np.float64), areas)
    kept = np.flatnonzero(open_area >= settings.minimum_area_mm2 - 1e-9)
    if len(kept) < len(mu):
        mu = _fitted(openings[kept], fluence, areas)
    most = len(mu) if settings.maximum_apertures is None else settings.maximum_apertures
    while len(kept):
        least = int(mu.argmin())
        if mu[least] <= 0 or mu[least] < settings.minimum_engine_mu:
            dropped = least
        elif len(kept) > most:
            dropped = int((mu * open_area[kept]).argmin())
        else:
            break
        kept = np.delete(kept, dropped)
        mu = _fitted(openings[kept], fluence, areas)
    return kept, mu


# -------------------------------------------------------------------------------------------------------- sequencing


def _settings(settings: SequencingSettings | None, options: dict[str, Any]) -> SequencingSettings:
    known = [option.name for option in fields(SequencingSettings)]
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise TypeError(f"sequencing option {unknown[0]!r} is unknown; it may be {', '.join(known)}")
    return replace(settings or SequencingSettings(), **options)


def sequence_beam(
    xy_mm: npt.ArrayLike,
    weights: npt.ArrayLike,
    spacing_mm: npt.ArrayLike,
    mlc: MLC | str,
    settings: SequencingSettings | None = None,
    *,
    beam_index: int = 0,
    **options: Any,
) -> SequencedBeam:
    """Sequence a beam's fluence into apertures.

    Parameters
    ----------
    xy_mm : array_like, shape (n_beamlets, 2)
        Beamlet centers in the beam's eye view, on one regular grid, in any order; cells without a beamlet stay closed.
    weights : array_like, shape (n_beamlets,)
        Fluence in MU per fraction.
    spacing_mm : array_like, shape (2,) or a number
        Beamlet size in x and y.
    mlc : MLC or str
        An MLC, or its identifier in `MLCS`.
    beam_index : int
        Recorded in the result and named in errors.
    **options
        Fields of `SequencingSettings` that differ from `settings`.

    Returns
    -------
    SequencedBeam
        Without apertures if the fluence is 0 everywhere.

    Raises
    ------
    ValueError
        If fluence or beamlets are invalid, rows do not coincide with leaves, leaves cannot reach their positions, or
        the settings leave no aperture.
    """
    mlc = get_mlc(mlc) if isinstance(mlc, str) else mlc
    settings = _settings(settings, options)
    grid = _grid(xy_mm, weights, spacing_mm, beam_index)
    bands, fluence = _bands(grid, mlc, share=settings.share_wide_leaves)
    if mlc.minimum_gap_mm > grid.spacing_mm[0] + TOLERANCE_MM:
        raise ValueError(
            f"the minimum gap of {mlc.name}, {mlc.minimum_gap_mm:g} mm, is wider than the beamlets of beam "
            f"{beam_index}, {grid.spacing_mm[0]:g} mm; a single beamlet cannot be opened"
        )
    decompose = get_method(settings.method_for(mlc)).choose(
        interdigitation=mlc.interdigitation, tongue_and_groove=settings.avoid_tongue_and_groove
    )
    jaws = place_jaws(mlc, bands, grid.x_mm, grid.spacing_mm[0], fluence > 0, beam_index)
    levels = quantize(fluence, settings.levels)
    decomposition = decompose(levels.matrix).merged()
    boundaries = np.asarray(mlc.leaf_boundaries_mm, dtype=np.float64)
    areas = (boundaries[bands[:, 1]] - boundaries[bands[:, 0]]) * grid.spacing_mm[0]
    wanted: FloatArray = np.multiply(decomposition.weights, levels.step_mu)
    kept, mu = _without_small(decomposition, wanted, fluence, areas, settings)
    if len(decomposition.weights) and not len(kept):
        raise ValueError(
            f"no aperture of beam {beam_index} has {settings.minimum_engine_mu:g} MU and opens "
            f"{settings.minimum_area_mm2:g} mm²; lower minimum_engine_mu or minimum_area_mm2"
        )
    edges = np.append(grid.x_mm - grid.spacing_mm[0] / 2, grid.x_mm[-1] + grid.spacing_mm[0] / 2)
    apertures = tuple(
        Aperture(*place_leaves(mlc, jaws, bands, edges[decomposition.left[k]], edges[decomposition.right[k]]), units)
        for k, units in zip(kept, mu, strict=True)
    )
    try:
        return SequencedBeam(apertures, mlc, jaws, beam_index, grid.x_mm, grid.y_mm, grid.spacing_mm, grid.fluence)
    except ValueError as error:
        raise ValueError(f"{error}; make the beam's field narrower, or split the beam in two") from None


def sequence_plan(
    layout: BeamletLayout,
    weights: npt.ArrayLike,
    mlc: MLC | str,
    settings: SequencingSettings | None = None,
    **options: Any,
) -> tuple[SequencedBeam, ...]:
    """Sequence every beam of a plan into apertures, one `SequencedBeam` for each fluence map.

    The arguments are those of `sequence_beam`, with one weight for each beamlet of the layout.
    """
    mu = np.asarray(weights, dtype=np.float64)
    if mu.shape != (layout.n_beamlets,):
        raise ValueError(f"expected {layout.n_beamlets} beamlet weights, got an array of shape {mu.shape}")
    settings = _settings(settings, options)
    beams = []
    for beam in range(layout.n_beams):
        mine = layout.beam_index == beam
        xy, spacing = layout.xy_mm[mine], layout.spacing_mm[beam]
        beams.append(sequence_beam(xy, mu[mine], spacing, mlc, settings, beam_index=beam))
    return tuple(beams)
