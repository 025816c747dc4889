"""Planning goals as text, and the table of those that a dose meets."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from opentps_brimstone._util.tables import Html, format_table, html_table
from opentps_brimstone.evaluation.dvh_metric import CUBIC_CENTIMETERS, DVHMetric
from opentps_brimstone.evaluation.metrics import (
    SmallStructureError,
    UndefinedMetricError,
    voxel_volume_cc,
)
from opentps_brimstone.model.dose import grid_of
from opentps_brimstone.model.plausible import warn_of_centigray
from opentps_brimstone.quantities import checked_quantity, quantity_label, structure_quantity
from opentps_brimstone.quantities.of_structure import MATRICES_OF

if TYPE_CHECKING:
    from opentps_brimstone.model.influence import VoxelGrid
    from opentps_brimstone.model.structure import Structure

__all__ = ["FAIL_COLOR", "PASS_COLOR", "DVHGoal", "GoalResult", "GoalTable", "PrescribedDose", "as_goals", "evaluate"]

PASS_COLOR, FAIL_COLOR = "#DDF1E4", "#F8D7CC"
"""Backgrounds of goals that are met, and of goals that are missed."""

PrescribedDose = float | Mapping[str, float]
"""What 100 % are, in Gy over all fractions: of all structures, or of each target by its name."""

_RELATIONS: dict[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}
_SPELLINGS = {"≥": ">=", "≤": "<="}
_GOAL = re.compile(
    r"\s*(?P<structure>\S.*?)\s+(?P<metric>[A-Za-z][\w.%]*)\s*(?P<relation>>=|<=|≥|≤|>|<)\s*"
    r"(?P<value>[-+]?[\w.]*?\d)\s*(?P<unit>cm3|cm³|(?:Gy )?keV/[µμu]m|[A-Za-z%]*)\s*"
)
# What a metric is of stands before it, after the structure; "bed" belongs to names, such as that of a tumor bed.
_OF_QUANTITY = re.compile(
    r"(?P<structure>.*\S)\s+(?P<quantity>EQD2|(?-i:BED)|effect|RBE|LET|rbe_x_dose|let_dose|alpha_dose|sqrt_beta_dose)"
    r"(?:Gy)?(?:\(a/b=(?P<alpha_beta>[\d.]+)\))?",
    re.IGNORECASE,
)
GOALS_OF_DOSE = "here, goals are of dose, EQD2, BED or effect"
"""Which goals there may be where there is dose alone."""

_SHORT_NAMES = {"rbe": "rbe_x_dose"}
# What stands for Gy in metrics of a quantity that is not a dose.
_UNITS = {"let": "keV/µm", "let_dose": "Gy keV/µm", "effect": "", "alpha_dose": "", "sqrt_beta_dose": ""}


@dataclass(frozen=True)
class DVHGoal:
    """A bound on a metric of a structure's dose.

    Attributes
    ----------
    structure : str
        Name of the structure.
    metric : DVHMetric
        Or its name.
    relation : {">=", "<=", ">", "<"}
    value : float
        In the metric's unit.
    quantity : str
        What the metric is of, as for `ObjectiveTerm`: dose by default.
    alpha_beta : float or None
        In Gy, in place of the structure's.
    in_percent : bool
        Whether the value of a metric in Gy is in percent of the prescribed dose.
    written : DVHGoal or None
        The relative goal that `in_gray` made this one of.

    Raises
    ------
    ValueError
        If metric, relation or quantity is unknown, or the value is not finite.

    Examples
    --------
    >>> DVHGoal.parse("PTV D95 >= 50 Gy")
    DVHGoal('PTV D95 >= 50 Gy')
    >>> DVHGoal.parse("left lung V20Gy ≤ 300 cc").requirement
    '<= 300 cc'
    >>> DVHGoal.parse("rectum D2cc < 70").is_met(69.5)
    True
    >>> DVHGoal.parse("Cord EQD2(a/b=2) D0.03cc <= 50 Gy")
    DVHGoal('Cord EQD2(a/b=2) D0.03cc <= 50 Gy')
    >>> DVHGoal.parse("PTV D98 >= 95 %").in_gray(60.0)
    DVHGoal('PTV D98 >= 57 Gy')
    >>> DVHGoal.parse("PTV V95% >= 98 %").in_gray(60.0)
    DVHGoal('PTV V57 >= 98 %')
    """

    structure: str
    metric: DVHMetric
    relation: str
    value: float
    quantity: str = "physical_dose"
    alpha_beta: float | None = None
    in_percent: bool = False
    written: DVHGoal | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        if not self.structure:
            raise ValueError("a goal needs the name of a structure")
        if isinstance(self.metric, str):
            object.__setattr__(self, "metric", DVHMetric(self.metric))
        object.__setattr__(self, "relation", _SPELLINGS.get(self.relation, self.relation))
        if self.relation not in _RELATIONS:
            raise ValueError(f"relation {self.relation!r} is unknown; it may be {', '.join(_RELATIONS)}")
        checked_quantity(self.quantity)
        if self.quantity != "physical_dose" and self.metric.kind in ("CI", "GI"):
            raise ValueError(f"{self.metric.name} of {self.structure} is of the whole dose; it has no {self.quantity}")
        if self.in_percent and self.metric.unit != "Gy":
            raise ValueError(f"{self.metric.name} of {self.structure} is not a dose; it has no percent of one")
        if self.is_relative and self.quantity != "physical_dose":
            raise ValueError(
                f"the goal of {self.structure} {self.metric.name} is relative to the prescribed dose, "
                f"which is not a dose in {quantity_label(self.quantity, self.alpha_beta, unit=False)}; write it in Gy"
            )
        if self.alpha_beta is not None and not self.is_of_dose:
            raise ValueError(f"{self.quantity} of {self.structure} does not depend on the alpha/beta of a goal")
        if self.alpha_beta is not None and not (math.isfinite(self.alpha_beta) and self.alpha_beta > 0):
            raise ValueError(f"alpha/beta of the goal of {self.structure} is {self.alpha_beta} Gy; it must be positive")
        if not (math.isfinite(self.value) and self.value >= 0):
            raise ValueError(f"the goal of {self.structure} {self.metric.name} is {self.value}; it must be 0 or more")

    @classmethod
    def parse(cls, text: str) -> DVHGoal:
        """Read a goal.

        Parameters
        ----------
        text : str
            ``<structure> <metric> <relation> <value> <unit>``, such as ``PTV D95% >= 50 Gy``, ``rectum D2cc < 70 Gy``
            or ``lung V20Gy ≤ 300 cc``. The unit may be left out; a volume is then in percent. Before the metric may
            stand ``EQD2``, ``BED`` (in capitals: a ``Tumor bed`` is a structure) or ``effect``, with an α/β in Gy as in
            ``EQD2(a/b=2)``, or without; with matrices for it ``RBE``, ``LET`` (``Brainstem LET D2 <= 6 keV/µm``), or
            the identifier of another quantity. Doses may be in percent of the prescribed one: ``PTV D95 >= 95 %``,
            ``PTV V95% >= 98 %``.

        Returns
        -------
        DVHGoal

        Raises
        ------
        ValueError
            Saying what is wrong in it.

        Warns
        -----
        UserWarning
            If its dose is likely to be in cGy.
        """
        match = _GOAL.fullmatch(text)
        if match is None:
            raise ValueError(f"goal {text!r} is not understood; write it like 'PTV D95 >= 50 Gy'")
        try:
            metric = DVHMetric(match["metric"])
            unit = "cc" if match["unit"] in CUBIC_CENTIMETERS else match["unit"]
            if unit == "cc" and metric.kind == "V":
                metric = DVHMetric(metric.name, volume_unit="cc")
            value = float(match["value"])
            structure, quantity, alpha_beta = _structure_and_quantity(match["structure"])
        except ValueError as error:
            raise ValueError(f"goal {text!r}: {error}") from None
        in_percent = unit == "%" and metric.unit == "Gy"
        wanted_unit = _UNITS.get(quantity, "Gy") if metric.unit == "Gy" else metric.unit
        unit = re.sub("[μu]m", "µm", unit)
        if unit and unit != wanted_unit and not in_percent:
            wanted = f"in {wanted_unit}" if wanted_unit else "without a unit"
            raise ValueError(f"goal {text!r}: {metric.name} is {wanted}, not in {match['unit']}")
        try:
            goal = cls(structure, metric, match["relation"], value, quantity, alpha_beta, in_percent)
        except ValueError as error:
            raise ValueError(f"goal {text!r}: {error}") from None
        if quantity == "physical_dose" and not goal.is_relative:
            dose = metric.number if metric.kind == "V" else value if metric.unit == "Gy" else None
            warn_of_centigray(dose or 0.0, f"goal {text!r}")
        return goal

    def __str__(self) -> str:
        return f"{self.structure} {self.metric_name} {self.requirement}"

    def __repr__(self) -> str:
        return f"DVHGoal({str(self)!r})"

    @property
    def metric_name(self) -> str:
        """Name of the metric, after that of its quantity unless it is dose."""
        if self.quantity == "physical_dose":
            return self.metric.name
        return f"{quantity_label(self.quantity, self.alpha_beta, unit=False)} {self.metric.name}"

    @property
    def is_of_dose(self) -> bool:
        """Whether its quantity follows from dose and tissue alone, and not from further matrices of a plan."""
        return self.quantity not in MATRICES_OF or self.quantity == "effect"

    @property
    def is_relative(self) -> bool:
        """Whether a dose of it is in percent of the prescribed one."""
        return self.in_percent or self.metric.is_relative

    def in_gray(self, prescribed_gy: float) -> DVHGoal:
        """State a goal with doses in Gy in place of percent.

        Parameters
        ----------
        prescribed_gy : float
            What 100 % are, over all fractions.

        Returns
        -------
        DVHGoal
            This one if it is not relative.

        Raises
        ------
        ValueError
            If the prescribed dose is not positive and finite.
        """
        if not self.is_relative:
            return self
        if not (math.isfinite(prescribed_gy) and prescribed_gy > 0):
            raise ValueError(f"the prescribed dose of goal '{self}' is {prescribed_gy} Gy; it must be positive")
        value = round(self.value * prescribed_gy / 100, 9) if self.in_percent else self.value
        metric = self.metric.in_gray(prescribed_gy)
        return replace(self, metric=metric, value=value, in_percent=False, written=self)

    def value_of(
        self,
        dose: npt.ArrayLike,
        structure: Structure,
        voxel_cc: float | None = None,
        number_of_fractions: int | None = None,
        quantities: Mapping[str, npt.ArrayLike] | None = None,
    ) -> float:
        """Value of the metric for a dose.

        Parameters
        ----------
        dose : array_like, shape (nx, ny, nz)
            Gy over all fractions.
        structure : Structure
            On the same grid.
        voxel_cc : float, optional
            Volume of a voxel, for metrics in cm³.
        number_of_fractions : int, optional
            For quantities that depend on it.
        quantities : mapping of str to array_like of shape (nx, ny, nz), optional
            Quantities that do not follow from dose, on the same grid, as for `evaluate`.

        Returns
        -------
        float
            In the metric's unit.
        """
        if self.quantity in (quantities or {}):
            assert quantities is not None
            return self.metric.of_structure(quantities[self.quantity], structure, voxel_cc)
        if self.quantity != "physical_dose":
            if not self.is_of_dose:
                raise ValueError(
                    f"{self.quantity} does not follow from dose alone; give quantities={{{self.quantity!r}: "
                    f"plan.get_dose({self.quantity!r})}}"
                )
            if number_of_fractions is None:
                raise ValueError(f"{self.quantity} depends on the number of fractions; give number_of_fractions=")
            dose = structure_quantity(dose, structure, self.quantity, number_of_fractions, alpha_beta=self.alpha_beta)
            return self.metric(dose, structure.share, voxel_cc)  # what is outside has no quantity of the structure's
        return self.metric.of_structure(dose, structure, voxel_cc)

    @property
    def unit(self) -> str:
        """Unit of the metric's values."""
        return _UNITS.get(self.quantity, "Gy") if self.metric.unit == "Gy" else self.metric.unit

    @property
    def requirement(self) -> str:
        """Relation, value and unit."""
        return f"{self.relation} {self.value:g} {'%' if self.in_percent else self.unit}".rstrip()

    @property
    def cells(self) -> tuple[str, str, str]:
        """Structure, metric and requirement for tables: as they were written, with doses in Gy behind percents."""
        metric, requirement = self.metric_name, self.requirement
        if self.written is not None and self.written.metric.is_relative:
            metric = f"{self.written.metric_name} ({self.metric.number:g} Gy)"
        if self.written is not None and self.written.in_percent:
            requirement = f"{self.written.requirement} ({self.value:g} Gy)"
        return self.structure, metric, requirement

    @property
    def _quantity_record(self) -> dict[str, Any]:
        if self.quantity == "physical_dose":
            return {}
        return {"quantity": self.quantity, "alpha_beta": self.alpha_beta}

    @property
    def is_lower_bound(self) -> bool:
        """Whether the value is a minimum, not a maximum."""
        return self.relation.startswith(">")

    def is_met(self, value: float) -> bool:
        """Whether a value of the metric meets the goal.

        Parameters
        ----------
        value : float
            In the metric's unit.

        Returns
        -------
        bool
        """
        return _RELATIONS[self.relation](value, self.value)


