"""Warnings about what is taken as given."""

import numpy as np
import pytest
from opentps.core.data.images import ROIMask
from opentps_objects import (
    add_beam,
    add_objective,
    add_segment,
    center,
    contours_of_cylinder,
    make_ct,
    make_roi,
    middle_box,
    placement,
    uneven_ct,
    with_design,
)

from opentps_brimstone.adapters.density_table import DEFAULT_DENSITY_TABLE
from opentps_brimstone.adapters.doubts import OpenTPSWarning, doubts, holds_densities, warn_of_doubts
from opentps_brimstone.adapters.plan import contour_mask
from opentps_brimstone.model.influence import VoxelGrid


@pytest.fixture
def ct():
    return uneven_ct()


@pytest.fixture
def plan(ct):
    from opentps.core.data.plan import PhotonPlan

    plan = PhotonPlan(name="plan")
    add_segment(add_beam(plan, center(ct), name="AP"), [(0, 0)])
    return with_design(plan, ct, middle_box(ct), 20.0)


def test_nothing_looks_wrong(plan, ct):
    assert doubts(plan) == doubts(plan, ct, [middle_box(ct)]) == []
    plan.planDesign = None
    assert doubts(plan) == []


def test_a_ct_of_densities(plan, ct):
    ct.imageArray = DEFAULT_DENSITY_TABLE.mass_density(ct.imageArray)
    (doubt,) = doubts(plan)
    assert doubt.startswith("the CT 'CT' holds densities and not HU")
    with pytest.warns(OpenTPSWarning, match="holds densities") as caught:
        warn_of_doubts(plan)
    assert len(caught) == 1


@pytest.mark.parametrize("values", [np.zeros(8), [-1000, 0, 60], [0, 1000, 2000], [-3.0, 0.5], [0.0, 1.0]])
def test_hu_are_not_densities(values):
    assert not holds_densities(values)


def test_slices_that_are_not_as_far_apart_as_voxels(plan, ct):
    n, spacing = ct.imageArray.shape[2], ct.spacing[2]
    ct.sliceLocation = spacing * np.arange(n)
    assert doubts(plan) == []
    ct.sliceLocation = 3.0 * np.arange(n)
    (doubt,) = doubts(plan)
    assert "has voxels 5 mm high, but its slices are 3 mm apart" in doubt
    ct.sliceLocation = np.cumsum([3.0] * (n - 1) + [4.0])
    assert "slices are 3 to 4 mm apart" in doubts(plan)[0]
    ct.sliceLocation = ct.sliceLocation[1:]  # of a CT that was resampled
    assert doubts(plan) == []


def test_source_distances_that_differ(plan):
    plan.SAD_mm, plan.beams[0].SAD_mm = 900.0, 1000.0
    (doubt,) = doubts(plan)
    assert "SAD_mm is 900 for the plan 'plan' and 1000 for beam 1 ('AP')" in doubt


@pytest.fixture
def cylinder_and_mask():
    """Contours, and the mask of them on a grid of 4 mm."""
    contours, where = contours_of_cylinder(), placement(4.0)
    grid = VoxelGrid(tuple(where["gridSize"].tolist()), (4.0,) * 3, tuple(where["origin"].tolist()))
    mask = ROIMask(imageArray=contour_mask(contours, grid), name="PTV", origin=grid.origin_mm, spacing=grid.spacing_mm)
    return contours, mask


@pytest.mark.parametrize("offset", [(-1.5, -1.5, 0.0), (0.0, 2.0, 0.0)])
def test_a_displaced_mask(plan, cylinder_and_mask, offset):
    _, mask = cylinder_and_mask
    assert doubts(plan, make_ct(), cylinder_and_mask) == []
    mask.origin = mask.origin + np.array(offset)
    (doubt,) = doubts(plan, make_ct(), cylinder_and_mask)
    assert f"the mask 'PTV' lies {offset[0]:+.1f} mm in x and {offset[1]:+.1f} mm in y" in doubt


def test_the_target_of_the_design_and_the_contours_of_an_objective(plan, cylinder_and_mask):
    contours, mask = cylinder_and_mask
    mask.origin = mask.origin - 1.5
    plan.planDesign.targetMask = mask
    add_objective(plan.planDesign.objectives, contours, "DMax", 20.0)
    (doubt,) = doubts(plan)
    assert "the mask 'PTV' lies -1.5 mm in x" in doubt


def test_masks_that_are_not_the_contours_whole(plan, cylinder_and_mask):
    """A part of them, or a mask of another name, has its center elsewhere by right."""
    contours, mask = cylinder_and_mask
    half = ROIMask(imageArray=mask.imageArray.copy(), name="PTV", origin=mask.origin, spacing=mask.spacing)
    half.imageArray[: half.imageArray.shape[0] // 2] = False
    other = make_roi(make_ct(), (1, 1, 1), (3, 3, 3), "organ")
    assert doubts(plan, make_ct(), [contours, half, other]) == []
