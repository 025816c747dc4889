"""The collapsed cone engine: against OpenTPS's own program, against itself, and with input that cannot be."""

from __future__ import annotations

import functools
import math
import time

import dose_scene
import numpy as np
import pytest
import scipy.sparse as sp
from dose_scene import Beam, Body, lattice, thorax

from opentps_brimstone import _core

core = _core.dose
COUNTED = 0.1  # g/cm³; what is lighter is air


@functools.cache
def kernel():
    return core.KernelTables(**dose_scene.read_kernels())


def patient_of(body: Body, **options):
    return core.DosePatient(body.density, spacing=body.spacing, origin=body.origin, **options)


def core_beam(beam: Beam):
    x_axis, y_axis, axis = beam.axes()
    return core.DoseBeam(source=beam.source(), x_axis=x_axis, y_axis=y_axis, axis=axis, sad=beam.sad)


def beamlets(body: Body, beam: Beam, settings=None, **options) -> sp.csc_matrix:
    settings = core.DoseSettings.opentps() if settings is None else settings
    start, voxel, dose = core.beamlet_doses(
        patient_of(body), kernel(), core_beam(beam), beam.xy, beam.size, settings, **options
    )
    assert (start.dtype, voxel.dtype, dose.dtype) == (np.int64, np.int32, np.float32)
    return sp.csc_matrix((dose, voxel, start), shape=(body.density.size, len(beam.xy)))


def field(body: Body, beam: Beam, x_edges, y_edges, fluence, settings=None, **options) -> np.ndarray:
    settings = core.DoseSettings.full() if settings is None else settings
    return core.field_dose(patient_of(body), kernel(), core_beam(beam), x_edges, y_edges, fluence, settings, **options)


def water(shape=(24, 26, 20), spacing=(4.0, 4.0, 4.0)) -> Body:
    body = Body.box(shape, spacing)
    body.density[2:-2, 3:-2, 2:-2] = 1.0
    return body


def few(gantry, couch, collimator, count, seed=0) -> Beam:
    """Beamlets picked from a field, with edges that no sample lies on."""
    xy = lattice(27.5, 20.0, shift=(0.31, 0.17))
    return Beam(
        gantry,
        couch,
        collimator,
        xy[np.random.default_rng(seed).permutation(len(xy))[:count]],
        isocenter=(2.3, -3.1, 1.7),
    )


# ------------------------------------------------------------------------------------------------- geometry


@pytest.mark.parametrize("angles", [(0, 0, 0), (90, 0, 0), (0, 0, 90), (30, 20, 10), (250, 310, 77)])
def test_axes_are_those_of_opentps(angles):
    beam = Beam(*angles, lattice(5.0))
    gantry, couch, collimator = np.radians(angles)
    i, j, k = beam.axes()
    expected = [math.sin(gantry) * math.cos(couch), math.cos(gantry), math.sin(gantry) * math.sin(couch)]
    assert k == pytest.approx(expected, abs=1e-12)
    assert [i @ j, i @ k, j @ k] == pytest.approx([0, 0, 0], abs=1e-12)
    if couch == 0 and gantry == 0:
        assert i == pytest.approx([math.cos(collimator), 0, math.sin(collimator)], abs=1e-12)


# ------------------------------------------------------------------------------------------------- as OpenTPS


@functools.cache
def compared():
    """Beamlets of six directions in a body with lungs, bone and a windpipe, by the program and by ours."""
    body = thorax()
    angles = [(0, 0, 0), (52, 0, 10), (90, 15, 0), (137, 340, 45), (200, 0, 77), (311, 25, 330)]
    beams = [few(*angle, 8, seed=number) for number, angle in enumerate(angles)]
    return body, dose_scene.compute_by_opentps(body, beams), sp.hstack([beamlets(body, beam) for beam in beams])


def test_beamlets_are_those_of_opentps():
    body, theirs, ours = compared()
    counted = body.density.ravel() > COUNTED
    for column in range(theirs.shape[1]):
        expected, found = (m[:, [column]].toarray().ravel()[counted] for m in (theirs, ours.tocsc()))
        apart = (found - expected) / expected.max()
        nonzero = (expected != 0) | (found != 0)
        assert np.sqrt(np.mean(apart[nonzero] ** 2)) <= 1e-3
        assert np.abs(apart).max() <= 1.5e-2
        assert np.count_nonzero((expected != 0) != (found != 0)) <= 5e-3 * np.count_nonzero(expected)


