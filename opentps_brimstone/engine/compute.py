"""Beamlet and plan doses from OpenTPS's collapsed-cone dose engine (CCC).

Results equal those of OpenTPS's ``CCCDoseCalculator``; the CT and the plan are not changed, every calculation has a
private folder, and computed beamlets are kept in a cache.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import itertools
import logging
import os
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from opentps_brimstone._typing import AnyArray, FloatArray
from opentps_brimstone._util.interrupts import short_lived_folder
from opentps_brimstone._util.run_options import RunOptions
from opentps_brimstone.adapters.plan import plan_isocenter
from opentps_brimstone.adapters.privates import set_weights, weights_of
from opentps_brimstone.engine.cache import BeamletCache
from opentps_brimstone.engine.columns import Columns, assembled, row_of_index
from opentps_brimstone.engine.ct_input import checked_grid, density_image, rows_inside
from opentps_brimstone.engine.fields import Field, check_mu, fields_of, with_beamlets
from opentps_brimstone.engine.process import (
    ENGINE_VARIABLE,
    BeamletDose,
    EngineError,
    Workspace,
    engine_file,
    executable_engine,
    kernel_folder,
    try_start,
)

if TYPE_CHECKING:
    from opentps_brimstone.model.influence import VoxelGrid

__all__ = ["EngineError", "compute_beamlets", "compute_dose", "engine_info"]

_log = logging.getLogger(__name__)

_CACHE_FORMAT = b"opentps-brimstone beamlets 1"


# ------------------------------------------------------------------------------------------------- public functions


def compute_beamlets(
    ct: Any,
    plan: Any,
    *,
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
    density_table : DensityTable, opentps CT calibration or array_like of shape (n, 2), optional
        From HU to g/cm³; an array has a row (HU, g/cm³) for each point. Default: ``plan.planDesign.calibration``, or
        else `opentps_brimstone.adapters.density_table.DEFAULT_DENSITY_TABLE`; the scanner in OpenTPS's configuration is
        not looked at.
    overrides : sequence of {"Mask": ROIMask, "Value": float}, optional
        Densities in g/cm³ to set inside masks on the CT's grid, in this order (OpenTPS's ``overRidingList``).
    processes : int, optional
        Engine processes at a time. Default: the cores this process may use.
    cache : bool or BeamletCache
        Where doses computed earlier are looked up and new ones kept; True is the user's own cache.
    progress : bool or callable
        Show a progress bar on standard error; a callable is called with the beamlets computed and their total.
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
        have different isocenters or one outside the CT, or an option is invalid.
    EngineError
        If the engine is missing, cannot run, is killed or writes invalid output; with its last lines.
    """
    ct_grid = checked_grid(ct)
    own_plan = with_beamlets(plan)
    fields = fields_of(own_plan)
    isocenter = plan_isocenter(own_plan, ct_grid)
    inside = rows_inside(roi, ct_grid)
    density = density_image(ct, own_plan, density_table, overrides)
    run = _Run(density, isocenter, fields, _run_options(processes, cache, progress))
    with contextlib.closing(run.columns()) as segments:
        matrix = assembled([columns.inside(inside) for columns in segments], ct_grid.n_voxels)
    return _sparse_beamlets(matrix, ct_grid, own_plan)


def compute_dose(
    ct: Any,
    plan: Any,
    *,
    density_table: Any = None,
    overrides: Sequence[Mapping[str, Any]] | None = None,
    processes: int | None = None,
    cache: bool | BeamletCache = False,
    progress: bool | Callable[[int, int], Any] = True,
    roi: Any = None,
) -> Any:
    """Compute the dose of a plan over all fractions, with the MU its beamlets have.

    By default nothing is taken from the cache, so that the result checks doses made from beamlets computed earlier;
    then the beamlets of one segment are held in memory at a time, and beamlets without MU are skipped.

    Parameters
    ----------
    ct, plan, density_table, overrides, processes, cache, progress
        As for `compute_beamlets`; the default is no cache.
    roi : ROIMask, ROIContour or a list of them, optional
        Dose outside their union is zero.

    Returns
    -------
    opentps DoseImage
        Gy over all ``plan.numberOfFractionsPlanned`` fractions as float64, on the grid of the CT.

    Raises
    ------
    TypeError, ValueError
        As `compute_beamlets`; also if MU are missing, negative or not finite.
    EngineError
        As `compute_beamlets`.
    """
    ct_grid = checked_grid(ct)
    own_plan = with_beamlets(plan)
    check_mu(plan)
    fields = fields_of(own_plan)
    isocenter = plan_isocenter(own_plan, ct_grid)
    inside = rows_inside(roi, ct_grid)
    density = density_image(ct, own_plan, density_table, overrides)
    options = _run_options(processes, cache, progress)
    if not options.cache:
        fields = [field.with_mu() for field in fields]
    run = _Run(density, isocenter, fields, options)
    dose = np.zeros(ct_grid.n_voxels)
    with contextlib.closing(run.columns()) as segments:
        for field, columns in zip(fields, segments, strict=True):
            dose += columns.inside(inside).matrix(ct_grid.n_voxels) @ field.mu
    return _dose_image(dose * own_plan.numberOfFractionsPlanned, ct_grid)


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
        "opentps_version": _opentps_version(),
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


# ------------------------------------------------------------------------------------------------- options


