"""Both engines behind the same functions: what they agree in, and what each is asked for."""

import numpy as np
import pytest
from dose_scene import thorax
from opentps_objects import add_beam, add_segment

from opentps_brimstone.adapters.beamlets import dose_influence_from_sparse_beamlets
from opentps_brimstone.engine import compute_beamlets, compute_dose
from opentps_brimstone.engine.choice import EngineChoice
from opentps_brimstone.engine.collapsed_cones import ConeEngine
from opentps_brimstone.engine.compute import beamlet_influence
from opentps_brimstone.engine.errors import DoseCanceledError
from opentps_brimstone.engine.options import DoseOptions

SPACING = (5.0, 6.0, 7.0)
ISOCENTER = (13.7, -8.3, 6.1)


@pytest.fixture(scope="module")
def ct():
    from opentps.core.data.images import CTImage

    body = thorax((44, 34, 26), SPACING)
    return CTImage(imageArray=1000 * body.density.astype(float) - 1000, name="CT", origin=body.origin, spacing=SPACING)


@pytest.fixture(scope="module")
def table():
    return [(-1000, 0.0), (1000, 2.0)]


@pytest.fixture
def plan():
    from opentps.core.data.plan import PhotonPlan

    made = PhotonPlan(name="plan")
    made.numberOfFractionsPlanned = 3
    for gantry, couch, collimator in ((20.0, 0.0, 0.0), (110.0, 15.0, 40.0)):
        beam = add_beam(made, ISOCENTER, gantry=gantry, couch=couch)
        segment = add_segment(beam, [(-6.1, 3.3), (4.2, 3.3), (4.2, -5.8)])
        segment.beamLimitingDeviceAngle_degree = collimator
        for number, beamlet in enumerate(segment.beamlets):
            beamlet._mu = 1.0 + number
    return made


def dense(ct):
    return np.asarray(ct.imageArray) > -900


def test_beamlets_agree(ct, plan, table):
    ours, theirs = (
        compute_beamlets(ct, plan, engine=engine, density_table=table, cache=False, progress=False)
        for engine in ("native", "opentps")
    )
    for name in ("doseOrigin", "doseSpacing", "doseGridSize", "beamletAngles_rad"):
        np.testing.assert_allclose(getattr(ours, name), getattr(theirs, name))
    np.testing.assert_array_equal(ours._weights, theirs._weights)
    rows = np.flip(dense(ct), (0, 1)).ravel(order="F")
    difference = (ours.toSparseMatrix() - theirs.toSparseMatrix()).toarray()[rows] / theirs.toSparseMatrix().max()
    assert np.abs(difference).max() < 0.03
    assert np.sqrt(np.mean(difference**2)) < 5e-4


@pytest.mark.parametrize("engine", ["native", "opentps"])
def test_dose_is_the_sum_of_the_beamlets(ct, plan, table, engine):
    options = {"engine": engine, "density_table": table, "cache": False, "progress": False}
    influence = beamlet_influence(ct, plan, DoseOptions.from_keywords(**options))
    dose = compute_dose(ct, plan, **options).imageArray
    np.testing.assert_allclose(dose, influence.dose(plan.beamletMUs, 3), rtol=1e-5, atol=1e-7)
    theirs = dose_influence_from_sparse_beamlets(compute_beamlets(ct, plan, **options), plan, influence.grid)
    assert abs(theirs.matrix - influence.matrix).max() == 0.0
    np.testing.assert_array_equal(influence.reached, influence.dose(np.ones(6)) > 0)


def test_a_region_keeps_its_dose_in_air_too(ct, plan, table):
    from opentps.core.data.images import ROIMask

    mask = np.zeros(ct.imageArray.shape, bool)
    mask[20:28, :8, 10:16] = True
    assert (~dense(ct) & mask).any()
    roi = ROIMask(imageArray=mask, name="flash", origin=ct.origin, spacing=ct.spacing)
    plan.beams[0].beamSegments[0].gantryAngle_degree = 0.0
    dose = compute_dose(ct, plan, density_table=table, roi=roi, progress=False).imageArray
    assert not dose[~mask].any()
    assert dose[mask & ~dense(ct)].any()
    whole = compute_dose(ct, plan, density_table=table, progress=False).imageArray
    assert not whole[mask & ~dense(ct)].all()


def test_overrides_and_tables_count_for_both(ct, plan, table):
    from opentps.core.data.images import ROIMask

    mask = np.zeros(ct.imageArray.shape, bool)
    mask[18:26, 14:20, 10:16] = True
    metal = {"Mask": ROIMask(imageArray=mask, name="metal", origin=ct.origin, spacing=ct.spacing), "Value": 7.0}
    doses = {}
    for engine in ("native", "opentps"):
        options = {"engine": engine, "density_table": table, "progress": False}
        doses[engine] = [compute_dose(ct, plan, overrides=each, **options).imageArray for each in (None, [metal])]
    for engine, (without, with_metal) in doses.items():
        assert np.abs(with_metal - without).max() > 0.05 * without.max(), engine
    changed = [with_metal - without for without, with_metal in doses.values()]
    inside = dense(ct) & ~mask
    assert np.corrcoef(changed[0][inside], changed[1][inside])[0, 1] > 0.99


@pytest.mark.parametrize("engine", ["native", "opentps"])
def test_progress_may_stop_either(ct, plan, table, engine):
    with pytest.raises(DoseCanceledError):
        compute_beamlets(
            ct, plan, engine=engine, density_table=table, processes=1, cache=False, progress=lambda *_: False
        )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"engine": "monaco"}, "engine must be 'native' or 'opentps', got 'monaco'"),
        ({"scatter": "some"}, "scatter must be 'opentps' or 'full', got 'some'"),
        ({"engine": "opentps", "scatter": "full"}, "no scatter beyond 2 cm: scatter='full' needs engine='native'"),
        ({"engine": "opentps", "kernels": "Kernels_6MV"}, "own kernels: kernels=... needs engine='native'"),
    ],
)
def test_impossible_choices(ct, plan, options, message, monkeypatch):
    monkeypatch.setattr(ConeEngine, "beamlets", lambda *_: pytest.fail("the engine was started"))
    with pytest.raises(ValueError, match=message):
        compute_beamlets(ct, plan, **options)
    with pytest.raises(ValueError, match=message):
        compute_dose(ct, plan, **options)


def test_a_choice_says_what_it_is():
    assert str(EngineChoice("opentps")) == "OpenTPS's collapsed cone program"
    assert str(EngineChoice(scatter="full", kernels="Kernels_6MV")) == (
        "collapsed cones of opentps-brimstone, scatter through the whole patient, kernels Kernels_6MV"
    )


def test_our_engine_needs_no_opentps_running(tmp_path):
    """Beamlets of a Plan are computed without importing OpenTPS, which takes seconds."""
    import subprocess
    import sys

    code = """
import sys
import numpy as np
import opentps_brimstone as pb
mask = np.zeros((10, 10, 10)); mask[4:6, 4:6, 4:6] = 1
series = pb.Series(np.zeros((10, 10, 10)), (8, 8, 8), (0, 0, 0), [pb.Structure("PTV", mask, is_target=True)])
plan = pb.Plan(series)
plan.add_beam(gantry_angle=0.0)
assert plan.compute_dose_influence(progress=False).matrix.nnz > 0
assert not any(name.startswith("opentps.") for name in sys.modules), [n for n in sys.modules if "opentps." in n]
"""
    environment = {"PYTHONPATH": ":".join(sys.path), "PATH": "", "HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], check=False, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
