"""Many plans of a case: its trade-off, and the choice of its beam directions."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from opentps_brimstone._util.output_folder import check_folder, written_together
from opentps_brimstone._util.run_options import RunOptions
from opentps_brimstone._util.silence import silent_opentps
from opentps_brimstone.ensembles import (
    BeamSelection,
    MixedPlan,
    Tradeoff,
    choose_beam_angles,
    explore_tradeoff,
    plan_of_beams,
)
from opentps_brimstone.evaluation import DVHGoal, GoalTable, evaluate
from opentps_brimstone.goal_planning.planner import GoalPlanner
from opentps_brimstone.optimization.optimizer import PlanOptimizer
from opentps_brimstone.report.ensemble_pages import angles_page, tradeoff_page

if TYPE_CHECKING:
    from opentps_brimstone.model.plan import Plan
    from opentps_brimstone.workflow.case import Case

__all__ = [
    "ANGLES_FILES",
    "EXPLORE_FILES",
    "AnglesResult",
    "ExploreResult",
    "choose_angles",
    "explore_case",
    "plan_facts",
    "prepared_plan",
]

_log = logging.getLogger(__name__)

EXPLORE_FILES = ("tradeoff.html", "tradeoff.json", "tradeoff.npz")
"""Names of the files of a trade-off."""
ANGLES_FILES = ("angles.html", "angles.json")
"""Names of the files of a choice of beam directions."""


@dataclass(frozen=True)
class ExploreResult:
    """A case's trade-off.

    Attributes
    ----------
    tradeoff : Tradeoff
    mixed : MixedPlan
        The mixture that keeps the goals best.
    goals : GoalTable
        Of that mixture.
    folder : Path
        Where the files are.
    """

    tradeoff: Tradeoff
    mixed: MixedPlan
    goals: GoalTable
    folder: Path

    @property
    def passed(self) -> bool:
        """Whether the mixture meets all goals."""
        return self.goals.all_met

    def summary(self) -> str:
        """Table of the plans, and the mixture's goals."""
        return f"{self.tradeoff.summary}\n\n{self.tradeoff}\n\nmixture within the goals:\n{self.goals}"


@dataclass(frozen=True)
class AnglesResult:
    """A case's chosen beam directions.

    Attributes
    ----------
    selection : BeamSelection
    judged : tuple of (str, GoalTable)
        Goals of the plan with the chosen directions, and of that with the case's own.
    folder : Path
        Where the files are.
    """

    selection: BeamSelection
    judged: tuple[tuple[str, GoalTable], ...]
    folder: Path

    @property
    def passed(self) -> bool:
        """Whether the chosen directions meet all goals."""
        return self.judged[0][1].all_met

    def summary(self) -> str:
        """Table of the steps, and the goals."""
        goals = "\n\n".join(f"{heading}: {table.summary}\n{table}" for heading, table in self.judged)
        return f"{self.selection}\n\n{goals}"


def explore_case(
    case: Case,
    folder: Path | str,
    plans: int = 60,
    criteria: Sequence[str] = (),
    workers: int | None = None,
    options: RunOptions | None = None,
) -> ExploreResult:
    """Explore the trade-off of a case's goals, and write page, values and beamlet weights.

    Parameters
    ----------
    case : Case
        Its terms are weighed against each other, or terms made of its goals if it has none.
    folder : Path or str
        Made if it does not exist; files of the names of `EXPLORE_FILES` are replaced, all of them or none.
    plans : int
        To be made.
    criteria : sequence of str
        As for `explore_tradeoff`. Default: the goals, if there are at least two.
    workers : int, optional
        Processes; one for each core by default.
    options : RunOptions, optional

    Returns
    -------
    ExploreResult

    Raises
    ------
    ValueError, OSError
        Before long work: if a criterion is wrong, or the folder cannot be written.
    """
    options = options or RunOptions()
    target = Path(folder)
    check_folder(target, EXPLORE_FILES)
    plan = prepared_plan(case, options)
    compared: Sequence[DVHGoal | str] | None = criteria or (case.goals if len(case.goals) > 1 else None)
    tradeoff = explore_tradeoff(
        plan,
        case.terms or case.goals,
        plans,
        criteria=compared,
        settings=case.optimizer,
        workers=workers,
        progress=options.progress,
    )
    names = {criterion.name for criterion in tradeoff.criteria}
    bounds = {name: goal.value for goal in case.goals if (name := f"{goal.structure} {goal.metric_name}") in names}
    mixed = tradeoff.navigate(bounds)
    goals = evaluate(mixed.dose, plan.structures, case.goals, number_of_fractions=plan.number_of_fractions)
    _log.info("%s; of a mixture %s", tradeoff.summary, goals.summary)
    shown = [structure for structure in plan.structures if structure.is_on_grid]
    page = tradeoff_page(f"{case.title}: trade-off", tradeoff, mixed, goals, shown, plan_facts(plan))
    with written_together(target, EXPLORE_FILES) as staging:
        (staging / EXPLORE_FILES[0]).write_text(page, encoding="utf-8")
        _write_json(staging / EXPLORE_FILES[1], _record(tradeoff, mixed, goals))
        np.savez(
            staging / EXPLORE_FILES[2],
            allow_pickle=False,
            beamlet_weights=tradeoff.beamlet_weights,
            mixed=mixed.beamlet_weights,
        )
    return ExploreResult(tradeoff, mixed, goals, target)


