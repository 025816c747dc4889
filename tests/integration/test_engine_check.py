"""What OpenTPS's program says of a dose of ours: in full, of a sample, or nothing."""

import numpy as np
import pytest
from small_case import small_phantom

from opentps_brimstone.adapters.phantom import to_opentps
from opentps_brimstone.adapters.plan import write_beamlet_mu
from opentps_brimstone.engine import compute_dose
from opentps_brimstone.engine.options import DoseOptions
from opentps_brimstone.integration import engine_check
from opentps_brimstone.integration.engine_check import EngineCheck, check_engine


@pytest.fixture(scope="module")
def case():
    phantom = small_phantom(6.0)
    ct, _, plan = to_opentps(phantom, 12.0)
    write_beamlet_mu(plan, np.random.default_rng(2).uniform(0.0, 3.0, plan.numberOfBeamlets).round())
    return phantom, ct, plan, np.asarray(compute_dose(ct, plan, progress=False).imageArray)


def checked(case, verify, dose=None):
    phantom, ct, plan, own = case
    return check_engine(plan, ct, own if dose is None else dose, phantom.grid, verify, DoseOptions())


def test_full(case):
    found = checked(case, "full")
    with_mu = np.count_nonzero(np.array(case[2].beamletMUs))
    assert (found.mode, found.n_checked, found.n_beamlets) == ("full", with_mu, with_mu)
    assert found.passed
    assert found.gamma_pass_percent > 99.5
    assert found.rms < 2e-3
    assert str(found).startswith(f"in full, {with_mu} beamlets: gamma 3 %/2 mm ")


def test_a_sample_is_drawn_from_beamlets_with_mu_and_is_always_the_same(case):
    once, again = checked(case, "sample"), checked(case, "sample")
    assert once == again
    assert once.mode == "sample"
    assert once.n_checked == 32 < once.n_beamlets
    assert once.passed
    assert once.rms < 2e-3
    assert once.difference < 0.15
    assert f"a sample, 32 of {once.n_beamlets} beamlets: differ by " in str(once)


def test_nothing_is_asked(case, no_engine):
    found = checked(case, "none")
    assert (found.mode, found.n_checked, found.passed) == ("none", 0, True)
    assert str(found) == "not recalculated"


def test_what_is_done_depends_on_how_long_it_takes(case, monkeypatch):
    assert checked(case, "auto").mode == "full"
    monkeypatch.setattr(engine_check, "FULL_WITHIN_S", 0.0)
    assert checked(case, "auto").mode == "sample"


def test_a_wrong_dose_does_not_pass(case):
    mirrored = np.flip(case[3], 0)
    assert not checked(case, "full", mirrored).passed
    assert not checked(case, "full", 1.05 * case[3]).passed


def test_wrong_beamlets_do_not_pass(case, monkeypatch):
    """As a mirrored beam's eye view would give them."""
    right = engine_check.beamlet_influence

    def mirrored(ct, plan, options):
        found = right(ct, plan, options)
        if options.choice.is_native:
            found.matrix = found.matrix[:, ::-1]
        return found

    monkeypatch.setattr(engine_check, "beamlet_influence", mirrored)
    assert not checked(case, "sample").passed


def test_unknown_amounts(case, no_engine):
    with pytest.raises(ValueError, match="verify must be one of 'auto', 'full', 'sample', 'none', got 'some'"):
        checked(case, "some")


def test_nothing_fails_without_being_asked():
    assert EngineCheck("none", 5).passed
    assert not EngineCheck("sample", 5, 5, 0.5, 0.1).passed