@dataclass(frozen=True)
class GoalResult:
    """A goal and the value that a dose has for it, in the unit of the goal's metric.

    Attributes
    ----------
    goal : DVHGoal
    value : float
        NaN where the metric does not exist.
    met : bool
    note : str
        What is special about the value; usually empty.
    """

    goal: DVHGoal
    value: float
    met: bool
    note: str = ""


class GoalTable(Sequence[GoalResult]):
    """Results of all goals, shown as a table by `print` and in notebooks."""

    COLUMNS = ("structure", "metric", "goal", "value", "met")

    def __init__(self, results: Iterable[GoalResult]) -> None:
        self._results = tuple(results)

    def __getitem__(self, index: Any) -> Any:
        return self._results[index]

    def __len__(self) -> int:
        return len(self._results)

    @property
    def all_met(self) -> bool:
        """Whether every goal is met."""
        return self.n_met == len(self)

    @property
    def n_met(self) -> int:
        """Number of goals that are met."""
        return sum(result.met for result in self._results)

    @property
    def summary(self) -> str:
        """Numbers of goals and of those that are met, for people."""
        return f"{self.n_met} of {len(self)} goals met"

    def rows(self) -> list[tuple[str, str, str, str, str]]:
        """Rows of text under `COLUMNS`."""
        return [
            (
                *result.goal.cells,
                f"{result.value:.2f} {result.goal.unit}".rstrip(),
                "yes" if result.met else "NO",
            )
            for result in self._results
        ]

    def records(self) -> list[dict[str, Any]]:
        """Plain data, such as JSON holds."""
        return [
            {
                "structure": result.goal.structure,
                "metric": result.goal.metric.name,
                "relation": result.goal.relation,
                "goal": result.goal.value,
                "unit": result.goal.unit,
                "value": result.value,
                "met": result.met,
                **result.goal._quantity_record,
                **({} if result.goal.written is None else {"written": str(result.goal.written)}),
            }
            for result in self._results
        ]

    @property
    def notes(self) -> list[str]:
        """What is special about values, with the goals."""
        return [f"{result.goal}: {result.note}" for result in self._results if result.note]

    def __str__(self) -> str:
        return "\n".join((format_table(self.COLUMNS, self.rows()), *self.notes))

    def _repr_html_(self) -> Html:
        fills = [PASS_COLOR if result.met else FAIL_COLOR for result in self._results]
        caption = "; ".join((self.summary, *self.notes))
        return html_table(self.COLUMNS, self.rows(), fills=fills, caption=caption)

    def __repr__(self) -> str:
        return f"GoalTable({self.summary})"


