"""Trade-offs: plans of which none is better than another, and the plans between them."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from opentps_brimstone._typing import FloatArray
from opentps_brimstone._util.progress import Progress
from opentps_brimstone._util.tables import Html, format_table, html_table
from opentps_brimstone.ensembles.criteria import Criterion, checked_criteria, default_criteria, non_dominated
from opentps_brimstone.ensembles.mixing import best_shares
from opentps_brimstone.ensembles.results import EnsembleError, EnsembleResult, VariantResult
from opentps_brimstone.ensembles.run import run_ensemble
from opentps_brimstone.ensembles.terms import as_terms
from opentps_brimstone.ensembles.variants import Objectives
from opentps_brimstone.evaluation import DVHGoal
from opentps_brimstone.model.dose import DoseArray
from opentps_brimstone.optimization.terms import ObjectiveTerm

if TYPE_CHECKING:
    from opentps_brimstone.model.plan import Plan
    from opentps_brimstone.optimization.settings import OptimizerSettings

__all__ = ["MixedPlan", "Tradeoff", "explore_tradeoff"]

# Doses of all plans are kept if they take no more than this.
_KEPT_BYTES = 2**30
# Rounds in which bounds are corrected by how the values of a mixture differ from mixed values.
_CORRECTIONS = 10
# Relative to a criterion's range: how far inside its bound a mixture aims, and what counts as rounding.
_RESERVE, _ROUNDING = 1e-3, 1e-9


@dataclass(frozen=True)
class MixedPlan:
    """A mixture of plans: its beamlet weights, and so its dose, are weighted means of theirs.

    Attributes
    ----------
    shares : ndarray, shape (n_plans,)
        Of the plans of the trade-off; they sum to 1.
    beamlet_weights : ndarray, shape (n_beamlets,)
        MU per fraction.
    dose : DoseArray, shape (nx, ny, nz)
        Gy over all fractions.
    values : dict of str to float
        Of each criterion, by its name.
    exceeded : dict of str to float
        How far the bounds that no mixture keeps are exceeded, by criterion; empty if all are kept.

    Examples
    --------
    >>> from opentps_brimstone.ensembles.example import three_voxel_tradeoff
    >>> plan = three_voxel_tradeoff().navigate({})
    >>> float(plan.shares.sum().round(9)), plan.beamlet_weights.shape, plan.dose.shape, sorted(plan.values)
    (1.0, (2,), (3, 1, 1), ['Cord Dmax', 'PTV Dmin'])
    """

    shares: FloatArray
    beamlet_weights: FloatArray = field(repr=False)
    dose: DoseArray = field(repr=False)
    values: dict[str, float]
    exceeded: dict[str, float]


def explore_tradeoff(
    plan: Plan,
    objectives: Objectives | Iterable[DVHGoal | str],
    n: int = 60,
    *,
    criteria: Iterable[DVHGoal | str] | None = None,
    spread: float = 30.0,
    client: Any = None,
    settings: OptimizerSettings | None = None,
    workers: int | None = None,
    threads: int | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    callback: Callable[[VariantResult], Any] | None = None,
    progress: Progress = True,
) -> Tradeoff:
    """Find plans of which none is better than another, by varying the weights of structures.

    The first plan has the weights as they are. In the others, the terms of each structure but the first target have a
    factor of their own; the factors fill their range evenly (Halton's sequence of their logarithms).

    Parameters
    ----------
    plan : Plan
        Not changed.
    objectives : iterable of (Structure or str, ObjectiveTerm), or of DVHGoal or str
        Terms, or goals that `prescription_from_goals` makes terms of.
    n : int
        Plans to make.
    criteria : iterable of DVHGoal or str, optional
        What plans are compared by, such as ``PTV D95`` or ``Core D10``: more is better in targets and less in others,
        unless a relation says otherwise, as in ``PTV D5 <= 55 Gy``. Default: D95 of the targets with terms, and Dmean
        of the other structures.
    spread : float
        Factors go from 1/spread to spread.
    client, settings, workers, threads, checkpoint, callback, progress
        As for `run_ensemble`.

    Returns
    -------
    Tradeoff

    Raises
    ------
    TypeError, ValueError
        Before the first plan is made: naming what is wrong.
    EnsembleError
        If no plan could be made.

    Examples
    --------
    >>> import opentps_brimstone as pb
    >>> from opentps_brimstone.model.example import three_voxel_plan
    >>> terms = [("PTV", pb.KLDivergenceTerm(dose_range=(9, 11))), ("Cord", pb.MeanDoseTerm(1.0))]
    >>> tradeoff = explore_tradeoff(
    ...     three_voxel_plan(), terms, 4, criteria=["PTV Dmin", "Cord Dmax"], workers=1, progress=False
    ... )
    >>> tradeoff.values.shape[1]
    2
    """
    if n < 1 or int(n) != n:
        raise ValueError(f"n is {n}; it must be a whole number of plans, from 1")
    if not spread > 1:
        raise ValueError(f"spread is {spread}; it must be above 1")
    terms = as_terms(plan, objectives)
    names = list(dict.fromkeys(name for name, _ in terms))
    compared = checked_criteria(plan, default_criteria(plan, names) if criteria is None else criteria)
    factors = _factors(plan, names, int(n), spread)
    results = run_ensemble(
        plan,
        [{"objectives": _weighted(terms, dict(zip(names, row, strict=True)))} for row in factors],
        client,
        settings=settings,
        workers=workers,
        threads=threads,
        checkpoint=checkpoint,
        callback=callback,
        progress=progress,
    )
    return Tradeoff.of(results, compared, names, factors)


class Tradeoff:
    """Plans of which none is better than another in all criteria.

    Attributes
    ----------
    plan : Plan
    criteria : tuple of Criterion
    values : ndarray, shape (n_plans, n_criteria)
        Of the plans, in the units of the metrics.
    beamlet_weights : ndarray, shape (n_plans, n_beamlets)
        MU per fraction.
    structures : tuple of str
        Whose weights were varied.
    factors : ndarray, shape (n_plans, n_structures)
        Of the weights of their terms.
    dominated : ndarray, shape (n_dominated, n_criteria)
        Values of the plans that were left out because another is better.
    time_s : float
        Wall time of all plans.

    Examples
    --------
    >>> from opentps_brimstone.ensembles.example import three_voxel_tradeoff
    >>> tradeoff = three_voxel_tradeoff()
    >>> [criterion.name for criterion in tradeoff.criteria]
    ['PTV Dmin', 'Cord Dmax']
    >>> lowest = tradeoff.values[:, 1].min()
    >>> bool(tradeoff.navigate({"Cord Dmax": lowest}).values["Cord Dmax"] <= lowest + 1e-3)
    True
    """

    def __init__(
        self,
        plan: Plan,
        criteria: tuple[Criterion, ...],
        values: FloatArray,
        beamlet_weights: FloatArray,
        structures: Iterable[str],
        factors: FloatArray,
        time_s: float = 0.0,
    ) -> None:
        kept = non_dominated(values * [criterion.sign for criterion in criteria])
        self.plan = plan
        self.criteria = criteria
        self.values = values[kept]
        self.beamlet_weights = beamlet_weights[kept]
        self.structures = tuple(structures)
        self.factors = factors[kept]
        self.dominated = values[~kept]
        self.time_s = time_s

    @classmethod
    def of(
        cls, results: EnsembleResult, criteria: tuple[Criterion, ...], structures: Iterable[str], factors: FloatArray
    ) -> Tradeoff:
        """Compare the plans of an ensemble; those that failed are left out."""
        there = [each.number for each in results if not each.failed]
        if not there:
            raise EnsembleError(f"none of the {len(results)} plans could be made: {results[0].error}")
        plan = results.plan
        values = np.array([_values(plan, criteria, np.asarray(results.dose(number))) for number in there])
        weights = results.beamlet_weights[there]
        return cls(plan, criteria, values, weights, structures, factors[there], results.time_s)

    def __len__(self) -> int:
        return len(self.values)

    # ------------------------------------------------------------------------------------------------------- mixtures

    def mix(self, shares: FloatArray) -> MixedPlan:
        """Mix the plans.

        Parameters
        ----------
        shares : array_like, shape (n_plans,)
            Not negative; they are scaled to sum to 1.

        Returns
        -------
        MixedPlan

        Raises
        ------
        ValueError
            If there is not one for each plan, one is negative, or all are 0.
        """
        given = np.asarray(shares, dtype=np.float64)
        if given.shape != (len(self),):
            raise ValueError(f"expected {len(self)} shares, got an array of shape {given.shape}")
        if not (np.isfinite(given).all() and (given >= 0).all() and given.any()):
            raise ValueError("shares must be finite and not negative, and one must be positive")
        return self._mixed(given / given.sum())

    def navigate(self, bounds: Mapping[str, float], prefer: str | None = None) -> MixedPlan:
        """Find the mixture of plans that keeps bounds and is best otherwise.

        A linear program mixes the plans' values. The values of the mixture itself differ from these where metrics are
        not linear in the dose; the bounds are corrected by the difference, until it no longer changes.

        Parameters
        ----------
        bounds : mapping of str to float
            By names of criteria: lowest values where more is better, else highest ones.
        prefer : str, optional
            Name of the criterion to be as good as can be. Default: all alike, each relative to its range.

        Returns
        -------
        MixedPlan
            If no mixture keeps the bounds, the one that exceeds them least, relative to the criteria's ranges.

        Raises
        ------
        ValueError
            If a criterion is unknown or a bound is not finite.
        """
        sign = np.array([criterion.sign for criterion in self.criteria])
        names = [criterion.name for criterion in self.criteria]
        for name in (*bounds, *([] if prefer is None else [prefer])):
            if name not in names:
                raise ValueError(f"{name!r} is not a criterion; they are {', '.join(names)}")
        limit = sign * np.array([bounds.get(name, sign[k] * np.inf) for k, name in enumerate(names)])
        if np.isnan(limit).any() or np.isneginf(limit).any():
            raise ValueError(f"the bounds are {dict(bounds)}; they must be finite")
        wanted = np.array([1.0 if prefer in (None, name) else 1e-3 for name in names])
        return self._within(sign, limit, wanted)

    def _within(self, sign: FloatArray, limit: FloatArray, wanted: FloatArray) -> MixedPlan:
        costs = self.values * sign
        span = np.maximum(np.ptp(costs, axis=0), 1e-9)
        names = [criterion.name for criterion in self.criteria]
        best: tuple[tuple[float, float], MixedPlan] | None = None
        correction = np.zeros(len(span))
        for _ in range(_CORRECTIONS):
            aim = limit - correction - _RESERVE * span
            found = self._mixed(best_shares(costs / span, aim / span, wanted))
            reached = np.array([found.values[name] for name in names]) * sign
            over = reached - limit
            beyond = np.where(over > _ROUNDING * span, over, 0.0)
            exceeded = {name: float(amount) for name, amount in zip(names, beyond, strict=True) if amount > 0}
            rank = float((beyond / span).sum()), float(reached / span @ wanted)
            if best is None or rank < best[0]:
                best = rank, replace(found, exceeded=exceeded)
            before, correction = correction, reached - found.shares @ costs
            if (np.abs(correction - before) <= _RESERVE * span).all() and not exceeded:
                break
        assert best is not None
        return best[1]

    def _mixed(self, shares: FloatArray) -> MixedPlan:
        dose = self._dose(shares)
        values = _values(self.plan, self.criteria, dose)
        named = dict(zip((criterion.name for criterion in self.criteria), values, strict=True))
        return MixedPlan(shares, shares @ self.beamlet_weights, DoseArray(dose, self.plan.grid), named, {})

    def _dose(self, shares: FloatArray) -> FloatArray:
        if self._doses is None:
            return self.plan.dose_of(shares @ self.beamlet_weights)
        used = np.flatnonzero(shares)
        dose: FloatArray = np.einsum("i,i...->...", shares[used], self._doses[used])
        return dose

    @cached_property
    def _doses(self) -> FloatArray | None:
        """Doses of the plans, of which a mixture's is a mean; None if they would take too much memory."""
        # A negative intermediate dose is cut at 0 after the sum.
        if self.plan.grid.n_voxels * len(self) * 8 > _KEPT_BYTES or self.plan.intermediate_dose is not None:
            return None
        return np.stack([self.plan.dose_of(weights) for weights in self.beamlet_weights])

    @property
    def columns(self) -> tuple[str, ...]:
        """Heads of the table's columns."""
        return ("plan", *(criterion.label for criterion in self.criteria), *(f"x {name}" for name in self.structures))

    def rows(self) -> list[tuple[str, ...]]:
        """Rows of text under `columns`: values of the criteria, and factors of the weights; best in the first first."""
        order = np.argsort(self.values[:, 0] * self.criteria[0].sign, kind="stable")
        return [
            (str(i), *(f"{value:.2f}" for value in self.values[i]), *(f"{factor:.3g}" for factor in self.factors[i]))
            for i in order
        ]

    @property
    def summary(self) -> str:
        """Numbers of plans, for people."""
        total = len(self) + len(self.dominated)
        return f"{len(self)} of {total} plans, of which none is better than another"

    def __str__(self) -> str:
        return format_table(self.columns, self.rows())

    def _repr_html_(self) -> Html:
        return html_table(self.columns, self.rows(), caption=self.summary)

    def __repr__(self) -> str:
        return f"Tradeoff({self.summary})"


def _values(plan: Plan, criteria: Iterable[Criterion], dose: FloatArray) -> list[float]:
    return [criterion.value(plan, dose) for criterion in criteria]


def _factors(plan: Plan, names: list[str], n: int, spread: float) -> FloatArray:
    """Factors of the structures' weights, shape (n, structures): 1 in the first row, and of the first target."""
    from scipy.stats import qmc

    fixed = next((k for k, name in enumerate(names) if plan.structures[name].is_target), None)
    varied = [k for k in range(len(names)) if k != fixed]
    factors = np.ones((n, len(names)))
    if varied and n > 1:
        even = qmc.Halton(len(varied), scramble=False).random(n)[1:]  # the first is a corner
        factors[1:, varied] = spread ** (2.0 * even - 1.0)
    return factors


def _weighted(terms: list[tuple[str, ObjectiveTerm]], factors: Mapping[str, float]) -> list[tuple[str, ObjectiveTerm]]:
    made = []
    for name, term in terms:
        own = copy.copy(term)
        own.structure = None
        own.weight = term.weight * float(factors[name])
        made.append((name, own))
    return made
