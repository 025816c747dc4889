"""DICOM folders and prescription files as planning cases."""

from __future__ import annotations

import copy
import dataclasses
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from opentps_brimstone._util.output_folder import check_folder
from opentps_brimstone._util.run_options import RunOptions
from opentps_brimstone._util.silence import silent_opentps
from opentps_brimstone.adapters.physics import energy_note
from opentps_brimstone.dicom.choice import Choice
from opentps_brimstone.engine.beam_model import BEAM_MODELS
from opentps_brimstone.goal_planning.from_goals import prescription_from_goals
from opentps_brimstone.goal_planning.settings import GoalPlannerSettings
from opentps_brimstone.model.beam import beamlets_on_target
from opentps_brimstone.model.derived import OUTSIDE_TARGETS, derived_structure
from opentps_brimstone.model.plan import Plan
from opentps_brimstone.model.series import Series
from opentps_brimstone.model.structure import Structure
from opentps_brimstone.optimization.prescription import Prescription
from opentps_brimstone.request.prescription_file import MATCHED, BeamRequest, PrescriptionFile
from opentps_brimstone.request.reader import read_prescription
from opentps_brimstone.sequencing import MLC, get_mlc, sequence_beam
from opentps_brimstone.workflow.case import Case, decided_machine, planning_margin
from opentps_brimstone.workflow.files import EQD2_FILE, PLAN_FILES, write_case
from opentps_brimstone.workflow.notes import noted_warnings
from opentps_brimstone.workflow.planning import PlanningResult, plan_case
from opentps_brimstone.workflow.references import checked_references

if TYPE_CHECKING:
    from opentps_brimstone.model.influence import VoxelGrid

__all__ = ["case_with_angles", "patient_case", "plan_folder"]

_log = logging.getLogger(__name__)

# Structures without goals or terms are planned with if they fill some voxel outside the targets to this share.
_INSIDE = 0.5


