"""A case planned with and without robust terms, judged in scenarios."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from opentps_brimstone._util.output_folder import check_folder, written_together
from opentps_brimstone._util.run_options import RunOptions
from opentps_brimstone.ensembles import RobustnessResult, evaluate_robustness
from opentps_brimstone.ensembles.terms import as_terms
from opentps_brimstone.model.scenario import Scenario, checked_scenarios
from opentps_brimstone.optimization.for_terms import optimizer_of
from opentps_brimstone.optimization.robust_terms import robust_term
from opentps_brimstone.optimization.robustness import Robustness
from opentps_brimstone.report.ensemble_pages import robustness_page
from opentps_brimstone.workflow.explorations import plan_facts, prepared_plan

if TYPE_CHECKING:
    from opentps_brimstone.model.plan import Plan
    from opentps_brimstone.optimization.terms import ObjectiveTerm
    from opentps_brimstone.workflow.case import Case

__all__ = ["ROBUSTNESS_FILES", "RobustnessOfCase", "judge_robustness"]

_log = logging.getLogger(__name__)

ROBUSTNESS_FILES = ("robustness.html", "robustness.json")
"""Names of the files about a case in scenarios."""

_GROUP = "targets"


@dataclass(frozen=True)
class RobustnessOfCase:
    """What a case's plans give in scenarios.

    Attributes
    ----------
    judged : tuple of (str, RobustnessResult)
        Of the plan without robust terms, and of that with them.
    folder : Path
        Where the files are.
    """

    judged: tuple[tuple[str, RobustnessResult], ...]
    folder: Path

    @property
    def passed(self) -> bool:
        """Whether the robust plan meets all goals in all scenarios."""
        return self.judged[-1][1].all_met

    def summary(self) -> str:
        """Tables of the goals as planned and at worst."""
        return "\n\n".join(f"{heading}: {found.summary}\n{found}" for heading, found in self.judged)


def judge_robustness(
    case: Case,
    folder: Path | str,
    scenarios: Iterable[Scenario],
    robustness: Robustness | None = None,
    options: RunOptions | None = None,
) -> RobustnessOfCase:
    """Plan a case with and without robust terms on its targets, judge both in scenarios, and write a page.

    Parameters
    ----------
    case : Case
        Its terms on targets are made robust, or terms made of its goals if it has none.
    folder : Path or str
        Made if it does not exist; files of the names of `ROBUSTNESS_FILES` are replaced, both or none.
    scenarios : iterable of Scenario
    robustness : Robustness, optional
        How their costs are combined. Default: the worst case.
    options : RunOptions, optional

    Returns
    -------
    RobustnessOfCase

    Raises
    ------
    ValueError, OSError
        Before long work: if the scenarios are not ones, or only the nominal one, or the folder cannot be written.
    DoseMemoryError, EngineError
        As `Plan.compute_scenarios`.
    """
    options = options or RunOptions()
    chosen = checked_scenarios(scenarios)
    if all(scenario.is_nominal for scenario in chosen):
        raise ValueError("there is nothing to be robust against: the only scenario is the nominal one")
    own = robustness or Robustness("worst_case")
    target = Path(folder)
    check_folder(target, ROBUSTNESS_FILES)
    plan = prepared_plan(case, options)
    terms = as_terms(plan, case.terms or case.goals)
    targets = {name for name, _ in terms if plan.structures[name].is_target}
    plan.compute_scenarios(chosen, sorted(targets), processes=options.threads, progress=options.progress)
    robust = [
        (name, robust_term(term, own.kind, alpha=own.alpha, group=_GROUP) if plan.structures[name].is_target else term)
        for name, term in terms
    ]
    judged = tuple(
        (heading, _judged(case, plan, asked, chosen, options))
        for heading, asked in (
            ("without robust terms", terms),
            (f"with robust terms ({own.kind.replace('_', ' ')})", robust),
        )
    )
    shown = [structure for structure in plan.structures if structure.is_on_grid]
    page = robustness_page(f"{case.title}: robustness", judged, shown, plan_facts(plan))
    record = {
        "scenarios": [
            {"name": s.name, "shift_mm": s.shift_mm, "density_percent": s.density_percent, "probability": s.probability}
            for s in judged[0][1].scenarios
        ],
        "plans": {heading: found.records() for heading, found in judged},
    }
    with written_together(target, ROBUSTNESS_FILES) as staging:
        (staging / ROBUSTNESS_FILES[0]).write_text(page, encoding="utf-8")
        (staging / ROBUSTNESS_FILES[1]).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    return RobustnessOfCase(judged, target)


def _judged(
    case: Case,
    plan: Plan,
    terms: Sequence[tuple[str, ObjectiveTerm]],
    scenarios: Sequence[Scenario],
    options: RunOptions,
) -> RobustnessResult:
    result = optimizer_of(plan, [(plan.structures[name], term) for name, term in terms], case.optimizer).optimize()
    _log.info("%s in %d iterations", result.message, result.iterations)
    return evaluate_robustness(plan, scenarios, case.goals, processes=options.threads, progress=options.progress)
