"""Quantities that are a quadratic function of dose, voxel by voxel."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from array_api_compat import array_namespace, is_numpy_array

from opentps_brimstone.quantities.arrays import Array, as_array, check, in_library_of
from opentps_brimstone.quantities.previous_dose import PreviousDose

__all__ = ["DoseMap"]


_RANGES = {"c0": "finite", "c1": "0 or more", "c2": "0 or more"}


@dataclass(frozen=True, eq=False)
class DoseMap:
    """A quantity q(d) = c0 + c1 d + c2 d² of dose, which never falls as dose rises from 0.

    Dose is in Gy over all fractions of the present course; c0 is what was given before. BED and EQD2 follow Fowler
    (Br J Radiol 62, 1989, 679), with the Lea-Catcheside factor G of protracted fractions on the quadratic part.

    Parameters
    ----------
    c0, c1, c2 : float or array
        Numbers, or one for each voxel; those that are arrays have one shape.

    Raises
    ------
    TypeError, ValueError
        If a coefficient is not finite, shapes differ, c1 or c2 is negative, or both are 0 in a voxel.

    Examples
    --------
    >>> eqd2 = DoseMap.eqd2(alpha_beta=2.0, number_of_fractions=20, previous=PreviousDose(30.0, 10, recovery=0.25))
    >>> eqd2.value(40.0), eqd2.slope(40.0), round(eqd2.inverse(50.0), 3)
    (68.125, 1.5, 26.368)
    """

    c0: Any = 0.0
    c1: Any = 1.0
    c2: Any = 0.0

    def __post_init__(self) -> None:
        for name in ("c0", "c1", "c2"):
            object.__setattr__(self, name, _numbers(getattr(self, name), name, _RANGES[name]))
        shapes = {tuple(c.shape) for c in (self.c0, self.c1, self.c2) if not isinstance(c, float)}
        if len(shapes) > 1:
            raise ValueError(
                f"the coefficients have the shapes {sorted(shapes)}; they must be numbers or have one shape"
            )
        rises = as_array(self.c1 + self.c2, "c1 + c2")
        check(rises > 0, rises, "c1 + c2", "voxel", "positive")

    # ------------------------------------------------------------------------------------------------ constructors

    @staticmethod
    def physical_dose(previous: PreviousDose | None = None) -> DoseMap:
        """Dose itself."""
        return DoseMap()._after_course(lambda _: DoseMap(), previous)

    @staticmethod
    def bed(
        alpha_beta: Any,
        number_of_fractions: Any,
        lea_catcheside: float = 1.0,
        previous: PreviousDose | None = None,
    ) -> DoseMap:
        """Biologically effective dose, d (1 + G d/(n α/β)).

        Parameters
        ----------
        alpha_beta : float or array
            Gy, a number or one for each voxel.
        lea_catcheside : float
            G in (0, 1]: 1 for fractions that are short against repair.
        previous : PreviousDose, optional
            Counted in with the same tissue and without protraction.
        """
        r = _numbers(alpha_beta, "alpha/beta", "positive")

        def course(fractions: float | Array, g: float = 1.0) -> DoseMap:
            return DoseMap(0.0, 1.0, g / (fractions * r))

        return course(_fractions(number_of_fractions), _g(lea_catcheside))._after_course(course, previous)

    @staticmethod
    def eqd2(
        alpha_beta: Any,
        number_of_fractions: Any,
        lea_catcheside: float = 1.0,
        previous: PreviousDose | None = None,
    ) -> DoseMap:
        """Equieffective dose in fractions of 2 Gy, d (G d/n + α/β) / (2 + α/β), of what `bed` takes."""
        r = _numbers(alpha_beta, "alpha/beta", "positive")

        def course(fractions: float | Array, g: float = 1.0) -> DoseMap:
            return DoseMap(0.0, r / (r + 2.0), g / (fractions * (r + 2.0)))

        return course(_fractions(number_of_fractions), _g(lea_catcheside))._after_course(course, previous)

    @staticmethod
    def effect(
        alpha: Any,
        beta: Any,
        number_of_fractions: Any,
        lea_catcheside: float = 1.0,
        previous: PreviousDose | None = None,
    ) -> DoseMap:
        """Biological effect of the linear-quadratic model, α d + G β d²/n, with α in 1/Gy and β in 1/Gy².

        They are numbers, or one for each voxel; the others are as for `bed`.
        """
        linear, quadratic = _numbers(alpha, "alpha", "positive"), _numbers(beta, "beta", "0 or more")

        def course(fractions: float | Array, g: float = 1.0) -> DoseMap:
            return DoseMap(0.0, linear, g * quadratic / fractions)

        return course(_fractions(number_of_fractions), _g(lea_catcheside))._after_course(course, previous)

    @staticmethod
    def constant_rbe(rbe: Any) -> DoseMap:
        """Dose times a relative biological effectiveness."""
        return DoseMap(0.0, _numbers(rbe, "the RBE", "positive"), 0.0)

    def _after_course(self, course: Callable[[float], DoseMap], previous: PreviousDose | None) -> DoseMap:
        """Count an earlier course in, whose own map depends on its number of fractions."""
        if previous is None:
            return self
        before = course(float(previous.number_of_fractions)).value(previous.dose)
        return self.after(before, previous.recovery)

    def after(self, before: Any, recovery: float = 0.0) -> DoseMap:
        """Count in the same quantity of an earlier course, less the share that the tissue has recovered from since."""
        if not 0 <= recovery <= 1:
            raise ValueError(f"the recovery is {recovery}; it must be a share from 0 to 1")
        given = _numbers(before, "what was given before", "0 or more")
        return replace(self, c0=self.c0 + (1.0 - recovery) * given)

    # -------------------------------------------------------------------------------------------------- its values

    @property
    def is_uniform(self) -> bool:
        """Whether it is the same in all voxels, so that DVH points and limits can be mapped by themselves."""
        return all(isinstance(c, float) for c in (self.c0, self.c1, self.c2))

    def value(self, dose: Any) -> Any:
        """Quantity of a dose in Gy over all fractions, one or of the coefficients' shape."""
        d = self._argument(dose, "the dose")
        c0, c1, c2 = self._coefficients(d)
        return c0 + d * (c1 + c2 * d)

    def slope(self, dose: Any) -> Any:
        """Slope of the quantity over a dose in Gy over all fractions, one or of the coefficients' shape."""
        d = self._argument(dose, "the dose")
        _, c1, c2 = self._coefficients(d)
        return c1 + 2.0 * c2 * d

    def inverse(self, quantity: Any) -> Any:
        """Dose that a quantity is reached with, in Gy over all fractions.

        Solved as d = 2 Δ / (c1 + √(c1² + 4 c2 Δ)), Δ = q − c0, which holds for c2 = 0 too and cancels no digits. A
        quantity below what was given before, which no dose undoes, is a ValueError.
        """
        q = self._argument(quantity, "the quantity")
        c0, c1, c2 = self._coefficients(q)
        left = as_array(q - c0, "the quantity")
        check(left >= 0, left, "the quantity less what was given before", "voxel", "0 or more")
        c1, c2 = (in_library_of(left, c, "a coefficient") for c in (c1, c2))
        xp = array_namespace(left)
        divisor = c1 + xp.sqrt(c1 * c1 + 4.0 * c2 * left)
        # The divisor is 0 only where c1 and what is left are.
        dose = xp.where(divisor > 0, 2.0 * left / xp.where(divisor > 0, divisor, xp.ones_like(divisor)), 0.0 * divisor)
        return float(dose) if dose.ndim == 0 else dose

    def _argument(self, given: Any, name: str) -> float | Array:
        values = as_array(given, name)
        check(array_namespace(values).isfinite(values), values, name, "voxel", "finite")
        if values.ndim == 0:
            return float(values)
        for c in (self.c0, self.c1, self.c2):
            if not isinstance(c, float) and c.shape != values.shape:
                raise ValueError(
                    f"{name} has the shape {tuple(values.shape)}, the coefficients {tuple(c.shape)}; they must be one"
                )
        return values

    def _coefficients(self, argument: float | Array) -> tuple[Any, Any, Any]:
        if isinstance(argument, float):
            return self.c0, self.c1, self.c2
        c0, c1, c2 = (in_library_of(argument, c, "a coefficient") for c in (self.c0, self.c1, self.c2))
        return c0, c1, c2


def _numbers(given: Any, name: str, wanted: str) -> float | Array:
    """Give finite numbers of a range, "finite", "0 or more" or "positive", as a float or an array of their own."""
    values = as_array(given, name)
    finite = array_namespace(values).isfinite(values)
    in_range = {"finite": finite, "0 or more": values >= 0, "positive": values > 0}[wanted]
    check(finite & in_range, values, name, "voxel", wanted if wanted == "finite" else f"{wanted}, and finite")
    if is_numpy_array(values):
        values.flags.writeable = False
    return float(values) if values.ndim == 0 else values


def _fractions(given: Any) -> float | Array:
    fractions = _numbers(given, "the number of fractions", "positive")
    values = as_array(fractions, "the number of fractions")
    whole = (values >= 1) & (values == array_namespace(values).round(values))
    check(whole, values, "the number of fractions", "voxel", "a whole number from 1")
    return fractions


def _g(given: float) -> float:
    if not 0 < given <= 1:
        raise ValueError(f"the Lea-Catcheside factor is {given}; it must be above 0 and at most 1")
    return float(given)
