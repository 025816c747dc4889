from __future__ import annotations

import dataclasses
import math
import subprocess
import sys

import numpy as np
import pytest

from opentps_brimstone import KLDivergenceTerm
from opentps_brimstone.phantoms import (
    AIR_HU,
    C_SHAPE,
    HEAD_NECK,
    PHANTOMS,
    PROSTATE,
    WATER_HU,
    c_shape,
    centered_grid,
    head_neck,
    make_phantom,
    multi_target,
    prostate,
)

TARGET_CM3 = 0.75 * math.pi * (3.7**2 - 1.5**2) * 8.0
CORE_CM3 = math.pi * 1.0**2 * 10.0


def volume_cm3(phantom, name):
    return phantom.structure(name).share.sum() * math.prod(phantom.spacing_mm) / 1000


def centers(phantom):
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
    x, y, z = centers(phantom)
    radius = np.hypot(x, y)
    gap = (radius > 12) & (radius < 13) & (np.abs(z) < 38)
    assert (phantom.structure("Body").share[gap] == 1).all()


def test_the_c_opens_to_the_back():
    phantom = c_shape(4.0)
    x, y, z = centers(phantom)
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
    wide = dataclasses.replace(C_SHAPE, opening_degrees=180.0).phantom(4.0)
    assert volume_cm3(wide, "PTV") == pytest.approx(TARGET_CM3 / 0.75 * 0.5, rel=0.005)


# Documented volumes in cm³; an ellipsoid of axes a, b, c has π a b c / 6.
VOLUMES_CM3 = {
    "multitarget": dict.fromkeys(("Central", "Superior", "Inferior"), math.pi * 2.0**2 * 4.0),
    "prostate": {"PTV": 78.9, "Rectum": math.pi * 0.75**2 * 10, "Bladder": 51.0},
    "head-neck": {
        "PTV": 572.0,
        "Cord": math.pi * 0.6**2 * 12,
        "Left parotid": math.pi * 2.2 * 3.4 * 4.4 / 6,
        "Right parotid": math.pi * 2.2 * 3.4 * 4.4 / 6,
    },
    "c-shape": {"PTV": TARGET_CM3, "Core": CORE_CM3},
    "c-shape-hard": {"PTV": TARGET_CM3, "Core": CORE_CM3},
}


@pytest.mark.parametrize("grid_mm", [3.0, 4.0, 5.0])
@pytest.mark.parametrize("case", PHANTOMS)
def test_volumes_are_those_documented(case, grid_mm):
    phantom = make_phantom(case, grid_mm)
    volumes = {s.name: volume_cm3(phantom, s.name) for s in phantom.structures}
    volumes.pop("Body")
    assert volumes == pytest.approx(VOLUMES_CM3[case], rel=0.02)


@pytest.mark.parametrize("case", PHANTOMS)
def test_cases_are_whole(case):
    phantom = make_phantom(case, 5.0)
    body = (phantom.ct_hu - AIR_HU) / (WATER_HU - AIR_HU)
    names = {s.name for s in phantom.structures}
    assert phantom.name == case
    assert {goal.structure for goal in phantom.goals} <= names
    for structure in phantom.structures:
        assert (structure.share <= body + 1e-9).all(), structure.name
        if structure.is_target:
            lowest = [
                goal.value for goal in phantom.goals if goal.structure == structure.name and goal.relation == ">="
            ]
            assert max(lowest) == phantom.prescription_of(structure.name)
    assert phantom.prescription_gy == max(phantom.prescription_of(s.name) for s in phantom.structures if s.is_target)
    fields, step = (7, 50.0) if case in ("multitarget", "prostate") else (9, 40.0)
    assert phantom.gantry_angles == tuple(step * i for i in range(fields))
    with pytest.raises(ValueError, match=f"'Body' of phantom '{case}' is not a target; nothing is prescribed"):
        phantom.prescription_of("Body")


def test_targets_are_stacked_from_feet_to_head():
    phantom = multi_target(4.0)
    _, _, z = centers(phantom)
    for name, middle in (("Inferior", -40), ("Central", 0), ("Superior", 40)):
        share = phantom.structure(name).share
        assert np.average(z, weights=share) == pytest.approx(middle)
        assert share[np.abs(z - middle) > 20].max() == 0
    assert {s.name: phantom.prescription_of(s.name) for s in phantom.structures if s.is_target} == {
        "Central": 50.0,
        "Superior": 25.0,
        "Inferior": 12.5,
    }


