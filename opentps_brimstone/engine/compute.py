"""Beamlet and plan doses from OpenTPS's collapsed-cone dose engine (CCC).

Results equal those of OpenTPS's ``CCCDoseCalculator``; the CT and the plan are not changed, every calculation has a
private folder, and computed beamlets are kept in a cache.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import io
import itertools
import math
import os
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from opentps_brimstone._typing import AnyArray, BoolArray, FloatArray, IntArray
from opentps_brimstone._util.interrupts import short_lived_folder
from opentps_brimstone.adapters.copies import copy_plan
from opentps_brimstone.adapters.density_table import chosen_density_table
from opentps_brimstone.adapters.doubts import LARGEST_DENSITY, holds_densities
from opentps_brimstone.adapters.plan import (
    contour_mask,
    ensure_beamlets,
    layout_from_opentps,
    plan_isocenter,
    validate_photon_plan,
    voxel_grid,
)
from opentps_brimstone.adapters.privates import beamlet_mu, set_weights, weights_of
from opentps_brimstone.adapters.versions import source_distances_mm
from opentps_brimstone.engine.cache import BeamletCache
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
    progress: bool = True,
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
    progress : bool
        Show a bar of the beamlets computed on standard error.
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
    ct_grid = _checked_grid(ct)
    own_plan = _own_copy(plan)
    fields = _fields(own_plan)
    isocenter = plan_isocenter(own_plan, ct_grid)
    inside = _rows_inside(roi, ct_grid)
    density = _density(ct, own_plan, density_table, overrides)
    run = _Run(density, isocenter, fields, _process_count(processes), _beamlet_cache(cache), progress)
    with contextlib.closing(run.columns()) as segments:
        matrix = _assembled([columns.inside(inside) for columns in segments], ct_grid.n_voxels)
    return _sparse_beamlets(matrix, ct_grid, own_plan)


def compute_dose(
    ct: Any,
    plan: Any,
    *,
    density_table: Any = None,
    overrides: Sequence[Mapping[str, Any]] | None = None,
    processes: int | None = None,
    cache: bool | BeamletCache = False,
    progress: bool = True,
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
    ct_grid = _checked_grid(ct)
    own_plan = _own_copy(plan)
    _check_mu(plan)
    fields = _fields(own_plan)
    isocenter = plan_isocenter(own_plan, ct_grid)
    inside = _rows_inside(roi, ct_grid)
    density = _density(ct, own_plan, density_table, overrides)
    store = _beamlet_cache(cache)
    if store is None:
        fields = [field.with_mu() for field in fields]
    run = _Run(density, isocenter, fields, _process_count(processes), store, progress)
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


# ------------------------------------------------------------------------------------------------- input: the CT


def _checked_grid(ct: Any) -> VoxelGrid:

    values = getattr(ct, "imageArray", None)
    if values is None:
        raise TypeError(f"the CT must be an OpenTPS CTImage with data, got {type(ct).__name__}")
    values = np.asarray(values)
    if values.ndim != 3 or min(values.shape) < 2:
        raise ValueError(
            f"the CT {ct.name!r} has the shape {values.shape}; the engine needs [x, y, z], 2 voxels or more"
        )
    unusable = np.count_nonzero(~np.isfinite(values))
    if unusable:
        raise ValueError(f"the CT {ct.name!r} has {unusable} voxels that are NaN or infinite; all must be finite HU")
    if holds_densities(values):
        raise ValueError(
            f"the CT {ct.name!r} has values from {values.min():g} to {values.max():g}, which are densities and not HU: "
            "OpenTPS's CCCDoseCalculator converts the CT it is given in place; give the CT as it was before"
        )
    return voxel_grid(ct)


def _density(ct: Any, plan: Any, table: Any, overrides: Sequence[Mapping[str, Any]] | None) -> Any:
    """Make an image of mass densities in g/cm³; the HU stay as they are."""
    from opentps.core.data.images import CTImage

    _check_overrides(overrides, ct)
    density = chosen_density_table(table, plan).mass_density(ct.imageArray)
    for override in overrides or []:
        density[np.asarray(override["Mask"].imageArray, dtype=bool)] = override["Value"]
    return CTImage(imageArray=density, name="density", origin=ct.origin, spacing=ct.spacing)


def _check_overrides(overrides: Sequence[Mapping[str, Any]] | None, ct: Any) -> None:

    for number, override in enumerate(overrides or []):
        if not isinstance(override, Mapping) or set(override) != {"Mask", "Value"}:
            raise ValueError(
                f"density override {number} must be {{'Mask': ROIMask, 'Value': density}}, got {override!r}"
            )
        name = getattr(override["Mask"], "name", "mask")
        shape = np.asarray(getattr(override["Mask"], "imageArray", None)).shape
        if shape != ct.imageArray.shape:
            raise ValueError(
                f"the mask {name!r} of density override {number} has the shape {shape}, the CT {ct.imageArray.shape}"
            )
        value = override["Value"]
        if not isinstance(value, (int, float, np.number)) or not 0 <= float(value) <= LARGEST_DENSITY:
            raise ValueError(
                f"density override {number} ({name!r}) sets {value!r}; it must be a density from 0 to "
                f"{LARGEST_DENSITY:g} g/cm³"
            )


def _rows_inside(roi: Any, grid: VoxelGrid) -> BoolArray | None:
    """Rows of the matrix in the union of ROIs; None for all."""
    if roi is None or (isinstance(roi, (list, tuple)) and not roi):
        return None
    from opentps.core.data import ROIContour
    from opentps.core.data.images import Image3D

    union = np.zeros(grid.shape, dtype=bool)
    probe = Image3D(imageArray=union, origin=grid.origin_mm, spacing=grid.spacing_mm)
    for region in roi if isinstance(roi, (list, tuple)) else [roi]:
        mask = region
        if isinstance(region, ROIContour):
            mask = Image3D(imageArray=contour_mask(region, grid), origin=grid.origin_mm, spacing=grid.spacing_mm)
        if not isinstance(mask, Image3D) or mask.imageArray is None:
            raise TypeError(f"roi must be ROIMask or ROIContour with data, got {region!r}")
        if not probe.hasSameGrid(mask):
            raise ValueError(
                f"the ROI {region.name!r} has a grid of {mask.imageArray.shape} voxels from {list(mask.origin)} mm in "
                f"steps of {list(mask.spacing)} mm; resample it onto that of the CT: {grid.shape} from "
                f"{list(grid.origin_mm)} mm in steps of {list(grid.spacing_mm)} mm"
            )
        union |= mask.imageArray.astype(bool)
    if not union.any():
        raise ValueError("the ROIs given to the dose engine are empty: no voxel of the CT would keep its dose")
    return np.flip(union, (0, 1)).ravel(order="F")


# ------------------------------------------------------------------------------------------------- input: the plan


@dataclass(frozen=True)
class _Field:
    """Beamlets of one segment, as input of the engine."""

    angles_deg: tuple[float, float, float]  # gantry, couch, collimator
    sad_mm: float
    spacing_mm: tuple[float, float]
    xy_mm: AnyArray
    mu: AnyArray

    def __len__(self) -> int:
        return len(self.mu)

    def with_mu(self) -> _Field:
        """Return the beamlets that have MU."""
        used = self.mu > 0
        return _Field(self.angles_deg, self.sad_mm, self.spacing_mm, self.xy_mm[used], self.mu[used])

    def specifications(self, first_number: int = 0) -> list[str]:
        """Return each beamlet as text in the engine's format, written by OpenTPS."""
        from opentps.core.io.CCCdoseEngineIO import getRotatedVersors, writeBeamletInFile

        versors = getRotatedVersors(*self.angles_deg)
        texts = []
        for number, (x, y) in enumerate(self.xy_mm / 10, start=first_number):
            text = io.StringIO()
            width_x, width_y = self.spacing_mm
            writeBeamletInFile(text, number, self.sad_mm / 10, x, y, width_x / 10, width_y / 10, *versors)
            texts.append(text.getvalue())
        return texts