def _structure_and_quantity(text: str) -> tuple[str, str, float | None]:
    """Tell the name of a structure from that of a quantity, with its α/β, behind it."""
    match = _OF_QUANTITY.fullmatch(text)
    if match is None:
        return text, "physical_dose", None
    alpha_beta, quantity = match["alpha_beta"], match["quantity"].lower()
    return match["structure"], _SHORT_NAMES.get(quantity, quantity), None if alpha_beta is None else float(alpha_beta)


def as_goals(
    goals: Iterable[DVHGoal | str],
    names: Collection[str] | None = None,
    prescribed_dose: PrescribedDose | None = None,
    *,
    of_dose: bool = False,
) -> list[DVHGoal]:
    """Read goals that are given as text, in Gy; with names, check that they are for structures of these.

    Percent are of a target's own prescribed dose, and of the highest one for other structures. With `of_dose`, a goal
    whose quantity does not follow from dose is a ValueError.
    """
    read = [DVHGoal.parse(goal) if isinstance(goal, str) else goal for goal in goals]
    read = [goal.in_gray(_prescribed(goal, prescribed_dose)) if goal.is_relative else goal for goal in read]
    for goal in read:
        if names is not None and goal.structure not in names:
            raise ValueError(f"goal '{goal}' is for {goal.structure!r}; the structures are {', '.join(names)}")
        if of_dose and not goal.is_of_dose:
            raise ValueError(f"goal '{goal}': {goal.quantity} does not follow from dose; {GOALS_OF_DOSE}")
    return read


