"""Beams: their directions, their beamlets and the weights of these.

Directions are those of IEC 61217, in DICOM's patient axes (x to the left, y to the back, z to the head): for a patient
lying head first supine, gantry 0 comes from the front, gantry 90 from the patient's left. What a machine's angles are
for a patient who lies otherwise is in `patient_position`.
"""

from __future__ import annotations

import math
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from opentps_brimstone._typing import FloatArray
from opentps_brimstone.model.dose import DoseArray
from opentps_brimstone.model.influence import DoseInfluence, VoxelGrid
from opentps_brimstone.model.patient_position import Angles, supine_angles

__all__ = ["SAD_MM", "Beam", "beamlets_on_target", "beams_eye_axes", "checked_angle"]

SAD_MM = 1000.0
"""Distance from the source to the isocenter."""
_APART = 2**32  # two whole numbers as one: that of x counts so much


class PlanOfBeam(Protocol):
    """What a beam needs of its `Plan`."""

    number_of_fractions: int

    @property
    def patient_position(self) -> str:
        """How the patient lies."""

    @property
    def grid(self) -> VoxelGrid:
        """Grid of the dose."""

    @property
    def dose_influence(self) -> DoseInfluence:
        """Gy per MU and fraction."""

    @property
    def beamlet_weights(self) -> FloatArray | None:
        """MU per fraction of each beamlet."""

    def target_center(self) -> FloatArray:
        """Center of the volume of all targets."""


