"""What a planning found."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from opentps_brimstone.evaluation import GoalTable
from opentps_brimstone.integration.deliverable import LARGEST_DIFFERENCE, LEAST_GAMMA_PASS_PERCENT
from opentps_brimstone.model.series import Series
from opentps_brimstone.report.pages import (
    PlanReport,
    goals_table,
    statistics_table,
)
from opentps_brimstone.request.prescription_file import PrescriptionFile

if TYPE_CHECKING:
    from opentps_brimstone.engine.monitor_units import Calibration
    from opentps_brimstone.goal_planning.planner import GoalPlanningResult
    from opentps_brimstone.integration.deliverable import DeliverablePlan
    from opentps_brimstone.optimization.result import OptimizationResult


@dataclass(frozen=True, eq=False)
class PlanFolderResult:
    """What a planning found.

    Attributes
    ----------
    folder : Path
        Where its files are.
    prescription : PrescriptionFile
        What was asked for.
    series : Series
        As it was read.
    goals : GoalTable
        Of the final dose.
    optimized_goals : GoalTable
        Of the dose that the optimizer knows.
    optimization : GoalPlanningResult or OptimizationResult
    deliverable : DeliverablePlan or None
        None of a plan of fluence alone.
    calibration : Calibration
        For the beamlets of the optimized fluence.
    difference : float
        Largest difference of the dose engine's dose and that of the same fluence, as a share of its maximum.
    report : PlanReport
        Its dose is the final one, its weights are machine MU.
    photon_plan : opentps PhotonPlan
        With engine MU.
    notes : tuple of str
        What is worth knowing: structures left out, files that are odd.
    times_s : dict of str to float
        Wall time of each stage.
    """

    folder: Path
    prescription: PrescriptionFile = field(repr=False)
    series: Series = field(repr=False)
    goals: GoalTable
    optimized_goals: GoalTable = field(repr=False)
    optimization: GoalPlanningResult | OptimizationResult = field(repr=False)
    deliverable: DeliverablePlan | None = field(repr=False)
    calibration: Calibration = field(repr=False)
    difference: float
    report: PlanReport = field(repr=False)
    photon_plan: Any = field(repr=False)
    notes: tuple[str, ...] = ()
    times_s: dict[str, float] = field(default_factory=dict, repr=False)

    def checks(self) -> list[tuple[str, bool]]:
        """Compare doses.

        Returns
        -------
        list of (str, bool)
            Of the dose engine's dose with that of the same fluence and, of segments, with the optimized one: what was
            found, and whether it is good enough.
        """
        same = self.difference <= LARGEST_DIFFERENCE
        what = "fluence" if self.deliverable is None else "segments"
        text = (
            f"recalculated dose {_verdict(same)} with that of the {what}: largest difference {self.difference:.1e} of "
            f"the maximum (limit {LARGEST_DIFFERENCE:.0e})"
        )
        found = [(text, same)]
        if self.deliverable is not None:
            share = self.deliverable.gamma_pass_percent
            near = share >= LEAST_GAMMA_PASS_PERCENT
            text = (
                f"dose of the segments {_verdict(near)} with the optimized one: gamma 2 %/2 mm {share:.2f} % pass "
                f"(limit {LEAST_GAMMA_PASS_PERCENT:g} %)"
            )
            found.append((text, near))
        return found

    @property
    def passed(self) -> bool:
        """Whether all goals are met and all checks."""
        return self.goals.all_met and all(good for _, good in self.checks())

    def summary(self) -> str:
        """Tables and checks as text.

        Returns
        -------
        str
        """
        checks = "\n".join(text for text, _ in self.checks())
        goals = [goals_table(self.report)] if len(self.goals) else []
        return "\n\n".join([*goals, f"Dose statistics (Gy)\n\n{statistics_table(self.report)}", checks])


def _verdict(good: bool) -> str:
    return "agrees" if good else "DOES NOT AGREE"