def test_a_third_of_the_rectum_is_ptv_on_the_widest_slice():
    phantom = prostate(2.0)
    ptv, rectum = (phantom.structure(name).share for name in ("PTV", "Rectum"))
    middle = ptv.shape[2] // 2
    assert np.argmax(ptv.sum(axis=(0, 1))) in (middle - 1, middle)
    both = np.minimum(ptv, rectum)
    assert both[:, :, middle].sum() / rectum[:, :, middle].sum() == pytest.approx(1 / 3, abs=0.03)
    assert both.sum() / rectum.sum() == pytest.approx(1 / 6, abs=0.01)
    bladder = phantom.structure("Bladder").share
    assert np.minimum(ptv, bladder).sum() / bladder.sum() == pytest.approx(1 / 12, abs=0.01)


def test_the_ptv_of_the_prostate_is_hollow_at_the_back():
    phantom = prostate(2.0)
    _, y, _ = centers(phantom)
    middle = phantom.grid.shape[2] // 2
    ptv = phantom.structure("PTV").share[:, :, middle] > 0.5
    back = np.where(ptv.any(axis=1), np.where(ptv, y[:, :, middle], -np.inf).max(axis=1), np.nan)
    center = phantom.grid.shape[0] // 2
    assert back[center] < np.nanmax(back)
    assert PROSTATE.rectum_y_mm - PROSTATE.rectum_radius_mm < PROSTATE.prostate_mm[1] / 2


def test_the_ptv_of_the_neck_keeps_its_distances():
    phantom = head_neck(2.0)
    x, y, z = centers(phantom)
    ptv = phantom.structure("PTV").share > 0.5
    from_cord = np.hypot(x, y - HEAD_NECK.cord_y_mm)[ptv].min() - HEAD_NECK.cord_radius_mm
    assert from_cord == pytest.approx(HEAD_NECK.cord_gap_mm, abs=2.0)
    half_x, half_y = HEAD_NECK.body_mm[0] / 2, HEAD_NECK.body_mm[1] / 2
    assert ((x / (half_x - 6)) ** 2 + (y / (half_y - 6)) ** 2)[ptv].max() <= 1.05
    for name in ("Left parotid", "Right parotid"):
        parotid = phantom.structure(name).share
        assert (parotid[ptv] == 0).all()
        assert np.average(z, weights=parotid) > 20
    np.testing.assert_array_equal(
        phantom.structure("Left parotid").share, phantom.structure("Right parotid").share[::-1]
    )


def test_registry():
    assert "c-shape" in PHANTOMS
    assert make_phantom("c-shape", 8.0).name == "c-shape"
    with pytest.raises(
        ValueError,
        match="case 'd-shape' is unknown; it may be multitarget, prostate, head-neck, c-shape, c-shape-hard",
    ):
        make_phantom("d-shape")


@pytest.mark.parametrize("grid_mm", [0.0, -1.0, math.nan, math.inf, 25.0])
def test_spacings_that_make_no_grid_are_refused(grid_mm):
    with pytest.raises(ValueError, match="grid spacing is"):
        c_shape(grid_mm)


@pytest.mark.parametrize("spacing", [2.0, 3.0, 7.0])
def test_grids_hold_what_they_must_and_the_origin_is_a_corner(spacing):
    grid = centered_grid((100.0, 60.0, 40.0), 8.0, spacing)
    for n, origin, extent in zip(grid.shape, grid.origin_mm, (100, 60, 40), strict=True):
        edge = origin - spacing / 2
        assert edge <= -(extent / 2 + 8) < edge + spacing
        assert edge + n * spacing == pytest.approx(-edge)
        assert n % 2 == 0


def test_phantoms_need_no_opentps():
    code = "import sys, opentps_brimstone.phantoms as p; p.c_shape(8.0); assert 'opentps' not in sys.modules"
    subprocess.run([sys.executable, "-P", "-c", code], check=True)


@pytest.mark.parametrize(
    ("make", "grid_mm", "complaint"),
    [
        (multi_target, 21.0, "TG-119 multi-target needs 20 mm or finer"),
        (prostate, 16.0, "TG-119 mock prostate needs 15 mm or finer"),
        (head_neck, 13.0, "TG-119 mock head and neck needs 12 mm or finer"),
        (head_neck, 0.0, "grid spacing is 0 mm; it must be above 0"),
    ],
)
def test_grids_that_are_too_coarse_are_refused(make, grid_mm, complaint):
    with pytest.raises(ValueError, match=complaint):
        make(grid_mm)


def test_a_phantom_as_a_plan():
    phantom = make_phantom("prostate", 10.0)
    plan = phantom.to_plan()
    assert plan.grid == phantom.grid
    assert plan.number_of_fractions == phantom.number_of_fractions
    assert [beam.gantry_angle for beam in plan.beams] == list(phantom.gantry_angles)
    assert {tuple(beam.isocenter) for beam in plan.beams} == {phantom.isocenter_mm}
    assert list(plan.structures.keys()) == [structure.name for structure in phantom.structures]
    for structure in phantom.structures:
        np.testing.assert_array_equal(plan.structures[structure.name].share, structure.share)
    np.testing.assert_array_equal(plan.ct_hu, phantom.ct_hu)
