"""Metrics of the dose in a structure.

Every metric takes the dose and the structure's volume shares as arrays on the same grid. Volumes in cm³ also need the
volume of a voxel, from `voxel_volume_cc`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from opentps_brimstone._typing import FloatArray
from opentps_brimstone._util.errors import BrimstoneError
from opentps_brimstone.model.dvh_curve import dvh_curve

if TYPE_CHECKING:
    from opentps_brimstone.model.influence import VoxelGrid
    from opentps_brimstone.model.structure import Structure


class UndefinedMetricError(BrimstoneError, ValueError):
    """A metric does not exist for a structure and its dose."""


class SmallStructureError(UndefinedMetricError):
    """A structure has less than the volume that a metric asks for."""


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


def mean_dose(dose: npt.ArrayLike, share: npt.ArrayLike) -> float:
    """Mean dose of a structure, weighted by volume.

    Parameters
    ----------
    dose : array_like, shape (nx, ny, nz)
        Gy.
    share : array_like, shape (nx, ny, nz)
        Share of each voxel's volume inside the structure, in [0, 1], or a bool mask.

    Returns
    -------
    float
        Gy.

    Raises
    ------
    ValueError
        If the grids differ, the structure is empty, or its dose is not finite. This holds for all metrics here.
    """
    doses, shares = _inside(dose, share)
    return float(np.average(doses, weights=shares))


def minimum_dose(dose: npt.ArrayLike, share: npt.ArrayLike) -> float:
    """Lowest dose in Gy of a voxel in a structure, however small its share."""
    return float(_inside(dose, share)[0].min())


def maximum_dose(dose: npt.ArrayLike, share: npt.ArrayLike) -> float:
    """Highest dose in Gy of a voxel in a structure, however small its share."""
    return float(_inside(dose, share)[0].max())


def dose_at_volume(dose: npt.ArrayLike, share: npt.ArrayLike, volume_percent: float) -> float:
    """D_x: the dose in Gy that at least x % of a structure's volume gets.

    Every voxel's dose is placed at the middle of its volume in the cumulative DVH, with linear interpolation in
    between; for voxels of equal shares this is Hazen's quantile. Within half a voxel of either end it is the highest or
    lowest dose.

    Examples
    --------
    >>> dose_at_volume([10.0, 20.0, 30.0, 40.0], [1, 1, 1, 1], 50)
    25.0
    """
    if not 0 <= volume_percent <= 100:
        raise ValueError(f"the volume of D{volume_percent:g} must be from 0 to 100 %")
    doses, middle = dvh_curve(*_inside(dose, share))
    return float(np.interp(volume_percent / 100, middle, doses))


def volume_at_dose(dose: npt.ArrayLike, share: npt.ArrayLike, dose_gy: float) -> float:
    """V_x: percentage of a structure's volume that gets at least x Gy, read off the curve of `dose_at_volume`."""
    return float(100 * cumulative_dvh(dose, share, [dose_gy])[0])


def voxel_volume_cc(grid: VoxelGrid) -> float:
    """Volume of a voxel in cm³."""
    return float(np.prod(grid.spacing_mm)) / 1000.0


def dose_at_volume_cc(dose: npt.ArrayLike, share: npt.ArrayLike, volume_cc: float, voxel_cc: float) -> float:
    """D_x cc: the lowest dose in Gy in the hottest x cm³ of a structure, which must have that volume.

    It is interpolated as by `dose_at_volume`; below half a voxel it is the highest dose.

    Examples
    --------
    >>> dose_at_volume_cc([10.0, 20.0, 30.0, 40.0], [1, 1, 1, 1], volume_cc=2.0, voxel_cc=1.0)
    25.0
    """
    for name, volume in (("volume asked for", volume_cc), ("volume of a voxel", voxel_cc)):
        if not (np.isfinite(volume) and volume > 0):
            raise ValueError(f"the {name} is {volume:g} cm³; it must be positive")
    whole = float(_inside(dose, share)[1].sum()) * voxel_cc
    if volume_cc > whole * (1 + 1e-9):
        raise SmallStructureError(f"the structure has {whole:.3g} cm³; its D{volume_cc:g}cc does not exist")
    return dose_at_volume(dose, share, min(100 * volume_cc / whole, 100.0))


