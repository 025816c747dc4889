"""Conversion of OpenTPS's objectives to terms.

OpenTPS penalizes the squares of what is beyond a limit, each objective for itself. Here every limit stays a limit: a
term that is penalized as OpenTPS does and weighs as much beside the others. Below the limits, which leave most of the
dose open, each structure gets one target dose-volume histogram (DVH): all objectives on one ROI are read together as
bounds of its DVH, and a DVH within these bounds is drawn. V is the share of the volume that gets at least a dose.

A ROI is a *target* if it is named or given as one in ``planDesign`` (``objectives.targetName``, ``targetMask``) or has
an objective that asks for dose (DMIN, DMINMEAN, DUNIFORM, DVHMIN). Else it is an *organ at risk*. ``hi`` is the highest
dose bound of all targets. Metrics have the names of OpenTPS 2 here; OpenTPS 3 has a class for each, `DMin` for DMIN,
and calls DMEAN `DMaxMean`.

==============  ==========================  ===========================================  ============================
metric          limit                       DVH of a target                              DVH of an organ at risk
==============  ==========================  ===========================================  ============================
DMIN            minimum of every voxel      V = 1 up to the limit                        (makes it a target)
DMAX            maximum of every voxel      V = 0 from the limit on, also from that of   V falls to 0 at the limit,
                                            a ROI around the target; without it V ends   most of the organ far below
                                            5 % above the highest lower bound
DMIN and DMAX   both                        the interval between; if they cross, as in   –
                                            OpenTPS's photon example, as DUNIFORM at
                                            their weighted mean
DUNIFORM        both, at the dose           ±1 % around it                               (makes it a target)
DMEAN           maximum of the mean         V = 0 at 2 · limit − lowest dose at the      V falls exponentially with
                                            latest                                       that mean dose, to 0 at the
                                                                                         DMAX limit or at ``hi``
DMINMEAN        –                           V = 1 up to 2 · limit − highest dose at      (makes it a target)
                                            least, which is the limit less 5 % without
                                            other bounds
DVHMIN          OpenTPS's own penalty       V passes through (limit, volume); without    (makes it a target)
                                            DMIN the rest may be up to 5 % colder
DVHMAX          OpenTPS's own penalty       V passes through (limit, volume)             V falls exponentially, at or
                                                                                         below (limit, volume), to 0
                                                                                         at the DMAX limit or ``hi``
DFALLOFF        maxima of up to 8 shells    –                                            –
                of the ROI around the
                target
EUDMIN, EUDMAX  an error: many DVHs have one equivalent uniform dose
EUDUNIFORM
robust=True     of the worst scenario       of the worst scenario
==============  ==========================  ===========================================  ============================

In a plan whose design has error scenarios (``robustness.scenarios``), all terms of robust objectives are one group:
their sum counts in the scenario, nominal or not, in which it is highest. Terms of others see the nominal dose. A DVH is
of the group if any objective on its ROI is robust.

A target that has only upper bounds takes its prescription (``objectives.targetPrescription``) as its minimum.
A target with neither is an error, and so is a plan without any target.

Weights are relative: a DVH term has the largest weight among its ROI's objectives, divided by the largest weight on a
target. The DVH that asks an organ at risk to stay *below* its DMAX limit goes beyond what the objective says, so it
has a fiftieth of that weight; one drawn through a DVHMAX limit has three tenths. Limits have a billion times it, so
that DVHs decide only what they leave open, and begin 0.05 % inside what was typed. ``kind="Hard"`` means something only
to OpenTPS's LP and is read as soft, as OpenTPS's other methods do.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.optimize import brentq

from opentps_brimstone._typing import BoolArray, FloatArray
from opentps_brimstone.adapters.beamlets import scenario_beamlets
from opentps_brimstone.adapters.plan import structure_from_roi, voxel_grid
from opentps_brimstone.adapters.versions import (
    fall_off_target,
    is_objectives_list,
    known_metrics,
    metric_name,
    objective_class,
    objectives_in,
)
from opentps_brimstone.model.structure import Structure
from opentps_brimstone.optimization.objectives import DVHLimitTerm
from opentps_brimstone.optimization.robust_terms import robust_term
from opentps_brimstone.optimization.terms import (
    KLDivergenceTerm,
    MaximumDoseTerm,
    MeanDoseTerm,
    MinimumDoseTerm,
    ObjectiveTerm,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from opentps_brimstone.model.influence import VoxelGrid

__all__ = ["target_names", "terms_from_objectives"]

_ASKS_FOR_DOSE = ("DMIN", "DMINMEAN", "DUNIFORM", "DVHMIN")
_TARGET_WIDTH = 0.05  # of a target's DVH where one of its ends is not given
_UNIFORM_HALF_WIDTH = 0.01
# Of a limit, in units of the heaviest objective on a target: what was typed is weighed as OpenTPS weighs it, and the
# DVHs decide what it leaves open.
_LIMIT_WEIGHT = 1e9
_MARGIN = 5e-4  # of a limit, where its penalty begins, so that what it lets pass is still within the limit
_SPARING_WEIGHT = 0.02  # of the DVH asked below a DMAX limit
_DVHMAX_WEIGHT = 0.3  # of the DVH asked below a DVHMAX limit
_SPARING_STEEPNESS = 5.0  # mean dose a fifth of the limit
_LARGEST_STEEPNESS = 50.0
_FALLOFF_SHELLS = 8
_ROBUST = "robust objectives"  # name of their group
_UNNAMED = "ROI contour"  # OpenTPS's name for every ROI that was given none


Terms = list[tuple[Structure, ObjectiveTerm]]


@dataclass(frozen=True)
class _Objective:
    """One objective of OpenTPS, checked."""

    metric: str
    limit_gy: float
    weight: float
    volume: float
    source: Any
    is_robust: bool = False

    def __str__(self) -> str:
        return f"{known_metrics()[self.metric]} {self.limit_gy:g} Gy"


@dataclass
class _Region:
    """All objectives on one ROI."""

    name: str
    rois: list[Any]
    mask: BoolArray
    objectives: list[_Objective] = field(default_factory=list)
    is_target: bool = False
    prescription_gy: float | None = None

    def of(self, *metrics: str) -> list[_Objective]:
        return [objective for objective in self.objectives if objective.metric in metrics]

    @property
    def weight(self) -> float:
        return max(objective.weight for objective in self.objectives)

    @property
    def maxima(self) -> list[_Objective]:
        """Limits on the dose of every voxel."""
        return [*self.of("DMAX"), *(one for one in self.of("DVHMAX") if one.volume == 0)]

    def structure(self, suffix: str = "", mask: BoolArray | None = None) -> Structure:
        return Structure(self.name + suffix, self.mask if mask is None else mask, is_target=self.is_target)


def terms_from_objectives(source: Any, grid: Any, design: Any = None) -> list[tuple[Structure, ObjectiveTerm]]:
    """Convert a plan's objectives to terms on structures, by the table at the head of this module.

    Parameters
    ----------
    source : opentps PhotonPlan, ObjectivesList or list of objectives on dose
        A plan's objectives are those of its ``planDesign``. Not changed.
    grid : VoxelGrid or opentps Image3D
        Dose grid, or an image on it.
    design : opentps PhotonPlanDesign or ObjectivesList, optional
        With the targets, if `source` is a list.

    Returns
    -------
    list of (Structure, ObjectiveTerm)
        Doses in Gy over all fractions. Terms on one ROI share one Structure. Those of robust objectives are robust
        terms if the design has error scenarios, which `scenarios_of_design` converts.

    Raises
    ------
    TypeError
        If ``source`` is none of these, or a ROI is neither mask nor contour.
    ValueError
        If there is no objective or no target, an objective has no meaning as DVH, lacks a number or has an impossible
        one, two contradict each other, or a ROI is empty. Names the ROI, the metric and the value.
    """
    objectives, own_design = _objectives_of(source)
    design = own_design if own_design is not None else design
    regions = _regions(objectives, design, voxel_grid(grid))
    targets = [region for region in regions if region.is_target]
    if not targets:
        names = ", ".join(repr(region.name) for region in regions)
        raise ValueError(
            f"no objective is on a target (ROIs: {names}): name the target with "
            "planDesign.defineTargetMaskAndPrescription, or give it a DMin, DUniform or DVHMin objective"
        )
    unit = max(region.weight for region in targets)
    target_dvhs = {region.name: _target_dvh(region) for region in targets}
    highest = max(float(dvh[-1, 0]) for dvh in target_dvhs.values())
    in_targets = np.logical_or.reduce([region.mask for region in targets])
    terms: list[tuple[Structure, ObjectiveTerm]] = []
    for region in regions:
        structure = region.structure()
        if region.is_target:
            dvh = _lowered(target_dvhs[region.name], _ceiling_around(region, regions))
            dvhs: Terms = [(structure, KLDivergenceTerm(dvh=dvh, weight=region.weight / unit))]
        else:
            dvhs = _organ_dvh(region, structure, highest, in_targets, unit)
        terms += _in_worst_scenario(dvhs, any(one.is_robust for one in region.objectives))
        for one in region.objectives:
            limits: Terms = [(structure, term) for term in _limits_of(one, highest, _LIMIT_WEIGHT / unit)]
            terms += _in_worst_scenario(limits, one.is_robust)
        for one in region.of("DFALLOFF"):
            terms += _in_worst_scenario(_falloff_terms(region, one, voxel_grid(grid), unit), one.is_robust)
    return terms


def _in_worst_scenario(terms: Terms, is_robust: bool) -> Terms:
    """Make terms of robust objectives ones of the group whose sum counts in the worst scenario."""
    if not is_robust:
        return terms
    return [(structure, robust_term(term, "worst_case", group=_ROBUST)) for structure, term in terms]


# -------------------------------------------------------------------------------------------- reading the objectives


def _objectives_of(source: Any) -> tuple[list[Any], Any]:
    """Objectives of a source, and the plan design or ObjectivesList that names the targets, if any."""
    if isinstance(source, (list, tuple)):
        objectives, design = list(source), None
    elif is_objectives_list(source):
        objectives, design = objectives_in(source), source
    elif hasattr(source, "planDesign"):
        if source.planDesign is None:
            raise ValueError(f"the plan {source.name!r} has no planDesign, and so no objectives")
        design = source.planDesign
        objectives = objectives_in(design.objectives)
    else:
        raise TypeError(f"objectives must be a PhotonPlan's or an ObjectivesList, got {type(source).__name__}")
    if not objectives:
        raise ValueError("there are no objectives: add some to planDesign.objectives")
    exotic = [type(objective).__name__ for objective in objectives if not isinstance(objective, objective_class())]
    if exotic and design is not None:
        raise ValueError(
            f"the objectives hold {', '.join(exotic)}, exotic objectives that have no meaning as a dose-volume "
            "histogram: remove them"
        )
    return objectives, design


def _checked(objective: Any, design: Any) -> _Objective | None:
    """Check one objective; None if its weight is 0."""
    metric = _metric_name(objective)
    what = f"objective {known_metrics()[metric]} on ROI {objective.roiName!r}"
    weight = objective.weight
    if weight is None or not np.isfinite(weight) or weight < 0:
        raise ValueError(f"{what}: weight must be 0 or more, got {weight!r}")
    if weight == 0:
        return None
    if metric.startswith("EUD"):
        raise ValueError(
            f"{what}: many dose-volume histograms have the same equivalent uniform dose, so it sets no target for one; "
            "use DVHMax or DMean for an organ at risk, DMin, DVHMin or DUniform for a target"
        )
    limit = _limit(objective, metric, what)
    is_robust = bool(objective.robust) and bool(scenario_beamlets(design))
    return _Objective(metric, limit, float(weight), _volume(objective, metric, what), objective, is_robust)


def _metric_name(objective: Any) -> str:
    wanted = objective_class()
    if not isinstance(objective, wanted):
        raise TypeError(f"an objective must be an OpenTPS {wanted.__name__}, got {type(objective).__name__}")
    metric = metric_name(objective)
    if metric is None:
        raise ValueError(
            f"objective on ROI {objective.roiName!r}: metric {objective.metric!r} is not one of "
            f"{', '.join(known_metrics().values())}"
        )
    return metric


def _limit(objective: Any, metric: str, what: str) -> float:
    name = "fallOffHighDoseLevel" if metric == "DFALLOFF" else "limitValue"
    limit = getattr(objective, name, None)
    if limit is None or not np.isfinite(limit) or limit < 0 or (limit == 0 and metric in _ASKS_FOR_DOSE):
        raise ValueError(f"{what}: {name} must be a positive dose in Gy, got {limit!r}")
    return float(limit)


def _volume(objective: Any, metric: str, what: str) -> float:
    if not metric.startswith("DVH"):
        return 1.0 if metric == "DMIN" else 0.0
    volume = objective.volume
    if volume is None or not 0 <= volume <= 1 or (metric == "DVHMIN" and volume == 0):
        raise ValueError(f"{what}: volume must be a share between 0 and 1, got {volume!r}")
    return float(volume)


def _regions(objectives: Sequence[Any], design: Any, grid: VoxelGrid) -> list[_Region]:
    checked = [objective for objective in (_checked(one, design) for one in objectives) if objective is not None]
    if not checked:
        raise ValueError("all objectives have weight 0")
    regions: list[_Region] = []
    for objective in checked:
        _region_of(objective.source.roi, regions, grid).objectives.append(objective)
    for region in regions:
        named, region.prescription_gy = _named_target(region, design)
        region.is_target = named or bool(region.of(*_ASKS_FOR_DOSE))
    return regions


def _region_of(roi: Any, regions: list[_Region], grid: VoxelGrid) -> _Region:
    """Region of a ROI: that of the same mask, or a new one with a unique name."""
    for region in regions:
        if any(roi is known for known in region.rois):
            return region
    mask = np.asarray(structure_from_roi(roi, grid).mask, dtype=bool)
    namesakes = [region for region in regions if region.rois[0].name == roi.name]
    for region in namesakes:
        if np.array_equal(mask, region.mask):
            region.rois.append(roi)
            return region
    name = roi.name if not namesakes else f"{roi.name} ({len(namesakes) + 1})"
    region = _Region(name, [roi], mask)
    regions.append(region)
    return region


# ------------------------------------------------------------------------------------------------- what is a target


def _as_list(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, (list, tuple, np.ndarray)) else [value]


def target_names(design: Any) -> list[str]:
    """Names of the targets of a plan design.

    Parameters
    ----------
    design : opentps PhotonPlanDesign, ObjectivesList or None

    Returns
    -------
    list of str
        Without duplicates and without OpenTPS's default name of ROIs.
    """
    if design is None:
        return []
    objectives = getattr(design, "objectives", design)
    masks = [*_as_list(objectives.targetMask), *_as_list(getattr(design, "targetMask", None))]
    names = [*_as_list(objectives.targetName), *(mask.name for mask in masks)]
    return [name for name in dict.fromkeys(names) if name != _UNNAMED]


def _named_target(region: _Region, design: Any) -> tuple[bool, float | None]:
    """Whether a plan design says that a region is a target, and its prescription in Gy if that is known."""
    if design is None:
        return False, None
    objectives = getattr(design, "objectives", design)
    names = _as_list(objectives.targetName)
    masks = _as_list(objectives.targetMask)
    prescriptions = _as_list(objectives.targetPrescription)
    roi_name = region.rois[0].name

    def is_it(number: int) -> bool:
        same_name = number < len(names) and names[number] == roi_name != _UNNAMED
        return same_name or (number < len(masks) and any(masks[number] is roi for roi in region.rois))

    numbers = [number for number in range(max(len(names), len(masks))) if is_it(number)]
    if numbers:
        doses = [float(prescriptions[number]) for number in numbers if number < len(prescriptions)]
        return True, max(doses, default=None)
    mask = None if objectives is design else getattr(design, "targetMask", None)
    if mask is not None and (any(mask is roi for roi in region.rois) or mask.name == roi_name != _UNNAMED):
        return True, float(prescriptions[0]) if len(prescriptions) == 1 else None
    return False, None


# ---------------------------------------------------------------------------------------------------- targets


def _target_dvh(region: _Region) -> FloatArray:
    """DVH of a target within its bounds, shape (k, 2)."""
    low, high = _ends(region)
    inner = [
        objective
        for objective in region.of("DVHMIN", "DVHMAX")
        if low < objective.limit_gy < high and 0 < objective.volume < 1
    ]
    points = [(low, 1.0), *sorted({(one.limit_gy, one.volume) for one in inner}), (high, 0.0)]
    doses, volumes = np.array(points).T
    if np.any(np.diff(doses) <= 0) or np.any(np.diff(volumes) >= 0):
        described = ", ".join(f"{one} to {one.volume:.3g} of it" for one in inner)
        raise ValueError(
            f"the objectives on ROI {region.name!r} contradict each other: no falling dose-volume histogram from "
            f"{low:g} to {high:g} Gy meets {described}"
        )
    return np.array(points)


def _ends(region: _Region) -> tuple[float, float]:
    """Lowest and highest dose of a target's DVH, Gy."""
    lowest = [(one.limit_gy, one.weight) for one in region.of("DMIN")]
    lowest += [(one.limit_gy, one.weight) for one in region.of("DVHMIN") if one.volume == 1]
    partial = [(one.limit_gy, one.weight) for one in region.of("DVHMIN") if one.volume < 1]
    least_means = [(one.limit_gy, one.weight) for one in region.of("DMINMEAN")]
    highest = [(one.limit_gy, one.weight) for one in region.of("DMAX")]
    highest += [(one.limit_gy, one.weight) for one in region.of("DVHMAX") if one.volume == 0]
    for one in region.of("DUNIFORM"):
        lowest.append(((1 - _UNIFORM_HALF_WIDTH) * one.limit_gy, one.weight))
        highest.append(((1 + _UNIFORM_HALF_WIDTH) * one.limit_gy, one.weight))
    if not (lowest or partial or least_means):
        lowest.append((_prescription(region), region.weight))
    floor = max(lowest + partial + least_means)
    low = max(lowest)[0] if lowest else (1 - _TARGET_WIDTH) * min(partial + least_means)[0]
    highest += [(max(2 * one.limit_gy - low, one.limit_gy), one.weight) for one in region.of("DMEAN")]
    ceiling = min(highest) if highest else ((1 + _TARGET_WIDTH) * floor[0], 0.0)
    if floor[0] >= ceiling[0]:
        center = np.average([floor[0], ceiling[0]], weights=[floor[1], ceiling[1]])
        return float((1 - _UNIFORM_HALF_WIDTH) * center), float((1 + _UNIFORM_HALF_WIDTH) * center)
    # A dose spread evenly between both ends has its mean in the middle.
    return max([low, *(2 * limit - ceiling[0] for limit, _ in least_means)]), ceiling[0]


