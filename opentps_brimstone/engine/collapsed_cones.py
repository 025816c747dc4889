"""Doses by this package's collapsed cone engine.

The engine lives in the compiled core; here is what it is given: densities, beams in the patient's axes, kernels, and
how far scatter reaches.

``scatter="opentps"`` gives each beamlet the dose that OpenTPS's own program gives it: 72 directions, up to 2 cm beside
the beamlet, without what is below 0.5 % of its maximum. ``scatter="full"`` follows 192 directions through the whole
patient.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from opentps_brimstone import _core
from opentps_brimstone._typing import BoolArray, FloatArray
from opentps_brimstone._util.memory import available_bytes, in_units
from opentps_brimstone._util.progress import Progress, following
from opentps_brimstone._util.threads import thread_count
from opentps_brimstone.engine.errors import DoseCanceled, DoseMemoryError
from opentps_brimstone.engine.kernel_tables import read_kernel_tables
from opentps_brimstone.model.beam import beams_eye_axes
from opentps_brimstone.model.influence import VoxelGrid

__all__ = ["SCATTER", "BeamView", "BeamletField", "ConeEngine", "checked_scatter"]

_log = logging.getLogger(__name__)

_Report = Callable[[int, int], bool | None]
_Columns = tuple[npt.NDArray[np.int64], npt.NDArray[np.int32], npt.NDArray[np.float32]]

SCATTER = ("opentps", "full")
"""How far scatter reaches: as in OpenTPS's beamlets, or through the whole patient."""


@dataclass(frozen=True, eq=False)
class BeamView:
    """Where a beam comes from, and its beam's eye view.

    Attributes
    ----------
    isocenter_mm : array_like, shape (3,)
    x_axis, y_axis, to_source : ndarray, shape (3,)
        Unit vectors in the patient: across the beam, and from the isocenter toward the source.
    sad_mm : float
        Distance from the source to the isocenter.
    """

    isocenter_mm: npt.ArrayLike
    x_axis: FloatArray
    y_axis: FloatArray
    to_source: FloatArray
    sad_mm: float

    @classmethod
    def from_angles(
        cls, angles: tuple[float, float, float], isocenter_mm: npt.ArrayLike, sad_mm: float
    ) -> BeamView:
        """View of a beam by its angles.

        Parameters
        ----------
        angles : (float, float, float)
            Gantry, couch and collimator angle after IEC 61217, degrees.
        isocenter_mm : array_like, shape (3,)
        sad_mm : float

        Returns
        -------
        BeamView
        """
        return cls(isocenter_mm, *beams_eye_axes(*angles), sad_mm)

    def in_core(self) -> _core.dose.DoseBeam:
        """Give the beam to the core."""
        source = np.asarray(self.isocenter_mm, dtype=np.float64) + self.sad_mm * self.to_source
        return _core.dose.DoseBeam(
            source=source, x_axis=self.x_axis, y_axis=self.y_axis, axis=-self.to_source, sad=self.sad_mm
        )


@dataclass(frozen=True, eq=False)
class BeamletField:
    """Beamlets of a beam.

    Attributes
    ----------
    view : BeamView
    xy_mm : ndarray, shape (n, 2)
        Centers at the isocenter plane.
    size_mm : (float, float)
        Width along x and y.
    """

    view: BeamView
    xy_mm: FloatArray
    size_mm: tuple[float, float]


