"""Water tank and open square field in OpenTPS's data classes, for the calibration of the dose engine."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from opentps_brimstone.adapters.density_table import DensityTable
from opentps_brimstone.adapters.privates import new_beamlets, set_beamlets
from opentps_brimstone.adapters.versions import set_source_distance

if TYPE_CHECKING:
    from opentps_brimstone.engine.reference_field import ReferenceField

__all__ = ["MARGIN_MM", "WaterTank", "add_open_field", "water_tank"]

_AIR_G_CM3 = 0.001
MARGIN_MM = {"opentps": 15.0, "full": 100.0}
"""Water beside the field and below the point, by the reach of scatter; more changes the dose by less than 0.1 %."""

# Position of the axis in a voxel, as shares of its size. Where beamlet edges fall on voxel boundaries the engine counts
# samples twice: with the axis on the corner of four voxels of 5 mm its dose is up to 15 % too high, elsewhere 0.3 %.
_AXIS_IN_VOXEL = (0.171, 0.289)
# The dose, which varies by about 0.5 %, is averaged over voxels this close to the axis, as by a chamber.
_CHAMBER_HALF_WIDTH_MM = 10.0


class WaterTank(NamedTuple):
    """A tank of water under a vertical beam.

    Attributes
    ----------
    ct : opentps CTImage
        Air in the first rows along y, then water.
    density_table : DensityTable
        In which water has 1 g/cm³.
    isocenter_mm : tuple of float
    point_mm : tuple of float
        On the axis at the depth of the reference field.
    """

    ct: Any
    density_table: DensityTable
    isocenter_mm: tuple[float, float, float]
    point_mm: tuple[float, float, float]

    def dose_at_point(self, dose: Any) -> float:
        """Dose at the calibration point.

        Parameters
        ----------
        dose : opentps DoseImage
            On the grid of `ct`.

        Returns
        -------
        float
            Gy: mean over the voxels within 10 mm of the axis, interpolated exponentially to the depth of the point.
        """
        values = np.asarray(dose.imageArray, dtype=np.float64)
        x, y, z = (
            origin + np.arange(n) * step
            for origin, n, step in zip(self.ct.origin, values.shape, self.ct.spacing, strict=True)
        )
        near_x, near_z = (_near(axis, self.point_mm[i]) for axis, i in ((x, 0), (z, 2)))
        depth_dose = values[near_x][:, :, near_z].mean(axis=(0, 2))
        below = y > self.ct.origin[1] + 1.5 * self.ct.spacing[1]
        return float(np.exp(np.interp(self.point_mm[1], y[below], np.log(depth_dose[below]))))


def _near(axis: Any, position: float) -> Any:
    distance = np.abs(axis - position)
    return distance <= max(_CHAMBER_HALF_WIDTH_MM, distance.min())


def water_tank(
    field: ReferenceField, voxel_mm: tuple[float, float, float], margin_mm: float = MARGIN_MM["opentps"]
) -> WaterTank:
    """Make a water tank for a reference field.

    Parameters
    ----------
    field : ReferenceField
    voxel_mm : (float, float, float)
        Voxel size.
    margin_mm : float
        Water beside the field and below the point.

    Returns
    -------
    WaterTank
    """
    from opentps.core.data.images import CTImage

    step_x, step_y, step_z = voxel_mm
    at_point = (field.ssd_mm + field.depth_mm + margin_mm) / field.sad_mm
    half = field.field_mm / 2 * max(at_point, 1.0) + margin_mm
    n_x, n_z = (2 * math.ceil(half / step) + 1 for step in (step_x, step_z))
    n_air = 2
    n_y = n_air + math.ceil((field.depth_mm + margin_mm) / step_y) + 1
    hu = np.full((n_x, n_y, n_z), -1000.0)
    hu[:, n_air:, :] = 0.0
    # y = 0 is the water's surface; x = z = 0 the axis.
    origin = (
        -(n_x // 2 + _AXIS_IN_VOXEL[0]) * step_x,
        (0.5 - n_air) * step_y,
        -(n_z // 2 + _AXIS_IN_VOXEL[1]) * step_z,
    )
    ct = CTImage(imageArray=hu, name="water tank", origin=np.array(origin), spacing=np.array(voxel_mm))
    table = DensityTable("water and air", np.array([-1000.0, 0.0]), np.array([_AIR_G_CM3, 1.0]))
    return WaterTank(ct, table, (0.0, field.sad_mm - field.ssd_mm, 0.0), (0.0, field.depth_mm, 0.0))


def add_open_field(tank: WaterTank, field: ReferenceField, beamlet_mm: tuple[float, float]) -> Any:
    """Make a plan of the open square field on a water tank.

    Parameters
    ----------
    tank : WaterTank
    field : ReferenceField
    beamlet_mm : (float, float)
        Beamlet size in x and y at the isocenter plane. Beamlets partly inside the field get that share of the MU.

    Returns
    -------
    opentps PhotonPlan
        One fraction of 1 MU.
    """
    from opentps.core.data.plan import PhotonPlan, PlanPhotonBeam

    plan = PhotonPlan(name="calibration field")
    beam = PlanPhotonBeam()
    beam.name = "calibration"
    beam.isocenterPosition_mm = np.array(tank.isocenter_mm)
    beam.xBeamletSpacing_mm, beam.yBeamletSpacing_mm = beamlet_mm
    segment = beam.createBeamSegment()
    (x, share_x), (y, share_y) = (_tiles(field.field_mm, size) for size in beamlet_mm)
    xy = np.stack(np.meshgrid(x, y, indexing="ij"), axis=-1).reshape(-1, 2)
    set_beamlets(segment, new_beamlets(xy, np.outer(share_x, share_y).ravel().tolist()))
    plan.appendBeam(beam)
    set_source_distance(plan, field.sad_mm)
    return plan


def _tiles(width: float, size: float) -> tuple[Any, Any]:
    """Centers of the tiles that cover a width about 0, and the share of each inside it."""
    count = 2 * math.ceil(width / 2 / size - 1e-9)
    middle = (np.arange(count) - (count - 1) / 2) * size
    inside = np.clip((width / 2 - (np.abs(middle) - size / 2)) / size, 0, 1)
    return middle, inside