def _prescribed(goal: DVHGoal, prescribed_dose: PrescribedDose | None) -> float:
    if not isinstance(prescribed_dose, Mapping):
        if prescribed_dose is None:
            raise ValueError(f"goal '{goal}' is relative to the prescribed dose; give prescribed_dose=, in Gy")
        return float(prescribed_dose)
    if not prescribed_dose:
        raise ValueError(f"goal '{goal}' is relative to the prescribed dose, and no target has one")
    return float(prescribed_dose.get(goal.structure, max(prescribed_dose.values())))


def evaluate(
    dose: npt.ArrayLike,
    structures: Iterable[Structure],
    goals: Iterable[DVHGoal | str],
    *,
    grid: VoxelGrid | None = None,
    number_of_fractions: int | None = None,
    quantity: str | None = None,
    prescribed_dose: PrescribedDose | None = None,
    quantities: Mapping[str, npt.ArrayLike] | None = None,
) -> GoalTable:
    """Judge a dose by goals.

    Parameters
    ----------
    dose : array_like, shape (nx, ny, nz)
        Gy.
    structures : iterable of Structure
        On the same grid, such as ``plan.structures``.
    goals : iterable of DVHGoal or str
        Text is read by `DVHGoal.parse`.
    grid : VoxelGrid, optional
        For goals in cm³; a `DoseArray` carries its own.
    number_of_fractions : int, optional
        That the dose is summed over, for goals of EQD2, BED or effect. Dose that was given before is counted in with
        these for structures that have some, as those of a plan may.
    quantity : str, optional
        What goals that do not name a quantity are of; dose by default.
    prescribed_dose : float or mapping of str to float, optional
        In Gy, for goals in percent of it, such as ``PTV D95 >= 95 %``: of all structures, or of each target by its
        name; other structures then take the highest one.
    quantities : mapping of str to array_like of shape (nx, ny, nz), optional
        Quantities that follow from further matrices of a plan and not from its dose, by their identifiers, on the same
        grid: ``{"rbe_x_dose": plan.get_dose("rbe_x_dose")}``.

    Returns
    -------
    GoalTable

    Raises
    ------
    ValueError
        If a goal is not understood, is for an unknown structure, or the dose is not finite in it. A metric that does
        not exist, such as a homogeneity index without dose, is not an error: its goal is missed, with a note.

    Examples
    --------
    >>> import numpy as np
    >>> import opentps_brimstone as pb
    >>> dose = np.array([50.0, 52.0]).reshape(2, 1, 1)
    >>> print(evaluate(dose, [pb.Structure("PTV", np.ones((2, 1, 1)))], ["PTV Dmin >= 49 Gy", "PTV Dmax <= 51 Gy"]))
    structure  metric  goal      value     met
    ---------  ------  --------  --------  ---
    PTV        Dmin    >= 49 Gy  50.00 Gy  yes
    PTV        Dmax    <= 51 Gy  52.00 Gy  NO
    """
    by_name = {structure.name: structure for structure in structures}
    where = grid_of(dose, grid)
    voxel_cc = None if where is None else voxel_volume_cc(where)
    asked = as_goals(goals, by_name, prescribed_dose)
    if quantity is not None:
        asked = [replace(goal, quantity=quantity) if goal.quantity == "physical_dose" else goal for goal in asked]
    for goal in asked:
        if goal.metric.needs_voxel_volume and voxel_cc is None:
            raise ValueError(f"goal '{goal}' is in cm³; give grid=, or a DoseArray, which carries its grid")
    return GoalTable(
        _judged(goal, dose, by_name[goal.structure], voxel_cc, number_of_fractions, quantities) for goal in asked
    )


def _judged(
    goal: DVHGoal,
    dose: npt.ArrayLike,
    structure: Structure,
    voxel_cc: float | None,
    number_of_fractions: int | None,
    quantities: Mapping[str, npt.ArrayLike] | None,
) -> GoalResult:
    note = ""
    try:
        try:
            value = goal.value_of(dose, structure, voxel_cc, number_of_fractions, quantities)
        except SmallStructureError as error:
            # On the safe side: the whole structure is less than the volume asked for.
            extreme = replace(goal, metric=DVHMetric("Dmin" if goal.is_lower_bound else "Dmax"))
            value = extreme.value_of(dose, structure, voxel_cc, number_of_fractions, quantities)
            note = f"{error}; judged by its {'lowest' if goal.is_lower_bound else 'highest'} dose"
    except UndefinedMetricError as error:
        return GoalResult(goal, math.nan, False, str(error))
    except ValueError as error:
        raise ValueError(f"goal '{goal}': {error}") from None
    return GoalResult(goal, value, goal.is_met(value), note)