def plan_folder(
    folder: Path | str,
    prescription: Path | str | PrescriptionFile,
    out: Path | str,
    *,
    fluence_only: bool = False,
    force: bool = False,
    engine: str = "native",
    verify: str = "auto",
    choice: Choice | None = None,
    options: RunOptions | None = None,
) -> PlanningResult:
    """Plan on the CT and structures of a DICOM folder, make the plan deliverable, check it and write it.

    Parameters
    ----------
    folder : Path or str
        With a CT and an RT Structure Set; nothing is written into it.
    prescription : Path, str or PrescriptionFile
        The TOML file, or what was read from it.
    out : Path or str
        Folder for the files of `PLAN_FILES`; made if it does not exist. All of them appear once everything is computed,
        or none does; other files in it are left alone.
    fluence_only : bool
        Write the optimized fluence instead of segments; there is no RT Plan then.
    force : bool
        Replace existing files.
    engine : {"native", "opentps"}
        What computes doses: this package's engine, or OpenTPS's program.
    verify : {"auto", "full", "sample", "none"}
        How much of the final dose OpenTPS's program recalculates, as for `make_deliverable`.
    choice : Choice, optional
        Which CT and structure set to read and which contradictions to accept, before what the prescription says of it.
    options : RunOptions, optional

    Returns
    -------
    PlanningResult

    Raises
    ------
    ValueError
        Before long work: `PrescriptionFileError` for the prescription, `DicomError` for the folder; if the output
        folder lies in the input folder.
    OSError
        Before long work: if the output folder cannot be written, or files exist and `force` is not given.
    EngineError
        If the dose engine fails.

    Examples
    --------
    Bad input is reported before long work:

    >>> import tempfile
    >>> from opentps_brimstone.dicom.series_writer import write_dicom_folder
    >>> from opentps_brimstone.phantoms import make_phantom
    >>> from opentps_brimstone.request.reader import parse_prescription
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
    asked = prescription if isinstance(prescription, PrescriptionFile) else read_prescription(prescription)
    source, target = Path(folder), Path(out)
    _check_output(source, target, force=force)
    if choice is not None:
        asked = dataclasses.replace(asked, **choice.over(asked.choice).keywords())
    case = patient_case(source, asked, fluence_only=fluence_only, engine=engine, verify=verify, options=options)
    return write_case(plan_case(case, options), target)


def _check_output(source: Path, target: Path, *, force: bool) -> None:
    inner, outer = target.resolve(), source.resolve()
    if inner == outer or outer in inner.parents:
        raise ValueError(f"the output folder {target} lies in the input folder {source}; give another one")
    check_folder(target, (*PLAN_FILES, EQD2_FILE))
    existing = [name for name in PLAN_FILES if (target / name).exists()]
    if existing and not force:
        raise FileExistsError(
            f"{target} has {', '.join(existing)} already; give another folder, or force them to be replaced"
        )


def patient_case(
    folder: Path,
    asked: PrescriptionFile,
    *,
    fluence_only: bool = False,
    engine: str = "native",
    verify: str = "auto",
    options: RunOptions | None = None,
) -> Case:
    """Make a case of a DICOM folder and a prescription, and check all that can be checked without the dose engine.

    Parameters
    ----------
    folder : Path
        With a CT and an RT Structure Set.
    asked : PrescriptionFile
    fluence_only : bool
        Plan without segments.
    engine, verify
        As for `plan_folder`.
    options : RunOptions, optional

    Returns
    -------
    Case

    Raises
    ------
    PrescriptionFileError
        If the prescription does not fit the patient, naming line and key.
    ValueError
        If CT and structures cannot be read, or no plan can refer to them.
    """
    options = options or RunOptions()
    with silent_opentps(), noted_warnings() as notes:
        series = Series.from_dicom(folder, **asked.choice.keywords(), progress=bool(options.progress))
        references = checked_references(folder, series, asked.choice.accepted)
        if remark := energy_note(asked.machine.energy_mv):
            warnings.warn(remark, stacklevel=2)
        if fluence_only:  # there is no plan to refer to the structure set
            references.pop("structure_set")
        asked = _with_machine(asked.for_structures(series.structures), engine, segments=not fluence_only)
        asked = _with_margin(asked, segments=not fluence_only)
        plan, shown = _plan(asked, series)
        _tell_history(asked, plan, shown)
        mlc = None if fluence_only else _checked_mlc(asked, plan)
        _check_goals(asked, plan)
    size = f"{len(plan.beams)} beams, {len(shown)} structures, {plan.grid.n_voxels} voxels"
    _log.info("%s: %s", asked.name, size)
    return Case(
        name=asked.name,
        title=asked.name,
        prepare=partial(_prepared, plan, asked, engine),
        structures=shown,
        goals=asked.goals,
        terms=asked.terms,
        targets=asked.targets,
        mlc=mlc,
        machine=asked.machine,
        optimizer=asked.optimizer,
        planner=asked.planner,
        dicom=series.dicom,
        references=references,
        request=asked,
        engine=engine,
        verify=verify,
        notes=tuple(notes),
    )


def case_with_angles(
    folder: Path | str,
    prescription: Path | str | PrescriptionFile,
    *,
    choice: Choice | None = None,
    options: RunOptions | None = None,
) -> Callable[[Sequence[float] | None], Case]:
    """Give what makes a patient's case, of fluence alone, with some gantry angles, or with its own.

    Parameters
    ----------
    folder, prescription, choice, options
        As for `plan_folder`. Couch and collimator of other angles are at 0, the isocenter is the plan's, and scatter
        ends where OpenTPS's does.

    Returns
    -------
    callable
    """
    asked = prescription if isinstance(prescription, PrescriptionFile) else read_prescription(prescription)
    if choice is not None:
        asked = dataclasses.replace(asked, **choice.over(asked.choice).keywords())

    def make(angles: Sequence[float] | None) -> Case:
        own = dataclasses.replace(asked, machine=dataclasses.replace(asked.machine, scatter="opentps", beam_model=None))
        if angles is not None:
            beams = tuple(BeamRequest(angle, 0.0, 0.0, None, None) for angle in angles)
            own = dataclasses.replace(own, beams=beams)
        return patient_case(Path(folder), own, fluence_only=True, options=options)

    return make


def _prepared(plan: Plan, asked: PrescriptionFile, engine: str, options: RunOptions) -> Plan:
    spacing, margin, machine = asked.beamlet_spacing_mm, asked.beamlet_margin_mm, asked.machine
    dosed: dict[str, Any] = {"engine": engine, "scatter": machine.scatter, "beam_model": machine.beam_model}
    plan.compute_dose_influence(list(asked.targets), spacing, margin, **dosed, **options.keywords())
    return plan


def _with_machine(asked: PrescriptionFile, engine: str, *, segments: bool) -> PrescriptionFile:
    """Decide what the file leaves open of the machine; a beam model beside the file is found there."""
    machine = asked.machine
    if machine.beam_model is not None and machine.beam_model not in BEAM_MODELS:
        machine = dataclasses.replace(machine, beam_model=str(asked.beside(machine.beam_model)))
    try:
        return dataclasses.replace(asked, machine=decided_machine(machine, engine, segments=segments))
    except ValueError as error:
        raise asked.problem(("machine",), error) from None


def _with_margin(asked: PrescriptionFile, *, segments: bool) -> PrescriptionFile:
    """Set the planner's margin, unless the file states one."""
    if asked.states("planner", "margin") or asked.planner.margin != GoalPlannerSettings.margin:
        return asked
    planner = dataclasses.replace(asked.planner, margin=planning_margin(segments=segments))
    return dataclasses.replace(asked, planner=planner)


