"""Monitor units of segments, optimized with the same optimizer and objectives as beamlets.

The dose of a segment is the sum of the doses of the beamlets that it leaves open, so segments are a plan with fewer,
larger "beamlets". Each is a fluence map of its own: segments cannot be interpolated, so the optimizer runs on a single
grid.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
from scipy.optimize import nnls

from opentps_brimstone._typing import FloatArray, IntArray
from opentps_brimstone.model.influence import BeamletLayout, DoseInfluence
from opentps_brimstone.optimization.settings import OptimizerSettings
from opentps_brimstone.sequencing.segments import open_shares

if TYPE_CHECKING:
    from opentps_brimstone.model.structure import Structure
    from opentps_brimstone.optimization.terms import ObjectiveTerm
    from opentps_brimstone.sequencing.segments import SequencedBeam

__all__ = ["SegmentWeights", "check_mu_limits", "fitted_mu", "optimize_segment_weights", "segment_influence"]


# Share of the maximum above which doses are compared.
_JUDGED = 0.1
# Factor by which optimized MU may deviate more from the dose of the beamlets than the MU that are closest to it.
_LARGEST_DEVIATION = 1.25


@dataclass(frozen=True)
class SegmentWeights:
    """Optimized monitor units of segments.

    Attributes
    ----------
    mu : ndarray, shape (n_segments,)
        MU per fraction in the order of the segments; 0 for those that were removed.
    cost_before, cost_after : float
        Cost of the initial MU and of these, with the same prescription.
    iterations : int
        Of all optimizations together.
    """

    mu: FloatArray = field(repr=False)
    cost_before: float
    cost_after: float
    iterations: int


def segment_influence(influence: DoseInfluence, beams: Sequence[SequencedBeam]) -> DoseInfluence:
    """Compute the dose influence of segments, one column for each aperture, beam after beam, in Gy per MU and fraction.

    There is one beam for each fluence map of the layout, in its order, and each beamlet of `influence` must be entirely
    open or closed in every aperture. In the layout of the result each aperture is a separate fluence map.
    """
    layout = influence.layout
    if len(beams) != layout.n_beams:
        raise ValueError(f"there are {layout.n_beams} fluence maps and {len(beams)} sequenced beams")
    blocks = []
    for number, beam in enumerate(beams):
        mine = layout.beam_index == number
        for index, aperture in enumerate(beam.apertures):
            shares = open_shares(aperture, beam.mlc, beam.jaws, layout.xy_mm[mine], layout.spacing_mm[number])
            opened = np.round(shares)
            if np.abs(shares - opened).max() > 1e-6:
                raise ValueError(f"aperture {index} of beam {number} leaves part of a beamlet open")
            column = np.zeros(layout.n_beamlets, dtype=np.float32)
            column[mine] = opened
            blocks.append(sp.csc_matrix(column[:, None]))
    matrix = influence.matrix @ sp.hstack(blocks, format="csc")
    n_segments = matrix.shape[1]
    spacing = np.repeat(layout.spacing_mm, [len(beam.apertures) for beam in beams], axis=0)
    return DoseInfluence(
        matrix, influence.grid, BeamletLayout(np.zeros((n_segments, 2)), np.arange(n_segments), spacing)
    )


def check_mu_limits(**limits: float) -> None:
    """Refuse limits on MU that are negative or not finite, by the names they are given under."""
    for name, value in limits.items():
        if not (np.isfinite(value) and value >= 0):
            raise ValueError(f"{name} is {value:g}; it must be 0 or more")


def optimize_segment_weights(
    influence: DoseInfluence,
    terms: Iterable[tuple[Structure, ObjectiveTerm]],
    start_mu: npt.ArrayLike,
    *,
    number_of_fractions: int = 1,
    wanted_dose: npt.ArrayLike | None = None,
    minimum_engine_mu: float = 0.0,
    step_engine_mu: float = 0.0,
    settings: OptimizerSettings | None = None,
    callback: Any = None,
    progress: bool = False,
) -> SegmentWeights:
    """Optimize the MU of segments.

    Many plans with different doses have nearly the same DVHs. To hold the segments to the dose of the beamlets, the
    search starts, at the finest level, from the MU whose dose is closest to it (`fitted_mu`), if they cost less than
    `start_mu`; and the result moves from the closest MU towards those that were found only as far as the root mean
    square deviation from that dose rises by a quarter. An optimization that does not lower the cost is discarded, so
    without the following limits the result costs no more than the start. Of the segments below the minimum MU, the
    weaker half is dropped and the others are optimized again, until none is below. Then MU are rounded to the step.

    Parameters
    ----------
    influence : DoseInfluence
        Of segments, as `segment_influence` gives it.
    terms : iterable of (Structure, ObjectiveTerm)
        The prescription; copied.
    start_mu : array_like, shape (n_segments,)
        Initial MU per fraction.
    wanted_dose : array_like, shape (nx, ny, nz), optional
        Dose of the beamlets in Gy over all fractions.
    minimum_engine_mu : float
        Minimum MU per fraction of a segment, in the MU of `influence`.
    step_engine_mu : float
        MU are multiples of this; 0 for no rounding.
    settings : OptimizerSettings, optional
        Constants of the algorithm; by default only the finest level runs. All levels run on one grid and every segment
        takes part.
    callback, progress
        As for `PlanOptimizer.optimize`.

    Raises
    ------
    ValueError
        If there is not one MU for each segment, a limit is negative, or no segment reaches the minimum MU.
    """
    from opentps_brimstone.optimization.for_terms import plan_with_terms

    check_mu_limits(minimum_engine_mu=minimum_engine_mu, step_engine_mu=step_engine_mu)
    start = influence.check_weights(start_mu)
    chosen = replace(
        (settings or OptimizerSettings(start_level=0)).single_grid(), inclusion_threshold=0.0, roughness_weight=0.0
    )
    terms = list(terms)
    prescription = plan_with_terms(influence, terms, number_of_fractions, chosen).prescription
    cost_before = prescription.evaluate(start)[0]

    mu, iterations = start, 0
    if wanted_dose is not None:
        doses, wanted = _least_squares(influence, wanted_dose, number_of_fractions)
        fitted = nnls(doses, wanted)[0]
        if prescription.evaluate(fitted)[0] < cost_before:
            mu = fitted
    alive = np.flatnonzero(mu > 0)
    while True:
        optimizer = plan_with_terms(_columns(influence, alive), terms, number_of_fractions, chosen)
        result = optimizer.optimize_from(mu[alive], callback=callback, progress=progress)
        iterations += result.iterations
        found = np.zeros_like(start)
        found[alive] = result.beamlet_weights
        if wanted_dose is not None:
            found[alive] = _kept_near(doses[:, alive], wanted, found[alive])
        if prescription.evaluate(found)[0] < prescription.evaluate(mu)[0]:
            mu = found
        below = alive[(mu[alive] < minimum_engine_mu) | (mu[alive] == 0)]
        if not len(below):
            break
        # Only the weaker half: their MU may lift the others above the minimum.
        gone = below[np.argsort(mu[below], kind="stable")[: (len(below) + 1) // 2]]
        alive = np.setdiff1d(alive, gone)
        if not len(alive):
            raise ValueError(
                f"no segment reaches {minimum_engine_mu:g} MU per fraction; lower the minimum MU of a segment"
            )
        mu = mu.copy()
        mu[gone] = 0.0
    if step_engine_mu > 0:
        mu = _rounded(mu, minimum_engine_mu, step_engine_mu)
    return SegmentWeights(mu, cost_before, prescription.evaluate(mu)[0], iterations)


def _rounded(mu: FloatArray, minimum: float, step: float) -> FloatArray:
    """Round MU to multiples of a step; those above 0 to no less than the minimum."""
    # A minimum that is a multiple of the step, such as 0.3 of 0.1, is one only up to rounding.
    least = np.ceil(minimum / step * (1 - 1e-9))
    return np.where(mu > 0, np.maximum(np.round(mu / step), least) * step, 0.0)


def _kept_near(doses: FloatArray, wanted: FloatArray, found: FloatArray) -> FloatArray:
    """Move from the MU whose dose is closest to the wanted one towards those found, as far as the deviation allows."""
    nearest = nnls(doses, wanted)[0]
    off, change = doses @ nearest - wanted, doses @ (found - nearest)
    # The deviation's square is quadratic in the share of the way.
    slope, curvature = float(off @ change), float(change @ change)
    allowed = (_LARGEST_DEVIATION**2 - 1) * float(off @ off)
    if curvature + 2 * slope <= allowed:
        return found
    share = (math.sqrt(slope**2 + curvature * allowed) - slope) / curvature
    kept: FloatArray = nearest + share * (found - nearest)
    return kept


def fitted_mu(influence: DoseInfluence, dose: npt.ArrayLike, number_of_fractions: int = 1) -> FloatArray:
    """Fit MU per fraction of segments to a dose in Gy over all fractions, where that is above 10 % of its maximum.

    The fit is by non-negative least squares.
    """
    mu: FloatArray = nnls(*_least_squares(influence, dose, number_of_fractions))[0]
    return mu


def _least_squares(
    influence: DoseInfluence, dose: npt.ArrayLike, number_of_fractions: int
) -> tuple[FloatArray, FloatArray]:
    """Reduce the least-squares problem of the compared voxels to a matrix and right side with few rows."""
    wanted = np.asarray(dose, dtype=np.float64).ravel()
    judged = wanted > _JUDGED * wanted.max()
    doses = influence.matrix[judged].toarray().astype(np.float64) * number_of_fractions
    # The triangle of the QR decomposition has the same squares, and one row more than there are segments.
    triangle: FloatArray = np.asarray(np.linalg.qr(np.column_stack([doses, wanted[judged]]), mode="r"))
    return triangle[:, :-1], triangle[:, -1]


def _columns(influence: DoseInfluence, columns: IntArray) -> DoseInfluence:
    layout = influence.layout
    kept = BeamletLayout(layout.xy_mm[columns], np.arange(len(columns)), layout.spacing_mm[layout.beam_index[columns]])
    return DoseInfluence(influence.matrix[:, columns], influence.grid, kept)
