"""Fluence from a source that is not a point.

Where edges of a collimator are sharp for a point, each part of the source projects them elsewhere: the fluence in the
isocenter plane is the sharp one convolved with the projected source, a Gaussian here. A wide second source stands for
photons that the head scatters; what a field hides of it is why output in air grows with the field (Jaffray, Battista,
Fenster and Munro, Med. Phys. 20 (1993) 1417).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.special import ndtr

from opentps_brimstone._typing import FloatArray
from opentps_brimstone.engine.fluence import FluenceMap

if TYPE_CHECKING:
    from opentps_brimstone.engine.beam_model import BeamModel

__all__ = ["from_finite_source"]

_FARTHEST = 4.0  # standard deviations
_FINEST_MM, _COARSEST_MM = 0.1, 1.0


def from_finite_source(
    fluence: FluenceMap, model: BeamModel, sad_mm: float, least_cell_mm: float = _FINEST_MM
) -> FluenceMap:
    """Blur a fluence by the source of a beam model.

    Parameters
    ----------
    fluence : FluenceMap
        Of a point.
    model : BeamModel
    sad_mm : float
        Source to isocenter, in whose plane the width is right.
    least_cell_mm : float
        Cells need not be finer; their means are exact whatever their size.

    Returns
    -------
    FluenceMap
        Means of the blurred fluence in the cells of a fine grid; the same map for a point.
    """
    parts = _projections(model, sad_mm)
    if all(sigma == 0.0 for _, _, sigma in parts):
        return fluence
    finest = min(sigma for _, _, sigma in parts if sigma > 0.0)
    cell = float(np.clip(finest / 3, least_cell_mm, max(least_cell_mm, _COARSEST_MM)))
    edges = [
        _grid(side, [(scale, sigma) for _, scale, sigma in parts], cell)
        for side in (fluence.x_edges_mm, fluence.y_edges_mm)
    ]
    mu = np.zeros((edges[1].size - 1, edges[0].size - 1))
    for share, scale, sigma in parts:
        along_x = _cell_means(fluence.x_edges_mm * scale, edges[0], sigma)
        along_y = _cell_means(fluence.y_edges_mm * scale, edges[1], sigma)
        mu += share * (along_y @ fluence.mu @ along_x.T)
    return FluenceMap(edges[0], edges[1], mu.clip(min=0.0))


def _projections(model: BeamModel, sad_mm: float) -> list[tuple[float, float, float]]:
    """Share, magnification of the field and standard deviation in the isocenter plane of each source."""
    focal = (1.0, 1.0, model.penumbra_sigma_mm(sad_mm))
    extra = model.extra_focal
    if extra is None or extra.share == 0.0:
        return [focal]
    collimator = model.collimator.distance_mm
    beyond = collimator - extra.distance_mm
    scale = collimator / sad_mm * (sad_mm - extra.distance_mm) / beyond
    sigma = extra.sigma_mm * max(sad_mm - collimator, 0.0) / beyond
    return [(1.0 - extra.share, *focal[1:]), (extra.share, scale, sigma)]


def _grid(sharp: FloatArray, projections: list[tuple[float, float]], cell: float) -> FloatArray:
    """Edges of cells as far as the blurred field reaches."""
    low = min(sharp[0] * scale - _FARTHEST * sigma for scale, sigma in projections)
    high = max(sharp[-1] * scale + _FARTHEST * sigma for scale, sigma in projections)
    edges: FloatArray = np.linspace(low, high, int(np.ceil((high - low) / cell)) + 1)
    return edges


def _cell_means(sharp: FloatArray, edges: FloatArray, sigma: float) -> FloatArray:
    """Means in new cells of blurred strips between sharp edges, shape (n_cells, n_strips)."""
    step = np.diff(_integral_of_step(edges[:, None] - sharp[None, :], sigma), axis=0) / np.diff(edges)[:, None]
    means: FloatArray = step[:, :-1] - step[:, 1:]
    return means


def _integral_of_step(distance: FloatArray, sigma: float) -> FloatArray:
    """Integral, from far below, of a blurred step from 0 to 1."""
    if sigma == 0.0:
        return distance.clip(min=0.0)
    u = distance / sigma
    integral: FloatArray = sigma * (u * ndtr(u) + np.exp(-0.5 * u**2) / np.sqrt(2 * np.pi))
    return integral
