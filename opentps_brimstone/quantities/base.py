"""What all quantities have in common: modes, scenarios, caches and checks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from array_api_compat import array_namespace, size

from opentps_brimstone.quantities.arrays import (
    Array,
    as_array,
    check,
    copy_of,
    in_library_of,
    library,
    same,
)
from opentps_brimstone.quantities.dij import Dij
from opentps_brimstone.quantities.matrices import library_of_matrix, product

__all__ = ["FluenceDependentQuantity"]


class FluenceDependentQuantity:
    """A quantity of every voxel that follows from the fluence. Made by a `QuantityResolver`.

    It is in *direct* mode if there is a matrix of its name: the quantity is the product of matrix and fluence.
    Otherwise it is in *indirect* mode and follows from other quantities. For a quantity of your own, set `identifier`
    and, as needed, `dependencies` and `parameters`, implement `_compute_quantity_single_scenario` and
    `_compute_chain_derivative_single_scenario` for the indirect mode, and put the class into
    `opentps_brimstone.quantities.QUANTITIES`. Not for use by several threads at once.

    Attributes
    ----------
    identifier : str
        Its name in `QUANTITIES`, and that of its matrix.
    name, unit : str
        For people.
    dependencies : tuple of str
        Identifiers of the quantities it follows from in indirect mode.
    parameters : dict of str to float or None
        Parameters that the indirect mode needs (`alphax`, `betax`, `alpha_beta`, `number_of_fractions`, or any
        attribute that is a number or one for each voxel), with a default, or None if they must be there.
    fraction_power : float
        The quantity of n equal fractions is that of one times n to this power.
    mode : str
        "direct" or "indirect".
    """

    identifier: ClassVar[str]
    name: ClassVar[str] = ""
    unit: ClassVar[str] = ""
    dependencies: ClassVar[tuple[str, ...]] = ()
    parameters: ClassVar[Mapping[str, float | None]] = {}
    fraction_power: ClassVar[float] = 1.0

    def __init__(self, dij: Dij, dependencies: Mapping[str, FluenceDependentQuantity]) -> None:
        self._dij = dij
        self._matrices = dij.matrices(self.identifier)
        self.mode = "direct" if self._matrices else "indirect"
        self._dependencies = dict(dependencies)
        # Its own matrices or those it follows from: they tell the number of scenarios, the shapes and the library.
        self._reference: tuple[Any, ...] = self._matrices or next(
            (d._reference for d in dependencies.values() if d._reference), ()
        )
        wanted = {} if self._matrices else self.parameters
        self._parameters = {
            name: dij.parameter(name, f"the quantity {self.identifier!r}", default) for name, default in wanted.items()
        }
        self._scale = float(dij.fractions_summed**self.fraction_power)
        self._fluence: Array | None = None
        self._forget()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.identifier!r}, {self.mode}, of a {self._dij!r})"

    # ----------------------------------------------------------------------------------- what it gives to others

    def __call__(self, fluence: Any) -> Any:
        """Quantity of a fluence.

        Parameters
        ----------
        fluence : array_like, shape (n_beamlets,)
            Weights of the beamlets; of a plan, MU per fraction.

        Returns
        -------
        array, shape (n_voxels,), or list of them
            Over all fractions, voxels in C order; with several scenarios, one array for each. They are copies.

        Raises
        ------
        TypeError, ValueError
            If the fluence has a wrong shape, a number that is not finite, or another array library than the matrices.
        """
        self._use(self._checked_fluence(fluence))
        return self._one_or_all([copy_of(self._value(scenario)) for scenario in self._scenarios])

    def compute_chain_derivative(self, d_quantity: Any, fluence: Any) -> Any:
        """Take the derivative of a function with respect to the fluence by the chain rule.

        Parameters
        ----------
        d_quantity : array_like, shape (n_voxels,), or sequence of them
            Its derivative with respect to the quantity; with several scenarios, one for each.
        fluence : array_like, shape (n_beamlets,)
            Where the derivative is taken.

        Returns
        -------
        array, shape (n_beamlets,), or list of them
            With several scenarios one array for each: their sum is the derivative of a function of all of them.

        Raises
        ------
        TypeError, ValueError
            As for the quantity itself, or if `d_quantity` does not fit it.
        """
        self._use(self._checked_fluence(fluence))
        given = self._per_scenario(d_quantity)
        return self._one_or_all([copy_of(self._derivative(d, s)) for d, s in zip(given, self._scenarios, strict=True)])

    # ------------------------------------------------------------------------------------- what subclasses implement

    def _compute_quantity_single_scenario(self, scenario_index: int) -> Array:
        """Quantity of the present fluence in indirect mode, shape (n_voxels,)."""
        raise NotImplementedError

    def _compute_chain_derivative_single_scenario(self, d_quantity: Array, scenario_index: int) -> Array:
        """Chain derivative with respect to the present fluence in indirect mode, shape (n_beamlets,).

        `d_quantity`, of shape (n_voxels,), is the derivative with respect to the quantity.
        """
        raise NotImplementedError

    # --------------------------------------------------------------------------------------- what subclasses may use

    @property
    def fluence(self) -> Array:
        """A copy of the present fluence, shape (n_beamlets,)."""
        return copy_of(self._fluence)

    def parameter(self, name: str) -> float | Array:
        """Give one of `parameters`, a number or an array of shape (n_voxels,) of the fluence's library."""
        return in_library_of(self._fluence, self._parameters[name], name)

    def dependency(self, identifier: str, scenario_index: int) -> Array:
        """Give a copy of one of `dependencies`, shape (n_voxels,), of the present fluence."""
        return copy_of(self._dependency(identifier)._value(scenario_index))

    def dependency_derivative(self, identifier: str, d_quantity: Array, scenario_index: int) -> Array:
        """Give the chain derivative of one of `dependencies`, shape (n_beamlets,), at the present fluence."""
        return copy_of(self._dependency(identifier)._derivative(copy_of(d_quantity), scenario_index))

    def _dependency(self, identifier: str) -> FluenceDependentQuantity:
        dependency = self._dependencies[identifier]
        dependency._use(self._fluence)
        return dependency

    # ------------------------------------------------------------------------------------------------------- caches

    def _use(self, fluence: Array) -> None:
        """Take a fluence, of which what is known is kept. It is never changed."""
        if self._fluence is not None and (fluence is self._fluence or same(fluence, self._fluence)):
            return
        self._fluence = fluence
        self._forget()

    def _forget(self) -> None:
        self._values: dict[int, Array] = {}
        self._derivatives: dict[int, tuple[Array, Array]] = {}

    def _value(self, scenario: int) -> Array:
        if scenario not in self._values:
            self._values[scenario] = (
                self._scaled(product(self._matrices[scenario], self._fluence))
                if self._matrices
                else self._compute_quantity_single_scenario(scenario)
            )
        return self._values[scenario]

    def _derivative(self, d_quantity: Array, scenario: int) -> Array:
        known = self._derivatives.get(scenario)
        if known is None or not same(known[0], d_quantity):
            found = (
                self._scaled(product(self._matrices[scenario].T, d_quantity))
                if self._matrices
                else self._compute_chain_derivative_single_scenario(copy_of(d_quantity), scenario)
            )
            known = self._derivatives[scenario] = (d_quantity, found)
        return known[1]

    def _scaled(self, values: Array) -> Array:
        return values if self._scale == 1.0 else self._scale * values

    # ------------------------------------------------------------------------------------------------------- checks

    @property
    def _scenarios(self) -> range:
        return range(len(self._reference) or 1)

    def _one_or_all(self, arrays: list[Array]) -> Any:
        return arrays[0] if len(arrays) == 1 else arrays

    def _checked_fluence(self, given: Any) -> Array:
        fluence = as_array(given, "the fluence")
        shape = tuple(fluence.shape)
        n_beamlets = self._reference[0].shape[1] if self._reference else size(fluence)
        if shape != (n_beamlets,):
            raise ValueError(f"the fluence has the shape {shape}; it must be ({n_beamlets},), one for each beamlet")
        if self._reference and library(fluence) != (needed := library_of_matrix(self._reference[0])):
            raise TypeError(
                f"the fluence is an array of {library(fluence)}, the matrices are of {needed}; give both in one "
                "library (sparse matrices of SciPy go with numpy)"
            )
        check(array_namespace(fluence).isfinite(fluence), fluence, "the fluence", "beamlet", "finite")
        return fluence

    def _per_scenario(self, d_quantity: Any) -> list[Array]:
        n_scenarios = len(self._scenarios)
        if n_scenarios == 1:
            single = isinstance(d_quantity, list | tuple) and len(d_quantity) == 1 and hasattr(d_quantity[0], "shape")
            return [self._checked_derivative(d_quantity[0] if single else d_quantity, 0)]
        try:
            given = [d_quantity[index] for index in range(len(d_quantity))]
        except TypeError:
            given = []
        if len(given) != n_scenarios:
            raise ValueError(
                f"d_quantity has {len(given)} entries; there are {n_scenarios} scenarios: give an array for each"
            )
        return [self._checked_derivative(each, index) for index, each in enumerate(given)]

    def _checked_derivative(self, given: Any, scenario: int) -> Array:
        d_quantity = as_array(given, "d_quantity")
        wanted = self._matrices[0].shape[:1] if self._matrices else self._value(scenario).shape
        if d_quantity.shape != wanted:
            raise ValueError(
                f"d_quantity has the shape {tuple(d_quantity.shape)}; it must be {tuple(wanted)}, that of "
                f"{self.identifier}"
            )
        if library(d_quantity) != library(self._fluence):
            raise TypeError(
                f"d_quantity is an array of {library(d_quantity)}, the fluence of {library(self._fluence)}; give both "
                "in one library"
            )
        check(array_namespace(d_quantity).isfinite(d_quantity), d_quantity, "d_quantity", "voxel", "finite")
        return d_quantity
