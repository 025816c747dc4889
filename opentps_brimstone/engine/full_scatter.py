"""Dose influence with full scatter: a matrix of what is near beamlets, and whole fields for the rest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from opentps_brimstone._typing import FloatArray
from opentps_brimstone.engine.calibration import engine_mu_in_full_scatter
from opentps_brimstone.engine.collimation import LeafOpening, leakage
from opentps_brimstone.engine.fluence import Rectangles
from opentps_brimstone.engine.reference_field import ReferenceField
from opentps_brimstone.model.influence import DoseInfluence
from opentps_brimstone.sequencing.aperture_settings import ApertureSettings
from opentps_brimstone.sequencing.decomposition import rises
from opentps_brimstone.sequencing.quantization import quantize

if TYPE_CHECKING:
    from opentps_brimstone.engine.beam_model import Collimator
    from opentps_brimstone.engine.collapsed_cones import BeamletField, ConeEngine
    from opentps_brimstone.engine.options import DoseOptions
    from opentps_brimstone.model.influence import BeamletLayout

__all__ = ["FieldDose", "full_scatter_influence"]


# Share of a beamlet's maximum below which the matrix leaves its dose out, as OpenTPS does.
_CUTOFF = 0.005
# Share of the least MU of a decomposition into levels that refined segments have.
_REFINED = 0.9


class FieldDose:
    """Computes the dose of beamlet weights with scatter through the whole patient.

    With a beam model it is the dose of the segments to come: leaves let through what is wanted, and their share of the
    MU that such segments need where they are closed between jaws around the fluence.

    Parameters
    ----------
    engine : ConeEngine
        With full scatter.
    fields : sequence of BeamletField
        With all beamlets, in the order of their weights.
    factor : float
        Of its doses, which makes MU worth what they are with beamlets.
    collimator : Collimator, optional
        Of a beam model.
    """

    def __init__(
        self,
        engine: ConeEngine,
        fields: Sequence[BeamletField],
        factor: float,
        collimator: Collimator | None = None,
    ) -> None:
        self.engine, self.factor, self._fields = engine, factor, list(fields)
        self.collimator = collimator
        self._ends = np.cumsum([len(field.xy_mm) for field in self._fields])[:-1]
        self._last: tuple[FloatArray, FloatArray] | None = None

    def __call__(self, weights: FloatArray, *, effort: str = "full") -> FloatArray:
        """Compute the dose in Gy per fraction, as `opentps_brimstone.model.influence.WholeDose`.

        The last dose with the full effort is kept: that of the same weights, times a factor, is asked for again.
        """
        if effort == "full" and self._last is not None:
            of, known = self._last
            factor = weights.sum() / of.sum()
            if np.allclose(weights, factor * of, rtol=1e-12, atol=0.0):
                return factor * known
        given = zip(self._fields, np.split(weights, self._ends), strict=True)
        used = [(field, mu) for field, mu in given if mu.any()]
        parts = [(field.view, part) for field, mu in used for part in self._parts(field, mu)]
        dose = self.engine.fluence_dose(parts, effort=effort) * self.factor
        if effort == "full" and used:
            self._last = weights.copy(), dose.copy()
        return dose

    def _parts(self, field: BeamletField, mu: FloatArray) -> list[Rectangles]:
        if self.collimator is None:
            return [Rectangles.of_beamlets(field.xy_mm, field.size_mm, mu)]
        opened = (1 - self.collimator.leaf_transmission) * mu
        half = np.asarray(field.size_mm) / 2
        low, high = field.xy_mm[mu > 0].min(axis=0) - half, field.xy_mm[mu > 0].max(axis=0) + half
        sides = np.array([[low[1], high[1]]])
        closed = LeafOpening(np.zeros((1, 2)), sides, (low[0], high[0]), (low[1], high[1]), 1.0)
        through = leakage(closed, self.collimator)
        leaking = Rectangles(through.x_mm, through.y_mm, needed_mu(field, mu) * np.asarray(through.mu))
        return [Rectangles.of_beamlets(field.xy_mm, field.size_mm, opened), leaking]


def needed_mu(field: BeamletField, mu: FloatArray) -> float:
    """Estimate the MU of segments that make a fluence: the greatest sum of rises along a row of its levels.

    Parameters
    ----------
    field : BeamletField
    mu : ndarray, shape (n_beamlets,)

    Returns
    -------
    float
        No decomposition into openings falls below that sum (K. Engel, Discrete Appl. Math. 152 (2005) 35), here in as
        many levels as refined segments start from. They end with a tenth less.
    """
    places = np.round((field.xy_mm - field.xy_mm.min(axis=0)) / field.size_mm).astype(np.int64)
    fluence = np.zeros(places.max(axis=0)[::-1] + 1)
    fluence[places[:, 1], places[:, 0]] = mu
    levels = quantize(fluence, ApertureSettings.levels)
    return float(_REFINED * rises(levels.matrix).clip(min=0).sum(axis=1).max() * levels.step_mu)


def full_scatter_influence(
    engine: ConeEngine, fields: Sequence[BeamletField], layout: BeamletLayout, options: DoseOptions
) -> DoseInfluence:
    """Compute what is near beamlets, in MU of beamlets as OpenTPS has them.

    Parameters
    ----------
    engine : ConeEngine
        With full scatter.
    fields : sequence of BeamletField
        All of one size and one distance from the source.
    layout : BeamletLayout
        Of their beamlets.
    options : DoseOptions

    Returns
    -------
    DoseInfluence
        With `DoseInfluence.whole_dose`.

    Raises
    ------
    ValueError
        If beamlets have different sizes or distances: MU are calibrated for one.
    """
    sizes, distances = {field.size_mm for field in fields}, {field.view.sad_mm for field in fields}
    if len(sizes) > 1 or len(distances) > 1:
        raise ValueError(
            f"beamlets are {sorted(sizes)} mm large, {sorted(distances)} mm from the source; the MU of full scatter "
            "are calibrated for one size and distance"
        )
    machine = options.choice.machine
    collimator = None if machine is None else machine.collimator
    reference = ReferenceField(sad_mm=distances.pop()) if machine is None else machine.output
    quiet = replace(options, overrides=None).running(progress=False)
    factor = engine_mu_in_full_scatter(sizes.pop(), engine.grid.spacing_mm, reference, quiet)
    matrix = engine.beamlets(fields, options.run.progress, near_cutoff=_CUTOFF)
    matrix.data *= np.float32(factor)
    return DoseInfluence(matrix, engine.grid, layout, FieldDose(engine, fields, factor, collimator))
