"""From a DICOM folder and a prescription file to a checked, deliverable plan: what ``opentps-brimstone plan`` does."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import json
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from opentps_brimstone._typing import FloatArray
from opentps_brimstone._util.output_folder import check_folder, written_together
from opentps_brimstone._util.stopwatch import StageTimes
from opentps_brimstone.evaluation import evaluate, voxel_volume_cc
from opentps_brimstone.model.beam import beamlets_on_target
from opentps_brimstone.model.plan import Plan
from opentps_brimstone.model.series import Series
from opentps_brimstone.model.structure import Structure
from opentps_brimstone.report.pages import (
    REPORT_FILES,
    PlanReport,
    dvh_columns,
    machine_beams,
    report_figure,
    save_apertures,
    save_report,
)
from opentps_brimstone.report.result import PlanFolderResult
from opentps_brimstone.request.prescription_file import MATCHED, PrescriptionFile, read_prescription
from opentps_brimstone.workflow.phantom_case import silent_opentps

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

    from opentps_brimstone.engine.monitor_units import Calibration
    from opentps_brimstone.goal_planning.planner import GoalPlanningResult
    from opentps_brimstone.integration.deliverable import DeliverablePlan
    from opentps_brimstone.model.influence import VoxelGrid
    from opentps_brimstone.optimization.result import OptimizationResult
    from opentps_brimstone.optimization.terms import ObjectiveTerm
    from opentps_brimstone.sequencing import MLC

__all__ = ["PLAN_FILES", "PlanFolderResult", "plan_folder"]


REPORT_PDF, REPORT_HTML, DVH_JSON, APERTURES_FILE = "report.pdf", "report.html", "dvh.json", "apertures.png"
RT_PLAN_FILE, RT_DOSE_FILE, OPENTPS_FILE, ASKED_FILE = "rtplan.dcm", "rtdose.dcm", "plan.tps", "prescription.toml"
PLAN_FILES = (
    *REPORT_FILES,
    REPORT_PDF,
    REPORT_HTML,
    DVH_JSON,
    RT_PLAN_FILE,
    APERTURES_FILE,
    RT_DOSE_FILE,
    OPENTPS_FILE,
    ASKED_FILE,
)
"""Names of the files that are written; a plan of fluence alone has neither RT Plan nor apertures."""

# A structure on the dose grid is planned with if it fills some voxel to this share.
_INSIDE = 0.5


def plan_folder(
    folder: Path | str,
    prescription: Path | str | PrescriptionFile,
    out: Path | str,
    *,
    fluence_only: bool = False,
    force: bool = False,
    threads: int | None = None,
    cache: bool = True,
    progress: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> PlanFolderResult:
    """Plan on the CT and structures of a DICOM folder, make the plan deliverable, check it and write it.

    Goals alone are planned for by `GoalPlanner`; if there are terms, `PlanOptimizer` optimizes these, and goals are
    judged.

    Parameters
    ----------
    folder : Path or str
        With a CT and an RT Structure Set; nothing is written into it.
    prescription : Path, str or PrescriptionFile
        The TOML file, or what was read from it.
    out : Path or str
        Folder for the files of `PLAN_FILES`; made if it does not exist. All of them appear when all is computed, or
        none does; other files in it are left alone.
    fluence_only : bool
        Write the optimized fluence instead of segments: there is no RT Plan then.
    force : bool
        Replace files that are there.
    threads : int, optional
        Engine processes and threads of the optimizer; one for each processor by default.
    cache : bool
        Use the cache of beamlets.
    progress : bool
        Show progress bars on standard error.
    say : callable
        Gets a line of text at each stage, and the warnings that come up.

    Returns
    -------
    PlanFolderResult

    Raises
    ------
    ValueError
        Before long work: `PrescriptionFileError` for the prescription, `DicomError` for the folder; when the output
        folder lies in the input folder.
    OSError
        Before long work: when the output folder cannot be written, or files are there and `force` is not given.
    EngineError
        When the dose engine fails.

    Examples
    --------
    What does not fit is told before long work:

    >>> import tempfile
    >>> from opentps_brimstone.dicom.series_writer import write_dicom_folder
    >>> from opentps_brimstone.phantoms import make_phantom
    >>> from opentps_brimstone.request.prescription_file import parse_prescription
    >>> asked = parse_prescription('''
    ... plan.fractions = 25
    ... beams = [{gantry_angle = 0}]
    ... targets = [{structure = "GTV", dose_gy = 50}]
    ... prescription.goals = ["GTV D95 >= 50 Gy"]
    ... ''', "prescription.toml")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = write_dicom_folder(make_phantom("c-shape", 10.0), Path(folder, "dicom"))
    ...     try:
    ...         plan_folder(Path(folder, "dicom"), asked, Path(folder, "plan"))
    ...     except ValueError as error:
    ...         print(str(error).splitlines()[0])
    prescription.toml, line 4: targets 1, structure: there is no structure 'GTV'; there are 'PTV', 'Core', 'Body'...
    """
    if threads is not None and threads < 1:
        raise ValueError(f"the number of threads is {threads}; it must be 1 or more")
    asked = prescription if isinstance(prescription, PrescriptionFile) else read_prescription(prescription)
    source, target = Path(folder), Path(out)
    _check_output(source, target, force=force)
    work = _Work(source, asked, threads, cache, progress, say)
    with silent_opentps(), work.noting_warnings():
        result = work.result(target, fluence_only=fluence_only)
        _write(result, work.references)
    return result


def _check_output(source: Path, target: Path, *, force: bool) -> None:
    inner, outer = target.resolve(), source.resolve()
    if inner == outer or outer in inner.parents:
        raise ValueError(f"the output folder {target} lies in the input folder {source}; give another one")
    check_folder(target, PLAN_FILES)
    there = [name for name in PLAN_FILES if (target / name).exists()]
    if there and not force:
        raise FileExistsError(
            f"{target} has {', '.join(there)} already; give another folder, or force them to be replaced"
        )


# ------------------------------------------------------------------------------------------------------------ the steps


class _Work:
    """What all steps need."""

    def __init__(
        self,
        source: Path,
        asked: PrescriptionFile,
        threads: int | None,
        cache: bool,
        progress: bool,
        say: Callable[[str], None],
    ) -> None:
        self._source = source
        self._asked = asked
        self._cache = cache
        self._progress = progress
        self._say = say
        self._clock = StageTimes()
        self._engine: dict[str, Any] = {"processes": threads, "progress": progress}
        self._settings = asked.optimizer if threads is None else dataclasses.replace(asked.optimizer, threads=threads)
        self.notes: list[str] = []
        self.references: dict[str, Dataset] = {}

    def _note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)
            self._say(f"note: {text}")

    @contextlib.contextmanager
    def noting_warnings(self) -> Iterator[None]:
        """Note what others warn of."""
        with warnings.catch_warnings():
            warnings.simplefilter("always", UserWarning)
            shown = warnings.showwarning

            def note(message: Warning | str, category: type[Warning], *place: Any) -> None:
                if issubclass(category, UserWarning):
                    self._note(str(message))
                else:
                    shown(message, category, *place)

            warnings.showwarning = note  # type: ignore[assignment]
            yield

    def result(self, target: Path, *, fluence_only: bool) -> PlanFolderResult:
        """Plan."""
        series = Series.from_dicom(
            self._source,
            series=self._asked.series,
            structure_set=self._asked.structure_set,
            progress=self._progress,
        )
        self.references = _references(self._source, series)
        if fluence_only:  # no plan refers to the structure set
            self.references.pop("structure_set", None)
        _check_references(self._source, self.references)
        asked = self._asked = self._asked.for_structures(series.structures)
        plan, shown = self._plan(series)
        mlc = None if fluence_only else self._checked_mlc(plan)
        self._check_goals(plan)
        grid = plan.grid
        self._say(f"{asked.name}: {len(plan.beams)} beams, {len(shown)} structures, {grid.n_voxels} voxels")
        self._clock.lap("preparation")

        influence = plan.compute_dose_influence(
            list(asked.targets), asked.beamlet_spacing_mm, asked.beamlet_margin_mm, cache=self._cache, **self._engine
        )
        self._say(f"doses of {influence.layout.n_beamlets} beamlets ready after {self._clock.lap('beamlets'):.1f} s")
        self._leave_out_without_dose(plan)
        found, terms = self._optimized(plan)
        self._say(
            f"optimized in {self._clock.lap('optimization'):.1f} s, {found.iterations} iterations: {found.message}"
        )

        case = plan.to_opentps()
        case.plan.name = case.plan.rtPlanName = asked.name
        if mlc is not None:
            deliverable = self._deliverable(plan, case, self._terms_of_segments(plan, found, terms), mlc)
            dose, difference = deliverable.dose, deliverable.difference
            calibration, photon_plan = deliverable.planned_calibration, deliverable.photon_plan
        else:
            deliverable = None
            dose, difference, calibration = self._recalculated(plan, case)
            photon_plan = case.plan
        optimized_goals = evaluate(found.dose, shown, asked.goals, grid=grid)
        report = dataclasses.replace(
            self._report(plan, shown, dose, found, terms, calibration, deliverable, difference),
            fluence_goals=None if deliverable is None else optimized_goals,
        )
        return PlanFolderResult(
            folder=target,
            prescription=asked,
            series=series,
            goals=report.goals,
            optimized_goals=optimized_goals,
            optimization=found,
            deliverable=deliverable,
            calibration=calibration,
            difference=difference,
            report=report,
            photon_plan=photon_plan,
            notes=tuple(self.notes),
            times_s=self._clock.times_s,
        )

    # ------------------------------------------------------------------------------------------------------- the plan

    def _plan(self, series: Series) -> tuple[Plan, list[Structure]]:
        """Plan with beams and the structures to plan with; and all structures on its dose grid."""
        asked = self._asked
        was_target = {structure.name for structure in series.structures if structure.is_target}
        for structure in series.structures:
            structure.is_target = structure.name in asked.targets
        try:
            grid = series.dose_grid(asked.dose_grid_mm)
        except ValueError as error:
            raise asked.problem(("plan", "dose_grid_mm"), error) from None
        shown = self._on_grid(series, grid)
        used = self._to_plan_with(shown, grid, was_target)
        own = Series(series.ct_hu, series.spacing_mm, series.origin_mm, used, name=series.name)
        own.dicom = dict(series.dicom)
        plan = Plan(own, asked.fractions, dose_grid_mm=asked.dose_grid_mm)
        for number, beam in enumerate(asked.beams):
            path = ("plan", "isocenter_mm") if asked.isocenter_mm is not None else ("beams", number)
            try:
                plan.add_beam(isocenter=asked.isocenter_mm, **beam._asdict())
            except ValueError as error:
                raise asked.problem(path, error) from None
        return plan, shown

    def _on_grid(self, series: Series, grid: VoxelGrid) -> list[Structure]:
        """All structures but those of which nothing is on the grid."""
        found = []
        for structure in series.structures:
            on_grid = structure.on_grid(grid)
            try:
                on_grid.share  # noqa: B018
            except ValueError as error:
                for path in self._named_at(structure.name):
                    raise self._asked.problem(path, error) from None
                self._note(f"structure {structure.name!r} is left out: {error}")
            else:
                found.append(on_grid)
        return found

    def _named_at(self, name: str) -> Iterator[tuple[str | int, ...]]:
        asked = self._asked
        yield from (("targets", i, "structure") for i, each in enumerate(asked.targets) if each == name)
        yield from (("prescription", "goals", i) for i, goal in enumerate(asked.goals) if goal.structure == name)
        yield from (("terms", i, "structure") for i, (each, _) in enumerate(asked.terms) if each == name)

    def _to_plan_with(self, shown: Sequence[Structure], grid: VoxelGrid, was_target: set[str]) -> list[Structure]:
        """Structures with a target, a goal or a term, and of the others what lies outside the targets."""
        targets = np.max([structure.share for structure in shown if structure.is_target], axis=0)
        used = []
        for structure in shown:
            if any(True for _ in self._named_at(structure.name)):
                used.append(structure)
            elif structure.name in self._asked.leave_out:
                continue
            elif structure.name in was_target:
                self._note(f"{structure.name!r} is no target of the prescription; it is shown, and not planned with")
            elif not self._asked.terms:
                outside = np.clip(structure.share - targets, 0.0, 1.0)
                if outside.max() >= _INSIDE:
                    overlaps = bool((structure.share * targets).any())
                    name = f"{structure.name} outside targets" if overlaps else structure.name
                    used.append(Structure(name, outside, grid=grid) if overlaps else structure)
        return used

    def _checked_mlc(self, plan: Plan) -> MLC:
        """Collimator, after open fields on the targets were sequenced for it."""
        from opentps_brimstone.sequencing import MLC, get_mlc, sequence_beam

        asked = self._asked
        spacing = asked.beamlet_spacing_mm
        share = np.maximum.reduce([plan.structures[name].share for name in asked.targets])
        placed = [
            beamlets_on_target(
                share,
                plan.grid,
                beam.isocenter,
                (beam.gantry_angle or 0.0, beam.couch_angle or 0.0, beam.collimator_angle or 0.0),
                spacing,
                asked.beamlet_margin_mm,
            )
            for beam in plan.beams
        ]
        if asked.machine.mlc == MATCHED:
            mlc = MLC.matched(np.concatenate(placed)[:, 1], spacing)
        else:
            mlc = get_mlc(asked.machine.mlc)
        ways = dataclasses.replace(asked.machine.sequencing, levels=2)
        for number, xy in enumerate(placed):
            try:
                sequence_beam(xy, np.ones(len(xy)), (spacing, spacing), mlc, ways, beam_index=number)
            except ValueError as error:
                raise asked.problem(
                    ("machine", "mlc"), f"{plan.beams[number].name} cannot be sequenced: {error}"
                ) from None
        return mlc

    def _check_goals(self, plan: Plan) -> None:
        """Find out before the work whether goals contradict each other."""
        from opentps_brimstone.goal_planning.from_goals import prescription_from_goals

        asked = self._asked
        if asked.terms:
            return
        try:
            prescription_from_goals(plan.structures.values(), asked.goals, plan.grid, asked.planner)
        except ValueError as error:
            raise asked.problem(("prescription", "goals"), error) from None

    def _leave_out_without_dose(self, plan: Plan) -> None:
        """Leave structures out of the planning that no beamlet reaches."""
        reached = np.asarray(plan.dose_influence.matrix.sum(axis=1)).ravel()
        for name, structure in list(plan.structures.items()):
            if not structure.is_target and not np.vdot(structure.share.ravel(), reached) > 0:
                self._note(f"{name!r} is out of reach of all beams; it is not planned with")
                del plan.structures[name]

    # ---------------------------------------------------------------------------------------------------- optimization

    def _optimized(
        self, plan: Plan
    ) -> tuple[GoalPlanningResult | OptimizationResult, list[tuple[Structure, ObjectiveTerm]]]:
        """Set the weights; give the result and what was asked."""
        from opentps_brimstone.goal_planning.planner import GoalPlanner
        from opentps_brimstone.optimization.optimizer import PlanOptimizer

        asked = self._asked
        if asked.terms:
            optimizer = PlanOptimizer(plan, self._settings)
            terms = [(plan.structures[n], copy.copy(term)) for n, term in asked.terms if n in plan.structures]
            for structure, term in terms:
                optimizer.add_objective(structure, term)
            return optimizer.optimize(progress=self._progress), terms
        goals = [goal for goal in asked.goals if goal.structure in plan.structures]
        planner = GoalPlanner(plan, goals, asked.planner, self._settings)
        found = planner.optimize(on_round=lambda each: self._say(str(each)), progress=self._progress)
        # The planner also asks something of parts of structures.
        return found, [(plan.structures[name], term) for name, term in found.objectives if name in plan.structures]

    def _terms_of_segments(
        self,
        plan: Plan,
        found: GoalPlanningResult | OptimizationResult,
        terms: list[tuple[Structure, ObjectiveTerm]],
    ) -> list[tuple[Structure, ObjectiveTerm]]:
        """Terms of the prescription; of a plan made from goals, which the last terms do not describe, its own dose."""
        from opentps_brimstone.goal_planning.held_dose import terms_of_dose

        if self._asked.terms:
            return terms
        return terms_of_dose(plan.structures.values(), found.dose, self._asked.goals)

    def _deliverable(
        self, plan: Plan, case: Any, terms: Sequence[tuple[Structure, ObjectiveTerm]], mlc: MLC
    ) -> DeliverablePlan:
        from opentps_brimstone.adapters.beamlets import sparse_beamlets_from_dose_influence
        from opentps_brimstone.integration.deliverable import make_deliverable

        machine = self._asked.machine
        made = make_deliverable(
            case.plan,
            case.ct,
            terms,
            mlc=mlc,
            levels=machine.sequencing.levels,
            sequencing=machine.sequencing,
            minimum_mu=machine.minimum_mu,
            step_mu=machine.step_mu,
            reference=machine.reference,
            settings=None if self._asked.terms else self._settings,
            beamlets=sparse_beamlets_from_dose_influence(plan.dose_influence),
            cache=self._cache,
            say=self._say,
            **self._engine,
        )
        self._clock.lap("segments")
        return made

    def _recalculated(self, plan: Plan, case: Any) -> tuple[FloatArray, float, Calibration]:
        """Dose of the fluence by the engine, how far it is from the optimizer's, and the calibration."""
        from opentps_brimstone.engine import compute_dose
        from opentps_brimstone.engine.calibration import calibrate_plan

        image = compute_dose(case.ct, case.plan, **self._engine)
        dose = np.asarray(image.imageArray, dtype=np.float64)
        expected = np.asarray(plan.get_dose())
        difference = float(np.abs(dose - expected).max() / expected.max())
        calibration = calibrate_plan(
            case.plan, case.ct, self._asked.machine.reference, cache=self._cache, **self._engine
        )
        self._say(f"recalculated in {self._clock.lap('recalculation'):.1f} s")
        return dose, difference, calibration

    # ---------------------------------------------------------------------------------------------------------- report

    def _report(
        self,
        plan: Plan,
        shown: Sequence[Structure],
        dose: FloatArray,
        found: GoalPlanningResult | OptimizationResult,
        terms: Iterable[tuple[Structure, ObjectiveTerm]],
        calibration: Calibration,
        deliverable: DeliverablePlan | None,
        difference: float,
    ) -> PlanReport:
        asked = self._asked
        assert plan.ct_hu is not None
        isocenter = (plan.beams[0].isocenter.round(2) + 0.0).tolist()
        spacing = " x ".join(f"{size:g}" for size in plan.grid.spacing_mm)
        facts = {
            "dose": f"of the {'fluence' if deliverable is None else 'segments'}, recalculated by OpenTPS's CCC",
            "dose grid": f"{spacing} mm",
            "beamlets": f"{len(found.beamlet_weights)} of {asked.beamlet_spacing_mm:g} mm",
            "fractions": str(asked.fractions),
            "optimizer": f"{found.iterations} iterations in {self._clock.times_s['optimization']:.1f} s",
        }
        if deliverable is not None:
            facts |= deliverable.facts()
        else:
            facts |= {
                "1 MU": str(calibration.reference),
                "recalculation differs by": f"at most {difference:.1e} of the maximum",
            }
        return PlanReport(
            title=asked.name,
            ct_hu=plan.ct_hu,
            dose=dose,
            grid=plan.grid,
            structures=shown,
            goals=evaluate(dose, shown, asked.goals, grid=plan.grid),
            prescription_gy=asked.prescription_gy,
            isocenter_mm=(isocenter[0], isocenter[1], isocenter[2]),
            layout=plan.dose_influence.layout,
            beamlet_weights=np.asarray(calibration.machine_mu(found.beamlet_weights)),
            beam_names=[f"{beam.name}, gantry {beam.gantry_angle:g}°" for beam in plan.beams],
            convergence_history=found.convergence_history,
            objectives=[(structure.name, term) for structure, term in terms],
            facts=facts,
        )


