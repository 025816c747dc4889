"""Many plans at once: variants, trade-offs and beam angles."""

from opentps_brimstone.ensembles.memory import EnsembleMemory, EnsembleMemoryError
from opentps_brimstone.ensembles.results import EnsembleError, EnsembleResult, VariantResult
from opentps_brimstone.ensembles.run import Ensemble, run_ensemble
from opentps_brimstone.ensembles.tradeoff import MixedPlan, Tradeoff, explore_tradeoff
from opentps_brimstone.ensembles.tradeoff_panel import TradeoffPanel
from opentps_brimstone.ensembles.tradeoff_picture import plot_tradeoff

__all__ = [
    "Ensemble",
    "EnsembleError",
    "EnsembleMemory",
    "EnsembleMemoryError",
    "EnsembleResult",
    "MixedPlan",
    "Tradeoff",
    "TradeoffPanel",
    "VariantResult",
    "explore_tradeoff",
    "plot_tradeoff",
    "run_ensemble",
]
