"""OpenTPS's penalty for a dose that only a share of a volume may pass."""

from __future__ import annotations

from typing import Literal

import numpy as np

from opentps_brimstone._typing import FloatArray
from opentps_brimstone.optimization.terms import ObjectiveTerm

__all__ = ["DoseVolumeTerm"]


class DoseVolumeTerm(ObjectiveTerm):
    """Squares of what lies beyond a limit, but for the share of the volume that may: v_j [(d_j − limit) / d_ref]².

    The voxels farthest beyond the limit are those that may. This is OpenTPS's DVHMax and DVHMin (Q. Wu and R. Mohan,
    Med. Phys. 27 (2000) 701-711).

    Parameters
    ----------
    limit_gy : float
    volume : float
        Share of the volume that may be beyond the limit, from 0 to 1.
    side : {"maximum", "minimum"}
        Which doses are beyond: those above, or those below.
    reference_dose_gy : float
        d_ref.
    weight : float

    Examples
    --------
    >>> import numpy as np
    >>> term = DoseVolumeTerm(20.0, volume=0.25, side="maximum", reference_dose_gy=10.0)
    >>> value, gradient = term.evaluate(np.array([10.0, 19.0, 25.0, 40.0]), np.full(4, 0.25))
    >>> round(value, 4), gradient.round(4).tolist()
    (0.0625, [0.0, 0.0, 0.025, 0.0])
    """

    def __init__(
        self,
        limit_gy: float,
        *,
        volume: float,
        side: Literal["maximum", "minimum"],
        reference_dose_gy: float,
        weight: float = 1.0,
    ) -> None:
        super().__init__(weight)
        self.limit_gy = limit_gy
        self.volume = volume
        self.side = side
        self.reference_dose_gy = reference_dose_gy

    def evaluate(self, dose: FloatArray, share: FloatArray) -> tuple[float, FloatArray]:
        """See `ObjectiveTerm.evaluate`."""
        sign = 1.0 if self.side == "maximum" else -1.0
        excess = np.maximum(0.0, sign * (dose - self.limit_gy)) / self.reference_dose_gy
        farthest = np.argsort(-excess, kind="stable")
        allowed = np.cumsum(share[farthest]) <= self.volume * (1 + 1e-9)
        excess[farthest[allowed]] = 0.0
        return float(share @ excess**2), sign * 2.0 * share * excess / self.reference_dose_gy
