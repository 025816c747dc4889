"""Doses within structures of few voxels, and metrics that they do not have."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import brentq

import opentps_brimstone as pb
from opentps_brimstone.evaluation import metrics
from opentps_brimstone.model.contours import ContourStack
from opentps_brimstone.model.dose import DoseArray


def _sphere(grid, center, diameter):
    """Shares of a sphere, from 12³ points in each voxel that its surface may cut."""
    offsets = (np.arange(12) + 0.5) / 12 - 0.5
    fine = np.stack(np.meshgrid(offsets, offsets, offsets, indexing="ij"), axis=-1).reshape(-1, 3)
    share = np.zeros(grid.shape)
    for index in np.ndindex(grid.shape):
        at = np.array(grid.origin_mm) + np.array(index) * grid.spacing_mm - center
        if np.linalg.norm(at) < diameter / 2 + 3 * max(grid.spacing_mm):
            share[index] = np.mean(np.linalg.norm(at + fine * grid.spacing_mm, axis=1) <= diameter / 2)
    return share


def _exact_d95(diameter, middle_gy):
    """Of a sphere in a gradient of 1 Gy/mm: a cap of 5 % of the volume lies below it."""
    depth = brentq(lambda h: h**2 * (3 - h) / 4 - 0.05, 0, 1)
    return middle_gy - (1 - depth) * diameter / 2


@pytest.mark.parametrize("given", ["shares", "fine mask", "outlines"])
@pytest.mark.parametrize("spacing", [2.5, 3.0])
@pytest.mark.parametrize("diameter", [3.0, 10.0, 20.0])
def test_d95_of_a_small_sphere_in_a_gradient(diameter, spacing, given):
    grid = pb.VoxelGrid((14, 14, 14), (spacing,) * 3)
    rng = np.random.default_rng(int(10 * diameter + spacing))
    for direction in np.eye(3)[:: 1 if diameter < 20 else 2]:
        center = (np.array(grid.shape) - 1) / 2 * spacing + rng.uniform(-spacing, spacing, 3) / 2
        structure = _given_as(given, grid, center, diameter)
        places = np.indices(grid.shape).reshape(3, -1).T * spacing - center
        dose = DoseArray((50.0 + places @ direction).reshape(grid.shape), grid)
        d95, d5, mean = (
            pb.evaluate(dose, [structure], [f"S {metric} >= 0"])[0].value for metric in ("D95", "D5", "Dmean")
        )
        assert d95 == pytest.approx(_exact_d95(diameter, 50.0), abs=0.2)
        assert d5 == pytest.approx(100 - _exact_d95(diameter, 50.0), abs=0.2)
        assert mean == pytest.approx(50.0, abs=0.1)
        structure.set_dose(dose)
        axis, volume = structure.get_dvh()
        assert axis[np.flatnonzero(volume >= 0.95)[-1]] == pytest.approx(d95, abs=0.05)


def _given_as(given, grid, center, diameter):
    if given == "shares":
        return pb.Structure("S", _sphere(grid, center, diameter), grid=grid)
    if given == "fine mask":
        fine = pb.VoxelGrid((40, 40, 40), (0.6,) * 3, tuple(center - 0.6 * 19.5 + 0.1))
        places = np.indices(fine.shape).reshape(3, -1).T * 0.6 + np.array(fine.origin_mm) - center
        inside = np.linalg.norm(places, axis=1).reshape(fine.shape) <= diameter / 2
        return pb.Structure("S", inside, grid=fine).on_grid(grid)
    spacing = 0.5
    count = int(diameter / spacing)
    angles = np.linspace(0, 2 * np.pi, 72, endpoint=False)
    slices = []
    for i in range(count):
        z = (i + 0.5 - count / 2) * spacing
        radius = np.sqrt((diameter / 2) ** 2 - z**2)
        outline = [(center[0] + radius * np.cos(a), center[1] + radius * np.sin(a)) for a in angles]
        slices.append((center[2] + z, [outline]))
    return pb.Structure.from_contours("S", ContourStack(slices, slice_spacing_mm=spacing), grid)


def test_d_and_v_are_read_off_one_curve():
    rng = np.random.default_rng(3)
    dose, share = np.round(rng.uniform(20, 60, (5, 5, 5)), 0), rng.uniform(0.1, 1, (5, 5, 5))
    for volume in np.linspace(0, 100, 41):
        at = metrics.dose_at_volume(dose, share, volume)
        assert metrics.volume_at_dose(dose, share, at) >= volume - 1e-9
        assert metrics.volume_at_dose(dose, share, at + 1e-6) <= volume + 100 * share.max() / share.sum() or at in dose
    for gy in np.linspace(dose.min() + 0.5, dose.max() - 0.5, 40):
        volume = metrics.volume_at_dose(dose, share, gy)
        assert metrics.dose_at_volume(dose, share, volume) == pytest.approx(gy, abs=1e-9)
    assert metrics.volume_at_dose(dose, share, dose.min()) == 100
    assert metrics.volume_at_dose(dose, share, dose.max() + 1e-9) == 0


def test_a_goal_in_cubic_centimeters_of_a_smaller_organ_is_judged_on_the_safe_side():
    dose = DoseArray(np.arange(8.0).reshape(2, 2, 2), pb.VoxelGrid((2, 2, 2), (5.0, 5.0, 5.0)))
    small = pb.Structure("Chiasm", np.array([0.1, 0, 0, 0, 0, 0, 0, 0.1]).reshape(2, 2, 2))
    table = pb.evaluate(dose, [small], ["Chiasm D0.03cc <= 6 Gy", "Chiasm D0.03cc >= 1 Gy"])
    assert [result.met for result in table] == [False, False]
    assert table[0].value > 6
    assert table[1].value < 1
    assert "the structure has 0.025 cm³; its D0.03cc does not exist; judged by its highest dose" in str(table)


def test_a_metric_that_does_not_exist_misses_its_goal_with_a_note():
    dose = DoseArray(np.zeros((2, 2, 2)), pb.VoxelGrid((2, 2, 2), (5.0, 5.0, 5.0)))
    organ = pb.Structure("Lens", np.ones((2, 2, 2)))
    table = pb.evaluate(dose, [organ], ["Lens HI <= 0.1", "Lens GI20 <= 3", "Lens Dmax <= 6 Gy"])
    assert [result.met for result in table] == [False, False, True]
    assert "D50 is 0 Gy" in table[0].note
    assert "there is no gradient index" in table[1].note


@pytest.mark.parametrize("text", ["PTV D95 >= 5000", "PTV D95 >= 5000 Gy", "Lung V2000 <= 20 %"])
def test_goals_in_centigray_are_warned_of(text):
    with pytest.warns(UserWarning, match=r"5000 cGy would be 50 Gy|2000 cGy would be 20 Gy"):
        pb.DVHGoal.parse(text)
