"""Copies of OpenTPS plans whose beams can be changed."""

from __future__ import annotations

import copy
from typing import Any

from opentps_brimstone.adapters.privates import set_beams

__all__ = ["copy_plan"]


def copy_plan(photon_plan: Any, *, as_new: bool = False) -> Any:
    """Copy a plan so that its beams, segments and beamlets can be changed; images and structures are shared.

    Parameters
    ----------
    photon_plan : opentps PhotonPlan
        Not changed.
    as_new : bool
        Give the copy a DICOM identity of its own, and a copy of the plan design that holds no beamlet doses. By default
        it has the identity and the design of the plan.

    Returns
    -------
    opentps PhotonPlan
    """
    own = copy.copy(photon_plan)
    set_beams(own, copy.deepcopy(photon_plan.beams))
    if as_new:
        from pydicom.uid import generate_uid

        if photon_plan.planDesign is not None:
            own.planDesign = copy.copy(photon_plan.planDesign)
            own.planDesign.beamlets = None
        own.SOPInstanceUID = str(generate_uid())
        own.seriesInstanceUID = own.SOPInstanceUID + ".1"
    return own
