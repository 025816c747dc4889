"""The multi-target case of AAPM Task Group 119."""

from __future__ import annotations

from dataclasses import dataclass

from opentps_brimstone.evaluation import DVHGoal
from opentps_brimstone.model.structure import Structure
from opentps_brimstone.phantoms.case import Phantom
from opentps_brimstone.phantoms.shapes import centered_grid, disc, prism_share, rest_of_body, rounded_box, water_ct

__all__ = ["MULTI_TARGET", "MultiTarget", "multi_target"]


@dataclass(frozen=True)
class MultiTarget:
    """Every number of the multi-target case of AAPM Task Group 119.

    Ezzell et al., Med. Phys. 36 (2009), doi 10.1118/1.3238104, stack three cylinders of about 4 cm diameter and 4 cm
    length along the axis of the gantry's rotation, and plan them with seven fields. That they touch, the body, a
    rounded box as in the C-shape case but longer, and the isocenter, 2.5 mm toward the head from the middle, so that
    edges of beamlets of 5 mm lie on the ends of the targets, are assumed. Volume of each target: 50.3 cm³.

    Attributes
    ----------
    target_radius_mm, target_length_mm : float
        Of each of the three.
    body_mm : (float, float, float)
        Size of the body along x, y and z.
    body_corner_mm : float
        Radius of its corners in the transverse plane.
    air_mm : float
        Air around the body.
    gantry_angles : tuple of float
        IEC, in degrees.
    prescriptions_gy : tuple of (str, float)
        Name of each target, from feet to head, and its dose.
    number_of_fractions : int
    goals : tuple of str
    isocenter_mm : (float, float, float)
    target_margin_mm : float
        How far beyond the targets' projection beamlets reach.
    """

    target_radius_mm: float = 20.0
    target_length_mm: float = 40.0
    body_mm: tuple[float, float, float] = (300.0, 200.0, 220.0)
    body_corner_mm: float = 60.0
    air_mm: float = 8.0
    gantry_angles: tuple[float, ...] = tuple(50.0 * i for i in range(7))
    prescriptions_gy: tuple[tuple[str, float], ...] = (("Inferior", 12.5), ("Central", 50.0), ("Superior", 25.0))
    number_of_fractions: int = 25
    goals: tuple[str, ...] = (
        "Central D99 >= 50 Gy",
        "Central D10 <= 53 Gy",
        "Superior D99 >= 25 Gy",
        "Superior D10 <= 35 Gy",
        "Inferior D99 >= 12.5 Gy",
        "Inferior D10 <= 25 Gy",
    )
    isocenter_mm: tuple[float, float, float] = (0.0, 0.0, 2.5)
    target_margin_mm: float = 8.0


MULTI_TARGET = MultiTarget()


def multi_target(grid_mm: float = 4.0, numbers: MultiTarget = MULTI_TARGET) -> Phantom:
    """Three cylinders on top of each other that get different doses (TG-119 multi-target).

    Structures are "Central", "Superior", "Inferior" and "Body", the body without the targets.

    Parameters
    ----------
    grid_mm : float
        Voxel spacing.
    numbers : MultiTarget
        Its sizes, fields and goals.

    Returns
    -------
    Phantom

    Raises
    ------
    ValueError
        When the grid is coarser than half a target, or its spacing not positive.
    """
    coarsest = numbers.target_length_mm / 2
    if grid_mm > coarsest:
        raise ValueError(f"the grid spacing is {grid_mm:g} mm; the multi-target case needs {coarsest:g} mm or finer")
    grid = centered_grid(numbers.body_mm, numbers.air_mm, grid_mm)
    half_x, half_y = numbers.body_mm[0] / 2, numbers.body_mm[1] / 2
    body = prism_share(grid, rounded_box(half_x, half_y, numbers.body_corner_mm), numbers.body_mm[2])
    length, outline = numbers.target_length_mm, disc(numbers.target_radius_mm)
    shares = {
        name: prism_share(grid, outline, length, center_z_mm=(i - 1) * length)
        for i, (name, _) in enumerate(numbers.prescriptions_gy)
    }
    prescriptions = dict(numbers.prescriptions_gy)
    by_dose = sorted(shares, key=lambda name: -prescriptions[name])
    targets = tuple(Structure(name, shares[name], is_target=True) for name in by_dose)
    return Phantom(
        name="multitarget",
        title="TG-119 multi-target",
        ct_hu=water_ct(body),
        grid=grid,
        structures=(*targets, Structure("Body", rest_of_body(body, shares.values(), ()))),
        gantry_angles=numbers.gantry_angles,
        isocenter_mm=numbers.isocenter_mm,
        prescription_gy=prescriptions[by_dose[0]],
        number_of_fractions=numbers.number_of_fractions,
        goals=tuple(DVHGoal.parse(goal) for goal in numbers.goals),
        target_margin_mm=numbers.target_margin_mm,
        lower_prescriptions_gy={name: prescriptions[name] for name in by_dose[1:]},
    )
