"""The tables and keys of a prescription file: what each value may be, and its default."""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from opentps_brimstone.engine.reference_field import ReferenceField
from opentps_brimstone.goal_planning.settings import GoalPlannerSettings
from opentps_brimstone.model.patient_position import POSITIONS
from opentps_brimstone.optimization.objectives import DVHLimitTerm, EUDTerm, HomogeneityTerm, SquaredDeviationTerm
from opentps_brimstone.optimization.settings import DIRECTIONS, OptimizerSettings
from opentps_brimstone.optimization.terms import (
    KLDivergenceTerm,
    MaximumDoseTerm,
    MeanDoseTerm,
    MinimumDoseTerm,
    ObjectiveTerm,
)
from opentps_brimstone.request import values
from opentps_brimstone.request.prescription_file import MATCHED, MachineRequest
from opentps_brimstone.sequencing import MLCS, SequencingSettings
from opentps_brimstone.sequencing.aperture_settings import ApertureSettings
from opentps_brimstone.sequencing.methods import METHODS

REQUIRED: Any = object()


class Entry(NamedTuple):
    """What the value of a key may be, and what it is if it is not given."""

    check: values.Check
    default: Any = None


def _fields(settings: Any) -> dict[str, Entry]:
    """Make an entry for each field of a dataclass of settings."""
    return {each.name: Entry(values.like(each.default), each.default) for each in dataclasses.fields(settings)}