def test_uneven_voxels_and_other_sizes_are_those_of_opentps():
    body = thorax((60, 45, 30), (4.0, 4.5, 5.0))
    beam = Beam(70, 10, 20, lattice(15.0, 12.0, size=6.0, shift=(0.4, -0.3))[:10], size=(6.0, 6.0), sad=900.0)
    theirs = dose_scene.compute_by_opentps(body, [beam])
    ours = beamlets(body, beam)
    counted = body.density.ravel() > COUNTED
    apart = (ours - theirs).toarray()[counted] / theirs.max(axis=0).toarray()
    assert np.sqrt(np.mean(apart**2)) <= 2e-4
    assert np.abs(apart).max() <= 1.5e-2


def test_doses_are_in_order_and_above_the_cutoff():
    _, _, ours = compared()
    for column in range(ours.shape[1]):
        values = ours.tocsc()[:, [column]]
        assert np.all(np.diff(values.indices) > 0)
        assert values.data.min() >= 0.005 * values.data.max() * (1 - 1e-6)


def test_neighbors_with_edges_on_samples_sum_to_the_open_field():
    """OpenTPS's program counts samples on an edge in both neighbors or in none."""
    body = water()
    open_field = Beam(0, 0, 0, np.array([[0.0, 0.0]]), size=(16.0, 16.0))
    tiles = Beam(0, 0, 0, lattice(8.0, size=4.0), size=(4.0, 4.0))
    settings = core.DoseSettings.opentps()
    settings.cutoff = 0.0
    settings.reach_mm = 60.0  # cylinders round tiles and field differ by the last little dose otherwise
    settings.depth_rule = core.DepthRule.center
    whole = beamlets(body, open_field, settings).toarray().ravel()
    parts = np.asarray(beamlets(body, tiles, settings).sum(axis=1)).ravel()
    assert np.abs(parts - whole).max() <= 1e-3 * whole.max()