def _own_copy(plan: Any) -> Any:
    """Check a plan, and copy it with beamlets in every segment."""
    validate_photon_plan(plan)
    own_plan = copy_plan(plan)
    ensure_beamlets(own_plan)
    return own_plan


def _fields(own_plan: Any) -> list[_Field]:

    layout = layout_from_opentps(own_plan)
    distances = source_distances_mm(own_plan)
    segments = [
        (segment, sad) for beam, sad in zip(own_plan.beams, distances, strict=True) for segment in beam.beamSegments
    ]
    return [
        _Field(
            (segment.gantryAngle_degree, segment.couchAngle_degree, segment.beamLimitingDeviceAngle_degree),
            sad_mm,
            (float(segment.xBeamletSpacing_mm), float(segment.yBeamletSpacing_mm)),
            layout.xy_mm[layout.beam_index == number],
            np.array(segment.beamletMUs, dtype=float),
        )
        for number, (segment, sad_mm) in enumerate(segments)
    ]


def _check_mu(plan: Any) -> None:

    for number, beam in enumerate(getattr(plan, "beams", []), start=1):
        for index, segment in enumerate(beam.beamSegments):
            values = beamlet_mu(segment.beamlets) or [segment.mu]
            wrong = [value for value in values if value is None or not np.isfinite(value) or value < 0]
            if wrong:
                raise ValueError(
                    f"segment {index} of beam {number} ({beam.name!r}) has the MU {wrong[0]!r}; a dose needs "
                    "MU that are finite and not negative"
                )


