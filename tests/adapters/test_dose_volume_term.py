import numpy as np
import pytest
from opentps_objects import make_ct, make_objective, make_roi, needs_opentps_3
from scipy.optimize import check_grad

from opentps_brimstone.adapters.dose_volume_term import DoseVolumeTerm

EVEN = np.full(8, 1 / 8)
RISING = np.arange(8.0) * 10  # Gy


@pytest.mark.parametrize(
    ("side", "limit", "volume", "costly"),
    [
        ("maximum", 45.0, 0.25, [5]),
        ("maximum", 45.0, 0.375, []),
        ("maximum", 45.0, 0.0, [5, 6, 7]),
        ("minimum", 25.0, 0.125, [1, 2]),
        ("minimum", 25.0, 0.5, []),
    ],
)
def test_only_what_is_nearest_to_the_limit_costs(side, limit, volume, costly):
    term = DoseVolumeTerm(limit, volume=volume, side=side, reference_dose_gy=10.0)
    value, gradient = term.evaluate(RISING, EVEN)
    assert np.flatnonzero(gradient).tolist() == costly
    assert value == pytest.approx(sum((RISING[i] - limit) ** 2 for i in costly) / 100 / 8)


@pytest.mark.parametrize("side", ["maximum", "minimum"])
def test_gradient(side):
    share = np.random.default_rng(3).dirichlet(np.ones(8))
    term = DoseVolumeTerm(37.0, volume=0.2, side=side, reference_dose_gy=50.0)
    error = check_grad(lambda d: term.evaluate(d, share)[0], lambda d: term.evaluate(d, share)[1], RISING)
    assert error < 1e-6


@needs_opentps_3
@pytest.mark.parametrize(("side", "name", "volume"), [("maximum", "DVHMax", 0.3), ("minimum", "DVHMin", 0.7)])
def test_is_what_opentps_penalizes(side, name, volume):
    roi = make_roi(make_ct(), (2, 2, 2), (12, 12, 12), "ROI")
    objective = make_objective(roi, name, 20.0, volume=volume)
    objective._updateMaskVec(spacing=roi.spacing, gridSize=roi.gridSize, origin=roi.origin)
    dose = np.random.default_rng(5).uniform(5, 35, len(objective.maskVec))
    theirs = objective._eval(None, dose=dose)
    inside = dose[objective.maskVec]
    beyond = volume if name == "DVHMax" else 1 - volume
    term = DoseVolumeTerm(20.0, volume=beyond, side=side, reference_dose_gy=1.0)
    value, _ = term.evaluate(inside, np.full(len(inside), 1 / len(inside)))
    assert value == pytest.approx(theirs, rel=0.02)  # OpenTPS reads the DVH off a histogram
