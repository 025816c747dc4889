"""What of a CT and its structures the dose calculation changes or cannot follow, said in sentences."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np

from opentps_brimstone.adapters.density_table import DEFAULT_DENSITY_TABLE, DensityTable
from opentps_brimstone.model.series import Series
from opentps_brimstone.model.structure import Structure

__all__ = ["MODELED_ENERGY_MV", "energy_note", "is_couch", "physics_notes"]

MODELED_ENERGY_MV = 6.0
"""Nominal energy of the beam model: the kernels and the spectrum that doses are computed with by default."""

_COUCH_TYPES = ("SUPPORT", "FIXATION")
_COUCH_NAME = re.compile(
    r"(couch|table.?top|tabletop|support|immobili[sz]|fixation|headrest|base.?plate)|^(table|board)\b", re.IGNORECASE
)


def physics_notes(series: Series, table: DensityTable = DEFAULT_DENSITY_TABLE) -> list[str]:
    """Say which structures change densities, which are no part of the patient, and where HU leave the density table.

    Parameters
    ----------
    series : Series
    table : DensityTable
        From HU to densities.

    Returns
    -------
    list of str
        A sentence each.
    """
    return [*_densities(series), *_couches(series), *_beyond(series, table)]


def is_couch(structure: Structure) -> bool:
    """Whether type or name of a structure say that it is a couch or another support of the patient."""
    return structure.kind in _COUCH_TYPES or (not structure.kind and bool(_COUCH_NAME.search(structure.name)))


def energy_note(energy_mv: float) -> str:
    """Say that beams of another energy are computed with the one beam model there is; empty if they are of its energy.

    Examples
    --------
    >>> energy_note(15.0)
    'the nominal energy is 15 MV; doses are computed with the beam model of 6 MV'
    """
    if energy_mv == MODELED_ENERGY_MV:
        return ""
    return f"the nominal energy is {energy_mv:g} MV; doses are computed with the beam model of {MODELED_ENERGY_MV:g} MV"


def _densities(series: Series) -> Iterator[str]:
    for structure in series.with_density:
        what = "is a bolus and " if structure.kind == "BOLUS" else ""
        yield (
            f"structure {structure.name!r} {what}gets the density {structure.density_g_cm3:g} g/cm³ in place of that "
            "of the CT"
        )


def _couches(series: Series) -> Iterator[str]:
    names = [repr(structure.name) for structure in series.structures if is_couch(structure)]
    if names:
        yield f"{', '.join(names)} seem to be couch or support; leave_out keeps them out of planning"


def _beyond(series: Series, table: DensityTable) -> Iterator[str]:
    end, density = float(table.hu[-1]), float(table.g_cm3[-1])
    beyond = series.ct_hu > end
    for structure in series.with_density:
        if beyond.any() and (placed := structure.on_grid(series.grid)).is_on_grid:
            beyond &= ~placed.mask
    count = int(np.count_nonzero(beyond))
    if count:
        volume = count * float(np.prod(series.spacing_mm)) / 1000
        yield (
            f"{volume:.3g} cm³ of the CT lie above {end:g} HU (up to {series.ct_hu.max():g} HU), the end of the "
            f"density table {table.name}; densities there are cut off at {density:g} g/cm³. Give metal a density of "
            "its own in the structure set"
        )
