"""From a phantom and its goals to a checked plan: beamlets, planning, recalculation, report."""

from __future__ import annotations

import contextlib
import io
import logging
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from opentps_brimstone.evaluation import GoalTable, evaluate
from opentps_brimstone.phantoms import Phantom, make_phantom
from opentps_brimstone.report import REPORT_FILES, PlanReport, save_report, statistics_table

if TYPE_CHECKING:
    from opentps_brimstone.goal_planning import GoalPlanningResult
    from opentps_brimstone.goal_prescription import GoalPlannerSettings
    from opentps_brimstone.optimizer import OptimizerSettings

__all__ = ["DEMO_FILES", "LARGEST_DIFFERENCE", "DemoResult", "run_demo", "silent_opentps"]

FloatArray = npt.NDArray[np.float64]

DOSE_FILE = "dose.dcm"
PLAN_FILE = "plan.tps"
DEMO_FILES = (*REPORT_FILES, DOSE_FILE, PLAN_FILE)
"""Names of the files a demo writes."""

LARGEST_DIFFERENCE = 1e-4
"""How far the recalculated dose may be from that of the optimiser, as a share of its maximum."""


@dataclass(frozen=True)
class DemoResult:
    """What a demo found.

    Attributes
    ----------
    folder : Path
        Where its files are.
    goals : GoalTable
        Of the recalculated dose.
    difference : float
        Largest difference of the recalculated dose and that of the optimiser, as a share of the latter's maximum.
    optimization : GoalPlanningResult
    report : PlanReport
    photon_plan : opentps PhotonPlan
        With the MU found.
    times_s : dict of str to float
        Wall time of each stage.
    """

    folder: Path
    goals: GoalTable
    difference: float
    optimization: GoalPlanningResult = field(repr=False)
    report: PlanReport = field(repr=False)
    photon_plan: Any = field(repr=False)
    times_s: dict[str, float] = field(repr=False)

    @property
    def passed(self) -> bool:
        """Whether all goals are met and the recalculation agrees."""
        return self.goals.all_met and self.difference <= LARGEST_DIFFERENCE

    def summary(self) -> str:
        """Tables and checks as text.

        Returns
        -------
        str
        """
        verdict = "agrees" if self.difference <= LARGEST_DIFFERENCE else "DOES NOT AGREE"
        check = (
            f"Recalculated dose {verdict} with the optimised one: largest difference {self.difference:.1e} of the "
            f"maximum (limit {LARGEST_DIFFERENCE:.0e})"
        )
        return "\n\n".join([str(self.goals), f"Dose statistics (Gy)\n\n{statistics_table(self.report)}", check])


