"""Metrics by the names they have in planning goals: D95, V20, D2cc, Dmean, HI, CI50 and the like."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy.typing as npt

from opentps_brimstone.evaluation import metrics

if TYPE_CHECKING:
    from opentps_brimstone.model.structure import Structure

__all__ = ["CUBIC_CENTIMETERS", "DVHMetric"]

CUBIC_CENTIMETERS = ("cc", "cm3", "cm³")
"""Spellings of the unit."""

_WITHOUT_NUMBER = {
    "Dmean": metrics.mean_dose,
    "Dmin": metrics.minimum_dose,
    "Dmax": metrics.maximum_dose,
    "HI": metrics.homogeneity_index,
}
# Units that the number of a metric may have.
_NUMBER_UNITS = {"D": ("%", *CUBIC_CENTIMETERS), "V": ("Gy", "%"), "CI": ("Gy", "%"), "GI": ("Gy", "%")}
_WITH_NUMBER = re.compile(r"(?P<kind>CI|GI|D|V)(?P<number>\d+(?:\.\d+)?)(?P<unit>%|Gy|cc|cm3|cm³)?")
_HELP = "it may be D<percent>, D<cm³>cc, V<Gy>, CI<Gy>, GI<Gy>, V<percent>%, CI<percent>%, GI<percent>%, " + ", ".join(
    _WITHOUT_NUMBER
)


@dataclass(frozen=True)
class DVHMetric:
    """A metric of a structure's dose, given by its name.

    Attributes
    ----------
    name : str
        ``D95`` or ``D95%`` (dose that at least 95 % of the volume gets, Gy), ``D2cc`` (lowest dose in the hottest
        2 cm³, Gy), ``V20`` or ``V20Gy`` (volume that gets at least 20 Gy, % or cm³), ``Dmean``, ``Dmin``, ``Dmax``
        (Gy), ``HI`` (homogeneity index), ``CI50`` or ``CI50Gy`` (Paddick's conformity index of the 50 Gy isodose) or
        ``GI50`` (its gradient index). ``V95%``, ``CI95%`` and ``GI50%`` are of an isodose in percent of the prescribed
        dose, and can be evaluated once `in_gray` knows that dose.
    volume_unit : {"%", "cc"}
        Unit of a V metric.

    Raises
    ------
    ValueError
        If the name is unknown.

    Examples
    --------
    >>> DVHMetric("D95").unit
    'Gy'
    >>> DVHMetric("V20").unit
    '%'
    >>> DVHMetric("V20Gy", volume_unit="cc").unit
    'cc'
    >>> DVHMetric("D0.5cm³").name, DVHMetric("D0.5cm³").kind, DVHMetric("D0.5cm³").number
    ('D0.5cc', 'D', 0.5)
    >>> DVHMetric("V95%").in_gray(50.0)
    DVHMetric(name='V47.5', volume_unit='%')
    """

    name: str
    volume_unit: str = "%"

    def __post_init__(self) -> None:
        if self.volume_unit not in ("%", "cc"):
            raise ValueError(f"the volume unit is {self.volume_unit!r}; it may be '%' or 'cc'")
        if self.name not in _WITHOUT_NUMBER:
            object.__setattr__(self, "name", _canonical(self.name))
        if self.volume_unit != "%" and self.kind != "V":
            raise ValueError(f"metric {self.name} has no volume unit; only V metrics do")

    @property
    def kind(self) -> str:
        """``D``, ``V``, ``CI`` or ``GI``, or the name of a metric without a number."""
        match = _WITH_NUMBER.fullmatch(self.name)
        return self.name if match is None else match["kind"]

    @property
    def number(self) -> float | None:
        """The number in the name: percent or cm³ of the volume, or Gy or percent of the prescribed dose."""
        match = _WITH_NUMBER.fullmatch(self.name)
        return None if match is None else float(match["number"])

    @property
    def is_relative(self) -> bool:
        """Whether the number is in percent of the prescribed dose."""
        return self.name.endswith("%")

    def in_gray(self, prescribed_gy: float) -> DVHMetric:
        """Name the metric with a dose in Gy in place of percent.

        Parameters
        ----------
        prescribed_gy : float
            What 100 % are.

        Returns
        -------
        DVHMetric
            This one if it is not relative.
        """
        if self.number is None or not self.is_relative:
            return self
        dose = f"{self.number * prescribed_gy / 100:.9f}".rstrip("0").rstrip(".")
        return DVHMetric(self.kind + dose, self.volume_unit)

    @property
    def unit(self) -> str:
        """``Gy``, ``%``, ``cc`` or nothing."""
        return {"D": "Gy", "V": self.volume_unit}.get(self.name[0], "")

    @property
    def needs_voxel_volume(self) -> bool:
        """Whether the metric refers to a volume in cm³."""
        return self.name.endswith("cc") or self.unit == "cc"

    def of_structure(self, dose: npt.ArrayLike, structure: Structure, voxel_cc: float | None = None) -> float:
        """Evaluate the metric of a dose in a structure, between its voxels where it is small."""
        looks_outside = self.kind in ("CI", "GI")
        return self(*((dose, structure.share) if looks_outside else structure.sample(dose)), voxel_cc)

    def __call__(self, dose: npt.ArrayLike, share: npt.ArrayLike, voxel_cc: float | None = None) -> float:
        """Evaluate the metric, in `unit`, of a dose and a structure's volume shares as `mean_dose` takes them.

        Metrics in cm³ need the volume of a voxel.
        """
        number = self.number
        if self.is_relative:
            raise ValueError(f"{self.name} is relative to the prescribed dose; state that with in_gray()")
        if number is None:
            return _WITHOUT_NUMBER[self.name](dose, share)
        if self.kind == "CI":
            return metrics.paddick_conformity_index(dose, share, number)
        if self.kind == "GI":
            return metrics.gradient_index(dose, number)
        if not self.needs_voxel_volume:
            return (metrics.dose_at_volume if self.kind == "D" else metrics.volume_at_dose)(dose, share, number)
        if voxel_cc is None:
            raise ValueError(f"{self.name} is of a volume in cm³; it needs the volume of a voxel")
        in_cc = metrics.dose_at_volume_cc if self.kind == "D" else metrics.volume_at_dose_cc
        return in_cc(dose, share, number, voxel_cc)


def _canonical(name: str) -> str:
    """D95% and V20Gy are D95 and V20; D2cm³ is D2cc."""
    match = _WITH_NUMBER.fullmatch(name)
    if match is None:
        raise ValueError(f"metric {name!r} is unknown; {_HELP}")
    kind, number, unit = match["kind"], match["number"], match["unit"]
    if unit is not None and unit not in _NUMBER_UNITS[kind]:
        wanted = "percent or cm³ of the volume" if kind == "D" else "a dose in Gy or in percent of the prescribed one"
        raise ValueError(f"metric {name!r} has a number in {unit}; that of {kind} is {wanted}")
    if unit in CUBIC_CENTIMETERS:
        if float(number) <= 0:
            raise ValueError(f"metric {name!r} asks for a volume of {number} cm³; it must be positive")
        return f"{kind}{number}cc"
    if kind == "D" and float(number) > 100:
        raise ValueError(f"metric {name!r} asks for {number} % of the volume; at most 100 % exist")
    if kind in ("CI", "GI") and float(number) <= 0:
        raise ValueError(f"metric {name!r} is of the isodose {number} {unit or 'Gy'}; it must be positive")
    return kind + number + ("%" if kind != "D" and unit == "%" else "")
