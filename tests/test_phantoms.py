from __future__ import annotations

import dataclasses
import math
import subprocess
import sys

import numpy as np
import pytest

from opentps_brimstone import KLDivergenceTerm
from opentps_brimstone.phantoms import AIR_HU, C_SHAPE, PHANTOMS, WATER_HU, c_shape, centred_grid, make_phantom

TARGET_CM3 = 0.75 * math.pi * (3.7**2 - 1.5**2) * 8.0
CORE_CM3 = math.pi * 1.0**2 * 10.0


def volume_cm3(phantom, name):
    return phantom.structure(name).share.sum() * math.prod(phantom.spacing_mm) / 1000


def centres(phantom):
    axes = [
        o + s * np.arange(n) for o, s, n in zip(phantom.origin_mm, phantom.spacing_mm, phantom.grid.shape, strict=True)
    ]
    return np.meshgrid(*axes, indexing="ij")


@pytest.mark.parametrize("grid_mm", [2.5, 3.0, 4.0, 5.0, 8.0])
def test_volumes_are_the_analytic_ones_on_every_grid(grid_mm):
    phantom = c_shape(grid_mm)
    assert volume_cm3(phantom, "PTV") == pytest.approx(TARGET_CM3, rel=0.005)
    assert volume_cm3(phantom, "Core") == pytest.approx(CORE_CM3, rel=0.015)


def test_body_is_a_rounded_box():
    phantom = c_shape(2.5)
    share = (phantom.ct_hu - AIR_HU) / (WATER_HU - AIR_HU)
    width, height, length = C_SHAPE.body_mm
    area = width * height - (4 - math.pi) * C_SHAPE.body_corner_mm**2
    assert share.sum() * 2.5**3 == pytest.approx(area * length, rel=0.001)
    assert phantom.ct_hu.max() == WATER_HU
    assert phantom.ct_hu.min() == AIR_HU
    assert not phantom.ct_hu.flags.writeable


@pytest.mark.parametrize("grid_mm", [2.5, 4.0, 5.0])
def test_structures_do_not_overlap(grid_mm):
    phantom = c_shape(grid_mm)
    shares = {s.name: s.share for s in phantom.structures}
    assert (sum(shares.values()) <= 1 + 1e-12).all()
    assert not (shares["Body"] * shares["PTV"]).any()
    assert all(share.min() >= 0 for share in shares.values())


def test_the_gap_between_target_and_core_is_body():
    phantom = c_shape(1.0 * 2.5)
    x, y, z = centres(phantom)
    radius = np.hypot(x, y)
    gap = (radius > 12) & (radius < 13) & (np.abs(z) < 38)
    assert (phantom.structure("Body").share[gap] == 1).all()


def test_the_c_opens_to_the_back():
    phantom = c_shape(4.0)
    x, y, z = centres(phantom)
    ring = (np.hypot(x, y) > 20) & (np.hypot(x, y) < 32) & (np.abs(z) < 35)
    share = phantom.structure("PTV").share
    behind = ring & (y > np.abs(x) + 6)
    assert (share[behind] == 0).all()
    assert (share[ring & (y < np.abs(x) - 6)] == 1).all()
    assert behind.any()


def test_everything_is_symmetric_left_to_right_and_head_to_feet():
    phantom = c_shape(3.0)
    for structure in phantom.structures:
        np.testing.assert_array_equal(structure.share, structure.share[::-1])
        np.testing.assert_array_equal(structure.share, structure.share[:, :, ::-1])


def test_case_is_that_of_the_report():
    phantom = c_shape()
    assert phantom.gantry_angles == (0, 40, 80, 120, 160, 200, 240, 280, 320)
    assert [str(goal) for goal in phantom.goals] == ["PTV D95 >= 50 Gy", "PTV D10 <= 55 Gy", "Core D10 <= 25 Gy"]
    assert (phantom.prescription_gy, phantom.number_of_fractions) == (50, 25)
    assert [s.name for s in phantom.structures if s.is_target] == ["PTV"]
    assert phantom.spacing_mm == (4.0, 4.0, 4.0)


def test_default_prescription_is_about_its_structures_and_fits_the_goals():
    phantom = c_shape(8.0)
    asked = [(name, term) for name, term in phantom.objectives if isinstance(term, KLDivergenceTerm)]
    for name, _ in phantom.objectives:
        assert phantom.structure(name).name == name
    by_name = dict(asked)
    assert 50 < by_name["PTV"].dvh[0, 0] < by_name["PTV"].dvh[-1, 0] < 55
    assert by_name["Core"].dvh[-1, 0] < 25
    with pytest.raises(ValueError, match="no structure 'cord'; it has PTV, Core, Body"):
        phantom.structure("cord")


def test_each_phantom_has_terms_of_its_own():
    first, second = c_shape(8.0), c_shape(8.0)
    assert all(a is not b for (_, a), (_, b) in zip(first.objectives, second.objectives, strict=True))


def test_numbers_may_be_changed():
    wide = c_shape(4.0, dataclasses.replace(C_SHAPE, opening_degrees=180.0))
    assert volume_cm3(wide, "PTV") == pytest.approx(TARGET_CM3 / 0.75 * 0.5, rel=0.005)


def test_registry():
    assert "c-shape" in PHANTOMS
    assert make_phantom("c-shape", 8.0).name == "c-shape"
    with pytest.raises(ValueError, match="case 'd-shape' is unknown; it may be c-shape"):
        make_phantom("d-shape")


@pytest.mark.parametrize("grid_mm", [0.0, -1.0, math.nan, math.inf, 25.0])
def test_spacings_that_make_no_grid_are_refused(grid_mm):
    with pytest.raises(ValueError, match="grid spacing is"):
        c_shape(grid_mm)


@pytest.mark.parametrize("spacing", [2.0, 3.0, 7.0])
def test_grids_hold_what_they_must_and_the_origin_is_a_corner(spacing):
    grid = centred_grid((100.0, 60.0, 40.0), 8.0, spacing)
    for n, origin, extent in zip(grid.shape, grid.origin_mm, (100, 60, 40), strict=True):
        edge = origin - spacing / 2
        assert edge <= -(extent / 2 + 8) < edge + spacing
        assert edge + n * spacing == pytest.approx(-edge)
        assert n % 2 == 0


def test_phantoms_need_no_opentps():
    code = "import sys, opentps_brimstone.phantoms as p; p.c_shape(8.0); assert 'opentps' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
