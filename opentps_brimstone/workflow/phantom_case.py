"""From a phantom and its goals to a checked, deliverable plan: beamlets, planning, segments, recalculation, report."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from opentps_brimstone._typing import FloatArray
from opentps_brimstone._util.output_folder import check_folder, written_together
from opentps_brimstone._util.stopwatch import StageTimes
from opentps_brimstone.evaluation import GoalTable, evaluate
from opentps_brimstone.goal_planning.held_dose import terms_of_dose
from opentps_brimstone.phantoms import Phantom, make_phantom
from opentps_brimstone.report.pages import (
    REPORT_FILES,
    PlanReport,
    goals_table,
    machine_beams,
    save_apertures,
    save_report,
    statistics_table,
)

if TYPE_CHECKING:
    from opentps_brimstone.goal_planning.planner import GoalPlanningResult
    from opentps_brimstone.goal_planning.settings import GoalPlannerSettings
    from opentps_brimstone.integration.deliverable import DeliverablePlan
    from opentps_brimstone.model.influence import BeamletLayout
    from opentps_brimstone.optimization.settings import OptimizerSettings
    from opentps_brimstone.sequencing import MLC

__all__ = [
    "DEFAULT_LEVELS",
    "DEFAULT_MLC",
    "DEMO_FILES",
    "FLUENCE_FILES",
    "LARGEST_DIFFERENCE",
    "DemoResult",
    "run_demo",
    "silent_opentps",
]


DOSE_FILE = "rtdose.dcm"
PLAN_FILE = "plan.tps"
RT_PLAN_FILE = "rtplan.dcm"
APERTURES_FILE = "apertures.png"
FLUENCE_FILES = (*REPORT_FILES, DOSE_FILE, PLAN_FILE)
"""Names of the files of a plan of fluence alone."""
DEMO_FILES = (*FLUENCE_FILES, RT_PLAN_FILE, APERTURES_FILE)
"""Names of the files of a deliverable plan."""

DEFAULT_MLC = "millennium-120"
# How far inside its goals a plan is optimized whose fluence becomes segments: that moves doses by about half of this.
SEQUENCING_MARGIN = 0.01
# Fewer lost goals in segments of TG-119's multi-target case that their fluence met; more make more segments.
DEFAULT_LEVELS = 15

LARGEST_DIFFERENCE = 1e-4
"""How far the recalculated dose may be from that of the optimizer, as a share of its maximum."""


@dataclass(frozen=True)
class DemoResult:
    """What a demo found.

    Attributes
    ----------
    folder : Path
        Where its files are.
    goals : GoalTable
        Of the recalculated dose: that of the segments, or of a plan of fluence alone.
    fluence_goals : GoalTable
        Of the dose that the optimizer knows.
    difference : float
        Largest difference of the recalculated dose and that of the fluence that was calculated, as a share of the
        latter's maximum.
    optimization : GoalPlanningResult
    report : PlanReport
    photon_plan : opentps PhotonPlan
        With the MU found; they are engine MU.
    times_s : dict of str to float
        Wall time of each stage.
    deliverable : DeliverablePlan or None
        None of a plan of fluence alone.
    """

    folder: Path
    goals: GoalTable
    fluence_goals: GoalTable = field(repr=False)
    difference: float
    optimization: GoalPlanningResult = field(repr=False)
    report: PlanReport = field(repr=False)
    photon_plan: Any = field(repr=False)
    times_s: dict[str, float] = field(repr=False)
    deliverable: DeliverablePlan | None = field(default=None, repr=False)

    @property
    def recalculation_agrees(self) -> bool:
        """Whether the engine's dose is that of the fluence and, of segments, agrees with the optimized one."""
        return self.difference <= LARGEST_DIFFERENCE if self.deliverable is None else self.deliverable.passed

    @property
    def passed(self) -> bool:
        """Whether all goals are met and the recalculation agrees."""
        return self.goals.all_met and self.recalculation_agrees

    def summary(self) -> str:
        """Tables and checks as text.

        Returns
        -------
        str
        """
        verdict = "agrees" if self.recalculation_agrees else "DOES NOT AGREE"
        limit = f"{self.difference:.1e} of the maximum (limit {LARGEST_DIFFERENCE:.0e})"
        if self.deliverable is None:
            check = f"Recalculated dose {verdict} with the optimized one: largest difference {limit}"
        else:
            from opentps_brimstone.integration.deliverable import LEAST_GAMMA_PASS_PERCENT

            made = self.deliverable
            mlc = made.sequenced_beams[0].mlc.name
            check = (
                f"{made.n_segments} segments of {mlc} in {len(made.sequenced_beams)} beams "
                f"({made.segments_per_beam:.1f} each), {made.machine_mu:.1f} MU per fraction\n"
                f"Dose recalculated from the segments {verdict}: largest difference from that of their fluence "
                f"{limit}; gamma 2 %/2 mm against the optimized dose passes for {made.gamma_pass_percent:.2f} % "
                f"(limit {LEAST_GAMMA_PASS_PERCENT:g} %)"
            )
        statistics = f"Dose statistics (Gy)\n\n{statistics_table(self.report)}"
        return "\n\n".join([goals_table(self.report), statistics, check])


