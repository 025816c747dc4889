"""Many plans at once: variants, trade-offs and beam angles."""

from opentps_brimstone.ensembles.memory import EnsembleMemory, EnsembleMemoryError
from opentps_brimstone.ensembles.results import EnsembleError, EnsembleResult, VariantResult
from opentps_brimstone.ensembles.run import Ensemble, run_ensemble
from opentps_brimstone.ensembles.tradeoff import MixedPlan, Tradeoff, explore_tradeoff

__all__ = [
    "Ensemble",
    "EnsembleError",
    "EnsembleMemory",
    "EnsembleMemoryError",
    "EnsembleResult",
    "MixedPlan",
    "Tradeoff",
    "VariantResult",
    "explore_tradeoff",
    "run_ensemble",
]