def _prescription(region: _Region) -> float:
    if region.prescription_gy is None or not region.prescription_gy > 0:
        described = ", ".join(map(str, region.objectives))
        raise ValueError(
            f"the target {region.name!r} has no objective that asks for dose ({described}) and no prescription: "
            "add a DMin, DUniform or DVHMin objective"
        )
    return region.prescription_gy


def _ceiling_around(region: _Region, regions: Sequence[_Region]) -> float:
    """Lowest maximum dose that objectives on ROIs around a target allow it, such as those on a body."""
    half = region.mask.sum() / 2
    around = [one for one in regions if one is not region and (one.mask & region.mask).sum() > half]
    return min((each.limit_gy for one in around for each in one.of("DMAX")), default=math.inf)


def _lowered(dvh: FloatArray, ceiling_gy: float) -> FloatArray:
    """End a DVH of two points at a ceiling, or just above its lowest dose if the ceiling is below that."""
    low, high = float(dvh[0, 0]), float(dvh[-1, 0])
    end = max(ceiling_gy, (1 + 2 * _UNIFORM_HALF_WIDTH) * low)
    if end >= high or len(dvh) > 2:
        return dvh
    return np.array([(low, 1.0), (end, 0.0)])


# ------------------------------------------------------------------------------------------------- limits


