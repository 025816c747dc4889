import numpy as np
import pytest
import scipy.sparse as sp
from opentps_objects import center, make_ct, mixed_plan

from opentps_brimstone.adapters.beamlets import (
    dose_influence_from_sparse_beamlets,
    grid_of_beamlets,
    row_permutation,
    sparse_beamlets_from_dose_influence,
)
from opentps_brimstone.model.influence import VoxelGrid


@pytest.fixture
def ct():
    return make_ct(shape=(11, 8, 6), spacing=(5.0, 5.0, 4.0), origin=(-20.0, 3.0, 7.0))


@pytest.fixture
def plan(ct):
    return mixed_plan(center(ct))


def test_row_permutation_follows_opentps_flatten():
    image = np.random.default_rng(1).random((3, 4, 5))
    theirs = np.flip(image, (0, 1)).flatten("F")
    np.testing.assert_array_equal(theirs, image.ravel()[row_permutation((3, 4, 5))])


def test_dose_is_that_of_opentps(plan, beamlets):
    weights = np.random.default_rng(2).random(beamlets.shape[1])
    beamlets._weights = weights
    theirs = beamlets.toDoseImage().imageArray
    ours = dose_influence_from_sparse_beamlets(beamlets, plan).dose(weights)
    np.testing.assert_allclose(ours, theirs, rtol=1e-6)
    assert theirs.max() > 0


def test_round_trip_is_exact(plan, beamlets):
    influence = dose_influence_from_sparse_beamlets(beamlets, plan)
    back = sparse_beamlets_from_dose_influence(influence, np.full(beamlets.shape[1], 2.0))
    original, returned = beamlets.toSparseMatrix(), back.toSparseMatrix()
    np.testing.assert_array_equal(returned.indptr, original.indptr)
    np.testing.assert_array_equal(returned.indices, original.indices)
    np.testing.assert_array_equal(returned.data, original.data)
    assert returned.dtype == np.float32
    assert grid_of_beamlets(back) == grid_of_beamlets(beamlets)
    np.testing.assert_array_equal(back._weights, 2.0)


def test_callers_matrix_is_unchanged(plan, beamlets):
    matrix = beamlets.toSparseMatrix()
    before = (matrix.indptr.copy(), matrix.indices.copy(), matrix.data.copy())
    influence = dose_influence_from_sparse_beamlets(beamlets, plan)
    assert beamlets.toSparseMatrix() is matrix
    for array, copy in zip((matrix.indptr, matrix.indices, matrix.data), before, strict=True):
        np.testing.assert_array_equal(array, copy)
        assert not any(np.shares_memory(array, ours) for ours in (influence.matrix.data, influence.matrix.indices))


def test_rows_are_sorted(plan, beamlets):
    matrix = dose_influence_from_sparse_beamlets(beamlets, plan).matrix
    for start, stop in zip(matrix.indptr[:-1], matrix.indptr[1:], strict=True):
        assert np.all(np.diff(matrix.indices[start:stop]) > 0)


def test_beamlets_stored_on_disk_are_loaded(plan, beamlets, tmp_path):
    expected = dose_influence_from_sparse_beamlets(beamlets, plan).matrix.toarray()
    beamlets.storeOnFS(str(tmp_path / "beamlets.blm"))
    assert beamlets._sparseBeamlets is None
    np.testing.assert_array_equal(dose_influence_from_sparse_beamlets(beamlets, plan).matrix.toarray(), expected)


def test_other_sparse_formats(plan, beamlets):
    expected = dose_influence_from_sparse_beamlets(beamlets, plan).matrix.toarray()
    beamlets.setUnitaryBeamlets(sp.csr_matrix(beamlets.toSparseMatrix()))
    np.testing.assert_array_equal(dose_influence_from_sparse_beamlets(beamlets, plan).matrix.toarray(), expected)


def test_a_better_known_grid(plan, beamlets):
    grid = VoxelGrid((11, 8, 6), (5.0, 4.0, 4.0), (1.0, 2.0, 3.0))
    assert dose_influence_from_sparse_beamlets(beamlets, plan, grid).grid == grid


def test_matrix_of_another_plan(plan, beamlets):
    plan.beams[0].beamSegments[0].appendBeamlet(50, 50, 1)
    with pytest.raises(ValueError, match=r"have 48 columns, but the plan has 49 beamlets"):
        dose_influence_from_sparse_beamlets(beamlets, plan)


def test_matrix_of_another_grid(plan, beamlets):
    beamlets.doseGridSize = (11, 8, 7)
    with pytest.raises(ValueError, match=r"have 528 rows, but a dose grid of \(11, 8, 7\) has 616 voxels"):
        dose_influence_from_sparse_beamlets(beamlets, plan)


def test_no_matrix(plan, beamlets):
    beamlets.unload()
    with pytest.raises(ValueError, match="no matrix and no file"):
        dose_influence_from_sparse_beamlets(beamlets, plan)


def test_no_beamlets(plan):
    with pytest.raises(TypeError, match="must be OpenTPS SparseBeamlets, got str"):
        dose_influence_from_sparse_beamlets("beamlets.blm", plan)


def test_weights_of_the_wrong_number(plan, beamlets):
    influence = dose_influence_from_sparse_beamlets(beamlets, plan)
    with pytest.raises(ValueError, match=r"48 beamlets need as many weights, got an array of shape \(3,\)"):
        sparse_beamlets_from_dose_influence(influence, [1, 2, 3])
