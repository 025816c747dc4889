"""Beamlet and plan doses of OpenTPS's plans, by this package's collapsed cone engine or OpenTPS's own program.

Results of the program equal those of OpenTPS's ``CCCDoseCalculator``, and those of this package's engine agree with
them to about a percent of a beamlet's maximum. The CT and the plan are not changed.
"""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Callable, Generator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from opentps_brimstone._typing import BoolArray, FloatArray
from opentps_brimstone._util.interrupts import short_lived_folder
from opentps_brimstone._util.run_options import RunOptions
from opentps_brimstone.adapters.angles import iec_from_opentps
from opentps_brimstone.adapters.beamlets import of_every_isocenter, row_permutation, theirs_from_ours, with_rows
from opentps_brimstone.adapters.images import ct_image
from opentps_brimstone.adapters.plan import layout_from_opentps, plan_isocenters
from opentps_brimstone.adapters.privates import set_weights, weights_of
from opentps_brimstone.engine.cache import BeamletCache
from opentps_brimstone.engine.choice import EngineChoice
from opentps_brimstone.engine.collapsed_cones import BeamletField, BeamView, ConeEngine
from opentps_brimstone.engine.columns import Columns, assembled
from opentps_brimstone.engine.ct_input import checked_grid, mass_density, rows_inside
from opentps_brimstone.engine.errors import EngineError
from opentps_brimstone.engine.fields import Field, check_mu, fields_of, with_beamlets
from opentps_brimstone.engine.options import DoseOptions
from opentps_brimstone.engine.process import (
    ENGINE_VARIABLE,
    engine_file,
    executable_engine,
    kernel_folder,
    try_start,
)
from opentps_brimstone.engine.program import ProgramRun, opentps_version
from opentps_brimstone.model.influence import DoseInfluence

if TYPE_CHECKING:
    from opentps_brimstone.model.influence import BeamletLayout, VoxelGrid

__all__ = [
    "EngineError",
    "beamlet_influence",
    "compute_beamlets",
    "compute_dose",
    "engine_info",
    "photon_dose",
]


# ------------------------------------------------------------------------------------------------- public functions


