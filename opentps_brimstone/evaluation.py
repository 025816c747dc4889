"""What a dose does to structures: DVH metrics, planning goals and their tables."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from opentps_brimstone.plan import Structure

__all__ = [
    "DVHGoal",
    "DVHMetric",
    "DoseStatistics",
    "GoalResult",
    "GoalTable",
    "cumulative_dvh",
    "dose_at_volume",
    "dose_statistics",
    "evaluate",
    "homogeneity_index",
    "maximum_dose",
    "mean_dose",
    "minimum_dose",
    "volume_at_dose",
]

FloatArray = npt.NDArray[np.float64]


def _inside(dose: npt.ArrayLike, share: npt.ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Dose and volume share of the voxels that belong to a structure."""
    doses = np.asarray(dose, dtype=np.float64)
    shares = np.asarray(share, dtype=np.float64)
    if doses.shape != shares.shape:
        raise ValueError(f"the dose has the grid {doses.shape} and the structure {shares.shape}; they must agree")
    part = shares > 0
    if not part.any():
        raise ValueError(f"the structure is empty: none of its {shares.size} voxels has a share above 0")
    if not np.isfinite(doses[part]).all():
        raise ValueError("the dose inside the structure is not finite everywhere")
    return doses[part], shares[part]


# ------------------------------------------------------------------------------------------------------------ metrics


def mean_dose(dose: npt.ArrayLike, share: npt.ArrayLike) -> float:
    """Mean dose of a structure, by volume.

    Parameters
    ----------
    dose : array_like, shape (nx, ny, nz)
        Gy.
    share : array_like, shape (nx, ny, nz)
        Share of each voxel's volume that belongs to the structure, in [0, 1]; a bool mask will do.

    Returns
    -------
    float
        Gy.

    Raises
    ------
    ValueError
        When the grids differ, the structure is empty, or its dose is not finite. So do all metrics here.
    """
    doses, shares = _inside(dose, share)
    return float(np.average(doses, weights=shares))


def minimum_dose(dose: npt.ArrayLike, share: npt.ArrayLike) -> float:
    """Lowest dose of a voxel that belongs to a structure, however small its part.

    Parameters
    ----------
    dose, share : array_like, shape (nx, ny, nz)
        As for `mean_dose`.

    Returns
    -------
    float
        Gy.
    """
    return float(_inside(dose, share)[0].min())


def maximum_dose(dose: npt.ArrayLike, share: npt.ArrayLike) -> float:
    """Highest dose of a voxel that belongs to a structure, however small its part.

    Parameters
    ----------
    dose, share : array_like, shape (nx, ny, nz)
        As for `mean_dose`.

    Returns
    -------
    float
        Gy.
    """
    return float(_inside(dose, share)[0].max())


def dose_at_volume(dose: npt.ArrayLike, share: npt.ArrayLike, volume_percent: float) -> float:
    """D_x: the dose that at least x % of a structure's volume gets.

    Every voxel's dose stands at the middle of its volume in the cumulative DVH, and doses are interpolated linearly in
    between; for voxels of equal shares this is Hazen's quantile. Within half a voxel of either end it is the
    highest or lowest dose.

    Parameters
    ----------
    dose, share : array_like, shape (nx, ny, nz)
        As for `mean_dose`.
    volume_percent : float
        x, from 0 to 100.

    Returns
    -------
    float
        Gy.

    Raises
    ------
    ValueError
        When x is outside 0 to 100.

    Examples
    --------
    >>> dose_at_volume([10.0, 20.0, 30.0, 40.0], [1, 1, 1, 1], 50)
    25.0
    """
    if not 0 <= volume_percent <= 100:
        raise ValueError(f"the volume of D{volume_percent:g} must be from 0 to 100 %")
    doses, shares = _inside(dose, share)
    order = np.argsort(-doses, kind="stable")
    shares = shares[order]
    middle = (np.cumsum(shares) - shares / 2) / shares.sum()
    return float(np.interp(volume_percent / 100, middle, doses[order]))


