"""The one way through a planning: beamlet doses, optimization, segments or recalculation, verdict."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from opentps_brimstone._typing import FloatArray
from opentps_brimstone._util.run_options import RunOptions
from opentps_brimstone._util.silence import silent_opentps
from opentps_brimstone._util.stopwatch import StageTimes
from opentps_brimstone.adapters.density_table import density_table_name
from opentps_brimstone.evaluation import evaluate
from opentps_brimstone.evaluation.extremes import largest_difference
from opentps_brimstone.goal_planning.held_dose import terms_of_dose
from opentps_brimstone.goal_planning.planner import GoalPlanner
from opentps_brimstone.integration.deliverable import make_deliverable
from opentps_brimstone.integration.engine_check import check_engine
from opentps_brimstone.integration.plan_dose import compute_dose
from opentps_brimstone.integration.worst_voxels import optimize_guarded
from opentps_brimstone.optimization.for_terms import limits_decide, optimizer_of, settings_for
from opentps_brimstone.optimization.settings import OptimizerSettings
from opentps_brimstone.report.plan_report import PlanReport
from opentps_brimstone.workflow.notes import noted_warnings

if TYPE_CHECKING:
    from opentps_brimstone.adapters.phantom import OpenTPSCase
    from opentps_brimstone.engine.monitor_units import Calibration
    from opentps_brimstone.evaluation import GoalTable
    from opentps_brimstone.goal_planning.planner import GoalPlanningResult
    from opentps_brimstone.integration.deliverable import DeliverablePlan
    from opentps_brimstone.integration.engine_check import EngineCheck
    from opentps_brimstone.model.plan import Plan
    from opentps_brimstone.model.structure import Structure
    from opentps_brimstone.optimization.optimizer import PlanOptimizer
    from opentps_brimstone.optimization.result import OptimizationResult
    from opentps_brimstone.optimization.terms import ObjectiveTerm
    from opentps_brimstone.workflow.case import Case

__all__ = ["PlanningResult", "plan_case"]

_log = logging.getLogger(__name__)

_FULL_SCATTER = (
    "Optimized and recalculated with scatter through the whole patient; where OpenTPS's program checks, it is compared "
    "with the dose of the same MU as beamlets, whose scatter ends 2 cm beside them."
)


@dataclass(frozen=True, eq=False, kw_only=True)
class PlanningResult(PlanReport):
    """A planned case.

    Attributes
    ----------
    case : Case
    photon_plan : opentps PhotonPlan
        With the MU found; they are engine MU.
    folder : Path or None
        Where its files are, once they are written.
    """

    case: Case = field(repr=False)
    photon_plan: Any = field(repr=False)
    folder: Path | None = None


class _Optimized(NamedTuple):
    """Weights, the terms that were optimized last, and terms for the MU of segments."""

    found: GoalPlanningResult | OptimizationResult
    terms: Sequence[tuple[Structure, ObjectiveTerm]]
    segment_terms: Sequence[tuple[Structure, ObjectiveTerm]]


class _Recalculated(NamedTuple):
    """The final dose, how it compares, and the plan it is of."""

    dose: FloatArray
    difference: float
    calibration: Calibration
    photon_plan: Any
    deliverable: DeliverablePlan | None
    check: EngineCheck | None


def plan_case(case: Case, options: RunOptions | None = None) -> PlanningResult:
    """Plan a case: compute its beamlets, optimize, make segments unless fluence alone is asked for, and recalculate.

    Goals alone are planned for by `GoalPlanner`; if there are terms, `PlanOptimizer` optimizes these, and goals are
    only evaluated. If limits decide, as those of OpenTPS's objectives do, and the file sets nothing of the optimizer,
    its settings are those that suit them, and worst voxels are guarded.

    What each stage found is logged at level INFO. So are warnings, which become notes of the result.

    Parameters
    ----------
    case : Case
    options : RunOptions, optional

    Returns
    -------
    PlanningResult
        Nothing is written yet: `write_case` does that.

    Raises
    ------
    ValueError
        If the beamlets reach no target, or the goals contradict each other.
    EngineError
        If the dose engine fails.
    """
    options = options or RunOptions()
    clock = StageTimes()
    with silent_opentps(), noted_warnings() as notes:
        plan = case.prepare(options)
        n_beamlets = plan.dose_influence.layout.n_beamlets
        _log.info("doses of %d beamlets ready after %.1f s", n_beamlets, clock.lap("beamlets"))
        _leave_out_unreached(plan)
        optimized = _optimize(case, plan, options)
        found, took = optimized.found, clock.lap("optimization")
        _log.info("optimized in %.1f s, %d iterations: %s", took, found.iterations, found.message)
        final = _recalculate(case, plan, options) if case.mlc is None else _deliver(case, plan, optimized, options)
        clock.lap("recalculation" if final.deliverable is None else "segments")
        return _result(case, plan, optimized, final, [*notes, *found.notes], clock)


def _leave_out_unreached(plan: Plan) -> None:
    """Leave structures out of the optimization that no beamlet reaches."""
    reached = np.asarray(plan.dose_influence.matrix.sum(axis=1)).ravel()
    for name, structure in list(plan.structures.items()):
        if not structure.is_target and not np.vdot(structure.share.ravel(), reached) > 0:
            warnings.warn(f"{name!r} is out of reach of all beams; it is not planned with", stacklevel=2)
            del plan.structures[name]


def _settings(case: Case, options: RunOptions) -> OptimizerSettings:
    if options.threads is None:
        return case.optimizer
    return replace(case.optimizer, threads=options.threads)


def _optimize(case: Case, plan: Plan, options: RunOptions) -> _Optimized:
    settings = _settings(case, options)
    if case.terms:
        terms = [(plan.structures[name], term) for name, term in case.terms if name in plan.structures]
        progress = bool(options.progress)
        if case.optimizer != OptimizerSettings() or not limits_decide([term for _, term in terms]):
            return _Optimized(optimizer_of(plan, terms, settings).optimize(progress=progress), terms, terms)

        def suited(each: Sequence[tuple[Structure, ObjectiveTerm]]) -> PlanOptimizer:
            return optimizer_of(plan, each, replace(settings_for(each), threads=settings.threads))

        return _Optimized(optimize_guarded(suited, terms, progress=progress), terms, terms)
    goals = [goal for goal in case.goals if goal.structure in plan.structures]
    planner = GoalPlanner(plan, goals, case.planner, settings)
    found = planner.optimize(on_round=lambda each: _log.info("%s", each), progress=bool(options.progress))
    # The planner also sets terms on parts of structures.
    terms = [(plan.structures[name], term) for name, term in found.objectives if name in plan.structures]
    return _Optimized(
        found, terms, terms_of_dose(plan.structures.values(), found.dose, goals, plan.number_of_fractions)
    )


def _in_opentps(case: Case, plan: Plan) -> OpenTPSCase:
    opentps: OpenTPSCase = plan.to_opentps()
    opentps.plan.name = opentps.plan.rtPlanName = case.title
    return opentps


def _deliver(case: Case, plan: Plan, optimized: _Optimized, options: RunOptions) -> _Recalculated:
    opentps = _in_opentps(case, plan)
    machine = case.machine
    assert case.mlc is not None
    made = make_deliverable(
        opentps.plan,
        opentps.ct,
        optimized.segment_terms,
        mlc=case.mlc,
        sequencing=machine.sequencing,
        minimum_mu=machine.minimum_mu,
        step_mu=machine.step_mu,
        reference=machine.reference,
        scatter=machine.scatter or "opentps",
        beam_model=machine.beam_model,
        # For the user's own terms the finest level alone runs, which is the default.
        settings=None if case.terms else _settings(case, options),
        beamlets=plan.dose_influence,
        refine=machine.refinement,
        goals=[goal for goal in case.goals if goal.structure in plan.structures],
        overrides=plan.density_overrides,
        engine=case.engine,
        verify=case.verify,
        **options.keywords(),
    )
    return _Recalculated(made.dose, made.difference, made.planned_calibration, made.photon_plan, made, made.check)


def _recalculate(case: Case, plan: Plan, options: RunOptions) -> _Recalculated:
    """Recompute the dose of the fluence, without beamlets computed earlier.

    OpenTPS's program checks the dose of the beamlets, whatever the scatter of the final dose.
    """
    from opentps_brimstone.engine.calibration import calibrate_plan
    from opentps_brimstone.engine.choice import EngineChoice
    from opentps_brimstone.engine.compute import photon_dose
    from opentps_brimstone.engine.options import DoseOptions

    opentps = _in_opentps(case, plan)
    run = replace(options, cache=False)
    anew = DoseOptions(EngineChoice(case.engine), overrides=plan.density_overrides, run=run)
    image = photon_dose(opentps.ct, opentps.plan, anew, wanted=plan.dose_influence.reached)
    of_beamlets = np.asarray(image.imageArray, dtype=np.float64)
    dose = of_beamlets
    if case.machine.scatter == "full":
        dose = np.asarray(compute_dose(plan, processes=options.threads, progress=options.progress))
    difference = largest_difference(dose, plan.get_dose())
    quiet = anew.running(progress=False, cache=options.cache)
    calibration = calibrate_plan(opentps.plan, opentps.ct, case.machine.reference, quiet)
    check = None
    if calibration.choice.is_native:
        check = check_engine(opentps.plan, opentps.ct, of_beamlets, plan.grid, case.verify, quiet)
        _log.info("OpenTPS's program: %s", check)
    return _Recalculated(dose, difference, calibration, opentps.plan, None, check)


def _result(
    case: Case, plan: Plan, optimized: _Optimized, final: _Recalculated, notes: Sequence[str], clock: StageTimes
) -> PlanningResult:
    found = optimized.found
    assert plan.ct_hu is not None
    judged: dict[str, Any] = {"grid": plan.grid, "number_of_fractions": plan.number_of_fractions}
    x, y, z = (plan.beams[0].isocenter.round(2) + 0.0).tolist()
    return PlanningResult(
        title=case.title,
        ct_hu=plan.ct_hu,
        dose=final.dose,
        grid=plan.grid,
        structures=case.structures,
        goals=evaluate(final.dose, case.structures, case.goals, **judged),
        fluence_goals=evaluate(found.dose, case.structures, case.goals, **judged),
        prescription_gy=max(case.targets.values()),
        number_of_fractions=plan.number_of_fractions,
        isocenter_mm=(x, y, z),
        layout=plan.dose_influence.layout,
        beam_names=[f"{beam.name}, gantry {beam.gantry_angle:g}°" for beam in plan.beams],
        optimization=found,
        objectives=[(structure.name, term) for structure, term in optimized.terms],
        calibration=final.calibration,
        difference=final.difference,
        check=final.check,
        deliverable=final.deliverable,
        dosed_by=case.dosed_by,
        goals_in_opentps=_goals_in_opentps(case, final.deliverable, judged),
        density_table=density_table_name(photon_plan=final.photon_plan),
        notes=tuple(dict.fromkeys([*case.notes, *([_FULL_SCATTER] if case.machine.scatter == "full" else []), *notes])),
        times_s=clock.times_s,
        case=case,
        photon_plan=final.photon_plan,
    )


def _goals_in_opentps(case: Case, made: DeliverablePlan | None, judged: Mapping[str, Any]) -> GoalTable | None:
    if made is None or made.opentps_dose is None:
        return None
    return evaluate(made.opentps_dose, case.structures, case.goals, **judged)