def _references(folder: Path, series: Series) -> dict[str, Dataset]:
    """Headers of the structure set and of a slice of the CT, for the plan to refer to."""
    import pydicom
    from pydicom.errors import InvalidDicomError

    wanted = {
        "structure_set": ("SOPInstanceUID", series.dicom.get("StructureSetUID")),
        "ct": ("SeriesInstanceUID", series.dicom.get("SeriesInstanceUID")),
    }
    found: dict[str, Dataset] = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        try:
            header = pydicom.dcmread(
                path, stop_before_pixels=True, specific_tags=["SOPInstanceUID", "SeriesInstanceUID"]
            )
        except InvalidDicomError:
            continue
        for what, (tag, uid) in wanted.items():
            if what not in found and uid and str(header.get(tag, "")) == uid:
                found[what] = pydicom.dcmread(path, stop_before_pixels=True)
        if len(found) == len(wanted):
            break
    return found


def _check_references(folder: Path, references: Mapping[str, Dataset]) -> None:
    """Find out before the work whether plan and dose can refer to structure set and CT."""
    from opentps_brimstone.dicom.header import check_references, load_reference

    try:
        for what, modality, name in (("structure_set", "RTSTRUCT", "structure set"), ("ct", "CT", "CT")):
            load_reference(references.get(what), modality, name)
        check_references(list(references.values()))
    except ValueError as error:
        raise ValueError(f"{folder}: {error}") from None


