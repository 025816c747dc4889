"""Binds quantities to the matrices and parameters they are computed from."""

from __future__ import annotations

from typing import Any

from opentps_brimstone.quantities.base import FluenceDependentQuantity
from opentps_brimstone.quantities.dij import Dij
from opentps_brimstone.quantities.registry import QUANTITIES

__all__ = ["QuantityResolver"]


class QuantityResolver:
    """Gives the quantities of a plan, each with what it depends on.

    A quantity is made once, so that those that others share are computed once. Matrices are used as they are and must
    not be changed afterwards; parameters are copied when the first quantity needs them.

    Parameters
    ----------
    dij : Plan, DoseInfluence or object
        As `Dij` takes it. For a plan the fluence is MU per fraction; for a dose influence alone, doses are those of one
        fraction; matrices of any other object give what all fractions give.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> import numpy as np
    >>> dij = SimpleNamespace(physical_dose=np.array([[1.0, 0.5], [0.2, 0.4]]), alphax=0.1, betax=0.05)
    >>> resolver = QuantityResolver(dij)
    >>> resolver.get("effect")
    Effect('effect', indirect, of a SimpleNamespace)
    >>> resolver.get("effect")([1.0, 2.0]), resolver.get("rbe_x_dose")([1.0, 2.0])
    (array([0.4 , 0.15]), array([2., 1.]))
    """

    def __init__(self, dij: Any) -> None:
        self._dij = Dij(dij)
        self._bound: dict[str, FluenceDependentQuantity] = {}
        self._path: list[str] = []

    def __repr__(self) -> str:
        return f"QuantityResolver(of a {self._dij!r})"

    def get(self, identifier: str) -> FluenceDependentQuantity:
        """Quantity of an identifier in `QUANTITIES`; the same one at every call.

        Raises
        ------
        TypeError, ValueError
            If there is no such quantity, quantities depend on each other in a circle, or a matrix or parameter that it
            needs is missing or wrong.
        """
        if identifier in self._bound:
            return self._bound[identifier]
        path = [*self._path, identifier]
        if identifier in self._path:
            raise ValueError(f"the quantities depend on each other in a circle: {' -> '.join(path)}")
        self._path.append(identifier)
        try:
            self._bound[identifier] = self._bind(identifier)
        finally:
            self._path.pop()
        return self._bound[identifier]

    def _bind(self, identifier: str) -> FluenceDependentQuantity:
        kind = self._kind(identifier)
        if self._dij.matrices(identifier):
            return kind(self._dij, {})
        self._check_indirect(kind)
        return kind(self._dij, {each: self.get(each) for each in kind.dependencies})

    def _kind(self, identifier: str) -> type[FluenceDependentQuantity]:
        if identifier not in QUANTITIES:
            needed = f", which {self._path[-2]} depends on" if len(self._path) > 1 else ""
            raise ValueError(f"unknown quantity {identifier!r}{needed}; there are {', '.join(QUANTITIES)}")
        kind = QUANTITIES[identifier]
        if getattr(kind, "identifier", None) != identifier:
            raise ValueError(
                f"QUANTITIES has {kind.__name__} as {identifier!r}; its identifier is "
                f"{getattr(kind, 'identifier', None)!r}"
            )
        return kind

    def _check_indirect(self, kind: type[FluenceDependentQuantity]) -> None:
        base = FluenceDependentQuantity
        forward = kind._compute_quantity_single_scenario is not base._compute_quantity_single_scenario
        backward = kind._compute_chain_derivative_single_scenario is not base._compute_chain_derivative_single_scenario
        if forward and backward:
            return
        if forward or backward:
            raise TypeError(
                f"{kind.__name__} must implement both _compute_quantity_single_scenario and "
                "_compute_chain_derivative_single_scenario"
            )
        chain = f" (in {' -> '.join(self._path)})" if len(self._path) > 1 else ""
        raise ValueError(
            f"the quantity {kind.identifier!r}{chain} needs the matrix {kind.identifier} (voxels, beamlets), which the "
            f"{self._dij!r} does not have"
        )
