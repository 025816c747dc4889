"""Our engine as Python calls it; what it computes is checked against OpenTPS's program here and in tests/dose."""

import dataclasses
import threading
import time

import numpy as np
import pytest
from dose_scene import Beam, compute_by_opentps, lattice, thorax
from scipy.ndimage import gaussian_filter1d

from opentps_brimstone.adapters.angles import iec_from_opentps
from opentps_brimstone.engine import collapsed_cones
from opentps_brimstone.engine.beam_model import read_beam_model
from opentps_brimstone.engine.collapsed_cones import BeamletField, BeamView, ConeEngine
from opentps_brimstone.engine.collimation import LeafOpening
from opentps_brimstone.engine.errors import DoseCanceledError, DoseMemoryError
from opentps_brimstone.engine.fluence import Rectangles
from opentps_brimstone.model.influence import VoxelGrid

WATER = VoxelGrid((20, 20, 20), (5.0, 5.0, 5.0), (-47.5, -47.5, -47.5))


def water(**options):
    return ConeEngine(np.ones(WATER.shape), WATER, **options)


def field(gantry=0.0, half_width=20.0, isocenter=(0.0, 0.0, 0.0), **options):
    view = BeamView.from_angles((gantry, 0.0, 0.0), isocenter, 1000.0)
    return BeamletField(view, lattice(half_width), options.get("size", (5.0, 5.0)))


@pytest.mark.parametrize("angles", [(0, 0, 0), (90, 0, 0), (35, 0, 30), (250, 20, 0), (310, 340, 75)])
def test_angles_and_isocenter_are_those_of_opentps(angles):
    """A body that no mirror or turn leaves as it is, and a field beside the axis whose edges lie between samples."""
    body = thorax((56, 40, 32), (4.5, 4.5, 4.5))
    isocenter = (21.37, -13.12, 9.41)
    xy = lattice(10.0, 5.0, shift=(12.83, -7.29))
    theirs = compute_by_opentps(body, [Beam(*map(float, angles), xy, isocenter=isocenter)]).toarray()
    grid = VoxelGrid(body.density.shape, body.spacing, body.origin)
    view = BeamView.from_angles(iec_from_opentps(*angles), isocenter, 1000.0)
    ours = ConeEngine(body.density, grid).beamlets([BeamletField(view, xy, (5.0, 5.0))]).toarray()
    dense = body.density.ravel() > 0.1
    difference = np.abs(ours - theirs)[dense] / theirs.max(axis=0)
    assert difference.max() < 1.5e-2
    assert np.sqrt(np.mean(difference[theirs[dense] > 0] ** 2)) < 1.5e-3


def test_beams_lie_side_by_side_in_one_matrix():
    engine = water()
    fields = [field(0.0), field(90.0, 10.0), field(200.0, 5.0)]
    both = engine.beamlets(fields)
    assert both.shape == (WATER.n_voxels, 64 + 16 + 4)
    assert both.dtype == np.float32
    assert both.has_sorted_indices
    apart = [engine.beamlets([each]) for each in fields]
    first = 0
    for one in apart:
        np.testing.assert_array_equal(both[:, first : first + one.shape[1]].toarray(), one.toarray())
        first += one.shape[1]


def test_air_beside_the_patient_gets_dose_only_where_it_is_wanted():
    density = np.full(WATER.shape, 0.0012)
    density[:, 5:] = 1.0
    wanted = np.zeros(WATER.shape, bool)
    wanted[10, 3, 10] = True
    dose = ConeEngine(density, WATER).beamlets([field()]).sum(axis=1).A1.reshape(WATER.shape)
    with_air = ConeEngine(density, WATER, wanted=wanted).beamlets([field()]).sum(axis=1).A1.reshape(WATER.shape)
    assert not dose[:, :5].any()
    assert np.argwhere(with_air[:, :5]).tolist() == [[10, 3, 10]]
    # What the air near that voxel releases counts too.
    np.testing.assert_allclose(with_air[:, 5:], dose[:, 5:], atol=0.01 * dose.max())


@pytest.mark.parametrize("scatter", ["none", "OpenTPS", None])
def test_unknown_scatter(scatter):
    with pytest.raises(ValueError, match=r"scatter must be 'opentps' or 'full', got"):
        water(scatter=scatter)


@pytest.mark.parametrize(
    ("change", "message"),
    [(np.nan, r"density at voxel \[3, 4, 5\] is nan"), (-0.5, r"density at voxel \[3, 4, 5\] is -0.5")],
)
def test_impossible_densities(change, message):
    density = np.ones(WATER.shape)
    density[3, 4, 5] = change
    with pytest.raises(ValueError, match=message):
        ConeEngine(density, WATER)


def test_an_isocenter_outside_is_an_error():
    with pytest.raises(ValueError, match=r"isocenter .* lies outside"):
        water().beamlets([field(isocenter=(0.0, 0.0, 500.0))])


# ------------------------------------------------------------------------------------------------- beam models


def slab_engine(model):
    """Water 40 mm thick, with the isocenter in its middle."""
    density = np.full((56, 20, 56), 0.0012)
    density[:, 2:18] = 1.0
    grid = VoxelGrid(density.shape, (2.5, 2.5, 2.5), (-68.75, -23.75, -68.75))
    return ConeEngine(density, grid, scatter="full", beam_model=model)


VERTICAL = BeamView.from_angles((0.0, 0.0, 0.0), (0.3, 0.0, 0.2), 1000.0)


