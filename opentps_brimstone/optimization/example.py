"""The smallest plan with an objective, for examples."""

from __future__ import annotations

from opentps_brimstone.model.example import three_voxel_plan
from opentps_brimstone.optimization.optimizer import PlanOptimizer
from opentps_brimstone.optimization.terms import KLDivergenceTerm

__all__ = ["three_voxel_optimizer"]


def three_voxel_optimizer() -> PlanOptimizer:
    """Make an optimizer of the plan of three voxels that is to give its target 9 to 11 Gy."""
    plan = three_voxel_plan()
    optimizer = PlanOptimizer(plan)
    optimizer.add_objective(plan.structures["PTV"], KLDivergenceTerm(dose_range=(9.0, 11.0)))
    return optimizer