def choose_angles(
    make_case: Callable[[Sequence[float] | None], Case],
    folder: Path | str,
    beams: int,
    candidates: int = 24,
    workers: int | None = None,
    options: RunOptions | None = None,
) -> AnglesResult:
    """Choose gantry angles for a case, plan with them and with the case's own, and write a page.

    Parameters
    ----------
    make_case : callable
        Makes the case with some gantry angles, or with its own if it gets None.
    folder : Path or str
        Made if it does not exist; files of the names of `ANGLES_FILES` are replaced, both or none.
    beams : int
        To be chosen.
    candidates : int
        Angles to choose from, evenly around the patient from 0.
    workers : int, optional
        Processes; one for each core by default.
    options : RunOptions, optional

    Returns
    -------
    AnglesResult

    Raises
    ------
    ValueError, OSError
        Before long work: if a number is wrong, or the folder cannot be written.
    """
    options = options or RunOptions()
    target = Path(folder)
    check_folder(target, ANGLES_FILES)
    if not 1 <= beams <= candidates:
        raise ValueError(f"{beams} of {candidates} directions cannot be chosen; give 1 to {candidates}")
    angles = [360.0 / candidates * number for number in range(candidates)]
    case, own = make_case(angles), make_case(None)
    plan = prepared_plan(case, options)
    selection = choose_beam_angles(
        plan, case.terms or case.goals, beams, settings=case.optimizer, workers=workers, progress=options.progress
    )
    chosen = [angles[beam] for beam in selection.beams]
    judged = (
        (
            f"{beams} of {candidates} directions: {', '.join(f'{a:g}°' for a in chosen)}",
            _goals_of(case, plan_of_beams(plan, selection.beams)),
        ),
        ("the case's own directions", _goals_of(own, prepared_plan(own, options))),
    )
    page = angles_page(f"{own.title}: beam directions", selection, judged, angles, plan_facts(plan))
    record = {
        "gantry_angles": chosen,
        "candidates": angles,
        "steps": [{"action": step.action, "beams": step.beams, "cost": step.cost} for step in selection.steps],
        "goals": {heading: goals.records() for heading, goals in judged},
    }
    with written_together(target, ANGLES_FILES) as staging:
        (staging / ANGLES_FILES[0]).write_text(page, encoding="utf-8")
        _write_json(staging / ANGLES_FILES[1], record)
    return AnglesResult(selection, judged, target)


def prepared_plan(case: Case, options: RunOptions) -> Plan:
    """Compute the doses of a case's beamlets."""
    with silent_opentps():
        plan = case.prepare(options)
    layout = plan.dose_influence.layout
    _log.info("%s: doses of %d beamlets of %d beams ready", case.title, layout.n_beamlets, layout.n_beams)
    return plan


def _goals_of(case: Case, plan: Plan) -> GoalTable:
    """Plan a case's terms, or its goals if it has none, and judge the dose."""
    if not case.terms:
        return GoalPlanner(plan, case.goals, case.planner, case.optimizer).optimize().goals
    optimizer = PlanOptimizer(plan, case.optimizer)
    for name, term in case.terms:
        optimizer.add_objective(plan.structures[name], term)
    found = optimizer.optimize()
    return evaluate(found.dose, plan.structures, case.goals, number_of_fractions=plan.number_of_fractions)


def plan_facts(plan: Plan) -> list[tuple[str, str]]:
    """Describe a plan for the head of a page."""
    layout = plan.dose_influence.layout
    return [
        ("beams", f"{layout.n_beams}, with {layout.n_beamlets} beamlets"),
        ("dose grid", plan.grid.description),
        ("fractions", str(plan.number_of_fractions)),
    ]


def _record(tradeoff: Tradeoff, mixed: MixedPlan, goals: GoalTable) -> dict[str, Any]:
    return {
        "criteria": [criterion.label for criterion in tradeoff.criteria],
        "values": tradeoff.values.tolist(),
        "structures": tradeoff.structures,
        "factors": tradeoff.factors.tolist(),
        "dominated": tradeoff.dominated.tolist(),
        "mixed": {"shares": mixed.shares.tolist(), "values": mixed.values, "goals": goals.records()},
    }


def _write_json(path: Path, document: dict[str, Any]) -> None:
    path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
