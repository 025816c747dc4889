"""Dose influence with full scatter: a matrix of what is near beamlets, and whole fields for the rest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from opentps_brimstone._typing import FloatArray
from opentps_brimstone.engine.calibration import engine_mu_in_full_scatter
from opentps_brimstone.engine.reference_field import ReferenceField
from opentps_brimstone.model.influence import DoseInfluence

if TYPE_CHECKING:
    from opentps_brimstone.engine.collapsed_cones import BeamletField, ConeEngine
    from opentps_brimstone.engine.options import DoseOptions
    from opentps_brimstone.model.influence import BeamletLayout

__all__ = ["FieldDose", "full_scatter_influence"]


# Share of a beamlet's maximum below which the matrix leaves its dose out, as OpenTPS does.
_CUTOFF = 0.005


class FieldDose:
    """Computes the dose of beamlet weights with scatter through the whole patient.

    Parameters
    ----------
    engine : ConeEngine
        With full scatter.
    fields : sequence of BeamletField
        With all beamlets, in the order of their weights.
    factor : float
        Of its doses, which makes MU worth what they are with beamlets.
    """

    def __init__(self, engine: ConeEngine, fields: Sequence[BeamletField], factor: float) -> None:
        self.engine, self.factor, self._fields = engine, factor, list(fields)
        self._ends = np.cumsum([len(field.xy_mm) for field in self._fields])[:-1]

    def __call__(self, weights: FloatArray, *, effort: str = "full") -> FloatArray:
        """Compute the dose in Gy per fraction, as `opentps_brimstone.model.influence.WholeDose`."""
        given = zip(self._fields, np.split(weights, self._ends), strict=True)
        used = [(field, mu) for field, mu in given if mu.any()]
        return self.engine.dose([field for field, _ in used], [mu for _, mu in used], effort=effort) * self.factor


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
    reference = ReferenceField(sad_mm=distances.pop())
    quiet = replace(options, overrides=None).running(progress=False)
    factor = engine_mu_in_full_scatter(sizes.pop(), engine.grid.spacing_mm, reference, quiet)
    matrix = engine.beamlets(fields, options.run.progress, near_cutoff=_CUTOFF)
    matrix.data *= np.float32(factor)
    return DoseInfluence(matrix, engine.grid, layout, FieldDose(engine, fields, factor))
