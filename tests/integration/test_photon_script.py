"""A script as OpenTPS's users write them, with another name of the method."""

import contextlib
import io

import photon_script
import pytest

from opentps_brimstone import register, unregister
from opentps_brimstone.engine import compute_beamlets, compute_dose

METHODS = ("Scipy_L-BFGS-B", "Brimstone")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("script")


@pytest.fixture(scope="module")
def outcomes(folder):
    """Both methods on the same beamlets."""
    ct, target = photon_script.water_box()
    beamlets = compute_beamlets(ct, photon_script.designed_plan(ct, target), engine="opentps", progress=False)
    register()
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            made = {}
            for method in METHODS:
                (folder / method).mkdir()
                made[method] = photon_script.run(method, beamlets, folder / method)
            return made
    finally:
        unregister()


def test_it_runs_to_its_end(outcomes, folder):
    ours, theirs = (sorted(path.suffix for path in (folder / method).iterdir()) for method in reversed(METHODS))
    assert ours == theirs == [".dcm", ".png", ".tps", ".tps"]
    assert all(cost > 0 for cost in outcomes["Brimstone"].cost)


def test_the_target_dose_is_at_least_as_good(outcomes):
    ours, theirs = outcomes["Brimstone"].dvh, outcomes["Scipy_L-BFGS-B"].dvh
    photon_script.check_target_dose(ours, theirs)
    assert ours.D5 - ours.D95 <= theirs.D5 - theirs.D95
    assert ours.Dmean == pytest.approx(20.25, abs=0.1)


def test_the_engine_gives_the_dose_of_the_plan(outcomes):
    ct, target = photon_script.water_box()
    outcome = outcomes["Brimstone"]
    recalculated = compute_dose(ct, outcome.plan, engine="opentps", progress=False).imageArray
    assert recalculated[target.imageArray] == pytest.approx(
        outcome.dose.imageArray[target.imageArray], abs=photon_script.SAME_GY
    )
