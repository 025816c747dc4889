"""What weights give: dose, and quantities that follow from further matrices of a plan."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from types import SimpleNamespace

import numpy as np

from opentps_brimstone._typing import FloatArray
from opentps_brimstone.evaluation import DVHGoal
from opentps_brimstone.model.plan import Plan
from opentps_brimstone.quantities import QuantityResolver, structure_map
from opentps_brimstone.quantities.of_plan import follows_from_matrices, quantity_of_weights
from opentps_brimstone.quantities.of_structure import MATRICES_OF

__all__ = ["GivenDose", "given_dose", "planned_quantity", "quantities_from_matrices"]


@dataclass(frozen=True)
class GivenDose:
    """Dose of some weights, and what further matrices give.

    Attributes
    ----------
    dose : ndarray, shape (nx, ny, nz)
        Physical dose, in Gy over all fractions.
    products : mapping of str to ndarray
        Of the further matrices that are needed, over all fractions: like dose, they scale with weights.
    tissue : mapping of str to object
        Parameters of the plan that quantities need.
    names : tuple of str
        Quantities that follow from products.
    planned_as : str
        The quantity that the planner plans.
    """

    dose: FloatArray
    products: Mapping[str, FloatArray]
    tissue: Mapping[str, object]
    names: tuple[str, ...]
    planned_as: str

    @cached_property
    def quantities(self) -> dict[str, FloatArray]:
        """Quantities that follow from products, by their identifiers."""
        if not self.names:
            return {}
        # Products are what matrices of one beamlet give for a weight of 1.
        products = {**self.products, "physical_dose": self.dose}
        columns = {name: values.reshape(-1, 1) for name, values in products.items()}
        resolver = QuantityResolver(SimpleNamespace(**columns, **self.tissue))
        return {name: np.asarray(resolver.get(name)([1.0])).reshape(self.dose.shape) for name in self.names}

    @property
    def planned(self) -> FloatArray:
        """The quantity that the planner plans, shape (nx, ny, nz)."""
        return self.dose if self.planned_as == "physical_dose" else self.quantities[self.planned_as]

    def with_dose(self, dose: FloatArray, factor: float) -> GivenDose:
        """Give what another dose and a factor on the weights make of it."""
        return replace(self, dose=dose, products={name: factor * each for name, each in self.products.items()})

    def mixed(self, other: GivenDose, share: float) -> GivenDose:
        """Give what a mixture with the weights of another plan makes of it."""
        products = {name: share * each + (1 - share) * other.products[name] for name, each in self.products.items()}
        return replace(self, dose=share * self.dose + (1 - share) * other.dose, products=products)


def given_dose(plan: Plan, weights: FloatArray, dose: FloatArray, goals: Iterable[DVHGoal], planned: str) -> GivenDose:
    """Find what weights give beside their dose, as far as goals or the planned quantity ask for it."""
    asked = {goal.quantity for goal in goals} | {planned}
    names = tuple(sorted(name for name in asked if follows_from_matrices(plan, name)))
    matrices = sorted({matrix for name in names for matrix in MATRICES_OF[name]})
    products = {name: quantity_of_weights(plan, weights, name) for name in matrices}
    tissue: dict[str, object] = {}
    if names:
        parameters = {"alphax": plan.alphax, "betax": plan.betax, "number_of_fractions": plan.number_of_fractions}
        tissue = {name: value for name, value in parameters.items() if value is not None}
    return GivenDose(dose, products, tissue, names, planned)


def quantities_from_matrices(plan: Plan, goals: Iterable[DVHGoal]) -> set[str]:
    """Find the quantities of goals that follow from matrices of the plan; a missing matrix is a ValueError."""
    found = set()
    for goal in goals:
        if follows_from_matrices(plan, goal.quantity):
            found.add(goal.quantity)
        elif not goal.is_of_dose:
            # Says what is missing.
            structure_map(plan.structures[goal.structure], goal.quantity, plan.number_of_fractions)
    return found


def planned_quantity(plan: Plan, goals: Iterable[DVHGoal]) -> str:
    """Find the quantity to plan in: what goals for the lowest dose of targets are of, if it follows from matrices.

    Goals of several such quantities, or of one beside those of dose, EQD2 or BED, are a ValueError.
    """
    targets = {structure.name for structure in plan.structures if structure.is_target}
    lowest = [goal for goal in goals if goal.is_lower_bound and goal.metric.unit == "Gy" and goal.structure in targets]
    from_matrices = {goal.quantity for goal in lowest if follows_from_matrices(plan, goal.quantity)}
    if not from_matrices:
        return "physical_dose"
    found = {goal.quantity for goal in lowest}
    if len(found) > 1:
        stated = ", ".join(f"'{goal}'" for goal in lowest)
        raise ValueError(f"the targets are asked for {' and '.join(sorted(found))}: {stated}; ask for one of them")
    planned = from_matrices.pop()
    if planned == "let":
        raise ValueError(f"goal '{lowest[0]}': LET does not rise with the weights; ask the target for dose, too")
    return planned
