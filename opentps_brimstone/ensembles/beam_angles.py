"""Beam directions: a few of many candidates, chosen by what they bring to the cost."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from opentps_brimstone._util.progress import Progress, following
from opentps_brimstone._util.tables import Html, format_table, html_table
from opentps_brimstone.ensembles.results import EnsembleError, VariantResult
from opentps_brimstone.ensembles.run import Ensemble
from opentps_brimstone.ensembles.terms import as_terms
from opentps_brimstone.ensembles.variants import Objectives
from opentps_brimstone.model.influence import BeamletLayout, DoseInfluence
from opentps_brimstone.model.plan import Plan
from opentps_brimstone.optimization.settings import OptimizerSettings

if TYPE_CHECKING:
    from opentps_brimstone.evaluation import DVHGoal

__all__ = ["BeamSelection", "SelectionStep", "choose_beam_angles", "plan_of_beams"]

# An exchange must lower the cost by this share, or it may be no more than where searches ended.
_LEAST_GAIN = 2e-3
# Relative change of the cost that ends a level while directions are compared.
_TOLERANCE = 1e-2


@dataclass(frozen=True)
class SelectionStep:
    """One step of a selection.

    Attributes
    ----------
    action : str
        ``add`` or ``exchange``.
    beams : tuple of int
        After it, in ascending order.
    added, removed : int or None
        Numbers of beams.
    cost : float
        After it.
    tried : dict of int to float
        Cost of each candidate in the place of the one that was added.

    Examples
    --------
    >>> SelectionStep("exchange", (1, 4), added=4, removed=2, cost=0.5, tried={3: 0.6, 4: 0.5}).cost
    0.5
    """

    action: str
    beams: tuple[int, ...]
    added: int
    removed: int | None
    cost: float
    tried: dict[int, float] = field(repr=False)


@dataclass(frozen=True)
class BeamSelection:
    """Beams chosen of a plan's, and how.

    Attributes
    ----------
    plan : Plan
        With all candidates.
    beams : tuple of int
        Numbers of those that were chosen, in ascending order.
    result : VariantResult
        The plan with these beams, with the settings that were asked for.
    steps : tuple of SelectionStep
    plans_made : int
        Optimizations in all.

    Examples
    --------
    >>> from opentps_brimstone.ensembles.example import three_voxel_selection
    >>> selection = three_voxel_selection()
    >>> selection.beams, selection.names, [step.action for step in selection.steps]
    ((0,), ('beam 1',), ['add'])
    """

    plan: Plan = field(repr=False)
    beams: tuple[int, ...]
    result: VariantResult = field(repr=False)
    steps: tuple[SelectionStep, ...] = field(repr=False)
    plans_made: int

    COLUMNS = ("step", "added", "removed", "cost", "next best", "beams")

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the chosen beams."""
        return tuple(self.plan.beams[beam].name for beam in self.beams)

    def rows(self) -> list[tuple[str, ...]]:
        """Rows of text under `COLUMNS`, one for each step."""
        named = [beam.name for beam in self.plan.beams]
        rows: list[tuple[str, ...]] = []
        for step in self.steps:
            others = [cost for beam, cost in step.tried.items() if beam != step.added and np.isfinite(cost)]
            rows.append(
                (
                    step.action,
                    named[step.added],
                    "" if step.removed is None else named[step.removed],
                    f"{step.cost:.5g}",
                    f"{min(others):.5g}" if others else "",
                    ", ".join(named[beam] for beam in step.beams),
                )
            )
        return rows

    def __str__(self) -> str:
        return format_table(self.COLUMNS, self.rows())

    def _repr_html_(self) -> Html:
        caption = f"{', '.join(self.names)}, after {self.plans_made} plans"
        return html_table(self.COLUMNS, self.rows(), caption=caption)


def choose_beam_angles(
    plan: Plan,
    objectives: Objectives | Iterable[DVHGoal | str],
    count: int,
    *,
    keep: Iterable[int] = (),
    exchanges: int = 5,
    client: Any = None,
    settings: OptimizerSettings | None = None,
    workers: int | None = None,
    threads: int | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    progress: Progress = True,
) -> BeamSelection:
    """Choose beams of a plan by forward selection with exchange.

    Beams are added one by one, each time the one with which the optimized plan costs least. Then the beam that is
    missed least is exchanged for another if that lowers the cost, and so on. The plans of a step are an ensemble; their
    levels end at a relative change of the cost of 1 %.

    Parameters
    ----------
    plan : Plan
        With all candidates as beams, and their dose influence. Not changed.
    objectives : iterable of (Structure or str, ObjectiveTerm), or of DVHGoal or str
        Terms, or goals that `prescription_from_goals` makes terms of.
    count : int
        Beams to choose.
    keep : iterable of int
        Numbers of beams that are in the plan in any case; they count.
    exchanges : int
        At most as many.
    client, settings, workers, threads, checkpoint, progress
        As for `run_ensemble`; progress counts beams and exchanges.

    Returns
    -------
    BeamSelection

    Raises
    ------
    ValueError
        Before the first plan is made: if there are not so many beams, or a number is wrong.
    EnsembleError
        If none of the plans of a step could be made.

    Examples
    --------
    >>> import opentps_brimstone as pb
    >>> from opentps_brimstone.model.example import three_voxel_plan
    >>> chosen = choose_beam_angles(
    ...     three_voxel_plan(), [("PTV", pb.KLDivergenceTerm(dose_range=(9, 11)))], 1, workers=1, progress=False
    ... )
    >>> chosen.names
    ('beam 1',)
    """
    there = len(plan.beams)
    kept = tuple(sorted(set(keep)))
    if not 1 <= count <= there:
        raise ValueError(f"count is {count}; it must be from 1 to the plan's {there} beams")
    if len(kept) > count or any(not 0 <= beam < there for beam in kept):
        raise ValueError(f"keep is {kept}; it may name up to {count} of the plan's {there} beams, counted from 0")
    if exchanges < 0:
        raise ValueError(f"exchanges is {exchanges}; it must be 0 or more")
    final = settings or OptimizerSettings()
    with Ensemble(
        plan,
        client,
        objectives=as_terms(plan, objectives),
        settings=replace(final, cg_tolerance=_TOLERANCE),
        workers=workers,
        threads=threads,
    ) as ensemble:
        search = _Search(ensemble, there, checkpoint)
        with following(progress, count - len(kept) + exchanges, "beam directions", "step") as report:
            beams = search.select(kept, count, report)
            beams = search.exchange(beams, kept, exchanges, report)
        (result,) = ensemble.run([{"beams": beams, "settings": final}], checkpoint=checkpoint)
    if result.failed:
        raise EnsembleError(f"the plan with the chosen beams failed: {result.error}")
    return BeamSelection(plan, beams, result, tuple(search.steps), len(search.costs) + 1)


