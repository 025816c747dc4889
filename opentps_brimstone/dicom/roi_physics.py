"""What a structure set says about the matter of a structure: its density, and that it is a bolus."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

from opentps_brimstone.dicom.errors import DicomError
from opentps_brimstone.dicom.tags import Tags
from opentps_brimstone.model.structure import LARGEST_DENSITY

__all__ = ["read_physics"]

# Densities relative to water (PS3.3, C.8.8.8.1). The engine takes the radiological path as mass density in media like
# water, where photons see electrons: an electron density relative to water is the mass density of such a medium.
_DENSITIES = ("REL_MASS_DENSITY", "REL_ELEC_DENSITY")
_WATER_G_CM3 = 1.0


def read_physics(name: str, kind: str, observations: Sequence[Tags]) -> float | None:
    """Read the density that a structure is to have in g/cm³; a bolus without one is water, others keep the CT's.

    There is a warning for each property that is not used.
    """
    for item in (each for one in observations for each in one.items("ROIPhysicalPropertiesSequence")):
        stated = item.text("ROIPhysicalProperty").upper()
        try:
            (value,) = item.numbers("ROIPhysicalPropertyValue", 1)
        except DicomError as error:
            warnings.warn(f"structure {name!r}: its {stated} is left out: {error}", stacklevel=5)
            continue
        if stated not in _DENSITIES:
            warnings.warn(
                f"structure {name!r}: its {stated} of {value:g} is left out; only densities are used", stacklevel=5
            )
        elif not 0 <= value <= LARGEST_DENSITY:
            warnings.warn(
                f"structure {name!r}: its {stated} of {value:g} is left out; densities lie from 0 to "
                f"{LARGEST_DENSITY:g} of that of water",
                stacklevel=5,
            )
        else:
            return float(value) * _WATER_G_CM3
    return _WATER_G_CM3 if kind == "BOLUS" else None
