"""DVHs of a known plan, given as targets, are found again."""

from __future__ import annotations

import numpy as np
import pytest
from problems import random_plan

import opentps_brimstone as pb
from opentps_brimstone import _core


def achieved_dvh(dose: np.ndarray, share: np.ndarray) -> list[tuple[float, float]]:
    """A cumulative DVH on 60 doses as target points."""
    inside = share > 0
    points = np.linspace(0.999 * dose[inside].min(), 1.001 * dose[inside].max(), 60)
    volume = np.array([share[inside][dose[inside] >= d].sum() for d in points]) / share.sum()
    volume[0], volume[-1] = 1.0, 0.0
    return list(zip(points, volume, strict=True))


def smoothed_dvh(dose: np.ndarray, share: np.ndarray, reference_dose: float) -> np.ndarray:
    """Cumulative histogram smoothed with the finest level's kernels, as the cost smooths it."""
    settings = pb.OptimizerSettings()
    sigma = settings.gaussian_bin_sigma / settings.level_sigma[0] * reference_dose
    term = _core.KlDivergenceTerm(
        share=share[share > 0] / share.sum(),
        target=np.array([(0.0, 1.0), (1.3 * reference_dose, 0.0)]),
        direction=_core.KlDirection.calc_target,
        weight=1.0,
        bins=_core.BinSettings(
            reference_dose=reference_dose,
            bin_width=sigma / 8,
            variance_min=sigma**2 / 4,
            variance_max=sigma**2,
            target_smoothing=_core.TargetSmoothing.half,
            kernel_reach=5.0,
            floor=1e-3,
            tail_length=0.0,
        ),
    )
    inside = dose[share > 0]
    histogram = term.histogram(inside, np.full_like(inside, 0.5))
    return 1.0 - np.cumsum(histogram)


@pytest.mark.parametrize("seed", range(5))
def test_dvhs_of_a_known_plan_are_recovered(seed):
    plan = random_plan(seed, refinement=2)
    rng = np.random.default_rng(seed)
    n = plan.dose_influence.layout.n_beamlets
    known = rng.uniform(0.3, 1.7, n)
    in_target = plan.structures["PTV"].share
    known *= 50 / np.average(plan.dose_influence.dose(known), weights=in_target)
    wanted = plan.dose_influence.dose(known)

    optimizer = pb.PlanOptimizer(plan)
    for structure in plan.structures:
        target = achieved_dvh(wanted, structure.share)
        optimizer.add_objective(structure, pb.KLDivergenceTerm(dvh=target))
    result = optimizer.optimize(tolerance=1e-5)

    assert result.success
    reference = max(term.dvh[-1, 0] for term in optimizer.prescription.objectives[:1])
    for structure in plan.structures:
        target = smoothed_dvh(wanted, structure.share, reference)
        found = smoothed_dvh(result.dose, structure.share, reference)
        size = min(len(target), len(found))
        assert np.abs(found[:size] - target[:size]).max() < 0.02
