from __future__ import annotations

import numpy as np
import pytest
from pymedphys_gamma import gamma_of_pymedphys
from scipy.ndimage import gaussian_filter, map_coordinates

from opentps_brimstone import VoxelGrid
from opentps_brimstone.evaluation import gamma_analysis, gamma_pass_rate
from opentps_brimstone.model.dose import DoseArray


def grid(shape, spacing_mm, middle_mm=(0.0, 0.0, 0.0)):
    origin = [m - s * (n - 1) / 2 for m, s, n in zip(middle_mm, spacing_mm, shape, strict=True)]
    return VoxelGrid(shape, spacing_mm, tuple(origin))


def on(voxels, dose_at):
    axes = [o + s * np.arange(n) for o, s, n in zip(voxels.origin_mm, voxels.spacing_mm, voxels.shape, strict=True)]
    return DoseArray(dose_at(*np.meshgrid(*axes, indexing="ij")), voxels)


def blob(x, y, z):
    return 50 * np.exp(-(x**2 + y**2 + 1.5 * z**2) / (2 * 12.0**2))


SMALL = grid((12, 11, 10), (3.0, 3.0, 3.0))


def test_a_dose_agrees_with_itself():
    dose = on(SMALL, blob)
    gamma = gamma_analysis(reference=dose, evaluation=dose)
    assert gamma.shape == SMALL.shape
    assert not np.nanmax(gamma)
    assert gamma_pass_rate(gamma) == 100


@pytest.mark.parametrize("threshold", [0.1, 0.5])
def test_below_the_threshold_there_is_no_gamma(threshold):
    dose = on(SMALL, blob)
    gamma = gamma_analysis(dose, 1.01 * dose, dose_threshold=threshold)
    np.testing.assert_array_equal(np.isnan(gamma), np.asarray(dose) < threshold * dose.max())
    assert 0 < np.isnan(gamma).sum() < gamma.size


@pytest.mark.parametrize(("percent", "expected"), [(1.5, 0.5), (3.0, 1.0), (4.5, 1.5), (30.0, 2.0)])
def test_a_dose_difference_counts_in_its_criterion(percent, expected):
    flat = np.full((3, 3, 3), 40.0)
    gamma = gamma_analysis(flat, flat * (1 + percent / 100), spacing_mm=(3.0, 3.0, 3.0))
    np.testing.assert_allclose(gamma, expected, rtol=1e-9)


def test_local_differences_are_relative_to_each_voxel():
    dose = np.broadcast_to(np.array([10.0, 20.0, 40.0])[:, None, None], (3, 4, 4))
    far_apart = (5000.0, 5000.0, 5000.0)
    whole = gamma_analysis(dose, 1.03 * dose, spacing_mm=far_apart, dose_threshold=0.01)
    local = gamma_analysis(dose, 1.03 * dose, spacing_mm=far_apart, dose_threshold=0.01, local=True)
    np.testing.assert_allclose(whole[:, 0, 0], [0.25, 0.5, 1.0], rtol=0.01)
    np.testing.assert_allclose(local, 1.0, rtol=0.01)


@pytest.mark.parametrize("slope", [0.2, 1.0, 5.0])
def test_gamma_of_two_ramps_is_the_distance_of_parallel_lines(slope):
    """In units of the criteria the evaluation is a plane; gamma is how far off it the reference lies."""
    voxels = grid((9, 9, 9), (2.0, 2.0, 2.0))
    reference = on(voxels, lambda x, y, z: 50 + slope * x)
    evaluation = on(grid((31, 31, 31), (2.0, 2.0, 2.0)), lambda x, y, z: 50 + slope * (x - 1.5))
    criterion = 0.03 * reference.max()
    expected = (1.5 * slope / criterion) / np.hypot(1, slope * 3.0 / criterion)
    gamma = gamma_analysis(reference, evaluation)
    np.testing.assert_allclose(gamma, expected, rtol=0.02, atol=0.01)


def test_the_grids_may_be_different():
    reference = on(grid((9, 8, 7), (2.5, 2.5, 3.0)), blob)
    finer = grid((25, 24, 23), (1.7, 1.9, 1.6), (0.3, -0.4, 0.2))
    gamma = gamma_analysis(reference, on(finer, blob))
    assert gamma.shape == reference.shape
    assert np.nanmax(gamma) < 0.2
    shifted = on(finer, lambda x, y, z: blob(x - 5, y, z))
    assert gamma_pass_rate(gamma_analysis(reference, shifted)) < 75


