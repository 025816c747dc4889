"""Dose of whatever irradiates: a plan of this package or of OpenTPS, segments, an RT Plan of any system.

MU are of two kinds. Engine MU are those that plans in OpenTPS's data classes carry: MU of beamlets whose scatter ends
2 cm beside them. Machine MU give the dose of the reference field (1 cGy, 10 cm deep in a 10 x 10 cm field). Either
reach of scatter is calibrated in that field, so that MU give the same dose there with both; nothing else is scaled.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from opentps_brimstone._typing import BoolArray, FloatArray
from opentps_brimstone._util.choices import checked_choice
from opentps_brimstone._util.run_options import RunOptions
from opentps_brimstone.adapters.plan import voxel_grid
from opentps_brimstone.engine.beam_model import BeamModel
from opentps_brimstone.engine.calibration import calibrate, engine_mu_in_full_scatter
from opentps_brimstone.engine.choice import EngineChoice
from opentps_brimstone.engine.collapsed_cones import ConeEngine
from opentps_brimstone.engine.ct_input import check_hu, mass_density
from opentps_brimstone.engine.options import DoseOptions
from opentps_brimstone.engine.plan_doses import inside_any
from opentps_brimstone.engine.reference_field import ReferenceField
from opentps_brimstone.integration.fluences import Fluence, PhotonPlanFluence, PlanFluence, SegmentFluence
from opentps_brimstone.model.dose import DoseArray
from opentps_brimstone.model.plan import Plan
from opentps_brimstone.model.series import Series

if TYPE_CHECKING:
    from opentps_brimstone.engine.beam_model import Collimator
    from opentps_brimstone.model.influence import VoxelGrid
    from opentps_brimstone.sequencing import SequencedBeam

__all__ = ["MU_KINDS", "compute_dose"]

_log = logging.getLogger(__name__)

MU_KINDS = ("engine", "machine")
"""MU as OpenTPS's plans carry them, or as a machine counts them."""