def test_air_beside_the_patient_gets_no_dose_unless_asked_for():
    body = thorax((50, 40, 16))
    beam = few(30, 0, 0, 4)
    patient = patient_of(body)
    lit = beamlets(body, beam)
    assert np.all(patient.wanted().ravel()[lit.tocoo().row])
    middle = tuple(n // 2 for n in body.density.shape)
    windpipe = np.argwhere(body.density < COUNTED)
    nearest = windpipe[np.argmin(np.sum((windpipe - middle) ** 2, axis=1))]
    assert patient.wanted()[tuple(nearest)]  # air inside is of the patient
    assert not patient.wanted()[0, 0, 0]
    asked = np.zeros(body.density.shape, bool)
    asked[0, 0, 0] = True
    assert patient_of(body, also_wanted=asked).wanted()[0, 0, 0]


# ------------------------------------------------------------------------------------------------- whole fields


class SquareField:
    """A square field on a water tank, its surface 10 cm before the isocenter; edges avoid the program's samples."""

    def __init__(self, side, step, width):
        across, deep = 2 * round(width / 2 / step), round(320 / step) + 8
        self.side, self.body = side, Body.box((across, deep, across), (step, step, step))
        self.body.density[2:-2, 4:-4, 2:-2] = 1.0
        self.center = np.array([0.11 * step, 0.13 * step])
        isocenter = (0.0, self.body.origin[1] + 3.5 * step + 100.0, 0.0)
        self.beam = Beam(0, 0, 0, self.center[None], size=(float(side), float(side)), isocenter=isocenter)
        self.depth = (np.arange(deep) - 3.5) * step
        self.middle = slice(across // 2 - 1, across // 2 + 1)

    def as_field(self, **changes):
        settings = core.DoseSettings.full()
        for name, value in changes.items():
            setattr(settings, name, value)
        edges = [self.center[a] + np.array([-self.side / 2, self.side / 2]) for a in range(2)]
        return field(self.body, self.beam, *edges, [[1.0]], settings, threads=2)

    def on_axis(self, dose):
        """Doses from 2 to 25 cm depth."""
        asked = (self.depth >= 20) & (self.depth <= 250)
        return dose[self.middle, :, self.middle].mean(axis=(0, 2))[asked]

    def beside(self, dose):
        """Doses 3 cm outside the field, 5, 10 and 20 cm deep."""
        places = self.body.origin[0] + np.arange(dose.shape[0]) * self.body.spacing[0]
        slices = [int(np.argmin(np.abs(self.depth - at))) for at in (50.0, 100.0, 200.0)]
        return np.array(
            [
                np.interp(
                    self.side / 2 * (900 + self.depth[y]) / 1000 + 30, places, dose[:, y, self.middle].mean(axis=1)
                )
                for y in slices
            ]
        )


@pytest.mark.parametrize(
    ("side", "step", "width"), [(20, 4.0, 90), (40, 4.0, 150), pytest.param(100, 5.0, 220, marks=pytest.mark.slow)]
)
def test_one_aperture_is_that_of_opentps_with_its_directions_and_samples(side, step, width):
    """The program cuts off the field, one large beamlet to it, beside it; what it leaves is the same."""
    square = SquareField(side, step, width)
    settings = core.DoseSettings.opentps()
    settings.reach_mm, settings.cutoff = 1e4, 0.0
    theirs = dose_scene.compute_by_opentps(square.body, [square.beam]).toarray().reshape(square.body.density.shape)
    ours = beamlets(square.body, square.beam, settings, threads=2).toarray().reshape(square.body.density.shape)
    assert square.on_axis(ours) == pytest.approx(square.on_axis(theirs), rel=1e-3)
    beside, expected = square.beside(ours), square.beside(theirs)
    reached = expected > 0.01 * square.on_axis(theirs).max()
    assert beside[reached] == pytest.approx(expected[reached], rel=0.01)


@pytest.mark.parametrize(
    ("side", "step", "width"), [(20, 4.0, 90), (40, 4.0, 150), pytest.param(100, 5.0, 220, marks=pytest.mark.slow)]
)
def test_full_scatter_is_converged(side, step, width):
    """The directions of a whole field give what four times as many do, in half the steps."""
    square = SquareField(side, step, width)
    ours, finer = square.as_field(), square.as_field(polar=48, azimuth=24, step_voxels=0.5, near_steps=0, far_step=1)
    assert square.on_axis(ours) == pytest.approx(square.on_axis(finer), rel=0.015 if side < 40 else 0.01)
    assert square.beside(ours) == pytest.approx(square.beside(finer), rel=0.15)


def test_a_field_is_linear_in_its_fluence():
    body = thorax((40, 30, 14))
    beam = Beam(40, 10, 5, lattice(5.0))
    x, y = [-20.0, -3.0, 11.5, 20.0], [-15.0, 0.2, 15.0]
    values = np.arange(6.0).reshape(2, 3)
    whole = field(body, beam, x, y, values)
    parts = sum(
        values[j, i] * field(body, beam, x[i : i + 2], y[j : j + 2], [[1.0]]) for j in range(2) for i in range(3)
    )
    assert np.abs(whole - parts).max() <= 1e-5 * whole.max()


def test_edges_count_by_their_area():
    """A leaf moved by a twentieth of a voxel changes what it lets through by as much."""
    body = water()
    beam = Beam(0, 0, 0, lattice(5.0))
    doses = [field(body, beam, [-20.0, -2.0 + moved], [-20.0, 20.0], [[1.0]]).sum() for moved in (0.0, 0.2, 0.4)]
    assert doses[1] - doses[0] == pytest.approx(doses[2] - doses[1], rel=0.02)
    assert (doses[1] - doses[0]) / doses[0] == pytest.approx(0.2 / 18.0, rel=0.2)


def test_a_field_is_the_sum_of_its_beamlets_with_the_same_reach():
    body = thorax((50, 40, 20))
    beam = Beam(65, 0, 0, lattice(10.0))
    whole = field(body, beam, [-10.0, 10.0], [-10.0, 10.0], [[1.0]])
    parts = np.asarray(beamlets(body, beam, core.DoseSettings.full()).sum(axis=1)).reshape(body.density.shape)
    assert np.abs(whole - parts)[body.density > COUNTED].max() <= 0.05 * whole.max()  # samples are not areas
    assert parts.sum() == pytest.approx(whole.sum(), rel=0.01)


def test_twice_the_directions_change_little():
    body = thorax((50, 40, 20))
    beam = Beam(20, 0, 0, lattice(5.0))
    finer = core.DoseSettings.full()
    finer.azimuth *= 2
    doses = [field(body, beam, [-25.0, 25.0], [-20.0, 20.0], [[1.0]], s) for s in (None, finer)]
    assert np.abs(doses[0] - doses[1]).max() <= 0.015 * doses[1].max()


# ------------------------------------------------------------------------------------------------- one result


def as_bytes(matrix):
    return matrix.data.tobytes(), matrix.indices.tobytes(), matrix.indptr.tobytes()


def test_results_are_bitwise_the_same_for_any_threads_and_vector_path():
    body = thorax((44, 36, 18))
    beam = few(33, 12, 40, 12)
    chosen = _core.vector_path()
    x, y, values = [-15.0, 1.3, 14.0], [-12.0, 12.0], [[1.0, 0.4]]
    try:
        results = []
        for path in _core.vector_paths():
            _core.use_vector_path(path)
            results += [
                (as_bytes(beamlets(body, beam, threads=n)), field(body, beam, x, y, values, threads=n).tobytes())
                for n in (1, 2, 3)
            ]
    finally:
        _core.use_vector_path(chosen)
    assert all(result == results[0] for result in results)


def test_order_of_beamlets_changes_nothing():
    body = thorax((44, 36, 18))
    beam = few(120, 0, 0, 10)
    turned = Beam(beam.gantry, beam.couch, beam.collimator, beam.xy[::-1], isocenter=beam.isocenter)
    one, other = beamlets(body, beam), beamlets(body, turned)
    assert abs(one - other[:, ::-1]).max() == 0


# ------------------------------------------------------------------------------------------------- work and memory


def test_estimate_bounds_the_result():
    body = thorax((60, 45, 30))
    beam = Beam(20, 0, 0, lattice(20.0))
    settings = core.DoseSettings.opentps()
    estimated = core.estimate_beamlets(patient_of(body), core_beam(beam), beam.xy, beam.size, settings)
    entries = beamlets(body, beam).nnz
    assert entries <= estimated["entries"] <= 4 * entries
    assert estimated["bytes"] >= 8 * entries


def test_progress_rises_and_cancel_stops_within_a_second():
    body = thorax((84, 60, 48))
    beam = Beam(35, 10, 0, lattice(60.0))
    seen = []

    def stop_soon(done, total):
        seen.append((done, total, time.monotonic()))
        return len(seen) < 3

    with pytest.raises(core.Canceled):
        beamlets(body, beam, progress=stop_soon, threads=2)
    assert time.monotonic() - seen[-1][2] < 1.0
    assert [done for done, *_ in seen] == sorted(done for done, *_ in seen)
    assert all(total == len(beam.xy) for _, total, _ in seen)


def test_an_error_of_the_callback_comes_back():
    def fail(done, total):
        raise KeyError("window closed")

    body = thorax((84, 60, 48))
    with pytest.raises(KeyError, match="window closed"):
        beamlets(body, Beam(35, 10, 0, lattice(60.0)), progress=fail, threads=2)


# ------------------------------------------------------------------------------------------------- what cannot be


@pytest.mark.parametrize("value", [np.nan, -0.1, np.inf, 1e6])
def test_densities_that_cannot_be(value):
    body = water()
    body.density[3, 4, 5] = value
    with pytest.raises(ValueError, match=r"density at voxel \[3, 4, 5\]"):
        patient_of(body)


def test_geometry_that_cannot_be():
    body = water()
    good = Beam(0, 0, 0, lattice(5.0))
    x, y, k = good.axes()
    source = good.source()
    wrong = {
        "lies outside the density grid": {"source": source + np.array([500.0, 0.0, 0.0])},
        "unit vectors at right angles": {"x_axis": 1.1 * x},
        "source-axis distance": {"sad": math.nan},
        "away from the density grid": {"source": np.array([0.0, -60.0, 0.0]), "sad": 100.0},
    }
    for text, change in wrong.items():
        geometry = {"source": source, "x_axis": x, "y_axis": y, "axis": k, "sad": 1000.0} | change
        with pytest.raises(ValueError, match=text):
            core.beamlet_doses(
                patient_of(body), kernel(), core.DoseBeam(**geometry), good.xy, (5.0, 5.0), core.DoseSettings.opentps()
            )


def test_beamlets_that_cannot_be():
    body = water()
    with pytest.raises(ValueError, match="the field lies outside the density grid or in air"):
        beamlets(body, Beam(0, 0, 0, np.array([[400.0, 0.0]])))
    with pytest.raises(ValueError, match="beamlet 1 lies at"):
        beamlets(body, Beam(0, 0, 0, np.array([[0.0, 0.0], [np.nan, 0.0]])))
    with pytest.raises(ValueError, match=r"sides must be 0\.1 mm or more"):
        beamlets(body, Beam(0, 0, 0, np.zeros((1, 2)), size=(0.0, 5.0)))
    with pytest.raises(ValueError, match="rows"):
        beamlets(body, Beam(0, 0, 0, np.zeros(4)))


def test_fluence_that_cannot_be():
    body, beam = water(), Beam(0, 0, 0, lattice(5.0))
    with pytest.raises(ValueError, match="must be finite and rise; edge 1"):
        field(body, beam, [5.0, 5.0], [0.0, 1.0], [[1.0]])
    with pytest.raises(ValueError, match="not negative"):
        field(body, beam, [0.0, 5.0], [0.0, 1.0], [[-1.0]])
    with pytest.raises(ValueError, match="one value for each cell"):
        field(body, beam, [0.0, 5.0], [0.0, 1.0], [[1.0, 2.0]])
    with pytest.raises(ValueError, match="does not meet the patient"):
        field(body, beam, [400.0, 405.0], [0.0, 1.0], [[1.0]])
    assert field(body, beam, [0.0, 5.0], [0.0, 1.0], [[0.0]]).max() == 0.0


def test_kernels_that_cannot_be():
    tables = dose_scene.read_kernels()
    wrong = {
        "1 or more of each": {"radii": np.zeros(0), "kernel": np.zeros((14, 48, 0))},
        "radii must rise": {"radii": tables["radii"][::-1].copy()},
        "sums to zero": {"fluence": np.zeros(14)},
        "mu has 13 values": {"mu": tables["mu"][:13]},
        "finite and not negative": {"kernel": -tables["kernel"]},
        r"array \[energy, angle, radius\]": {"kernel": tables["kernel"][0]},
    }
    for text, change in wrong.items():
        with pytest.raises(ValueError, match=text):
            core.KernelTables(**(tables | change))


def test_settings_that_cannot_be():
    body, beam = water(), Beam(0, 0, 0, lattice(5.0))
    for name, value in {
        "cutoff": -1.0,
        "sub_voxels": 0,
        "azimuth": 0,
        "step_voxels": math.nan,
        "reach_mm": -1.0,
    }.items():
        settings = core.DoseSettings.opentps()
        setattr(settings, name, value)
        with pytest.raises(ValueError, match=f"dose setting {name}"):
            beamlets(body, beam, settings)
    settings = core.DoseSettings.opentps()
    settings.polar = 7
    with pytest.raises(ValueError, match="must divide the kernel's 48 angles"):
        beamlets(body, beam, settings)


def test_fuzzed_grids_and_beams_end_in_a_dose_or_our_error():
    rng = np.random.default_rng(11)
    computed = 0
    for _ in range(60):
        shape = rng.integers(1, 14, 3)
        spacing = rng.choice([0.5, 1.0, 3.0, 7.0, 30.0], 3)
        body = Body.box(tuple(int(n) for n in shape), tuple(spacing))
        body.density[:] = rng.choice([0.0, 0.0012, 0.3, 1.0, 7.9, 90.0], body.density.shape)
        beam = Beam(
            *rng.uniform(0, 360, 3),
            rng.uniform(-60, 60, (int(rng.integers(0, 6)), 2)),
            size=tuple(rng.choice([0.2, 5.0, 80.0], 2)),
            isocenter=tuple(rng.uniform(-20, 20, 3)),
            sad=float(rng.choice([150.0, 1000.0])),
        )
        for settings in (core.DoseSettings.opentps(), core.DoseSettings.full()):
            try:
                matrix = beamlets(body, beam, settings, threads=2)
                dose = field(body, beam, [-30.0, 1.0, 40.0], [-5.0, 50.0], [[1.0, 3.0]], settings, threads=2)
            except ValueError:
                continue
            computed += 1
            assert np.all(np.isfinite(matrix.data))
            assert np.all(np.isfinite(dose))
            assert dose.min() >= 0
    assert computed >= 10