def volume_at_dose_cc(dose: npt.ArrayLike, share: npt.ArrayLike, dose_gy: float, voxel_cc: float) -> float:
    """V_x in cm³: volume of a structure that gets at least x Gy, read off the curve of `dose_at_volume`."""
    whole = float(_inside(dose, share)[1].sum()) * voxel_cc
    return volume_at_dose(dose, share, dose_gy) / 100 * whole


def paddick_conformity_index(dose: npt.ArrayLike, share: npt.ArrayLike, prescription_gy: float) -> float:
    """Conformity index of Paddick: TV_PIV² / (TV · PIV); 1 is perfect, 0 if no voxel gets the prescription.

    TV is the target's volume, PIV the volume of the whole grid that gets at least the prescription, TV_PIV the part of
    the target in it (I. Paddick, J. Neurosurg. 93 Suppl. 3, 219-222, 2000). The dose is that of the whole irradiated
    volume, not only of the target.
    """
    _check_prescription(prescription_gy)
    doses, shares = _inside(dose, share)
    covered = float(shares[doses >= prescription_gy].sum())
    isodose = float(np.count_nonzero(np.asarray(dose, dtype=np.float64) >= prescription_gy))
    return covered**2 / (float(shares.sum()) * isodose) if isodose else 0.0


def gradient_index(dose: npt.ArrayLike, prescription_gy: float) -> float:
    """Gradient index of Paddick and Lippitz: volume of half the prescription's isodose over that of the whole's.

    It is at least 1; lower values mean a steeper fall-off (I. Paddick and B. Lippitz, J. Neurosurg. 105 Suppl.,
    194-201, 2006). A prescription that no voxel gets is a ValueError.
    """
    _check_prescription(prescription_gy)
    doses = np.asarray(dose, dtype=np.float64)
    whole = np.count_nonzero(doses >= prescription_gy)
    if not whole:
        raise UndefinedMetricError(
            f"no voxel gets {prescription_gy:g} Gy, the highest dose is {doses.max():g} Gy: there is no gradient index"
        )
    return float(np.count_nonzero(doses >= prescription_gy / 2) / whole)


def _check_prescription(prescription_gy: float) -> None:
    if not (np.isfinite(prescription_gy) and prescription_gy > 0):
        raise ValueError(f"the prescription is {prescription_gy:g} Gy; it must be positive")


def homogeneity_index(dose: npt.ArrayLike, share: npt.ArrayLike) -> float:
    """Homogeneity index (D2 − D98) / D50 of ICRU report 83; 0 is a uniform dose."""
    median = dose_at_volume(dose, share, 50)
    if median <= 0:
        raise UndefinedMetricError(f"D50 is {median:g} Gy; the homogeneity index needs a positive one")
    return (dose_at_volume(dose, share, 2) - dose_at_volume(dose, share, 98)) / median


def cumulative_dvh(dose: npt.ArrayLike, share: npt.ArrayLike, dose_axis_gy: npt.ArrayLike) -> FloatArray:
    """Cumulative dose-volume histogram: share of the structure's volume that gets at least each dose.

    It is the curve of `dose_at_volume`, so that the share at D95 is at least 95 %.
    """
    doses, middle = dvh_curve(*_inside(dose, share))
    axis = np.asarray(dose_axis_gy, dtype=np.float64)
    hot = np.searchsorted(-doses, -axis, side="right")  # voxels of at least the dose
    above, below = np.maximum(hot - 1, 0), np.minimum(hot, len(doses) - 1)
    step = doses[above] - doses[below]
    part = np.divide(doses[above] - axis, step, out=np.zeros_like(axis), where=step > 0)
    between = middle[above] + part * (middle[below] - middle[above])
    volume: FloatArray = np.where(hot == 0, 0.0, np.where(hot == len(doses), 1.0, between))
    return volume


@dataclass(frozen=True)
class DoseStatistics:
    """Dose of one structure, in Gy.

    Attributes
    ----------
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
    """Dose statistics of every structure on the grid of a dose in Gy, in the order of the structures."""
    return [_statistics(structure.name, *structure.sample(dose)) for structure in structures]


def _statistics(name: str, dose: FloatArray, share: FloatArray) -> DoseStatistics:
    return DoseStatistics(
        name,
        minimum_dose(dose, share),
        mean_dose(dose, share),
        maximum_dose(dose, share),
        *(dose_at_volume(dose, share, volume) for volume in (98, 95, 50, 10, 2)),
    )
