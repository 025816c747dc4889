"""Small plans, for examples and for trying things out."""

from __future__ import annotations

import numpy as np

from opentps_brimstone.model.plan import Plan
from opentps_brimstone.model.series import Series
from opentps_brimstone.model.structure import Structure

__all__ = ["three_voxel_plan", "water_plan"]


def three_voxel_plan() -> Plan:
    """Make a plan of two beamlets on three voxels: a target of two, and a cord.

    Examples
    --------
    >>> plan = three_voxel_plan()
    >>> target, cord = plan.structures
    >>> target.name, cord.name, plan.dose_influence.matrix.toarray().shape
    ('PTV', 'Cord', (3, 2))
    """
    return Plan.from_dose_influence(
        np.array([[0.5, 0.1], [0.1, 0.5], [0.0, 0.2]]),
        [
            Structure("PTV", np.array([1, 1, 0]).reshape(3, 1, 1), is_target=True),
            Structure("Cord", np.array([0, 0, 1]).reshape(3, 1, 1)),
        ],
        grid_shape=(3, 1, 1),
        spacing_mm=(5.0, 5.0, 5.0),
        beamlet_xy_mm=[(0.0, 0.0), (5.0, 0.0)],
        beam_index=[0, 0],
        beamlet_spacing_mm=5.0,
    )


def water_plan() -> Plan:
    """Make a plan of two crossing beams on a target of 2 cm in a block of water of 8 cm, with its dose influence.

    Examples
    --------
    >>> water_plan()
    Plan(DoseInfluence(512 voxels by 8 beamlets of 2 beams, 1831 nonzeros), structures: PTV, 2 fractions)
    """
    mask = np.zeros((8, 8, 8))
    mask[3:5, 3:5, 3:5] = 1
    series = Series(np.zeros(mask.shape), (10, 10, 10), (0, 0, 0), [Structure("PTV", mask, is_target=True)])
    plan = Plan(series, number_of_fractions=2)
    for angle in (0.0, 90.0):
        plan.add_beam(gantry_angle=angle)
    plan.compute_dose_influence(beamlet_spacing_mm=20.0, margin_mm=0.0, progress=False)
    return plan