def edge_variance_mm2(profile, step):
    """Variance of the slope of an edge, which convolutions add up."""
    slope, x = np.diff(profile), step * np.arange(len(profile) - 1)
    middle = np.average(x, weights=slope)
    return np.average((x - middle) ** 2, weights=slope)


def test_penumbra_of_the_dose_is_that_of_a_point_seen_by_the_source():
    """At the isocenter, a Gaussian source blurs the profile of a point source by its projection."""
    point = dataclasses.replace(read_beam_model("Kernels_6MV"), source_sigma_mm=0.0, extra_focal=None)
    square = Rectangles([(-50.0, 50.0)], [(-50.0, 50.0)], [1.0])
    profiles = {}
    for sigma in (0.0, 2.0, 4.0):
        engine = slab_engine(dataclasses.replace(point, source_sigma_mm=sigma))
        profiles[sigma] = engine.fluence_dose([(VERTICAL, square)])[:, 9:11, 28].mean(axis=1)
    variances = {sigma: edge_variance_mm2(profile[:28], 2.5) for sigma, profile in profiles.items()}
    for sigma in (2.0, 4.0):
        projected = sigma * (1000.0 - 450.0) / 450.0
        blurred = gaussian_filter1d(profiles[0.0], projected / 2.5, mode="nearest")
        np.testing.assert_allclose(profiles[sigma], blurred, atol=0.01 * blurred.max())
        assert variances[sigma] - variances[0.0] == pytest.approx(projected**2, rel=0.05)


def test_faint_fluence_may_follow_few_directions(monkeypatch):
    """A beam model's fluence is everywhere; what is faint changes little by how it is computed."""
    model = read_beam_model("Kernels_6MV")
    opened, jaws = np.array([(-200.0, 200.0)]), (-50.0, 50.0)
    through = LeafOpening(opened, opened, jaws, jaws, 1.0).fluence(model.collimator)
    engine = slab_engine(model)
    split = engine.fluence_dose([(VERTICAL, through)])
    full = collapsed_cones._core.dose.DoseSettings.full()
    monkeypatch.setattr(collapsed_cones, "_coarse_settings", lambda **_: full)
    whole = engine.fluence_dose([(VERTICAL, through)])
    assert np.abs(split - whole).max() < 0.003 * whole.max()
    assert split.sum() == pytest.approx(whole.sum(), rel=0.01)


def test_closed_leaves_let_their_share_through_everywhere_between_the_jaws():
    model = read_beam_model("Kernels_6MV")
    sides, jaws = np.array([(-200.0, 0.0), (0.0, 200.0)]), (-50.0, 50.0)
    doses = []
    for half in (0.0, 200.0):
        tips = np.full((2, 2), (-half, half))
        through = LeafOpening(tips, sides, jaws, jaws, 100.0).fluence(model.collimator)
        doses.append(slab_engine(model).fluence_dose([(VERTICAL, through)]))
    np.testing.assert_allclose(doses[0], model.collimator.leaf_transmission * doses[1], rtol=1e-4)


# ------------------------------------------------------------------------------------------------- progress, stopping


def test_progress_counts_the_beamlets_of_all_beams():
    seen = []
    water(threads=1).beamlets([field(0.0), field(90.0)], lambda done, total: seen.append((done, total)))
    assert [total for _, total in seen] == [128] * len(seen)
    done = [count for count, _ in seen]
    assert done == sorted(done)
    assert done[-1] == 128


def test_a_bar_ends_full(capsys):
    water().beamlets([field()], True)
    assert "64/64" in capsys.readouterr().err


def slow_engine():
    """Work of several seconds on one thread."""
    grid = VoxelGrid((100, 100, 100), (2.0, 2.0, 2.0), (-99.0, -99.0, -99.0))
    return ConeEngine(np.ones(grid.shape), grid, threads=1)


def test_progress_that_returns_false_stops_at_once():
    asked = []

    def stop_now(done, total):
        asked.append(time.monotonic())
        return len(asked) < 2

    with pytest.raises(DoseCanceledError, match="stopped"):
        slow_engine().beamlets([field(30.0, 60.0)], stop_now)
    assert time.monotonic() - asked[-1] < 1.0


def test_ctrl_c_stops_within_a_second():
    import _thread

    pressed = []

    def press():
        pressed.append(time.monotonic())
        _thread.interrupt_main()

    engine = slow_engine()
    timer = threading.Timer(0.5, press)
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        engine.beamlets([field(30.0, 60.0), field(60.0, 60.0), field(90.0, 60.0)])
    assert time.monotonic() - pressed[0] < 1.0


# ------------------------------------------------------------------------------------------------- memory


def test_too_little_memory_is_said_before_work(monkeypatch):
    monkeypatch.setattr(collapsed_cones, "available_bytes", lambda: 2**18)
    seen = []
    with pytest.raises(DoseMemoryError, match=r"64 beamlets on 8000 voxels take up to .*, and 256 KiB are free: take"):
        water().beamlets([field()], lambda *steps: seen.append(steps))
    assert seen == []


def test_memory_is_not_guessed_where_the_system_does_not_say(monkeypatch):
    monkeypatch.setattr(collapsed_cones, "available_bytes", lambda: None)
    assert water().beamlets([field()]).nnz > 0


def test_what_beamlets_take_is_bounded():
    fields = [field(0.0), field(45.0)]
    engine = water()
    taken = engine.beamlets(fields)
    size = taken.data.nbytes + taken.indices.nbytes
    assert size < engine.beamlet_bytes(fields) < 6 * size
