"""Objectives for mixed prescriptions, beside the Kullback-Leibler divergence.

Each is a few lines of NumPy on the doses of a structure's voxels: a model for objectives of your own.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from opentps_brimstone._typing import FloatArray
from opentps_brimstone.optimization.terms import ObjectiveTerm

__all__ = ["DVHLimitTerm", "EUDTerm", "HomogeneityTerm", "SquaredDeviation", "SquaredDeviationTerm"]

_SHARE_ROUNDING = 1e-9  # in sums of shares of a volume


# Mean doses of which the third power leaves the range of numbers.
_NO_DOSE = 1e-90


def _positive_dose(name: str, dose_gy: float) -> float:
    if not (np.isfinite(dose_gy) and dose_gy > 0):
        raise ValueError(f"{name} is {dose_gy} Gy; it must be positive and finite")
    return float(dose_gy)


class SquaredDeviationTerm(ObjectiveTerm):
    """Squared deviation from a dose: Σ_j v_j [(d_j − dose) / dose]².

    Parameters
    ----------
    dose_gy : float
        In Gy.
    weight, quantity, alpha_beta
        As for `ObjectiveTerm`.

    Examples
    --------
    >>> value, gradient = SquaredDeviationTerm(50.0).evaluate(np.array([45.0, 55.0]), np.array([0.5, 0.5]))
    >>> round(value, 6)
    0.01
    """

    def __init__(
        self, dose_gy: float, weight: float = 1.0, *, quantity: str = "physical_dose", alpha_beta: Any = None
    ) -> None:
        super().__init__(weight, quantity=quantity, alpha_beta=alpha_beta)
        self.dose_gy = _positive_dose("the dose of a squared deviation", dose_gy)

    def evaluate(self, dose: FloatArray, share: FloatArray) -> tuple[float, FloatArray]:
        """See `ObjectiveTerm.evaluate`."""
        relative = dose / self.dose_gy - 1.0
        return float(share @ relative**2), 2.0 * share * relative / self.dose_gy


class SquaredDeviation(ObjectiveTerm):
    """Squared deviation from a dose, with the names and scale that pyRadPlan gives it: Σ_j v_j (d_j − d_ref)².

    Parameters
    ----------
    d_ref : float
        In Gy, or the quantity's unit.
    priority : float
        Its weight in the cost.
    quantity, alpha_beta
        As for `ObjectiveTerm`.

    Examples
    --------
    >>> objective = SquaredDeviation(priority=1000, d_ref=60.0, quantity="eqd2")
    >>> objective.weight, objective.evaluate(np.array([58.0, 61.0]), np.array([0.5, 0.5]))
    (1000.0, (2.5, array([-2.,  1.])))
    """

    def __init__(
        self, d_ref: float, priority: float = 1.0, *, quantity: str = "physical_dose", alpha_beta: Any = None
    ) -> None:
        super().__init__(priority, quantity=quantity, alpha_beta=alpha_beta)
        self.d_ref = _positive_dose("d_ref of a squared deviation", d_ref)

    def evaluate(self, dose: FloatArray, share: FloatArray) -> tuple[float, FloatArray]:
        """See `ObjectiveTerm.evaluate`."""
        deviation = dose - self.d_ref
        return float(share @ deviation**2), 2.0 * share * deviation


class EUDTerm(ObjectiveTerm):
    """Limit the generalized equivalent uniform dose, (Σ_j v_j d_j^a)^(1/a): [max(0, ±(EUD − limit)) / limit]².

    The definition is A. Niemierko's, Med. Phys. 26 (1999).

    Parameters
    ----------
    limit_gy : float
        In Gy.
    a : float
        1 is the mean dose; high values emphasize hot spots (serial organs), negative ones cold spots (targets).
    minimum : bool
        The limit is a minimum, not a maximum.
    weight, quantity, alpha_beta
        As for `ObjectiveTerm`.

    Examples
    --------
    >>> value, gradient = EUDTerm(20.0, a=1.0).evaluate(np.array([10.0, 34.0]), np.array([0.5, 0.5]))
    >>> round(value, 6)
    0.01
    """

    def __init__(
        self,
        limit_gy: float,
        a: float,
        *,
        minimum: bool = False,
        weight: float = 1.0,
        quantity: str = "physical_dose",
        alpha_beta: Any = None,
    ) -> None:
        super().__init__(weight, quantity=quantity, alpha_beta=alpha_beta)
        self.limit_gy = _positive_dose("the limit of an EUD", limit_gy)
        if not np.isfinite(a) or a == 0:
            raise ValueError(f"the exponent a of an EUD is {a}; it must be finite and not 0")
        self.a = float(a)
        self.minimum = bool(minimum)

    def evaluate(self, dose: FloatArray, share: FloatArray) -> tuple[float, FloatArray]:
        """See `ObjectiveTerm.evaluate`."""
        # Zero dose has no logarithm, so a millionth of the limit replaces it.
        log_dose = np.log(np.maximum(dose / self.limit_gy, 1e-6))
        # Powers are taken relative to the largest one, and shares sum to 1, so that no exponent leaves the range.
        most = float(log_dose.max() if self.a > 0 else log_dose.min())
        log_eud = most + float(np.log1p(share @ np.expm1(self.a * (log_dose - most)))) / self.a
        eud = float(np.exp(log_eud))  # relative to the limit
        sign = -1.0 if self.minimum else 1.0
        excess = max(0.0, sign * (eud - 1.0))
        slope = share * np.exp((self.a - 1.0) * (log_dose - log_eud)) / self.limit_gy
        return excess**2, 2.0 * excess * sign * slope


class DVHLimitTerm(ObjectiveTerm):
    """Limit the share of the volume above a dose.

    Of the voxels on the wrong side of the dose, those nearest to it have to cross it, as many as the limit requires:
    Σ_j v_j [(d_j − dose) / dose]² over them (Q. Wu and R. Mohan, Med. Phys. 27, 2000).

    Parameters
    ----------
    dose_gy : float
        In Gy.
    volume : float
        Share of the volume, in [0, 1].
    minimum : bool
        The share is a minimum, not a maximum.
    weight, quantity, alpha_beta
        As for `ObjectiveTerm`.

    Examples
    --------
    >>> dose, share = np.array([10.0, 22.0, 40.0]), np.full(3, 1 / 3)
    >>> value, gradient = DVHLimitTerm(20.0, 0.4).evaluate(dose, share)
    >>> gradient.round(4).tolist()  # the voxel at 22 Gy is the one to cross
    [0.0, 0.0033, 0.0]
    """

    def __init__(
        self,
        dose_gy: float,
        volume: float,
        *,
        minimum: bool = False,
        weight: float = 1.0,
        quantity: str = "physical_dose",
        alpha_beta: Any = None,
    ) -> None:
        super().__init__(weight, quantity=quantity, alpha_beta=alpha_beta)
        self.dose_gy = _positive_dose("the dose of a DVH limit", dose_gy)
        if not 0 <= volume <= 1:
            raise ValueError(f"the volume of a DVH limit is {volume}; it must be a share from 0 to 1")
        self.volume = float(volume)
        self.minimum = bool(minimum)

    def evaluate(self, dose: FloatArray, share: FloatArray) -> tuple[float, FloatArray]:
        """See `ObjectiveTerm.evaluate`."""
        wrong = dose < self.dose_gy if self.minimum else dose > self.dose_gy
        allowed = 1.0 - self.volume if self.minimum else self.volume
        surplus = float(share[wrong].sum()) - allowed
        gradient = np.zeros_like(dose)
        if surplus <= _SHARE_ROUNDING:
            return 0.0, gradient
        candidates = np.flatnonzero(wrong)
        candidates = candidates[np.argsort(np.abs(dose[candidates] - self.dose_gy), kind="stable")]
        # Where shares add up to the surplus exactly, rounding must not add a voxel now and then: searches get stuck.
        n_below = int(np.searchsorted(np.cumsum(share[candidates]), surplus - _SHARE_ROUNDING))
        crossing = candidates[: n_below + 1]
        relative = dose[crossing] / self.dose_gy - 1.0
        gradient[crossing] = 2.0 * share[crossing] * relative / self.dose_gy
        return float(share[crossing] @ relative**2), gradient


class HomogeneityTerm(ObjectiveTerm):
    """Ask for a uniform dose of any height: the variance of the dose over the square of its mean.

    Parameters
    ----------
    weight, quantity, alpha_beta
        As for `ObjectiveTerm`.

    Examples
    --------
    >>> value, gradient = HomogeneityTerm().evaluate(np.array([9.0, 11.0]), np.array([0.5, 0.5]))
    >>> round(value, 6)
    0.01
    """

    def evaluate(self, dose: FloatArray, share: FloatArray) -> tuple[float, FloatArray]:
        """See `ObjectiveTerm.evaluate`."""
        mean = float(share @ dose)
        if mean <= _NO_DOSE:
            return 0.0, np.zeros_like(dose)
        difference = dose - mean
        variance = float(share @ difference**2)
        return variance / mean**2, 2.0 * share * (difference / mean**2 - variance / mean**3)
