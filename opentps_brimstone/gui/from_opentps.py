"""OpenTPS's objectives as target DVHs to be drawn, with words on how each was read."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from opentps_brimstone.gui.asked import Asked
from opentps_brimstone.optimization.terms import KLDivergenceTerm, MaximumDoseTerm, MinimumDoseTerm, ObjectiveTerm

if TYPE_CHECKING:
    from opentps_brimstone.gui.objectives_table import TypedObjectives

__all__ = ["asked_by_opentps", "asked_by_terms"]

_WORDS = {"DMin": "at least", "DMax": "at most", "DMaxMean": "on average at most"}


def asked_by_opentps(typed: TypedObjectives, ct: Any) -> tuple[list[Asked], str]:
    """Read OpenTPS's objectives as what is asked of structures.

    Parameters
    ----------
    typed : TypedObjectives
    ct : opentps CTImage

    Returns
    -------
    asked : list of Asked
    words : str
        A paragraph for each structure: what was typed, and what is asked.
    """
    from opentps.core.data.plan import ObjectivesList

    from opentps_brimstone.adapters.objectives import terms_from_objectives
    from opentps_brimstone.adapters.plan import voxel_grid

    grid = voxel_grid(ct)
    listed = ObjectivesList()
    for roi, dose in typed.targets:
        listed.setTarget(roi.name, None, dose)
    listed.targetMask = []
    terms = terms_from_objectives(list(typed.objectives), grid, listed)
    of_structure: dict[str, tuple[bool, list[ObjectiveTerm]]] = {}
    for structure, term in terms:
        of_structure.setdefault(structure.name, (structure.is_target, []))[1].append(term)
    asked = [asked_by_terms(name, is_target, each) for name, (is_target, each) in of_structure.items()]
    typed_words = {
        each.structure: "; ".join(_typed(o) for o in typed.objectives if o.roiName == each.structure) for each in asked
    }
    words = [f"{each.structure}: you typed {typed_words[each.structure]}. Asked: {each.describe()}." for each in asked]
    return asked, "\n\n".join(words)


def _typed(objective: Any) -> str:
    return f"{_WORDS.get(objective.metric, objective.metric)} {objective.limitValue:g} Gy (weight {objective.weight:g})"


def asked_by_terms(name: str, is_target: bool, terms: Iterable[ObjectiveTerm]) -> Asked:
    """Draw the terms on one structure.

    Parameters
    ----------
    name : str
    is_target : bool
    terms : iterable of ObjectiveTerm

    Returns
    -------
    Asked
        With the DVH of the first divergence, and the strictest limits. A structure with limits alone gets a DVH that
        these allow.
    """
    every = list(terms)
    drawn = next((term for term in every if isinstance(term, KLDivergenceTerm)), None)
    maxima = [term.limit_gy for term in every if isinstance(term, MaximumDoseTerm) and term.limit_gy > 0]
    minima = [term.limit_gy for term in every if isinstance(term, MinimumDoseTerm) and term.limit_gy > 0]
    highest, lowest = min(maxima, default=None), max(minima, default=None)
    if drawn is not None:
        points = tuple((float(dose), float(share)) for dose, share in drawn.dvh)
        return Asked(name, is_target, points, drawn.weight, highest, lowest)
    if highest is None:
        raise ValueError(f"what OpenTPS's objectives ask of {name!r} cannot be drawn as a DVH: {every}")
    return Asked(name, is_target, ((lowest or 0.0, 1.0), (highest, 0.0)), 0.01, highest, lowest)
