"""The curve that all doses and volumes of a cumulative dose-volume histogram are read off."""

from __future__ import annotations

import numpy as np

from opentps_brimstone._typing import FloatArray

__all__ = ["dvh_curve"]


def dvh_curve(dose: FloatArray, volume: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Place every part's dose at the middle of its volume in the cumulative DVH; in between the curve is linear.

    Parameters
    ----------
    dose : ndarray, shape (n,)
        Of the parts of a structure, in Gy.
    volume : ndarray, shape (n,)
        Of the parts, in any unit.

    Returns
    -------
    dose_gy : ndarray, shape (n,)
        Falling.
    volume_fraction : ndarray, shape (n,)
        Share of the whole volume that gets this dose, rising.
    """
    order = np.argsort(-dose, kind="stable")
    volumes = volume[order]
    return dose[order], (np.cumsum(volumes) - volumes / 2) / volumes.sum()
