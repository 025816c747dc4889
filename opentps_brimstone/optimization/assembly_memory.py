"""Reuse of what a plan was converted to for the core, by runs with other terms on the same structures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opentps_brimstone.optimization.core_plan import assemble, target_terms, with_other_terms

if TYPE_CHECKING:
    from opentps_brimstone._typing import FloatArray
    from opentps_brimstone.model.plan import Plan
    from opentps_brimstone.optimization.core_plan import AssembledPlan
    from opentps_brimstone.optimization.settings import OptimizerSettings
    from opentps_brimstone.optimization.terms import ObjectiveTerm

__all__ = ["AssemblyMemory"]

_MOST_NONZEROS = 100_000_000  # about 1 GB in the core


class AssemblyMemory:
    """Keeps the last plan that was converted, with its matrices in the core's order and its coarser grids.

    For whoever optimizes one plan again and again with other doses and weights. Plans of more than `most_nonzeros` are
    not kept, because their memory is needed.

    Parameters
    ----------
    most_nonzeros : int
    """

    def __init__(self, most_nonzeros: int = _MOST_NONZEROS) -> None:
        self._most_nonzeros = most_nonzeros
        self._kept: tuple[list[object], AssembledPlan] | None = None

    def assemble(
        self,
        plan: Plan,
        objectives: list[ObjectiveTerm],
        settings: OptimizerSettings,
        *,
        initial_weights: FloatArray | None = None,
        trust_start: bool = False,
    ) -> AssembledPlan:
        """Convert a plan and its terms as `assemble` does, from what is kept if that is of the same structures.

        Parameters
        ----------
        plan : Plan
        objectives : list of ObjectiveTerm
        settings : OptimizerSettings
        initial_weights : ndarray, shape (n_beamlets,), or None
            MU over all fractions.
        trust_start : bool
            As for `assemble`.

        Returns
        -------
        AssembledPlan
        """
        given: dict[str, Any] = {"initial_weights": initial_weights, "trust_start": trust_start}
        plain = plan.intermediate_dose is None and all(
            term.quantity == "physical_dose" and term.robustness is None for term in objectives
        )
        if not plain or plan.dose_influence.matrix.nnz > self._most_nonzeros:
            self._kept = None
            return assemble(plan, objectives, settings, **given)
        key = _depends_on(plan, objectives, settings)
        if self._kept is None or not _are_same(self._kept[0], key):
            self._kept = None  # its memory is free before the next one needs some
            self._kept = key, assemble(plan, objectives, settings)
        other = with_other_terms(self._kept[1], plan, objectives, settings, **given)
        return assemble(plan, objectives, settings, **given) if other is None else other


def _depends_on(plan: Plan, objectives: list[ObjectiveTerm], settings: OptimizerSettings) -> list[object]:
    structures = list({id(term.structure): term.structure for term in objectives}.values())
    return [
        plan.dose_influence,
        *structures,
        None,
        *(term.structure for term in target_terms(objectives)),
        settings.precision,
        settings.threads,
        settings.cost_offset,
        settings.inclusion_threshold,
        max(settings.grid_of_level[: settings.number_of_levels]),
        bool(settings.roughness_weight),
    ]


def _are_same(one: list[object], other: list[object]) -> bool:
    plain = (str, int, float, bool)
    pairs = zip(one, other, strict=False)
    return len(one) == len(other) and all(a is b or (isinstance(a, plain) and a == b) for a, b in pairs)