_ANGLE = values.number(-360, 360, unit="degrees")
_DOSE = values.number(0, unit="Gy")
_PLACE = values.several(3, values.number(unit="mm"), "three numbers [x, y, z] in mm")
SCHEMA: dict[str, dict[str, Entry]] = {
    "plan": {
        "name": Entry(values.nonempty_text, "Brimstone plan"),
        "fractions": Entry(values.number(1, 200, whole=True), REQUIRED),
        "dose_grid_mm": Entry(values.grid_spacing),
        "isocenter_mm": Entry(_PLACE),
        "leave_out": Entry(lambda value: value, ()),
    },
    "input": {
        "series": Entry(values.nonempty_text),
        "structure_set": Entry(values.nonempty_text),
        "accept": Entry(lambda value: value, ()),
        "patient_position": Entry(values.choice(*POSITIONS)),
    },
    "beamlets": {
        "spacing_mm": Entry(values.number(1, 50, unit="mm"), 5.0),
        "margin_mm": Entry(values.number(0, 100, unit="mm"), 5.0),
    },
    "beams": {
        "gantry_angle": Entry(_ANGLE, REQUIRED),
        "couch_angle": Entry(_ANGLE, 0.0),
        "collimator_angle": Entry(_ANGLE, 0.0),
        "isocenter_mm": Entry(_PLACE),
        "name": Entry(values.nonempty_text),
    },
    "targets": {
        "structure": Entry(values.nonempty_text, REQUIRED),
        "dose_gy": Entry(values.number(above=0, unit="Gy over all fractions"), REQUIRED),
    },
    "previous_dose": {
        "file": Entry(values.nonempty_text, REQUIRED),
        "fractions": Entry(values.number(1, 200, whole=True), REQUIRED),
        "recovery": Entry(values.number(0, 1), 0.0),
        "structures": Entry(values.texts),
    },
    "tissue": {
        "structure": Entry(values.nonempty_text, REQUIRED),
        "alpha_beta": Entry(values.number(above=0, unit="Gy"), REQUIRED),
        "alpha": Entry(values.number(above=0, unit="1/Gy")),
    },
    "prescription": {"goals": Entry(lambda value: value, ())},
    "terms": {"structure": Entry(values.nonempty_text, REQUIRED), "kind": Entry(values.nonempty_text, REQUIRED)},
    "machine": {
        "mlc": Entry(values.choice(*MLCS, MATCHED), MachineRequest.mlc),
        "name": Entry(values.short_text(16)),
        "levels": Entry(values.number(2, 1000, whole=True), SequencingSettings.levels),
        "method": Entry(values.choice(*METHODS)),
        "minimum_mu": Entry(values.number(0, unit="MU per fraction"), MachineRequest.minimum_mu),
        "step_mu": Entry(values.number(0, unit="MU per fraction"), MachineRequest.step_mu),
        "minimum_area_mm2": Entry(values.number(0, unit="mm²"), 0.0),
        "maximum_apertures": Entry(values.number(1, whole=True)),
        "avoid_tongue_and_groove": Entry(values.truth, False),
        "share_wide_leaves": Entry(values.truth, False),
        "refine": Entry(values.truth, MachineRequest.refine),
        "scatter": Entry(values.choice("opentps", "full")),
        "beam_model": Entry(values.nonempty_text),
        "energy_mv": Entry(values.number(above=0, unit="MV"), MachineRequest.energy_mv),
        "dose_rate_mu_per_min": Entry(values.number(above=0, unit="MU/min")),
    },
    "apertures": _fields(ApertureSettings)
    | {name: Entry(values.number(1, whole=True)) for name in ("max_segments", "max_segments_per_beam")},
    "calibration": {
        "gy_per_mu": Entry(values.number(above=0, unit="Gy"), ReferenceField.gy_per_mu),
        "field_mm": Entry(values.number(above=0, unit="mm"), ReferenceField.field_mm),
        "depth_mm": Entry(values.number(above=0, unit="mm"), ReferenceField.depth_mm),
        "ssd_mm": Entry(values.number(above=0, unit="mm"), math.nan),
    },
    "optimizer": {
        each.name: Entry(values.like(each.default), each.default) for each in dataclasses.fields(OptimizerSettings)
    },
    "planner": {
        each.name: Entry(values.like(each.default), each.default) for each in dataclasses.fields(GoalPlannerSettings)
    },
}
LISTS = ("beams", "targets", "terms", "previous_dose", "tissue")
_COMMON = {
    "weight": Entry(values.number(above=0)),
    "quantity": Entry(values.choice("physical_dose", "bed", "eqd2", "effect")),
    "alpha_beta": Entry(values.number(above=0, unit="Gy")),
}
_LIMIT = {"limit_gy": Entry(_DOSE, REQUIRED), **_COMMON}
TERMS: dict[str, tuple[Callable[..., ObjectiveTerm], dict[str, Entry]]] = {
    "kl": (
        KLDivergenceTerm,
        {
            "dvh": Entry(values.points),
            "dose_range": Entry(values.several(2, _DOSE, "two doses [low, high] in Gy")),
            "volume_fraction": Entry(values.number(0, 1)),
            "direction": Entry(values.choice(*DIRECTIONS)),
            **_COMMON,
        },
    ),
    "maximum-dose": (MaximumDoseTerm, _LIMIT),
    "minimum-dose": (MinimumDoseTerm, _LIMIT),
    "mean-dose": (MeanDoseTerm, _LIMIT),
    "squared-deviation": (SquaredDeviationTerm, {"dose_gy": Entry(_DOSE, REQUIRED), **_COMMON}),
    "eud": (EUDTerm, {"a": Entry(values.number(), REQUIRED), "minimum": Entry(values.truth), **_LIMIT}),
    "dvh-limit": (
        DVHLimitTerm,
        {
            "dose_gy": Entry(_DOSE, REQUIRED),
            "volume": Entry(values.number(0, 1), REQUIRED),
            "minimum": Entry(values.truth),
            **_COMMON,
        },
    ),
    "homogeneity": (HomogeneityTerm, _COMMON),
}


def unknown_key(name: str, allowed: Mapping[str, Any]) -> str:
    """Say that a key is unknown, which ones there are, and which is meant."""
    close = difflib.get_close_matches(name, allowed, n=1)
    hint = f"; do you mean {close[0]}?" if close else ""
    return f"there is no such key; there are {', '.join(allowed)}{hint}"