def _limits_of(objective: _Objective, reference_gy: float, unit_weight: float) -> list[ObjectiveTerm]:
    """Penalize what OpenTPS penalizes, by weights that stand in the same proportions."""
    limit, weight = objective.limit_gy, unit_weight * objective.weight
    below, above = (1 - _MARGIN) * limit, (1 + _MARGIN) * limit
    match objective.metric:
        case "DMIN":
            return [MinimumDoseTerm(above, weight=weight)]
        case "DMAX":
            return [MaximumDoseTerm(below, weight=weight)]
        case "DMEAN":
            return [MeanDoseTerm(below, weight=weight)]
        case "DUNIFORM":
            return [MinimumDoseTerm(limit, weight=weight), MaximumDoseTerm(limit, weight=weight)]
        case "DVHMAX":
            return [_dvh_limit(below, objective.volume, reference_gy, weight, minimum=False)]
        case "DVHMIN":
            return [_dvh_limit(above, objective.volume, reference_gy, weight, minimum=True)]
    return []


def _dvh_limit(limit_gy: float, volume: float, reference_gy: float, weight: float, *, minimum: bool) -> ObjectiveTerm:
    if minimum and volume == 1:
        return MinimumDoseTerm(limit_gy, weight=weight)
    if not minimum and (volume == 0 or limit_gy == 0):
        return MaximumDoseTerm(limit_gy, weight=weight)
    # It counts in units of its own dose, the others in units of the targets' highest.
    return DVHLimitTerm(limit_gy, volume, minimum=minimum, weight=weight * (limit_gy / reference_gy) ** 2)


