from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

import opentps_brimstone as pb
from opentps_brimstone.model.contours import ContourStack
from opentps_brimstone.model.example import three_voxel_plan
from opentps_brimstone.model.structure import StructureSet, UnknownStructureError
from opentps_brimstone.optimization.example import three_voxel_optimizer

GRID = pb.VoxelGrid((3, 1, 1), (5.0, 5.0, 5.0))


def part(name: str, *voxels: int, is_target: bool = False) -> pb.Structure:
    mask = np.zeros(GRID.shape)
    mask[list(voxels)] = 1
    return pb.Structure(name, mask, is_target=is_target)


def test_a_plan_and_its_series_give_their_structures_alike() -> None:
    series = pb.Series(np.zeros((4, 4, 4)), (5, 5, 5), structures=[pb.Structure("PTV", np.ones((4, 4, 4)), True)])
    for structures in (series.structures, pb.Plan(series).structures):
        assert [type(each) for each in structures] == [pb.Structure]
        assert structures.keys() == ["PTV"]
        assert "PTV" in structures
        assert "ptv" in structures
        assert "Cord" not in structures
        assert structures.items() == [("PTV", structures[0])]


def test_the_structures_of_a_plan_can_be_evaluated() -> None:
    plan = three_voxel_plan()
    plan.beamlet_weights = [10.0, 10.0]
    table = pb.evaluate(plan.get_dose(), plan.structures, ["PTV Dmean >= 6 Gy", "Cord Dmax <= 1.9 Gy"])
    assert [result.met for result in table] == [True, False]


def test_structures_can_be_added_replaced_and_removed() -> None:
    structures = StructureSet([part("PTV", 0), part("Cord", 2)], {"Marker": "it has no outlines"})
    lung, new_cord = part("Lung", 1), part("Cord", 1, 2)
    structures["Lung"] = lung
    structures["Cord"] = new_cord
    assert structures.values() == [structures["PTV"], new_cord, lung]
    assert new_cord in structures
    assert part("Cord", 2) not in structures
    del structures["ptv"]
    assert structures.keys() == ["Cord", "Lung"]
    with pytest.raises(ValueError, match="cannot be stored as 'Heart': a structure is found by its own name"):
        structures["Heart"] = lung
    with pytest.raises(UnknownStructureError, match="no structure 'PTV'; there are 'Cord', 'Lung'"):
        del structures["PTV"]
    with pytest.raises(UnknownStructureError, match="'Marker' cannot be used: it has no outlines"):
        structures["Marker"]


def test_the_size_shown_is_that_of_the_original_whatever_the_grid() -> None:
    assert repr(part("Cord", 0, 1)) == "Structure('Cord', 2.0 voxels)"
    mask = part("PTV", 0, 1, is_target=True).share
    fine = pb.Structure("PTV", mask, is_target=True, grid=GRID)
    square = [(0.0, 0.0), (20.0, 0.0), (20.0, 20.0), (0.0, 20.0)]
    outlines = ContourStack([(0.0, [square]), (10.0, [square])], slice_spacing_mm=10.0)
    drawn = pb.Structure.from_contours("Box", outlines, GRID)
    far_away = pb.VoxelGrid((2, 2, 2), (5.0, 5.0, 5.0), (900.0, 0.0, 0.0))
    for grid in (GRID, far_away):
        assert repr(fine.on_grid(grid)) == "Structure('PTV', 0.25 cm³, target)"
        assert repr(drawn._planned_on(grid)) == "Structure('Box', 8 cm³)"


def test_a_structure_off_its_grid_is_found_by_name() -> None:
    structure = pb.Structure("PTV", np.ones(GRID.shape), grid=GRID)
    moved = structure.on_grid(pb.VoxelGrid((2, 2, 2), (5.0, 5.0, 5.0), (900.0, 0.0, 0.0)))
    structure.check_on_grid()
    assert structure.is_on_grid
    assert not moved.is_on_grid
    with pytest.raises(ValueError, match="the mask of 'PTV' is empty: it has nothing on the grid"):
        moved.check_on_grid()


def test_notebooks_show_structures_escaped_and_dvhs_once_there_is_a_dose() -> None:
    plan = three_voxel_plan()
    plan.structures["a<b>"] = part("a<b>", 0, 2)
    before = plan._repr_html_()
    assert "a&lt;b&gt;" in before
    assert "<b>" not in before
    assert "<svg" not in before
    assert "DVH" not in before
    plan.beamlet_weights = [10.0, 20.0]
    plan.update_histograms()
    after = plan._repr_html_()
    assert after.count("<svg") == 3
    assert "7.00 … 11.00, mean 9.00" in plan.structures["PTV"]._repr_html_()
    assert "30.0" in after  # MU
    assert plan.structures._repr_html_() in after


