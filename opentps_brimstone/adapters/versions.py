"""What differs between OpenTPS 2 and OpenTPS 3, decided by what the installed one offers.

=====================  ==========================================  ================================================
                       OpenTPS 2                                   OpenTPS 3
=====================  ==========================================  ================================================
objective on dose      ``FidObjective`` with a metric              a class for each metric (``DMin``, ``DVHMax`` ...)
list of objectives     ``fidObjList``, ``exoticObjList``           ``objectivesList``
mean dose              ``DMean``, an upper bound                   ``DMaxMean``, ``DMinMean``
target of a fall-off   ``targetMask``                              ``target``
source-axis distance   of the plan                                 of the plan (or None) to place beamlets, of the
                                                                   beams to compute their dose
=====================  ==========================================  ================================================
"""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = [
    "fall_off_target",
    "is_objectives_list",
    "known_metrics",
    "metric_name",
    "objective_class",
    "objectives_in",
    "set_source_distance",
    "source_distance_mm",
    "source_distances_mm",
]

_SAME_DISTANCE_MM = 1e-3


# ------------------------------------------------------------------------------------------------- objectives


def objective_class() -> Any:
    """Class of OpenTPS's objectives on dose, of which exotic objectives are not."""
    try:
        from opentps.core.processing.planOptimization.objectives.dosimetricObjectives import _dosimetricObjective
    except ImportError:
        from opentps.core.data.plan import FidObjective

        return FidObjective
    return _dosimetricObjective.DosimetricObjective


def is_objectives_list(source: Any) -> bool:
    """Whether something is an OpenTPS ObjectivesList."""
    return hasattr(source, "objectivesList") or hasattr(source, "fidObjList")


def objectives_in(listed: Any) -> list[Any]:
    """Return all objectives of an OpenTPS ObjectivesList, exotic ones too."""
    if hasattr(listed, "objectivesList"):
        return list(listed.objectivesList)
    return [*listed.fidObjList, *listed.exoticObjList]


def known_metrics() -> dict[str, str]:
    """Metrics of objectives on dose: OpenTPS's spelling by the name that this package has for them in all versions."""
    names = {str(metric.name): str(metric.value) for metric in objective_class().Metrics}
    return {"DMEAN" if name == "DMAXMEAN" else name: spelling for name, spelling in names.items()}


def metric_name(objective: Any) -> str | None:
    """Name of an objective's metric in all versions: "DMIN", "DMEAN" (an upper bound) ...; None if it is unknown."""
    spelling = getattr(objective.metric, "value", objective.metric)
    return next((name for name, known in known_metrics().items() if known == spelling), None)


def fall_off_target(objective: Any) -> Any:
    """ROI from which a fall-off objective measures distances, or None."""
    return getattr(objective, "target", None) or getattr(objective, "targetMask", None) or None


# ------------------------------------------------------------------------------------------------- source distance


def source_distances_mm(photon_plan: Any) -> list[float]:
    """Source-axis distance of every beam of a plan, in mm.

    It is a ValueError if there is none, one is not positive, or a plan and its beam disagree: OpenTPS places beamlets
    with that of the plan, and OpenTPS 3 computes their dose with that of the beam.
    """
    common = _checked_distance(photon_plan.SAD_mm, f"the plan {photon_plan.name!r}")
    distances = []
    for number, beam in enumerate(photon_plan.beams, start=1):
        place = f"beam {number} ({beam.name!r})"
        distance = _checked_distance(getattr(beam, "SAD_mm", common), place)
        if distance is None:
            raise ValueError(f"{place} has no SAD_mm: set it to the source-axis distance in mm")
        if common is not None and abs(distance - common) > _SAME_DISTANCE_MM:
            raise ValueError(
                f"SAD_mm is {common:g} for the plan {photon_plan.name!r} and {distance:g} for {place}: OpenTPS places "
                "beamlets with the plan's, and OpenTPS 3 computes their dose with the beam's; give both the same"
            )
        distances.append(distance)
    return distances


def _checked_distance(given: Any, whose: str) -> float | None:
    if given is None:
        return None
    if not (np.isfinite(given) and given > 0):
        raise ValueError(f"SAD_mm of {whose} must be positive, got {given!r}")
    return float(given)


def source_distance_mm(photon_plan: Any) -> float:
    """Source-axis distance in mm of all beams of a plan; ValueError if they differ, or as `source_distances_mm`."""
    distances = source_distances_mm(photon_plan)
    if max(distances) - min(distances) > _SAME_DISTANCE_MM:
        raise ValueError(
            f"the beams of the plan {photon_plan.name!r} have different SAD_mm, {sorted(set(distances))}; one is needed"
        )
    return distances[0]


def set_source_distance(photon_plan: Any, distance_mm: float) -> None:
    """Give a plan and all its beams a source-axis distance in mm, wherever a version of OpenTPS reads it."""
    photon_plan.SAD_mm = distance_mm
    for beam in photon_plan.beams:
        beam.SAD_mm = distance_mm