def compute_beamlets(
    ct: Any,
    plan: Any,
    *,
    engine: str = "native",
    scatter: str = "opentps",
    kernels: str | Path | None = None,
    density_table: Any = None,
    overrides: Sequence[Mapping[str, Any]] | None = None,
    processes: int | None = None,
    cache: bool | BeamletCache = True,
    progress: bool | Callable[[int, int], Any] = True,
    roi: Any = None,
) -> Any:
    """Compute the dose of every beamlet of a plan per MU and fraction.

    Parameters
    ----------
    ct : opentps CTImage
        HU; not changed.
    plan : opentps PhotonPlan
        Not changed. Segments without beamlets are computed with those that OpenTPS makes from their MLC opening.
    engine : {"native", "opentps"}
        This package's collapsed cone engine, or OpenTPS's own program. The former gives no dose to air beside the
        patient, unless it is in `roi`.
    scatter : {"opentps", "full"}
        How far scatter reaches: 2 cm beside each beamlet, as in OpenTPS, or through the whole patient, which makes
        large matrices. OpenTPS's program has the first.
    kernels : str or Path, optional
        Name of a folder of kernels that OpenTPS brings ("Kernels_6MV"), or one of the same form, for this package's
        engine. Default: those that OpenTPS computes with.
    density_table : DensityTable, opentps CT calibration or array_like of shape (n, 2), optional
        From HU to g/cm³; an array has a row (HU, g/cm³) for each point. Default: ``plan.planDesign.calibration``, or
        else `opentps_brimstone.adapters.density_table.DEFAULT_DENSITY_TABLE`; the scanner in OpenTPS's configuration is
        not looked at.
    overrides : sequence of {"Mask": ROIMask, "Value": float}, optional
        Densities in g/cm³ to set inside masks on the CT's grid, in this order (OpenTPS's ``overRidingList``).
    processes : int, optional
        Threads of this package's engine, or processes of OpenTPS's program at a time. Default: the cores this process
        may use.
    cache : bool or BeamletCache
        Where doses that OpenTPS's program computed earlier are looked up and new ones kept; True is the user's own
        cache. Nothing of this package's engine is kept: it computes a plan's beamlets in seconds.
    progress : bool or callable
        Show a progress bar on standard error; a callable is called with the beamlets computed and their total, and
        may return False to stop.
    roi : ROIMask, ROIContour or a list of them, optional
        Keep only the voxels in their union.

    Returns
    -------
    opentps SparseBeamlets
        Gy per MU and fraction as float32; rows are the voxels in OpenTPS's order (Fortran order of the image flipped
        along x and y), columns those of ``plan.beamlets``, and the grid is that of the CT. Weights are those of
        ``plan.planDesign.beamlets`` if it has as many, else the MU.

    Raises
    ------
    TypeError, ValueError
        Before the engine starts, if the CT is not an image of finite HU, the plan has no beams, beamlets or MLC, beams
        have an isocenter outside the CT, or an option is invalid.
    DoseMemoryError
        Before the engine starts, if the doses would not fit into memory.
    EngineError
        If the engine or its kernels are missing, it cannot run, is killed or writes invalid output; with its last
        lines.
    """
    run = RunOptions(processes, cache, progress)
    asked = _Asked(ct, plan, DoseOptions(EngineChoice(engine, scatter, kernels), density_table, overrides, run))
    inside = rows_inside(roi, asked.grid)
    if asked.options.choice.is_native:
        ours = asked.cone_matrix(_wanted(inside, asked.grid))
        matrix = with_rows(ours, theirs_from_ours(asked.grid.shape))
        matrix = Columns(matrix.indptr, matrix.indices, matrix.data).inside(inside).matrix(asked.grid.n_voxels)
    else:
        with contextlib.closing(asked.program_columns(asked.fields)) as segments:
            matrix = assembled([columns.inside(inside) for columns in segments], asked.grid.n_voxels)
    return _sparse_beamlets(matrix, asked.grid, asked.plan)


def compute_dose(
    ct: Any,
    plan: Any,
    *,
    engine: str = "native",
    scatter: str = "opentps",
    kernels: str | Path | None = None,
    density_table: Any = None,
    overrides: Sequence[Mapping[str, Any]] | None = None,
    processes: int | None = None,
    cache: bool | BeamletCache = False,
    progress: bool | Callable[[int, int], Any] = True,
    roi: Any = None,
    wanted: BoolArray | None = None,
) -> Any:
    """Compute the dose of an OpenTPS plan over all fractions, with the MU its beamlets have.

    By default nothing is taken from the cache, so that the result checks doses made from beamlets computed earlier;
    then the beamlets of one segment are held in memory at a time, and beamlets without MU are skipped.

    Parameters
    ----------
    ct, plan, engine, scatter, kernels, density_table, overrides, processes, cache, progress
        As for `compute_beamlets`; the default is no cache. The MU are those of the engine, whatever the reach of
        scatter; `opentps_brimstone.compute_dose` knows what they are worth on a machine.
    roi : ROIMask, ROIContour or a list of them, optional
        Dose outside their union is zero.
    wanted : ndarray of bool, shape (nx, ny, nz), optional
        Voxels that this package's engine gives a dose although they are air beside the patient. Default: those of
        `roi`.

    Returns
    -------
    opentps DoseImage
        Gy over all ``plan.numberOfFractionsPlanned`` fractions as float64, on the grid of the CT.

    Raises
    ------
    TypeError, ValueError
        As `compute_beamlets`; also if MU are missing, negative or not finite.
    DoseMemoryError, EngineError
        As `compute_beamlets`.
    """
    run = RunOptions(processes, cache, progress)
    options = DoseOptions(EngineChoice(engine, scatter, kernels), density_table, overrides, run)
    return photon_dose(ct, plan, options, roi=roi, wanted=wanted)


