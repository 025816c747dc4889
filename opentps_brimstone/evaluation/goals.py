"""Planning goals: metrics by their names, goals as text, and the table that judges them."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from opentps_brimstone.evaluation.metrics import (
    dose_at_volume,
    dose_at_volume_cc,
    gradient_index,
    homogeneity_index,
    maximum_dose,
    mean_dose,
    minimum_dose,
    paddick_conformity_index,
    volume_at_dose,
    volume_at_dose_cc,
    voxel_volume_cc,
)
from opentps_brimstone.evaluation.tables import FAIL_COLOR, PASS_COLOR, format_table, html_table
from opentps_brimstone.model.dose import grid_of

if TYPE_CHECKING:
    from opentps_brimstone.model.influence import VoxelGrid
    from opentps_brimstone.model.structure import Structure

__all__ = ["DVHGoal", "DVHMetric", "GoalResult", "GoalTable", "evaluate"]

_Metric = Callable[[npt.ArrayLike, npt.ArrayLike], float]
_NAMED_METRICS: dict[str, tuple[_Metric, str]] = {
    "Dmean": (mean_dose, "Gy"),
    "Dmin": (minimum_dose, "Gy"),
    "Dmax": (maximum_dose, "Gy"),
    "HI": (homogeneity_index, ""),
}
# What the number of a metric is of, and how it may be written.
_NUMBER_UNITS = {"D": ("%", "cc", "cm3", "cm³"), "V": ("Gy",), "CI": ("Gy",), "GI": ("Gy",)}
_METRIC = re.compile(r"(?P<kind>CI|GI|D|V)(?P<number>\d+(?:\.\d+)?)(?P<unit>%|Gy|cc|cm3|cm³)?")
_METRIC_HELP = "it may be D<percent>, D<cm³>cc, V<Gy>, CI<Gy>, GI<Gy>, " + ", ".join(_NAMED_METRICS)
_CUBIC_CENTIMETRES = ("cc", "cm3", "cm³")


@dataclass(frozen=True)
class DVHMetric:
    """A number read off a structure's dose, by its name.

    Attributes
    ----------
    name : str
        ``D95`` or ``D95%`` (dose that at least 95 % of the volume gets, Gy), ``D2cc`` (lowest dose in the hottest
        2 cm³, Gy), ``V20`` or ``V20Gy`` (volume that gets at least 20 Gy, % or cm³), ``Dmean``, ``Dmin``, ``Dmax``
        (Gy), ``HI`` (homogeneity index), ``CI50`` or ``CI50Gy`` (Paddick's conformity index of the 50 Gy isodose) or
        ``GI50`` (its gradient index).
    volume_unit : {"%", "cc"}
        Unit of a V metric.

    Raises
    ------
    ValueError
        When there is no metric of that name.

    Examples
    --------
    >>> DVHMetric("D95").unit
    'Gy'
    >>> DVHMetric("V20").unit
    '%'
    >>> DVHMetric("V20Gy", volume_unit="cc").unit
    'cc'
    """

    name: str
    volume_unit: str = "%"

    def __post_init__(self) -> None:
        if self.volume_unit not in ("%", "cc"):
            raise ValueError(f"the volume unit is {self.volume_unit!r}; it may be '%' or 'cc'")
        if self.name not in _NAMED_METRICS:
            object.__setattr__(self, "name", _canonical(self.name))
        if self.volume_unit != "%" and not self.name.startswith("V"):
            raise ValueError(f"metric {self.name} has no volume unit; only V metrics do")

    @property
    def unit(self) -> str:
        """``Gy``, ``%``, ``cc`` or nothing."""
        if self.name in _NAMED_METRICS:
            return _NAMED_METRICS[self.name][1]
        return {"D": "Gy", "V": self.volume_unit}.get(self.name[0], "")

    @property
    def needs_voxel_volume(self) -> bool:
        """Whether the metric is of a volume in cm³."""
        return self.name.endswith("cc") or self.unit == "cc"

    def __call__(self, dose: npt.ArrayLike, share: npt.ArrayLike, voxel_cc: float | None = None) -> float:
        """Value for a dose.

        Parameters
        ----------
        dose, share : array_like, shape (nx, ny, nz)
            As for `mean_dose`.
        voxel_cc : float, optional
            Volume of a voxel, in cm³, for the metrics that need it.

        Returns
        -------
        float
            In `unit`.

        Raises
        ------
        ValueError
            When the volume of a voxel is needed and not given, or the metric has no value.
        """
        if self.name in _NAMED_METRICS:
            return _NAMED_METRICS[self.name][0](dose, share)
        match = _METRIC.fullmatch(self.name)
        assert match is not None
        number = float(match["number"])
        if match["kind"] == "CI":
            return paddick_conformity_index(dose, share, number)
        if match["kind"] == "GI":
            return gradient_index(dose, number)
        if not self.needs_voxel_volume:
            return (dose_at_volume if match["kind"] == "D" else volume_at_dose)(dose, share, number)
        if voxel_cc is None:
            raise ValueError(f"{self.name} is of a volume in cm³; it needs the volume of a voxel")
        return (dose_at_volume_cc if match["kind"] == "D" else volume_at_dose_cc)(dose, share, number, voxel_cc)


def _canonical(name: str) -> str:
    """D95% and V20Gy are D95 and V20; D2cm³ is D2cc."""
    match = _METRIC.fullmatch(name)
    if match is None:
        raise ValueError(f"metric {name!r} is unknown; {_METRIC_HELP}")
    kind, number, unit = match["kind"], match["number"], match["unit"]
    if unit is not None and unit not in _NUMBER_UNITS[kind]:
        wanted = "percent or cm³ of the volume" if kind == "D" else "a dose in Gy"
        raise ValueError(f"metric {name!r} has a number in {unit}; that of {kind} is {wanted}")
    if unit in _CUBIC_CENTIMETRES:
        if float(number) <= 0:
            raise ValueError(f"metric {name!r} asks for a volume of {number} cm³; it must be positive")
        return f"{kind}{number}cc"
    if kind == "D" and float(number) > 100:
        raise ValueError(f"metric {name!r} asks for {number} % of the volume; at most 100 % exist")
    if kind in ("CI", "GI") and float(number) <= 0:
        raise ValueError(f"metric {name!r} is of the isodose {number} Gy; it must be positive")
    return kind + number


_RELATIONS: dict[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}
_SPELLINGS = {"≥": ">=", "≤": "<="}
_GOAL = re.compile(
    r"\s*(?P<structure>\S.*?)\s+(?P<metric>[A-Za-z][\w.%]*)\s*(?P<relation>>=|<=|≥|≤|>|<)\s*"
    r"(?P<value>[-+]?[\w.]*?\d)\s*(?P<unit>cm3|cm³|[A-Za-z%]*)\s*"
)


@dataclass(frozen=True)
class DVHGoal:
    """Something a plan should reach.

    Attributes
    ----------
    structure : str
        Name of the structure.
    metric : DVHMetric
        What is looked at; its name will do.
    relation : {">=", "<=", ">", "<"}
    value : float
        In the metric's unit.

    Raises
    ------
    ValueError
        When metric or relation is unknown, or the value not finite.

    Examples
    --------
    >>> DVHGoal.parse("PTV D95 >= 50 Gy")
    DVHGoal('PTV D95 >= 50 Gy')
    >>> DVHGoal.parse("left lung V20Gy ≤ 300 cc").requirement
    '<= 300 cc'
    >>> DVHGoal.parse("rectum D2cc < 70").is_met(69.5)
    True
    """

    structure: str
    metric: DVHMetric
    relation: str
    value: float

    def __post_init__(self) -> None:
        if not self.structure:
            raise ValueError("a goal needs the name of a structure")
        if isinstance(self.metric, str):
            object.__setattr__(self, "metric", DVHMetric(self.metric))
        object.__setattr__(self, "relation", _SPELLINGS.get(self.relation, self.relation))
        if self.relation not in _RELATIONS:
            raise ValueError(f"relation {self.relation!r} is unknown; it may be {', '.join(_RELATIONS)}")
        if not (math.isfinite(self.value) and self.value >= 0):
            raise ValueError(f"the goal of {self.structure} {self.metric.name} is {self.value}; it must be 0 or more")

    @classmethod
    def parse(cls, text: str) -> DVHGoal:
        """Read a goal.

        Parameters
        ----------
        text : str
            ``<structure> <metric> <relation> <value> <unit>``, such as ``PTV D95% >= 50 Gy``, ``rectum D2cc < 70 Gy``
            or ``lung V20Gy ≤ 300 cc``. The unit may be left out; a volume is then in percent.

        Returns
        -------
        DVHGoal

        Raises
        ------
        ValueError
            Saying what in it is wrong.
        """
        match = _GOAL.fullmatch(text)
        if match is None:
            raise ValueError(f"goal {text!r} is not understood; write it like 'PTV D95 >= 50 Gy'")
        try:
            metric = DVHMetric(match["metric"])
            unit = "cc" if match["unit"] in _CUBIC_CENTIMETRES else match["unit"]
            if unit == "cc" and metric.name.startswith("V"):
                metric = DVHMetric(metric.name, volume_unit="cc")
            value = float(match["value"])
        except ValueError as error:
            raise ValueError(f"goal {text!r}: {error}") from None
        if unit and unit != metric.unit:
            wanted = f"in {metric.unit}" if metric.unit else "without a unit"
            raise ValueError(f"goal {text!r}: {metric.name} is {wanted}, not in {match['unit']}")
        return cls(match["structure"], metric, match["relation"], value)

    def __str__(self) -> str:
        return f"{self.structure} {self.metric.name} {self.requirement}"

    def __repr__(self) -> str:
        return f"DVHGoal({str(self)!r})"

    @property
    def requirement(self) -> str:
        """Relation, value and unit."""
        return f"{self.relation} {self.value:g} {self.metric.unit}".rstrip()

    def is_met(self, value: float) -> bool:
        """Whether a value of the metric reaches the goal.

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
    """A goal and what a plan made of it.

    Attributes
    ----------
    goal : DVHGoal
    value : float
        In the unit of the goal's metric.
    met : bool
    """

    goal: DVHGoal
    value: float
    met: bool


class GoalTable(Sequence[GoalResult]):
    """Results of all goals; printing it gives a table, and so does a notebook that shows it.

    Parameters
    ----------
    results : iterable of GoalResult
    """

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
        return all(result.met for result in self._results)

    def rows(self) -> list[tuple[str, str, str, str, str]]:
        """Rows of text under `COLUMNS`.

        Returns
        -------
        list of tuple of str
        """
        return [
            (
                result.goal.structure,
                result.goal.metric.name,
                result.goal.requirement,
                f"{result.value:.2f} {result.goal.metric.unit}".rstrip(),
                "yes" if result.met else "NO",
            )
            for result in self._results
        ]

    def records(self) -> list[dict[str, Any]]:
        """Plain data, such as JSON holds.

        Returns
        -------
        list of dict
            ``structure``, ``metric``, ``relation``, ``goal``, ``unit``, ``value`` and ``met``.
        """
        return [
            {
                "structure": result.goal.structure,
                "metric": result.goal.metric.name,
                "relation": result.goal.relation,
                "goal": result.goal.value,
                "unit": result.goal.metric.unit,
                "value": result.value,
                "met": result.met,
            }
            for result in self._results
        ]

    def __str__(self) -> str:
        return format_table(self.COLUMNS, self.rows())

    def _repr_html_(self) -> str:
        fills = [PASS_COLOR if result.met else FAIL_COLOR for result in self._results]
        met = sum(result.met for result in self._results)
        return html_table(self.COLUMNS, self.rows(), fills=fills, caption=f"{met} of {len(self)} goals met")

    def __repr__(self) -> str:
        return f"GoalTable({sum(result.met for result in self._results)} of {len(self)} goals met)"


def evaluate(
    dose: npt.ArrayLike,
    structures: Iterable[Structure],
    goals: Iterable[DVHGoal | str],
    *,
    grid: VoxelGrid | None = None,
) -> GoalTable:
    """Compare a dose with goals.

    Parameters
    ----------
    dose : array_like, shape (nx, ny, nz)
        Gy.
    structures : iterable of Structure
        On the same grid; their names are those of the goals.
    goals : iterable of DVHGoal or str
        A text is read by `DVHGoal.parse`.
    grid : VoxelGrid, optional
        For goals in cm³; a `DoseArray` carries its own.

    Returns
    -------
    GoalTable

    Raises
    ------
    ValueError
        When a goal is for a structure that is not there, not understood, or has no value for this structure.

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
    asked = [DVHGoal.parse(goal) if isinstance(goal, str) else goal for goal in goals]
    for goal in asked:
        if goal.structure not in by_name:
            raise ValueError(f"goal '{goal}' is for {goal.structure!r}; the structures are {', '.join(by_name)}")
        if goal.metric.needs_voxel_volume and voxel_cc is None:
            raise ValueError(f"goal '{goal}' is in cm³; give grid=, or a DoseArray, which carries its grid")
    results = []
    for goal in asked:
        try:
            value = goal.metric(dose, by_name[goal.structure].share, voxel_cc)
        except ValueError as error:
            raise ValueError(f"goal '{goal}': {error}") from None
        results.append(GoalResult(goal, value, goal.is_met(value)))
    return GoalTable(results)