def test_notebooks_show_series_and_plans_without_beamlets() -> None:
    series = pb.Series(np.zeros((4, 4, 4)), (5, 5, 5), structures=[pb.Structure("PTV", np.ones((4, 4, 4)), True)])
    assert "CT, 4 x 4 x 4 voxels of 5 x 5 x 5 mm" in series._repr_html_()
    assert "8 cm³" in series._repr_html_()
    plan = pb.Plan(series, 5)
    plan.add_beam(120.0, couch_angle=10.0)
    shown = plan._repr_html_()
    assert all(text in shown for text in ("G120", "120°", "10°", "5 fractions"))


def test_every_plan_has_structures_and_histograms_of_its_own() -> None:
    target = part("PTV", 0, 1, is_target=True)
    strong, weak = (
        pb.Plan.from_dose_influence(
            factor * np.array([[0.5, 0.1], [0.1, 0.5], [0.0, 0.2]]),
            [target],
            grid_shape=GRID.shape,
            spacing_mm=GRID.spacing_mm,
            beamlet_xy_mm=[(0.0, 0.0), (5.0, 0.0)],
            beam_index=[0, 0],
            beamlet_spacing_mm=5.0,
        )
        for factor in (1.0, 0.5)
    )
    strong.beamlet_weights = [10.0, 10.0]
    strong.update_histograms()
    assert target.get_dvh()[0][-1] == pytest.approx(6.0)
    weak.beamlet_weights = [10.0, 10.0]
    weak.update_histograms()
    assert strong.structures["PTV"].get_dvh()[0][-1] == pytest.approx(6.0)
    assert weak.structures["PTV"].get_dvh()[0][-1] == pytest.approx(3.0)
    with pytest.raises(ValueError, match=r"'PTV' is a structure of several plans: .* plan.structures\['PTV'\]"):
        target.get_dvh()
    weak.beamlet_weights = [1.0, 1.0]
    with pytest.raises(ValueError, match="has no DVH yet"):
        weak.structures["PTV"].get_dvh()
    assert target.get_dvh()[0][-1] == pytest.approx(6.0)


def test_a_structure_of_another_grid_is_brought_to_the_plans() -> None:
    lying = pb.VoxelGrid(GRID.shape, GRID.spacing_mm, (5.0, 0.0, 0.0))
    moved = pb.Plan.from_influence(
        three_voxel_plan().dose_influence, [pb.Structure("PTV", part("PTV", 0).share, True, grid=lying)]
    ).structures["PTV"]
    assert moved.grid == GRID
    assert moved.share.ravel().tolist() == [0.0, 1.0, 0.0]
    away = pb.VoxelGrid(GRID.shape, GRID.spacing_mm, (500.0, 0.0, 0.0))
    with pytest.raises(ValueError, match="'PTV' is empty: it has nothing on the grid"):
        pb.Plan.from_influence(
            three_voxel_plan().dose_influence, [pb.Structure("PTV", part("PTV", 0).share, True, grid=away)]
        )


@pytest.mark.parametrize("twin", [copy.copy, copy.deepcopy, lambda each: pickle.loads(pickle.dumps(each))])
def test_plans_structures_optimizers_and_results_copy_and_pickle(twin) -> None:
    optimizer = three_voxel_optimizer()
    result = optimizer.optimize()
    other = twin(optimizer)
    np.testing.assert_array_equal(other.plan.get_dose(), optimizer.plan.get_dose())
    np.testing.assert_array_equal(other.optimize().beamlet_weights, result.beamlet_weights)
    for structure in optimizer.plan.structures:
        np.testing.assert_array_equal(twin(structure).share, structure.share)
        np.testing.assert_array_equal(twin(structure).get_dvh(), structure.get_dvh())
    again = twin(result)
    np.testing.assert_array_equal(again.dose, result.dose)
    assert (again.message, again.dose.grid) == (result.message, result.dose.grid)
    planned = pb.GoalPlanner(three_voxel_plan(), ["PTV D95 >= 9 Gy"]).optimize()
    assert twin(planned).goals.all_met == planned.goals.all_met


def test_the_result_owns_its_weights() -> None:
    optimizer = three_voxel_optimizer()
    result = optimizer.optimize()
    before = result.beamlet_weights.copy()
    weights = result.beamlet_weights
    weights *= 2.0
    np.testing.assert_array_equal(optimizer.plan.beamlet_weights, before)
