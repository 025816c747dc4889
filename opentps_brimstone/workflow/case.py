"""What a planning needs to know, whether its case is a phantom or a patient."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from opentps_brimstone._util.choices import checked_choice
from opentps_brimstone.engine.choice import EngineChoice
from opentps_brimstone.goal_planning.settings import GoalPlannerSettings
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

__all__ = ["SEQUENCING_MARGIN", "Case", "check_scatter", "planning_margin"]

SEQUENCING_MARGIN = 0.01
"""Margin of `planning_margin` for segments: turning fluence into segments changes doses by about half of it."""


def check_scatter(engine: str, scatter: str, *, segments: bool) -> None:
    """Raise ValueError if an engine or a reach of scatter is unknown, or cannot do what is asked for."""
    if EngineChoice(engine, scatter).scatter == "full" and segments:
        raise ValueError(
            "segments are made with scatter as in OpenTPS's beamlets: scatter='full' is for fluence alone "
            "(--fluence-only, or no --deliverable)"
        )


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
    scatter : {"opentps", "full"}
        How far scatter reaches in optimization and final dose, as for `EngineChoice`; full for fluence without
        segments.
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
    scatter: str = "opentps"
    verify: str = "auto"
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_scatter(self.engine, self.scatter, segments=self.mlc is not None)
        checked_choice("verify", self.verify, VERIFY)
