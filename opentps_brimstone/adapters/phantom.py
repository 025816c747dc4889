"""Phantoms in OpenTPS's data classes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from opentps_brimstone.adapters.angles import opentps_from_iec
from opentps_brimstone.adapters.images import ct_image, roi_mask
from opentps_brimstone.adapters.privates import set_number_of_fractions

if TYPE_CHECKING:
    from opentps_brimstone.phantoms import Phantom

__all__ = ["OpenTPSCase", "to_opentps"]


class OpenTPSCase(NamedTuple):
    """A planning case in OpenTPS's data classes.

    Attributes
    ----------
    ct : opentps CTImage
        In HU.
    rois : dict of str to opentps ROIMask
        By the name of the structure.
    plan : opentps PhotonPlan
        Fields with beamlets of 1 MU, and a plan design.
    """

    ct: Any
    rois: dict[str, Any]
    plan: Any


def to_opentps(phantom: Phantom, beamlet_mm: float = 5.0) -> OpenTPSCase:
    """Convert a phantom to a CT, ROIs and a photon plan.

    Parameters
    ----------
    phantom : Phantom
    beamlet_mm : float
        Beamlet spacing in x and y at the isocenter plane. The beamlets are those OpenTPS's plan design places.

    Returns
    -------
    OpenTPSCase
        A ROI contains the voxels of which half or more belongs to the structure.

    Raises
    ------
    ValueError
        If the spacing is not positive or so large that a field has no beamlet, or a structure fills no voxel to half.
    """
    if not (np.isfinite(beamlet_mm) and beamlet_mm > 0):
        raise ValueError(f"the beamlet spacing is {beamlet_mm:g} mm; it must be positive")
    ct = ct_image(phantom.ct_hu, phantom.grid, phantom.title)
    rois = {structure.name: roi_mask(structure, phantom.grid) for structure in phantom.structures}
    targets = [rois[structure.name] for structure in phantom.structures if structure.is_target]
    plan = _design(phantom, ct, targets, beamlet_mm).buildPlan()
    plan.name = phantom.title
    for beam in plan.beams:
        if not beam.beamSegments or not beam.beamSegments[0].beamlets:
            raise ValueError(
                f"field {beam.name} has no beamlets at a beamlet spacing of {beamlet_mm:g} mm; choose a smaller one"
            )
    set_number_of_fractions(plan, phantom.number_of_fractions)
    return OpenTPSCase(ct, rois, plan)


def _design(phantom: Phantom, ct: Any, targets: list[Any], beamlet_mm: float) -> Any:
    from opentps.core.data.plan import PhotonPlanDesign

    design = PhotonPlanDesign()
    design.ct = ct
    design.gantryAngles = [opentps_from_iec(angle).gantry for angle in phantom.gantry_angles]
    design.couchAngles = [0.0] * len(phantom.gantry_angles)
    design.beamNames = [f"G{angle:03.0f}" for angle in phantom.gantry_angles]
    design.isocenterPosition_mm = np.array(phantom.isocenter_mm)
    design.xBeamletSpacing_mm = beamlet_mm
    design.yBeamletSpacing_mm = beamlet_mm
    design.targetMargin = phantom.target_margin_mm
    design.defineTargetMaskAndPrescription(target=targets, targetPrescription=[phantom.prescription_gy] * len(targets))
    return design