def _run_options(
    processes: int | None, cache: bool | BeamletCache, progress: bool | Callable[[int, int], Any]
) -> RunOptions:
    """Options with the number of processes, and the cache itself or False."""
    if processes is None:
        processes = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if isinstance(processes, bool) or not isinstance(processes, int) or processes < 1:
        raise ValueError(f"processes must be an integer of 1 or more, got {processes!r}")
    if not isinstance(cache, bool | BeamletCache):
        raise TypeError(f"cache must be True, False or a BeamletCache, got {cache!r}")
    return RunOptions(processes, BeamletCache() if cache is True else cache, progress)


@contextlib.contextmanager
def _progress_bar(total: int, progress: bool | Callable[[int, int], Any]) -> Iterator[Any]:
    """Give an object whose ``update(n)`` shows or reports that n more beamlets are computed."""
    from tqdm import tqdm

    with tqdm(total=total, desc="CCC dose engine", unit="beamlet", disable=callable(progress) or not progress) as bar:
        yield _Report(total, progress) if callable(progress) else bar


class _Report:
    """Calls a function with the beamlets computed and their total."""

    def __init__(self, total: int, report: Callable[[int, int], Any]) -> None:
        self._done, self._total, self._report = 0, total, report

    def update(self, count: int) -> None:
        self._done += count
        self._report(self._done, self._total)


# ------------------------------------------------------------------------------------------------- a calculation


class _Run:
    """One calculation: segments from the cache, all others from the engine."""

    def __init__(self, density: Any, isocenter_mm: AnyArray, fields: Sequence[Field], options: RunOptions) -> None:
        self._density = density
        self._isocenter_mm = isocenter_mm
        self._fields = fields
        self._cache: Any = options.cache or None
        self._options = options
        self._row_of_index = row_of_index(density.imageArray.shape)

    def columns(self) -> Generator[Columns, None, None]:
        """Yield the columns of each segment in order."""
        from opentps.core.io.CCCdoseEngineIO import writeCT

        with short_lived_folder("opentps-brimstone-") as folder:
            workspace = Workspace(folder)
            writeCT(self._density, str(workspace.geometry_folder), self._isocenter_mm)
            keys = self._keys(workspace)
            known = [self._from_cache(key, field) for key, field in zip(keys, self._fields, strict=True)]
            missing = [field for field, columns in zip(self._fields, known, strict=True) if columns is None]
            n_missing, n_all = (sum(map(len, fields)) for fields in (missing, self._fields))
            _log.info("%d beamlets, of which the dose engine computes %d", n_all, n_missing)
            with contextlib.closing(self._computed(workspace, missing)) as doses:
                known.reverse()
                for key, field in zip(keys, self._fields, strict=True):
                    columns = known.pop()  # so that only the caller holds them
                    yield self._from_doses(doses, key, field) if columns is None else columns

    def _keys(self, workspace: Workspace) -> list[str]:
        """Cache key of each segment; empty without a cache."""
        if self._cache is None:
            return [""] * len(self._fields)
        common = _CACHE_FORMAT + workspace.fingerprint()
        texts = ("".join(field.specifications()) for field in self._fields)
        return [hashlib.sha256(common + text.encode()).hexdigest() for text in texts]

    def _from_cache(self, key: str, field: Field) -> Columns | None:
        if self._cache is None or (arrays := self._cache.get(key)) is None:
            return None
        columns = Columns.from_arrays(arrays, len(field), self._row_of_index.size)
        if columns is None:
            self._cache.remove(key)
        return columns

    def _from_doses(self, doses: Iterator[BeamletDose], key: str, field: Field) -> Columns:
        """Collect the next segment's beamlets from the engine, and store them in the cache."""
        columns = Columns.from_doses(list(itertools.islice(doses, len(field))), self._row_of_index)
        if self._cache is not None:
            self._cache.put(key, columns.arrays(), self._description(field))
        return columns

    def _computed(self, workspace: Workspace, fields: Sequence[Field]) -> Generator[BeamletDose, None, None]:
        """Yield the doses of all beamlets of some segments in order."""
        texts: list[str] = []
        for field in fields:
            texts += field.specifications(first_number=len(texts))
        if not texts:
            return
        with _progress_bar(len(texts), self._options.progress) as bar:
            yield from workspace.doses(texts, self._density.imageArray.shape, self._options.threads or 1, bar)

    def _description(self, field: Field) -> dict[str, Any]:
        gantry, couch, collimator = field.angles_deg
        return {
            "content": "CCC doses of the beamlets of one segment, Gy per MU and fraction: column j has the values "
            "values[offsets[j]:offsets[j + 1]] in the voxels rows[offsets[j]:offsets[j + 1]]",
            "rows": "Fortran order of the image [x, y, z] flipped along x and y",
            "beamlets": len(field),
            "opentps_angles_deg": {"gantry": float(gantry), "couch": float(couch), "collimator": float(collimator)},
            "beamlet_spacing_mm": list(field.spacing_mm),
            "grid_shape": [int(count) for count in self._density.imageArray.shape],
            "grid_spacing_mm": [float(step) for step in self._density.spacing],
            "grid_origin_from_isocenter_mm": [float(x) for x in self._density.origin - self._isocenter_mm],
            "opentps_version": _opentps_version(),
        }


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
    return beamlets


def _dose_image(dose: FloatArray, grid: VoxelGrid) -> Any:
    from opentps.core.data.images import DoseImage

    image = np.ascontiguousarray(np.flip(dose.reshape(grid.shape, order="F"), (0, 1)))
    straight = (1, 0, 0, 0, 1, 0, 0, 0, 1)
    return DoseImage(imageArray=image, origin=grid.origin_mm, spacing=grid.spacing_mm, angles=straight)


def _opentps_version() -> str:
    for distribution in ("opentps-core", "opentps"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            return importlib.metadata.version(distribution)
    return "unknown"
