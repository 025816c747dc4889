"""The smallest plan that can be optimized, for examples and for trying things out."""

from __future__ import annotations

import numpy as np

from opentps_brimstone.model.plan import Plan
from opentps_brimstone.model.structure import Structure

__all__ = ["three_voxel_plan"]


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