def test_axes_are_not_mixed_up():
    """Shifted by 3 mm along the axis whose voxels are 6 mm: only with the right spacing is gamma 1 at most."""
    voxels = grid((10, 12, 8), (2.0, 3.0, 6.0))
    for axis in range(3):
        shift = np.zeros(3)
        shift[axis] = 3.0
        reference = on(voxels, blob)
        evaluation = on(
            grid((50, 50, 50), (1.0, 1.5, 2.0)), lambda x, y, z, by=shift: blob(x - by[0], y - by[1], z - by[2])
        )
        gamma = gamma_analysis(reference, evaluation)
        assert 0.6 < np.nanmax(gamma) <= 1.02


def test_a_plane_is_compared_in_its_plane():
    plane = VoxelGrid((20, 21, 1), (2.0, 2.0, 5.0), (-19.0, -20.0, 0.0))
    volume = grid((20, 21, 9), (2.0, 2.0, 3.0))
    disk = on(plane, lambda x, y, z: blob(x, y, 0))
    cylinder = on(volume, lambda x, y, z: blob(x, y, 0))
    in_plane = gamma_analysis(disk, 1.02 * disk)
    assert in_plane.shape == plane.shape
    np.testing.assert_allclose(in_plane, gamma_analysis(disk, 1.02 * cylinder), atol=0.06)
    assert 0.2 < np.nanmax(in_plane) < 0.667


def test_where_the_evaluation_has_no_dose_the_voxel_fails():
    reference = DoseArray(np.full((10, 4, 4), 50.0), VoxelGrid((10, 4, 4), (5.0, 5.0, 5.0)))
    evaluation = DoseArray(np.full((5, 4, 4), 50.0), VoxelGrid((5, 4, 4), (5.0, 5.0, 5.0)))
    gamma = gamma_analysis(reference, evaluation)
    assert not gamma[:5].any()
    # At 25 mm the evaluation's last voxel is 5 mm away, within the search; from 30 mm on there is nothing.
    np.testing.assert_allclose(gamma[5], 5 / 3, rtol=0.1)
    assert (gamma[6:] == 2).all()
    assert gamma_pass_rate(gamma) == 50


def test_the_search_ends_at_the_highest_gamma():
    dose = np.full((2, 2, 2), 40.0)
    assert (gamma_analysis(dose, 2 * dose, spacing_mm=(3.0,) * 3, max_gamma=1.5) == 1.5).all()


def random_dose(voxels, seed, blur=1.5):
    noise = np.random.default_rng(seed).normal(size=voxels.shape)
    return DoseArray(40 + 40 * gaussian_filter(noise, blur), voxels)


@pytest.mark.parametrize("local", [False, True])
@pytest.mark.parametrize("criteria", [(2.0, 2.0), (3.0, 3.0), (1.0, 1.0)])
def test_gamma_is_that_of_pymedphys_up_to_its_steps(criteria, local):
    """pymedphys looks at points 1/25 of the distance apart: it hardly finds less, by rounding, and hardly more."""
    percent, distance = criteria
    reference = random_dose(grid((11, 10, 9), (2.5, 2.5, 3.0)), 1)
    finer = grid((18, 16, 16), (2.0, 2.1, 1.9), (0.4, -0.3, 0.2))
    evaluation = DoseArray(
        map_coordinates(
            np.asarray(reference),
            np.meshgrid(
                *[
                    (o + s * np.arange(n) - ro) / rs + 0.35
                    for o, s, n, ro, rs in zip(
                        finer.origin_mm,
                        finer.spacing_mm,
                        finer.shape,
                        reference.grid.origin_mm,
                        reference.grid.spacing_mm,
                        strict=True,
                    )
                ],
                indexing="ij",
            ),
            order=1,
            mode="nearest",
        )
        * 1.01,
        finer,
    )
    ours = gamma_analysis(reference, evaluation, dose_percent=percent, distance_mm=distance, local=local)
    theirs = gamma_of_pymedphys(reference, evaluation, percent, distance, 0.1, local)
    assert np.array_equal(np.isnan(ours), np.isnan(theirs))
    assert np.mean(ours < 1) > 0.3
    assert np.nanmax(ours - theirs) < 2e-3
    assert np.nanmax(theirs - ours) < 0.05
    assert gamma_pass_rate(ours) == pytest.approx(gamma_pass_rate(theirs), abs=1.0)