def _process_count(processes: int | None) -> int:
    if processes is None:
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if isinstance(processes, bool) or not isinstance(processes, int) or processes < 1:
        raise ValueError(f"processes must be an integer of 1 or more, got {processes!r}")
    return processes


def _beamlet_cache(cache: bool | BeamletCache) -> BeamletCache | None:
    if isinstance(cache, BeamletCache):
        return cache
    if not isinstance(cache, bool):
        raise TypeError(f"cache must be True, False or a BeamletCache, got {cache!r}")
    return BeamletCache() if cache else None


# ------------------------------------------------------------------------------------------------- columns


@dataclass(frozen=True)
class _Columns:
    """Doses of one segment's beamlets, as columns of a matrix whose rows are voxels in OpenTPS's order."""

    offsets: IntArray
    rows: npt.NDArray[np.int32]
    values: npt.NDArray[np.float32]

    @classmethod
    def from_doses(cls, doses: Sequence[BeamletDose], row_of_index: npt.NDArray[np.intp]) -> _Columns:
        offsets = np.cumsum([0, *(dose.indices.size for dose in doses)], dtype=np.int64)
        rows, values = np.empty(offsets[-1], np.int32), np.empty(offsets[-1], np.float32)
        reached = np.zeros(row_of_index.size, dtype=bool)
        value_of_row = np.empty(row_of_index.size, np.float32)
        for dose, start, end in zip(doses, offsets, offsets[1:], strict=False):
            if start == end:
                continue
            # Marking rows and collecting the marks sorts them, several times faster than a sort.
            row = row_of_index.take(dose.indices, mode="clip")  # checked already, and faster than "raise"
            low, high = np.minimum.reduce(row), np.maximum.reduce(row) + 1
            reached[row] = True
            value_of_row[row] = dose.values
            found = np.flatnonzero(reached[low:high])
            np.add(found, low, out=rows[start:end], casting="unsafe")
            value_of_row[low:high].take(found, out=values[start:end], mode="clip")
            reached[low:high] = False
        return cls(offsets, rows, values)

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, AnyArray], n_beamlets: int, n_voxels: int) -> _Columns | None:
        """Return cached columns, or None if these arrays are invalid."""
        try:
            columns = cls(**arrays)
        except TypeError:
            return None
        offsets, rows, values = columns.offsets, columns.rows, columns.values
        types = offsets.dtype == np.int64 and rows.dtype == np.int32 and values.dtype == np.float32
        shapes = offsets.shape == (n_beamlets + 1,) and rows.shape == values.shape == (offsets[-1],)
        if not types or not shapes or offsets[0] != 0 or np.any(np.diff(offsets) < 0):
            return None
        if rows.size and (rows.min() < 0 or rows.max() >= n_voxels):
            return None
        return columns

    def arrays(self) -> dict[str, AnyArray]:
        return {"offsets": self.offsets, "rows": self.rows, "values": self.values}

    def inside(self, kept: BoolArray | None) -> _Columns:
        """Return only the entries in rows that are kept."""
        if kept is None:
            return self
        stays = kept[self.rows]
        offsets = np.concatenate([[0], np.cumsum(stays, dtype=np.int64)])[self.offsets]
        return _Columns(offsets, self.rows[stays], self.values[stays])

    def matrix(self, n_voxels: int) -> Any:
        from scipy.sparse import csc_matrix

        return csc_matrix((self.values, self.rows, self.offsets), shape=(n_voxels, len(self.offsets) - 1))


