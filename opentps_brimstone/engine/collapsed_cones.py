"""Doses by this package's collapsed cone engine.

The engine lives in the compiled core; here is what it is given: densities, beams in the patient's axes, kernels, and
how far scatter reaches.

``scatter="opentps"`` gives each beamlet the dose that OpenTPS's own program gives it: 72 directions, up to 2 cm beside
the beamlet, without what is below 0.5 % of its maximum. ``scatter="full"`` follows 288 directions through the whole
patient.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from opentps_brimstone import _core
from opentps_brimstone._typing import BoolArray, FloatArray
from opentps_brimstone._util.choices import checked_choice
from opentps_brimstone._util.memory import available_bytes, in_units
from opentps_brimstone._util.progress import Progress, following
from opentps_brimstone._util.threads import thread_count
from opentps_brimstone.engine.beam_model import BeamModel
from opentps_brimstone.engine.columns import Columns, assembled
from opentps_brimstone.engine.errors import DoseCanceledError, DoseMemoryError
from opentps_brimstone.engine.finite_source import from_finite_source
from opentps_brimstone.engine.fluence import FluenceMap, Rectangles, split_by_strength
from opentps_brimstone.engine.kernel_tables import read_kernel_tables
from opentps_brimstone.model.beam import beams_eye_axes
from opentps_brimstone.model.influence import VoxelGrid

__all__ = ["SCATTER", "BeamView", "BeamletField", "ConeEngine"]

_log = logging.getLogger(__name__)

_Report = Callable[[int, int], bool | None]

_FAINT = 0.05
"""Share of a beam's highest fluence up to which few directions are enough: they change the dose by 0.2 % at most."""

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
    def from_angles(cls, angles: tuple[float, float, float], isocenter_mm: npt.ArrayLike, sad_mm: float) -> BeamView:
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

    def key(self) -> tuple[float, ...]:
        """Numbers that are the same for beams from one place with the same axes."""
        place = np.concatenate([np.asarray(self.isocenter_mm, dtype=np.float64), [self.sad_mm]])
        axes = np.concatenate([self.x_axis, self.y_axis, self.to_source])
        return (*place.round(4).tolist(), *(axes.round(7) + 0.0).tolist())

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
    beam_model : BeamModel, optional
        Machine whose kernels, spectrum and source are taken instead.
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
        beam_model: BeamModel | None = None,
        wanted: BoolArray | None = None,
        threads: int | None = None,
    ) -> None:
        self._settings, self._scatter = _settings(scatter), scatter
        self._threads = thread_count(threads)
        self._beam_model = beam_model
        self._kernels = _kernel_tables(kernels, beam_model)
        self.grid = grid
        self._patient = _core.dose.DosePatient(
            np.ascontiguousarray(density, dtype=np.float32),
            spacing=grid.spacing_mm,
            origin=grid.origin_mm,
            also_wanted=wanted,
        )

    # ------------------------------------------------------------------------------------------------- beamlets

    def beamlets(
        self, fields: Sequence[BeamletField], progress: Progress = False, *, near_cutoff: float | None = None
    ) -> Any:
        """Compute the dose of every beamlet.

        Parameters
        ----------
        fields : sequence of BeamletField
        progress : bool or callable
            As for `following`.
        near_cutoff : float, optional
            Leave out what is more than 2 cm beside a beamlet and what is below this share of its maximum, and follow
            half of the directions of full scatter.

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
        DoseCanceledError
            If `progress` returned False.
        """
        settings = self._settings if near_cutoff is None else _near_settings(near_cutoff)
        self._check_memory(fields, settings)
        counts = [len(field.xy_mm) for field in fields]
        with following(progress, sum(counts), "dose", "beamlet") as report:
            before = 0
            parts = []
            for field, count in zip(fields, counts, strict=True):
                parts.append(self._columns(field, settings, _shifted(report, before)))
                before += count
                _check_going_on(report, before)
        return assembled(parts, self.grid.n_voxels)

    def _columns(self, field: BeamletField, settings: _core.dose.DoseSettings, report: _Report) -> Columns:
        with _own_errors():
            columns = _core.dose.beamlet_doses(
                self._patient,
                self._kernels,
                field.view.in_core(),
                field.xy_mm,
                field.size_mm,
                settings,
                report,
                self._threads,
            )
        return Columns(*columns)

    def _check_memory(self, fields: Sequence[BeamletField], settings: _core.dose.DoseSettings) -> None:
        """Say what the doses of beamlets take, and refuse if that is more than there is."""
        taken = self.beamlet_bytes(fields, settings)
        free = available_bytes()
        n_beamlets = sum(len(field.xy_mm) for field in fields)
        what = f"the doses of {n_beamlets} beamlets on {self.grid.n_voxels} voxels take up to {in_units(taken)}"
        _log.debug("%s of memory", what)
        if free is not None and taken > free:
            larger = (taken / free) ** (1 / 3)
            spacing = " x ".join(f"{step * larger:.1f}" for step in self.grid.spacing_mm)
            raise DoseMemoryError(
                f"{what}, and {in_units(free)} are free: take a dose grid of {spacing} mm or coarser, larger beamlets "
                "or fewer beams"
            )

    def beamlet_bytes(self, fields: Sequence[BeamletField], settings: _core.dose.DoseSettings | None = None) -> float:
        """Estimate what `beamlets` takes.

        Parameters
        ----------
        fields : sequence of BeamletField
        settings : DoseSettings, optional
            Default: the engine's.

        Returns
        -------
        float
            Bytes, an upper bound.
        """
        estimates = (
            _core.dose.estimate_beamlets(
                self._patient, field.view.in_core(), field.xy_mm, field.size_mm, settings or self._settings
            )
            for field in fields
        )
        return float(sum(estimate["bytes"] for estimate in estimates))

    # ------------------------------------------------------------------------------------------------- whole doses

    def dose(
        self,
        fields: Sequence[BeamletField],
        mu: Sequence[FloatArray],
        progress: Progress = False,
        *,
        effort: str = "full",
    ) -> FloatArray:
        """Compute the dose of fluences given as beamlets.

        With ``scatter="full"`` the beamlets of one direction are one field, computed in one convolution; with
        ``scatter="opentps"`` their doses are added up, and those of one field are held in memory at a time.

        Parameters
        ----------
        fields : sequence of BeamletField
        mu : sequence of ndarray, shape (n_beamlets of the field,)
            MU per fraction of each field's beamlets.
        progress : bool or callable
            As for `following`.
        effort : {"full", "half", "rough"}
            With full scatter, follow all directions, half of them, or a third in longer steps.

        Returns
        -------
        ndarray, shape of the grid
            Gy per fraction.

        Raises
        ------
        ValueError, DoseMemoryError, DoseCanceledError
            As `beamlets`.
        """
        if self._scatter == "full":
            parts = [
                (field.view, Rectangles.of_beamlets(field.xy_mm, field.size_mm, weights))
                for field, weights in zip(fields, mu, strict=True)
            ]
            return self.fluence_dose(parts, progress, effort=effort)
        dose = np.zeros(self.grid.n_voxels)
        with following(progress, sum(map(len, mu)), "dose", "beamlet") as report:
            before = 0
            for field, weights in zip(fields, mu, strict=True):
                self._check_memory([field], self._settings)
                columns = self._columns(field, self._settings, _shifted(report, before))
                dose += columns.matrix(self.grid.n_voxels) @ weights
                before += len(weights)
                _check_going_on(report, before)
        return dose.reshape(self.grid.shape)

    def fluence_dose(
        self, parts: Sequence[tuple[BeamView, Rectangles]], progress: Progress = False, *, effort: str = "full"
    ) -> FloatArray:
        """Compute the dose of openings, in one convolution for each direction they are seen from.

        As `dose`; progress counts percent. Also a ValueError if a fluence reaches farther than the source is.
        """
        settings = {"full": self._settings, "half": _half_settings(), "rough": _coarse_settings()}[effort]
        for_faint = _coarse_settings(halved=effort != "full")
        beams: dict[tuple[float, ...], tuple[BeamView, list[Rectangles]]] = {}
        for view, opened in parts:
            beams.setdefault(view.key(), (view, []))[1].append(opened)
        dose = np.zeros(self.grid.shape)
        with following(progress, 100 * len(beams), "dose", "%") as report:
            for number, (view, openings) in enumerate(beams.values()):
                of_beam = _percent(report, number)
                parts_of_beam = self._fluences(view, openings, settings, for_faint)
                for part, (fluence, its_settings) in enumerate(parts_of_beam):
                    dose += self._field_dose(view, fluence, its_settings, _part(of_beam, part, len(parts_of_beam)))
                _check_going_on(report, 100 * (number + 1))
        return dose

    def leakage_dose(self, view: BeamView, fluence: Rectangles) -> FloatArray:
        """Compute the dose of what a head lets through everywhere, for which few directions are enough.

        Parameters
        ----------
        view : BeamView
        fluence : Rectangles

        Returns
        -------
        ndarray, shape of the grid
            Gy per fraction.
        """
        blurred = self._from_source(FluenceMap.of([fluence]), view)
        return self._field_dose(view, blurred, _coarse_settings(), lambda _done, _total: True).astype(np.float64)

    def _fluences(
        self,
        view: BeamView,
        openings: list[Rectangles],
        settings: _core.dose.DoseSettings,
        for_faint: _core.dose.DoseSettings,
    ) -> list[tuple[FluenceMap, _core.dose.DoseSettings]]:
        """Fluence of a beam; what a head lets through everywhere is apart, and needs few directions."""
        sharp = FluenceMap.of(openings)
        if self._beam_model is None:
            return [(sharp, settings)]
        strong, faint = split_by_strength(self._from_source(sharp, view), _FAINT)
        parts = ((strong.trimmed(), settings), (faint.trimmed(), for_faint))
        return [(fluence, its_settings) for fluence, its_settings in parts if fluence is not None]

    def _from_source(self, sharp: FluenceMap, view: BeamView) -> FluenceMap:
        if self._beam_model is None:
            return sharp
        return from_finite_source(sharp, self._beam_model, view.sad_mm, min(self.grid.spacing_mm) / 4)

    def _field_dose(
        self, view: BeamView, fluence: FluenceMap, settings: _core.dose.DoseSettings, report: _Report
    ) -> npt.NDArray[np.float32]:
        with _own_errors():
            return _core.dose.field_dose(
                self._patient,
                self._kernels,
                view.in_core(),
                fluence.x_edges_mm,
                fluence.y_edges_mm,
                fluence.mu,
                settings,
                report,
                self._threads,
            )


