"""What a planning needs to know, whether its case is a phantom or a patient."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from opentps_brimstone._util.choices import checked_choice
from opentps_brimstone.engine.choice import EngineChoice
from opentps_brimstone.engine.reference_field import ReferenceField
from opentps_brimstone.goal_planning.settings import GoalPlannerSettings
from opentps_brimstone.integration.deliverable import checked_reference
from opentps_brimstone.integration.engine_check import VERIFY
from opentps_brimstone.optimization.settings import OptimizerSettings
from opentps_brimstone.request.prescription_file import MachineRequest

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

    from opentps_brimstone._util.run_options import RunOptions
    from opentps_brimstone.evaluation import DVHGoal
    from opentps_brimstone.model.plan import Plan
    from opentps_brimstone.model.structure import Structure
    from opentps_brimstone.optimization.terms import ObjectiveTerm
    from opentps_brimstone.request.prescription_file import PrescriptionFile
    from opentps_brimstone.sequencing import MLC

__all__ = ["SEQUENCING_MARGIN", "Case", "decided_machine", "planning_margin"]

SEQUENCING_MARGIN = 0.01
"""Margin of `planning_margin` for segments: turning fluence into segments changes doses by about half of it."""


def decided_machine(machine: MachineRequest, engine: str, *, segments: bool) -> MachineRequest:
    """Decide how far scatter reaches, whether leaves are optimized and what a MU is, where the user does not.

    Parameters
    ----------
    machine : MachineRequest
    engine : {"native", "opentps"}
    segments : bool
        Whether the plan is to have segments.

    Returns
    -------
    MachineRequest

    Raises
    ------
    ValueError
        If an engine, a reach of scatter or a beam model is unknown, or cannot do what is asked for.
    """
    scatter = machine.scatter or ("opentps" if machine.beam_model is None else "full")
    choice = EngineChoice(engine, scatter, None, machine.beam_model)
    refine = (segments and scatter == "full") if machine.refine is None else machine.refine
    if choice.machine is not None and not segments:
        raise ValueError(f"{choice.machine} is for segments: its leaves leak with the MU that these need")
    if segments and scatter == "full" and not refine:
        raise ValueError(
            "segments with full scatter are optimized by the dose that they give: ask for refinement, too, or for "
            "scatter='opentps'"
        )
    stated = None if machine.reference == ReferenceField() else machine.reference
    reference = checked_reference(stated, choice) or machine.reference
    return replace(machine, scatter=scatter, refine=refine, reference=reference)


def planning_margin(*, segments: bool) -> float:
    """Choose how far inside its goals a plan is optimized, if the user does not: `GoalPlannerSettings.margin`."""
    return SEQUENCING_MARGIN if segments else GoalPlannerSettings.margin


@dataclass(frozen=True, eq=False, kw_only=True)
class Case:
    """A planning case: what is irradiated, what is asked for, and the machine.

    Attributes
    ----------
    name : str
        Short name; its first 16 characters label the RT Plan.
    title : str
        Heading of the report, and name of the plan.
    prepare : callable
        Called with the `RunOptions`, computes the dose influence and returns the `Plan` to optimize.
    structures : sequence of Structure
        Shown and evaluated; on the dose grid.
    goals : tuple of DVHGoal
        Planned for if there are no terms, else only evaluated.
    terms : tuple of (str, ObjectiveTerm)
        Name of the structure and term; optimized as they are.
    targets : mapping of str to float
        Prescribed dose in Gy over all fractions by name of the target.
    mlc : MLC or None
        Collimator of the segments; None: plan the fluence alone.
    machine : MachineRequest
        As `decided_machine` leaves it.
    optimizer : OptimizerSettings
    planner : GoalPlannerSettings
    dicom : mapping of str to str
        Attributes of patient and series by keyword.
    references : mapping of str to Dataset
        Objects that plan and dose refer to: ``structure_set`` and ``ct``.
    request : PrescriptionFile, optional
        Where the case was described.
    engine : {"native", "opentps"}
        What computes doses: this package's engine, or OpenTPS's program.
    verify : {"auto", "full", "sample", "none"}
        How much of the final dose OpenTPS's program recalculates, as for `make_deliverable`.
    notes : tuple of str
        What came up when the case was made.
    """

    name: str
    title: str
    prepare: Callable[[RunOptions], Plan]
    structures: Sequence[Structure]
    goals: tuple[DVHGoal, ...]
    targets: Mapping[str, float]
    mlc: MLC | None
    terms: tuple[tuple[str, ObjectiveTerm], ...] = ()
    machine: MachineRequest = field(default_factory=MachineRequest)
    optimizer: OptimizerSettings = field(default_factory=OptimizerSettings)
    planner: GoalPlannerSettings = field(default_factory=GoalPlannerSettings)
    dicom: Mapping[str, str] = field(default_factory=dict)
    references: Mapping[str, Dataset] = field(default_factory=dict)
    request: PrescriptionFile | None = None
    engine: str = "native"
    verify: str = "auto"
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "machine", decided_machine(self.machine, self.engine, segments=self.mlc is not None))
        checked_choice("verify", self.verify, VERIFY)

    @property
    def dosed_by(self) -> EngineChoice:
        """How the final dose is computed."""
        return EngineChoice(self.engine, self.machine.scatter or "opentps", None, self.machine.beam_model)