def run_demo(
    case: str | Phantom = "c-shape",
    out: Path | str | None = None,
    *,
    grid_mm: float = 4.0,
    beamlet_mm: float = 5.0,
    threads: int | None = None,
    cache: bool = True,
    progress: bool = False,
    settings: OptimizerSettings | None = None,
    planner_settings: GoalPlannerSettings | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> DemoResult:
    """Plan a phantom to its goals, recalculate the plan with OpenTPS's dose engine, and write a report.

    Parameters
    ----------
    case : str or Phantom
        One of `opentps_brimstone.phantoms.PHANTOMS`, or a phantom of one's own.
    out : Path or str, optional
        Folder for the files of `DEMO_FILES`; ``brimstone-<case>`` by default. It is made if it does not exist; of an
        existing one only files of these names are replaced. Nothing is written before all is computed.
    grid_mm : float
        Voxel spacing of CT and dose.
    beamlet_mm : float
        Beamlet spacing.
    threads : int, optional
        Engine processes and threads of the optimiser; one for each processor by default.
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
        Before long work: when case, a spacing or the number of threads is wrong.
    OSError
        Before long work: when the folder cannot be written.
    EngineError
        When the dose engine fails.
    """
    if threads is not None and threads < 1:
        raise ValueError(f"the number of threads is {threads}; it must be 1 or more")
    phantom = make_phantom(case, grid_mm) if isinstance(case, str) else case
    folder = Path(f"brimstone-{phantom.name}" if out is None else out)
    check_folder(folder, DEMO_FILES)
    with silent_opentps():
        return _run(phantom, folder, beamlet_mm, threads, cache, progress, settings, planner_settings, say)


def _run(
    phantom: Phantom,
    folder: Path,
    beamlet_mm: float,
    threads: int | None,
    cache: bool,
    progress: bool,
    settings: OptimizerSettings | None,
    planner_settings: GoalPlannerSettings | None,
    say: Callable[[str], None],
) -> DemoResult:
    from dataclasses import replace

    from opentps_brimstone.adapters.phantom import to_opentps
    from opentps_brimstone.adapters.plan import layout_from_opentps, write_beamlet_mu
    from opentps_brimstone.adapters.planning import plan_from_opentps
    from opentps_brimstone.engine import compute_beamlets, compute_dose
    from opentps_brimstone.goal_planning import GoalPlanner
    from opentps_brimstone.optimizer import OptimizerSettings

    clock = _Clock()
    ct, _, photon_plan = to_opentps(phantom, beamlet_mm)
    layout = layout_from_opentps(photon_plan)
    say(f"{phantom.title}: {layout.n_beams} fields, {layout.n_beamlets} beamlets, {phantom.grid.n_voxels} voxels")
    clock.lap("preparation")
    beamlets = compute_beamlets(ct, photon_plan, processes=threads, cache=cache, progress=progress)
    say(f"beamlet doses ready after {clock.lap('beamlets'):.1f} s")

    chosen = settings or OptimizerSettings()
    planner = GoalPlanner(
        plan_from_opentps(photon_plan, ct, phantom.structures, beamlets=beamlets),
        phantom.goals,
        planner_settings,
        chosen if threads is None else replace(chosen, threads=threads),
    )
    result = planner.optimize(on_round=lambda each: say(str(each)), progress=progress)
    write_beamlet_mu(photon_plan, result.beamlet_weights)
    say(f"optimised in {clock.lap('optimisation'):.1f} s, {result.iterations} iterations: {result.message}")

    recalculated = compute_dose(ct, photon_plan, processes=threads, progress=progress)
    say(f"recalculated in {clock.lap('recalculation'):.1f} s")
    dose: FloatArray = np.asarray(recalculated.imageArray, dtype=np.float64)
    difference = float(np.abs(dose - result.dose).max() / result.dose.max())
    report = PlanReport(
        title=f"{phantom.title}, {layout.n_beams} fields",
        ct_hu=phantom.ct_hu,
        dose=dose,
        grid=phantom.grid,
        structures=phantom.structures,
        goals=evaluate(dose, phantom.structures, phantom.goals),
        prescription_gy=phantom.prescription_gy,
        isocenter_mm=phantom.isocenter_mm,
        layout=layout,
        beamlet_weights=result.beamlet_weights,
        beam_names=[f"gantry {angle:.0f}°" for angle in phantom.gantry_angles],
        convergence_history=result.convergence_history,
        objectives=result.objectives,
        facts=_facts(phantom, result, difference, clock.times_s, beamlet_mm),
    )
    _write(folder, report, photon_plan)
    return DemoResult(folder, report.goals, difference, result, report, photon_plan, clock.times_s)


class _Clock:
    """Wall time of stages that follow each other."""

    def __init__(self) -> None:
        self.times_s: dict[str, float] = {}
        self._since = time.perf_counter()

    def lap(self, stage: str) -> float:
        now = time.perf_counter()
        self.times_s[stage] = now - self._since
        self._since = now
        return self.times_s[stage]


def _facts(
    phantom: Phantom, result: GoalPlanningResult, difference: float, times_s: dict[str, float], beamlet_mm: float
) -> dict[str, str]:
    return {
        "dose": "recalculated by OpenTPS's CCC",
        "grid": f"{phantom.grid.spacing_mm[0]:g} mm",
        "beamlets": f"{len(result.beamlet_weights)} of {beamlet_mm:g} mm",
        "fractions": str(phantom.number_of_fractions),
        "optimiser": f"{len(result.rounds)} rounds, {result.iterations} iterations in {times_s['optimisation']:.1f} s",
        "recalculation differs by": f"at most {difference:.1e} of the maximum",
    }


# --------------------------------------------------------------------------------------------------- what is written


def check_folder(folder: Path, names: Sequence[str]) -> None:
    """Find out before the work whether the folder can be written after it."""
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(f"the output folder {folder} is a file; give another one")
    nearest = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    if not nearest.is_dir():
        raise NotADirectoryError(f"the output folder {folder} cannot be made: {nearest} is a file")
    try:
        Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=nearest)).rmdir()
    except OSError as error:
        raise PermissionError(f"the output folder {folder} cannot be written in {nearest}: {error.strerror}") from None
    for name in names:
        if (folder / name).is_dir():
            raise IsADirectoryError(f"{folder / name} is a folder; the file of that name cannot be written")


def _write(folder: Path, report: PlanReport, photon_plan: Any) -> None:
    """Write all files, or none."""
    from opentps_brimstone.adapters.files import save_plan
    from opentps_brimstone.dicom import write_rt_dose

    folder.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        save_report(report, staging)
        write_rt_dose(
            report.dose,
            report.grid,
            staging / DOSE_FILE,
            description=report.title,
            plan_uid=photon_plan.SOPInstanceUID,
        )
        save_plan(photon_plan, staging / PLAN_FILE)
        folder.mkdir(exist_ok=True)
        _move(staging, folder, DEMO_FILES)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _move(staging: Path, folder: Path, names: Sequence[str]) -> None:
    for name in names:
        (staging / name).replace(folder / name)


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
