"""Quantities of photons in a structure: its tissue, its fractions, and what it was given before."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from opentps_brimstone._typing import FloatArray
from opentps_brimstone.quantities.dose_map import DoseMap
from opentps_brimstone.quantities.previous_dose import PreviousDose
from opentps_brimstone.quantities.registry import QUANTITIES
from opentps_brimstone.quantities.tissue import suggest_alpha_beta

if TYPE_CHECKING:
    from opentps_brimstone.model.structure import Structure

__all__ = ["MATRICES_OF", "checked_quantity", "quantity_label", "structure_map", "structure_quantity"]

_log = logging.getLogger(__name__)

# Quantities that follow from dose and tissue alone.
_OF_ALPHA_BETA = {"bed": DoseMap.bed, "eqd2": DoseMap.eqd2}
# BED and EQD2 after TG-263.
_LABELS = {"bed": "BED", "eqd2": "EQD2", "rbe_x_dose": "RBE", "let": "LET"}

MATRICES_OF: dict[str, tuple[str, ...]] = {
    "alpha_dose": ("alpha_dose",),
    "sqrt_beta_dose": ("sqrt_beta_dose",),
    "effect": ("alpha_dose", "sqrt_beta_dose"),
    "rbe_x_dose": ("alpha_dose", "sqrt_beta_dose"),
    "let_dose": ("let_dose",),
    "let": ("let_dose",),
}
"""Matrices of a plan that quantities follow from; effect follows from dose alone where there are none."""


def checked_quantity(identifier: str) -> str:
    """Check the identifier of a quantity; the error lists those that there are."""
    if identifier not in QUANTITIES:
        raise ValueError(f"unknown quantity {identifier!r}; there are {', '.join(QUANTITIES)}")
    return identifier


def structure_map(
    structure: Structure,
    quantity: str,
    number_of_fractions: int,
    *,
    alpha_beta: Any = None,
    with_previous: bool = True,
) -> DoseMap | None:
    """Find the map from dose to a quantity in a structure.

    Parameters
    ----------
    structure : Structure
        With `alpha_beta`, `alpha` and `previous_dose`. Without an α/β, that of `suggest_alpha_beta` is taken and its
        note is logged.
    quantity : str
        Of `QUANTITIES`, and a function of dose: ``physical_dose``, ``bed``, ``eqd2`` or ``effect``.
    number_of_fractions : int
        That the dose is summed over.
    alpha_beta : float or array_like, optional
        In Gy, in place of the structure's: one, or one for each voxel of its grid.
    with_previous : bool
        Whether dose given before is counted in. That of ``physical_dose`` never is: doses of different fractions do not
        add up.

    Returns
    -------
    DoseMap or None
        Of the voxels with a share of the structure, in C order, or one for all; None: it is dose itself.

    Raises
    ------
    ValueError
        If the quantity is unknown or needs matrices, or α/β is missing or not positive in a voxel.

    Examples
    --------
    >>> from opentps_brimstone.model.structure import Structure
    >>> cord = Structure("Cord", np.ones((2, 1, 1)))
    >>> structure_map(cord, "eqd2", 25, alpha_beta=2.0).value(50.0)
    50.0
    """
    if checked_quantity(quantity) == "physical_dose":
        return None
    if quantity not in _OF_ALPHA_BETA and quantity != "effect":
        needed = MATRICES_OF.get(quantity, (quantity,))
        matrices = f"matri{'x' if len(needed) == 1 else 'ces'} {' and '.join(needed)}"
        raise ValueError(
            f"the quantity {quantity!r} of {structure.name!r} needs the {matrices}, which a plan of photons does not "
            "have; of dose alone follow bed, eqd2 and effect"
        )
    ratio = _alpha_beta(structure, alpha_beta)
    previous = _previous(structure) if with_previous else None
    if quantity == "effect":
        alpha = structure.alpha
        if alpha is None:
            raise ValueError(
                f"the quantity 'effect' of {structure.name!r} needs alpha, in 1/Gy; set alpha of the structure"
            )
        return DoseMap.effect(alpha, alpha / ratio, number_of_fractions, previous=previous)
    return _OF_ALPHA_BETA[quantity](ratio, number_of_fractions, previous=previous)


def structure_quantity(
    dose: npt.ArrayLike,
    structure: Structure,
    quantity: str,
    number_of_fractions: int,
    *,
    alpha_beta: Any = None,
    with_previous: bool = True,
) -> FloatArray:
    """Quantity of a dose in the voxels of a structure.

    Parameters
    ----------
    dose : array_like, shape (nx, ny, nz)
        Gy over all fractions, on the structure's grid.
    structure, quantity, number_of_fractions, alpha_beta, with_previous
        As for `structure_map`.

    Returns
    -------
    ndarray, shape (nx, ny, nz)
        Outside the structure, the dose.

    Examples
    --------
    >>> from opentps_brimstone.model.structure import Structure
    >>> cord = Structure("Cord", np.array([1.0, 0.0]).reshape(2, 1, 1))
    >>> structure_quantity(np.full((2, 1, 1), 60.0), cord, "eqd2", 20, alpha_beta=3.0).ravel().tolist()
    [72.0, 60.0]
    """
    doses = np.array(dose, dtype=np.float64)
    if doses.shape != structure.share.shape:
        raise ValueError(f"the dose has the grid {doses.shape}; that of {structure.name!r} is {structure.share.shape}")
    found = structure_map(structure, quantity, number_of_fractions, alpha_beta=alpha_beta, with_previous=with_previous)
    if found is not None:
        inside = structure.share > 0
        doses[inside] = found.value(doses[inside])
    return doses


def quantity_label(quantity: str, alpha_beta: Any = None, *, unit: bool = True) -> str:
    """Name a quantity for people, after TG-263.

    Examples
    --------
    >>> quantity_label("eqd2", 3.0), quantity_label("physical_dose")
    ('EQD2Gy(a/b=3)', 'dose')
    """
    if quantity == "physical_dose":
        return "dose"
    label = _LABELS.get(quantity, quantity) + ("Gy" if unit and quantity in _OF_ALPHA_BETA else "")
    return label if alpha_beta is None or np.ndim(alpha_beta) else f"{label}(a/b={float(alpha_beta):g})"


def _alpha_beta(structure: Structure, given: Any) -> float | FloatArray:
    found = structure.alpha_beta if given is None else given
    if found is None:
        value, note = suggest_alpha_beta(structure.name, is_target=structure.is_target)
        if note not in _said:
            _said.add(note)
            _log.warning("%s", note)
        return value
    values = np.asarray(found, dtype=np.float64)
    if values.ndim:
        if values.size != structure.share.size:
            raise ValueError(
                f"alpha/beta of {structure.name!r} has the shape {values.shape}; it must be a number, or one for each "
                f"voxel of the grid {structure.share.shape}"
            )
        values = values.reshape(structure.share.shape)[structure.share > 0]
    wrong = ~(np.isfinite(values) & (values > 0))
    if wrong.any():
        where = f" in {int(wrong.sum())} of its voxels" if values.ndim else ""
        raise ValueError(
            f"alpha/beta of {structure.name!r} is {float(values[wrong].flat[0])} Gy{where}; it must be positive, and "
            "finite"
        )
    return float(values) if values.ndim == 0 else values


# Notes on assumed α/β that were logged already.
_said: set[str] = set()


def _previous(structure: Structure) -> PreviousDose | None:
    course = structure.previous_dose
    if course is None:
        return None
    grid = structure.grid
    if grid is None and course.grid.shape == structure.share.shape:
        grid = course.grid
    if grid is None:
        raise ValueError(
            f"the structure {structure.name!r} does not say where its voxels are, so its previous dose cannot be "
            "found: make it with grid=VoxelGrid(...)"
        )
    before = course.dose_on(grid)[structure.share > 0]
    return PreviousDose(before, course.number_of_fractions, course.recovery)
