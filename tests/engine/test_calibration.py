"""Monitor units: the engine's output in the reference field, measured, kept and applied."""

import functools
import json
import math

import numpy as np
import pytest
from opentps.core.data.plan import PhotonPlan
from opentps_objects import add_beam, add_segment

from opentps_brimstone.adapters.segments import merged_plan, with_machine_mu, write_segments
from opentps_brimstone.adapters.versions import set_source_distance
from opentps_brimstone.engine import calibration as module, compute_dose
from opentps_brimstone.engine.calibration import Calibration, ReferenceField, calibrate, calibrate_plan
from opentps_brimstone.engine.choice import EngineChoice
from opentps_brimstone.engine.options import DoseOptions
from opentps_brimstone.engine.water_tank import add_open_field, water_tank
from opentps_brimstone.sequencing import MILLENNIUM_120, Aperture, JawPositions, SequencedBeam

VOXEL = (8.0, 5.0, 8.0)
PROGRAM = DoseOptions(EngineChoice("opentps"))
by_program = functools.partial(calibrate, options=PROGRAM)


@pytest.fixture(autouse=True)
def private_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENTPS_BRIMSTONE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(module, "_measured_here", {})
    return tmp_path / "cache" / "calibration"


# ----------------------------------------------------------------------------------------------------- the whole, real


def field_of_segments(plan, tank, mu):
    """The 10 x 10 cm field as one segment of a Millennium 120."""
    add_segment(add_beam(plan, tank.isocenter_mm), [(2.5, 2.5)])
    centers = MILLENNIUM_120.leaf_centers_mm
    half = np.where(np.abs(centers) < 50, 50.0, 0.0)
    grid = np.arange(-47.5, 50.0, 5.0)
    jaws = JawPositions((-50.0, 50.0), (-50.0, 50.0))
    aperture = Aperture(-half, half, mu)
    beam = SequencedBeam((aperture,), MILLENNIUM_120, jaws, 0, grid, grid, (5.0, 5.0), np.full((20, 20), mu))
    return write_segments(plan, [beam])


def test_100_mu_of_the_10_x_10_field_give_1_gy():
    """In a tank of another size, through write-back and OpenTPS's own way from segments to beamlets."""
    reference = ReferenceField()
    calibration = calibrate(5.0, VOXEL, reference)
    tank = water_tank(ReferenceField(field_mm=120.0, depth_mm=130.0, ssd_mm=900.0), VOXEL)._replace(
        point_mm=(0.0, 100.0, 0.0)
    )
    plan = PhotonPlan(name="open field")
    plan.numberOfFractionsPlanned = 1
    assert field_of_segments(plan, tank, float(calibration.engine_mu(100.0))) == calibration.beamlet_mm
    assert with_machine_mu(plan, calibration).beamSegments[0].mu == pytest.approx(100.0)
    dose = compute_dose(tank.ct, merged_plan(plan), density_table=tank.density_table, progress=False)
    assert tank.dose_at_point(dose) == pytest.approx(1.0, rel=5e-3)


def test_other_dose_per_mu_depth_and_distance():
    """A fixed-SSD calibration at 5 cm with 0.8 cGy/MU: fewer Gy per machine MU, more dose at less depth."""
    usual = calibrate(10.0, 10.0)
    other = calibrate(10.0, 10.0, ReferenceField(depth_mm=50.0, ssd_mm=1000.0, gy_per_mu=0.008))
    assert other.reference.ssd_mm == 1000.0
    assert other.factor == pytest.approx(other.gy_per_engine_mu / 0.008)
    # The same distance from the source within 5 %, half the depth: (1050/1000)² less, about 20 % less attenuated.
    expected = usual.gy_per_engine_mu * (1000 / 1050) ** 2 * 1.24
    assert other.gy_per_engine_mu == pytest.approx(expected, rel=0.05)


def test_smaller_beamlets_give_less_dose():
    """What OpenTPS's engine loses at the sides of small beamlets; if this fails it has changed."""
    large, small = calibrate(10.0, 10.0), calibrate(5.0, 10.0)
    assert 0.94 < small.gy_per_engine_mu / large.gy_per_engine_mu < 0.99


def test_beamlets_that_do_not_tile_the_field():
    """Beamlets at the edge get the share of the MU that lies inside: the dose is that of beamlets that fit."""
    field = ReferenceField()
    plan = add_open_field(water_tank(field, VOXEL), field, (12.0, 20.0))
    mu = np.array(plan.beamletMUs).reshape(10, 6)
    assert mu.sum() * 12.0 * 20.0 == pytest.approx(100.0 * 100.0)
    assert mu[0, 0] == pytest.approx((2 / 12) * (10 / 20))
    assert mu[5, 3] == 1.0
    fitting, other = calibrate(10.0, 10.0), calibrate(12.0, 10.0)
    assert other.gy_per_engine_mu == pytest.approx(fitting.gy_per_engine_mu, rel=0.02)


@pytest.mark.parametrize("voxel", [VOXEL, 10.0])
def test_our_engine_gives_what_the_program_does(voxel):
    ours, theirs = calibrate(10.0, voxel), by_program(10.0, voxel)
    assert ours.gy_per_engine_mu == pytest.approx(theirs.gy_per_engine_mu, rel=2e-3)
    assert ours.choice.is_native
    assert not theirs.choice.is_native


