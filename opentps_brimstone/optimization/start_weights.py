"""Start weights that an optimization can start from."""

from __future__ import annotations

import numpy as np

from opentps_brimstone._typing import AnyIntArray, FloatArray

__all__ = ["usable_start"]

# A start whose targets' mean dose is within this factor of the one asked for keeps its scale.
_ANY_SCALE = 3.0
# Where the transform of the weights is too flat for a search to come from, in uniform weights.
_STUCK = 1e-3
# A start is raised to the floor where stuck beamlets would give at least this share of a uniform plan's dose.
_STUCK_SHARE = 0.1
_FLOOR, _CEILING = 0.5, 4.0


def usable_start(
    given: FloatArray, beamlets: AnyIntArray, target_dose: FloatArray, uniform_weight: float
) -> tuple[FloatArray, str]:
    """Bring start weights to where a search can come from, and say what was changed.

    Weights of any scale are scaled to the targets' mean dose, as only their pattern says something then, and only that
    of the optimized beamlets; beamlets that hardly have a weight, from which no slope leads up, are raised.

    Parameters
    ----------
    given : ndarray, shape (n_beamlets,)
        MU over all fractions; finite and not negative.
    beamlets : ndarray of int
        Those that are optimized.
    target_dose : ndarray, shape (len(beamlets),)
        Mean dose in the targets, in Gy/MU.
    uniform_weight : float
        Common weight that gives the targets their mean dose, in MU.

    Returns
    -------
    weights : ndarray, shape (n_beamlets,)
    note : str
        Empty if nothing was changed.
    """
    highest = float(given[beamlets].max())
    if highest == 0:
        weights = np.zeros_like(given)
        weights[beamlets] = uniform_weight
        return weights, "the start weights give no dose to a target; started from equal ones"
    relative = given[beamlets] / highest
    mean = float(target_dose @ relative) / float(target_dose.sum())  # in units of the highest weight
    level = mean * (highest / uniform_weight)
    notes = []
    weights = given
    if not 1 / _ANY_SCALE <= level <= _ANY_SCALE:
        weights = np.zeros_like(given)
        weights[beamlets] = relative * (uniform_weight / mean)
        notes.append("were scaled to the targets' mean dose")
    own = weights[beamlets]
    stuck = own < _STUCK * uniform_weight
    if target_dose[stuck].sum() > _STUCK_SHARE * target_dose.sum():
        weights = weights.copy()
        weights[beamlets] = np.clip(own, _FLOOR * uniform_weight, _CEILING * uniform_weight)
        notes.append(f"of {int(stuck.sum())} beamlets without weight were raised")
    return weights, f"the start weights {' and '.join(notes)}" if notes else ""
