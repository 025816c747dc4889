"""A planning case that takes seconds."""

from __future__ import annotations

import numpy as np

from opentps_brimstone.evaluation import DVHGoal
from opentps_brimstone.model.structure import Structure
from opentps_brimstone.optimization.terms import KLDivergenceTerm, MaximumDoseTerm
from opentps_brimstone.phantoms import AIR_HU, Phantom, centered_grid, prism_share

BEAMLET_MM = 12.0
OFF_EDGES_MM = (1.3, 0.4, 2.1)
"""An isocenter for which edges of beamlets and boundaries of voxels meet nowhere, as OpenTPS's program samples them."""


def small_phantom(grid_mm: float = 10.0) -> Phantom:
    """A cylinder in a cylinder beside a smaller one, five fields."""
    grid = centered_grid((140.0, 140.0, 100.0), 10.0, grid_mm)
    body = prism_share(grid, lambda x, y: np.hypot(x, y) <= 70, 100.0)
    target = prism_share(grid, lambda x, y: np.hypot(x, y) <= 22, 40.0)
    organ = prism_share(grid, lambda x, y: np.hypot(x - 45, y) <= 12, 40.0)
    rest = np.where(target > 0, 0, np.clip(body - organ, 0, 1))
    return Phantom(
        name="small",
        title="Small cylinder",
        ct_hu=AIR_HU * (1 - body),
        grid=grid,
        structures=(Structure("Tumor", target, True), Structure("Organ", organ), Structure("Rest", rest)),
        gantry_angles=(0.0, 72.0, 144.0, 216.0, 288.0),
        isocenter_mm=(0.0, 0.0, 0.0),
        prescription_gy=20.0,
        number_of_fractions=5,
        goals=(DVHGoal.parse("Tumor D90 >= 18 Gy"), DVHGoal.parse("Organ Dmean <= 12 Gy")),
        objectives=(
            ("Tumor", KLDivergenceTerm(dose_range=(19.5, 21.5))),
            ("Organ", KLDivergenceTerm(dose_range=(0.0, 10.0))),
            ("Rest", MaximumDoseTerm(21.0)),
        ),
        target_margin_mm=12.0,
    )