def test_full_scatter_is_more_and_does_not_depend_on_beamlets():
    large, small = (calibrate(size, 10.0, options=DoseOptions(EngineChoice(scatter="full"))) for size in (10.0, 5.0))
    assert large.gy_per_engine_mu == pytest.approx(small.gy_per_engine_mu, rel=1e-6)
    assert 1.07 < large.gy_per_engine_mu / calibrate(10.0, 10.0).gy_per_engine_mu < 1.15
    assert "with scatter through the whole patient and voxels of 10 x 10 x 10 mm" in str(large)


def test_kernels_are_those_asked_for():
    usual, soft = (
        calibrate(10.0, 10.0, options=DoseOptions(EngineChoice(kernels=kernels))).gy_per_engine_mu
        for kernels in (None, "Kernels_6MV")
    )
    assert abs(soft / usual - 1) > 0.5  # its fluence is in other units


def test_calibration_of_a_plan(monkeypatch):
    asked = []
    monkeypatch.setattr(module, "_measured", lambda *args: asked.append(args[:3]) or 0.008)
    tank = water_tank(ReferenceField(), VOXEL)
    plan = PhotonPlan(name="plan")
    add_segment(add_beam(plan, tank.isocenter_mm, spacing=(4.0, 6.0)), [(0.0, 0.0)])
    set_source_distance(plan, 900.0)
    assert calibrate_plan(plan, tank.ct).factor == pytest.approx(0.8)
    assert asked == [(ReferenceField(sad_mm=900.0), (4.0, 6.0), VOXEL)]
    add_segment(add_beam(plan, tank.isocenter_mm, spacing=(5.0, 5.0)), [(0.0, 0.0)])
    set_source_distance(plan, 900.0)
    with pytest.raises(ValueError, match="the plan 'plan' has beamlets of different sizes"):
        calibrate_plan(plan, tank.ct)


# ------------------------------------------------------------------------------------------------------------ the cache


def test_measured_once_for_each_question(private_cache, monkeypatch):
    values = iter((0.008, 0.009, 0.01))
    monkeypatch.setattr(module, "_measured", lambda *_: next(values))
    assert by_program(5.0, 4.0).gy_per_engine_mu == 0.008
    assert by_program((5.0, 5.0), (4.0, 4.0, 4.0)).gy_per_engine_mu == 0.008
    assert by_program(5.0, 4.0, ReferenceField(gy_per_mu=0.02)).factor == pytest.approx(0.4)
    assert by_program(5.0, 3.0).gy_per_engine_mu == 0.009
    assert calibrate(5.0, 4.0, options=PROGRAM.running(cache=False)).gy_per_engine_mu == 0.01
    assert len(list(private_cache.glob("*.json"))) == len(list(private_cache.iterdir())) == 2


@pytest.mark.parametrize("damage", ["", "{", '{"gy_per_engine_mu": 1}', "null"])
def test_damaged_entries_are_measured_again(private_cache, monkeypatch, damage):
    monkeypatch.setattr(module, "_measured", lambda *_: 0.008)
    by_program(5.0, 4.0)
    (path,) = private_cache.iterdir()
    path.write_text(damage)
    assert by_program(5.0, 4.0).gy_per_engine_mu == 0.008
    assert json.loads(path.read_text())["gy_per_engine_mu"] == 0.008


def test_another_engine_is_another_question(private_cache, monkeypatch):
    monkeypatch.setattr(module, "_measured", lambda *_: 0.008)
    by_program(5.0, 4.0)
    monkeypatch.setattr(module, "_engine_digest", lambda: "another")
    by_program(5.0, 4.0)
    assert len(list(private_cache.iterdir())) == 2


def test_a_cache_that_cannot_be_written(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("OPENTPS_BRIMSTONE_CACHE", str(tmp_path / "file"))
    monkeypatch.setattr(module, "_measured", lambda *_: 0.008)
    assert by_program(5.0, 4.0).gy_per_engine_mu == 0.008


# ---------------------------------------------------------------------------------------------------------- conversion


def test_conversion_there_and_back():
    calibration = Calibration(0.008, (5.0, 5.0), VOXEL)
    assert calibration.machine_mu(100.0) == pytest.approx(80.0)
    np.testing.assert_allclose(calibration.engine_mu(calibration.machine_mu([1.0, 2.0])), [1.0, 2.0])
    assert str(calibration) == (
        "1 cGy/MU in a 10 x 10 cm field, 10 cm deep in water, SSD 90 cm; 1 engine MU is 0.8000 MU with beamlets of "
        "5 x 5 mm and voxels of 8 x 5 x 8 mm"
    )


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"field_mm": 0.0}, "field_mm of the reference field is 0 mm"),
        ({"depth_mm": math.inf}, "depth_mm of the reference field is inf mm"),
        ({"gy_per_mu": -0.01}, "gy_per_mu of the reference field is -0.01 Gy"),
        ({"ssd_mm": 1100.0}, "the water surface at 1100 mm lies beyond the isocenter at 1000 mm"),
        ({"depth_mm": 1000.0}, "ssd_mm of the reference field is 0 mm"),
    ],
)
def test_impossible_reference_fields(options, text):
    with pytest.raises(ValueError, match=text):
        ReferenceField(**options)


def test_impossible_sizes():
    with pytest.raises(ValueError, match="the beamlet size is 0 mm"):
        by_program(0, 4.0)
    with pytest.raises(ValueError, match=r"the voxel size is \(4, 4, 60\) mm; .* up to 50 mm"):
        by_program(5.0, (4, 4, 60))
