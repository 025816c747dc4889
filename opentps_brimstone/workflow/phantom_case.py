"""Phantoms as planning cases."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from opentps_brimstone._util.output_folder import check_folder
from opentps_brimstone._util.run_options import RunOptions
from opentps_brimstone._util.silence import silent_opentps
from opentps_brimstone.goal_planning.settings import GoalPlannerSettings
from opentps_brimstone.optimization.settings import OptimizerSettings
from opentps_brimstone.phantoms import Phantom, make_phantom
from opentps_brimstone.request.prescription_file import MachineRequest
from opentps_brimstone.sequencing import MLC, SequencingSettings, get_mlc, sequence_plan
from opentps_brimstone.sequencing.aperture_settings import ApertureSettings
from opentps_brimstone.workflow.case import Case, decided_machine, planning_margin
from opentps_brimstone.workflow.files import DEMO_FILES, write_case
from opentps_brimstone.workflow.planning import PlanningResult, plan_case

if TYPE_CHECKING:
    from opentps_brimstone.model.plan import Plan

__all__ = ["PhantomSettings", "phantom_case", "phantom_with_angles", "rows_on_leaves", "run_demo"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PhantomSettings:
    """How a phantom is planned.

    Parameters
    ----------
    grid_mm : float
        Voxel spacing of CT and dose, for phantoms given by name.
    beamlet_mm : float
        Beamlet spacing.
    mlc : MLC, str or None
        Collimator of the segments, or its identifier in `opentps_brimstone.sequencing.MLCS`; beamlets are placed on its
        leaves. None: make no segments, and so no RT Plan, but recalculate the optimized fluence, on the beamlets that
        OpenTPS places.
    sequencing : SequencingSettings
        How fluence becomes segments.
    refine : bool, optional
        Whether leaf positions are optimized by the dose of the segments, as for `make_deliverable`. Default: with full
        scatter.
    apertures : ApertureSettings
        How.
    optimizer : OptimizerSettings
    planner : GoalPlannerSettings, optional
        The defaults, with the margin of `planning_margin`, if not given.
    engine : {"native", "opentps"}
        What computes doses.
    scatter : {"opentps", "full"}, optional
        How far scatter reaches in optimization and final dose. Default: that of `decided_machine`.
    beam_model : str, optional
        Beam of a machine, as for `compute_dose`.
    verify : {"auto", "full", "sample", "none"}
        How much of the final dose OpenTPS's program recalculates, as for `make_deliverable`.
    """

    grid_mm: float = 4.0
    beamlet_mm: float = 5.0
    mlc: MLC | str | None = MachineRequest.mlc
    sequencing: SequencingSettings = field(default_factory=SequencingSettings)
    refine: bool | None = None
    apertures: ApertureSettings = field(default_factory=ApertureSettings)
    optimizer: OptimizerSettings = field(default_factory=OptimizerSettings)
    planner: GoalPlannerSettings | None = None
    engine: str = "native"
    scatter: str | None = None
    beam_model: str | None = None
    verify: str = "auto"


def run_demo(
    case: str | Phantom = "c-shape",
    out: Path | str | None = None,
    settings: PhantomSettings | None = None,
    options: RunOptions | None = None,
) -> PlanningResult:
    """Plan a phantom to its goals, recalculate the plan with OpenTPS's engine, and write a report.

    Parameters
    ----------
    case : str or Phantom
        One of `opentps_brimstone.phantoms.PHANTOMS`, or a phantom of your own.
    out : Path or str, optional
        Folder for the files of `DEMO_FILES`; ``brimstone-<case>`` by default. It is made if it does not exist; in an
        existing one only files of these names are replaced, or removed if this plan has none of them. Nothing is
        written before everything is computed.
    settings : PhantomSettings, optional
    options : RunOptions, optional

    Returns
    -------
    PlanningResult

    Raises
    ------
    ValueError
        Before long work: if case, MLC or a spacing is wrong, or no rows of beamlets of this size lie on the MLC's
        leaves.
    OSError
        Before long work: if the folder cannot be written.
    EngineError
        If the dose engine fails.
    """
    settings = settings or PhantomSettings()
    phantom = make_phantom(case, settings.grid_mm) if isinstance(case, str) else case
    folder = Path(f"brimstone-{phantom.name}" if out is None else out)
    check_folder(folder, DEMO_FILES)
    return write_case(plan_case(phantom_case(phantom, settings), options), folder)


def phantom_case(phantom: Phantom, settings: PhantomSettings | None = None) -> Case:
    """Make a case of a phantom.

    Parameters
    ----------
    phantom : Phantom
    settings : PhantomSettings, optional

    Returns
    -------
    Case
        Its isocenter is moved onto the leaves (`rows_on_leaves`) if the plan is to have segments.

    Raises
    ------
    ValueError
        If the MLC is unknown or cannot shape the fields, a spacing is wrong, or no rows of beamlets of this size lie
        on the MLC's leaves.
    """
    settings = settings or PhantomSettings()
    mlc = get_mlc(settings.mlc) if isinstance(settings.mlc, str) else settings.mlc
    if mlc is not None:
        phantom = rows_on_leaves(phantom, settings.beamlet_mm)
    with silent_opentps():
        ct, photon_plan = _fields(phantom, settings.beamlet_mm, mlc)
    targets = [structure.name for structure in phantom.structures if structure.is_target]
    asked = MachineRequest(
        sequencing=settings.sequencing,
        refine=settings.refine,
        apertures=settings.apertures,
        scatter=settings.scatter,
        beam_model=settings.beam_model,
    )
    machine = decided_machine(asked, settings.engine, segments=mlc is not None)
    return Case(
        name=phantom.name,
        title=f"{phantom.title}, {len(phantom.gantry_angles)} fields",
        prepare=partial(_prepared, photon_plan, ct, phantom, settings.engine, machine),
        structures=phantom.structures,
        goals=phantom.goals,
        targets={name: phantom.prescription_of(name) for name in targets},
        mlc=mlc,
        machine=machine,
        optimizer=settings.optimizer,
        planner=settings.planner or GoalPlannerSettings(margin=planning_margin(segments=mlc is not None)),
        dicom={"PatientID": "phantom"},
        engine=settings.engine,
        verify=settings.verify,
    )


def phantom_with_angles(case: str, settings: PhantomSettings) -> Callable[[Sequence[float] | None], Case]:
    """Give what makes a phantom's case with some gantry angles, or with its own.

    Parameters
    ----------
    case : str
        One of `opentps_brimstone.phantoms.PHANTOMS`.
    settings : PhantomSettings

    Returns
    -------
    callable
    """
    phantom = make_phantom(case, settings.grid_mm)

    def make(angles: Sequence[float] | None) -> Case:
        own = phantom if angles is None else dataclasses.replace(phantom, gantry_angles=tuple(angles))
        return phantom_case(own, settings)

    return make


def rows_on_leaves(phantom: Phantom, beamlet_mm: float) -> Phantom:
    """Lower a phantom's isocenter by half a row of beamlets, so that rows which lie on leaves keep their place.

    OpenTPS puts the middle of a row at the isocenter, but there two leaves meet. Left where it is, the isocenter would
    move the rows by half their height, and targets that end at the edges of rows would end in their middles.

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