def run_demo(
    case: str | Phantom = "c-shape",
    out: Path | str | None = None,
    *,
    grid_mm: float = 4.0,
    beamlet_mm: float = 5.0,
    fluence_only: bool = False,
    mlc: MLC | str = DEFAULT_MLC,
    levels: int = DEFAULT_LEVELS,
    threads: int | None = None,
    cache: bool = True,
    progress: bool = False,
    settings: OptimizerSettings | None = None,
    planner_settings: GoalPlannerSettings | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> DemoResult:
    """Plan a phantom to its goals, make segments of the plan, recalculate them with OpenTPS's engine, and report.

    Parameters
    ----------
    case : str or Phantom
        One of `opentps_brimstone.phantoms.PHANTOMS`, or a phantom of one's own.
    out : Path or str, optional
        Folder for the files of `DEMO_FILES`; ``brimstone-<case>`` by default. It is made if it does not exist; of an
        existing one only files of these names are replaced, or removed if this plan has none of them. Nothing is
        written before all is computed.
    grid_mm : float
        Voxel spacing of CT and dose.
    beamlet_mm : float
        Beamlet spacing.
    fluence_only : bool
        Make no segments, and so no RT Plan: recalculate the optimized fluence, on the beamlets that OpenTPS places.
    mlc : MLC or str
        The collimator, or an identifier of `opentps_brimstone.sequencing.MLCS`. Beamlets are placed on its leaves.
    levels : int
        Levels that the fluence of each beam is rounded to.
    threads : int, optional
        Engine processes and threads of the optimizer; one for each processor by default.
    cache : bool
        Use the cache of beamlets.
    progress : bool
        Show progress bars on standard error.
    settings : OptimizerSettings, optional
        The defaults, if not given.
    planner_settings : GoalPlannerSettings, optional
        The defaults, if not given.
    say : callable
        Gets a line of text at each stage.

    Returns
    -------
    DemoResult

    Raises
    ------
    ValueError
        Before long work: when case, a spacing, the MLC, the levels or the number of threads is wrong, or no rows of
        beamlets of this size lie on the MLC's leaves.
    OSError
        Before long work: when the folder cannot be written.
    EngineError
        When the dose engine fails.
    """
    if threads is not None and threads < 1:
        raise ValueError(f"the number of threads is {threads}; it must be 1 or more")
    collimator = None if fluence_only else checked_mlc(mlc, levels)
    phantom = make_phantom(case, grid_mm) if isinstance(case, str) else case
    if collimator is not None:
        phantom = rows_on_leaves(phantom, beamlet_mm)
    folder = Path(f"brimstone-{phantom.name}" if out is None else out)
    check_folder(folder, DEMO_FILES)
    work = _Work(
        phantom, beamlet_mm, collimator, levels, threads, cache, progress, settings, planner_settings, say, StageTimes()
    )
    with silent_opentps():
        result = work.result(folder)
        _write(result, phantom)
    return result


def checked_mlc(mlc: MLC | str, levels: int) -> MLC:
    """Collimator, once the options for segments are known to be right."""
    from opentps_brimstone.sequencing import SequencingSettings, get_mlc

    SequencingSettings(levels=levels)
    return get_mlc(mlc) if isinstance(mlc, str) else mlc


def rows_on_leaves(phantom: Phantom, beamlet_mm: float) -> Phantom:
    """Phantom with its isocenter half a row of beamlets lower, so that rows which lie on leaves keep their place.

    OpenTPS puts the middle of a row at the isocenter, but there two leaves meet. Left where it is, the isocenter would
    move the rows by half their height, and the ends of targets that lay on edges of rows would lie in their middles.

    Parameters
    ----------
    phantom : Phantom
    beamlet_mm : float

    Returns
    -------
    Phantom
    """
    x, y, z = phantom.isocenter_mm
    return dataclasses.replace(phantom, isocenter_mm=(x, y, z - beamlet_mm / 2))


@dataclass(frozen=True)
class _Work:
    """What all steps need. A plan without collimator is one of fluence alone."""

    phantom: Phantom
    beamlet_mm: float
    mlc: MLC | None
    levels: int
    threads: int | None
    cache: bool
    progress: bool
    settings: OptimizerSettings | None
    planner_settings: GoalPlannerSettings | None
    say: Callable[[str], None]
    clock: StageTimes

    @property
    def _engine(self) -> dict[str, Any]:
        return {"processes": self.threads, "progress": self.progress}

    @property
    def _optimizer(self) -> OptimizerSettings:
        from opentps_brimstone.optimization.settings import OptimizerSettings

        chosen = self.settings or OptimizerSettings()
        return chosen if self.threads is None else dataclasses.replace(chosen, threads=self.threads)

    @property
    def _planner(self) -> GoalPlannerSettings:
        from opentps_brimstone.goal_planning.settings import GoalPlannerSettings

        if self.planner_settings is not None:
            return self.planner_settings
        return GoalPlannerSettings(margin=SEQUENCING_MARGIN) if self.mlc is not None else GoalPlannerSettings()

    def result(self, folder: Path) -> DemoResult:
        """Plan."""
        from opentps_brimstone.adapters.plan import layout_from_opentps, write_beamlet_mu
        from opentps_brimstone.engine import compute_beamlets

        phantom, clock = self.phantom, self.clock
        ct, photon_plan = self._fields()
        layout = layout_from_opentps(photon_plan)
        if self.mlc is not None:
            self._check_fields(layout, self.mlc)
        fields = f"{layout.n_beams} fields, {layout.n_beamlets} beamlets"
        self.say(f"{phantom.title}: {fields}, {phantom.grid.n_voxels} voxels")
        clock.lap("preparation")
        beamlets = compute_beamlets(ct, photon_plan, cache=self.cache, **self._engine)
        self.say(f"beamlet doses ready after {clock.lap('beamlets'):.1f} s")

        found = self._optimized(ct, photon_plan, beamlets)
        write_beamlet_mu(photon_plan, found.beamlet_weights)
        self.say(f"optimized in {clock.lap('optimization'):.1f} s, {found.iterations} iterations: {found.message}")

        if self.mlc is None:
            made = None
            dose = self._recalculated(ct, photon_plan)
            difference = float(np.abs(dose - found.dose).max() / found.dose.max())
        else:
            made = self._deliverable(ct, photon_plan, beamlets, found, self.mlc)
            dose, difference, photon_plan = made.dose, made.difference, made.photon_plan
        fluence_goals = evaluate(found.dose, phantom.structures, phantom.goals, grid=phantom.grid)
        report = self._report(dose, difference, layout, found, made, fluence_goals)
        return DemoResult(
            folder=folder,
            goals=report.goals,
            fluence_goals=fluence_goals,
            difference=difference,
            optimization=found,
            report=report,
            photon_plan=photon_plan,
            times_s=clock.times_s,
            deliverable=made,
        )

    def _fields(self) -> tuple[Any, Any]:
        """CT and plan, with beamlets on the leaves if there are any."""
        from opentps_brimstone.adapters.phantom import to_opentps
        from opentps_brimstone.adapters.segments import align_beamlets

        ct, _, photon_plan = to_opentps(self.phantom, self.beamlet_mm)
        return ct, photon_plan if self.mlc is None else align_beamlets(photon_plan, self.mlc)

    @staticmethod
    def _check_fields(layout: BeamletLayout, mlc: MLC) -> None:
        """Find out before the work whether the collimator can shape the fields, by sequencing open ones."""
        from opentps_brimstone.sequencing import SequencingSettings, sequence_plan

        list(sequence_plan(layout, np.ones(layout.n_beamlets), mlc, SequencingSettings(levels=2)))

    def _optimized(self, ct: Any, photon_plan: Any, beamlets: Any) -> GoalPlanningResult:
        from opentps_brimstone.goal_planning.planner import GoalPlanner
        from opentps_brimstone.integration.photon_plan import plan_from_opentps

        planner = GoalPlanner(
            plan_from_opentps(photon_plan, ct, self.phantom.structures, beamlets=beamlets),
            self.phantom.goals,
            self._planner,
            self._optimizer,
        )
        return planner.optimize(on_round=lambda each: self.say(str(each)), progress=self.progress)

    def _recalculated(self, ct: Any, photon_plan: Any) -> FloatArray:
        from opentps_brimstone.engine import compute_dose

        image = compute_dose(ct, photon_plan, **self._engine)
        self.say(f"recalculated in {self.clock.lap('recalculation'):.1f} s")
        return np.asarray(image.imageArray, dtype=np.float64)

    def _deliverable(
        self, ct: Any, photon_plan: Any, beamlets: Any, found: GoalPlanningResult, mlc: MLC
    ) -> DeliverablePlan:
        from opentps_brimstone.integration.deliverable import make_deliverable

        made = make_deliverable(
            photon_plan,
            ct,
            terms_of_dose(self.phantom.structures, found.dose, self.phantom.goals),
            mlc=mlc,
            levels=self.levels,
            settings=self._optimizer,
            beamlets=beamlets,
            cache=self.cache,
            say=self.say,
            **self._engine,
        )
        self.clock.lap("segments")
        return made

    def _report(
        self,
        dose: FloatArray,
        difference: float,
        layout: BeamletLayout,
        found: GoalPlanningResult,
        made: DeliverablePlan | None,
        fluence_goals: GoalTable,
    ) -> PlanReport:
        phantom = self.phantom
        names = [f"gantry {angle:.0f}°" for angle in phantom.gantry_angles]
        weights = found.beamlet_weights
        facts = {
            "dose": "recalculated by OpenTPS's CCC" + (" from the segments" if made is not None else ""),
            "grid": f"{phantom.grid.spacing_mm[0]:g} mm",
            "beamlets": f"{layout.n_beamlets} of {self.beamlet_mm:g} mm",
            "fractions": str(phantom.number_of_fractions),
            "optimizer": f"{len(found.rounds)} rounds, {found.iterations} iterations in {found.time_s:.1f} s",
        }
        if made is None:
            facts["MU"] = "the dose engine's, not a machine's"
            facts["recalculation differs by"] = f"at most {difference:.1e} of the maximum"
        else:
            facts |= made.facts()
            weights = np.zeros(layout.n_beamlets)
            for beam in machine_beams(made):
                mine = layout.beam_index == beam.beam_index
                weights[mine] = beam.fluence_at(layout.xy_mm[mine])
                names[beam.beam_index] += f"\n{len(beam.apertures)} segments\n{beam.mu:.0f} MU"
        return PlanReport(
            title=f"{phantom.title}, {layout.n_beams} fields",
            ct_hu=phantom.ct_hu,
            dose=dose,
            grid=phantom.grid,
            structures=phantom.structures,
            goals=evaluate(dose, phantom.structures, phantom.goals, grid=phantom.grid),
            prescription_gy=phantom.prescription_gy,
            isocenter_mm=phantom.isocenter_mm,
            layout=layout,
            beamlet_weights=weights,
            beam_names=names,
            convergence_history=found.convergence_history,
            objectives=found.objectives,
            facts=facts,
            fluence_goals=None if made is None else fluence_goals,
        )


# --------------------------------------------------------------------------------------------------- what is written


def _write(result: DemoResult, phantom: Phantom) -> None:
    with written_together(result.folder, DEMO_FILES) as folder:
        _write_files(result, phantom, folder)


def _write_files(result: DemoResult, phantom: Phantom, folder: Path) -> None:
    from opentps_brimstone.adapters.files import save_plan
    from opentps_brimstone.dicom import write_rt_dose, write_rt_plan

    report, made = result.report, result.deliverable
    save_report(report, folder)
    rt_plan = None
    if made is not None:
        save_apertures(machine_beams(made), report.beam_names, folder / APERTURES_FILE)
        rt_plan = write_rt_plan(
            made.machine_plan(),
            folder / RT_PLAN_FILE,
            mlc=made.sequenced_beams[0].mlc,
            prescription={
                structure.name: phantom.prescription_of(structure.name)
                for structure in phantom.structures
                if structure.is_target
            },
            patient_id="phantom",
            label=phantom.name[:16],
            description=report.title,
            calibration=str(made.calibration),
        )
    write_rt_dose(
        report.dose,
        report.grid,
        folder / DOSE_FILE,
        description=report.title,
        plan_uid=None if rt_plan is not None else result.photon_plan.SOPInstanceUID,
        rt_plan=rt_plan,
    )
    save_plan(result.photon_plan, folder / PLAN_FILE)


# --------------------------------------------------------------------------------------------------------- the terminal


@contextlib.contextmanager
def silent_opentps() -> Iterator[None]:
    """Keep what OpenTPS prints and logs off the terminal, and its logging configuration out of the process."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    opentps = logging.getLogger("opentps")
    opentps_level = opentps.level
    opentps.setLevel(logging.CRITICAL)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        opentps.setLevel(opentps_level)
        root.handlers[:] = handlers
        root.setLevel(level)
