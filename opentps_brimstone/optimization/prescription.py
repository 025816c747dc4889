"""A plan's objectives, and their cost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from opentps_brimstone._typing import FloatArray
from opentps_brimstone.optimization.biology import channel_of
from opentps_brimstone.optimization.core_plan import AssembledPlan, assemble
from opentps_brimstone.optimization.core_settings import bin_settings
from opentps_brimstone.optimization.robust_terms import check_scenarios
from opentps_brimstone.optimization.settings import OptimizerSettings
from opentps_brimstone.optimization.term_quantities import mapped_terms
from opentps_brimstone.optimization.terms import KLDivergenceTerm, ObjectiveTerm

if TYPE_CHECKING:
    from opentps_brimstone.model.plan import Plan
    from opentps_brimstone.model.structure import Structure

__all__ = ["Prescription"]


class Prescription:
    """The cost of beamlet weights: weighted terms on the dose of structures, and a constant.

    Parameters
    ----------
    plan : Plan
    settings : OptimizerSettings, optional
        For the smoothing and the constants.

    Attributes
    ----------
    objectives : list of ObjectiveTerm
        The terms with their structures.

    Examples
    --------
    >>> import opentps_brimstone as pb
    >>> from opentps_brimstone.model.example import three_voxel_plan
    >>> plan = three_voxel_plan()
    >>> target, cord = plan.structures
    >>> prescription = pb.Prescription(plan)
    >>> prescription.add(target, pb.KLDivergenceTerm(dose_range=(9.0, 11.0)))
    >>> prescription.add(cord, pb.MeanDoseTerm(2.0))
    >>> too_little, gradient = prescription.evaluate([10.0, 10.0])
    >>> enough, _ = prescription.evaluate([16.5, 16.5])
    >>> bool(enough < too_little), gradient.shape
    (True, (2,))
    """

    def __init__(self, plan: Plan, settings: OptimizerSettings | None = None) -> None:
        self.plan = plan
        self.settings = settings or OptimizerSettings()
        self.objectives: list[ObjectiveTerm] = []
        # The last evaluation's plan for the core, and the terms and the intermediate dose it is valid for.
        self._assembled: tuple[object, AssembledPlan, FloatArray | None] | None = None

    def add(self, structure: Structure, objective: ObjectiveTerm) -> None:
        """Add an objective.

        Parameters
        ----------
        structure : Structure
            Of the plan or of its series.
        objective : ObjectiveTerm
            Not yet used for another structure.

        Raises
        ------
        TypeError
            If the objective is not an ObjectiveTerm, or does not override `ObjectiveTerm.evaluate`.
        ValueError
            If the structure is not the plan's or not on the dose grid, the objective has another structure, or its
            quantity lacks something, such as α/β in a voxel.
        """
        if not isinstance(objective, ObjectiveTerm):
            raise TypeError(f"{objective!r} is not an objective; it must be an ObjectiveTerm, such as KLDivergenceTerm")
        if type(objective).evaluate is ObjectiveTerm.evaluate:
            raise TypeError(f"{type(objective).__name__} must override evaluate(dose, share)")
        structure = self.plan.own_structure(structure)
        if objective.structure is not None and objective.structure is not structure:
            raise ValueError(f"{objective!r} already belongs to {objective.structure.name!r}; make one for each")
        before, objective.structure = objective.structure, structure
        try:
            mapped_terms([objective], self.plan)
            check_scenarios(self.plan, [*self.objectives, objective])
        except ValueError:
            objective.structure = before
            raise
        self.objectives.append(objective)

    def add_kl_divergence_term(
        self,
        structure: Structure,
        target_dvh: Sequence[tuple[float, float]] | FloatArray,
        weight: float = 1.0,
    ) -> None:
        """Add a `KLDivergenceTerm`.

        Parameters
        ----------
        structure : Structure
            Of the plan or of its series.
        target_dvh : array_like, shape (n, 2)
            Points (dose in Gy, volume share), falling from 1 to 0.
        weight : float
            Factor in the cost.
        """
        self.add(structure, KLDivergenceTerm(dvh=target_dvh, weight=weight))

    def evaluate(self, beamlet_weights: npt.ArrayLike) -> tuple[float, FloatArray]:
        """Cost of beamlet weights at the finest level, with half of each voxel in either kernel.

        Parameters
        ----------
        beamlet_weights : array_like, shape (n_beamlets,)
            MU per fraction.

        Returns
        -------
        cost : float
        gradient : ndarray, shape (n_beamlets,)
            Per MU.
        """
        plan = self.plan
        weights = plan.dose_influence.check_weights(beamlet_weights) * plan.number_of_fractions
        settings = self.settings.single_grid()
        terms = [
            plan.dose_influence,
            plan.scenarios,
            *((id(term), *term.state(), _biology(term, plan)) for term in self.objectives),
        ]
        more, known = plan.intermediate_dose, self._assembled
        if known is None or known[0] != terms or known[2] is not more:
            known = self._assembled = terms, assemble(plan, self.objectives, settings, include_all=True), more
        assembled = known[1]
        cost, gradient = assembled.core.evaluate(bin_settings(settings, 0, assembled.reference_dose), weights, 0.5)
        return float(cost), gradient * plan.number_of_fractions

    def __repr__(self) -> str:
        on = [f"{term.structure.name}: {term!r}" for term in self.objectives if term.structure is not None]
        return f"Prescription({'; '.join(on)})"


def _biology(term: ObjectiveTerm, plan: Plan) -> tuple[object, ...]:
    """Give what a term's quantity depends on besides the term and the dose."""
    if term.quantity == "physical_dose" or term.structure is None:
        return ()
    if channel_of(term, plan) != "dose":
        tissue = (np.asarray(value).tobytes() for value in (plan.alphax, plan.betax))
        return id(plan.alpha_dose), id(plan.sqrt_beta_dose), id(plan.let_dose), *tissue
    own = term.structure.alpha_beta
    return None if own is None else np.asarray(own).tobytes(), term.structure.alpha, term.structure.previous_dose
