"""Evaluation of doses: DVH metrics, planning goals, comparison of plans, gamma."""

from __future__ import annotations

from opentps_brimstone._util.tables import format_table, html_table
from opentps_brimstone.evaluation.comparison import (
    COMPARED_METRICS,
    MetricComparison,
    PlanComparison,
    compare_plans,
)
from opentps_brimstone.evaluation.dvh_metric import DVHMetric
from opentps_brimstone.evaluation.gamma import gamma_analysis, gamma_pass_rate
from opentps_brimstone.evaluation.goals import DVHGoal, GoalResult, GoalTable, PrescribedDose, as_goals, evaluate
from opentps_brimstone.evaluation.metrics import (
    DoseStatistics,
    SmallStructureError,
    UndefinedMetricError,
    cumulative_dvh,
    dose_at_volume,
    dose_at_volume_cc,
    dose_statistics,
    gradient_index,
    homogeneity_index,
    maximum_dose,
    mean_dose,
    minimum_dose,
    paddick_conformity_index,
    volume_at_dose,
    volume_at_dose_cc,
    voxel_volume_cc,
)

__all__ = [
    "COMPARED_METRICS",
    "DVHGoal",
    "DVHMetric",
    "DoseStatistics",
    "GoalResult",
    "GoalTable",
    "MetricComparison",
    "PlanComparison",
    "PrescribedDose",
    "SmallStructureError",
    "UndefinedMetricError",
    "as_goals",
    "compare_plans",
    "cumulative_dvh",
    "dose_at_volume",
    "dose_at_volume_cc",
    "dose_statistics",
    "evaluate",
    "format_table",
    "gamma_analysis",
    "gamma_pass_rate",
    "gradient_index",
    "homogeneity_index",
    "html_table",
    "maximum_dose",
    "mean_dose",
    "minimum_dose",
    "paddick_conformity_index",
    "volume_at_dose",
    "volume_at_dose_cc",
    "voxel_volume_cc",
]