def test_gamma_is_the_lowest_of_a_dense_search():
    """The least over the whole evaluation, on a grid of 1/12 of a voxel."""
    voxels = grid((7, 6, 6), (2.0, 2.5, 3.0))
    reference, evaluation = random_dose(voxels, 2, 0.8), random_dose(voxels, 3, 0.8)
    fine = np.meshgrid(*[np.arange(0, n - 1 + 1e-9, 1 / 12) for n in voxels.shape], indexing="ij")
    there = map_coordinates(np.asarray(evaluation), fine, order=1)
    criterion = 0.03 * reference.max()
    ours = gamma_analysis(reference, evaluation, distance_mm=4.0)
    for index in np.random.default_rng(4).permutation(list(np.ndindex(voxels.shape)))[:40]:
        lengths = [(f - i) * s / 4.0 for f, i, s in zip(fine, index, voxels.spacing_mm, strict=True)]
        difference = (there - reference[tuple(index)]) / criterion
        sampled = np.sqrt((sum(length**2 for length in lengths) + difference**2).min())
        assert min(sampled, 2.0) - 0.06 < ours[tuple(index)] <= min(sampled, 2.0) + 1e-9


def test_gamma_is_bitwise_the_same_for_any_number_of_threads():
    voxels = grid((9, 8, 7), (2.0, 2.0, 2.0))
    doses = random_dose(voxels, 5), random_dose(voxels, 6)
    one, two = (gamma_analysis(*doses, threads=threads) for threads in (1, 2))
    np.testing.assert_array_equal(one, two)


def test_the_pass_rate_is_of_the_judged_voxels():
    assert gamma_pass_rate([0.2, 1.0, 1.01, np.nan]) == pytest.approx(200 / 3)
    with pytest.raises(ValueError, match="none of the 2 voxels has a gamma"):
        gamma_pass_rate([np.nan, np.nan])


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"dose_percent": 0}, "dose_percent is 0 %; it must be positive"),
        ({"distance_mm": -1}, "distance_mm is -1 mm; it must be positive"),
        ({"dose_threshold": 10}, r"dose_threshold is 10; it is a share .* \(10 % is 0.1\)"),
        ({"local": True, "dose_threshold": 0}, "a local gamma needs a positive one"),
        ({"max_gamma": 0.5}, "max_gamma is 0.5; it must be finite and at least 1"),
        ({"spacing_mm": (1.0, 1.0, 1.0), "reference_grid": SMALL}, "either spacing_mm or grids"),
        (
            {"reference_grid": grid((3, 3, 3), (1.0,) * 3)},
            r"the dose has the grid \(12, 11, 10\); it should be \(3, 3, 3",
        ),
    ],
)
def test_criteria_in_error_are_refused(options, complaint):
    dose = on(SMALL, blob)
    with pytest.raises(ValueError, match=complaint):
        gamma_analysis(dose, dose, **options)


def test_doses_in_error_are_refused():
    dose = on(SMALL, blob)
    plain = np.asarray(dose)
    with pytest.raises(ValueError, match=r"where is the evaluation dose\? Give evaluation_grid="):
        gamma_analysis(dose, plain)
    with pytest.raises(ValueError, match="spacing_mm is for doses on the same voxels"):
        gamma_analysis(plain, plain[1:], spacing_mm=(3.0,) * 3)
    with pytest.raises(ValueError, match="the highest reference dose is 0 Gy"):
        gamma_analysis(0 * dose, dose)
    with pytest.raises(ValueError, match="the evaluation dose is not finite everywhere"):
        gamma_analysis(dose, dose * np.nan)
    away = VoxelGrid(SMALL.shape, SMALL.spacing_mm, (500.0, 0.0, 0.0))
    with pytest.raises(ValueError, match=r"do not overlap: along x the reference goes from -16\.5 to 16\.5 mm"):
        gamma_analysis(dose, DoseArray(plain, away))
    with pytest.raises(ValueError, match="the evaluation has one voxel along z and the reference 10"):
        gamma_analysis(dose, DoseArray(plain[:, :, :1], VoxelGrid((12, 11, 1), (3.0,) * 3)))
    with pytest.raises(ValueError, match="one voxel each"):
        gamma_analysis([[[1.0]]], [[[1.0]]], spacing_mm=(1.0,) * 3)
