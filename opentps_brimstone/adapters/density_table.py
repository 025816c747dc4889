"""From HU to mass density: the table that is the default, and those that a user or OpenTPS gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from opentps_brimstone._typing import FloatArray

__all__ = ["DEFAULT_DENSITY_TABLE", "DensityTable", "chosen_density_table", "density_table_name"]


@dataclass(frozen=True, eq=False)
class DensityTable:
    """Mass density as a function of HU, linear between points and constant beyond them.

    Parameters
    ----------
    name : str
        For reports: whose table it is.
    hu : array_like, shape (n,)
        Not decreasing.
    g_cm3 : array_like, shape (n,)
        Mass density at these HU in g/cm³, at least 0.

    Raises
    ------
    ValueError
        If there are no points, HU and densities differ in number, or a value is out of its range.

    Examples
    --------
    >>> table = DensityTable("water and air", [-1000, 0], [0.001, 1.0])
    >>> table.mass_density(np.array([-2000.0, -500.0, 0.0, 1000.0])).tolist()
    [0.001, 0.5005, 1.0, 1.0]
    """

    name: str
    hu: FloatArray
    g_cm3: FloatArray

    def __post_init__(self) -> None:
        for column in ("hu", "g_cm3"):
            values = np.array(getattr(self, column), dtype=np.float64)
            values.flags.writeable = False
            object.__setattr__(self, column, values)
        if self.hu.ndim != 1 or self.hu.size == 0 or self.hu.shape != self.g_cm3.shape:
            raise ValueError(
                f"the density table {self.name!r} has {self.hu.size} HU and {self.g_cm3.size} densities; it needs as "
                "many of both, 1 or more"
            )
        if not np.all(np.isfinite(self.hu)) or np.any(np.diff(self.hu) < 0):
            raise ValueError(f"the density table {self.name!r} must be given with HU rising, got {self.hu.tolist()}")
        if not np.all(np.isfinite(self.g_cm3)) or np.any(self.g_cm3 < 0):
            raise ValueError(
                f"the density table {self.name!r} has densities from {self.g_cm3.min()} to {self.g_cm3.max()} g/cm³; "
                "they must be finite and at least 0"
            )

    def mass_density(self, ct_hu: Any) -> FloatArray:
        """Mass density of HU.

        Parameters
        ----------
        ct_hu : ndarray
            HU.

        Returns
        -------
        ndarray
            g/cm³, of the same shape.
        """
        found: FloatArray = np.interp(ct_hu, self.hu, self.g_cm3)
        return found

    def to_opentps(self) -> Any:
        """Make the CT calibration that OpenTPS's own dose calculators take.

        Returns
        -------
        opentps PiecewiseHU2Density
        """
        from opentps.core.data.CTCalibrations._piecewiseHU2Density import PiecewiseHU2Density

        return PiecewiseHU2Density((self.hu.copy(), self.g_cm3.copy()))


# `HU_Density_Conversion.txt` of the scanner UCL_Toshiba: the default of OpenTPS 2.0, from the files of MCsquare, the
# Monte Carlo code of UCLouvain (Souris, Lee and Sterpin, Med. Phys. 43 (2016) 1700). OpenTPS 3.0.1 lacks the file.
DEFAULT_DENSITY_TABLE = DensityTable(
    "UCL_Toshiba (MCsquare, OpenTPS 2.0)",
    np.array([-2000, -1000, -739, -628, -97, -52, 0, 14, 70, 213, 220, 588, 1046, 1565]),
    np.array([0.001, 0.001, 0.28, 0.4, 0.942, 0.977, 1.0, 1.053, 1.097, 1.143, 1.154, 1.335, 1.56, 1.825]),
)
"""What HU mean unless a table is given; like any default, to be replaced by that of the scanner a CT was made on."""


def chosen_density_table(given: Any = None, photon_plan: Any = None) -> DensityTable:
    """Table by which a dose is computed: the one given, else that of the plan design, else `DEFAULT_DENSITY_TABLE`.

    Parameters
    ----------
    given : DensityTable, opentps CT calibration or array_like of shape (n, 2), optional
        An array has a row (HU, g/cm³) for each point. The scanner in OpenTPS's configuration is never read.
    photon_plan : opentps PhotonPlan, optional
        Whose ``planDesign.calibration`` counts if nothing is given.

    Returns
    -------
    DensityTable

    Raises
    ------
    TypeError
        If ``given`` is none of these.
    ValueError
        If it has no points or impossible ones.

    Examples
    --------
    >>> chosen_density_table([(-1000, 0.001), (0, 1.0)]).name
    'given, 2 points'
    """
    if given is None:
        given = getattr(getattr(photon_plan, "planDesign", None), "calibration", None)
    if given is None:
        return DEFAULT_DENSITY_TABLE
    if isinstance(given, DensityTable):
        return given
    if hasattr(given, "getPiecewiseHU2MassDensityConversion"):
        hu, densities = (np.asarray(column) for column in given.getPiecewiseHU2MassDensityConversion())
        return DensityTable(f"{type(given).__name__} of OpenTPS, {hu.size} points", hu, densities)
    points = _points(given)
    return DensityTable(f"given, {len(points)} points", points[:, 0], points[:, 1])


def _points(given: Any) -> FloatArray:
    try:
        points = np.asarray(given, dtype=np.float64)
    except (TypeError, ValueError):
        points = np.empty(0)
    if points.ndim != 2 or points.shape[1] != 2:
        raise TypeError(
            "the density table must be a DensityTable, an array with a row (HU, g/cm³) for each point, or an OpenTPS "
            f"CT calibration that has a piecewise HU to density table, got {type(given).__name__}"
        )
    return points


def density_table_name(given: Any = None, photon_plan: Any = None) -> str:
    """Name the table by which a dose is computed, for a report.

    Parameters
    ----------
    given, photon_plan
        As for `chosen_density_table`.

    Returns
    -------
    str

    Examples
    --------
    >>> density_table_name()
    'UCL_Toshiba (MCsquare, OpenTPS 2.0)'
    """
    return chosen_density_table(given, photon_plan).name
