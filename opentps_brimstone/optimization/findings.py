"""What a result must say besides that its search converged."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from opentps_brimstone._typing import FloatArray
from opentps_brimstone.optimization.core_plan import AssembledPlan, target_terms

if TYPE_CHECKING:
    from opentps_brimstone.model.plan import Plan
    from opentps_brimstone.optimization.settings import OptimizerSettings
    from opentps_brimstone.optimization.terms import KLDivergenceTerm, ObjectiveTerm

__all__ = ["Findings", "find"]

# A target falls short where it has less than this share of the dose that 95 % of it are asked to get.
_SHORT = 0.95
_ASKED_OF = 0.95
# Volume share of a target that may fall short, as at its surface, and that means that it is missed.
_ALLOWED_SHORT, _MISSED = 0.02, 0.5
# The latter where beamlets are at the ceiling.
_MISSED_AT_CEILING = 0.25
# Beamlets from this share of the highest weight on cannot rise much.
_AT_CEILING = 0.9


@dataclass(frozen=True)
class Findings:
    """Notes for people, and whether the targets are reached as far as the beamlets allow."""

    notes: tuple[str, ...]
    reached: bool


@dataclass(frozen=True)
class _Shortfall:
    note: str
    missed: bool


def find(
    plan: Plan,
    objectives: Iterable[ObjectiveTerm],
    settings: OptimizerSettings,
    assembled: AssembledPlan,
    weights: FloatArray,
    dose: FloatArray,
) -> Findings:
    """Look at weights, in MU over all fractions, and their dose for targets that are not reached, and why."""
    notes = list(assembled.notes)
    own = weights[assembled.beamlets]
    ceiling = max(assembled.highest_weight(settings.uniform_share), float(own.max()))
    at_ceiling = int(np.count_nonzero(own >= _AT_CEILING * ceiling))
    highest = np.where(weights > 0, weights, 0.0)
    highest[assembled.beamlets] = ceiling
    terms = [term for term in target_terms(list(objectives)) if term.quantity == "physical_dose"]
    short = [term for term in terms if _share_below(dose, term, _threshold(term)) > _ALLOWED_SHORT]
    most = plan.dose_of(highest / plan.number_of_fractions) if short else dose
    shortfalls = [_shortfall(term, dose, most, at_ceiling > 0) for term in short]
    notes += [each.note for each in shortfalls]
    left_out = assembled.n_allowed - len(assembled.beamlets)
    if left_out:
        notes.append(
            f"{left_out} of {assembled.n_allowed} beamlets are left out, as they hardly reach a target "
            "(inclusion_threshold)"
        )
    if at_ceiling:
        notes.append(
            f"{at_ceiling} of {len(own)} beamlets are at the ceiling of {ceiling / plan.number_of_fractions:.4g} MU "
            "(uniform_share)"
        )
    return Findings(tuple(notes), not any(each.missed for each in shortfalls))


def _threshold(term: KLDivergenceTerm) -> float:
    dose, volume = term.dvh.T
    return _SHORT * float(np.interp(-_ASKED_OF, -volume, dose))


def _share_below(dose: FloatArray, term: KLDivergenceTerm, threshold: float) -> float:
    assert term.structure is not None
    voxels, share = term.structure.packed.flat()
    return float(share[dose.ravel()[voxels] < threshold].sum() / share.sum())


def _shortfall(term: KLDivergenceTerm, dose: FloatArray, most: FloatArray, at_ceiling: bool) -> _Shortfall:
    assert term.structure is not None
    threshold = _threshold(term)
    below, out_of_reach = (_share_below(each, term, threshold) for each in (dose, most))
    note = f"{below:.1%} of {term.structure.name!r} gets less than {threshold:.4g} Gy, 95 % of what is asked for"
    if out_of_reach > _ALLOWED_SHORT:
        note += f"; the beamlets cannot give it to {out_of_reach:.1%}"
    return _Shortfall(note, below > (_MISSED_AT_CEILING if at_ceiling else _MISSED) or out_of_reach > _ALLOWED_SHORT)