def engine_info() -> dict[str, Any]:
    """Describe the dose engine in use, and whether it runs on this machine.

    Returns
    -------
    dict
        ``path`` of the engine and who names it (``named_by``: "opentps" or the environment variable), whether the
        file is ``executable``, ``runs_from`` (itself or an executable copy), the folder of its ``kernels``,
        ``opentps_version``, and ``problem``: None, or why it cannot run.
    """
    named = os.environ.get(ENGINE_VARIABLE)
    info: dict[str, Any] = {
        "path": named,
        "named_by": ENGINE_VARIABLE if named else "opentps",
        "executable": False,
        "runs_from": None,
        "kernels": None,
        "opentps_version": opentps_version(),
        "problem": None,
    }
    try:
        source = engine_file()
        info.update(path=str(source), executable=os.access(source, os.X_OK), kernels=str(kernel_folder()))
        with short_lived_folder("opentps-brimstone-") as folder:
            executable = executable_engine(source, folder)
            info["runs_from"] = str(executable)
            try_start(executable)
    except EngineError as error:
        info["problem"] = str(error)
    return info


# ------------------------------------------------------------------------------------------------- for other modules


def beamlet_influence(ct: Any, plan: Any, options: DoseOptions, wanted: BoolArray | None = None) -> DoseInfluence:
    """Compute the dose influence matrix of an OpenTPS plan.

    Parameters
    ----------
    ct, plan
        As for `compute_beamlets`, whose errors are raised.
    options : DoseOptions
    wanted : ndarray of bool, shape (nx, ny, nz), optional
        Voxels that get a dose although they are air beside the patient.

    Returns
    -------
    DoseInfluence
    """
    asked = _Asked(ct, plan, options)
    layout = layout_from_opentps(asked.plan)
    if options.choice.is_native:
        matrix = asked.cone_matrix(wanted)
    else:
        with contextlib.closing(asked.program_columns(asked.fields)) as segments:
            theirs = assembled(list(segments), asked.grid.n_voxels)
        matrix = with_rows(theirs, row_permutation(asked.grid.shape))
    return DoseInfluence(matrix, asked.grid, layout)


def engine_and_fields(
    ct: Any, plan: Any, options: DoseOptions, wanted: BoolArray | None
) -> tuple[ConeEngine, list[BeamletField], BeamletLayout]:
    """Set up this package's engine for what `beamlet_influence` is given, with its beamlets and their layout."""
    asked = _Asked(ct, plan, options)
    return asked.cone_engine(wanted), asked.cone_fields(), layout_from_opentps(asked.plan)


def photon_dose(ct: Any, plan: Any, options: DoseOptions, *, roi: Any = None, wanted: BoolArray | None = None) -> Any:
    """Compute what `compute_dose` does, with options that are collected already.

    Parameters
    ----------
    ct, plan, roi, wanted
        As for `compute_dose`, whose errors are raised.
    options : DoseOptions

    Returns
    -------
    opentps DoseImage
    """
    asked = _Asked(ct, plan, options)
    check_mu(plan)
    inside = rows_inside(roi, asked.grid)
    if options.choice.is_native:
        dose = asked.cone_dose(_wanted(inside, asked.grid) if wanted is None else wanted)
    else:
        dose = asked.program_dose()
    if inside is not None:
        dose[~_in_our_order(inside, asked.grid)] = 0.0
    return _dose_image(dose * asked.plan.numberOfFractionsPlanned, asked.grid)


# ------------------------------------------------------------------------------------------------- input


