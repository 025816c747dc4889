import itertools

import numpy as np
import pytest
from opentps.core.data.plan import PhotonPlan
from opentps.core.io.CCCdoseEngineIO import getRotatedVersors
from opentps_objects import add_beam, add_segment, center, make_ct

from opentps_brimstone.adapters.angles import BeamAngles, iec_from_opentps, opentps_from_iec
from opentps_brimstone.adapters.beamlets import dose_influence_from_sparse_beamlets

ANGLES = [0.0, 30.0, 90.0, 135.0, 180.0, 250.0, 270.0, 355.0]


def turned(angle_degree, axis):
    """Right-handed rotation matrix about an axis of a right-handed system."""
    angle = np.radians(angle_degree)
    a, b = (axis + 1) % 3, (axis + 2) % 3
    matrix = np.eye(3)
    matrix[a, a] = matrix[b, b] = np.cos(angle)
    matrix[b, a], matrix[a, b] = np.sin(angle), -np.sin(angle)
    return matrix


def iec_beam_axes(gantry, couch, collimator):
    """Axes x_b, y_b and direction to the source, in axes fixed to the patient, by IEC 61217.

    Fixed axes: X to the right of an observer facing the gantry, Y to the gantry, Z up. The gantry turns about Y, the
    collimator about the gantry's Z, the patient support about the fixed Z, all right-handed.
    """
    fixed = turned(gantry, 1) @ turned(collimator, 2)
    return (turned(couch, 2).T @ fixed).T


def opentps_beam_axes(gantry, couch, collimator):
    """The same of OpenTPS's engine: its axes are the image's y, x, z; head first supine IEC's are x, z, -y."""
    engine = np.array(getRotatedVersors(gantry, couch, collimator))
    image = engine[:, [1, 0, 2]]
    x_b, y_b, away = np.column_stack([image[:, 0], image[:, 2], -image[:, 1]])
    return np.array([x_b, y_b, -away])


@pytest.mark.parametrize(("gantry", "couch", "collimator"), itertools.product(ANGLES, ANGLES, ANGLES[::3]))
def test_beam_of_opentps_is_the_beam_of_iec(gantry, couch, collimator):
    ours = iec_beam_axes(gantry, couch, collimator)
    theirs = opentps_beam_axes(*opentps_from_iec(gantry, couch, collimator))
    np.testing.assert_allclose(theirs, ours, atol=1e-12)


def test_rotation_matrices_turn_as_iec_says():
    """Gantry 90 has the source at the left of a supine patient, which is to the right of the observer."""
    np.testing.assert_allclose(iec_beam_axes(90, 0, 0)[2], [1, 0, 0], atol=1e-12)
    # Turning the couch by 90 (counter-clockwise from above) brings the feet of the patient to that side.
    np.testing.assert_allclose(iec_beam_axes(90, 90, 0)[2], [0, -1, 0], atol=1e-12)
    # Seen from the source, the collimator turns counter-clockwise: x_b toward the gantry.
    np.testing.assert_allclose(iec_beam_axes(0, 0, 90)[0], [0, 1, 0], atol=1e-12)


@pytest.mark.parametrize(("gantry", "couch", "collimator"), itertools.product(ANGLES, ANGLES[:3], ANGLES[:3]))
def test_there_and_back(gantry, couch, collimator):
    assert iec_from_opentps(*opentps_from_iec(gantry, couch, collimator)) == (gantry, couch, collimator)


def test_angles_stay_in_a_circle():
    assert opentps_from_iec(0.0) == (0.0, 0.0, 0.0)
    assert opentps_from_iec(-90.0, 370.0, -10.0) == (90.0, 350.0, 350.0)
    tiny = opentps_from_iec(1e-20)
    assert isinstance(tiny, BeamAngles)
    assert 0 <= tiny.gantry < 360


def test_angle_that_is_no_number():
    with pytest.raises(ValueError, match=r"couch angle must be a finite number of degrees, got nan"):
        opentps_from_iec(0.0, float("nan"))


def test_engine_irradiates_from_the_iec_direction():
    """One real beamlet each: from the left, from the feet, and beside the axis with a turned collimator."""
    from opentps_brimstone.engine.compute import compute_beamlets

    ct = make_ct(shape=(21, 21, 21), spacing=(5.0, 5.0, 5.0))
    plan = PhotonPlan(name="sides")
    for gantry, couch, collimator, xy in [(90, 0, 0, (0, 0)), (90, 90, 0, (0, 0)), (0, 0, 90, (20, 0))]:
        angles = opentps_from_iec(gantry, couch, collimator)
        beam = add_beam(plan, center(ct), gantry=angles.gantry, couch=angles.couch, spacing=(30.0, 30.0))
        add_segment(beam, [xy], collimator=angles.collimator)
    influence = dose_influence_from_sparse_beamlets(
        compute_beamlets(ct, plan, cache=False, processes=1, progress=False), plan
    )
    left, feet, collimated = (influence.dose(weights) for weights in np.eye(3))
    # Image x runs to the patient's left: more dose there, where the beam enters.
    assert left[12:18].sum() > 1.1 * left[3:9].sum()
    # Image z runs to the head: the beam enters at the feet.
    assert feet[:, :, 3:9].sum() > 1.1 * feet[:, :, 12:18].sum()
    # 20 mm along x_b are 20 mm to the head with the collimator at 90.
    share = collimated.sum(axis=(0, 1)) / collimated.sum()
    assert share @ (np.arange(21) - 10) * 5 == pytest.approx(20, abs=2)
    assert collimated.sum(axis=(1, 2)).argmax() == 10