def _fields(phantom: Phantom, beamlet_mm: float, mlc: MLC | None) -> tuple[Any, Any]:
    """Make CT and plan; with an MLC, put its beamlets on the leaves and check that it can shape the open fields."""
    from opentps_brimstone.adapters.phantom import to_opentps
    from opentps_brimstone.adapters.plan import layout_from_opentps
    from opentps_brimstone.adapters.segments import align_beamlets

    ct, _, photon_plan = to_opentps(phantom, beamlet_mm)
    if mlc is not None:
        photon_plan = align_beamlets(photon_plan, mlc)
    layout = layout_from_opentps(photon_plan)
    if mlc is not None:
        sequence_plan(layout, np.ones(layout.n_beamlets), mlc, SequencingSettings(levels=2))
    size = f"{layout.n_beams} fields, {layout.n_beamlets} beamlets"
    _log.info("%s: %s, %d voxels", phantom.title, size, phantom.grid.n_voxels)
    return ct, photon_plan


def _prepared(
    photon_plan: Any, ct: Any, phantom: Phantom, engine: str, machine: MachineRequest, options: RunOptions
) -> Plan:
    from opentps_brimstone.integration.photon_plan import plan_from_opentps

    dosed = {"engine": engine, "scatter": machine.scatter, "beam_model": machine.beam_model}
    return plan_from_opentps(photon_plan, ct, phantom.structures, **dosed, **options.keywords())
