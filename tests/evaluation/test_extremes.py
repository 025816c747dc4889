from __future__ import annotations

import numpy as np

from opentps_brimstone.evaluation.extremes import hot_spot, largest_difference
from opentps_brimstone.model.structure import Structure
from opentps_brimstone.phantoms import c_shape


def test_the_hot_spot_is_outside_the_targets():
    phantom = c_shape(8.0)
    ptv, core = (phantom.structure(name).share for name in ("PTV", "Core"))
    dose = np.where(ptv > 0, 60.0, 10.0)
    dose[core == core.max()] = 20.0
    assert hot_spot(dose, phantom.structures) == 20.0
    dose[0, 0, 0] = 90.0  # air
    assert hot_spot(dose, phantom.structures) == 20.0


def test_without_organs_there_is_no_hot_spot():
    target = Structure("PTV", np.array([0.0, 0.5, 1.0]).reshape(3, 1, 1), is_target=True)
    assert hot_spot(np.full((3, 1, 1), 5.0), [target]) == 0.0
    organ = Structure("Cord", np.array([0.3, 0.3, 0.0]).reshape(3, 1, 1))
    assert hot_spot(np.array([2.0, 9.0, 9.0]).reshape(3, 1, 1), [organ, target]) == 2.0


def test_the_largest_difference_is_relative_to_the_expected_maximum():
    assert largest_difference([1.0, 5.0, 8.0], [1.5, 3.0, 10.0]) == 0.2
