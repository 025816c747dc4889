"""Terms on what follows from further matrices of a plan: of alpha-, root-beta- and LET-weighted dose."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from opentps_brimstone import _core
from opentps_brimstone._typing import AnyIntArray, BoolArray, FloatArray
from opentps_brimstone.quantities.dij import Dij
from opentps_brimstone.quantities.of_plan import follows_from_matrices
from opentps_brimstone.quantities.of_structure import MATRICES_OF

if TYPE_CHECKING:
    from opentps_brimstone.model.plan import Plan
    from opentps_brimstone.model.structure import Structure
    from opentps_brimstone.optimization.terms import ObjectiveTerm

__all__ = ["Biology", "channel_of", "matrices_for"]

_CORE_NAMES = {"alpha_dose": "alpha", "sqrt_beta_dose": "sqrt_beta", "let_dose": "let"}


def channel_of(term: ObjectiveTerm, plan: Plan) -> str:
    """Tell what of the core's a term looks at: "dose", or a channel of further matrices that the plan has."""
    if not follows_from_matrices(plan, term.quantity):
        return "dose"
    return "rbe_dose" if term.quantity == "rbe_x_dose" else term.quantity


def matrices_for(channels: Iterable[str]) -> list[str]:
    """Name the further matrices that channels follow from, each once."""
    needed = {name for channel in channels for name in _matrices_of(channel)}
    return [name for name in _CORE_NAMES if name in needed]


def _matrices_of(channel: str) -> tuple[str, ...]:
    return MATRICES_OF.get("rbe_x_dose" if channel == "rbe_dose" else channel, ())


class Biology:
    """The further matrices of a plan, for the core: weights are MU over all fractions.

    Parameters
    ----------
    plan : Plan
        With the matrices that the channels follow from.
    channels : set of str
        What terms look at. RBE-weighted dose takes the plan's `alphax` and `betax`.

    Raises
    ------
    ValueError
        If `alphax` or `betax` is missing or out of its range.
    """

    def __init__(self, plan: Plan, channels: set[str]) -> None:
        n = plan.number_of_fractions
        shape = (plan.grid.n_voxels,)
        dij = Dij(plan)
        self._dose = plan.dose_influence.matrix
        self._matrices = {name: dij.matrices(name)[0].tocsc() for name in matrices_for(channels)}
        if "sqrt_beta_dose" in self._matrices:
            # Quadratic parts of fractions add up, not their roots: that of all is sqrt(n) times one.
            self._matrices["sqrt_beta_dose"] = self._matrices["sqrt_beta_dose"] / np.float32(math.sqrt(n))
        self._alpha_x, self._beta_x = np.ones(shape), np.zeros(shape)
        if "rbe_dose" in channels:
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
    ) -> _core.Biology:
        """Convert it for the core; `fixed` are the weights of beamlets that are not optimized."""

        def on_rows(values: FloatArray, elsewhere: float) -> FloatArray:
            found = np.full(n_rows, elsewhere)
            found[rows] = values[of_interest]
            return found

        def further(matrix: Any) -> tuple[_core.DoseMatrix, FloatArray]:
            start = matrix.indptr.astype(np.int64)
            data = matrix.data.astype(np.float32, copy=False)
            core = _core.DoseMatrix(matrix.shape[0], start, matrix.indices, data, row_map, n_rows, beamlets, threads)
            return core, np.empty(0) if fixed is None else on_rows(matrix @ fixed, 0.0)

        given = {_CORE_NAMES[name]: further(matrix) for name, matrix in self._matrices.items()}
        return _core.Biology(**given, alpha_x=on_rows(self._alpha_x, 1.0), beta_x=on_rows(self._beta_x, 0.0))

    def uniform_weight(self, structure: Structure, channel: str, beamlets: AnyIntArray, asked: float) -> float:
        """Compute the common weight of all beamlets that gives a structure, by its mean products, what is asked."""
        means = self._means(structure, beamlets)
        needed = _matrices_of(channel)
        if not any(means[name] > 0 for name in needed):
            raise ValueError(
                f"{structure.name!r} gets nothing from any beamlet by the plan's {' and '.join(needed)}; check these "
                "matrices, or remove its objective"
            )
        if channel in ("effect", "rbe_dose"):
            a, b = means["alpha_dose"], means["sqrt_beta_dose"]
            effect = asked
            if channel == "rbe_dose":
                alpha_x, beta_x = self._tissue(structure)
                effect = alpha_x * asked + beta_x * asked**2
            # a u + b² u² = effect, so that no digits cancel.
            return 2.0 * effect / (a + math.sqrt(a * a + 4.0 * b * b * effect))
        return asked / means[channel]

    def value(self, structure: Structure, channel: str, beamlets: AnyIntArray, weight: float) -> float:
        """Compute a channel's value for a common weight of all beamlets in a structure, by its mean products."""
        means = self._means(structure, beamlets)
        if channel == "let":
            dose = self._mean(self._dose, structure, beamlets)
            return means["let_dose"] / dose if dose > 0 else 0.0
        if channel not in ("effect", "rbe_dose"):
            return means[channel] * weight
        effect = means["alpha_dose"] * weight + (means["sqrt_beta_dose"] * weight) ** 2
        if channel == "effect":
            return effect
        alpha_x, beta_x = self._tissue(structure)
        return 2.0 * effect / (alpha_x + math.sqrt(alpha_x**2 + 4.0 * beta_x * effect))

    def _means(self, structure: Structure, beamlets: AnyIntArray) -> dict[str, float]:
        return {name: self._mean(matrix, structure, beamlets) for name, matrix in self._matrices.items()}

    @staticmethod
    def _mean(matrix: Any, structure: Structure, beamlets: AnyIntArray) -> float:
        share = structure.share.ravel() / structure.share.sum()
        return float((matrix.T @ share)[beamlets].sum())

    def _tissue(self, structure: Structure) -> tuple[float, float]:
        share = structure.share.ravel() / structure.share.sum()
        return float(share @ self._alpha_x), float(share @ self._beta_x)