# ------------------------------------------------------------------------------------------------- organs at risk


def _organ_dvh(
    region: _Region, structure: Structure, highest_gy: float, in_targets: BoolArray, unit: float
) -> list[tuple[Structure, ObjectiveTerm]]:
    """Ask for a falling DVH that the limits of an organ allow."""
    end_gy = min([highest_gy, *(one.limit_gy for one in region.maxima)])
    means, volumes = region.of("DMEAN"), [one for one in region.of("DVHMAX") if 0 < one.volume < 1]
    if means or volumes:
        dvh = _falling_dvh(end_gy, _steepness([*means, *volumes], end_gy))
        weights = [one.weight for one in means] + [_DVHMAX_WEIGHT * one.weight for one in volumes]
        return [(structure, KLDivergenceTerm(dvh=dvh, weight=max(weights) / unit))]
    return _sparing_terms(region, structure, end_gy, in_targets, unit) if region.maxima else []


def _outside_targets(region: _Region, structure: Structure, in_targets: BoolArray) -> Structure | None:
    """Part of an organ outside all targets; the organ's own structure if that is all of it."""
    outside = region.mask & ~in_targets
    if not outside.any():
        return None
    return structure if np.array_equal(outside, region.mask) else region.structure(" outside targets", outside)


def _sparing_terms(
    region: _Region, structure: Structure, end_gy: float, in_targets: BoolArray, unit: float
) -> list[tuple[Structure, ObjectiveTerm]]:
    """Spare the part outside targets of an organ whose only limit is a maximum."""
    outside = _outside_targets(region, structure, in_targets)
    if end_gy <= 0 or outside is None:
        return []
    weight = _SPARING_WEIGHT * region.weight / unit
    return [(outside, KLDivergenceTerm(dvh=_falling_dvh(end_gy, _SPARING_STEEPNESS), weight=weight))]


