"""An optimizer for given terms, with levels fine enough to resolve them."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from opentps_brimstone.model.influence import DoseInfluence
from opentps_brimstone.model.plan import Plan
from opentps_brimstone.model.scenario import Scenario
from opentps_brimstone.model.structure import Structure
from opentps_brimstone.optimization.assembly_memory import AssemblyMemory
from opentps_brimstone.optimization.optimizer import PlanOptimizer
from opentps_brimstone.optimization.settings import OptimizerSettings
from opentps_brimstone.optimization.terms import KLDivergenceTerm, ObjectiveTerm

__all__ = ["limits_decide", "optimizer_of", "plan_with_terms", "settings_for"]

# The finest level's kernel fits this many times into the narrowest target DVH.
_KERNELS_IN_TARGET = 1.0
# Ratio of the published sigmas of neighboring levels.
_LEVEL_STEP = 2.5
# Limits that outweigh every target DVH by this much decide the plan.
_LIMITS_DECIDE = 1e5
# Coarse levels would lead beamlets to weights near zero, from which limits bring them back slowly; beamlets at the edge
# of a target need many times the uniform weight; and limits that contradict each other are met as well as can be only
# at the very minimum.
_FOR_LIMITS: dict[str, Any] = {
    "number_of_levels": 1,
    "uniform_share": 0.05,
    "cg_tolerance": 1e-6,
    "max_iterations": 5000,
}


def settings_for(terms: Iterable[tuple[Structure, ObjectiveTerm]]) -> OptimizerSettings:
    """Choose settings that resolve the narrowest target DVH; the defaults, if none is narrow.

    The finest published kernel has a standard deviation of 2.5 % of the reference dose and cannot resolve smaller
    differences. For a narrower target DVH, finer levels are added down to its width. If limits decide the plan, as
    those of OpenTPS's objectives do, it is one level, to a tight tolerance.
    """
    terms = list(terms)
    settings = _resolving(terms)
    return replace(settings, **_FOR_LIMITS) if limits_decide([term for _, term in terms]) else settings


def limits_decide(terms: Sequence[ObjectiveTerm]) -> bool:
    """Whether limits outweigh the target DVHs so much that these decide only what limits leave open."""
    dvhs = [term.weight for term in terms if isinstance(term, KLDivergenceTerm)]
    others = [term.weight for term in terms if not isinstance(term, KLDivergenceTerm)]
    return bool(dvhs and others) and max(others) >= _LIMITS_DECIDE * max(dvhs)


def _resolving(terms: Iterable[tuple[Structure, ObjectiveTerm]]) -> OptimizerSettings:
    default = OptimizerSettings()
    dvhs = [term.dvh for structure, term in terms if structure.is_target and isinstance(term, KLDivergenceTerm)]
    if not dvhs:
        return default
    width = min(dvh[-1, 0] - dvh[0, 0] for dvh in dvhs) / max(dvh[-1, 0] for dvh in dvhs)
    finest = default.level_sigma[0]
    if width >= default.gaussian_bin_sigma / finest:
        return default
    needed = default.gaussian_bin_sigma * _KERNELS_IN_TARGET / width
    n_more = int(np.ceil(np.log(needed / finest) / np.log(_LEVEL_STEP)))
    return replace(
        default,
        level_sigma=(*np.geomspace(needed, finest, n_more + 1)[:-1].tolist(), *default.level_sigma),
        number_of_levels=default.number_of_levels + n_more,
        grid_of_level=(0,) * n_more + default.grid_of_level,
    )


def plan_with_terms(
    influence: DoseInfluence,
    terms: Iterable[tuple[Structure, ObjectiveTerm]],
    number_of_fractions: int,
    settings: OptimizerSettings | None = None,
    *,
    scenarios: Sequence[tuple[Scenario, DoseInfluence | None]] = (),
) -> PlanOptimizer:
    """Make a plan with copies of some terms, and its optimizer; the settings are by default those of `settings_for`."""
    terms = list(terms)
    structures = list({id(structure): structure for structure, _ in terms}.values())
    plan = Plan.from_influence(influence, structures, number_of_fractions=number_of_fractions)
    plan.set_scenarios(scenarios)
    return optimizer_of(plan, terms, settings or settings_for(terms))


def optimizer_of(
    plan: Plan,
    terms: Iterable[tuple[Structure, ObjectiveTerm]],
    settings: OptimizerSettings,
    memory: AssemblyMemory | None = None,
) -> PlanOptimizer:
    """Make the optimizer of a plan for copies of some terms on its structures."""
    optimizer = PlanOptimizer(plan, settings, memory=memory)
    for structure, term in terms:
        own_term = copy.copy(term)
        own_term.structure = None
        optimizer.add_objective(structure=structure, objective=own_term)
    return optimizer
