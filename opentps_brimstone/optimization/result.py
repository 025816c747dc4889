"""The result of an optimization."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from opentps_brimstone._typing import FloatArray
from opentps_brimstone._util.tables import Html, html_table, sparkline

__all__ = ["OptimizationResult", "convergence_row"]


@dataclass(frozen=True)
class OptimizationResult:
    """Beamlet weights found by an optimization, and how it went.

    Attributes
    ----------
    success : bool
        Whether the finest level converged and the targets are reached: False where at least 2 % of one is out of the
        beamlets' reach, half of it gets less than 95 % of what is asked for, or a quarter with beamlets at the ceiling.
    message : str
        Why it ended, what was done to start weights, and, if a target is not reached, all notes.
    notes : tuple of str
        Targets that fall short, beamlets at the ceiling and those left out, structures that get no dose, and what was
        done to start weights.
    final_cost : float
        At the finest level run.
    iterations : int
        Over all levels.
    beamlet_weights : ndarray, shape (n_beamlets,)
        MU per fraction.
    dose : ndarray, shape (nx, ny, nz)
        Gy over all fractions.
    convergence_history : dict of str to list
        "iteration", "level", "cost", "gradient_norm" and "time_s" of each iteration.
    time_s : float
        Wall time of the iterations.
    preparation_s : float
        Wall time besides: selection of voxels and beamlets, coarser grids, and scatter from far away.
    last_update_gy : float or None
        With full scatter, by how much the last update of scatter from far away, of the final weights, changed D98, D95,
        D50, D2 or mean dose of a structure with an objective: what the optimizer knew differed from `dose` by that.

    Examples
    --------
    >>> from opentps_brimstone.optimization.example import three_voxel_optimizer
    >>> optimizer = three_voxel_optimizer()  # of a target that is to get 9 to 11 Gy
    >>> result = optimizer.optimize()
    >>> result.message
    'converged at all 4 levels'
    >>> result.dose.shape, result.beamlet_weights.shape
    ((3, 1, 1), (2,))
    """

    success: bool
    message: str
    final_cost: float
    iterations: int
    beamlet_weights: FloatArray = field(repr=False)
    dose: FloatArray = field(repr=False)
    convergence_history: dict[str, list[Any]] = field(repr=False)
    time_s: float = 0.0
    preparation_s: float = 0.0
    notes: tuple[str, ...] = ()
    last_update_gy: float | None = None

    def _repr_html_(self) -> Html:
        rows = [
            ("cost", f"{self.final_cost:.4g}"),
            ("iterations", str(self.iterations)),
            ("time", f"{self.time_s:.1f} s, after {self.preparation_s:.1f} s of preparation"),
            ("MU per fraction", f"{self.beamlet_weights.sum():.1f} in {len(self.beamlet_weights)} beamlets"),
            convergence_row(self.convergence_history),
        ]
        rows += [("note", note) for note in self.notes]
        return html_table(("Optimization", self.message), rows)


def convergence_row(history: dict[str, list[Any]]) -> tuple[str, str]:
    """Draw the cost of every iteration, on a logarithmic scale, for a table in HTML."""
    cost = np.array(history["cost"], dtype=np.float64)
    shown = len(cost) > 1 and cost.min() > 0
    return "convergence", sparkline(np.arange(len(cost)), np.log(cost)) if shown else ""
