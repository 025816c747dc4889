from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from opentps_brimstone._util.silence import silent_opentps
from opentps_brimstone.adapters.phantom import to_opentps
from opentps_brimstone.phantoms import C_SHAPE, c_shape


def converted(phantom, beamlet_mm):
    with silent_opentps():
        return to_opentps(phantom, beamlet_mm)


@pytest.fixture(scope="module")
def phantom():
    return c_shape(8.0)


@pytest.fixture(scope="module")
def case(phantom):
    return converted(phantom, 10.0)


def test_ct_and_rois_lie_on_the_phantoms_grid(phantom, case):
    np.testing.assert_array_equal(case.ct.imageArray, phantom.ct_hu)
    for image in (case.ct, *case.rois.values()):
        assert tuple(image.origin) == phantom.origin_mm
        assert tuple(image.spacing) == phantom.spacing_mm
    assert list(case.rois) == ["PTV", "Core", "Body"]
    for structure in phantom.structures:
        np.testing.assert_array_equal(case.rois[structure.name].imageArray, structure.share >= 0.5)


def test_the_ct_is_a_copy(phantom, case):
    assert case.ct.imageArray.flags.writeable
    assert not np.shares_memory(case.ct.imageArray, phantom.ct_hu)


def test_plan_has_the_phantoms_fields_and_fractions(phantom, case):
    assert case.plan.numberOfFractionsPlanned == 25
    assert [beam.name for beam in case.plan.beams][:3] == ["G000", "G040", "G080"]
    for beam in case.plan.beams:
        (segment,) = beam.beamSegments
        assert tuple(beam.isocenterPosition_mm) == phantom.isocenter_mm
        assert (segment.xBeamletSpacing_mm, segment.yBeamletSpacing_mm) == (10.0, 10.0)
        assert (segment.couchAngle_degree, segment.beamLimitingDeviceAngle_degree) == (0, 0)
    assert set(case.plan.beamletMUs) == {1.0}
    assert case.plan.planDesign.objectives.targetName == ["PTV"]


def test_a_field_at_iec_90_enters_from_the_patients_left():
    """IEC 90° has the source at high x; the dose engine puts OpenTPS's angle g at (−sin g, −cos g)."""
    phantom = dataclasses.replace(c_shape(8.0), gantry_angles=(90.0,))
    (beam,) = converted(phantom, 15.0).plan.beams
    angle = np.radians(beam.beamSegments[0].gantryAngle_degree)
    assert (-np.sin(angle), -np.cos(angle)) == pytest.approx((1, 0), abs=1e-12)


@pytest.mark.parametrize("iec", [0.0, 40.0, 130.0])
def test_beamlets_cover_the_targets_projection(iec):
    """An off-axis target is covered in the beam's eye view only if the angle turns the right way."""
    phantom = dataclasses.replace(c_shape(4.0), gantry_angles=(iec,))
    x0, y0 = 60.0, -20.0
    share = np.roll(phantom.structure("PTV").share, (15, -5), axis=(0, 1))
    target = type(phantom.structures[0])("PTV", share, is_target=True)
    (beam,) = converted(dataclasses.replace(phantom, structures=(target,)), 5.0).plan.beams
    xs = np.array([beamlet._x for beamlet in beam.beamSegments[0].beamlets])
    theta = np.radians(iec)
    lateral = x0 * np.cos(theta) + y0 * np.sin(theta)
    towards_source = x0 * np.sin(theta) - y0 * np.cos(theta)
    assert (xs.min() + xs.max()) / 2 == pytest.approx(lateral * 1000 / (1000 - towards_source), abs=7.5)


def test_beamlets_reach_beyond_the_target(case):
    y = np.array([beamlet._y for beamlet in case.plan.beams[0].beamSegments[0].beamlets])
    assert y.max() + 5 >= C_SHAPE.target_length_mm / 2


@pytest.mark.parametrize("beamlet_mm", [0.0, -5.0, float("nan")])
def test_spacings_that_are_not_positive_are_refused(phantom, beamlet_mm):
    with pytest.raises(ValueError, match="beamlet spacing is"):
        to_opentps(phantom, beamlet_mm)


def test_a_grid_too_coarse_for_a_structure_is_refused():
    with pytest.raises(ValueError, match=r"'Core' fills no voxel .* to half"):
        converted(c_shape(20.0), 10.0)
