"""Brimstone inverse planning for OpenTPS photon plans.

Research software, not a medical device.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from opentps_brimstone.adapters.planning import optimize_photon_plan
    from opentps_brimstone.beam import Beam
    from opentps_brimstone.callbacks import CallbackList, OptimizationCallback, Recorder, StopWhenGoalsMet, TimeLimit
    from opentps_brimstone.checkpoint import Checkpoint, CheckpointError
    from opentps_brimstone.deliverable import DeliverablePlan, make_deliverable
    from opentps_brimstone.dicom.errors import DicomError
    from opentps_brimstone.dicom.rt_dose_reader import dose_from_dataset
    from opentps_brimstone.dose_array import DoseArray
    from opentps_brimstone.dose_influence import BeamletLayout, DoseInfluence, VoxelGrid
    from opentps_brimstone.evaluation import DVHGoal, compare_plans, evaluate, gamma_analysis, gamma_pass_rate
    from opentps_brimstone.goal_planning import GoalPlanner, GoalPlanningResult
    from opentps_brimstone.goal_prescription import GoalPlannerSettings, prescription_from_goals
    from opentps_brimstone.objectives import DVHLimitTerm, EUDTerm, HomogeneityTerm, SquaredDeviationTerm
    from opentps_brimstone.opentps_method import register, unregister
    from opentps_brimstone.optimizer import OptimizationResult, OptimizerSettings, PlanOptimizer
    from opentps_brimstone.plan import Plan
    from opentps_brimstone.prescription import (
        KLDivergenceTerm,
        MaximumDoseTerm,
        MeanDoseTerm,
        MinimumDoseTerm,
        ObjectiveTerm,
        Prescription,
    )
    from opentps_brimstone.series import Series
    from opentps_brimstone.structure import Structure
    from opentps_brimstone.visualization import VisualizationCallback

__version__ = "0.1.0"

# Where each public name lives. Importing the package must stay cheap: a name is loaded when it is used.
_HOME = {
    "Beam": "beam",
    "BeamletLayout": "dose_influence",
    "CallbackList": "callbacks",
    "Checkpoint": "checkpoint",
    "CheckpointError": "checkpoint",
    "DVHGoal": "evaluation",
    "DVHLimitTerm": "objectives",
    "DeliverablePlan": "deliverable",
    "DicomError": "dicom.errors",
    "DoseArray": "dose_array",
    "DoseInfluence": "dose_influence",
    "EUDTerm": "objectives",
    "GoalPlanner": "goal_planning",
    "GoalPlannerSettings": "goal_prescription",
    "GoalPlanningResult": "goal_planning",
    "HomogeneityTerm": "objectives",
    "KLDivergenceTerm": "prescription",
    "MaximumDoseTerm": "prescription",
    "MeanDoseTerm": "prescription",
    "MinimumDoseTerm": "prescription",
    "ObjectiveTerm": "prescription",
    "OptimizationCallback": "callbacks",
    "OptimizationResult": "optimizer",
    "OptimizerSettings": "optimizer",
    "Plan": "plan",
    "PlanOptimizer": "optimizer",
    "Prescription": "prescription",
    "Recorder": "callbacks",
    "Series": "series",
    "SquaredDeviationTerm": "objectives",
    "StopWhenGoalsMet": "callbacks",
    "Structure": "structure",
    "TimeLimit": "callbacks",
    "VisualizationCallback": "visualization",
    "VoxelGrid": "dose_influence",
    "compare_plans": "evaluation",
    "dose_from_dataset": "dicom.rt_dose_reader",
    "evaluate": "evaluation",
    "gamma_analysis": "evaluation",
    "gamma_pass_rate": "evaluation",
    "make_deliverable": "deliverable",
    "optimize_photon_plan": "adapters.planning",
    "prescription_from_goals": "goal_prescription",
    "register": "opentps_method",
    "unregister": "opentps_method",
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
