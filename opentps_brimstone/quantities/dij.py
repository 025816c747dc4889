"""What quantities are computed from: matrices of a plan, tissue parameters and fractions, found and checked."""

from __future__ import annotations

import inspect
from typing import Any

from array_api_compat import array_namespace, size

from opentps_brimstone.quantities.arrays import Array, as_array, check
from opentps_brimstone.quantities.matrices import checked_matrices, library_of_matrix

__all__ = ["Dij"]

_MEANING = {
    "alphax": "linear coefficient of photons in 1/Gy",
    "betax": "quadratic coefficient of photons in 1/Gy²",
    "alpha_beta": "alpha/beta of photons in Gy",
    "number_of_fractions": "fractions that doses are summed over",
}
_DERIVED = {"betax": ("alphax", "alpha_beta"), "alpha_beta": ("alphax", "betax")}


class Dij:
    """Matrices and parameters of a plan, a dose influence, or any object that has them as attributes.

    Parameters
    ----------
    source : Plan, DoseInfluence or object
        With those of the attributes `physical_dose`, `alpha_dose`, `sqrt_beta_dose`, `let_dose` (matrices of voxels by
        beamlets, or a sequence with one for each scenario), `alphax`, `betax`, `alpha_beta` and `number_of_fractions`
        (a number or one for each voxel) that there are. Matrices of a plan are per fraction, those of other objects
        give what all fractions give.

    Attributes
    ----------
    fractions_summed : int
        What a product with a matrix is to be multiplied by for all fractions.
    """

    def __init__(self, source: Any) -> None:
        self._source = source
        # Read without running the property: it computes the dose influence, which is wanted only with a matrix.
        self._is_plan = inspect.getattr_static(source, "dose_influence", None) is not None
        self._is_influence = hasattr(source, "matrix") and hasattr(source, "layout")
        self.fractions_summed = int(source.number_of_fractions) if self._is_plan else 1
        self._matrices: dict[str, tuple[Any, ...]] = {}
        self._parameters: dict[str, float | Array] = {}

    def __repr__(self) -> str:
        return type(self._source).__name__

    # ----------------------------------------------------------------------------------------------- matrices

    def matrices(self, name: str) -> tuple[Any, ...]:
        """Matrices of all scenarios, of shape (n_voxels, n_beamlets) each; empty if there are none of that name."""
        if name not in self._matrices:
            given = self._given_matrix(name)
            if given is None:
                return ()
            matrices = checked_matrices(given, name)
            self._check_fit(name, matrices)
            self._matrices[name] = matrices
        return self._matrices[name]

    def _given_matrix(self, name: str) -> Any:
        found = getattr(self._source, name, None)
        if found is not None or not (self._is_plan or self._is_influence):
            return found
        influence = self._source.dose_influence if self._is_plan else self._source
        return influence.matrix if name == "physical_dose" else getattr(influence, name, None)

    def _check_fit(self, name: str, matrices: tuple[Any, ...]) -> None:
        for other, theirs in self._matrices.items():
            if len(matrices) != len(theirs):
                raise ValueError(f"{name} has {len(matrices)} scenarios and {other} has {len(theirs)}")
            if matrices[0].shape != theirs[0].shape:
                raise ValueError(
                    f"{name} has the shape {tuple(matrices[0].shape)} and {other} {tuple(theirs[0].shape)}; both must "
                    "be (voxels, beamlets)"
                )
            if library_of_matrix(matrices[0]) != library_of_matrix(theirs[0]):
                raise TypeError(f"{name} and {other} are of different array libraries; give them in one")

    @property
    def _n_voxels(self) -> int | None:
        """Rows of the matrices read so far."""
        return next((int(matrices[0].shape[0]) for matrices in self._matrices.values()), None)

    # --------------------------------------------------------------------------------------------- parameters

    def parameter(self, name: str, needed_by: str, default: float | None = None) -> float | Array:
        """Parameter of the tissue, or the number of fractions: a number, or an array of shape (n_voxels,).

        `betax` and `alpha_beta` follow from each other and `alphax` if they are not given. Without a default, a
        parameter that is missing is a ValueError that names the quantity it is needed by.
        """
        if name not in self._parameters:
            found = self._find(name)
            if found is None:
                if default is not None:
                    return default
                raise ValueError(self._missing(name, needed_by))
            self._parameters[name] = found
        self._check_length(name, self._parameters[name])
        return self._parameters[name]

    def _missing(self, name: str, needed_by: str) -> str:
        meaning = f" ({_MEANING[name]})" if name in _MEANING else ""
        instead = f", nor {' and '.join(_DERIVED[name])} to derive it from" if name in _DERIVED else ""
        return f"{needed_by} needs {name}{meaning}, which the {self!r} does not have{instead}"

    def _find(self, name: str) -> float | Array | None:
        given = getattr(self._source, name, None)
        if given is not None:
            return self._checked(name, given)
        alphax, other = _DERIVED.get(name, ("", ""))
        if getattr(self._source, alphax, None) is None or getattr(self._source, other, None) is None:
            return None
        numerator, divisor = self.parameter(alphax, name), self.parameter(other, name)
        if other == "betax":
            numbers = as_array(divisor, other)
            check(numbers > 0, numbers, other, "voxel", "positive where alpha_beta is derived from it")
        return numerator / divisor

    def _checked(self, name: str, given: Any) -> float | Array:
        values = as_array(given, name)
        if values.ndim not in (0, 1, 3):
            raise ValueError(
                f"{name} has the shape {tuple(values.shape)}; it must be a number, (voxels,) or (nx, ny, nz)"
            )
        xp = array_namespace(values)
        values = xp.reshape(values, (-1,)) if values.ndim == 3 else values
        finite = xp.isfinite(values)
        if name in ("alphax", "alpha_beta"):
            check(finite & (values > 0), values, name, "voxel", "positive and finite")
        elif name == "betax":
            check(finite & (values >= 0), values, name, "voxel", "0 or more, and finite")
        elif name == "number_of_fractions":
            whole = finite & (values >= 1) & (values == xp.round(values))
            check(whole, values, name, "voxel", "a whole number from 1")
        else:
            check(finite, values, name, "voxel", "finite")
        return float(values) if values.ndim == 0 else values

    def _check_length(self, name: str, values: float | Array) -> None:
        if isinstance(values, float) or self._n_voxels in (None, size(values)):
            return
        raise ValueError(
            f"{name} has {size(values)} entries; it must be one number, or one for each of the {self._n_voxels} voxels"
        )