# ------------------------------------------------------------------------------------------------- the parts


def _kernel_tables(kernels: str | Path | None, beam_model: BeamModel | None) -> _core.dose.KernelTables:
    if beam_model is None:
        return read_kernel_tables(kernels)
    return read_kernel_tables(beam_model.kernels, beam_model.spectrum)


def _settings(scatter: str) -> _core.dose.DoseSettings:
    make: Callable[[], _core.dose.DoseSettings] = getattr(
        _core.dose.DoseSettings, checked_choice("scatter", scatter, SCATTER)
    )
    return make()


@contextlib.contextmanager
def _own_errors() -> Iterator[None]:
    try:
        yield
    except _core.dose.Canceled:
        raise DoseCanceledError("the dose calculation was stopped") from None
    except MemoryError:
        raise DoseMemoryError(
            "memory ran out while doses were computed: take a coarser dose grid, larger beamlets or fewer beams"
        ) from None


def _check_going_on(report: Callable[[int], bool], done: int) -> None:
    # The core asks at most ten times a second, and small beams take less.
    if not report(done):
        raise DoseCanceledError("the dose calculation was stopped")


def _coarse_settings(*, halved: bool = False) -> _core.dose.DoseSettings:
    """Follow a third of the directions, or half of these, in longer steps far away."""
    settings = _core.dose.DoseSettings.full()
    settings.polar, settings.azimuth = (8, 6) if halved else (12, 8)
    settings.near_steps, settings.far_step = 4, 3
    return settings


def _half_settings() -> _core.dose.DoseSettings:
    settings = _core.dose.DoseSettings.full()
    settings.polar = 12
    return settings


def _near_settings(cutoff: float) -> _core.dose.DoseSettings:
    """Full scatter as far as that of OpenTPS's beamlets reaches."""
    settings = _half_settings()
    settings.reach_mm, settings.cutoff = _core.dose.DoseSettings.opentps().reach_mm, cutoff
    return settings


def _part(report: _Report, part: int, parts: int) -> _Report:
    return lambda done, total: report(part * total + done, parts * total)


def _percent(report: Callable[[int], bool], number: int) -> _Report:
    return lambda done, total: report(100 * number + (100 * done) // max(total, 1))


def _shifted(report: Callable[[int], bool], before: int) -> _Report:
    return lambda done, _total: report(before + done)
