# The public names, with the modules they live in. lazy-loader reads them here and loads each when it is used.

from . import (
    adapters as adapters,
    cli as cli,
    dicom as dicom,
    engine as engine,
    ensembles as ensembles,
    evaluation as evaluation,
    goal_planning as goal_planning,
    gui as gui,
    integration as integration,
    model as model,
    optimization as optimization,
    phantoms as phantoms,
    quantities as quantities,
    report as report,
    request as request,
    sequencing as sequencing,
    visualization as visualization,
    workflow as workflow,
)
from ._util.errors import BrimstoneError as BrimstoneError
from .dicom.errors import DicomError as DicomError
from .dicom.rt_dose_reader import dose_from_dataset as dose_from_dataset
from .ensembles.robustness import evaluate_robustness as evaluate_robustness
from .evaluation import (
    DVHGoal as DVHGoal,
    compare_plans as compare_plans,
    evaluate as evaluate,
    gamma_analysis as gamma_analysis,
    gamma_pass_rate as gamma_pass_rate,
)
from .goal_planning.from_goals import prescription_from_goals as prescription_from_goals
from .goal_planning.planner import GoalPlanner as GoalPlanner, GoalPlanningResult as GoalPlanningResult
from .goal_planning.settings import GoalPlannerSettings as GoalPlannerSettings
from .gui import add_to_gui as add_to_gui
from .integration.deliverable import DeliverablePlan as DeliverablePlan, make_deliverable as make_deliverable
from .integration.opentps_method import register as register, unregister as unregister
from .integration.photon_plan import optimize_photon_plan as optimize_photon_plan
from .integration.plan_dose import compute_dose as compute_dose
from .model.beam import Beam as Beam
from .model.dose import DoseArray as DoseArray
from .model.influence import BeamletLayout as BeamletLayout, DoseInfluence as DoseInfluence, VoxelGrid as VoxelGrid
from .model.plan import Plan as Plan
from .model.scenario import Scenario as Scenario, setup_scenarios as setup_scenarios
from .model.series import Series as Series
from .model.structure import Structure as Structure
from .optimization.callbacks import (
    CallbackList as CallbackList,
    Checkpoint as Checkpoint,
    OptimizationCallback as OptimizationCallback,
    Recorder as Recorder,
    StopWhenGoalsMet as StopWhenGoalsMet,
    TimeLimit as TimeLimit,
)
from .optimization.checkpoint import CheckpointError as CheckpointError
from .optimization.objectives import (
    DVHLimitTerm as DVHLimitTerm,
    EUDTerm as EUDTerm,
    HomogeneityTerm as HomogeneityTerm,
    SquaredDeviation as SquaredDeviation,
    SquaredDeviationTerm as SquaredDeviationTerm,
)
from .optimization.optimizer import PlanOptimizer as PlanOptimizer
from .optimization.prescription import Prescription as Prescription
from .optimization.result import OptimizationResult as OptimizationResult
from .optimization.robust_terms import robust_term as robust_term
from .optimization.settings import OptimizerSettings as OptimizerSettings
from .optimization.terms import (
    KLDivergenceTerm as KLDivergenceTerm,
    MaximumDoseTerm as MaximumDoseTerm,
    MeanDoseTerm as MeanDoseTerm,
    MinimumDoseTerm as MinimumDoseTerm,
    ObjectiveTerm as ObjectiveTerm,
)
from .visualization import VisualizationCallback as VisualizationCallback

__version__: str
