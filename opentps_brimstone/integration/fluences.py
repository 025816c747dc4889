"""What a plan irradiates, whoever made it: its fluence as openings of whole beams, or as beamlets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from opentps_brimstone._typing import FloatArray
from opentps_brimstone.adapters.angles import iec_from_opentps
from opentps_brimstone.adapters.plan import mlc_positions
from opentps_brimstone.adapters.privates import beamlet_mu, beamlet_xy
from opentps_brimstone.adapters.versions import source_distances_mm
from opentps_brimstone.engine.collapsed_cones import BeamletField, BeamView
from opentps_brimstone.engine.collimation import LeafOpening
from opentps_brimstone.engine.fields import check_mu, fields_of, with_beamlets
from opentps_brimstone.engine.fluence import Rectangles
from opentps_brimstone.engine.plan_doses import beam_view
from opentps_brimstone.model.beam import SAD_MM

if TYPE_CHECKING:
    from opentps_brimstone.engine.beam_model import Collimator
    from opentps_brimstone.model.plan import Plan
    from opentps_brimstone.sequencing import SequencedBeam

__all__ = ["Fluence", "PhotonPlanFluence", "PlanFluence", "SegmentFluence", "leaf_openings"]


class Fluence(Protocol):
    """Fluence of a plan."""

    @property
    def number_of_fractions(self) -> int:
        """Fractions that the MU are given in."""
        ...

    def openings(self, collimator: Collimator | None = None) -> list[tuple[BeamView, Rectangles]]:
        """Give openings and their MU, with the beam's eye view that each is in.

        With a collimator, also what its leaves and jaws let through where the fluence is that of segments.
        """
        ...

    def beamlets(self) -> tuple[list[BeamletField], list[FloatArray]]:
        """Beamlets that stand for the openings, and their MU."""
        ...

    def beamlet_sizes_mm(self) -> set[tuple[float, float]]:
        """Sizes that these beamlets have."""
        ...

    def distances_mm(self) -> set[float]:
        """Source-axis distances."""
        ...


def _as_openings(fields: Sequence[BeamletField], mu: Sequence[FloatArray]) -> list[tuple[BeamView, Rectangles]]:
    return [
        (field.view, Rectangles.of_beamlets(field.xy_mm, field.size_mm, weights))
        for field, weights in zip(fields, mu, strict=True)
        if weights.any()
    ]


def leaf_openings(beam: SequencedBeam) -> list[LeafOpening]:
    """Give the leaves, jaws and MU of a beam's segments.

    Parameters
    ----------
    beam : SequencedBeam

    Returns
    -------
    list of LeafOpening
    """
    boundaries = np.asarray(beam.mlc.leaf_boundaries_mm)
    sides = np.stack([boundaries[:-1], boundaries[1:]], axis=1)
    x_jaws, y_jaws = (pair or (-np.inf, np.inf) for pair in (beam.jaws.x_mm, beam.jaws.y_mm))
    return [
        LeafOpening(np.stack([each.left_mm, each.right_mm], axis=1), sides, x_jaws, y_jaws, each.mu)
        for each in beam.apertures
    ]


@dataclass(frozen=True, eq=False)
class PlanFluence:
    """Beamlet weights of a plan of this package, which has a series and weights."""

    plan: Plan

    def __post_init__(self) -> None:
        if self.plan.beamlet_weights is None:
            raise ValueError("the plan has no beamlet weights yet: set beamlet_weights, or optimize it")

    @property
    def number_of_fractions(self) -> int:
        """Fractions that the MU are given in."""
        return self.plan.number_of_fractions

    def openings(self, collimator: Collimator | None = None) -> list[tuple[BeamView, Rectangles]]:  # noqa: ARG002
        """Beamlets as openings."""
        return _as_openings(*self.beamlets())

    def beamlets(self) -> tuple[list[BeamletField], list[FloatArray]]:
        """Beamlets and their weights."""
        fields, mu = [], []
        for number, beam in enumerate(self.plan.beams):
            view = beam_view(beam, plan_distance_mm(self.plan, number))
            fields.append(BeamletField(view, beam.beamlet_xy_mm, beam.beamlet_spacing_mm))
            mu.append(np.asarray(beam.beamlet_weights, dtype=np.float64))
        return fields, mu

    def beamlet_sizes_mm(self) -> set[tuple[float, float]]:
        """Sizes of the beamlets."""
        return {beam.beamlet_spacing_mm for beam in self.plan.beams}

    def distances_mm(self) -> set[float]:
        """Source-axis distances."""
        return {plan_distance_mm(self.plan, number) for number in range(len(self.plan.beams))}


@dataclass(frozen=True, eq=False)
class SegmentFluence:
    """Segments that a sequencer made for beams of a plan.

    Attributes
    ----------
    plan : Plan
        With a series.
    segments : sequence of SequencedBeam
    """

    plan: Plan
    segments: Sequence[SequencedBeam]

    def __post_init__(self) -> None:
        for sequenced in self.segments:
            if not 0 <= sequenced.beam_index < len(self.plan.beams):
                raise ValueError(
                    f"segments are for beam {sequenced.beam_index}, but the plan has {len(self.plan.beams)} beams"
                )

    @property
    def number_of_fractions(self) -> int:
        """Fractions that the MU are given in."""
        return self.plan.number_of_fractions

    def _view(self, sequenced: SequencedBeam) -> BeamView:
        number = sequenced.beam_index
        return beam_view(self.plan.beams[number], plan_distance_mm(self.plan, number))

    def openings(self, collimator: Collimator | None = None) -> list[tuple[BeamView, Rectangles]]:
        """Give what leaves and jaws leave open, and let through."""
        found = []
        for sequenced in self.segments:
            view = self._view(sequenced)
            found += [(view, opening.fluence(collimator)) for opening in leaf_openings(sequenced)]
        return [(view, opened) for view, opened in found if len(opened)]

    def beamlets(self) -> tuple[list[BeamletField], list[FloatArray]]:
        """Beamlets of the grid that each beam was sequenced on, with the MU of their open shares."""
        fields = [BeamletField(self._view(beam), beam.grid_xy_mm, beam.spacing_mm) for beam in self.segments]
        return fields, [beam.delivered.ravel() for beam in self.segments]

    def beamlet_sizes_mm(self) -> set[tuple[float, float]]:
        """Sizes of the beamlets that were sequenced."""
        return {sequenced.spacing_mm for sequenced in self.segments}

    def distances_mm(self) -> set[float]:
        """Source-axis distances."""
        return {plan_distance_mm(self.plan, sequenced.beam_index) for sequenced in self.segments}


@dataclass(frozen=True, eq=False)
class PhotonPlanFluence:
    """Segments or beamlets of an OpenTPS plan.

    Attributes
    ----------
    photon_plan : opentps PhotonPlan
        Its segments have beamlets, or an MLC.
    """

    photon_plan: Any

    def __post_init__(self) -> None:
        from opentps.core.data.plan import PhotonPlan

        if not isinstance(self.photon_plan, PhotonPlan):
            raise TypeError(
                "a dose can be computed of a Plan, an OpenTPS PhotonPlan, a DeliverablePlan, or the path of an RT Plan "
                f"file, not of {type(self.photon_plan).__name__}"
            )
        if not self.photon_plan.beams:
            raise ValueError(f"the plan {self.photon_plan.name!r} has no beams")
        check_mu(self.photon_plan)

    @property
    def number_of_fractions(self) -> int:
        """Fractions that the MU are given in."""
        return int(self.photon_plan.numberOfFractionsPlanned)

    def openings(self, collimator: Collimator | None = None) -> list[tuple[BeamView, Rectangles]]:
        """Beamlets of the segments that have them, openings of the others."""
        found = []
        distances = source_distances_mm(self.photon_plan)
        for number, (beam, sad_mm) in enumerate(zip(self.photon_plan.beams, distances, strict=True), start=1):
            for index, segment in enumerate(beam.beamSegments):
                opened = _opened(segment, f"segment {index} of beam {number} ({beam.name!r})", collimator)
                found.append((_view(segment, beam, sad_mm), opened))
        return [(view, opened) for view, opened in found if len(opened)]

    def beamlets(self) -> tuple[list[BeamletField], list[FloatArray]]:
        """Beamlets of the segments, those that OpenTPS makes where they have none."""
        own_plan = with_beamlets(self.photon_plan)
        fields = fields_of(own_plan)
        views = [
            BeamView.from_angles(iec_from_opentps(*field.angles_deg), field.isocenter_mm, field.sad_mm)
            for field in fields
        ]
        made = [BeamletField(view, field.xy_mm, field.spacing_mm) for view, field in zip(views, fields, strict=True)]
        return made, [field.mu for field in fields]

    def beamlet_sizes_mm(self) -> set[tuple[float, float]]:
        """Sizes of the beamlets that segments have, or that OpenTPS makes of them."""
        segments = self.photon_plan.beamSegments
        return {(float(segment.xBeamletSpacing_mm), float(segment.yBeamletSpacing_mm)) for segment in segments}

    def distances_mm(self) -> set[float]:
        """Source-axis distances."""
        return set(source_distances_mm(self.photon_plan))


def _view(segment: Any, beam: Any, sad_mm: float) -> BeamView:
    angles = iec_from_opentps(
        segment.gantryAngle_degree, segment.couchAngle_degree, segment.beamLimitingDeviceAngle_degree
    )
    return BeamView.from_angles(angles, np.asarray(beam.isocenterPosition_mm, dtype=np.float64), sad_mm)


def _opened(segment: Any, place: str, collimator: Collimator | None) -> Rectangles:
    """Give the openings of a segment; none if it gives nothing."""
    if segment.beamlets:
        size = (float(segment.xBeamletSpacing_mm), float(segment.yBeamletSpacing_mm))
        mu = np.array(beamlet_mu(segment.beamlets), dtype=np.float64)
        return Rectangles.of_beamlets(beamlet_xy(segment.beamlets)[mu > 0], size, mu[mu > 0])
    return LeafOpening(*mlc_positions(segment, place), float(segment.mu)).fluence(collimator)


def plan_distance_mm(plan: Plan, number: int) -> float:
    """Source-axis distance of a beam of a plan.

    Parameters
    ----------
    plan : Plan
    number : int
        Of the beam; one made from an OpenTPS plan has a beam for each of its segments.

    Returns
    -------
    float
    """
    if plan.source is None:
        return SAD_MM
    distances = source_distances_mm(plan.source)
    of_segments = [sad for beam, sad in zip(plan.source.beams, distances, strict=True) for _ in beam.beamSegments]
    return of_segments[number]