class _Search:
    """Costs of sets of beams, each found once."""

    def __init__(self, ensemble: Ensemble, candidates: int, checkpoint: str | os.PathLike[str] | None) -> None:
        self._ensemble = ensemble
        self._candidates = range(candidates)
        self._checkpoint = checkpoint
        self.costs: dict[tuple[int, ...], float] = {}
        self.steps: list[SelectionStep] = []

    def select(self, kept: tuple[int, ...], count: int, report: Any) -> tuple[int, ...]:
        """Add beams until there are enough."""
        beams = kept
        while len(beams) < count:
            tried = self._tried(beams)
            added = min(tried, key=lambda beam: tried[beam])
            beams = _with(beams, added)
            self.steps.append(SelectionStep("add", beams, added, None, tried[added], tried))
            report(len(self.steps))
        return beams

    def exchange(self, beams: tuple[int, ...], kept: tuple[int, ...], most: int, report: Any) -> tuple[int, ...]:
        """Exchange beams while that lowers the cost."""
        for _ in range(most):
            step = self._best_exchange(beams, [beam for beam in beams if beam not in kept])
            if step is None:
                break
            beams = step.beams
            self.steps.append(step)
            report(len(self.steps))
        return beams

    def _best_exchange(self, beams: tuple[int, ...], movable: Sequence[int]) -> SelectionStep | None:
        """Find an exchange that is worth it; beams that are missed least are tried first."""
        (before,) = self._costs([beams])
        if len(beams) > 1:
            missed = self._costs([_without(beams, beam) for beam in movable])
            movable = [beam for _, beam in sorted(zip(missed, movable, strict=True))]
        for removed in movable:
            tried = self._tried(_without(beams, removed), but=removed)
            added = min(tried, key=lambda beam: tried[beam], default=None)
            if added is not None and tried[added] < before * (1 - _LEAST_GAIN):
                after = _with(_without(beams, removed), added)
                return SelectionStep("exchange", after, added, removed, tried[added], tried)
        return None

    def _tried(self, beams: tuple[int, ...], but: int | None = None) -> dict[int, float]:
        """Costs with each candidate added."""
        others = [beam for beam in self._candidates if beam not in beams and beam != but]
        return dict(zip(others, self._costs([_with(beams, beam) for beam in others]), strict=True))

    def _costs(self, sets: Sequence[tuple[int, ...]]) -> list[float]:
        new = [beams for beams in sets if beams not in self.costs]
        if new:
            results = self._ensemble.run([{"beams": beams} for beams in new], checkpoint=self._checkpoint)
            if len(results.failed) == len(new):
                raise EnsembleError(f"no plan of a step could be made: {results[0].error}")
            for beams, result in zip(new, results, strict=True):
                self.costs[beams] = float("inf") if result.failed else result.final_cost
        return [self.costs[beams] for beams in sets]


def _with(beams: tuple[int, ...], added: int) -> tuple[int, ...]:
    return tuple(sorted((*beams, added)))


def _without(beams: tuple[int, ...], removed: int) -> tuple[int, ...]:
    return tuple(beam for beam in beams if beam != removed)


def plan_of_beams(plan: Plan, beams: Iterable[int]) -> Plan:
    """Make a plan of some beams of another one, with a copy of their beamlets.

    Parameters
    ----------
    plan : Plan
        With its dose influence.
    beams : iterable of int
        Their numbers.

    Returns
    -------
    Plan
        Its beams are numbered from 0, in the order they have in `plan`; it has the same structures.

    Raises
    ------
    ValueError
        If the matrix of `plan` leaves out scatter from far away, which is known of all beams together alone.

    Examples
    --------
    >>> from opentps_brimstone.model.example import three_voxel_plan
    >>> plan_of_beams(three_voxel_plan(), [0]).dose_influence.layout.n_beams
    1
    """
    influence = plan.dose_influence
    if influence.whole_dose is not None:
        raise ValueError(
            "the plan's matrix leaves out scatter from far away, which is known of all beams together alone: compute "
            "its dose influence with scatter='opentps'"
        )
    layout = influence.layout
    chosen = sorted(set(beams))
    columns = np.flatnonzero(np.isin(layout.beam_index, chosen))
    index = np.searchsorted(chosen, layout.beam_index[columns])
    part = BeamletLayout(layout.xy_mm[columns], index, layout.spacing_mm[chosen])
    made = Plan.from_influence(
        DoseInfluence(influence.matrix[:, columns], influence.grid, part), plan.structures, plan.number_of_fractions
    )
    made.set_intermediate_dose(plan.intermediate_dose)
    return made
