"""OpenTPS's objectives as what the panel asks: the terms of ``method="Brimstone"``, with words on how each was read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opentps_brimstone.gui.asked import Asked
from opentps_brimstone.gui.limits import Limit, limit_of_term
from opentps_brimstone.model.derived import base_of
from opentps_brimstone.optimization.terms import KLDivergenceTerm

if TYPE_CHECKING:
    from opentps_brimstone.gui.objectives_table import TypedObjectives
    from opentps_brimstone.model.structure import Structure
    from opentps_brimstone.optimization.terms import ObjectiveTerm

__all__ = ["asked_by_opentps"]

_WORDS = {"DMin": "at least", "DMax": "at most", "DMaxMean": "on average at most"}
_LIMITS = (
    "Limits are penalized as OpenTPS penalizes them and begin 0.05 % inside what was typed. They weigh so much that "
    "the histograms decide only what limits leave open."
)


def asked_by_opentps(typed: TypedObjectives, ct: Any) -> tuple[list[Asked], str]:
    """Read OpenTPS's objectives as what is asked of structures.

    Parameters
    ----------
    typed : TypedObjectives
    ct : opentps CTImage

    Returns
    -------
    asked : list of Asked
        Their terms are those of `terms_from_objectives`, by which ``method="Brimstone"`` and "Brimstone (KL-DVH)" plan.
    words : str
        A paragraph for each structure: what was typed, and what is asked.
    """
    from opentps.core.data.plan import ObjectivesList

    from opentps_brimstone.adapters.objectives import terms_from_objectives
    from opentps_brimstone.adapters.plan import voxel_grid

    listed = ObjectivesList()
    for roi, dose in typed.targets:
        listed.setTarget(roi.name, None, dose)
    listed.targetMask = []
    of_structure: dict[str, tuple[Structure, list[ObjectiveTerm]]] = {}
    for structure, term in terms_from_objectives(list(typed.objectives), voxel_grid(ct), listed):
        of_structure.setdefault(structure.name, (structure, []))[1].append(term)
    prescribed = {str(roi.name): dose for roi, dose in typed.targets}
    asked = [_asked(structure, terms, prescribed.get(name)) for name, (structure, terms) in of_structure.items()]
    return asked, "\n\n".join([*(_words(name, typed, asked) for name in _typed_names(typed)), _LIMITS])


def _asked(structure: Structure, terms: list[ObjectiveTerm], prescribed_gy: float | None) -> Asked:
    points: tuple[tuple[float, float], ...] = ()
    weight = 1.0
    limits: list[Limit] = []
    for term in terms:
        limit = limit_of_term(term)
        if limit is not None:
            limits.append(limit)
        elif isinstance(term, KLDivergenceTerm) and not points:
            points, weight = tuple((float(dose), float(share)) for dose, share in term.dvh), term.weight
        else:
            raise ValueError(f"what OpenTPS's objectives ask of {structure.name!r}, {term!r}, cannot be drawn")
    own = None if points and prescribed_gy == points[0][0] else prescribed_gy
    return Asked(structure.name, structure.is_target, points, weight, tuple(limits), own)


def _typed_names(typed: TypedObjectives) -> list[str]:
    return list(dict.fromkeys(str(objective.roiName) for objective in typed.objectives if objective.weight > 0))


def _words(name: str, typed: TypedObjectives, asked: list[Asked]) -> str:
    of_name = [each for each in typed.objectives if each.roiName == name]
    read = [
        f"{each.structure}: {each.describe()}" for each in asked if name in (each.structure, base_of(each.structure))
    ]
    return f"{name}: you typed {'; '.join(map(_typed, of_name))}. Asked: " + ". ".join(read) + "."


def _typed(objective: Any) -> str:
    return f"{_WORDS.get(objective.metric, objective.metric)} {objective.limitValue:g} Gy (weight {objective.weight:g})"
