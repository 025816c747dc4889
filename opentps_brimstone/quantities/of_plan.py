"""Quantities of a whole plan, and what was given before it."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from opentps_brimstone._typing import FloatArray
from opentps_brimstone.model.dose import DoseArray
from opentps_brimstone.model.plan import Plan
from opentps_brimstone.model.previous_course import PreviousCourse
from opentps_brimstone.model.structure import Structure
from opentps_brimstone.quantities.of_structure import MATRICES_OF, structure_quantity
from opentps_brimstone.quantities.resolver import QuantityResolver

if TYPE_CHECKING:
    from opentps_brimstone.model.series import Series

__all__ = ["follows_from_matrices", "painted_quantity", "plan_quantity", "previous_course", "quantity_of_weights"]

_ELSEWHERE_GY = 3.0  # α/β of late-responding tissue


def follows_from_matrices(plan: Plan, quantity: str) -> bool:
    """Whether a quantity follows from further matrices that a plan has, and so from its weights, not its dose."""
    needed = MATRICES_OF.get(quantity, ())
    return bool(needed) and all(getattr(plan, name) is not None for name in needed)


def quantity_of_weights(plan: Plan, weights: npt.ArrayLike, quantity: str) -> FloatArray:
    """Quantity that follows from further matrices, in every voxel of a plan's grid.

    Parameters
    ----------
    weights : array_like, shape (n_beamlets,)
        MU per fraction.

    Raises
    ------
    ValueError
        If a parameter of the tissue is missing, or the plan has an intermediate dose, of which these matrices know
        nothing.
    """
    if plan.intermediate_dose is not None:
        raise ValueError(
            f"the plan has an intermediate dose, of which its matrices of {' and '.join(MATRICES_OF[quantity])} know "
            f"nothing, so that {quantity!r} is not known; set it to None"
        )
    found: FloatArray = np.asarray(QuantityResolver(plan).get(quantity)(weights)).reshape(plan.grid.shape)
    return found


def plan_quantity(
    plan: Plan, dose: FloatArray, quantity: str, *, alpha_beta: Any = None, with_previous: bool = True
) -> FloatArray:
    """Quantity of a dose in every voxel of a plan's grid, as `Plan.get_dose` gives it."""
    elsewhere = Structure("the whole grid", np.ones(plan.grid.shape), grid=plan.grid)
    elsewhere.previous_dose = plan.previous_dose
    options: dict[str, Any] = {"alpha_beta": alpha_beta, "with_previous": with_previous}
    return painted_quantity(dose, plan.structures, elsewhere, quantity, plan.number_of_fractions, **options)


def painted_quantity(
    dose: FloatArray,
    structures: Iterable[Structure],
    elsewhere: Structure,
    quantity: str,
    number_of_fractions: int,
    *,
    alpha_beta: Any = None,
    with_previous: bool = True,
) -> FloatArray:
    """Quantity of a dose in every voxel, of which the smallest structure around it tells the tissue.

    Where there is none it is `elsewhere`, a structure of all voxels, with 3 Gy unless it has an α/β.
    """
    options: dict[str, Any] = {"alpha_beta": alpha_beta, "with_previous": with_previous}
    every = [structure for structure in structures if structure.is_on_grid]
    if alpha_beta is None and elsewhere.alpha_beta is None:
        elsewhere.alpha_beta = _ELSEWHERE_GY
    alphas = [structure.alpha for structure in every if structure.alpha is not None]
    elsewhere.alpha = alphas[0] if alphas else None
    found = structure_quantity(dose, elsewhere, quantity, number_of_fractions, **options)
    for structure in sorted(every, key=lambda each: -float(each.share.sum())):
        inside = structure.share > 0
        own = structure_quantity(dose, structure, quantity, number_of_fractions, **options)
        found[inside] = own[inside]
    return found


def previous_course(
    plan: Plan,
    dose: Any,
    number_of_fractions: int | None,
    recovery: float,
    accept: str | Iterable[str] = (),
) -> PreviousCourse | None:
    """Read and check what `Plan.set_previous_dose` is given."""
    if dose is None:
        return None
    source = "the previous dose"
    if isinstance(dose, Plan):
        _check_frame(plan.series, _frame_of(dose.series), "the earlier plan")
        number_of_fractions = dose.number_of_fractions if number_of_fractions is None else number_of_fractions
        found = dose.get_dose()
    elif isinstance(dose, str | os.PathLike):
        found, source = _read(Path(dose), plan.series, accept), str(dose)
    elif isinstance(dose, DoseArray) and dose.grid is not None:
        found = dose
    else:
        values = np.asarray(dose, dtype=np.float64)
        if values.shape != plan.grid.shape:
            raise ValueError(
                f"the previous dose has the grid {values.shape}; the plan's is {plan.grid.shape}. Give a DoseArray, "
                "which carries its grid, or an RT Dose file"
            )
        found = DoseArray(values, plan.grid)
    if number_of_fractions is None:
        raise ValueError("the number of fractions of the previous dose is missing; give number_of_fractions")
    course = PreviousCourse(found, number_of_fractions, recovery)
    if not course.overlaps(plan.grid):
        raise ValueError(f"{source} does not overlap the plan's dose grid: {course.grid}, and {plan.grid}")
    return course


def _read(path: Path, series: Series | None, accept: str | Iterable[str]) -> DoseArray:
    from opentps_brimstone.dicom.rt_dose_reader import physical_dose_from_dataset

    return physical_dose_from_dataset(path, series=series, accept=accept)


def _frame_of(series: Series | None) -> str | None:
    return None if series is None else series.dicom.get("FrameOfReferenceUID")


def _check_frame(series: Series | None, frame: str | None, source: str) -> None:
    own = _frame_of(series)
    if own and frame and own != frame:
        raise ValueError(
            f"{source} has the frame of reference {frame}, the plan's series {own}: positions in one say nothing about "
            "the other; register and resample the dose first"
        )
