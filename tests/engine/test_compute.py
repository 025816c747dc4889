"""Beamlets and doses of the real engine against OpenTPS's own calculator, and every way the engine can fail."""

from __future__ import annotations

import contextlib
import functools
import os
import pickle
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import textwrap
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse

from opentps_brimstone import engine as engine_room
from opentps_brimstone.adapters.density_table import DEFAULT_DENSITY_TABLE
from opentps_brimstone.adapters.versions import set_source_distance
from opentps_brimstone.engine import EngineError, engine_info, kernel_tables, process as ccc_process
from opentps_brimstone.engine.cache import BeamletCache

compute_beamlets = functools.partial(engine_room.compute_beamlets, engine="opentps")
compute_dose = functools.partial(engine_room.compute_dose, engine="opentps")

SHAPE = (20, 24, 16)
SPACING = (8.0, 9.0, 10.0)
ORIGIN = (-75.0, -104.0, -72.0)
ISOCENTER = [3.0, -2.0, 5.0]


# ------------------------------------------------------------------------------------------------- cases


def make_ct(array: np.ndarray | None = None):
    """A body with a lung and a bone, different from every side, on a grid whose sides and steps all differ."""
    from opentps.core.data.images import CTImage

    if array is None:
        array = np.full(SHAPE, -1000.0)
        array[3:17, 3:20, 2:14] = 0
        array[5:8, 8:13, 4:9] = -700
        array[12:15, 5:9, 6:10] = 800
    return CTImage(imageArray=array, name="phantom", origin=ORIGIN, spacing=SPACING)


def make_plan(angles=((0, 0, 0), (90, 0, 30), (215, 20, 10)), *, xs=(-10.0, 0.0, 10.0), ys=(-12.0, 0.0)):
    """One beam with one segment for each (gantry, couch, collimator), every beamlet with another MU."""
    from opentps.core.data.plan import PhotonPlan, PhotonPlanDesign, PlanPhotonBeam

    plan = PhotonPlan(name="plan")
    plan.planDesign = PhotonPlanDesign()
    plan._numberOfFractionsPlanned = 5
    mu = 1.0
    for gantry, couch, collimator in angles:
        beam = PlanPhotonBeam()
        beam.name = f"G{gantry}"
        beam.gantryAngle_degree, beam.couchAngle_degree = gantry, couch
        beam.isocenterPosition_mm = list(ISOCENTER)
        beam.xBeamletSpacing_mm, beam.yBeamletSpacing_mm = 10.0, 12.0
        segment = beam.createBeamSegment()
        segment.beamLimitingDeviceAngle_degree = collimator
        for x in xs:
            for y in ys:
                segment.appendBeamlet(x, y, mu)
                mu += 0.5
        plan.appendBeam(beam)
    return plan


def make_roi(x=slice(8, 12), name="roi", **options):
    from opentps.core.data.images import ROIMask

    mask = np.zeros(SHAPE, dtype=bool)
    mask[x, 8:14, 5:9] = True
    return ROIMask(**{"imageArray": mask, "name": name, "origin": ORIGIN, "spacing": SPACING} | options)