def _share_above(dose: Any, steepness: float) -> Any:
    """Share of a volume above a dose (in units of the last dose) for an exponential density cut off at 1."""
    return (np.exp(-steepness * dose) - np.exp(-steepness)) / -np.expm1(-steepness)


def _mean_dose(steepness: float) -> float:
    """Mean of that density; 0.5 for steepness 0."""
    return float(1 / steepness - 1 / np.expm1(steepness))


def _falling_dvh(end_gy: float, steepness: float) -> FloatArray:
    """DVH from (0, 1) to (end_gy, 0) of an exponentially distributed dose, shape (k, 2)."""
    doses = np.linspace(0, 1, 25) ** 2
    volumes = _share_above(doses, steepness)
    volumes[[0, -1]] = 1, 0
    return np.column_stack([doses * end_gy, volumes])


def _steepness(objectives: Iterable[_Objective], end_gy: float) -> float:
    """Smallest steepness at which `_falling_dvh` meets every mean dose and volume."""
    return max(_steepness_for(objective, end_gy) for objective in objectives)


def _steepness_for(objective: _Objective, end_gy: float) -> float:
    flat = 1e-3
    dose = objective.limit_gy / end_gy

    def excess(steepness: float) -> float:
        if objective.metric == "DMEAN":
            return _mean_dose(steepness) - dose
        return float(_share_above(dose, steepness)) - objective.volume

    if dose >= 1 or excess(flat) <= 0:
        return flat
    if excess(_LARGEST_STEEPNESS) >= 0:
        return _LARGEST_STEEPNESS
    return float(brentq(excess, flat, _LARGEST_STEEPNESS))


