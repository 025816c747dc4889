"""Brimstone's cost and gradient at the finest level, written with NumPy and SciPy alone.

What `Prescription.evaluate` computes: every voxel that gets dose half in the wide and half in the narrow kernel. It is
what somebody would write who wants SciPy's minimizers on the same cost, and an independent check of the core. For the
defaults of `OptimizerSettings`: KL(calculated ‖ target), a constant floor, targets smoothed as the histogram is.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import opentps_brimstone as pb
from opentps_brimstone.optimization.core_plan import target_terms

FloatArray = np.ndarray


class NumpyCost:
    """Cost and gradient of beamlet weights.

    Parameters
    ----------
    plan : Plan
        Its matrix is used in float32, reduced to the voxels of structures with a term.
    objectives : list of ObjectiveTerm
        KLDivergenceTerm, MaximumDoseTerm and MinimumDoseTerm, of structures.
    settings : OptimizerSettings
        Where the constants come from; terms must name no direction but the default.
    """

    def __init__(self, plan: pb.Plan, objectives: list[pb.ObjectiveTerm], settings: pb.OptimizerSettings) -> None:
        if settings.kl_direction != "calc_target" or settings.tail_length or settings.target_smoothing != "calculated":
            raise ValueError("the cost in NumPy is for the default direction, tail and target smoothing")
        structures = [term.structure for term in objectives if term.structure is not None]
        voxels = np.flatnonzero(np.any([structure.mask.ravel() for structure in structures], axis=0))
        influence = plan.dose_influence.matrix
        self.matrix = influence if len(voxels) == influence.shape[0] else influence[voxels]
        self.transposed = self.matrix.T
        self.fractions = plan.number_of_fractions
        self.offset = settings.cost_offset
        self.reference = max(float(term.dvh[-1, 0]) for term in target_terms(objectives))
        row = np.full(influence.shape[0], -1)
        row[voxels] = np.arange(len(voxels))
        self.terms = [_term(term, row, self.reference, settings) for term in objectives]
        self.evaluations = 0

    def __call__(self, weights: FloatArray) -> tuple[float, FloatArray]:
        """Cost of beamlet weights in MU per fraction, and its gradient."""
        self.evaluations += 1
        dose = (self.matrix @ (weights * self.fractions).astype(np.float32)).astype(np.float64)
        cost, slope = self.offset, np.zeros_like(dose)
        for term in self.terms:
            value, on_voxels = term.cost_and_slope(dose[term.voxels])
            cost += value
            slope[term.voxels] += on_voxels
        gradient = (self.transposed @ slope.astype(np.float32)).astype(np.float64) * self.fractions
        return cost, gradient


def _term(term: Any, row: FloatArray, reference: float, settings: pb.OptimizerSettings) -> _Divergence | _Excess:
    share = term.structure.share.ravel()
    inside = np.flatnonzero(share)
    volume = share[inside].astype(np.float64) / share[inside].sum(dtype=np.float64)
    if isinstance(term, pb.KLDivergenceTerm):
        return _Divergence(row[inside], volume, term.dvh, term.weight, reference, settings)
    if isinstance(term, pb.MaximumDoseTerm | pb.MinimumDoseTerm):
        sign = 1.0 if isinstance(term, pb.MaximumDoseTerm) else -1.0
        return _Excess(row[inside], volume, sign, term.limit_gy, term.weight, reference)
    raise TypeError(f"the cost in NumPy has no {type(term).__name__}")


class _Excess:
    """weight · Σ v [max(0, ±(d − limit)) / d_ref]²."""

    def __init__(
        self, voxels: FloatArray, volume: FloatArray, sign: float, limit: float, weight: float, reference: float
    ) -> None:
        self.voxels, self.volume, self.sign = voxels, volume, sign
        self.limit, self.weight, self.reference = limit, weight, reference

    def cost_and_slope(self, dose: FloatArray) -> tuple[float, FloatArray]:
        excess = np.maximum(0.0, self.sign * (dose - self.limit)) / self.reference
        slope = self.sign * 2 * self.weight / self.reference * self.volume * excess
        return self.weight * float(np.sum(self.volume * excess**2)), slope


class _Divergence:
    """Kullback-Leibler divergence of the smoothed histogram of a structure from its target."""

    def __init__(
        self,
        voxels: FloatArray,
        volume: FloatArray,
        dvh: FloatArray,
        weight: float,
        reference: float,
        settings: pb.OptimizerSettings,
    ) -> None:
        self.voxels, self.volume, self.weight, self.reference = voxels, volume, weight, reference
        self.floor = settings.kl_floor
        wide = settings.gaussian_bin_sigma / settings.level_sigma[0] * reference
        narrow = wide / np.sqrt(settings.variance_ratio)
        self.step = narrow / settings.bins_per_sigma
        self.kernels = [_gaussian(sigma / self.step, settings.kernel_reach) for sigma in (wide, narrow)]
        self.padding = max(len(kernel) for kernel in self.kernels) // 2 + 1
        top = int(np.ceil(dvh[-1, 0] / self.step)) + 1
        dose = (np.arange(top + 2 * self.padding + 1) - self.padding) * self.step
        smoothed = [np.convolve(_volume_at(dvh, dose, self.step), kernel, "same") for kernel in self.kernels]
        self.targets = [target / target.sum() for target in smoothed]

    def cost_and_slope(self, dose: FloatArray) -> tuple[float, FloatArray]:
        position = dose / self.step
        below = position.astype(np.int64)
        above_share = position - below
        below += self.padding
        length = max(len(self.targets[0]), int(dose.max() / self.step) + 2 + 2 * self.padding)
        half = np.where(dose > 0, 0.5, 0.0)  # a voxel without dose has no beamlets whose mean share it could have
        shares = [half, 1 - half]
        histogram, target = np.zeros(length), np.zeros(length)
        for share, kernel, own_target in zip(shares, self.kernels, self.targets, strict=True):
            volume = self.volume * share
            bins = np.bincount(below, volume * (1 - above_share), length)
            bins += np.bincount(below + 1, volume * above_share, length)
            histogram += np.convolve(bins, kernel, "same")
            target[: len(own_target)] += volume.sum() * own_target
        density = self.reference / self.step
        p, q = histogram * density, target * density + self.floor
        ratio = p / q
        log_ratio = np.log(ratio + self.floor)
        cost = self.weight * float(np.sum(p * log_ratio)) / density
        along_bins = log_ratio + ratio / (ratio + self.floor)
        slope = np.zeros_like(dose)
        for share, kernel in zip(shares, self.kernels, strict=True):
            rise = np.diff(np.convolve(along_bins, kernel, "same"))
            slope += self.volume * share * rise[below]
        return cost, self.weight / self.step * slope


def _gaussian(sigma_bins: float, reach: float) -> FloatArray:
    half = max(1, int(np.ceil(reach * sigma_bins)))
    taps = np.exp(-0.5 * (np.arange(-half, half + 1) / sigma_bins) ** 2)
    return taps / taps.sum()


def _volume_at(dvh: FloatArray, dose: FloatArray, step: float) -> FloatArray:
    """Volume of a target in bins: its density against each bin's hat function."""

    def integrated_share_below(at: FloatArray) -> FloatArray:
        low, high = dvh[:-1, 0], dvh[1:, 0]
        length = np.maximum(high - low, np.finfo(float).tiny)
        inside = np.clip(at[:, None] - low, 0.0, high - low)
        at_end = dvh[:-1, 1] + (dvh[1:, 1] - dvh[:-1, 1]) * inside / length
        pieces = (1 - (dvh[:-1, 1] + at_end) / 2) * inside
        return pieces.sum(axis=1) + np.maximum(0.0, at - high[-1])

    low, middle, high = (integrated_share_below(dose + shift) for shift in (-step, 0.0, step))
    return (high - 2 * middle + low) / step