@pytest.fixture(autouse=True)
def private_folders(tmp_path: Path, monkeypatch) -> Path:
    """Keep caches and temporary files of a test together, and find none of the latter when it is over."""
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setenv("OPENTPS_BRIMSTONE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv(ccc_process.ENGINE_VARIABLE, raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    yield temporary
    assert list(temporary.iterdir()) == []


@pytest.fixture
def calculator(tmp_path: Path, monkeypatch):
    """OpenTPS's own calculator, with an engine it may execute, kernels with their header and a folder of its own."""
    from opentps.core.processing.doseCalculation.photons.cccDoseCalculator import CCCDoseCalculator

    engine = tmp_path / "reference_engine"
    shutil.copy(ccc_process.engine_file(), engine)
    engine.chmod(0o755)
    monkeypatch.setattr(CCCDoseCalculator, "_CCCexecutablePath", property(lambda self: str(engine)))
    kernels = tmp_path / "kernels"
    ccc_process.copy_kernels(kernels)
    monkeypatch.setattr(CCCDoseCalculator, "createKernelFilePath", functools.partialmethod(write_kernel_paths, kernels))
    reference = CCCDoseCalculator(batchSize=2)
    reference._simulationDirectory = str(tmp_path / "reference")
    reference.ctCalibration = DEFAULT_DENSITY_TABLE.to_opentps()
    return reference


@pytest.fixture
def started(monkeypatch) -> list[int]:
    """How many beamlets each engine process that is started gets."""
    counts: list[int] = []
    start = ccc_process._Batch.start

    def counting(batch):
        counts.append(len(batch))
        return start(batch)

    monkeypatch.setattr(ccc_process._Batch, "start", counting)
    return counts


def write_kernel_paths(calculator, kernels: Path) -> None:
    """What OpenTPS's `createKernelFilePath` writes, of another folder."""
    entries = {("" if path.suffix == ".txt" else "kernel_") + path.stem: path for path in kernels.iterdir()}
    text = "".join(f"{key}\n{path}\n" for key, path in entries.items())
    (Path(calculator._CCCSimuDir) / "kernelPaths.txt").write_text(text)


def assert_same_matrix(found, expected) -> None:
    assert found.shape == expected.shape
    for matrix in (found, expected):
        matrix.sort_indices()
    np.testing.assert_array_equal(found.indptr, expected.indptr)
    np.testing.assert_array_equal(found.indices, expected.indices)
    np.testing.assert_array_equal(found.data, expected.data)


# ------------------------------------------------------------------------------------------------- same as OpenTPS


def test_beamlets_are_exactly_those_of_opentps(calculator) -> None:
    plan = make_plan()
    found = compute_beamlets(make_ct(), plan, progress=False)
    expected = calculator.computeBeamlets(make_ct(), make_plan())
    matrix = found.toSparseMatrix()
    assert matrix.nnz > 1000
    assert matrix.dtype == np.float32
    assert matrix.has_sorted_indices
    assert type(matrix) is type(expected.toSparseMatrix())
    assert_same_matrix(matrix, expected.toSparseMatrix())
    np.testing.assert_array_equal(found._weights, expected._weights)
    np.testing.assert_array_equal(found.beamletAngles_rad, expected.beamletAngles_rad)
    np.testing.assert_array_equal(found.doseGridSize, expected.doseGridSize)
    np.testing.assert_allclose(found.doseOrigin, expected.doseOrigin, rtol=1e-14)
    assert found.doseOrientation == expected.doseOrientation


def test_spacing_is_that_of_the_ct_which_opentps_exchanges(calculator) -> None:
    plan = make_plan(angles=[(0, 0, 0)], xs=[0.0])
    found = compute_beamlets(make_ct(), plan, progress=False)
    expected = calculator.computeBeamlets(make_ct(), plan)
    np.testing.assert_allclose(found.doseSpacing, SPACING)
    np.testing.assert_allclose(expected.doseSpacing, np.array(SPACING)[[1, 0, 2]])


def test_dose_is_that_of_opentps(calculator, started) -> None:
    plan = make_plan()
    plan.beamlets[4]._mu = 0.0  # OpenTPS drops it
    found = compute_dose(make_ct(), plan, progress=False)
    assert sum(started) == 17
    reference_plan = plan.copy()
    expected = calculator.computeDose(make_ct(), reference_plan)
    np.testing.assert_allclose(
        found.imageArray, expected.imageArray, rtol=1e-12, atol=1e-12 * expected.imageArray.max()
    )
    assert found.imageArray.dtype == np.float64
    np.testing.assert_allclose(found.origin, ORIGIN)
    np.testing.assert_allclose(found.spacing, SPACING)
    np.testing.assert_array_equal(found.angles, expected.angles)


def test_dose_is_that_of_the_beamlets(started) -> None:
    plan = make_plan()
    beamlets = compute_beamlets(make_ct(), plan, progress=False)
    dose = compute_dose(make_ct(), plan, progress=False)
    assert sum(started) == 2 * 18  # the dose is computed anew
    np.testing.assert_allclose(
        dose.imageArray, 5 * beamlets.toDoseImage().imageArray, atol=1e-6 * dose.imageArray.max()
    )


def test_dose_of_a_plan_without_mu_is_zero_and_starts_no_engine(started) -> None:
    plan = make_plan()
    for beamlet in plan.beamlets:
        beamlet._mu = 0.0
    dose = compute_dose(make_ct(), plan, progress=False)
    assert dose.imageArray.shape == SHAPE
    assert not dose.imageArray.any()
    assert started == []


def test_densities_of_calibration_and_overrides_are_those_of_opentps(calculator) -> None:
    from opentps.core.data.CTCalibrations._piecewiseHU2Density import PiecewiseHU2Density

    calibration = PiecewiseHU2Density(([-1000, 0, 1000], [0.01, 1.02, 1.7]))
    overrides = [{"Mask": make_roi(), "Value": 2.5}, {"Mask": make_roi(slice(10, 16)), "Value": 0.3}]
    plan = make_plan()
    found = compute_beamlets(make_ct(), plan, density_table=calibration, overrides=overrides, progress=False)
    calculator.ctCalibration = calibration
    expected = calculator.computeBeamlets(make_ct(), make_plan(), overRidingList=overrides)
    assert_same_matrix(found.toSparseMatrix(), expected.toSparseMatrix())

    plan.planDesign.calibration = None
    plain = compute_beamlets(make_ct(), plan, progress=False)
    calculator._ct = None  # else it keeps the densities it made
    calculator.ctCalibration = DEFAULT_DENSITY_TABLE.to_opentps()
    assert_same_matrix(plain.toSparseMatrix(), calculator.computeBeamlets(make_ct(), make_plan()).toSparseMatrix())
    plan.planDesign.calibration = calibration
    designed = compute_beamlets(make_ct(), plan, progress=False, overrides=overrides)
    assert (abs(plain.toSparseMatrix() - found.toSparseMatrix())).max() > 1e-4
    assert_same_matrix(designed.toSparseMatrix(), found.toSparseMatrix())


def test_roi_keeps_the_voxels_opentps_keeps(calculator) -> None:
    rois = [make_roi(), make_roi(slice(14, 16))]
    plan = make_plan()
    found = compute_beamlets(make_ct(), plan, roi=rois, progress=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of SciPy, at OpenTPS's way of zeroing rows
        expected = calculator.computeBeamlets(make_ct(), make_plan(), roi=rois)
    assert 0 < found.toSparseMatrix().nnz < compute_beamlets(make_ct(), plan, progress=False).toSparseMatrix().nnz
    assert_same_matrix(found.toSparseMatrix(), expected.toSparseMatrix())

    dose = compute_dose(make_ct(), plan, roi=rois, progress=False).imageArray
    inside = rois[0].imageArray | rois[1].imageArray
    assert not dose[~inside].any()
    np.testing.assert_array_equal(dose[inside], compute_dose(make_ct(), plan, progress=False).imageArray[inside])


def test_roi_may_be_a_contour() -> None:
    roi = make_roi()
    mask = roi.copy()
    found = compute_beamlets(make_ct(), make_plan(angles=[(0, 0, 0)]), roi=roi.getROIContour(), progress=False)
    rows = np.unique(found.toSparseMatrix().indices)
    inside = np.flip(mask.imageArray, (0, 1)).ravel(order="F")
    assert 0.8 * np.count_nonzero(inside) < len(rows) <= np.count_nonzero(inside)


# ------------------------------------------------------------------------------------------------- geometry


def entry_side_dose(gantry: float, slab: slice | None) -> np.ndarray:
    """Dose along x through the isocenter of a water body, with or without a dense slab on one side."""
    array = np.full(SHAPE, -1000.0)
    array[2:18, 3:20, 2:14] = 0
    ct = make_ct(array)
    overrides = None
    if slab is not None:
        mask = np.zeros(SHAPE, dtype=bool)
        mask[slab, 3:20, 2:14] = True
        overrides = [{"Mask": make_roi(imageArray=mask), "Value": 8.0}]
    plan = make_plan(angles=[(gantry, 0, 0)], xs=(-10.0, 0.0, 10.0), ys=(-12.0, 0.0, 12.0))
    dose = compute_dose(ct, plan, overrides=overrides, progress=False).imageArray
    iy, iz = (round((ISOCENTER[axis] - ORIGIN[axis]) / SPACING[axis]) for axis in (1, 2))
    return dose[:, iy, iz]


@pytest.mark.parametrize(
    ("gantry", "near", "far"), [(90, slice(2, 4), slice(16, 18)), (270, slice(16, 18), slice(2, 4))]
)
def test_at_opentps_gantry_90_the_beam_enters_from_low_x(gantry: int, near: slice, far: slice) -> None:
    plain = entry_side_dose(gantry, None)
    depth = plain[5:16] if gantry == 90 else plain[14:3:-1]
    assert np.all(np.diff(depth) < 0)
    assert depth[-1] < 0.75 * depth[0]
    center = SHAPE[0] // 2
    assert entry_side_dose(gantry, near)[center] < 0.7 * plain[center]
    assert entry_side_dose(gantry, far)[center] == pytest.approx(plain[center], rel=0.03)


@pytest.mark.parametrize(("gantry", "expected_axis"), [(0, 0), (90, 1)])
def test_beamlet_x_lies_where_the_beams_eye_view_says(gantry: int, expected_axis: int) -> None:
    """At gantry 0 beamlet x is image x, at OpenTPS's 90 it runs along −image y; beamlet y is image z."""
    array = np.zeros(SHAPE)
    plan = make_plan(angles=[(gantry, 0, 0)], xs=[20.0], ys=[-24.0])
    dose = compute_dose(make_ct(array), plan, progress=False).imageArray
    centers = [np.average(np.arange(n), weights=dose.sum(tuple({0, 1, 2} - {axis}))) for axis, n in enumerate(SHAPE)]
    offsets = [ORIGIN[axis] + SPACING[axis] * centers[axis] - ISOCENTER[axis] for axis in range(3)]
    sign = 1 if expected_axis == 0 else -1
    assert offsets[expected_axis] == pytest.approx(sign * 20.0, abs=2.5)
    assert offsets[2] == pytest.approx(-24.0, abs=2.5)


# ------------------------------------------------------------------------------------------------- what stays as it is


def test_ct_and_plan_are_unchanged_byte_for_byte() -> None:
    ct, plan, roi = make_ct(), make_plan(), make_roi()
    plan.planDesign.ct = ct
    overrides = [{"Mask": roi, "Value": 2.0}]
    before = pickle.dumps((ct, plan, overrides))
    compute_beamlets(ct, plan, overrides=overrides, roi=roi, progress=False)
    compute_dose(ct, plan, overrides=overrides, roi=roi, progress=False)
    assert pickle.dumps((ct, plan, overrides)) == before


@pytest.mark.parametrize("engine", ["native", "opentps"])
def test_each_beam_is_computed_at_its_own_isocenter(engine: str) -> None:
    ct, plan = make_ct(), make_plan()
    places = [list(beam.isocenterPosition_mm) for beam in plan.beams]
    places[1] = [x + 8.0 for x in places[1]]
    plan.beams[1].isocenterPosition_mm = places[1]
    options = {"engine": engine, "progress": False}
    found = compute_beamlets(ct, plan, **options).toSparseMatrix()
    parts = []
    for number, place in enumerate(places):
        alone = make_plan()
        alone._beams = [alone.beams[number]]
        alone.beams[0].isocenterPosition_mm = place
        parts.append(compute_beamlets(ct, alone, **options).toSparseMatrix())
    assert_same_matrix(found, scipy.sparse.hstack(parts, format="csc"))


def test_the_result_shares_no_memory_with_ct_and_cache() -> None:
    ct, plan = make_ct(), make_plan(angles=[(0, 0, 0)])
    first = compute_beamlets(ct, plan, progress=False)
    first.toSparseMatrix().data[:] = -1
    first.doseOrigin[:] = 99
    assert compute_beamlets(ct, plan, progress=False).toSparseMatrix().data.min() > 0
    np.testing.assert_array_equal(ct.origin, ORIGIN)


def test_segments_of_one_angle_are_not_merged_and_beamlets_without_mu_stay() -> None:
    plan = make_plan(angles=[(0, 0, 0)])
    beam = plan.beams[0]
    second = beam.createBeamSegment()
    second.xBeamletSpacing_mm = second.yBeamletSpacing_mm = 5.0
    for x in (-10.0, 2.5):
        second.appendBeamlet(x, 0.0, 0.0)
    matrix = compute_beamlets(make_ct(), plan, progress=False).toSparseMatrix()
    assert matrix.shape[1] == len(plan.beamlets) == 8
    wide, narrow = matrix[:, 1].sum(), matrix[:, 6].sum()  # both at (-10, 0): 10 × 12 mm and 5 × 5 mm
    assert narrow / wide == pytest.approx(25 / 120, rel=0.25)


def make_mlc_plan(mu: float | None = 100.0):
    plan = make_plan(angles=[(0, 0, 0)])
    segment = plan.beams[0][0]
    segment._beamlets = []
    segment.xBeamletSpacing_mm = segment.yBeamletSpacing_mm = 5.0
    edges = np.linspace(-15, 15, 7)
    segment.Xmlc_mm = np.column_stack([edges[:-1], edges[1:], np.full(6, -15.0), np.full(6, 15.0)])
    segment.x_jaw_mm = segment.y_jaw_mm = [-15.0, 15.0]
    segment.mu = mu
    return plan


def test_a_plan_with_only_an_mlc_gets_its_beamlets_on_a_copy(calculator) -> None:
    plan = make_mlc_plan()
    before = pickle.dumps(plan)
    found = compute_beamlets(make_ct(), plan, progress=False)
    assert found.toSparseMatrix().shape[1] == 36
    np.testing.assert_array_equal(found._weights, np.full(36, 100.0))
    dose = compute_dose(make_ct(), plan, progress=False)
    assert pickle.dumps(plan) == before
    expected = calculator.computeDose(make_ct(), make_mlc_plan())
    np.testing.assert_allclose(dose.imageArray, expected.imageArray, rtol=1e-12, atol=1e-12 * expected.imageArray.max())


def test_weights_of_the_design_are_kept_if_there_is_one_per_beamlet() -> None:
    plan = make_plan(angles=[(0, 0, 0)])
    beamlets = compute_beamlets(make_ct(), plan, progress=False)
    plan.planDesign.beamlets = beamlets
    beamlets._weights = np.arange(6.0)
    np.testing.assert_array_equal(compute_beamlets(make_ct(), plan, progress=False)._weights, np.arange(6.0))
    beamlets._weights = np.arange(5.0)
    np.testing.assert_array_equal(compute_beamlets(make_ct(), plan, progress=False)._weights, plan.beamletMUs)
    plan.planDesign = None
    np.testing.assert_array_equal(compute_beamlets(make_ct(), plan, progress=False)._weights, plan.beamletMUs)


@pytest.mark.parametrize("processes", [1, 3])
def test_number_of_processes_changes_nothing(processes: int) -> None:
    plan = make_plan()
    one = compute_beamlets(make_ct(), plan, cache=False, processes=processes, progress=False)
    two = compute_beamlets(make_ct(), plan, cache=False, processes=2, progress=False)
    assert_same_matrix(one.toSparseMatrix(), two.toSparseMatrix())
    first = compute_dose(make_ct(), plan, processes=processes, progress=False).imageArray
    np.testing.assert_array_equal(first, compute_dose(make_ct(), plan, processes=2, progress=False).imageArray)


def test_progress_bar_ends_at_the_number_of_beamlets(capfd) -> None:
    compute_beamlets(make_ct(), make_plan(), cache=False, progress=True)
    written = capfd.readouterr()
    assert "18/18" in written.err
    assert "Successfully" not in written.out + written.err  # the engine's own words


# ------------------------------------------------------------------------------------------------- the cache


def test_planning_again_starts_no_engine(started, tmp_path: Path) -> None:
    plan = make_plan()
    first = compute_beamlets(make_ct(), plan, progress=False)
    assert sum(started) == 18
    started.clear()
    second = compute_beamlets(make_ct(), plan, progress=True)
    assert started == []
    assert_same_matrix(second.toSparseMatrix(), first.toSparseMatrix())
    assert len(BeamletCache().entries) == 3
    assert BeamletCache().directory == tmp_path / "cache" / "beamlets"


def test_other_mu_fractions_and_ct_coordinates_are_the_same_beamlets(started) -> None:
    plan = make_plan()
    first = compute_beamlets(make_ct(), plan, progress=False)
    started.clear()
    for beamlet in plan.beamlets:
        beamlet._mu *= 2
    plan._numberOfFractionsPlanned = 30
    ct = make_ct()
    ct.origin = ct.origin + 64.0
    for beam in plan.beams:
        beam.isocenterPosition_mm = [x + 64.0 for x in ISOCENTER]
    second = compute_beamlets(ct, plan, progress=False)
    assert started == []
    np.testing.assert_allclose(second.doseOrigin, np.array(ORIGIN) + 64.0)
    assert_same_matrix(second.toSparseMatrix(), first.toSparseMatrix())


def change_one_beam(ct, plan) -> None:
    plan.beams[1].beamSegments[0].gantryAngle_degree += 1


def change_one_beamlet(ct, plan) -> None:
    plan.beams[1].beamSegments[0][0]._x += 0.5


def change_collimator(ct, plan) -> None:
    plan.beams[1].beamSegments[0].beamLimitingDeviceAngle_degree += 1


def change_couch(ct, plan) -> None:
    plan.beams[1].beamSegments[0].couchAngle_degree += 1


def change_spacing(ct, plan) -> None:
    plan.beams[1].beamSegments[0].yBeamletSpacing_mm += 1


def change_hu(ct, plan) -> None:
    ct.imageArray[10, 10, 8] += 10


def change_sad(ct, plan) -> None:
    set_source_distance(plan, 900.0)


def change_isocenter(ct, plan) -> None:
    for beam in plan.beams:
        beam.isocenterPosition_mm = [4.0, -2.0, 5.0]


def change_ct_spacing(ct, plan) -> None:
    ct.spacing = np.array([8.0, 9.0, 10.5])


@pytest.mark.parametrize(
    ("change", "computed"),
    [
        (change_one_beam, 6),
        (change_one_beamlet, 6),
        (change_collimator, 6),
        (change_couch, 6),
        (change_spacing, 6),
        (change_hu, 18),
        (change_sad, 18),
        (change_isocenter, 18),
        (change_ct_spacing, 18),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_only_what_changed_is_computed(started, change, computed: int) -> None:
    ct, plan = make_ct(), make_plan()
    compute_beamlets(ct, plan, progress=False)
    started.clear()
    change(ct, plan)
    found = compute_beamlets(ct, plan, progress=False)
    assert sum(started) == computed
    expected = compute_beamlets(ct, plan, cache=False, progress=False)
    assert_same_matrix(found.toSparseMatrix(), expected.toSparseMatrix())


def test_another_engine_or_kernel_is_another_dose(started, tmp_path: Path, monkeypatch) -> None:
    plan = make_plan(angles=[(0, 0, 0)])
    compute_beamlets(make_ct(), plan, progress=False)
    compute_beamlets(make_ct(), plan, progress=False)
    assert sum(started) == 6
    wrapper = fake_engine(tmp_path, monkeypatch, f'exec {real_engine(tmp_path)} "$@"')
    compute_beamlets(make_ct(), plan, progress=False)
    assert sum(started) == 12
    monkeypatch.delenv(ccc_process.ENGINE_VARIABLE)
    kernels = tmp_path / "kernels"
    shutil.copytree(ccc_process.kernel_folder(), kernels)
    content = bytearray((kernels / "fluence.bin").read_bytes())
    content[-1] ^= 1
    (kernels / "fluence.bin").write_bytes(content)
    monkeypatch.setattr(ccc_process, "kernel_folder", lambda: kernels)
    compute_beamlets(make_ct(), plan, progress=False)
    assert sum(started) == 18
    assert wrapper.is_file()


def test_dose_takes_beamlets_from_a_cache_only_if_told(started) -> None:
    plan = make_plan()
    plan.beamlets[0]._mu = 0.0
    compute_beamlets(make_ct(), plan, progress=False)
    started.clear()
    cached = compute_dose(make_ct(), plan, cache=True, progress=False)
    assert started == []
    anew = compute_dose(make_ct(), plan, progress=False)
    assert sum(started) == 17
    np.testing.assert_allclose(cached.imageArray, anew.imageArray, rtol=1e-12)


def test_no_cache_is_written_if_not_wanted(tmp_path: Path) -> None:
    compute_beamlets(make_ct(), make_plan(angles=[(0, 0, 0)]), cache=False, progress=False)
    assert not (tmp_path / "cache" / "beamlets").exists()


def test_a_damaged_or_senseless_cache_entry_is_computed_again(started, tmp_path: Path) -> None:
    plan = make_plan()
    cache = BeamletCache(tmp_path / "own")
    first = compute_beamlets(make_ct(), plan, cache=cache, progress=False)
    started.clear()
    broken, senseless, _ = (entry.key for entry in cache.entries)
    path = cache.directory / broken / "values.npy"
    path.write_bytes(path.read_bytes()[:-4])
    arrays = cache.get(senseless)
    arrays["rows"][0] = 10**6
    cache.remove(senseless)
    cache.put(senseless, arrays)
    second = compute_beamlets(make_ct(), plan, cache=cache, progress=False)
    assert sum(started) == 12
    assert_same_matrix(second.toSparseMatrix(), first.toSparseMatrix())
    started.clear()
    compute_beamlets(make_ct(), plan, cache=cache, progress=False)
    assert started == []


def test_cache_and_engine_copy_do_without_a_folder_they_can_write(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("OPENTPS_BRIMSTONE_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.warns(RuntimeWarning, match="beamlets are not kept in the cache"):
        found = compute_beamlets(make_ct(), make_plan(), progress=False)
    assert found.toSparseMatrix().nnz > 1000


def test_a_segment_that_misses_the_body_has_no_dose_and_is_cached(started) -> None:
    plan = make_plan(angles=[(0, 0, 0)], xs=[3000.0])
    assert compute_beamlets(make_ct(), plan, progress=False).toSparseMatrix().nnz == 0
    started.clear()
    assert compute_beamlets(make_ct(), plan, progress=False).toSparseMatrix().shape == (20 * 24 * 16, 2)
    assert started == []


TWO_AT_ONCE = """
    import sys, warnings
    sys.path.insert(0, {tests!r})
    warnings.simplefilter("error", RuntimeWarning)
    import numpy as np
    from opentps_brimstone.engine import compute_beamlets
    from test_compute import make_ct, make_plan
    matrix = compute_beamlets(
        make_ct(), make_plan(), engine="opentps", processes=1, progress=False
    ).toSparseMatrix()
    np.savez({out!r}, data=matrix.data, indices=matrix.indices, indptr=matrix.indptr)
"""


def run_script(text: str, tmp_path: Path, **values: str) -> subprocess.Popen[bytes]:
    script = textwrap.dedent(text).format(tests=str(Path(__file__).parent), **values)
    environment = os.environ | {"TMPDIR": str(tmp_path / "tmp"), "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen(
        [sys.executable, "-P", "-c", script], env=environment, stderr=subprocess.PIPE, stdout=subprocess.PIPE
    )


def test_two_processes_with_one_cache_at_once(tmp_path: Path) -> None:
    outputs = [str(tmp_path / f"{number}.npz") for number in range(2)]
    scripts = [run_script(TWO_AT_ONCE, tmp_path, out=out) for out in outputs]
    errors = [script.communicate(timeout=600)[1] for script in scripts]
    assert [script.returncode for script in scripts] == [0, 0], errors
    expected = compute_beamlets(make_ct(), make_plan(), cache=False, progress=False).toSparseMatrix()
    for out in outputs:
        found = np.load(out)
        np.testing.assert_array_equal(found["data"], expected.data)
        np.testing.assert_array_equal(found["indices"], expected.indices)
        np.testing.assert_array_equal(found["indptr"], expected.indptr)
    assert len(BeamletCache().entries) == 3


# ------------------------------------------------------------------------------------------------- Ctrl-C


INTERRUPTED = """
    import sys
    sys.path.insert(0, {tests!r})
    from opentps_brimstone.engine import compute_beamlets
    from test_compute import make_ct, make_plan
    steps = [5.0 * step for step in range(-12, 13)]
    plan = make_plan(angles=[(angle, 0, 0) for angle in range(0, 360, 5)], xs=steps, ys=steps)
    print("ready", flush=True)
    compute_beamlets(make_ct(), plan, engine="opentps", processes=2, progress=False)
"""


def children_of(pid: int) -> list[int]:
    with contextlib.suppress(OSError):
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def alive(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    return False


@pytest.mark.parametrize("delay_s", [0.0, 1.5])
def test_ctrl_c_ends_the_engine_and_leaves_nothing_half_done(tmp_path: Path, delay_s: float) -> None:
    script = run_script(INTERRUPTED, tmp_path)
    try:
        # Imports start programs too (numpy.testing: lscpu), and not all of them let an interrupt pass.
        assert b"ready\n" in script.stdout  # reads up to it
        deadline = time.monotonic() + 300
        children: list[int] = []
        while not children and script.poll() is None and time.monotonic() < deadline:
            children = children_of(script.pid)
            time.sleep(0.005)
        time.sleep(delay_s)
        children += children_of(script.pid)
        assert children
        script.send_signal(signal.SIGINT)
        _, errors = script.communicate(timeout=300)
    finally:
        script.kill()
    assert script.returncode == -signal.SIGINT
    assert errors.rstrip().endswith(b"KeyboardInterrupt"), errors
    assert not [child for child in children if alive(child)]
    assert list((tmp_path / "tmp").iterdir()) == []
    cache = BeamletCache()
    if cache.directory.exists():
        assert not [path for path in cache.directory.iterdir() if path.name.startswith("unfinished")]
    assert all(cache.get(entry.key) for entry in cache.entries)


def test_an_impatient_second_ctrl_c_still_ends_all_processes(monkeypatch) -> None:
    """A process that ignores SIGTERM, and an interrupt while waiting for it to end."""
    process = subprocess.Popen(
        ["sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.1; done"], stdout=subprocess.PIPE
    )
    with process.stdout:
        assert process.stdout.readline() == b"ready\n"
    wait, calls = process.wait, []

    def interrupted_once(timeout=None):
        calls.append(timeout)
        if len(calls) == 1:
            raise KeyboardInterrupt
        return wait(timeout)

    monkeypatch.setattr(process, "wait", interrupted_once)
    with pytest.raises(KeyboardInterrupt):
        ccc_process._stop([process])
    assert process.returncode == -signal.SIGKILL


# ------------------------------------------------------------------------------------------------- engines that fail


def real_engine(tmp_path: Path) -> Path:
    """An executable copy of OpenTPS's engine."""
    engine = tmp_path / "real_engine"
    source = Path(kernel_tables.photon_folder()) / "CCC_DoseEngine" / "CCC_DoseEngine"
    shutil.copy(source, engine)
    engine.chmod(0o755)
    return engine


def fake_engine(tmp_path: Path, monkeypatch, script: str, interpreter: str = "/bin/sh") -> Path:
    engine = tmp_path / "fake engine"
    engine.write_text(f"#!{interpreter}\n{script}\n")
    engine.chmod(0o755)
    monkeypatch.setenv(ccc_process.ENGINE_VARIABLE, str(engine))
    return engine


FAILURES = {
    "killed": ("echo working; kill -KILL $$", r"killed by SIGKILL \(.*memory.*use fewer processes.*\n    working"),
    "crashed": ("kill -SEGV $$", r"killed by SIGSEGV; it printed nothing"),
    "exits with an error": ("echo one; echo two >&2; exit 3", r"exit status 3; its last lines:\n    one\n    two"),
    "lacks a library": (
        "echo 'error while loading shared libraries: libfoo.so.6' >&2; exit 127",
        r"exit status 127; .*\n    error while loading shared libraries: libfoo.so.6",
    ),
    "writes nothing": ("echo 'Missing kernel mu file.'; exit 0", r"wrote no output.*\n    Missing kernel mu file\."),
    "writes an empty file": (': > "$4"; exit 1', "announced nothing where [0-9]+ beamlets"),
    "writes garbage": ("head -c 4001 /dev/zero | tr '\\0' 'x' > \"$4\"; exit 1", r"announced 2021161080 where [0-9]+ "),
    "is out of memory": (
        "{real} \"$@\"; echo 'Error in the calculation for beamlet number 0,'; exit 1",
        "failed at a beamlet",
    ),
    "is cut off": (
        '{real} "$@"; s=$?; truncate -s -4 "$4"; exit $s',
        r"exit status 1\) wrote truncated output: [0-9]+ of [0-9]+ beamlets are complete; .*disk(.*\n)+.*Successfully",
    ),
    "is cut off in a header": ('{real} "$@"; truncate -s 12 "$4"; exit 1', "wrote truncated output: 0 of [0-9]+"),
    "adds something": ('{real} "$@"; s=$?; printf abcd >> "$4"; exit $s', "wrote more than the [0-9]+ beamlets"),
    "works on another grid": (
        "sed -i '2s/.*/20 24 16/' geometry/CT_HeaderFile.txt; {real} \"$@\"",
        r"wrote \[0, 20, 24, 16, [0-9]+\] where beamlet 0 on a grid of \(24, 20, 16\) was due",
    ),
}


@pytest.mark.parametrize("failure", FAILURES)
def test_an_engine_that_fails_is_an_error_that_says_how(tmp_path: Path, monkeypatch, failure: str) -> None:
    script, message = FAILURES[failure]
    engine = fake_engine(tmp_path, monkeypatch, script.replace("{real}", str(real_engine(tmp_path))))
    with pytest.raises(EngineError, match=message) as caught:
        compute_beamlets(make_ct(), make_plan(angles=[(0, 0, 0)]), processes=1, progress=False)
    assert f"the dose engine {engine} " in str(caught.value)
    assert BeamletCache().entries == []
    with pytest.raises(EngineError, match=message):
        compute_dose(make_ct(), make_plan(angles=[(0, 0, 0)]), processes=1, progress=False)


ALTERED = """
import subprocess, sys
import numpy as np
status = subprocess.run([{real!r}, *sys.argv[1:]]).returncode
words = np.fromfile(sys.argv[4], dtype=np.int32)
entries = words[5]
values = words[6 + entries : 6 + 2 * entries].view(np.float32)
{change}
words.tofile(sys.argv[4])
sys.exit(status)
"""


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("values[3] = np.nan", "a dose of beamlet 0 that is negative or not finite"),
        ("values[3] = np.inf", "a dose of beamlet 0 that is negative or not finite"),
        ("values[3] *= -1", "a dose of beamlet 0 that is negative or not finite"),
        ("words[6] = -1", r"voxels of beamlet 0 out of order or outside a grid of \(24, 20, 16\)"),
        ("words[5 + entries] = 24 * 20 * 16", r"voxels of beamlet 0 out of order or outside"),
        ("words[7] = words[6]", r"voxels of beamlet 0 out of order or outside"),
        ("words[5] = -7", r"where beamlet 0 on a grid of .* was due"),
        ("words[1] = 5", r"wrote \[5, 24, 20, 16, [0-9]+\] where beamlet 0"),
    ],
)
def test_a_dose_that_cannot_be_is_refused(tmp_path: Path, monkeypatch, change: str, message: str) -> None:
    script = ALTERED.format(real=str(real_engine(tmp_path)), change=change)
    fake_engine(tmp_path, monkeypatch, script, interpreter=sys.executable)
    with pytest.raises(EngineError, match=message):
        compute_beamlets(make_ct(), make_plan(angles=[(0, 0, 0)]), processes=1, progress=False)
    assert BeamletCache().entries == []


def test_one_failing_process_ends_the_others(tmp_path: Path, monkeypatch) -> None:
    pids = tmp_path / "pids"
    # The first one fails when all have been started.
    fails = f"while [ $(wc -l < {pids}) -lt 3 ]; do sleep 0.05; done; exit 9"
    fake_engine(tmp_path, monkeypatch, f'echo $$ >> {pids}; case "$3" in beams0.txt) {fails};; esac; exec sleep 1000')
    begin = time.monotonic()
    with pytest.raises(EngineError, match="exit status 9"):
        compute_beamlets(make_ct(), make_plan(), processes=3, progress=False)
    assert time.monotonic() - begin < 500
    started = [int(pid) for pid in pids.read_text().split()]
    assert len(started) == 3
    assert not [pid for pid in started if alive(pid)]


def test_beams_finished_before_a_failure_are_in_the_cache(tmp_path: Path, monkeypatch, started) -> None:
    mark = tmp_path / "broken"
    mark.write_text("")
    script = f'n=${{3#beams}}; [ -e {mark} ] && [ "${{n%.txt}}" -ge 12 ] && exit 5; exec {real_engine(tmp_path)} "$@"'
    fake_engine(tmp_path, monkeypatch, script)
    with pytest.raises(EngineError, match="exit status 5"):
        compute_beamlets(make_ct(), make_plan(), processes=1, progress=False)
    mark.unlink()
    started.clear()
    compute_beamlets(make_ct(), make_plan(), processes=1, progress=False)
    assert sum(started) == 6


def test_missing_engine(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv(ccc_process.ENGINE_VARIABLE, str(tmp_path / "nowhere"))
    with pytest.raises(
        EngineError, match=r"OPENTPS_BRIMSTONE_ENGINE names the dose engine .*/nowhere, which is missing"
    ):
        compute_beamlets(make_ct(), make_plan(), progress=False)
    monkeypatch.delenv(ccc_process.ENGINE_VARIABLE)
    monkeypatch.setattr(kernel_tables, "photon_folder", lambda: tmp_path)
    with pytest.raises(EngineError, match=r"dose engine .*CCC_DoseEngine is missing: reinstall opentps-core"):
        compute_beamlets(make_ct(), make_plan(), progress=False)


def test_missing_kernels(tmp_path: Path, monkeypatch) -> None:
    engine = real_engine(tmp_path)
    kernels = tmp_path / "photons" / "Kernels_differentFluence"
    shutil.copytree(ccc_process.kernel_folder(), kernels)
    (kernels / "mu.bin").unlink()
    monkeypatch.setenv(ccc_process.ENGINE_VARIABLE, str(engine))
    monkeypatch.setattr(kernel_tables, "photon_folder", lambda: tmp_path / "photons")
    with pytest.raises(EngineError, match=r"kernels mu\.bin are missing in .*reinstall opentps-core"):
        compute_beamlets(make_ct(), make_plan(), progress=False)


def test_named_engine_that_is_not_executable(tmp_path: Path, monkeypatch) -> None:
    engine = fake_engine(tmp_path, monkeypatch, "exit 1")
    engine.chmod(0o644)
    with pytest.raises(EngineError, match="fake engine named by OPENTPS_BRIMSTONE_ENGINE is not executable: chmod"):
        compute_beamlets(make_ct(), make_plan(), progress=False)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x7fELF\x02\x01\x01" + bytes(200), "is not a program for this machine .*build it with 'make'"),
        (b"#!/no/such/interpreter\n", "cannot be started: No such file or directory"),
    ],
)
def test_engine_that_cannot_run_here(tmp_path: Path, monkeypatch, content: bytes, message: str) -> None:
    engine = fake_engine(tmp_path, monkeypatch, "")
    engine.write_bytes(content)
    with pytest.raises(EngineError, match=message):
        compute_beamlets(make_ct(), make_plan(), progress=False)
    assert message.split(" .*", maxsplit=1)[0] in engine_info()["problem"]


def test_engine_without_permission_is_copied_once(tmp_path: Path, monkeypatch) -> None:
    folder = tmp_path / "photons"
    shutil.copytree(kernel_tables.photon_folder() / "CCC_DoseEngine", folder / "CCC_DoseEngine")
    shutil.copytree(ccc_process.kernel_folder(), folder / "Kernels_differentFluence")
    packaged = folder / "CCC_DoseEngine" / "CCC_DoseEngine"
    packaged.chmod(0o644)
    monkeypatch.setattr(kernel_tables, "photon_folder", lambda: folder)
    compute_beamlets(make_ct(), make_plan(angles=[(0, 0, 0)]), progress=False, cache=False)
    (copy,) = (tmp_path / "cache" / "engine").iterdir()
    assert copy.read_bytes() == packaged.read_bytes()
    assert stat.S_IMODE(copy.stat().st_mode) == 0o755
    assert stat.S_IMODE(packaged.stat().st_mode) == 0o644
    made = copy.stat().st_mtime_ns
    compute_beamlets(make_ct(), make_plan(angles=[(0, 0, 0)]), progress=False, cache=False)
    assert copy.stat().st_mtime_ns == made
    copy.write_bytes(b"half")
    compute_beamlets(make_ct(), make_plan(angles=[(0, 0, 0)]), progress=False, cache=False)
    assert copy.read_bytes() == packaged.read_bytes()
    packaged.chmod(0o755)
    assert ccc_process.executable_engine(packaged, tmp_path) == packaged


def test_folders_with_long_names_and_spaces(tmp_path: Path, monkeypatch) -> None:
    """The engine itself cuts paths at spaces and overruns its buffers at 200 characters."""
    deep = tmp_path / "tmp" / "a folder with spaces" / ("x" * 120) / ("y" * 120)
    deep.mkdir(parents=True)
    with monkeypatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(deep))
        found = compute_beamlets(make_ct(), make_plan(), cache=False, progress=False)
        assert list(deep.iterdir()) == []
    shutil.rmtree(tmp_path / "tmp" / "a folder with spaces")
    expected = compute_beamlets(make_ct(), make_plan(), cache=False, progress=False)
    assert_same_matrix(found.toSparseMatrix(), expected.toSparseMatrix())


def test_engine_info(tmp_path: Path, monkeypatch) -> None:
    info = engine_info()
    assert info["named_by"] == "opentps"
    assert Path(info["path"]).name == "CCC_DoseEngine"
    assert os.access(info["runs_from"], os.X_OK)
    assert (Path(info["kernels"]) / "mu.bin").is_file()
    assert info["opentps_version"][:2] in ("2.", "3.")
    assert info["problem"] is None
    fake_engine(tmp_path, monkeypatch, "echo no libfoo >&2; exit 127")
    info = engine_info()
    assert info["named_by"] == "OPENTPS_BRIMSTONE_ENGINE"
    assert info["executable"]
    assert "exit status 127" in info["problem"]
    assert "no libfoo" in info["problem"]
    monkeypatch.setenv(ccc_process.ENGINE_VARIABLE, str(tmp_path / "nowhere"))
    assert "nowhere, which is missing" in engine_info()["problem"]


def test_importing_the_engine_does_not_import_opentps() -> None:
    code = "import sys, opentps_brimstone.engine; print([n for n in sys.modules if n.startswith('opentps.')])"
    answer = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, check=True, text=True)
    assert answer.stdout.strip() == "[]"


# ------------------------------------------------------------------------------------------------- bad input


def with_array(array: np.ndarray):
    return lambda ct, plan: {"ct": make_ct(array)}


def nan_voxels(ct, plan):
    ct.imageArray[3, 4, 5:7] = np.nan


def densities(ct, plan):
    from opentps.core.processing.doseCalculation.photons.cccDoseCalculator import CCCDoseCalculator

    calculator = CCCDoseCalculator.__new__(CCCDoseCalculator)
    calculator.ctCalibration = DEFAULT_DENSITY_TABLE.to_opentps()
    calculator.fromHU2Densities(ct)


def no_ct(ct, plan):
    return {"ct": None}


def flat_ct(ct, plan):
    ct.imageArray = ct.imageArray[:, :, 0]


def rotated_ct(ct, plan):
    ct.angles = (0, 0, 0.1)


def zero_spacing(ct, plan):
    ct.spacing = (8.0, 0.0, 10.0)


def no_plan(ct, plan):
    return {"plan": ct}


def no_beams(ct, plan):
    plan._beams = []


def no_beamlets(ct, plan):
    plan.beams[1].beamSegments[0]._beamlets = []


def isocenter_outside(ct, plan):
    for beam in plan.beams:
        beam.isocenterPosition_mm = [0.0, 0.0, 90.0]


def no_position(ct, plan):
    plan.beamlets[7]._x = np.nan


def bad_sad(ct, plan):
    plan.SAD_mm = 0


def bad_spacing(ct, plan):
    plan.beams[0].beamSegments[0].xBeamletSpacing_mm = 0


def option(**options):
    return lambda ct, plan: options


class NotACalibration:
    pass


def table(hu, densities):
    def change(ct, plan):
        from opentps.core.data.CTCalibrations._piecewiseHU2Density import PiecewiseHU2Density

        return {"density_table": PiecewiseHU2Density((hu, densities))}

    return change


def override(value=1.0, **mask):
    return lambda ct, plan: {"overrides": [{"Mask": make_roi(**mask), "Value": value}]}


def roi_option(**mask):
    return lambda ct, plan: {"roi": [make_roi(**mask)]}


BAD_INPUT = [
    (nan_voxels, ValueError, "'phantom' has 2 voxels that are NaN or infinite"),
    (densities, ValueError, r"values from 0\.00\d+ to 1\.\d+, which are densities and not HU"),
    (no_ct, TypeError, "the CT must be an OpenTPS CTImage with data, got NoneType"),
    (flat_ct, ValueError, r"has the shape \(20, 24\)"),
    (rotated_ct, ValueError, "rotated"),
    (zero_spacing, ValueError, r"spacings in mm, not \(8\.0, 0\.0, 10\.0\)"),
    (no_plan, TypeError, "PhotonPlan, got CTImage"),
    (no_beams, ValueError, "'plan' has no beams"),
    (no_beamlets, ValueError, "beam 2 .* neither beamlets nor an MLC"),
    (
        isocenter_outside,
        ValueError,
        r"isocenter \[0\.0, 0\.0, 90\.0\] mm of beam 1 \('G0'\) lies outside the CT, which reaches from .*83\.0\]",
    ),
    (no_position, ValueError, "segment 0 of beam 2 .*: a beamlet has no finite position"),
    (bad_sad, ValueError, "SAD_mm of the plan 'plan' must be positive, got 0"),
    (bad_spacing, ValueError, "xBeamletSpacing_mm must be positive, got 0"),
    (option(processes=0), ValueError, "processes must be an integer of 1 or more, got 0"),
    (option(processes=1.5), ValueError, "processes must be an integer of 1 or more, got 1.5"),
    (option(cache="yes"), TypeError, "cache must be True, False or a BeamletCache, got 'yes'"),
    (
        option(density_table=NotACalibration()),
        TypeError,
        "that has a piecewise HU to density table, got NotACalibration",
    ),
    (table([], []), ValueError, "has 0 HU and 0 densities"),
    (table([0, -1000], [1, 0.1]), ValueError, "with HU rising"),
    (table([-1000, 0], [-0.1, 1]), ValueError, r"densities from -0\.1 to 1\.0"),
    (option(overrides=[{"Mask": None}]), ValueError, "density override 0 must be"),
    (
        override(imageArray=np.ones((2, 3, 4))),
        ValueError,
        r"mask 'roi' of density override 0 has the shape \(2, 3, 4\)",
    ),
    (override(value=-1.0), ValueError, r"density override 0 \('roi'\) sets -1\.0"),
    (override(value=1000.0), ValueError, r"sets 1000\.0; it must be a density from 0 to 25"),
    (override(value=np.nan), ValueError, "sets nan"),
    (roi_option(spacing=(4.0, 9.0, 10.0)), ValueError, "the ROI 'roi' has a grid of .*resample it"),
    (roi_option(imageArray=np.zeros(SHAPE)), ValueError, "the ROIs given to the dose engine are empty"),
    (option(roi=[np.ones(SHAPE)]), TypeError, "roi must be ROIMask or ROIContour"),
]


@pytest.mark.parametrize(("change", "error", "message"), BAD_INPUT)
@pytest.mark.parametrize("compute", [compute_beamlets, compute_dose])
def test_bad_input_is_named_before_the_engine_starts(started, compute, change, error, message: str) -> None:
    ct, plan = make_ct(), make_plan()
    arguments = {"ct": ct, "plan": plan, "progress": False} | (change(ct, plan) or {})
    with pytest.raises(error, match=message):
        compute(**arguments)
    assert started == []


@pytest.mark.parametrize("mu", [np.nan, -1.0, None, np.inf])
def test_a_dose_needs_mu(started, mu) -> None:
    plan = make_plan()
    plan.beamlets[7]._mu = mu
    with pytest.raises(ValueError, match=rf"segment 0 of beam 2 \('G90'\) has the MU {mu}"):
        compute_dose(make_ct(), plan, progress=False)
    assert started == []


def test_an_mlc_segment_without_mu_has_beamlets_but_no_dose() -> None:
    plan = make_mlc_plan(mu=None)
    assert compute_beamlets(make_ct(), plan, progress=False).toSparseMatrix().shape[1] == 36
    with pytest.raises(ValueError, match=r"segment 0 of beam 1 \('G0'\) has the MU None"):
        compute_dose(make_ct(), plan, progress=False)


def test_a_ct_of_nothing_but_water_is_no_density() -> None:
    dose = compute_dose(make_ct(np.zeros(SHAPE, dtype=np.int16)), make_plan(angles=[(0, 0, 0)]), progress=False)
    assert dose.imageArray.max() > 0


def test_progress_may_be_a_function() -> None:
    seen: list[tuple[int, int]] = []
    compute_dose(make_ct(), make_plan(), progress=lambda done, total: seen.append((done, total)))
    assert [total for _, total in seen] == [18] * len(seen)
    done = [count for count, _ in seen]
    assert done == sorted(set(done))
    assert done[-1] == 18
