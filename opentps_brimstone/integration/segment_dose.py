"""Dose of segments that are still being changed, for the beams of an OpenTPS plan."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from opentps_brimstone._typing import BoolArray, FloatArray
from opentps_brimstone.adapters.angles import iec_from_opentps
from opentps_brimstone.adapters.plan import voxel_grid
from opentps_brimstone.adapters.segments import cells_of
from opentps_brimstone.engine.collapsed_cones import BeamletField, BeamView, ConeEngine
from opentps_brimstone.engine.ct_input import mass_density
from opentps_brimstone.engine.fields import fields_of
from opentps_brimstone.integration.fluences import leaf_openings

if TYPE_CHECKING:
    from opentps_brimstone.engine.options import DoseOptions
    from opentps_brimstone.sequencing import SequencedBeam

__all__ = ["SegmentDose"]


class SegmentDose:
    """Computes the dose of segments with this package's engine.

    With full scatter it is that of the openings, and of what leaves and jaws of a beam model let through; else that of
    the beamlets that OpenTPS makes of the segments.

    Parameters
    ----------
    photon_plan : opentps PhotonPlan
        Whose beams have one segment each, with beamlets.
    ct : opentps CTImage
    options : DoseOptions
    wanted : ndarray of bool, optional
        As for `ConeEngine`.
    spacing_mm : (float, float)
        Size of the beamlets that OpenTPS makes of the segments.
    gy_per_gy : float
        Factor of the engine's doses, which makes MU worth what they are in the plan.
    """

    def __init__(
        self,
        photon_plan: Any,
        ct: Any,
        options: DoseOptions,
        wanted: BoolArray | None,
        spacing_mm: tuple[float, float],
        gy_per_gy: float,
    ) -> None:
        choice = options.choice
        self._engine = ConeEngine(
            mass_density(np.asarray(ct.imageArray), options.density_table, options.overrides, photon_plan),
            voxel_grid(ct),
            scatter=choice.scatter,
            kernels=choice.kernels,
            beam_model=choice.machine,
            wanted=wanted,
            threads=options.run.threads,
        )
        self._collimator = None if choice.machine is None else choice.machine.collimator
        self._full = choice.scatter == "full"
        self._views = [
            BeamView.from_angles(iec_from_opentps(*field.angles_deg), field.isocenter_mm, field.sad_mm)
            for field in fields_of(photon_plan)
        ]
        self._spacing_mm = spacing_mm
        self._factor = gy_per_gy * int(photon_plan.numberOfFractionsPlanned)

    def __call__(self, beams: Sequence[SequencedBeam]) -> FloatArray:
        """Compute the dose.

        Parameters
        ----------
        beams : sequence of SequencedBeam
            One for each beam of the plan, in its order.

        Returns
        -------
        ndarray, shape (nx, ny, nz)
            Gy over all fractions.
        """
        if self._full:
            parts = [
                (view, opening.fluence(self._collimator))
                for view, beam in zip(self._views, beams, strict=True)
                for opening in leaf_openings(beam)
            ]
            return self._engine.fluence_dose([part for part in parts if len(part[1])]) * self._factor
        used = [(view, beam) for view, beam in zip(self._views, beams, strict=True) if beam.mu > 0]
        cells = [cells_of(beam, self._spacing_mm) for _, beam in used]
        fields = [BeamletField(view, xy, self._spacing_mm) for (view, _), (xy, _) in zip(used, cells, strict=True)]
        return self._engine.dose(fields, [mu for _, mu in cells]) * self._factor
