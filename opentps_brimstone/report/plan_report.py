"""What reports show of a plan: doses, goals, how it was found, and whether its recalculation agrees."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from opentps_brimstone._typing import FloatArray
from opentps_brimstone.evaluation import (
    GoalTable,
    cumulative_dvh,
    dose_at_volume,
    dose_statistics,
    format_table,
    maximum_dose,
    mean_dose,
)
from opentps_brimstone.integration.deliverable import LARGEST_DIFFERENCE, LEAST_GAMMA_PASS_PERCENT
from opentps_brimstone.model.structure import Structure
from opentps_brimstone.optimization.terms import KLDivergenceTerm
from opentps_brimstone.quantities import structure_quantity, suggest_alpha_beta
from opentps_brimstone.quantities.of_plan import painted_quantity

if TYPE_CHECKING:
    from opentps_brimstone.engine.choice import EngineChoice
    from opentps_brimstone.engine.monitor_units import Calibration
    from opentps_brimstone.goal_planning.planner import GoalPlanningResult
    from opentps_brimstone.integration.deliverable import DeliverablePlan
    from opentps_brimstone.integration.engine_check import EngineCheck
    from opentps_brimstone.model.influence import BeamletLayout, VoxelGrid
    from opentps_brimstone.model.previous_course import PreviousCourse
    from opentps_brimstone.optimization.result import OptimizationResult
    from opentps_brimstone.optimization.terms import ObjectiveTerm
    from opentps_brimstone.sequencing import SequencedBeam

__all__ = ["EQD2_COLUMNS", "STATISTICS", "PlanReport"]

_BOTH = ("both: mean", "D2", "max")

STATISTICS = {
    "minimum": "min",
    "mean": "mean",
    "maximum": "max",
    "d98": "D98",
    "d95": "D95",
    "d50": "D50",
    "d10": "D10",
    "d2": "D2",
}
"""Attributes of `DoseStatistics` that reports show, and their column names."""

EQD2_COLUMNS = ("structure", "a/b", "before: mean", "D2", "max", "this course: mean", "D2", "max", *_BOTH)
"""Columns of `PlanReport.eqd2_rows`, in Gy of EQD2."""

_DVH_STEP_GY = 0.1


@dataclass(frozen=True, eq=False, kw_only=True)
class PlanReport:
    """A plan, its final dose, and the verdict on both.

    Attributes
    ----------
    title : str
    ct_hu : ndarray, shape (nx, ny, nz)
        HU.
    dose : ndarray, shape (nx, ny, nz)
        The final dose, by the dose engine: of the segments, or of the fluence if there are none. Gy over all fractions.
    grid : VoxelGrid
        Of both.
    structures : sequence of Structure
    goals : GoalTable
        Evaluated for `dose`.
    fluence_goals : GoalTable
        The same goals for the dose of the optimized fluence, as the optimizer knows it.
    prescription_gy : float
        Dose that is 100 %.
    number_of_fractions : int
    isocenter_mm : tuple of float
        Where the three planes meet.
    layout : BeamletLayout
        Of the optimized fluence.
    beam_names : sequence of str
        One for each beam of the layout.
    optimization : GoalPlanningResult or OptimizationResult
    objectives : sequence of (str, ObjectiveTerm)
        Terms of the last optimization, each with the name of its structure.
    calibration : Calibration
        For the beamlets of the optimized fluence.
    difference : float
        Largest difference between `dose` and the dose of the same fluence from beamlet doses, as a share of the
        latter's maximum.
    check : EngineCheck or None
        How OpenTPS's own program compares with `dose`; None if that is what computed it.
    deliverable : DeliverablePlan or None
        None if the plan is of fluence alone.
    dosed_by : EngineChoice or None
        How `dose` was computed; None: as for the calibration.
    goals_in_opentps : GoalTable or None
        The goals for what OpenTPS's engine makes of the segments; None if scatter of `dose` ends where OpenTPS's does.
    density_table : str
        Name of the table that made densities of HU; empty if it is not known.
    notes : sequence of str
        What the reader should know: structures left out, odd files.
    times_s : mapping of str to float
        Wall time of each stage.
    """

    title: str
    ct_hu: FloatArray = field(repr=False)
    dose: FloatArray = field(repr=False)
    grid: VoxelGrid
    structures: Sequence[Structure] = field(repr=False)
    goals: GoalTable
    fluence_goals: GoalTable = field(repr=False)
    prescription_gy: float
    number_of_fractions: int
    isocenter_mm: tuple[float, float, float]
    layout: BeamletLayout = field(repr=False)
    beam_names: Sequence[str] = field(repr=False)
    optimization: GoalPlanningResult | OptimizationResult = field(repr=False)
    objectives: Sequence[tuple[str, ObjectiveTerm]] = field(repr=False)
    calibration: Calibration = field(repr=False)
    difference: float
    check: EngineCheck | None = None
    deliverable: DeliverablePlan | None = field(default=None, repr=False)
    dosed_by: EngineChoice | None = None
    goals_in_opentps: GoalTable | None = field(default=None, repr=False)
    density_table: str = ""
    notes: Sequence[str] = ()
    times_s: Mapping[str, float] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        for name in ("ct_hu", "dose"):
            shape = np.shape(getattr(self, name))
            if shape != self.grid.shape:
                raise ValueError(f"{name} has the grid {shape}; the report's is {self.grid.shape}")
        if len(self.beam_names) != self.layout.n_beams:
            raise ValueError(f"there are {self.layout.n_beams} beams and {len(self.beam_names)} names for them")

    # ---------------------------------------------------------------------------------------------- what was planned

    @property
    def target_dvhs(self) -> dict[str, FloatArray]:
        """Target DVH points (Gy, volume share) of the structures that have any."""
        return {
            name: term.dvh
            for name, term in self.objectives
            if isinstance(term, KLDivergenceTerm) and term.quantity == "physical_dose"
        }

    @property
    def machine_beams(self) -> dict[int, SequencedBeam]:
        """Beams that have segments by their number in the layout, with machine MU; empty for fluence alone."""
        beams = [] if self.deliverable is None else self.deliverable.machine_beams
        return {beam.beam_index: beam for beam in beams}

    @property
    def machine_fluence(self) -> FloatArray:
        """Machine MU per fraction of each beamlet: as the segments deliver it, or as optimized if there are none."""
        if self.deliverable is None:
            return np.asarray(self.calibration.machine_mu(self.optimization.beamlet_weights))
        fluence = np.zeros(self.layout.n_beamlets)
        for number, beam in self.machine_beams.items():
            mine = self.layout.beam_index == number
            fluence[mine] = beam.fluence_at(self.layout.xy_mm[mine])
        return fluence

    @property
    def facts(self) -> dict[str, str]:
        """Short statements for the head of a report, such as grid and MU."""
        found = self.optimization
        rounds = f"{len(found.rounds)} rounds, " if hasattr(found, "rounds") else ""
        facts = {
            "dose": f"of the {self._source}, recalculated by {self.dosed_by or self.calibration.choice}",
            "dose grid": " x ".join(f"{size:g}" for size in self.grid.spacing_mm) + " mm",
            "beamlets": f"{self.layout.n_beamlets} of {self.layout.spacing_mm[0, 0]:g} mm",
            "fractions": str(self.number_of_fractions),
            "optimizer": f"{rounds}{found.iterations} iterations in {found.time_s:.1f} s",
        }
        if self.density_table:
            facts["densities"] = f"from HU by the table {self.density_table}"
        if self.deliverable is not None:
            return facts | self.deliverable.facts()
        facts |= {
            "1 MU": str(self.calibration.reference),
            "recalculation differs by": f"at most {self.difference:.1e} of the maximum",
        }
        return facts if self.check is None else {**facts, "OpenTPS's program": str(self.check)}

    @property
    def _source(self) -> str:
        return "fluence" if self.deliverable is None else "segments"

    # --------------------------------------------------------------------------------------------------- the verdict

    def checks(self) -> list[tuple[str, bool]]:
        """Compare the final dose with the doses it should agree with.

        Returns
        -------
        list of (str, bool)
            Finding, and whether it is within its limit: against the dose of the same fluence, for segments against the
            optimized dose, and against what OpenTPS's program gives.
        """
        same = self.difference <= LARGEST_DIFFERENCE
        text = (
            f"recalculated dose {_verdict(same)} with that of the {self._source}: largest difference "
            f"{self.difference:.1e} of the maximum (limit {LARGEST_DIFFERENCE:.0e})"
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
        if self.check is not None and self.check.mode != "none":
            good = self.check.passed
            found.append((f"OpenTPS's program {_verdict(good)}: {self.check}", good))
        return found

    @property
    def passed(self) -> bool:
        """Whether all goals are met and all checks passed."""
        return self.goals.all_met and all(good for _, good in self.checks())

    # ---------------------------------------------------------------------------------------------------- the tables

    def goal_rows(self) -> tuple[Sequence[str], Sequence[Sequence[str]]]:
        """Lay out the goals in columns; those of segments with the values of the fluence and in OpenTPS beside theirs.

        Returns
        -------
        columns : sequence of str
        rows : sequence of sequence of str
        """
        rows = self.goals.rows()
        if self.deliverable is None:
            return GoalTable.COLUMNS, rows
        *start, value, met = GoalTable.COLUMNS
        besides = {"fluence": self.fluence_goals.rows()}
        if self.goals_in_opentps is not None:
            besides["in OpenTPS"] = self.goals_in_opentps.rows()
        together = zip(rows, *besides.values(), strict=True)
        return (*start, value, *besides, met), [
            (*row[:-1], *(each[-2] for each in others), row[-1]) for row, *others in together
        ]

    def statistics_rows(self, digits: int = 1) -> list[list[str]]:
        """Lay out the dose statistics in columns.

        Parameters
        ----------
        digits : int
            After the decimal point.

        Returns
        -------
        list of list of str
            For each structure its name and the values of `STATISTICS` in Gy.
        """
        return [
            [each.structure, *(f"{getattr(each, name):.{digits}f}" for name in STATISTICS)]
            for each in dose_statistics(self.dose, self.structures)
        ]

    def summary(self) -> str:
        """Lay out goals, dose statistics and checks as text.

        Returns
        -------
        str
        """
        checks = [text for text, _ in self.checks()]
        if (made := self.deliverable) is not None:
            count = f"{made.n_segments} segments of {made.mlc.name} in {len(made.sequenced_beams)} beams"
            checks.insert(0, f"{count} ({made.segments_per_beam:.1f} each), {made.machine_mu:.1f} MU per fraction")
        return "\n\n".join([*self.tables(), "\n".join(checks)])

    def tables(self) -> list[str]:
        """Lay out goals, if there are any, and dose statistics as text.

        Returns
        -------
        list of str
        """
        goals = [format_table(*self.goal_rows())] if len(self.goals) else []
        statistics = format_table(("structure", *STATISTICS.values()), self.statistics_rows())
        tables = [*goals, f"Dose statistics (Gy)\n\n{statistics}"]
        if self.has_previous_dose:
            before = "\n".join(self.previous_facts)
            tables.append(f"EQD2 (Gy)\n\n{before}\n\n{format_table(EQD2_COLUMNS, self.eqd2_rows())}")
        return tables

    # ------------------------------------------------------------------------------------- what was given before

    @property
    def has_previous_dose(self) -> bool:
        """Whether any structure was given dose before."""
        return any(structure.previous_dose is not None for structure in self.structures)

    @property
    def previous_facts(self) -> list[str]:
        """Sentences on what was given before, and how it counts."""
        courses: dict[int, tuple[PreviousCourse, list[str]]] = {}
        for structure in self.structures:
            course = structure.previous_dose
            if course is not None:
                courses.setdefault(id(course), (course, []))[1].append(structure.name)
        return [f"{', '.join(names)}: {course.description}." for course, names in courses.values()]

    def eqd2(self, structure: Structure, *, before: bool = True, now: bool = True) -> FloatArray:
        """EQD2 of the final dose in a structure, of what was given before, or of both.

        Parameters
        ----------
        structure : Structure
            One of the report's.
        before, now : bool
            Which courses count.

        Returns
        -------
        ndarray, shape (nx, ny, nz)
            Gy; outside the structure it has no meaning.
        """
        dose = self.dose if now else np.zeros(self.grid.shape)
        return structure_quantity(dose, structure, "eqd2", self.number_of_fractions, with_previous=before)

    def eqd2_rows(self, digits: int = 1) -> list[list[str]]:
        """Lay out EQD2 under `EQD2_COLUMNS`: before, in this course, and of both.

        Parameters
        ----------
        digits : int
            After the decimal point.

        Returns
        -------
        list of list of str
            A row for each structure.
        """
        rows = []
        for structure in self.structures:
            values = [
                self.eqd2(structure, before=before, now=now)
                for before, now in ((True, False), (False, True), (True, True))
            ]
            numbers = [
                metric(each, structure.share) for each in values for metric in (mean_dose, _near_maximum, maximum_dose)
            ]
            rows.append([structure.name, _ratio(structure), *(f"{number:.{digits}f}" for number in numbers)])
        return rows

    def eqd2_dvhs(self, *, before: bool = True) -> dict[str, tuple[FloatArray, FloatArray]]:
        """Compute the DVHs of EQD2.

        Parameters
        ----------
        before : bool
            Whether dose given before counts.

        Returns
        -------
        dict of str to (ndarray, ndarray), each of shape (n,)
            EQD2 in Gy and volume share that gets at least this much, by the name of the structure.
        """
        values = {structure.name: self.eqd2(structure) for structure in self.structures}
        highest = max(float(values[s.name][s.share > 0].max()) for s in self.structures)
        axis = np.arange(0.0, highest + 2 * _DVH_STEP_GY, _DVH_STEP_GY)
        return {
            structure.name: (
                axis,
                cumulative_dvh(
                    values[structure.name] if before else self.eqd2(structure, before=False), structure.share, axis
                ),
            )
            for structure in self.structures
        }

    def cumulative_eqd2(self) -> FloatArray:
        """EQD2 of both courses in every voxel, each with the α/β of the smallest structure around it, or 3 Gy.

        Returns
        -------
        ndarray, shape (nx, ny, nz)
            Gy.
        """
        elsewhere = Structure("the whole grid", np.ones(self.grid.shape), grid=self.grid)
        courses = [structure.previous_dose for structure in self.structures if structure.previous_dose is not None]
        elsewhere.previous_dose = max(courses, key=courses.count, default=None)
        return painted_quantity(self.dose, self.structures, elsewhere, "eqd2", self.number_of_fractions)

    def dvhs(self) -> tuple[FloatArray, dict[str, FloatArray]]:
        """Compute the cumulative DVHs of all structures on one axis.

        Returns
        -------
        dose_gy : ndarray, shape (n,)
            Every 0.1 Gy, until beyond the highest dose.
        volumes_percent : dict of str to ndarray, shape (n,)
            Of each structure's volume, by its name.
        """
        axis = np.arange(0.0, float(np.max(self.dose)) + 2 * _DVH_STEP_GY, _DVH_STEP_GY)
        return axis, {each.name: 100 * cumulative_dvh(*each.sample(self.dose), axis) for each in self.structures}


def _near_maximum(values: FloatArray, share: FloatArray) -> float:
    return dose_at_volume(values, share, 2)


def _ratio(structure: Structure) -> str:
    """α/β of a structure for people."""
    own = structure.alpha_beta
    if own is None:
        own = suggest_alpha_beta(structure.name, is_target=structure.is_target).value_gy
    return "per voxel" if np.ndim(own) else f"{float(own):g}"


def _verdict(good: bool) -> str:
    return "agrees" if good else "DOES NOT AGREE"
