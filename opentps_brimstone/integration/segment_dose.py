"""Dose of segments that are still being changed, for the beams of an OpenTPS plan."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from opentps_brimstone._typing import BoolArray, FloatArray
from opentps_brimstone.adapters.angles import iec_from_opentps
from opentps_brimstone.adapters.plan import mlc_positions, voxel_grid
from opentps_brimstone.adapters.segments import cells_of
from opentps_brimstone.engine.collapsed_cones import BeamletField, BeamView, ConeEngine
from opentps_brimstone.engine.collimation import LeafOpening, leakage
from opentps_brimstone.engine.ct_input import mass_density
from opentps_brimstone.engine.fields import fields_of
from opentps_brimstone.engine.fluence import Rectangles
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
        self._leaks: dict[int, FloatArray] = {}  # of one MU of each beam
        self._factor = gy_per_gy * int(photon_plan.numberOfFractionsPlanned)

    def __call__(self, beams: Sequence[SequencedBeam], *, effort: str = "full") -> FloatArray:
        """Compute the dose.

        Parameters
        ----------
        beams : sequence of SequencedBeam
            One for each beam of the plan, in its order.
        effort : {"full", "half", "rough"}
            With full scatter, as for `ConeEngine.dose`.

        Returns
        -------
        ndarray, shape (nx, ny, nz)
            Gy over all fractions.
        """
        if self._full:
            return self._of_openings([leaf_openings(beam) for beam in beams], effort) * self._factor
        used = [(view, beam) for view, beam in zip(self._views, beams, strict=True) if beam.mu > 0]
        cells = [cells_of(beam, self._spacing_mm) for _, beam in used]
        fields = [BeamletField(view, xy, self._spacing_mm) for (view, _), (xy, _) in zip(used, cells, strict=True)]
        return self._engine.dose(fields, [mu for _, mu in cells]) * self._factor

    def of_plan(self, photon_plan: Any, beam_indices: Sequence[int], mu_ratio: float) -> FloatArray:
        """Compute the dose of segments as an OpenTPS plan has them, with full scatter.

        Parameters
        ----------
        photon_plan : opentps PhotonPlan
            Whose segments have leaves.
        beam_indices : sequence of int
            Which beam of the plan that this was made for each of its beams is.
        mu_ratio : float
            How many of its MU are one of the plan that this was made for.

        Returns
        -------
        ndarray, shape (nx, ny, nz)
            Gy over all fractions.
        """
        openings: list[list[LeafOpening]] = [[] for _ in self._views]
        for index, beam in zip(beam_indices, photon_plan.beams, strict=True):
            openings[index] = [
                LeafOpening(*mlc_positions(segment, beam.name), float(segment.mu)) for segment in beam.beamSegments
            ]
        return self._of_openings(openings, "full") * (self._factor / mu_ratio)

    def _of_openings(self, openings: Sequence[Sequence[LeafOpening]], effort: str) -> FloatArray:
        """Compute what is open in one convolution for each beam, and add what is let through, in Gy per fraction.

        Jaws stand still, so that what closed leaves let through goes with the MU of a beam, and is computed once.
        """
        parts = []
        dose = np.zeros(self._engine.grid.shape)
        for beam, (view, of_beam) in enumerate(zip(self._views, openings, strict=True)):
            mu = sum(opening.mu for opening in of_beam)
            parts += [(view, opening.fluence(self._collimator)) for opening in of_beam]
            if self._collimator is not None and mu > 0:
                through = leakage(of_beam[0], self._collimator)
                parts.append((view, Rectangles(through.x_mm, through.y_mm, -mu * np.asarray(through.mu))))
                if beam not in self._leaks:
                    self._leaks[beam] = self._engine.leakage_dose(view, through)
                dose += mu * self._leaks[beam]
        return dose + self._engine.fluence_dose([part for part in parts if len(part[1])], effort=effort)
