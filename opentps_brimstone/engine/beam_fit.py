"""Fit of a beam model's spectrum and source to measured beam data.

The spectrum is that of the start times E^hardness. Depth doses tell the hardness, output factors what share of the
fluence comes from the extra-focal source, profiles the width of the source.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.optimize import least_squares

from opentps_brimstone._typing import FloatArray
from opentps_brimstone._util.errors import BrimstoneError
from opentps_brimstone.engine.beam_model import BeamModel
from opentps_brimstone.engine.collapsed_cones import BeamView, ConeEngine
from opentps_brimstone.engine.collimation import LeafOpening
from opentps_brimstone.engine.kernel_tables import kernel_spectrum
from opentps_brimstone.engine.measured_beam import BeamGeometry, MeasuredBeam, MeasuredCurve
from opentps_brimstone.model.influence import VoxelGrid

__all__ = ["BeamFit", "BeamFitError", "Comparison", "fit_beam_model", "square_field_curves"]

_VOXEL_MM = 5.0
_FINE_MM = 2.5  # across a profile
_BESIDE_MM = 40.0
_BELOW_MM = 50.0
_BUILD_UP_MM = 20.0  # up to here electrons of the head count, which no beam model has
_AIR_G_CM3 = 0.001
_LIMITS = {"depth doses": 0.01, "output factors": 0.02, "profiles": 0.03}


class BeamFitError(BrimstoneError, RuntimeError):
    """No beam model reaches the measured data."""


@dataclass(frozen=True, eq=False)
class Comparison:
    """A curve as measured and as computed.

    Attributes
    ----------
    name : str
    kind : {"depth doses", "output factors", "profiles"}
    position_mm, measured, computed : ndarray, shape (n,)
        Depths, sides of fields or positions across the beam, and doses relative to the reference.
    """

    name: str
    kind: str
    position_mm: FloatArray
    measured: FloatArray
    computed: FloatArray

    @property
    def misfit(self) -> float:
        """Largest relative difference behind the build-up; of a profile, the root mean square in shares of the axis."""
        apart = self.computed - self.measured
        if self.kind == "profiles":
            return float(np.sqrt(np.mean(apart**2)))
        counted = (self.position_mm >= _BUILD_UP_MM) | (self.kind == "output factors")
        return float(np.abs(apart / self.measured)[counted].max(initial=0.0))


@dataclass(frozen=True, eq=False)
class BeamFit:
    """A fitted beam model.

    Attributes
    ----------
    model : BeamModel
    hardness : float
        Exponent of the energy that the spectrum of the start was multiplied with.
    comparisons : tuple of Comparison
    """

    model: BeamModel
    hardness: float
    comparisons: tuple[Comparison, ...]

    def misfits(self) -> dict[str, float]:
        """Largest misfit of each kind of data."""
        return {
            kind: max(each.misfit for each in self.comparisons if each.kind == kind)
            for kind in _LIMITS
            if any(each.kind == kind for each in self.comparisons)
        }

    def __str__(self) -> str:
        extra = self.model.extra_focal
        share = "" if extra is None else f", extra-focal share {extra.share:.3f}"
        misfits = ", ".join(f"{kind} {100 * value:.1f} %" for kind, value in self.misfits().items())
        return f"hardness {self.hardness:+.3f}, source {self.model.source_sigma_mm:.2f} mm{share}; misfit: {misfits}"


def fit_beam_model(
    measured: MeasuredBeam,
    start: BeamModel,
    *,
    name: str | None = None,
    threads: int | None = None,
    progress: Callable[[int], Any] | None = None,
) -> BeamFit:
    """Fit spectrum and source of a beam model.

    Parameters
    ----------
    measured : MeasuredBeam
    start : BeamModel
        Its collimator, output and places of sources are kept. Without an extra-focal source none is fitted.
    name : str, optional
        Of the fitted model. Default: that of the start.
    threads : int, optional
        Default: the cores this process may use.
    progress : callable, optional
        Called with the number of doses computed so far.

    Returns
    -------
    BeamFit

    Raises
    ------
    BeamFitError
        If the fitted model misses depth doses behind the build-up by more than 1 %, output factors by more than 2 % or
        profiles by more than 3 % in root mean square, with the misfits.
    """
    work = _Fit(measured, replace(start, name=name or start.name), threads, progress)
    hardness, model = work.spectrum_and_output()
    model = work.source(model)
    fit = BeamFit(model, hardness, tuple(work.comparisons(model)))
    missed = {kind: value for kind, value in fit.misfits().items() if value > _LIMITS[kind]}
    if missed:
        text = ", ".join(f"{kind} by {100 * v:.1f} % ({100 * _LIMITS[kind]:g} % at most)" for kind, v in missed.items())
        raise BeamFitError(f"the fit misses {text}; {fit}. Check the data, or start from another beam model")
    return fit


class _Fit:
    def __init__(
        self,
        measured: MeasuredBeam,
        start: BeamModel,
        threads: int | None,
        progress: Callable[[int], Any] | None,
    ) -> None:
        self._measured, self._start, self._threads = measured, start, threads
        self._energies, own = kernel_spectrum(start.kernels)
        self._fluence = own if start.spectrum is None else np.array(start.spectrum)
        self._progress = progress
        self._count = 0

    def spectrum_and_output(self) -> tuple[float, BeamModel]:
        """Fit hardness and extra-focal share together, as both change outputs and depth doses."""
        extra = self._start.extra_focal if len(self._measured.outputs) > 1 else None
        begin = [1.0] if extra is None else [1.0, 1.0 + extra.share]
        low, high = ([0.0], [2.0]) if extra is None else ([0.0, 1.0], [2.0, 1.5])
        answer = least_squares(
            lambda p: np.concatenate([self._misses(c) for c in self._along(self._model(p))]),
            np.clip(begin, np.array(low) + 1e-3, np.array(high) - 1e-3),
            bounds=(low, high),
            diff_step=0.03,
            ftol=1e-4,
            xtol=1e-4,
            max_nfev=8,
        )
        return float(answer.x[0] - 1.0), self._model(answer.x)

    def source(self, model: BeamModel) -> BeamModel:
        """Fit the width of the source to profiles."""
        if not self._measured.profiles:
            return model
        answer = least_squares(
            lambda p: np.concatenate([self._misses(c) for c in self._across(replace(model, source_sigma_mm=p[0] - 1))]),
            [1.0 + max(model.source_sigma_mm, 0.5)],
            bounds=([1.0], [6.0]),
            diff_step=0.1,
            ftol=1e-4,
            xtol=1e-3,
            max_nfev=8,
        )
        return replace(model, source_sigma_mm=float(answer.x[0] - 1.0))

    def comparisons(self, model: BeamModel) -> list[Comparison]:
        return [*self._along(model), *self._across(model)]

    def _model(self, parameter: FloatArray) -> BeamModel:
        spectrum = self._fluence * self._energies ** (parameter[0] - 1.0)
        spectrum *= self._fluence.sum() / spectrum.sum()
        changed = replace(self._start, spectrum=tuple(spectrum.tolist()))
        if len(parameter) > 1 and changed.extra_focal is not None:
            changed = replace(changed, extra_focal=replace(changed.extra_focal, share=float(parameter[1] - 1.0)))
        return changed

    @staticmethod
    def _misses(comparison: Comparison) -> FloatArray:
        apart: FloatArray = comparison.computed - comparison.measured
        if comparison.kind == "profiles":
            return apart
        behind = (comparison.position_mm >= _BUILD_UP_MM) | (comparison.kind == "output factors")
        missed: FloatArray = (apart / comparison.measured)[behind]
        return missed / math.sqrt(max(missed.size, 1))

    def _along(self, model: BeamModel) -> list[Comparison]:
        """Depth doses and outputs, each field on its tank computed once."""
        reference, outputs = model.output, self._measured.outputs
        geometries = [curve.geometry for curve in self._measured.depth_doses]
        geometries += [BeamGeometry(field, reference.ssd_mm) for field in outputs if len(outputs) > 1]
        doses = {each: self._on_axis(model, each) for each in dict.fromkeys(geometries)}
        found = [
            Comparison(
                str(curve), "depth doses", curve.position_mm, curve.value, _relative(curve, doses, reference.depth_mm)
            )
            for curve in self._measured.depth_doses
        ]
        if len(outputs) > 1:
            at = {field: doses[BeamGeometry(field, reference.ssd_mm)](reference.depth_mm) for field in outputs}
            fields = np.array(sorted(outputs))
            computed = np.array([at[field] / at[reference.field_mm] for field in fields])
            asked = np.array([outputs[field] for field in fields])
            found.append(Comparison("output factors", "output factors", fields, asked, computed.ravel()))
        return found

    def _across(self, model: BeamModel) -> list[Comparison]:
        found = []
        for curve in self._measured.profiles:
            assert curve.depth_mm is not None
            self._said()
            tank = _Tank(curve.geometry, curve.depth_mm, model, _FINE_MM, max(abs(curve.position_mm)))
            profile = tank.profile(tank.dose(model, self._threads), curve.depth_mm)
            computed = profile(curve.position_mm) / profile(np.zeros(1))
            found.append(Comparison(str(curve), "profiles", curve.position_mm, curve.value, computed))
        return found

    def _on_axis(self, model: BeamModel, geometry: BeamGeometry) -> Callable[[Any], FloatArray]:
        self._said()
        deepest = max(
            [float(c.position_mm[-1]) for c in self._measured.depth_doses if c.geometry == geometry],
            default=model.output.depth_mm,
        )
        tank = _Tank(geometry, max(deepest, model.output.depth_mm), model, _VOXEL_MM, 0.0)
        return tank.depth_dose(tank.dose(model, self._threads))

    def _said(self) -> None:
        self._count += 1
        if self._progress is not None:
            self._progress(self._count)


def _relative(
    curve: MeasuredCurve, doses: dict[BeamGeometry, Callable[[Any], FloatArray]], depth_mm: float
) -> FloatArray:
    dose = doses[curve.geometry]
    return dose(curve.position_mm) / dose(depth_mm)


def square_field_curves(
    model: BeamModel, geometry: BeamGeometry, depths_mm: Sequence[float], threads: int | None = None
) -> FloatArray:
    """Compute doses on the axis of a square field in water.

    Parameters
    ----------
    model : BeamModel
    geometry : BeamGeometry
    depths_mm : sequence of float
    threads : int, optional
        Default: the cores this process may use.

    Returns
    -------
    ndarray, shape (n,)
        Dose per MU in the units of the engine.
    """
    tank = _Tank(geometry, max(depths_mm), model, _VOXEL_MM, 0.0)
    return tank.depth_dose(tank.dose(model, threads))(np.asarray(depths_mm, dtype=np.float64))


class _Tank:
    """Water around a square field, with the axis between voxels."""

    def __init__(
        self, geometry: BeamGeometry, deepest_mm: float, model: BeamModel, fine_mm: float, reach_mm: float
    ) -> None:
        sad = model.output.sad_mm
        half = max(geometry.field_mm / 2 * (geometry.ssd_mm + deepest_mm) / sad + _BESIDE_MM, reach_mm + 10.0)
        counts = 2 * math.ceil(half / fine_mm), math.ceil((deepest_mm + _BELOW_MM) / _VOXEL_MM) + 2
        n_z = 2 * math.ceil(half / _VOXEL_MM)
        origin = (-(counts[0] - 1) / 2 * fine_mm, -1.5 * _VOXEL_MM, -(n_z - 1) / 2 * _VOXEL_MM)
        self._grid = VoxelGrid((counts[0], counts[1], n_z), (fine_mm, _VOXEL_MM, _VOXEL_MM), origin)
        self._density = np.ones(self._grid.shape)
        self._density[:, :2] = _AIR_G_CM3
        self._depth = (np.arange(counts[1] - 2) + 0.5) * _VOXEL_MM
        self._x = origin[0] + fine_mm * np.arange(counts[0])
        self._view = BeamView.from_angles((0.0, 0.0, 0.0), (0.0, sad - geometry.ssd_mm, 0.0), sad)
        self._half_field = geometry.field_mm / 2

    def dose(self, model: BeamModel, threads: int | None) -> FloatArray:
        engine = ConeEngine(self._density, self._grid, scatter="full", beam_model=model, threads=threads)
        jaws = (-self._half_field, self._half_field)
        retracted = np.array([[-1.0, 1.0]]) * model.collimator.largest_field_mm / 2
        opened = LeafOpening(retracted, retracted, jaws, jaws, 1.0).fluence(model.collimator)
        return engine.fluence_dose([(self._view, opened)])

    def _middle(self, count: int) -> slice:
        return slice(count // 2 - 1, count // 2 + 1)

    def depth_dose(self, dose: FloatArray) -> Callable[[Any], FloatArray]:
        """Dose on the axis by depth; logarithms are interpolated, as it falls exponentially."""
        x, z = self._middle(self._grid.shape[0]), self._middle(self._grid.shape[2])
        on_axis = np.log(dose[x, 2:][:, :, z].mean(axis=(0, 2)))
        return lambda depth: np.exp(np.interp(depth, self._depth, on_axis))

    def profile(self, dose: FloatArray, depth_mm: float) -> Callable[[FloatArray], FloatArray]:
        """Dose across the beam at a depth."""
        across = dose[:, 2:][:, :, self._middle(self._grid.shape[2])].mean(axis=2)
        at = np.array([np.interp(depth_mm, self._depth, row) for row in across])
        return lambda x: np.interp(x, self._x, at)
