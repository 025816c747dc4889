"""Many plans at once: variants, trade-offs and beam angles."""

from opentps_brimstone.ensembles.memory import EnsembleMemory, EnsembleMemoryError
from opentps_brimstone.ensembles.results import EnsembleError, EnsembleResult, VariantResult
from opentps_brimstone.ensembles.run import Ensemble, run_ensemble
from opentps_brimstone.ensembles.shared_plan import PlanFiles, share_plan

__all__ = [
    "Ensemble",
    "EnsembleError",
    "EnsembleMemory",
    "EnsembleMemoryError",
    "EnsembleResult",
    "PlanFiles",
    "VariantResult",
    "run_ensemble",
    "share_plan",
]