def compute_dose(
    plan: Any,
    ct: Any = None,
    *,
    segments: Sequence[SequencedBeam] | None = None,
    scatter: str = "full",
    mu: str | None = None,
    kernels: str | Path | None = None,
    beam_model: BeamModel | str | Path | None = None,
    density_table: Any = None,
    overrides: Sequence[Mapping[str, Any]] | None = None,
    dose_grid_mm: float | tuple[float, float, float] | None = None,
    reference: ReferenceField | None = None,
    accept: str | Iterable[str] = (),
    processes: int | None = None,
    progress: bool | Callable[[int, int], Any] = True,
) -> DoseArray:
    """Compute the dose of a plan, of segments or of an RT Plan with this package's collapsed cone engine.

    Parameters
    ----------
    plan : Plan, opentps PhotonPlan, DeliverablePlan, or path or pydicom Dataset of an RT Plan
        A `Plan` with a series; its beamlet weights count if no segments are given. An RT Plan may come from any system
        (static, step-and-shoot, sliding window or arc) and each of its beams may have an isocenter of its own.
    ct : Series or opentps CTImage, optional
        In HU. Needed for everything but a `Plan`, which has its own.
    segments : sequence of SequencedBeam, optional
        Segments for beams of a `Plan`, with MU as the plan's weights have them.
    scatter : {"full", "opentps"}
        Scatter through the whole patient, in one convolution for each direction from which there are openings; or the
        sum of beamlets whose scatter ends 2 cm beside them, as in OpenTPS.
    mu : {"engine", "machine"}, optional
        What the plan's MU are. Default: those of the machine for an RT Plan, of the engine for all else.
    kernels : str or Path, optional
        Name of a folder of kernels that OpenTPS brings ("Kernels_6MV"), or one of the same form. Default: those that
        OpenTPS computes with.
    beam_model : BeamModel, str or Path, optional
        Beam of a machine: "Kernels_6MV", which comes with the package, or a TOML file as for
        `opentps_brimstone.engine.beam_model.read_beam_model`. It brings kernels and spectrum, a source that is not a
        point, leaves and jaws that let some of the fluence of segments through, and what a MU is. Needs full scatter.
    density_table, overrides
        From HU to densities, as for `opentps_brimstone.engine.compute_beamlets`. Default overrides are the densities
        that structures of the series have.
    dose_grid_mm : float or (float, float, float), optional
        Spacing of the dose grid for a `Series`, as for `Series.dose_grid`.
    reference : ReferenceField, optional
        What a machine MU is. Default: the beam model's output, or else 1 cGy, 10 cm deep in a 10 x 10 cm field,
        isocentric at the plan's distance.
    accept : str or iterable of str
        Contradictions between an RT Plan and the series that do not matter, as for `Series.from_dicom`.
    processes : int, optional
        Threads. Default: the cores this process may use.
    progress : bool or callable
        Show a progress bar on standard error; a callable is called with the steps done and their total, and may return
        False to stop.

    Returns
    -------
    DoseArray, shape (nx, ny, nz)
        Gy over all fractions; its ``grid`` is that of the plan, the image, or the dose grid of the series. Air beside
        the patient has no dose, unless it is inside a structure of the plan or the series.

    Raises
    ------
    TypeError, ValueError
        Before the engine starts, if the plan or CT is not one, MU are missing or negative, an isocenter lies outside
        the CT, a beam model cannot be used, or an option is invalid.
    RTPlanError
        If an RT Plan is damaged, cannot be computed, or is of another patient or frame of reference than the series.
    DoseMemoryError
        If the doses of beamlets would not fit into memory.
    EngineError
        If kernels are missing or of another form, naming the file, or `progress` stopped the work.

    Examples
    --------
    With scatter as far as it goes:

    >>> import opentps_brimstone as pb
    >>> from opentps_brimstone.model.example import water_plan
    >>> plan = water_plan()
    >>> plan.beamlet_weights = [1.0] * plan.dose_influence.layout.n_beamlets
    >>> dose = pb.compute_dose(plan, progress=False)
    >>> dose.grid == plan.grid
    True
    >>> bool(dose[0, 0, 0] > plan.get_dose()[0, 0, 0])  # beside the fields, where scatter of beamlets does not reach
    True
    """
    run = RunOptions(processes, progress=progress)
    options = DoseOptions(EngineChoice("native", scatter, kernels, beam_model), density_table, overrides, run)
    _log.info("dose by %s", options.choice)
    fluence, own_mu = _fluence(plan, segments, ct, accept)
    given_mu = checked_choice("mu", mu or own_mu, MU_KINDS)
    patient = _patient(plan, ct, options, dose_grid_mm)
    engine = ConeEngine(
        patient.density,
        patient.grid,
        scatter=scatter,
        kernels=kernels,
        beam_model=options.choice.machine,
        wanted=patient.wanted,
        threads=processes,
    )
    scale = _scale(fluence, given_mu, patient.grid, reference, options)
    if scatter == "full":
        dose = engine.fluence_dose(fluence.openings(_collimator(options.choice)), progress)
    else:
        used = [pair for pair in zip(*fluence.beamlets(), strict=True) if pair[1].any()]
        dose = engine.dose([field for field, _ in used], [weights for _, weights in used], progress)
    return DoseArray(dose * (scale * fluence.number_of_fractions), patient.grid)


# ------------------------------------------------------------------------------------------------- what is given


