"""What was given before a plan: from files, arrays and plans, on any grid."""

from __future__ import annotations

import numpy as np
import pytest
from problems import random_plan

import opentps_brimstone as pb
from opentps_brimstone.dicom.rt_dose import write_rt_dose
from opentps_brimstone.dicom.rt_dose_reader import dose_from_dataset
from opentps_brimstone.model.dose import DoseArray
from opentps_brimstone.quantities import DoseMap, PreviousDose, structure_map

FRAME = "1.2.826.0.1.3680043.8.498.1"


def phantom_plan(frame=FRAME):
    shape = (12, 12, 12)
    target = np.zeros(shape)
    target[4:8, 4:8, 4:8] = 1
    organ = np.zeros(shape)
    organ[8:10] = 1
    structures = [pb.Structure("PTV", target, is_target=True), pb.Structure("Cord", organ)]
    series = pb.Series(np.zeros(shape), (5.0, 5.0, 5.0), (0.0, 0.0, 0.0), structures)
    if frame:
        series.dicom["FrameOfReferenceUID"] = frame
    return pb.Plan(series, number_of_fractions=20)


def linear(grid):
    """A dose that interpolation gives exactly."""
    x, y, z = np.meshgrid(
        *(o + s * np.arange(n) for n, s, o in zip(grid.shape, grid.spacing_mm, grid.origin_mm, strict=True)),
        indexing="ij",
    )
    return DoseArray(20.0 + 0.1 * x + 0.05 * y + 0.02 * z, grid)


def test_a_dose_on_another_grid_is_interpolated(tmp_path):
    plan = phantom_plan()
    other = pb.VoxelGrid((30, 28, 40), (3.0, 4.0, 2.5), (-10.0, -20.0, -15.0))
    path = tmp_path / "earlier.dcm"
    write_rt_dose(linear(other), other, path, frame_of_reference_uid=FRAME, bits=32)
    plan.set_previous_dose(path, 10, 0.25)
    cord = plan.structures["Cord"]
    found = structure_map(cord, "eqd2", 20, alpha_beta=2.0)
    inside = cord.share > 0
    wanted = DoseMap.eqd2(2.0, 20, previous=PreviousDose(np.asarray(linear(plan.grid))[inside], 10, 0.25))
    np.testing.assert_allclose(found.c0, wanted.c0, rtol=1e-6)
    assert plan.previous_dose.description == "up to 33.8 Gy in 10 fractions before, of whose effect 25% has recovered"


def test_beyond_its_grid_there_was_no_dose():
    plan = phantom_plan()
    part = pb.VoxelGrid((6, 12, 12), (5.0, 5.0, 5.0))
    plan.set_previous_dose(DoseArray(np.full(part.shape, 40.0), part), 20)
    dose = plan.previous_dose.dose_on(plan.grid)
    assert (dose[:6] == 40.0).all()
    assert (dose[6:] == 0.0).all()


def test_structures_may_have_their_own():
    plan = phantom_plan()
    plan.set_previous_dose(np.full(plan.grid.shape, 30.0), 10)
    plan.set_previous_dose(np.full(plan.grid.shape, 30.0), 10, 0.5, structures=["cord"])
    cord, target = plan.structures["Cord"], plan.structures["PTV"]
    assert structure_map(cord, "eqd2", 20, alpha_beta=2.0).c0[0] == pytest.approx(18.75)
    assert structure_map(target, "eqd2", 20, alpha_beta=2.0).c0[0] == pytest.approx(37.5)
    assert structure_map(target, "eqd2", 20, alpha_beta=2.0, with_previous=False).c0 == 0.0
    assert structure_map(target, "physical_dose", 20) is None
    plan.set_previous_dose(None)
    assert cord.previous_dose is None


def test_an_earlier_plan_has_its_fractions_and_no_history_of_the_later():
    earlier = random_plan(1, number_of_fractions=25)
    earlier.beamlet_weights = np.full(75, 3.0)
    later = pb.Plan.from_influence(earlier.dose_influence, random_plan(1).structures, 10)
    later.set_previous_dose(earlier)
    assert later.structures["organ"].previous_dose.number_of_fractions == 25
    assert earlier.structures["organ"].previous_dose is None
    dose = np.asarray(earlier.get_dose())
    later.beamlet_weights = np.full(75, 0.0)
    np.testing.assert_allclose(later.get_dose("eqd2", alpha_beta=2.0), dose * (dose / 25 + 2) / 4, rtol=1e-12)
    np.testing.assert_array_equal(later.get_dose("eqd2", with_previous=False), 0.0)