def volume_at_dose(dose: npt.ArrayLike, share: npt.ArrayLike, dose_gy: float) -> float:
    """V_x: how much of a structure's volume gets at least x Gy.

    Parameters
    ----------
    dose, share : array_like, shape (nx, ny, nz)
        As for `mean_dose`.
    dose_gy : float
        x, in Gy.

    Returns
    -------
    float
        Percent of the structure's volume.
    """
    doses, shares = _inside(dose, share)
    return float(100 * shares[doses >= dose_gy].sum() / shares.sum())


def homogeneity_index(dose: npt.ArrayLike, share: npt.ArrayLike) -> float:
    """Homogeneity index (D2 − D98) / D50 of ICRU report 83; 0 is a uniform dose.

    Parameters
    ----------
    dose, share : array_like, shape (nx, ny, nz)
        As for `mean_dose`.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        When half the structure gets no dose.
    """
    median = dose_at_volume(dose, share, 50)
    if median <= 0:
        raise ValueError(f"D50 is {median:g} Gy; the homogeneity index needs a positive one")
    return (dose_at_volume(dose, share, 2) - dose_at_volume(dose, share, 98)) / median


def cumulative_dvh(dose: npt.ArrayLike, share: npt.ArrayLike, dose_axis_gy: npt.ArrayLike) -> FloatArray:
    """Cumulative dose-volume histogram on given doses.

    Parameters
    ----------
    dose, share : array_like, shape (nx, ny, nz)
        As for `mean_dose`.
    dose_axis_gy : array_like, shape (n,)
        Gy.

    Returns
    -------
    ndarray, shape (n,)
        Share of the structure's volume, in [0, 1], that gets at least each dose.
    """
    doses, shares = _inside(dose, share)
    order = np.argsort(doses, kind="stable")
    below = np.concatenate([[0.0], np.cumsum(shares[order])])
    index = np.searchsorted(doses[order], np.asarray(dose_axis_gy, dtype=np.float64), side="left")
    volume: FloatArray = 1.0 - below[index] / below[-1]
    return volume


@dataclass(frozen=True)
class DoseStatistics:
    """Dose of one structure, in Gy.

    Attributes
    ----------
    structure : str
    minimum, mean, maximum : float
    d98, d95, d50, d10, d2 : float
        Dose that at least this percentage of the volume gets.
    """

    structure: str
    minimum: float
    mean: float
    maximum: float
    d98: float
    d95: float
    d50: float
    d10: float
    d2: float


def dose_statistics(dose: npt.ArrayLike, structures: Iterable[Structure]) -> list[DoseStatistics]:
    """Statistics of every structure.

    Parameters
    ----------
    dose : array_like, shape (nx, ny, nz)
        Gy.
    structures : iterable of Structure
        On the same grid.

    Returns
    -------
    list of DoseStatistics
        In the order of the structures.
    """
    return [
        DoseStatistics(
            structure.name,
            minimum_dose(dose, structure.share),
            mean_dose(dose, structure.share),
            maximum_dose(dose, structure.share),
            *(dose_at_volume(dose, structure.share, volume) for volume in (98, 95, 50, 10, 2)),
        )
        for structure in structures
    ]


# -------------------------------------------------------------------------------------------------- metrics by name

_NAMED_METRICS: dict[str, tuple[Callable[[npt.ArrayLike, npt.ArrayLike], float], str]] = {
    "Dmean": (mean_dose, "Gy"),
    "Dmin": (minimum_dose, "Gy"),
    "Dmax": (maximum_dose, "Gy"),
    "HI": (homogeneity_index, ""),
}
_METRIC = re.compile(r"(?P<kind>[DV])(?P<number>\d+(?:\.\d+)?)(?:%|Gy)?")
_METRIC_HELP = "it may be D<percent>, V<Gy>, " + ", ".join(_NAMED_METRICS)


