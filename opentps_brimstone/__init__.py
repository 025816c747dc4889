"""Brimstone inverse planning for OpenTPS photon plans.

Research software, not a medical device.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from opentps_brimstone.dicom.errors import DicomError
    from opentps_brimstone.dicom.rt_dose_reader import dose_from_dataset
    from opentps_brimstone.evaluation import DVHGoal, compare_plans, evaluate, gamma_analysis, gamma_pass_rate
    from opentps_brimstone.goal_planning.from_goals import GoalPlannerSettings, prescription_from_goals
    from opentps_brimstone.goal_planning.planner import GoalPlanner, GoalPlanningResult
    from opentps_brimstone.integration.deliverable import DeliverablePlan, make_deliverable
    from opentps_brimstone.integration.opentps_method import register, unregister
    from opentps_brimstone.integration.photon_plan import optimize_photon_plan
    from opentps_brimstone.model.beam import Beam
    from opentps_brimstone.model.dose import DoseArray
    from opentps_brimstone.model.influence import BeamletLayout, DoseInfluence, VoxelGrid
    from opentps_brimstone.model.plan import Plan
    from opentps_brimstone.model.series import Series
    from opentps_brimstone.model.structure import Structure
    from opentps_brimstone.optimization.callbacks import (
        CallbackList,
        OptimizationCallback,
        Recorder,
        StopWhenGoalsMet,
        TimeLimit,
    )
    from opentps_brimstone.optimization.checkpoint import Checkpoint, CheckpointError
    from opentps_brimstone.optimization.objectives import DVHLimitTerm, EUDTerm, HomogeneityTerm, SquaredDeviationTerm
    from opentps_brimstone.optimization.optimizer import PlanOptimizer
    from opentps_brimstone.optimization.prescription import Prescription
    from opentps_brimstone.optimization.result import OptimizationResult
    from opentps_brimstone.optimization.settings import OptimizerSettings
    from opentps_brimstone.optimization.terms import (
        KLDivergenceTerm,
        MaximumDoseTerm,
        MeanDoseTerm,
        MinimumDoseTerm,
        ObjectiveTerm,
    )
    from opentps_brimstone.visualization import VisualizationCallback

__version__ = "0.1.0"

# Where each public name lives. Importing the package must stay cheap: a name is loaded when it is used.
_HOME = {
    "Beam": "model.beam",
    "BeamletLayout": "model.influence",
    "CallbackList": "optimization.callbacks",
    "Checkpoint": "optimization.checkpoint",
    "CheckpointError": "optimization.checkpoint",
    "DVHGoal": "evaluation",
    "DVHLimitTerm": "optimization.objectives",
    "DeliverablePlan": "integration.deliverable",
    "DicomError": "dicom.errors",
    "DoseArray": "model.dose",
    "DoseInfluence": "model.influence",
    "EUDTerm": "optimization.objectives",
    "GoalPlanner": "goal_planning.planner",
    "GoalPlannerSettings": "goal_planning.from_goals",
    "GoalPlanningResult": "goal_planning.planner",
    "HomogeneityTerm": "optimization.objectives",
    "KLDivergenceTerm": "optimization.terms",
    "MaximumDoseTerm": "optimization.terms",
    "MeanDoseTerm": "optimization.terms",
    "MinimumDoseTerm": "optimization.terms",
    "ObjectiveTerm": "optimization.terms",
    "OptimizationCallback": "optimization.callbacks",
    "OptimizationResult": "optimization.result",
    "OptimizerSettings": "optimization.settings",
    "Plan": "model.plan",
    "PlanOptimizer": "optimization.optimizer",
    "Prescription": "optimization.prescription",
    "Recorder": "optimization.callbacks",
    "Series": "model.series",
    "SquaredDeviationTerm": "optimization.objectives",
    "StopWhenGoalsMet": "optimization.callbacks",
    "Structure": "model.structure",
    "TimeLimit": "optimization.callbacks",
    "VisualizationCallback": "visualization",
    "VoxelGrid": "model.influence",
    "compare_plans": "evaluation",
    "dose_from_dataset": "dicom.rt_dose_reader",
    "evaluate": "evaluation",
    "gamma_analysis": "evaluation",
    "gamma_pass_rate": "evaluation",
    "make_deliverable": "integration.deliverable",
    "optimize_photon_plan": "integration.photon_plan",
    "prescription_from_goals": "goal_planning.from_goals",
    "register": "integration.opentps_method",
    "unregister": "integration.opentps_method",
}

__all__ = [
    "Beam",
    "BeamletLayout",
    "CallbackList",
    "Checkpoint",
    "CheckpointError",
    "DVHGoal",
    "DVHLimitTerm",
    "DeliverablePlan",
    "DicomError",
    "DoseArray",
    "DoseInfluence",
    "EUDTerm",
    "GoalPlanner",
    "GoalPlannerSettings",
    "GoalPlanningResult",
    "HomogeneityTerm",
    "KLDivergenceTerm",
    "MaximumDoseTerm",
    "MeanDoseTerm",
    "MinimumDoseTerm",
    "ObjectiveTerm",
    "OptimizationCallback",
    "OptimizationResult",
    "OptimizerSettings",
    "Plan",
    "PlanOptimizer",
    "Prescription",
    "Recorder",
    "Series",
    "SquaredDeviationTerm",
    "StopWhenGoalsMet",
    "Structure",
    "TimeLimit",
    "VisualizationCallback",
    "VoxelGrid",
    "compare_plans",
    "dose_from_dataset",
    "evaluate",
    "gamma_analysis",
    "gamma_pass_rate",
    "make_deliverable",
    "optimize_photon_plan",
    "prescription_from_goals",
    "register",
    "unregister",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