class _Asked:
    """CT and plan of a calculation, checked; the plan is a copy in which every segment has beamlets."""

    def __init__(self, ct: Any, plan: Any, options: DoseOptions) -> None:
        self.options = options
        self.grid = checked_grid(ct)
        self.plan = with_beamlets(plan)
        self.fields = fields_of(self.plan)
        plan_isocenters(self.plan, self.grid)
        self.density = mass_density(ct.imageArray, options.density_table, options.overrides, self.plan)

    def cone_engine(self, wanted: BoolArray | None) -> ConeEngine:
        choice = self.options.choice
        return ConeEngine(
            self.density,
            self.grid,
            scatter=choice.scatter,
            kernels=choice.kernels,
            beam_model=choice.machine,
            wanted=wanted,
            threads=self.options.run.threads,
        )

    def cone_field(self, field: Field) -> BeamletField:
        view = BeamView.from_angles(iec_from_opentps(*field.angles_deg), field.isocenter_mm, field.sad_mm)
        return BeamletField(view, field.xy_mm, field.spacing_mm)

    def cone_fields(self) -> list[BeamletField]:
        return [self.cone_field(field) for field in self.fields]

    def cone_matrix(self, wanted: BoolArray | None) -> Any:
        """Beamlet doses by this package's engine, rows in C order."""
        return self.cone_engine(wanted).beamlets(self.cone_fields(), self.options.run.progress)

    def cone_dose(self, wanted: BoolArray | None) -> FloatArray:
        """Dose per fraction by this package's engine, shape of the grid."""
        used = [field.with_mu() for field in self.fields if (field.mu > 0).any()]
        fields = [self.cone_field(field) for field in used]
        return self.cone_engine(wanted).dose(fields, [field.mu for field in used], self.options.run.progress)

    def program_columns(self, fields: Sequence[Field]) -> Generator[Columns, None, None]:
        """Beamlet doses by OpenTPS's program, which knows one isocenter in a run; rows in its order."""
        density = ct_image(self.density, self.grid, "density")
        for isocenter_mm, together in itertools.groupby(fields, key=lambda field: field.isocenter_mm):
            yield from ProgramRun(density, np.array(isocenter_mm), list(together), self.options.run).columns()

    def program_dose(self) -> FloatArray:
        """Dose per fraction by OpenTPS's program, shape of the grid."""
        fields = self.fields if self.options.run.cache else [field.with_mu() for field in self.fields]
        dose = np.zeros(self.grid.n_voxels)
        with contextlib.closing(self.program_columns(fields)) as segments:
            for field, columns in zip(fields, segments, strict=True):
                dose += columns.matrix(self.grid.n_voxels) @ field.mu
        return np.ascontiguousarray(_in_our_order(dose, self.grid))


def _in_our_order(rows: Any, grid: VoxelGrid) -> Any:
    """Rows of OpenTPS's matrix as an array of the grid's shape."""
    return np.flip(rows.reshape(grid.shape, order="F"), (0, 1))


def _wanted(inside: BoolArray | None, grid: VoxelGrid) -> BoolArray | None:
    return None if inside is None else np.ascontiguousarray(_in_our_order(inside, grid))


# ------------------------------------------------------------------------------------------------- output


def _sparse_beamlets(matrix: Any, grid: VoxelGrid, own_plan: Any) -> Any:
    from opentps.core.data import SparseBeamlets

    beamlets = SparseBeamlets()
    beamlets.setUnitaryBeamlets(matrix)
    beamlets.doseOrigin = np.array(grid.origin_mm)
    beamlets.doseSpacing = np.array(grid.spacing_mm)
    beamlets.doseGridSize = np.array(grid.shape)
    beamlets.beamletAngles_rad = own_plan.beamletsAngle_rad
    given = weights_of(getattr(own_plan.planDesign, "beamlets", None))
    fits = given is not None and len(given) == matrix.shape[1]
    set_weights(beamlets, given if fits else np.array(own_plan.beamletMUs, dtype=float))
    return of_every_isocenter(beamlets)


def _dose_image(dose: FloatArray, grid: VoxelGrid) -> Any:
    from opentps.core.data.images import DoseImage

    straight = (1, 0, 0, 0, 1, 0, 0, 0, 1)
    return DoseImage(imageArray=dose, origin=grid.origin_mm, spacing=grid.spacing_mm, angles=straight)