class Beam:
    """A static field of a plan, made by `Plan.add_beam`; in a plan made from a matrix, one for each fluence map.

    Attributes
    ----------
    name : str
    gantry_angle, couch_angle, collimator_angle : float or None
        Of the machine, IEC 61217, degrees in [0, 360); None in a plan made from a bare matrix.

    Examples
    --------
    >>> from opentps_brimstone.model.example import three_voxel_plan
    >>> plan = three_voxel_plan()
    >>> plan.beamlet_weights = [1.0, 2.0]
    >>> plan.beams[0].intensity_map
    array([[1.],
           [2.]])
    """

    def __init__(
        self,
        plan: PlanOfBeam,
        number: int,
        *,
        gantry_angle: float | None = None,
        couch_angle: float | None = None,
        collimator_angle: float | None = None,
        isocenter: FloatArray | None = None,
        name: str | None = None,
    ) -> None:
        self._plan = plan
        self._number = number
        self._isocenter = isocenter
        self.gantry_angle = gantry_angle
        self.couch_angle = couch_angle
        self.collimator_angle = collimator_angle
        self.name = name or (f"beam {number + 1}" if gantry_angle is None else f"G{gantry_angle:03g}")

    @property
    def supine_angles(self) -> Angles:
        """Angles of the same beam as a patient lying head first supine sees it, which fix its direction in the CT."""
        if self.gantry_angle is None or self.couch_angle is None or self.collimator_angle is None:
            raise ValueError(f"{self.name} belongs to a plan made from a matrix, which does not tell its angles")
        angles = (self.gantry_angle, self.couch_angle, self.collimator_angle)
        return supine_angles(self._plan.patient_position, *angles)

    @property
    def isocenter(self) -> FloatArray:
        """Isocenter x, y, z in mm, shape (3,). Default: the center of the plan's targets."""
        if self._isocenter is not None:
            return self._isocenter.copy()
        if self.gantry_angle is None:
            raise ValueError(f"{self.name} belongs to a plan made from a matrix, which does not tell its isocenter")
        return self._plan.target_center()

    @property
    def given_isocenter(self) -> FloatArray | None:
        """Isocenter that the beam was added with, shape (3,), in mm; None: the center of the plan's targets."""
        return None if self._isocenter is None else self._isocenter.copy()

    @property
    def _columns(self) -> slice:
        index = self._plan.dose_influence.layout.beam_index
        low, high = np.searchsorted(index, [self._number, self._number + 1])
        return slice(int(low), int(high))

    @property
    def beamlets(self) -> Any:
        """Dose of its beamlets, csc matrix of shape (n_voxels, n_beamlets of the beam), Gy per MU and fraction."""
        return self._plan.dose_influence.matrix[:, self._columns]

    @property
    def n_beamlets(self) -> int:
        """Number of its beamlets."""
        columns = self._columns
        return int(columns.stop) - int(columns.start)

    @property
    def beamlet_xy_mm(self) -> FloatArray:
        """Centers of its beamlets in the beam's eye view at the isocenter, shape (n_beamlets of the beam, 2), in mm."""
        return self._plan.dose_influence.layout.xy_mm[self._columns]

    @property
    def beamlet_spacing_mm(self) -> tuple[float, float]:
        """Size of its beamlets in x and y at the isocenter."""
        dx, dy = self._plan.dose_influence.layout.spacing_mm[self._number]
        return float(dx), float(dy)

    @property
    def beamlet_weights(self) -> FloatArray | None:
        """MU per fraction of its beamlets, shape (n_beamlets of the beam,); None before the plan has weights."""
        weights = self._plan.beamlet_weights
        return None if weights is None else weights[self._columns]

    @property
    def x_mm(self) -> FloatArray:
        """Columns of beamlets: x of the first axis of `intensity_map`, shape (n,)."""
        return _places(self.beamlet_xy_mm[:, 0], self.beamlet_spacing_mm[0])

    @property
    def y_mm(self) -> FloatArray:
        """Rows of beamlets: y of the second axis of `intensity_map`, shape (m,)."""
        return _places(self.beamlet_xy_mm[:, 1], self.beamlet_spacing_mm[1])

    @property
    def intensity_map(self) -> FloatArray:
        """MU per fraction in the beam's eye view.

        An array [x, y] of shape (n, m), at `x_mm` and `y_mm`; NaN where there is no beamlet. ValueError if the plan has
        no weights yet.
        """
        weights = self._existing_weights("intensity map")
        x, y = self.x_mm, self.y_mm
        image = np.full((len(x), len(y)), np.nan)
        xy = self.beamlet_xy_mm
        dx, dy = self.beamlet_spacing_mm
        column = np.rint((xy[:, 0] - x[0]) / dx).astype(np.int64)
        row = np.rint((xy[:, 1] - y[0]) / dy).astype(np.int64)
        image[column, row] = weights
        return image

    def _existing_weights(self, wanted: str) -> FloatArray:
        weights = self.beamlet_weights
        if weights is None:
            raise ValueError(f"{self.name} has no {wanted} yet: set the plan's beamlet_weights, or optimize it")
        return weights

    def get_dose(self) -> DoseArray:
        """Dose of this beam alone.

        Returns
        -------
        DoseArray, shape (nx, ny, nz)
            Gy over all fractions, on the plan's dose grid.

        Raises
        ------
        ValueError
            If the plan has no weights yet.
        """
        weights = self._existing_weights("dose")
        grid = self._plan.grid
        dose = np.asarray(self.beamlets @ (weights * self._plan.number_of_fractions), dtype=np.float64)
        return DoseArray(dose.reshape(grid.shape), grid)

    def __repr__(self) -> str:
        if self.gantry_angle is None:
            return f"Beam({self.name!r})"
        return (
            f"Beam({self.name!r}, gantry {self.gantry_angle:g}°, couch {self.couch_angle:g}°, "
            f"collimator {self.collimator_angle:g}°)"
        )

    def _html_row(self, *, has_beamlets: bool) -> tuple[str, ...]:
        """Name, angles, number of beamlets and MU."""
        angles = (self.gantry_angle, self.couch_angle, self.collimator_angle)
        weights = self.beamlet_weights
        return (
            self.name,
            *("" if angle is None else f"{angle:g}°" for angle in angles),
            str(self.n_beamlets) if has_beamlets else "",
            "" if weights is None else f"{weights.sum():.1f}",
        )


def _places(values: FloatArray, spacing: float) -> FloatArray:
    """Regular positions from the lowest to the highest value."""
    low = float(values.min())
    return low + spacing * np.arange(round((float(values.max()) - low) / spacing) + 1, dtype=np.float64)


# ------------------------------------------------------------------------------------------------- geometry


def checked_angle(name: str, angle: float) -> float:
    """Give an angle in degrees in [0, 360); the error for what is not a finite number has the angle's name."""
    if isinstance(angle, bool) or not isinstance(angle, int | float | np.integer | np.floating):
        raise TypeError(f"{name} must be a number of degrees, got {angle!r}")
    if not math.isfinite(angle):
        raise ValueError(f"{name} must be a finite number of degrees, got {angle}")
    return float(angle) % 360.0 % 360.0