def _row_of_index(shape: tuple[int, ...]) -> npt.NDArray[np.intp]:
    """OpenTPS's matrix row of every voxel in the engine's order (z, x, y)."""
    rows = np.arange(math.prod(shape), dtype=np.intp).reshape(shape, order="F")
    return np.flip(rows, (0, 1)).transpose((2, 0, 1)).ravel()


class _Run:
    """One calculation: segments from the cache, all others from the engine."""

    def __init__(
        self,
        density: Any,
        isocenter_mm: AnyArray,
        fields: Sequence[_Field],
        processes: int,
        cache: BeamletCache | None,
        progress: bool,
    ) -> None:
        self._density = density
        self._isocenter_mm = isocenter_mm
        self._fields = fields
        self._processes = processes
        self._cache = cache
        self._progress = progress
        self._row_of_index = _row_of_index(density.imageArray.shape)

    def columns(self) -> Generator[_Columns, None, None]:
        """Yield the columns of each segment in order."""
        from opentps.core.io.CCCdoseEngineIO import writeCT

        with short_lived_folder("opentps-brimstone-") as folder:
            workspace = Workspace(folder)
            writeCT(self._density, str(workspace.geometry_folder), self._isocenter_mm)
            keys = self._keys(workspace)
            known = [self._from_cache(key, field) for key, field in zip(keys, self._fields, strict=True)]
            missing = [field for field, columns in zip(self._fields, known, strict=True) if columns is None]
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

    def _from_cache(self, key: str, field: _Field) -> _Columns | None:
        if self._cache is None or (arrays := self._cache.get(key)) is None:
            return None
        columns = _Columns.from_arrays(arrays, len(field), self._row_of_index.size)
        if columns is None:
            self._cache.remove(key)
        return columns

    def _from_doses(self, doses: Iterator[BeamletDose], key: str, field: _Field) -> _Columns:
        """Collect the next segment's beamlets from the engine, and store them in the cache."""
        columns = _Columns.from_doses(list(itertools.islice(doses, len(field))), self._row_of_index)
        if self._cache is not None:
            self._cache.put(key, columns.arrays(), self._description(field))
        return columns

    def _computed(self, workspace: Workspace, fields: Sequence[_Field]) -> Generator[BeamletDose, None, None]:
        """Yield the doses of all beamlets of some segments in order."""
        texts: list[str] = []
        for field in fields:
            texts += field.specifications(first_number=len(texts))
        if not texts:
            return
        from tqdm import tqdm

        with tqdm(total=len(texts), desc="CCC dose engine", unit="beamlet", disable=not self._progress) as bar:
            yield from workspace.doses(texts, self._density.imageArray.shape, self._processes, bar)

    def _description(self, field: _Field) -> dict[str, Any]:
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


def _assembled(segments: list[_Columns], n_voxels: int) -> Any:
    """Join segments to one matrix; the list is emptied meanwhile to save memory."""
    from scipy.sparse import csc_matrix

    if len(segments) == 1:
        return segments[0].matrix(n_voxels)
    counts = np.concatenate([np.diff(columns.offsets) for columns in segments])
    offsets = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
    rows, values = np.empty(offsets[-1], np.int32), np.empty(offsets[-1], np.float32)
    end = int(offsets[-1])
    while segments:
        columns = segments.pop()
        start = end - columns.rows.size
        rows[start:end], values[start:end] = columns.rows, columns.values
        end = start
    return csc_matrix((values, rows, offsets), shape=(n_voxels, counts.size))


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
