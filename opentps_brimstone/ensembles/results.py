"""What an ensemble of plans gives."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from opentps_brimstone._typing import FloatArray
from opentps_brimstone._util.errors import BrimstoneError
from opentps_brimstone._util.tables import Html, format_table, html_table
from opentps_brimstone.model.dose import DoseArray

if TYPE_CHECKING:
    from opentps_brimstone.model.plan import Plan

__all__ = ["EnsembleError", "EnsembleResult", "VariantResult"]


class EnsembleError(BrimstoneError, RuntimeError):
    """A variant of a plan could not be computed, or the workers could not be started.

    Examples
    --------
    >>> import opentps_brimstone as pb
    >>> issubclass(EnsembleError, pb.BrimstoneError)
    True
    """


@dataclass(frozen=True)
class VariantResult:
    """One variant of a plan.

    Attributes
    ----------
    number : int
        Of the variant, from 0.
    name : str
        Its ``name``, or its number.
    success : bool
        Whether the finest level converged.
    message : str
        Why it ended.
    final_cost : float
        At the finest level run.
    iterations : int
        Over all levels.
    convergence_history : dict of str to list
        As in `OptimizationResult`.
    time_s : float
        Wall time in the worker, with preparation.
    error : str or None
        Why there is no result; None if there is one.
    traceback : str
        Where in the worker that came up.
    attempts : int
        1, and one more for every worker that ended while at it; 0 if it came from the checkpoint.

    Examples
    --------
    >>> from opentps_brimstone.ensembles.example import three_voxel_results
    >>> result = three_voxel_results()[0]
    >>> result.name, result.failed, result.beamlet_weights.shape
    ('3 Gy', False, (2,))
    """

    number: int
    name: str
    success: bool
    message: str
    final_cost: float
    iterations: int
    convergence_history: dict[str, list[Any]] = field(repr=False)
    time_s: float
    error: str | None
    traceback: str = field(repr=False)
    attempts: int
    _weights: FloatArray | None = field(repr=False)

    @property
    def beamlet_weights(self) -> FloatArray:
        """MU per fraction of all beamlets of the plan, shape (n_beamlets,); an EnsembleError if the variant failed."""
        if self._weights is None:
            raise EnsembleError(f"variant {self.name} has no beamlet weights: {self.error}")
        return self._weights

    @property
    def failed(self) -> bool:
        """Whether there is no result."""
        return self._weights is None

    def row(self) -> tuple[str, ...]:
        """Cells of a table under `EnsembleResult.COLUMNS`."""
        if self.error is not None:
            return (self.name, "", "", f"{self.time_s:.2f}", self.error.splitlines()[0])
        return (self.name, f"{self.final_cost:.5g}", str(self.iterations), f"{self.time_s:.2f}", self.message)


class EnsembleResult(Sequence[VariantResult]):
    """Results of all variants, in their order.

    Parameters
    ----------
    plan : Plan
    results : iterable of VariantResult
    time_s : float
        Wall time of all.

    Attributes
    ----------
    plan : Plan
    time_s : float

    Examples
    --------
    >>> from opentps_brimstone.ensembles.example import three_voxel_results
    >>> results = three_voxel_results()  # limits of 3, 4 and 5 Gy for the cord
    >>> results.beamlet_weights.shape, results.dose(2).shape, results.failed
    ((3, 2), (3, 1, 1), [])
    >>> results.best.final_cost == min(result.final_cost for result in results)
    True
    """

    COLUMNS = ("variant", "cost", "iterations", "time (s)", "")

    def __init__(self, plan: Plan, results: Iterable[VariantResult], time_s: float = math.nan) -> None:
        self.plan = plan
        self.time_s = time_s
        self._results = tuple(results)

    def __getitem__(self, index: Any) -> Any:
        return self._results[index]

    def __len__(self) -> int:
        return len(self._results)

    @property
    def failed(self) -> list[VariantResult]:
        """Variants without a result."""
        return [each for each in self._results if each.failed]

    @property
    def best(self) -> VariantResult:
        """Variant of the lowest cost; costs compare only if the objectives are the same."""
        there = [each for each in self._results if not each.failed]
        if not there:
            raise EnsembleError(f"none of the {len(self)} variants has a result: {self._results[0].error}")
        return min(there, key=lambda each: each.final_cost)

    def dose(self, number: int) -> DoseArray:
        """Dose of a variant, shape (nx, ny, nz), Gy over all fractions."""
        return DoseArray(self.plan.dose_of(self._results[number].beamlet_weights), self.plan.grid)

    @property
    def beamlet_weights(self) -> FloatArray:
        """Those of all variants, shape (n_variants, n_beamlets); NaN of those that failed."""
        count = self.plan.dose_influence.layout.n_beamlets
        missing = np.full(count, np.nan)
        return np.stack([missing if each.failed else each.beamlet_weights for each in self._results])

    @property
    def summary(self) -> str:
        """Numbers of plans and of failures, for people."""
        failed = len(self.failed)
        return f"{len(self) - failed} of {len(self)} variants" + (f", {failed} failed" if failed else "")

    def __str__(self) -> str:
        return format_table(self.COLUMNS, [each.row() for each in self._results])

    def _repr_html_(self) -> Html:
        return html_table(self.COLUMNS, [each.row() for each in self._results], caption=self.summary)

    def __repr__(self) -> str:
        return f"EnsembleResult({self.summary})"
