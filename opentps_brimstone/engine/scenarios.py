"""Doses of a plan's beamlets where the patient is displaced, or denser than planned."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from opentps_brimstone._typing import AnyIntArray, BoolArray, FloatArray
from opentps_brimstone._util.memory import available_bytes, in_units
from opentps_brimstone._util.progress import Progress, following
from opentps_brimstone.adapters.versions import source_distances_mm
from opentps_brimstone.engine.collapsed_cones import BeamletField
from opentps_brimstone.engine.columns import Columns
from opentps_brimstone.engine.errors import DoseMemoryError
from opentps_brimstone.engine.full_scatter import FieldDose
from opentps_brimstone.engine.plan_doses import beam_view, inside_any, plan_engine
from opentps_brimstone.model.beam import SAD_MM
from opentps_brimstone.model.influence import DoseInfluence
from opentps_brimstone.model.isocenter import checked_isocenter
from opentps_brimstone.model.scenario import Scenario, ScenarioInfluence, checked_scenarios

if TYPE_CHECKING:
    from opentps_brimstone.engine.collapsed_cones import ConeEngine
    from opentps_brimstone.engine.options import DoseOptions
    from opentps_brimstone.model.plan import Plan
    from opentps_brimstone.model.structure import Structure

__all__ = ["ScenarioEngine", "scenario_influences"]

_log = logging.getLogger(__name__)

_CORE_BYTES = 6  # of each nonzero, on all grids
_ENTRIES_AT_ONCE = 2_000_000


class ScenarioEngine:
    """Computes doses of the beamlets that a plan has, in any scenario, by this package's engine.

    Parameters
    ----------
    plan : Plan
        With a series, beams and dose influence.
    scenarios : iterable of Scenario
        That doses are wanted in.
    options : DoseOptions
        With which the plan's doses were computed.

    Raises
    ------
    TypeError, ValueError
        If the plan was made from a matrix or its doses come from OpenTPS's program, there are no scenarios, two are the
        same, or one moves an isocenter out of the dose grid.
    """

    def __init__(self, plan: Plan, scenarios: Iterable[Scenario], options: DoseOptions) -> None:
        self.scenarios = checked_scenarios(scenarios)
        if plan.series is None:
            raise ValueError(
                "the plan was made from a matrix, so that its patient is not known: give the doses of its scenarios to "
                "Plan.set_scenarios"
            )
        if not options.choice.is_native:
            raise ValueError(
                "doses of scenarios are computed by this package's engine, and the plan's come from OpenTPS's program: "
                "compute its dose influence with engine='native'"
            )
        self._plan, self._options = plan, options
        self._engines: dict[float, ConeEngine] = {}
        self._distances = _source_distances(plan)
        for scenario in self.scenarios:
            if scenario.source:
                raise ValueError(
                    f"the errors of the scenario {scenario.name!r} are not known; its doses come from elsewhere"
                )
            for beam in plan.beams:
                name = f"{beam.name} in the scenario {scenario.name!r}"
                checked_isocenter(name, scenario.isocenter(beam.isocenter), plan.grid)

    def fields(self, scenario: Scenario) -> list[BeamletField]:
        """Give the plan's beamlets where they are in a scenario."""
        layout = self._plan.dose_influence.layout
        fields = []
        for number, beam in enumerate(self._plan.beams):
            view = beam_view(beam, self._distances[number], isocenter_mm=scenario.isocenter(beam.isocenter))
            width, height = layout.spacing_mm[number].tolist()
            fields.append(BeamletField(view, layout.xy_mm[layout.beam_index == number], (width, height)))
        return fields

    def influence(self, scenario: Scenario, progress: Progress = False) -> DoseInfluence:
        """Compute the dose of every beamlet in a scenario; errors are those of `ConeEngine.beamlets`."""
        matrix = self._engine(scenario).beamlets(self.fields(scenario), progress)
        return DoseInfluence(matrix, self._plan.grid, self._plan.dose_influence.layout)

    def dose(self, scenario: Scenario, weights: FloatArray, progress: Progress = False) -> FloatArray:
        """Compute the dose of beamlet weights in a scenario.

        Parameters
        ----------
        scenario : Scenario
        weights : ndarray, shape (n_beamlets,)
            MU per fraction.
        progress : bool or callable
            As for `ConeEngine.dose`, whose errors are raised.

        Returns
        -------
        ndarray, shape (nx, ny, nz)
            Gy over all fractions.
        """
        engine, fields = self._engine(scenario), self.fields(scenario)
        whole = self._plan.dose_influence.whole_dose
        if isinstance(whole, FieldDose):
            dose = FieldDose(engine, fields, whole.factor, whole.collimator)(weights)
        else:
            ends = np.cumsum([len(field.xy_mm) for field in fields])[:-1]
            used = [(field, mu) for field, mu in zip(fields, np.split(weights, ends), strict=True) if mu.any()]
            dose = engine.dose([field for field, _ in used], [mu for _, mu in used], progress)
        return dose * self._plan.number_of_fractions

    def _engine(self, scenario: Scenario) -> ConeEngine:
        factor = scenario.density_factor
        if factor not in self._engines:
            self._engines[factor] = plan_engine(self._plan, self._options, density_factor=factor)
        return self._engines[factor]