# ------------------------------------------------------------------------------------------------------------- the plan


def _plan(asked: PrescriptionFile, series: Series) -> tuple[Plan, list[Structure]]:
    """Make the plan with its beams and the structures to plan with; also give all structures on its dose grid."""
    was_target = {structure.name for structure in series.structures if structure.is_target}
    for structure in series.structures:
        structure.is_target = structure.name in asked.targets
    try:
        grid = series.dose_grid(asked.dose_grid_mm)
    except ValueError as error:
        raise asked.problem(("plan", "dose_grid_mm"), error) from None
    shown = _on_grid(asked, series, grid)
    shown += _derived(asked, shown, grid)
    used = _to_plan_with(asked, shown, grid, was_target)
    own = Series(
        series.ct_hu,
        series.spacing_mm,
        series.origin_mm,
        used,
        name=series.name,
        patient_position=series.patient_position,
    )
    own.dicom = dict(series.dicom)
    own.matter = tuple(
        each for each in series.with_density if each.name not in own.structures and each.name not in asked.leave_out
    )
    plan = Plan(own, asked.fractions, dose_grid_mm=asked.dose_grid_mm)
    for number, beam in enumerate(asked.beams):
        from_plan = beam.isocenter_mm is None and asked.isocenter_mm is not None
        try:
            plan.add_beam(
                beam.gantry_angle,
                asked.isocenter_mm if from_plan else beam.isocenter_mm,
                beam.couch_angle,
                beam.collimator_angle,
                name=beam.name,
            )
        except ValueError as error:
            raise asked.problem(("plan", "isocenter_mm") if from_plan else ("beams", number), error) from None
    return plan, shown


def _on_grid(asked: PrescriptionFile, series: Series, grid: VoxelGrid) -> list[Structure]:
    """Put structures on a grid, and leave out those that do not overlap it."""
    found = []
    for structure in series.structures:
        on_grid = structure.on_grid(grid)
        try:
            on_grid.share.any()  # raises if it does not overlap the grid
        except ValueError as error:
            for path in _named_at(asked, structure.name):
                raise asked.problem(path, error) from None
            warnings.warn(f"structure {structure.name!r} is left out: {error}", stacklevel=2)
        else:
            found.append(on_grid)
    return found


def _derived(asked: PrescriptionFile, known: Sequence[Structure], grid: VoxelGrid) -> list[Structure]:
    """Make the structures of the prescription that follow from others."""
    there = {structure.name for structure in known}
    targets = [structure for structure in known if structure.is_target]
    found = []
    for name in dict.fromkeys([*(goal.structure for goal in asked.goals), *(name for name, _ in asked.terms)]):
        if name not in there:
            try:
                made = derived_structure(name, known, targets, grid)
            except ValueError as error:
                raise asked.problem(next(_named_at(asked, name)), error) from None
            if made is not None:
                found.append(made)
    return found


def _named_at(asked: PrescriptionFile, name: str) -> Iterator[tuple[str | int, ...]]:
    """Find the keys of the prescription that name a structure."""
    yield from (("targets", i, "structure") for i, each in enumerate(asked.targets) if each == name)
    yield from (("prescription", "goals", i) for i, goal in enumerate(asked.goals) if goal.structure == name)
    yield from (("terms", i, "structure") for i, (each, _) in enumerate(asked.terms) if each == name)


