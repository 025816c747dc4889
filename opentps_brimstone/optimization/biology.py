"""Terms on effect and RBE-weighted dose, where a plan has the matrices of alpha- and root-beta-weighted dose."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from opentps_brimstone import _core
from opentps_brimstone._typing import AnyIntArray, BoolArray, FloatArray
from opentps_brimstone.quantities.dij import Dij

if TYPE_CHECKING:
    from opentps_brimstone.model.plan import Plan
    from opentps_brimstone.model.structure import Structure
    from opentps_brimstone.optimization.terms import ObjectiveTerm

__all__ = ["Biology", "channel_of"]

_CHANNELS = {"effect": "effect", "rbe_x_dose": "rbe_dose"}


def channel_of(term: ObjectiveTerm, plan: Plan) -> str:
    """Tell what of the core's a term looks at: "effect" or "rbe_dose" with matrices for it, else "dose"."""
    has_matrices = plan.alpha_dose is not None and plan.sqrt_beta_dose is not None
    return _CHANNELS.get(term.quantity, "dose") if has_matrices else "dose"


class Biology:
    """The linear-quadratic matrices of a plan, for the core: weights are MU over all fractions.

    Parameters
    ----------
    plan : Plan
        With `alpha_dose` and `sqrt_beta_dose`.
    needs_tissue : bool
        Whether a term is on RBE-weighted dose, which takes `alphax` and `betax`.

    Raises
    ------
    ValueError
        If `alphax` or `betax` is missing or out of its range.
    """

    def __init__(self, plan: Plan, *, needs_tissue: bool) -> None:
        n = plan.number_of_fractions
        shape = (plan.grid.n_voxels,)
        dij = Dij(plan)
        self._alpha, self._sqrt_beta = (dij.matrices(name)[0].tocsc() for name in ("alpha_dose", "sqrt_beta_dose"))
        # Quadratic parts of fractions add up, not their roots: that of all is sqrt(n) times one.
        self._sqrt_beta = self._sqrt_beta / np.float32(math.sqrt(n))
        self._alpha_x, self._beta_x = np.ones(shape), np.zeros(shape)
        if needs_tissue:
            needed_by = "the quantity 'rbe_x_dose'"
            self._alpha_x = np.broadcast_to(dij.parameter("alphax", needed_by), shape)
            self._beta_x = np.broadcast_to(dij.parameter("betax", needed_by), shape) / n

    def for_core(
        self,
        row_map: npt.NDArray[np.int32],
        of_interest: BoolArray,
        rows: npt.NDArray[np.uint32],
        n_rows: int,
        beamlets: AnyIntArray,
        fixed: FloatArray | None,
        threads: int,
    ) -> _core.LinearQuadratic:
        """Convert it for the core; `fixed` are the weights of beamlets that are not optimized."""

        def on_rows(values: FloatArray, elsewhere: float) -> FloatArray:
            found = np.full(n_rows, elsewhere)
            found[rows] = values[of_interest]
            return found

        def core_matrix(matrix: Any) -> _core.DoseMatrix:
            start = matrix.indptr.astype(np.int64)
            data = matrix.data.astype(np.float32, copy=False)
            return _core.DoseMatrix(matrix.shape[0], start, matrix.indices, data, row_map, n_rows, beamlets, threads)

        base = [np.empty(0)] * 2
        if fixed is not None:
            base = [on_rows(matrix @ fixed, 0.0) for matrix in (self._alpha, self._sqrt_beta)]
        return _core.LinearQuadratic(
            alpha=core_matrix(self._alpha),
            sqrt_beta=core_matrix(self._sqrt_beta),
            alpha_x=on_rows(self._alpha_x, 1.0),
            beta_x=on_rows(self._beta_x, 0.0),
            base_a=base[0],
            base_b=base[1],
        )

    def uniform_weight(self, structure: Structure, channel: str, beamlets: AnyIntArray, asked: float) -> float:
        """Compute the common weight of all beamlets that gives a structure, by its mean a and b, what is asked."""
        a, b, alpha_x, beta_x = self._means(structure, beamlets)
        effect = asked if channel == "effect" else alpha_x * asked + beta_x * asked**2
        # a u + b² u² = effect, so that no digits cancel.
        return 2.0 * effect / (a + math.sqrt(a * a + 4.0 * b * b * effect))

    def value(self, structure: Structure, channel: str, beamlets: AnyIntArray, weight: float) -> float:
        """Effect or RBE-weighted dose that a common weight of all beamlets gives a structure, by its mean a and b."""
        a, b, alpha_x, beta_x = self._means(structure, beamlets)
        effect = a * weight + (b * weight) ** 2
        if channel == "effect":
            return effect
        return 2.0 * effect / (alpha_x + math.sqrt(alpha_x**2 + 4.0 * beta_x * effect))

    def _means(self, structure: Structure, beamlets: AnyIntArray) -> tuple[float, float, float, float]:
        share = structure.share.ravel() / structure.share.sum()
        a, b = (float((matrix.T @ share)[beamlets].sum()) for matrix in (self._alpha, self._sqrt_beta))
        return a, b, float(share @ self._alpha_x), float(share @ self._beta_x)