# ---------------------------------------------------------------------------------------------------- dose fall-off


def _falloff_terms(
    region: _Region, objective: _Objective, grid: VoxelGrid, unit: float
) -> list[tuple[Structure, ObjectiveTerm]]:
    """Maximum-dose terms on shells around a target; their weights add up to that of one on the whole."""
    from scipy.ndimage import distance_transform_edt

    source = objective.source
    what = f"objective DFallOff on ROI {region.name!r}"
    reach, low_gy = float(source.fallOffDistance), float(source.fallOffLowDoseLevel)
    if not reach > 0:
        raise ValueError(f"{what}: fallOffDistance must be positive, got {reach} mm")
    if not 0 <= low_gy <= objective.limit_gy:
        raise ValueError(
            f"{what}: fallOffLowDoseLevel must lie between 0 and the high level {objective.limit_gy}, got {low_gy}"
        )
    target_roi = fall_off_target(source)
    if target_roi is None:
        raise ValueError(f"{what} has no target: call planDesign.defineTargetMaskAndPrescription first")
    target = structure_from_roi(target_roi, grid)
    distance = distance_transform_edt(np.asarray(target.mask) == 0, sampling=grid.spacing_mm)
    inside = region.mask & (distance > 0) & (distance < reach)
    if not inside.any():
        raise ValueError(f"{what}: no voxel of the ROI lies within {reach} mm of the target {target.name!r}")
    terms: list[tuple[Structure, ObjectiveTerm]] = []
    edges = np.linspace(0, reach, _FALLOFF_SHELLS + 1)
    for number, (inner, outer) in enumerate(itertools.pairwise(edges), start=1):
        shell = inside & (distance > inner) & (distance <= outer)
        if shell.any():
            share = shell.sum() / inside.sum()
            limit = objective.limit_gy - distance[shell].mean() * (objective.limit_gy - low_gy) / reach
            weight = _LIMIT_WEIGHT * share * objective.weight / unit
            structure = Structure(f"{region.name} fall-off {number}", shell, is_target=False)
            terms.append((structure, MaximumDoseTerm(float(limit), weight=float(weight))))
    return terms