class ConeEngine:
    """A patient's densities and a machine's kernels, ready for beams.

    Parameters
    ----------
    density : ndarray, shape of the grid
        g/cm³.
    grid : VoxelGrid
    scatter : {"opentps", "full"}
    kernels : str or Path, optional
        Folder of kernels, as for `read_kernel_tables`.
    wanted : ndarray of bool, shape of the grid, optional
        Voxels that get a dose although they are air beside the patient.
    threads : int, optional
        Default: the cores this process may use.

    Raises
    ------
    ValueError
        If a density is negative or not finite, or an option is unknown.
    EngineError
        If the kernels are missing or of another form.
    """

    def __init__(
        self,
        density: npt.ArrayLike,
        grid: VoxelGrid,
        *,
        scatter: str = "opentps",
        kernels: str | Path | None = None,
        wanted: BoolArray | None = None,
        threads: int | None = None,
    ) -> None:
        self._settings = _settings(scatter)
        self._threads = thread_count(threads)
        self._kernels = read_kernel_tables(kernels)
        self.grid = grid
        self._patient = _core.dose.DosePatient(
            np.ascontiguousarray(density, dtype=np.float32),
            spacing=grid.spacing_mm,
            origin=grid.origin_mm,
            also_wanted=wanted,
            air_density=self._settings.air_density,
        )

    # ------------------------------------------------------------------------------------------------- beamlets

    def beamlets(self, fields: Sequence[BeamletField], progress: Progress = False) -> sp.csc_matrix:
        """Compute the dose of every beamlet.

        Parameters
        ----------
        fields : sequence of BeamletField
        progress : bool or callable
            As for `following`.

        Returns
        -------
        csc_matrix of float32, shape (n_voxels, n_beamlets)
            Gy per MU and fraction; rows are voxels in C order.

        Raises
        ------
        ValueError
            If an isocenter lies outside the grid, a source in it, or a beamlet has no place or size.
        DoseMemoryError
            Before anything is computed, if the doses would not fit into memory.
        DoseCanceled
            If `progress` returned False.
        """
        self._check_memory(fields)
        counts = [len(field.xy_mm) for field in fields]
        with following(progress, sum(counts), "dose", "beamlet") as report:
            before = 0
            parts = []
            for field, count in zip(fields, counts, strict=True):
                parts.append(self._columns(field, _shifted(report, before)))
                before += count
        return _side_by_side(parts, self.grid.n_voxels)

    def _columns(self, field: BeamletField, report: _Report) -> _Columns:
        with _own_errors():
            return _core.dose.beamlet_doses(
                self._patient,
                self._kernels,
                field.view.in_core(),
                field.xy_mm,
                field.size_mm,
                self._settings,
                report,
                self._threads,
            )

    def _check_memory(self, fields: Sequence[BeamletField]) -> None:
        """Say what the doses of beamlets take, and refuse if that is more than there is."""
        taken = self.beamlet_bytes(fields)
        free = available_bytes()
        n_beamlets = sum(len(field.xy_mm) for field in fields)
        what = f"the doses of {n_beamlets} beamlets on {self.grid.n_voxels} voxels take up to {in_units(taken)}"
        _log.info("%s of memory", what)
        if free is not None and taken > free:
            larger = (taken / free) ** (1 / 3)
            spacing = " x ".join(f"{step * larger:.1f}" for step in self.grid.spacing_mm)
            raise DoseMemoryError(
                f"{what}, and {in_units(free)} are free: take a dose grid of {spacing} mm or coarser, larger beamlets "
                "or fewer beams"
            )

    def beamlet_bytes(self, fields: Sequence[BeamletField]) -> float:
        """Estimate what `beamlets` takes.

        Parameters
        ----------
        fields : sequence of BeamletField

        Returns
        -------
        float
            Bytes, an upper bound.
        """
        return sum(
            _core.dose.estimate_beamlets(
                self._patient, field.view.in_core(), field.xy_mm, field.size_mm, self._settings
            )["bytes"]
            for field in fields
        )

    # ------------------------------------------------------------------------------------------------- fields

    def field_dose(
        self, view: BeamView, x_edges_mm: FloatArray, y_edges_mm: FloatArray, fluence_mu: FloatArray,
        report: _Report | None = None,
    ) -> FloatArray:
        """Compute the dose of a whole field in one convolution, whatever its size and shape.

        Parameters
        ----------
        view : BeamView
        x_edges_mm, y_edges_mm : ndarray, shapes (nx + 1,) and (ny + 1,)
            Edges of the cells of the fluence map at the isocenter plane, rising.
        fluence_mu : ndarray, shape (ny, nx)
            MU of the cells.
        report : callable, optional
            Gets the parts done and their total; False stops the work.

        Returns
        -------
        ndarray of float32, shape of the grid
            Gy per fraction.

        Raises
        ------
        ValueError
            If the isocenter lies outside the grid, the source in it, or the map is not one.
        DoseCanceled
            If `report` returned False.
        """
        with _own_errors():
            return _core.dose.field_dose(
                self._patient,
                self._kernels,
                view.in_core(),
                x_edges_mm,
                y_edges_mm,
                fluence_mu,
                self._settings,
                report,
                self._threads,
            )



# ------------------------------------------------------------------------------------------------- the parts


def checked_scatter(scatter: str) -> str:
    """Return a name of `SCATTER`.

    Parameters
    ----------
    scatter : str

    Returns
    -------
    str

    Raises
    ------
    ValueError
        If it is not one.
    """
    if scatter not in SCATTER:
        raise ValueError(f"scatter must be 'opentps' or 'full', got {scatter!r}")
    return scatter


def _settings(scatter: str) -> _core.dose.DoseSettings:
    make: Callable[[], _core.dose.DoseSettings] = getattr(_core.dose.DoseSettings, checked_scatter(scatter))
    return make()


@contextlib.contextmanager
def _own_errors() -> Iterator[None]:
    try:
        yield
    except _core.dose.Canceled:
        raise DoseCanceled("the dose calculation was stopped") from None
    except MemoryError:
        raise DoseMemoryError(
            "memory ran out while doses were computed: take a coarser dose grid, larger beamlets or fewer beams"
        ) from None


def _shifted(report: Callable[[int], bool], before: int) -> _Report:
    return lambda done, _total: report(before + done)


def _side_by_side(parts: list[_Columns], n_voxels: int) -> sp.csc_matrix:
    """Put the columns of beams side by side; the list is emptied on the way to save memory."""
    counts = np.concatenate([np.diff(start) for start, _, _ in parts])
    start = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
    rows, values = np.empty(start[-1], np.int32), np.empty(start[-1], np.float32)
    end = int(start[-1])
    while parts:
        _, some_rows, some_values = parts.pop()
        begin = end - some_rows.size
        rows[begin:end], values[begin:end] = some_rows, some_values
        end = begin
    return sp.csc_matrix((values, rows, start), shape=(n_voxels, counts.size))