def beams_eye_axes(gantry: float, couch: float, collimator: float) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Axes of the beam's eye view in the patient.

    Parameters
    ----------
    gantry, couch, collimator : float
        IEC 61217 for a patient lying head first supine, in degrees.

    Returns
    -------
    x, y, source : ndarray, shape (3,)
        Unit vectors: the two axes across the beam, and the one from the isocenter toward the source.

    Examples
    --------
    >>> beams_eye_axes(90.0, 0.0, 0.0)[2].round(9).tolist()  # from the patient's left
    [1.0, -0.0, 0.0]
    """
    theta, psi, phi = np.deg2rad([gantry, couch, collimator])
    # IEC's fixed axes: x to the right of a person facing the gantry, y toward it, z up.
    gantry_x = np.array([np.cos(theta), 0.0, -np.sin(theta)])
    gantry_y = np.array([0.0, 1.0, 0.0])
    source = np.array([np.sin(theta), 0.0, np.cos(theta)])
    across = np.cos(phi) * gantry_x + np.sin(phi) * gantry_y
    along = -np.sin(phi) * gantry_x + np.cos(phi) * gantry_y
    axes = []
    for vector in (across, along, source):
        x = np.cos(psi) * vector[0] + np.sin(psi) * vector[1]
        y = -np.sin(psi) * vector[0] + np.cos(psi) * vector[1]
        axes.append(np.array([x, -vector[2], y]))  # head first supine: up is −y, toward the gantry is z
    return axes[0], axes[1], axes[2]


def beamlets_on_target(
    share: FloatArray,
    grid: VoxelGrid,
    isocenter_mm: npt.ArrayLike,
    angles: tuple[float, float, float],
    spacing_mm: float,
    margin_mm: float,
) -> FloatArray:
    """Place beamlets on a target's projection; return their centers x, y, sorted by y, then x, shape (n_beamlets, 2).

    Edges of beamlets lie at multiples of the spacing at the isocenter, as those of leaves do. Beamlets are placed up to
    the margin plus half a spacing from the projection.

    Parameters
    ----------
    share : ndarray, shape (nx, ny, nz)
        Volume share of the target in every voxel.
    angles : (float, float, float)
        IEC gantry, couch and collimator angle for a patient lying head first supine, in degrees.
    """
    from scipy.spatial import cKDTree

    projected = _projection(share, grid, np.asarray(isocenter_mm, dtype=np.float64), angles, spacing_mm / 2)
    reach = margin_mm + spacing_mm / 2
    low = np.floor((projected.min(axis=0) - reach) / spacing_mm).astype(int)
    high = np.ceil((projected.max(axis=0) + reach) / spacing_mm).astype(int)
    y, x = np.meshgrid(*((np.arange(low[axis], high[axis]) + 0.5) * spacing_mm for axis in (1, 0)), indexing="ij")
    centers = np.column_stack([x.ravel(), y.ravel()])
    distance, _ = cKDTree(projected).query(centers, distance_upper_bound=reach * (1 + 1e-9))
    placed: FloatArray = centers[np.isfinite(distance)]
    return placed


def _projection(
    share: FloatArray, grid: VoxelGrid, isocenter: FloatArray, angles: tuple[float, float, float], fineness_mm: float
) -> FloatArray:
    """Points of a target in the beam's eye view at the isocenter, at most `fineness_mm` apart, shape (n, 2)."""
    from scipy.ndimage import binary_erosion

    half_inside = share >= 0.5
    inside = half_inside if half_inside.any() else share > 0
    # Every line that meets the target meets its surface.
    voxels = np.argwhere(inside & ~binary_erosion(inside))
    spacing = np.array(grid.spacing_mm)
    counts = np.ceil(spacing / fineness_mm).astype(int) + 1
    within = np.stack(np.meshgrid(*(np.linspace(-0.5, 0.5, n) for n in counts), indexing="ij"), axis=-1).reshape(-1, 3)
    corner = np.array(grid.origin_mm) - isocenter
    x_axis, y_axis, source = beams_eye_axes(*angles)
    # A large target projects many points onto few.
    unit = fineness_mm / 4
    distinct = np.empty(0, dtype=np.int64)
    for offset in within:
        place = corner + (voxels + offset) * spacing
        magnification = SAD_MM / (SAD_MM - place @ source)
        across, along = (np.rint(place @ axis * magnification / unit).astype(np.int64) for axis in (x_axis, y_axis))
        # As one number, because other threads go on while numbers are sorted.
        distinct = np.union1d(distinct, across * _APART + along + _APART // 2)
    across, along = np.divmod(distinct, _APART)
    return np.column_stack([across, along - _APART // 2]) * unit