def scenario_influences(
    plan: Plan, scenarios: Iterable[Scenario], options: DoseOptions, structures: Sequence[Structure] | None = None
) -> tuple[ScenarioInfluence, ...]:
    """Compute the doses of a plan's beamlets in scenarios; in the nominal one they are the plan's.

    Parameters
    ----------
    plan : Plan
    scenarios : iterable of Scenario
    options : DoseOptions
        With which the plan's doses were computed, and how to run.
    structures : sequence of Structure, optional
        That doses are kept in. Default: they are kept everywhere.

    Returns
    -------
    tuple of ScenarioInfluence
        In the order of the scenarios.

    Raises
    ------
    TypeError, ValueError
        As `ScenarioEngine`; also if the plan's matrix leaves out scatter from far away.
    DoseMemoryError
        Before anything is computed, if the doses would not fit into memory.
    DoseCanceledError
        If the progress function of the options returned False.
    """
    if plan.dose_influence.whole_dose is not None:
        raise ValueError(
            "the plan's matrix leaves out scatter from far away, which scenarios need: compute its dose influence with "
            "scatter='opentps'"
        )
    engine = ScenarioEngine(plan, scenarios, options)
    others = [scenario for scenario in engine.scenarios if not scenario.is_nominal]
    inside = None if structures is None else inside_any(structures)
    _check_memory(plan, len(others), inside)
    n_beamlets = plan.dose_influence.layout.n_beamlets
    computed = {}
    with following(options.run.progress, len(others) * n_beamlets, "scenarios", "beamlet") as report:
        for number, scenario in enumerate(others):
            influence = engine.influence(scenario, partial(_report_after, report, number * n_beamlets))
            computed[scenario] = influence if inside is None else _cut(influence, inside)
    names = None if structures is None else tuple(structure.name for structure in structures)
    return tuple(
        ScenarioInfluence(each, computed[each], names)
        if each in computed
        else ScenarioInfluence(each, plan.dose_influence)
        for each in engine.scenarios
    )


def _cut(influence: DoseInfluence, inside: BoolArray) -> DoseInfluence:
    """Leave out doses outside some voxels."""
    matrix = influence.matrix
    kept = Columns(matrix.indptr, matrix.indices, matrix.data).inside(inside.ravel())
    return DoseInfluence(kept.matrix(influence.grid.n_voxels), influence.grid, influence.layout)


def _check_memory(plan: Plan, n_scenarios: int, inside: BoolArray | None) -> None:
    """Say what the scenarios take, and refuse if that is more than there is."""
    matrix = plan.dose_influence.matrix
    kept = matrix.nnz if inside is None else _entries_inside(matrix.indices, inside.ravel())
    entry_bytes = matrix.data.itemsize + matrix.indices.itemsize
    # A scenario has doses everywhere before they are left out.
    most = matrix.nnz + (n_scenarios - 1) * kept if n_scenarios else 0
    taken = entry_bytes * most
    in_core = n_scenarios * _CORE_BYTES * kept
    what = f"the doses of {matrix.shape[1]} beamlets in {n_scenarios} scenarios take about {in_units(taken)} of memory"
    _log.info("%s, and an optimization of all their voxels up to %s more", what, in_units(in_core))
    free = available_bytes()
    if free is not None and taken > free:
        raise DoseMemoryError(
            f"{what}, and {in_units(free)} are free: take fewer scenarios, a coarser dose grid or larger beamlets"
        )


def _entries_inside(rows: AnyIntArray, inside: BoolArray) -> int:
    return sum(
        int(np.count_nonzero(inside[rows[first : first + _ENTRIES_AT_ONCE]]))
        for first in range(0, len(rows), _ENTRIES_AT_ONCE)
    )


def _report_after(report: Callable[[int], bool], before: int, done: int, _total: int) -> bool:
    return report(before + done)


def _source_distances(plan: Plan) -> list[float]:
    """Distance of each beam's source from its isocenter; a beam of OpenTPS has a fluence map for each segment."""
    if plan.source is None:
        return [SAD_MM] * len(plan.beams)
    beams = zip(plan.source.beams, source_distances_mm(plan.source), strict=True)
    return [float(distance) for beam, distance in beams for _ in beam.beamSegments]