def _to_plan_with(
    asked: PrescriptionFile, shown: Sequence[Structure], grid: VoxelGrid, was_target: set[str]
) -> list[Structure]:
    """Choose structures with a target, a goal or a term, and the parts of others that lie outside the targets."""
    targets = np.max([structure.share for structure in shown if structure.is_target], axis=0)
    used = []
    for structure in shown:
        if any(True for _ in _named_at(asked, structure.name)):
            used.append(structure)
        elif structure.name in asked.leave_out:
            continue
        elif structure.name in was_target:
            warnings.warn(
                f"{structure.name!r} is not a target of the prescription; it is shown, and not planned with",
                stacklevel=2,
            )
        elif not asked.terms:
            outside = np.clip(structure.share - targets, 0.0, 1.0)
            if outside.max() >= _INSIDE:
                overlaps = bool((structure.share * targets).any())
                name = f"{structure.name}{OUTSIDE_TARGETS}" if overlaps else structure.name
                used.append(Structure(name, outside, grid=grid) if overlaps else structure)
    return used


# ----------------------------------------------------------------------------------------------------------- the checks


def _tell_history(asked: PrescriptionFile, plan: Plan, shown: Sequence[Structure]) -> None:
    """Tell the tissue of structures, and what they were given before; the same to those that are only shown."""
    for tissue in asked.tissues:
        for structure in (*shown, *plan.structures):
            if structure.name in (tissue.structure, f"{tissue.structure}{OUTSIDE_TARGETS}"):
                structure.alpha_beta, structure.alpha = tissue.alpha_beta, tissue.alpha
    # What is for all comes first, in whichever order the file has them.
    in_order = sorted(enumerate(asked.previous_doses), key=lambda each: each[1].structures is not None)
    for number, course in in_order:
        own = None if course.structures is None else [s for s in course.structures if s in plan.structures]
        file = asked.previous_dose_file(number)
        try:
            accept = asked.choice.accepted
            plan.set_previous_dose(file, course.fractions, course.recovery, structures=own, accept=accept)
        except (OSError, ValueError) as error:
            raise asked.problem(("previous_dose", number, "file"), error) from None
    for structure in shown:
        planned = plan.structures.get(structure.name)
        structure.previous_dose = plan.previous_dose if planned is None else planned.previous_dose
    _check_terms(asked, plan)


def _check_terms(asked: PrescriptionFile, plan: Plan) -> None:
    """Check that the quantities of terms have what they need."""
    prescription = Prescription(plan, asked.optimizer)
    for number, (name, term) in enumerate(asked.terms):
        try:
            prescription.add(plan.structures[name], copy.copy(term))
        except ValueError as error:
            raise asked.problem(("terms", number), error) from None


def _checked_mlc(asked: PrescriptionFile, plan: Plan) -> MLC:
    """Find the collimator, and check that it can shape open fields on the targets."""
    spacing, margin = asked.beamlet_spacing_mm, asked.beamlet_margin_mm
    share = np.maximum.reduce([plan.structures[name].share for name in asked.targets])
    placed = [
        beamlets_on_target(share, plan.grid, beam.isocenter, beam.supine_angles, spacing, margin) for beam in plan.beams
    ]
    if asked.machine.mlc == MATCHED:
        mlc = MLC.matched(np.concatenate(placed)[:, 1], spacing)
    else:
        mlc = get_mlc(asked.machine.mlc)
    settings = dataclasses.replace(asked.machine.sequencing, levels=2)
    for number, xy in enumerate(placed):
        try:
            sequence_beam(xy, np.ones(len(xy)), (spacing, spacing), mlc, settings, beam_index=number)
        except ValueError as error:
            problem = f"{plan.beams[number].name} cannot be sequenced: {error}"
            raise asked.problem(("machine", "mlc"), problem) from None
    return mlc


def _check_goals(asked: PrescriptionFile, plan: Plan) -> None:
    """Check that goals which are to be planned for do not contradict each other."""
    if asked.terms:
        return
    try:
        prescription_from_goals(plan.structures.values(), asked.goals, plan.grid, asked.planner, asked.fractions)
    except ValueError as error:
        raise asked.problem(("prescription", "goals"), error) from None
