"""Terms of the cost, each on the dose of a structure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from opentps_brimstone import _core
from opentps_brimstone._typing import FloatArray
from opentps_brimstone._util.content import content_of
from opentps_brimstone.optimization.core_settings import bin_settings
from opentps_brimstone.optimization.robustness import Robustness, shown, state_of
from opentps_brimstone.optimization.settings import DIRECTIONS, Direction, OptimizerSettings
from opentps_brimstone.quantities import DoseMap, checked_quantity, structure_map

if TYPE_CHECKING:
    from opentps_brimstone.model.structure import Structure

__all__ = [
    "DoseLimitTerm",
    "KLDivergenceTerm",
    "MaximumDoseTerm",
    "MeanDoseTerm",
    "MinimumDoseTerm",
    "ObjectiveTerm",
    "check_target_dvh",
]


class ObjectiveTerm:
    """A summand of the cost, on the dose of a structure: subclass it for your own.

    A subclass overrides `evaluate`, and calls ``super().__init__(weight)`` if it has an ``__init__``. Its value enters
    the cost at every level, where `dose` and `share` are those of the level's coarser voxels. Voxels that no beamlet
    reaches are merged into one.

    Parameters
    ----------
    weight : float
        Factor of the term in the cost; positive.
    quantity : str
        What the term is on: ``physical_dose``, ``bed``, ``eqd2`` or ``effect`` of all fractions, each with dose given
        before (`Plan.set_previous_dose`) but the first. With further matrices of the plan, what follows from them, too:
        ``effect``, ``rbe_x_dose``, ``alpha_dose``, ``sqrt_beta_dose``, ``let_dose`` or, but for histograms of targets,
        ``let``. Doses of the term are then values of this quantity.
    alpha_beta : float or array_like of shape (nx, ny, nz), optional
        In Gy. Default: the structure's `alpha_beta`, or else a published value for its name, which is logged.

    Attributes
    ----------
    structure : Structure or None
        Set when the term is added to a prescription.
    robustness : Robustness or None
        How its costs in scenarios are combined, in a term that `robust_term` made; None: it is on the planned dose.

    Examples
    --------
    >>> import numpy as np
    >>> import opentps_brimstone as pb
    >>> class Deviation(pb.ObjectiveTerm):
    ...     def evaluate(self, dose, share):
    ...         relative = (dose - 50.0) / 50.0
    ...         return float(share @ relative**2), 2.0 * share * relative / 50.0
    >>> value, gradient = Deviation(weight=2.0).evaluate(np.array([50.0, 55.0]), np.array([0.5, 0.5]))
    >>> round(value, 6)
    0.005
    """

    # Of subclasses that do not set them.
    quantity = "physical_dose"
    alpha_beta: Any = None
    robustness: Robustness | None = None

    def __init__(self, weight: float = 1.0, *, quantity: str = "physical_dose", alpha_beta: Any = None) -> None:
        if not (np.isfinite(weight) and weight > 0):
            raise ValueError(f"the weight of {type(self).__name__} is {weight}; it must be positive")
        self.weight = float(weight)
        self.structure: Structure | None = None
        if quantity != "physical_dose":
            self.quantity = checked_quantity(quantity)
        if alpha_beta is not None:
            self.alpha_beta = _checked_alpha_beta(alpha_beta)

    def evaluate(self, dose: FloatArray, share: FloatArray) -> tuple[float, FloatArray]:  # noqa: ARG002
        """Value of the term for the doses of its structure's voxels, and its gradient; without the weight.

        Parameters
        ----------
        dose : ndarray, shape (n,)
            Gy over all fractions, or the term's quantity in their place.
        share : ndarray, shape (n,)
            Share of the structure's volume in each voxel; they sum to 1. A subclass may leave this parameter out.

        Returns
        -------
        value : float
        gradient : ndarray, shape (n,)
            Derivative of the value with respect to each dose, in 1/Gy, or to each value of the quantity.
        """
        raise TypeError(f"{type(self).__name__} must override evaluate(dose, share)")

    def state(self) -> tuple[object, ...]:
        """Everything besides dose and structure that the cost depends on; equal states give equal costs."""
        values = {name: value for name, value in vars(self).items() if name != "structure"}
        return (content_of(type(self).evaluate), content_of(values))

    def dose_map(self, number_of_fractions: int) -> DoseMap | None:
        """Map from dose to the term's quantity in its structure; None for dose itself.

        Parameters
        ----------
        number_of_fractions : int
            That doses are summed over.

        Returns
        -------
        DoseMap or None
            As `opentps_brimstone.quantities.structure_map` gives it.

        Raises
        ------
        ValueError
            If something is missing for it.
        """
        if self.quantity == "physical_dose" or self.structure is None:
            return None
        return structure_map(self.structure, self.quantity, number_of_fractions, alpha_beta=self.alpha_beta)

    @property
    def highest_dose_gy(self) -> float:
        """Highest dose that the term names, in Gy; 0 if it names none."""
        named = (getattr(self, name, 0.0) for name in ("limit_gy", "dose_gy"))
        return max(float(np.max(dose)) for dose in named)

    @property
    def _quantity_state(self) -> tuple[object, ...]:
        """Quantity and α/β, and what a robust term does with scenarios, for `state`; nothing for planned dose."""
        robust = state_of(self.robustness)
        if self.quantity == "physical_dose":
            return robust
        return (self.quantity, None if self.alpha_beta is None else np.asarray(self.alpha_beta).tobytes(), *robust)

    @property
    def _quantity_options(self) -> str:
        """Quantity and α/β, and what a robust term does with scenarios, for `repr`."""
        robust = shown(self.robustness)
        if self.quantity == "physical_dose":
            return robust
        own = self.alpha_beta
        ratio = "" if own is None else f", alpha_beta={'one per voxel' if np.ndim(own) else f'{own:g}'}"
        return f", quantity={self.quantity!r}{ratio}{robust}"

    def __repr__(self) -> str:
        hidden = ("structure", "quantity", "alpha_beta", "robustness")
        values = ", ".join(f"{name}={value!r}" for name, value in vars(self).items() if name not in hidden)
        return f"{type(self).__name__}({values}{self._quantity_options})"


class KLDivergenceTerm(ObjectiveTerm):
    """Kullback-Leibler divergence between a structure's DVH and a target DVH, both Gaussian-smoothed.

    Parameters
    ----------
    dose_range : (float, float), optional
        Lowest and highest dose in Gy; the target DVH is linear in between.
    dvh : sequence of (float, float), optional
        Points (dose in Gy, share of the volume that gets at least this dose), doses rising, shares falling from 1 to
        0, linear in between. Either this or `dose_range`.
    volume_fraction : float
        With `dose_range`: the share of the volume inside it; the rest may fall off below the lowest dose of a target,
        or above the highest dose of an organ at risk.
    weight : float
        As for `ObjectiveTerm`.
    direction : {"calc_target", "target_calc"}, optional
        KL(calculated ‖ target) or KL(target ‖ calculated), the published form. Default: the optimizer's setting.
    quantity, alpha_beta
        As for `ObjectiveTerm`: what the DVH is of.

    Raises
    ------
    ValueError
        If the target is not a DVH that falls from 1 to 0, or the range is empty.

    Examples
    --------
    >>> KLDivergenceTerm(dose_range=(50.5, 53.5))
    KLDivergenceTerm(dose_range=(50.5, 53.5), weight=1)
    >>> KLDivergenceTerm(dvh=[(0, 1), (10, 0.4), (25, 0)], weight=0.5).dvh[1]
    array([10. ,  0.4])
    """

    # With a volume_fraction below 1, the rest falls off over this share of the bound.
    _FALL_OFF = 0.1

    def __init__(
        self,
        dose_range: tuple[float, float] | None = None,
        dvh: Sequence[tuple[float, float]] | FloatArray | None = None,
        volume_fraction: float = 1.0,
        weight: float = 1.0,
        direction: Direction | None = None,
        quantity: str = "physical_dose",
        alpha_beta: Any = None,
    ) -> None:
        super().__init__(weight, quantity=quantity, alpha_beta=alpha_beta)
        if (dose_range is None) == (dvh is None):
            raise ValueError("a KLDivergenceTerm needs either dose_range=(low, high) or dvh=[(dose, volume), …]")
        if direction is not None and direction not in DIRECTIONS:
            raise ValueError(f"direction {direction!r} is unknown; it may be {' or '.join(DIRECTIONS)}")
        self.direction: Direction | None = direction
        self._points: FloatArray | None = None
        self._interval: tuple[float, float, float] | None = None
        if dvh is not None:
            if volume_fraction != 1.0:
                raise ValueError("volume_fraction belongs to dose_range; a dvh defines all of the volume")
            self._points = check_target_dvh(dvh)
        elif dose_range is not None:
            low, high = dose_range
            self.set_interval(low, high, volume_fraction)

    def set_interval(self, dose_min: float, dose_max: float, volume_fraction: float = 1.0) -> None:
        """Replace the target by an interval of doses.

        Parameters
        ----------
        dose_min, dose_max : float
            Bounds in Gy.
        volume_fraction : float
            Share of the volume inside, in (0, 1].
        """
        if not (np.isfinite(dose_min) and np.isfinite(dose_max) and 0 <= dose_min < dose_max):
            raise ValueError(
                f"the dose range ({dose_min:g}, {dose_max:g}) Gy is empty or negative; it needs 0 <= low < high"
            )
        if not 0 < volume_fraction <= 1:
            raise ValueError(f"volume_fraction is {volume_fraction}; it must be above 0 and at most 1")
        self._points = None
        self._interval = (float(dose_min), float(dose_max), float(volume_fraction))

    @property
    def dvh(self) -> FloatArray:
        """Target points (dose in Gy, volume share), shape (n, 2); doses rise, shares fall from 1 to 0."""
        if self._points is not None:
            return self._points.copy()
        assert self._interval is not None
        low, high, fraction = self._interval
        if fraction == 1.0:
            return np.array([(low, 1.0), (high, 0.0)])
        is_target = self.structure.is_target if self.structure is not None else low > 0
        if is_target and low > 0:
            return np.array([(low * (1 - self._FALL_OFF), 1.0), (low, fraction), (high, 0.0)])
        return np.array([(low, 1.0), (high, 1 - fraction), (high * (1 + self._FALL_OFF), 0.0)])

    @property
    def highest_dose_gy(self) -> float:
        """Highest dose of the target DVH, in Gy."""
        return float(self.dvh[-1, 0])

    @property
    def target_dvh(self) -> FloatArray:
        """The same as `dvh`."""
        return self.dvh

    def state(self) -> tuple[object, ...]:
        """Weight, direction, target points, and quantity."""
        return (self.weight, self.direction, self.dvh.tobytes(), *self._quantity_state)

    def evaluate(self, dose: FloatArray, share: FloatArray) -> tuple[float, FloatArray]:
        """See `ObjectiveTerm.evaluate`; with the finest level of default settings, half of a voxel in either kernel.

        The reference dose is the highest of the target DVH.
        """
        settings = OptimizerSettings()
        term = _core.KlDivergenceTerm(
            share=np.asarray(share, dtype=np.float64),
            target=self.dvh,
            direction=_core.KlDirection(self.direction or settings.kl_direction),
            weight=1.0,
            bins=bin_settings(settings, 0, float(self.dvh[-1, 0])),
        )
        return term.cost_and_gradient(dose, np.full(len(dose), 0.5))

    def __repr__(self) -> str:
        if self._interval is None:
            asked = f"dvh={[tuple(map(float, point)) for point in self.dvh]}"
        else:
            low, high, fraction = self._interval
            asked = f"dose_range=({low:g}, {high:g})" + (f", volume_fraction={fraction:g}" if fraction < 1 else "")
        direction = f", direction={self.direction!r}" if self.direction else ""
        return f"KLDivergenceTerm({asked}, weight={self.weight:g}{direction}{self._quantity_options})"


class DoseLimitTerm(ObjectiveTerm):
    """Base of the terms with a dose limit that the core computes.

    In their formulas, v_j is the share of the structure's volume in voxel j and d_ref the highest dose bound of the
    target terms. On another quantity than dose, its values stand for the doses, and its value at d_ref for d_ref.

    Parameters
    ----------
    limit_gy : float
        Dose up to, or from, which the term is 0, in Gy.
    weight, quantity, alpha_beta
        As for `ObjectiveTerm`.
    """

    kind: ClassVar[str]

    def __init__(
        self,
        limit_gy: float,
        weight: float = 3000.0,
        *,
        quantity: str = "physical_dose",
        alpha_beta: Any = None,
    ) -> None:
        super().__init__(weight, quantity=quantity, alpha_beta=alpha_beta)
        if not (np.isfinite(limit_gy) and limit_gy >= 0):
            raise ValueError(f"the dose limit is {limit_gy} Gy; it must be finite and not negative")
        self.limit_gy = float(limit_gy)

    def state(self) -> tuple[object, ...]:
        """Weight, limit and quantity."""
        return (self.weight, self.limit_gy, *self._quantity_state)

    @property
    def reference_dose_gy(self) -> float:
        """d_ref of `evaluate`: the limit. In a prescription it is the highest dose bound of the target terms."""
        return self.limit_gy if self.limit_gy > 0 else 1.0

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.limit_gy:g}, weight={self.weight:g}{self._quantity_options})"


class MaximumDoseTerm(DoseLimitTerm):
    """Guard against hot voxels, which a DVH hardly shows: weight · Σ_j v_j [max(0, d_j − limit) / d_ref]².

    Parameters and symbols are those of `DoseLimitTerm`.

    Examples
    --------
    >>> MaximumDoseTerm(50.0)
    MaximumDoseTerm(50, weight=3000)
    """

    kind = "maximum_dose"

    def evaluate(self, dose: FloatArray, share: FloatArray) -> tuple[float, FloatArray]:
        """See `ObjectiveTerm.evaluate`; d_ref is `reference_dose_gy`."""
        excess = np.maximum(0.0, dose - self.limit_gy) / self.reference_dose_gy
        return float(share @ excess**2), 2.0 * share * excess / self.reference_dose_gy


class MinimumDoseTerm(DoseLimitTerm):
    """Guard against cold voxels: weight · Σ_j v_j [max(0, limit − d_j) / d_ref]².

    Parameters and symbols are those of `DoseLimitTerm`.

    Examples
    --------
    >>> MinimumDoseTerm(48.5, weight=1000.0)
    MinimumDoseTerm(48.5, weight=1000)
    """

    kind = "minimum_dose"

    def evaluate(self, dose: FloatArray, share: FloatArray) -> tuple[float, FloatArray]:
        """See `ObjectiveTerm.evaluate`; d_ref is `reference_dose_gy`."""
        lack = np.maximum(0.0, self.limit_gy - dose) / self.reference_dose_gy
        return float(share @ lack**2), -2.0 * share * lack / self.reference_dose_gy


class MeanDoseTerm(DoseLimitTerm):
    """Reduce the mean dose of a structure: weight · [max(0, Σ_j v_j d_j − limit) / d_ref]².

    Parameters and symbols are those of `DoseLimitTerm`, but the default weight is 1.

    Examples
    --------
    >>> MeanDoseTerm(6.0)
    MeanDoseTerm(6, weight=1)
    """

    kind = "mean_dose"

    def __init__(
        self, limit_gy: float, weight: float = 1.0, *, quantity: str = "physical_dose", alpha_beta: Any = None
    ) -> None:
        super().__init__(limit_gy, weight, quantity=quantity, alpha_beta=alpha_beta)

    def evaluate(self, dose: FloatArray, share: FloatArray) -> tuple[float, FloatArray]:
        """See `ObjectiveTerm.evaluate`; d_ref is `reference_dose_gy`."""
        excess = max(0.0, float(share @ dose) - self.limit_gy) / self.reference_dose_gy
        return excess**2, 2.0 * excess * share / self.reference_dose_gy


def _checked_alpha_beta(given: Any) -> Any:
    values = np.array(given, dtype=np.float64)
    if values.ndim:
        return values  # checked where the structure is known
    if not (np.isfinite(values) and values > 0):
        raise ValueError(f"alpha/beta is {given} Gy; it must be positive, and finite")
    return float(values)


def check_target_dvh(points: Sequence[tuple[float, float]] | FloatArray) -> FloatArray:
    """Check the points (Gy, volume share) of a target DVH; the error names the point that is wrong."""
    array = np.array(points, dtype=np.float64)
    if array.ndim != 2 or array.shape[1] != 2 or len(array) < 2:
        raise ValueError(f"a target DVH needs at least two (dose, volume) points, not an array of shape {array.shape}")
    if not np.isfinite(array).all() or (array[:, 0] < 0).any():
        raise ValueError(f"a target DVH needs finite doses of at least 0 Gy, not {array.tolist()}")
    dose, volume = array.T
    if volume[0] != 1.0:
        raise ValueError(f"a target DVH starts at volume share 1, not {volume[0]:g} (at {dose[0]:g} Gy)")
    if volume[-1] != 0.0:
        raise ValueError(f"a target DVH ends at volume share 0, not {volume[-1]:g} (at {dose[-1]:g} Gy)")
    for i in range(1, len(array)):
        if dose[i] < dose[i - 1]:
            raise ValueError(f"the doses of a target DVH must rise: {dose[i]:g} Gy follows {dose[i - 1]:g} Gy")
        if volume[i] > volume[i - 1]:
            raise ValueError(
                f"a target DVH must fall: volume share {volume[i]:g} at {dose[i]:g} Gy follows "
                f"{volume[i - 1]:g} at {dose[i - 1]:g} Gy"
            )
    if dose[-1] <= dose[0]:
        raise ValueError(f"a target DVH needs some width; all its points are at {dose[0]:g} Gy")
    return array
