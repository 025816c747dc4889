"""The mock prostate of AAPM Task Group 119."""

from __future__ import annotations

from dataclasses import dataclass

from opentps_brimstone._typing import BoolArray, FloatArray
from opentps_brimstone.evaluation import DVHGoal
from opentps_brimstone.model.structure import Structure
from opentps_brimstone.phantoms.case import Phantom
from opentps_brimstone.phantoms.shapes import (
    centered_grid,
    disc,
    ellipsoid,
    prism_share,
    rest_of_body,
    rounded_box,
    solid_share,
    water_ct,
)

__all__ = ["PROSTATE", "Prostate", "prostate"]


@dataclass(frozen=True)
class Prostate:
    """Every number of the mock prostate of AAPM Task Group 119.

    From Ezzell et al., Med. Phys. 36 (2009), doi 10.1118/1.3238104: a roughly ellipsoidal prostate of 4.0 × 2.6 × 6.5
    cm (RL, AP, SI); a PTV 0.6 cm around it with a concavity at the back; a rectum of 1.5 cm diameter that abuts the
    indented back of the prostate, a third of it PTV on the PTV's widest slice; a roughly ellipsoidal bladder of 5.0 ×
    4.0 × 5.0 cm on the superior aspect of the prostate; seven fields, 75.6 Gy.

    Assumed: the depth of the indentation; the PTV as an ellipsoid with axes 1.2 cm longer and a round groove at the
    back; the length of the rectum; where the bladder's middle is (above the upper end of the PTV, to the front), and
    that the bladder is without the prostate; the body, a rounded box. Volumes: PTV 78.9 cm³, rectum 17.7 cm³ (a sixth
    of it PTV), bladder 51.0 cm³ (a twelfth of it PTV).

    Attributes
    ----------
    prostate_mm : (float, float, float)
        Full axes along x, y and z; its middle is the origin.
    ptv_margin_mm : float
    rectum_radius_mm, rectum_length_mm, rectum_y_mm : float
        Its axis is parallel to z, at x = 0.
    groove_radius_mm, groove_y_mm : float
        The cylinder that is taken from the back of the PTV.
    bladder_mm, bladder_center_mm : (float, float, float)
    body_mm : (float, float, float)
        Size of the body along x, y and z.
    body_corner_mm : float
        Radius of its corners in the transverse plane.
    air_mm : float
        Air around the body.
    gantry_angles : tuple of float
        IEC, in degrees.
    prescription_gy : float
    number_of_fractions : int
    goals : tuple of str
    target_margin_mm : float
        How far beyond the target's projection beamlets reach.
    """

    prostate_mm: tuple[float, float, float] = (40.0, 26.0, 65.0)
    ptv_margin_mm: float = 6.0
    rectum_radius_mm: float = 7.5
    rectum_length_mm: float = 100.0
    rectum_y_mm: float = 18.5
    groove_radius_mm: float = 15.0
    groove_y_mm: float = 31.0
    bladder_mm: tuple[float, float, float] = (50.0, 40.0, 50.0)
    bladder_center_mm: tuple[float, float, float] = (0.0, -18.0, 38.5)
    body_mm: tuple[float, float, float] = (300.0, 200.0, 180.0)
    body_corner_mm: float = 60.0
    air_mm: float = 8.0
    gantry_angles: tuple[float, ...] = tuple(50.0 * i for i in range(7))
    prescription_gy: float = 75.6
    number_of_fractions: int = 42
    goals: tuple[str, ...] = (
        "PTV D95 >= 75.6 Gy",
        "PTV D5 <= 83 Gy",
        "Rectum D30 <= 70 Gy",
        "Rectum D10 <= 75 Gy",
        "Bladder D30 <= 70 Gy",
        "Bladder D10 <= 75 Gy",
    )
    target_margin_mm: float = 8.0


PROSTATE = Prostate()


def prostate(grid_mm: float = 4.0, numbers: Prostate = PROSTATE) -> Phantom:
    """Prostate between rectum and bladder (TG-119 mock prostate).

    Structures are "PTV", "Rectum", "Bladder", which overlap, and "Body", the body without these.

    Parameters
    ----------
    grid_mm : float
        Voxel spacing.
    numbers : Prostate
        Its sizes, fields and goals.

    Returns
    -------
    Phantom

    Raises
    ------
    ValueError
        When the grid is coarser than the rectum is wide, or its spacing not positive.
    """
    coarsest = 2 * numbers.rectum_radius_mm
    if grid_mm > coarsest:
        raise ValueError(f"the grid spacing is {grid_mm:g} mm; the mock prostate needs {coarsest:g} mm or finer")
    grid = centered_grid(numbers.body_mm, numbers.air_mm, grid_mm)
    half_x, half_y = numbers.body_mm[0] / 2, numbers.body_mm[1] / 2
    body = prism_share(grid, rounded_box(half_x, half_y, numbers.body_corner_mm), numbers.body_mm[2])

    half_prostate = (numbers.prostate_mm[0] / 2, numbers.prostate_mm[1] / 2, numbers.prostate_mm[2] / 2)
    half_ptv = (
        half_prostate[0] + numbers.ptv_margin_mm,
        half_prostate[1] + numbers.ptv_margin_mm,
        half_prostate[2] + numbers.ptv_margin_mm,
    )
    half_bladder = (numbers.bladder_mm[0] / 2, numbers.bladder_mm[1] / 2, numbers.bladder_mm[2] / 2)
    in_rectum = disc(numbers.rectum_radius_mm, numbers.rectum_y_mm)
    in_groove = disc(numbers.groove_radius_mm, numbers.groove_y_mm)
    in_prostate, in_grown = ellipsoid(half_prostate), ellipsoid(half_ptv)
    in_bladder = ellipsoid(half_bladder, numbers.bladder_center_mm)

    def ptv(x: FloatArray, y: FloatArray, z: FloatArray) -> BoolArray:
        return in_grown(x, y, z) & ~in_groove(x, y)

    def bladder(x: FloatArray, y: FloatArray, z: FloatArray) -> BoolArray:
        return in_bladder(x, y, z) & ~in_prostate(x, y, z)

    target = solid_share(grid, ptv, half_ptv)
    rectum = prism_share(grid, in_rectum, numbers.rectum_length_mm)
    urinary = solid_share(grid, bladder, half_bladder, numbers.bladder_center_mm)
    return Phantom(
        name="prostate",
        title="TG-119 mock prostate",
        ct_hu=water_ct(body),
        grid=grid,
        structures=(
            Structure("PTV", target, is_target=True),
            Structure("Rectum", rectum),
            Structure("Bladder", urinary),
            Structure("Body", rest_of_body(body, [target], [rectum, urinary])),
        ),
        gantry_angles=numbers.gantry_angles,
        isocenter_mm=(0.0, 0.0, 0.0),
        prescription_gy=numbers.prescription_gy,
        number_of_fractions=numbers.number_of_fractions,
        goals=tuple(DVHGoal.parse(goal) for goal in numbers.goals),
        target_margin_mm=numbers.target_margin_mm,
    )