@dataclass(frozen=True)
class DVHMetric:
    """A number read off a structure's DVH, by its name.

    Attributes
    ----------
    name : str
        ``D95`` (dose that at least 95 % of the volume gets, Gy), ``V20`` (volume that gets at least 20 Gy, %),
        ``Dmean``, ``Dmin``, ``Dmax`` (Gy) or ``HI`` (homogeneity index).

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
    """

    name: str

    def __post_init__(self) -> None:
        if self.name in _NAMED_METRICS:
            return
        match = _METRIC.fullmatch(self.name)
        if match is None:
            raise ValueError(f"metric {self.name!r} is unknown; {_METRIC_HELP}")
        if match["kind"] == "D" and float(match["number"]) > 100:
            raise ValueError(f"metric {self.name!r} asks for {match['number']} % of the volume; at most 100 % exist")
        # D95% and V20Gy are D95 and V20.
        object.__setattr__(self, "name", match["kind"] + match["number"])

    @property
    def unit(self) -> str:
        """``Gy``, ``%`` or nothing."""
        if self.name in _NAMED_METRICS:
            return _NAMED_METRICS[self.name][1]
        return "Gy" if self.name.startswith("D") else "%"

    def __call__(self, dose: npt.ArrayLike, share: npt.ArrayLike) -> float:
        """Value for a dose.

        Parameters
        ----------
        dose, share : array_like, shape (nx, ny, nz)
            As for `mean_dose`.

        Returns
        -------
        float
            In `unit`.
        """
        if self.name in _NAMED_METRICS:
            return _NAMED_METRICS[self.name][0](dose, share)
        number = float(self.name[1:])
        return (dose_at_volume if self.name.startswith("D") else volume_at_dose)(dose, share, number)


# -------------------------------------------------------------------------------------------------------------- goals

_RELATIONS: dict[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}
_SPELLINGS = {"≥": ">=", "≤": "<="}
_GOAL = re.compile(
    r"\s*(?P<structure>\S.*?)\s+(?P<metric>[A-Za-z][\w.%]*)\s*(?P<relation>>=|<=|≥|≤|>|<)\s*"
    r"(?P<value>[-+]?[\w.]*?\d)\s*(?P<unit>[A-Za-z%]*)\s*"
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
    >>> DVHGoal.parse("left lung V20 ≤ 30 %").structure
    'left lung'
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
            ``<structure> <metric> <relation> <value> <unit>``, such as ``PTV D95 >= 50 Gy``. The unit may be left out.

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
            value = float(match["value"])
        except ValueError as error:
            raise ValueError(f"goal {text!r}: {error}") from None
        if match["unit"] and match["unit"] != metric.unit:
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
    """Results of all goals; printing it gives a table.

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

    def __repr__(self) -> str:
        return f"GoalTable({sum(result.met for result in self._results)} of {len(self)} goals met)"


def evaluate(dose: npt.ArrayLike, structures: Iterable[Structure], goals: Iterable[DVHGoal | str]) -> GoalTable:
    """Compare a dose with goals.

    Parameters
    ----------
    dose : array_like, shape (nx, ny, nz)
        Gy.
    structures : iterable of Structure
        On the same grid; their names are those of the goals.
    goals : iterable of DVHGoal or str
        A text is read by `DVHGoal.parse`.

    Returns
    -------
    GoalTable

    Raises
    ------
    ValueError
        When a goal is for a structure that is not there, or not understood.
    """
    by_name = {structure.name: structure for structure in structures}
    results = []
    for goal in goals:
        asked = DVHGoal.parse(goal) if isinstance(goal, str) else goal
        if asked.structure not in by_name:
            raise ValueError(f"goal '{asked}' is for {asked.structure!r}; the structures are {', '.join(by_name)}")
        value = asked.metric(dose, by_name[asked.structure].share)
        results.append(GoalResult(asked, value, asked.is_met(value)))
    return GoalTable(results)


def format_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lay out rows of text below column names.

    Parameters
    ----------
    columns : sequence of str
    rows : sequence of sequence of str
        As many entries each as there are columns.

    Returns
    -------
    str
        Without a newline at its end.
    """
    widths = [max(len(row[i]) for row in (columns, *rows)) for i in range(len(columns))]
    lines = [columns, ["-" * width for width in widths], *rows]
    return "\n".join(
        "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )
