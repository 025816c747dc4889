"""A small ensemble, for the examples of the documentation."""

from __future__ import annotations

import numpy as np

from opentps_brimstone.ensembles.beam_angles import BeamSelection, SelectionStep
from opentps_brimstone.ensembles.criteria import checked_criteria
from opentps_brimstone.ensembles.results import EnsembleResult
from opentps_brimstone.ensembles.run import result_of
from opentps_brimstone.ensembles.solving import outcome_of
from opentps_brimstone.ensembles.tradeoff import Tradeoff
from opentps_brimstone.ensembles.variants import checked_variants
from opentps_brimstone.model.example import three_voxel_plan
from opentps_brimstone.optimization.terms import KLDivergenceTerm, MaximumDoseTerm, ObjectiveTerm

__all__ = ["three_voxel_results", "three_voxel_selection", "three_voxel_tradeoff"]


def three_voxel_results() -> EnsembleResult:
    """Optimize three variants of a plan of three voxels, which differ in the cord's limit, in this process."""
    plan = three_voxel_plan()
    variants = [{"objectives": _objectives(limit), "name": f"{limit:g} Gy"} for limit in (3.0, 4.0, 5.0)]
    asked = checked_variants(plan, variants, None, None, threads=1)
    return EnsembleResult(
        plan, (result_of(number, each, outcome_of(plan, each), 1) for number, each in enumerate(asked))
    )


def _objectives(limit_gy: float) -> list[tuple[str, ObjectiveTerm]]:
    return [("PTV", KLDivergenceTerm(dose_range=(9.0, 11.0))), ("Cord", MaximumDoseTerm(limit_gy))]


def three_voxel_tradeoff() -> Tradeoff:
    """Compare the plans of `three_voxel_results` by the lowest dose of the target and the highest of the cord."""
    results = three_voxel_results()
    criteria = checked_criteria(results.plan, ["PTV Dmin", "Cord Dmax"])
    return Tradeoff.of(results, criteria, ["PTV", "Cord"], np.ones((len(results), 2)))


def three_voxel_selection() -> BeamSelection:
    """Choose the only beam of the plan of three voxels."""
    results = three_voxel_results()
    step = SelectionStep(
        "add", (0,), added=0, removed=None, cost=results[0].final_cost, tried={0: results[0].final_cost}
    )
    return BeamSelection(results.plan, (0,), results[0], (step,), plans_made=2)