def test_plans_of_one_series_have_histories_of_their_own():
    plan = phantom_plan()
    other = pb.Plan(plan.series, 5)
    plan.set_previous_dose(np.full(plan.grid.shape, 30.0), 10)
    assert other.structures["Cord"].previous_dose is None
    assert plan.series.structures["Cord"].previous_dose is None


def test_the_smallest_structure_tells_the_tissue():
    plan = random_plan(1, number_of_fractions=20)
    target, organ, body = plan.structures
    target.alpha_beta, organ.alpha_beta, body.alpha_beta = 10.0, 2.0, 4.0
    plan.beamlet_weights = np.full(75, 10.0)
    dose, eqd2 = np.asarray(plan.get_dose()), np.asarray(plan.get_dose("eqd2"))
    for structure, others in ((organ, ()), (target, (organ,)), (body, (organ, target))):
        alone = structure.share > 0
        for other in others:
            alone &= other.share == 0
        r = structure.alpha_beta
        assert alone.any()
        np.testing.assert_allclose(eqd2[alone], (dose * (dose / 20 + r) / (2 + r))[alone], rtol=1e-12)


@pytest.mark.parametrize(
    ("course", "message"),
    [
        ((np.ones((3, 3, 3)), 10), r"has the grid \(3, 3, 3\); the plan's is \(12, 12, 12\)"),
        ((np.ones((12, 12, 12)),), "number of fractions of the previous dose is missing"),
        ((np.ones((12, 12, 12)), 2.5), "number of previous fractions is 2.5"),
        ((np.ones((12, 12, 12)), 10, 1.5), "the recovery is 1.5"),
        ((-np.ones((12, 12, 12)), 10), "finite and not negative"),
        (
            (DoseArray(np.ones((2, 2, 2)), pb.VoxelGrid((2, 2, 2), (5.0,) * 3, (500.0, 0.0, 0.0))), 10),
            "does not overlap the plan's dose grid",
        ),
    ],
)
def test_a_wrong_course_is_refused(course, message):
    plan = phantom_plan()
    with pytest.raises(ValueError, match=message):
        plan.set_previous_dose(*course)
    assert plan.previous_dose is None


def test_a_file_of_another_frame_or_kind_is_refused(tmp_path):
    plan = phantom_plan()
    path = tmp_path / "earlier.dcm"
    write_rt_dose(linear(plan.grid), plan.grid, path, frame_of_reference_uid="1.2.3.4")
    with pytest.raises(ValueError, match=r"FrameOfReferenceUID|frame of reference"):
        plan.set_previous_dose(path, 10)
    with pytest.raises(FileNotFoundError, match=r"nothing\.dcm"):
        plan.set_previous_dose(tmp_path / "nothing.dcm", 10)
    write_rt_dose(linear(plan.grid), plan.grid, path, frame_of_reference_uid=FRAME, quantity="eqd2", alpha_beta=2.0)
    with pytest.raises(ValueError, match=r"DoseType .* is 'EFFECTIVE'; a physical dose is needed"):
        plan.set_previous_dose(path, 10)


def test_a_weighted_dose_is_named_in_its_file(tmp_path):
    import pydicom

    grid = pb.VoxelGrid((4, 3, 2), (2.0, 2.0, 3.0))
    path = tmp_path / "eqd2.dcm"
    write_rt_dose(linear(grid), grid, path, quantity="eqd2", alpha_beta=3.0)
    written = pydicom.dcmread(path)
    assert (written.DoseType, written.DoseComment) == ("EFFECTIVE", "EQD2Gy(a/b=3)")
    np.testing.assert_allclose(dose_from_dataset(path), linear(grid), rtol=1e-4)
    write_rt_dose(linear(grid), grid, path, quantity="bed")
    assert pydicom.dcmread(path).DoseComment == "BEDGy(a/b of each structure)"
    write_rt_dose(linear(grid), grid, path)
    assert pydicom.dcmread(path).DoseType == "PHYSICAL"
    assert "DoseComment" not in pydicom.dcmread(path)
    with pytest.raises(ValueError, match="not of 'effect'"):
        write_rt_dose(linear(grid), grid, path, quantity="effect")