# -------------------------------------------------------------------------------------------------------------- files


def _write(result: PlanFolderResult, references: Mapping[str, Dataset]) -> None:
    with written_together(result.folder, PLAN_FILES) as folder:
        _write_files(result, references, folder)


def _write_files(result: PlanFolderResult, references: Mapping[str, Dataset], folder: Path) -> None:
    from opentps_brimstone.adapters.files import save_plan
    from opentps_brimstone.report.html import html_report

    report = result.report
    save_report(report, folder)
    report_figure(report).savefig(folder / REPORT_PDF)
    if result.deliverable is not None:
        save_apertures(machine_beams(result.deliverable), report.beam_names, folder / APERTURES_FILE)
    _write_dvhs(report, folder / DVH_JSON)
    _write_dicom(result, references, folder)
    save_plan(result.photon_plan, folder / OPENTPS_FILE)
    (folder / ASKED_FILE).write_text(result.prescription.text, encoding="utf-8", newline="")
    (folder / REPORT_HTML).write_text(html_report(result), encoding="utf-8")


def _write_dicom(result: PlanFolderResult, references: Mapping[str, Dataset], folder: Path) -> None:
    from opentps_brimstone.dicom import write_rt_dose, write_rt_plan

    asked, made = result.prescription, result.deliverable
    frame = result.series.dicom.get("FrameOfReferenceUID")
    rt_plan = None
    if made is not None:
        structure_set = references.get("structure_set")
        rt_plan = write_rt_plan(
            made.machine_plan(),
            folder / RT_PLAN_FILE,
            mlc=made.sequenced_beams[0].mlc,
            prescription=_named_in(structure_set, asked.targets),
            structure_set=structure_set,
            ct=references.get("ct"),
            frame_of_reference_uid=frame if not references else None,
            label=asked.name[:16],
            description=asked.name,
            calibration=str(made.calibration),
            machine=asked.machine.name,
            nominal_energy_mv=asked.machine.energy_mv,
            dose_rate_mu_per_min=asked.machine.dose_rate_mu_per_min,
        )
    write_rt_dose(
        result.report.dose,
        result.report.grid,
        folder / RT_DOSE_FILE,
        description=asked.name,
        patient_id=result.series.dicom.get("PatientID") or "unknown",
        frame_of_reference_uid=frame if not references else None,
        rt_plan=rt_plan,
        ct=references.get("ct"),
    )


def _named_in(structure_set: Dataset | None, targets: Mapping[str, float]) -> dict[str, float]:
    """Prescribed doses by the names that the structure set has."""
    if structure_set is None:
        return dict(targets)
    names = [str(roi.get("ROIName", "")) for roi in structure_set.get("StructureSetROISequence") or []]
    return {name: targets[name.strip()] for name in names if name.strip() in targets}


def _write_dvhs(report: PlanReport, path: Path) -> None:
    """DVHs as JSON: dose axis, and for each structure volume and percents of it."""
    axis, volumes = dvh_columns(report)
    voxel_cc = voxel_volume_cc(report.grid)
    structures = {
        structure.name: {
            "is_target": structure.is_target,
            "volume_cc": round(float(structure.share.sum()) * voxel_cc, 4),
            "volume_percent": np.round(volumes[structure.name], 4).tolist(),
        }
        for structure in report.structures
    }
    document = {"dose_gy": np.round(axis, 4).tolist(), "structures": structures}
    path.write_text(json.dumps(document) + "\n", encoding="utf-8")
