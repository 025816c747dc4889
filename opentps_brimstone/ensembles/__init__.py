"""Many plans at once: variants, trade-offs and beam angles; and one plan in many scenarios."""

from opentps_brimstone.ensembles.beam_angles import BeamSelection, SelectionStep, choose_beam_angles, plan_of_beams
from opentps_brimstone.ensembles.beams import spread_dose, spread_dose_influence
from opentps_brimstone.ensembles.memory import EnsembleMemory, EnsembleMemoryError
from opentps_brimstone.ensembles.results import EnsembleError, EnsembleResult, VariantResult
from opentps_brimstone.ensembles.robustness import RobustnessResult, evaluate_robustness
from opentps_brimstone.ensembles.run import Ensemble, run_ensemble
from opentps_brimstone.ensembles.tradeoff import MixedPlan, Tradeoff, explore_tradeoff
from opentps_brimstone.ensembles.tradeoff_panel import TradeoffPanel
from opentps_brimstone.ensembles.tradeoff_picture import plot_tradeoff

__all__ = [
    "BeamSelection",
    "Ensemble",
    "EnsembleError",
    "EnsembleMemory",
    "EnsembleMemoryError",
    "EnsembleResult",
    "MixedPlan",
    "RobustnessResult",
    "SelectionStep",
    "Tradeoff",
    "TradeoffPanel",
    "VariantResult",
    "choose_beam_angles",
    "evaluate_robustness",
    "explore_tradeoff",
    "plan_of_beams",
    "plot_tradeoff",
    "run_ensemble",
    "spread_dose",
    "spread_dose_influence",
]