def _fluence(
    plan: Any, segments: Sequence[SequencedBeam] | None, ct: Any, accept: str | Iterable[str]
) -> tuple[Fluence, str]:
    """Fluence of what is given, and of which kind its MU are if nothing else is said."""
    from opentps_brimstone.integration.deliverable import DeliverablePlan

    if segments is not None:
        if not isinstance(plan, Plan):
            raise TypeError(f"segments are for the beams of a Plan, not for {type(plan).__name__}")
        return SegmentFluence(plan, segments), "engine"
    if isinstance(plan, Plan):
        return PlanFluence(plan), "engine"
    if isinstance(plan, DeliverablePlan):
        return PhotonPlanFluence(plan.photon_plan), "engine"
    if isinstance(plan, str | Path) or hasattr(plan, "SOPClassUID"):
        from opentps_brimstone.dicom import read_rt_plan

        return PhotonPlanFluence(
            read_rt_plan(plan, series=ct if isinstance(ct, Series) else None, accept=accept)
        ), "machine"
    return PhotonPlanFluence(plan), "engine"


@dataclass(frozen=True, eq=False)
class _Patient:
    density: FloatArray
    grid: VoxelGrid
    wanted: BoolArray | None


def _patient(
    plan: Any,
    ct: Any,
    options: DoseOptions,
    dose_grid_mm: float | tuple[float, float, float] | None,
) -> _Patient:
    if isinstance(plan, Plan):
        if ct is not None or dose_grid_mm is not None:
            raise ValueError("a Plan has a CT and a dose grid of its own: leave out ct and dose_grid_mm")
        if plan.series is None or plan.ct_hu is None:
            raise ValueError("the plan was made from a matrix: without CT and beam angles its dose cannot be computed")
        hu, grid, name, structures = plan.ct_hu, plan.grid, plan.series.name, list(plan.structures.values())
        own = plan.density_overrides
    elif isinstance(ct, Series):
        grid = ct.dose_grid(dose_grid_mm)
        on_grid = ct.on_grid(grid)
        hu, name, structures = on_grid.ct_hu, ct.name, list(on_grid.structures)
        own = ct.density_overrides(grid)
    elif ct is None:
        raise TypeError("the CT is missing: give a Series or an OpenTPS CTImage")
    else:
        if dose_grid_mm is not None:
            raise ValueError("dose_grid_mm is for a Series; resample the CTImage instead")
        if getattr(ct, "imageArray", None) is None:
            raise TypeError(f"the CT must be a Series or an OpenTPS CTImage with data, got {type(ct).__name__}")
        hu, grid, name, structures, own = ct.imageArray, voxel_grid(ct), ct.name, [], []
    check_hu(hu, name)
    design = getattr(plan, "photon_plan", plan)
    overrides = own if options.overrides is None else options.overrides
    density = mass_density(hu, options.density_table, overrides, design)
    return _Patient(density, grid, inside_any(structures))


# ------------------------------------------------------------------------------------------------- what a MU is worth


def _scale(
    fluence: Fluence,
    given_mu: str,
    grid: VoxelGrid,
    reference: ReferenceField | None,
    options: DoseOptions,
) -> float:
    """MU of the engine as it computes here, of one MU as it is given."""
    if given_mu == "engine" and options.choice.scatter == "opentps":
        return 1.0
    chosen = reference or _reference(options.choice, fluence)
    size = _only("sizes of beamlets", fluence.beamlet_sizes_mm())
    quiet = options.running(progress=False)
    if given_mu == "machine":
        here = calibrate(size, grid.spacing_mm, chosen, quiet)
        _log.info("%s", here)
        return 1 / here.factor
    scale = engine_mu_in_full_scatter(size, grid.spacing_mm, chosen, quiet)
    _log.info("MU of beamlets of %s mm become %.4f MU with full scatter", size, scale)
    return scale


def _reference(choice: EngineChoice, fluence: Fluence) -> ReferenceField:
    if choice.machine is not None:
        return choice.machine.output
    return ReferenceField(sad_mm=_only("source-axis distances", fluence.distances_mm()))


def _collimator(choice: EngineChoice) -> Collimator | None:
    return None if choice.machine is None else choice.machine.collimator


def _only(what: str, values: set[Any]) -> Any:
    if len(values) != 1:
        raise ValueError(f"the plan has different {what}, {sorted(values)} mm; its MU are calibrated for one")
    return next(iter(values))
