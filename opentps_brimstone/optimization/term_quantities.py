"""What terms look at in their structures: voxels with volume shares, and maps from dose to a quantity."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from opentps_brimstone import _core
from opentps_brimstone._typing import FloatArray
from opentps_brimstone.model.structure import Structure
from opentps_brimstone.optimization.biology import channel_of
from opentps_brimstone.optimization.terms import ObjectiveTerm
from opentps_brimstone.quantities import DoseMap

if TYPE_CHECKING:
    from opentps_brimstone.model.plan import Plan

__all__ = ["TermQuantity", "map_digest", "mapped_terms", "quantities_of"]


@dataclass(eq=False)
class TermQuantity:
    """A structure, and the quantity of it that some terms are on.

    Attributes
    ----------
    dose_map : DoseMap or None
        None: dose itself, or what the channel is of.
    channel : str
        Of the core: "dose", or what follows from further matrices.
    typical : DoseMap
        Its mean over the structure's volume, the same in all voxels.
    """

    structure: Structure
    dose_map: DoseMap | None
    channel: str = "dose"
    typical: DoseMap = field(init=False)

    def __post_init__(self) -> None:
        share = self.structure.share[self.structure.share > 0]
        found = self.dose_map or DoseMap()
        self.typical = DoseMap(
            *(c if isinstance(c, float) else float(np.average(c, weights=share)) for c in _coefficients(found))
        )

    def for_core(
        self, row_map: npt.NDArray[np.int32], unreached_row: int
    ) -> tuple[npt.NDArray[np.uint32], FloatArray, _core.DoseMap | None, _core.Channel]:
        """Rows, volume shares, map and channel for the core.

        Voxels that no beamlet reaches have the row -1 in `row_map`. All of them become one, `unreached_row`, unless
        their quantities differ: then they go with the map.
        """
        inside, share = self.structure.packed.flat()
        row = row_map[inside]
        channel = _core.Channel(self.channel)
        if self.channel != "dose":
            core_map = self._core_map(np.array([[0.0, 1.0, 0.0]]))
            return (*_merged(row, share, unreached_row), core_map, channel)
        if self.dose_map is None or self.dose_map.is_uniform:
            uniform = None if self.dose_map is None else self._core_map(_stacked(_coefficients(self.dose_map), 1))
            return (*_merged(row, share, unreached_row), uniform, channel)
        coefficients = _stacked(_coefficients(self.dose_map), len(inside))
        reached = row >= 0
        order = np.argsort(row[reached])
        in_order = share[reached][order]
        elsewhere = share[~reached]
        share = share / (np.append(in_order, elsewhere.sum()) if len(elsewhere) else in_order).sum()
        quantity, number = np.unique(coefficients[~reached, 0], return_inverse=True)
        fixed = np.column_stack([quantity, np.bincount(number, share[~reached], len(quantity))])
        core_map = self._core_map(coefficients[reached][order], fixed)
        return row[reached][order].astype(np.uint32), share[reached][order], core_map, channel

    def _core_map(self, coefficients: FloatArray, fixed: FloatArray | None = None) -> _core.DoseMap:
        return _core.DoseMap(
            coefficients=coefficients,
            typical=_stacked(_coefficients(self.typical), 1)[0],
            fixed=np.empty((0, 2)) if fixed is None else fixed,
        )


def mapped_terms(terms: Sequence[ObjectiveTerm], plan: Plan) -> list[DoseMap | None]:
    """Find the maps of terms, each computed once; None for dose, and for what further matrices give.

    An error names the term whose quantity lacks something.
    """
    found: dict[object, DoseMap | None] = {}
    maps = []
    for term in terms:
        key = _key(term)
        if key not in found:
            on_dose = channel_of(term, plan) == "dose"
            found[key] = term.dose_map(plan.number_of_fractions) if on_dose else None
        maps.append(found[key])
    return maps


def quantities_of(terms: Sequence[ObjectiveTerm], plan: Plan) -> tuple[list[TermQuantity], list[int]]:
    """Find the different quantities of terms, and the number of each term's."""
    number: dict[object, int] = {}
    quantities: list[TermQuantity] = []
    for term, dose_map in zip(terms, mapped_terms(terms, plan), strict=True):
        key = _key(term)
        if key not in number:
            assert term.structure is not None
            number[key] = len(quantities)
            quantities.append(TermQuantity(term.structure, dose_map, channel_of(term, plan)))
    return quantities, [number[_key(term)] for term in terms]


def map_digest(dose_map: DoseMap | None) -> str:
    """Identify a map by its numbers; empty for dose."""
    if dose_map is None:
        return ""
    digest = hashlib.sha256()
    for c in _coefficients(dose_map):
        digest.update(np.asarray(c, dtype=np.float64).tobytes())
    return digest.hexdigest()


def _key(term: ObjectiveTerm) -> object:
    if term.quantity == "physical_dose":
        return id(term.structure), "", b""
    own = term.alpha_beta
    return id(term.structure), term.quantity, b"" if own is None else np.asarray(own, dtype=np.float64).tobytes()


def _coefficients(dose_map: DoseMap) -> tuple[Any, Any, Any]:
    return dose_map.c0, dose_map.c1, dose_map.c2


def _stacked(coefficients: tuple[Any, Any, Any], n: int) -> FloatArray:
    return np.stack([np.broadcast_to(np.asarray(c, dtype=np.float64), (n,)) for c in coefficients], axis=1)


def _merged(
    row: npt.NDArray[np.int32], share: FloatArray, unreached_row: int
) -> tuple[npt.NDArray[np.uint32], FloatArray]:
    """Rows, ascending, with the share of volume in each."""
    share_of_row = np.zeros(unreached_row + 1)
    share_of_row[row[row >= 0]] = share[row >= 0]
    share_of_row[unreached_row] = share[row < 0].sum()
    rows = np.flatnonzero(share_of_row)
    shares = share_of_row[rows]
    return rows.astype(np.uint32), shares / shares.sum()
