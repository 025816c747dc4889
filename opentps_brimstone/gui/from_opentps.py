"""OpenTPS's objectives as target DVHs to be drawn, with words on how each was read."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from opentps_brimstone.gui.asked import Asked
from opentps_brimstone.optimization.terms import KLDivergenceTerm

if TYPE_CHECKING:
    from opentps_brimstone.gui.objectives_table import TypedObjectives

__all__ = ["asked_by_opentps"]

_WORDS = {"DMin": "at least", "DMax": "at most", "DMaxMean": "on average at most"}
_WEIGHT_OF_LIMITS_ALONE = 0.01


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

    listed = ObjectivesList()
    for roi, dose in typed.targets:
        listed.setTarget(roi.name, None, dose)
    listed.targetMask = []
    drawn: dict[str, KLDivergenceTerm] = {}
    targets: dict[str, bool] = {}
    names = sorted({str(objective.roiName) for objective in typed.objectives}, key=len, reverse=True)
    for structure, term in terms_from_objectives(list(typed.objectives), voxel_grid(ct), listed):
        # The DVH of a body is drawn for its part outside targets.
        name = next(each for each in names if structure.name == each or structure.name.startswith(f"{each} "))
        targets[name] = targets.get(name, False) or structure.is_target
        if isinstance(term, KLDivergenceTerm):
            drawn.setdefault(name, term)
    of_name = {name: [each for each in typed.objectives if each.roiName == name] for name in targets}
    prescribed = {str(roi.name): dose for roi, dose in typed.targets}
    asked = [_asked(name, targets[name], of_name[name], drawn.get(name)) for name in targets]
    asked = [replace(each, prescription_gy=prescribed.get(each.structure)) for each in asked]
    words = [
        f"{each.structure}: you typed {'; '.join(map(_typed, of_name[each.structure]))}. Asked: {each.describe()}."
        for each in asked
    ]
    return asked, "\n\n".join(words)


def _typed(objective: Any) -> str:
    return f"{_WORDS.get(objective.metric, objective.metric)} {objective.limitValue:g} Gy (weight {objective.weight:g})"


def _asked(name: str, is_target: bool, objectives: list[Any], drawn: KLDivergenceTerm | None) -> Asked:
    """Draw a DVH with the strictest limits typed; one that these allow, if there is no other."""
    maximum = min((float(each.limitValue) for each in objectives if each.metric == "DMax"), default=None)
    minimum = max((float(each.limitValue) for each in objectives if each.metric == "DMin"), default=None)
    if drawn is not None:
        points = tuple((float(dose), float(share)) for dose, share in drawn.dvh)
        return Asked(name, is_target, points, drawn.weight, maximum or None, minimum or None)
    if not maximum:
        raise ValueError(f"what OpenTPS's objectives ask of {name!r} cannot be drawn as a DVH")
    points = ((minimum or 0.0, 1.0), (maximum, 0.0))
    return Asked(name, is_target, points, _WEIGHT_OF_LIMITS_ALONE, maximum, minimum or None)
