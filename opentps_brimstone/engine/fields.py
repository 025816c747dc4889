"""The beamlets of a plan as the engine's input, segment by segment."""

from __future__ import annotations

import io
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from opentps_brimstone._typing import AnyArray
from opentps_brimstone.adapters.copies import copy_plan
from opentps_brimstone.adapters.plan import (
    ensure_beamlets,
    layout_from_opentps,
    plan_isocenters,
    validate_photon_plan,
)
from opentps_brimstone.adapters.privates import beamlet_mu
from opentps_brimstone.adapters.versions import source_distances_mm

__all__ = ["Field", "check_mu", "fields_of", "with_beamlets"]


@dataclass(frozen=True)
class Field:
    """Beamlets of one segment, as input of the engine."""

    angles_deg: tuple[float, float, float]  # gantry, couch, collimator
    isocenter_mm: tuple[float, float, float]
    sad_mm: float
    spacing_mm: tuple[float, float]
    xy_mm: AnyArray
    mu: AnyArray

    def __len__(self) -> int:
        return len(self.mu)

    def with_mu(self) -> Field:
        """Return the beamlets that have MU."""
        used = self.mu > 0
        return replace(self, xy_mm=self.xy_mm[used], mu=self.mu[used])

    def specifications(self, first_number: int = 0) -> list[str]:
        """Return each beamlet as text in the engine's format, written by OpenTPS."""
        from opentps.core.io.CCCdoseEngineIO import getRotatedVersors, writeBeamletInFile

        versors = getRotatedVersors(*self.angles_deg)
        texts = []
        for number, (x, y) in enumerate(self.xy_mm / 10, start=first_number):
            text = io.StringIO()
            width_x, width_y = self.spacing_mm
            writeBeamletInFile(text, number, self.sad_mm / 10, x, y, width_x / 10, width_y / 10, *versors)
            texts.append(text.getvalue())
        return texts


def with_beamlets(plan: Any) -> Any:
    """Check a plan, and copy it with beamlets in every segment."""
    validate_photon_plan(plan)
    own_plan = copy_plan(plan)
    ensure_beamlets(own_plan)
    return own_plan


def fields_of(own_plan: Any) -> list[Field]:
    """Fields of a plan in which every segment has beamlets, one for each segment."""
    layout = layout_from_opentps(own_plan)
    distances = source_distances_mm(own_plan)
    places = plan_isocenters(own_plan).tolist()
    segments = [
        (segment, tuple(place), sad)
        for beam, place, sad in zip(own_plan.beams, places, distances, strict=True)
        for segment in beam.beamSegments
    ]
    return [
        Field(
            (segment.gantryAngle_degree, segment.couchAngle_degree, segment.beamLimitingDeviceAngle_degree),
            isocenter_mm,
            sad_mm,
            (float(segment.xBeamletSpacing_mm), float(segment.yBeamletSpacing_mm)),
            layout.xy_mm[layout.beam_index == number],
            np.array(segment.beamletMUs, dtype=float),
        )
        for number, (segment, isocenter_mm, sad_mm) in enumerate(segments)
    ]


def check_mu(plan: Any) -> None:
    """Raise ValueError if a beamlet, or a segment without beamlets, has no valid MU."""
    for number, beam in enumerate(getattr(plan, "beams", []), start=1):
        for index, segment in enumerate(beam.beamSegments):
            values = beamlet_mu(segment.beamlets) or [segment.mu]
            wrong = [value for value in values if value is None or not np.isfinite(value) or value < 0]
            if wrong:
                raise ValueError(
                    f"segment {index} of beam {number} ({beam.name!r}) has the MU {wrong[0]!r}; a dose needs "
                    "MU that are finite and not negative"
                )
