"""What is planned: structures and the plan they belong to. Knows no OpenTPS."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from opentps_brimstone.dose_influence import BeamletLayout, DoseInfluence, VoxelGrid

if TYPE_CHECKING:
    from collections.abc import Sequence

FloatArray = npt.NDArray[np.float64]


class Structure:
    """A volume of interest.

    Parameters
    ----------
    name : str
        Unique within a plan.
    mask : ndarray of bool or float, shape (nx, ny, nz)
        Which voxels belong to it, or the share of each voxel's volume that does, in [0, 1].
    is_target : bool
        Whether it is to be irradiated.

    Attributes
    ----------
    share : ndarray of float, shape (nx, ny, nz)
        The mask as volume shares; not writeable.
    histogram : (ndarray, ndarray) or None
        Dose in Gy and volume share that gets at least this dose, after the plan's histograms were updated.

    Raises
    ------
    ValueError
        When the mask is no 3-D array of shares in [0, 1], or empty.
    """

    def __init__(self, name: str, mask: npt.ArrayLike, is_target: bool = False) -> None:
        if not name:
            raise ValueError("a structure needs a name")
        share = np.array(mask, dtype=np.float64)
        if share.ndim != 3:
            raise ValueError(f"the mask of {name!r} must be a 3-D array [x, y, z], not of shape {share.shape}")
        outside = ~((share >= 0) & (share <= 1))
        if outside.any():
            raise ValueError(f"the mask of {name!r} has the entry {share[outside][0]}; volume shares lie in [0, 1]")
        if not share.any():
            raise ValueError(f"the mask of {name!r} is empty: none of its {share.size} voxels is set")
        share.flags.writeable = False
        self.name = name
        self.share = share
        self.is_target = bool(is_target)
        self.histogram: tuple[FloatArray, FloatArray] | None = None

    @property
    def mask(self) -> npt.NDArray[np.bool_]:
        """Voxels that belong to the structure, at least in part."""
        return self.share > 0

    def __repr__(self) -> str:
        kind = "target" if self.is_target else "no target"
        return f"Structure({self.name!r}, {self.share.sum():.1f} voxels, {kind})"

    def get_dvh(self) -> tuple[FloatArray, FloatArray]:
        """Cumulative dose-volume histogram of the plan's dose.

        Returns
        -------
        dose_gy : ndarray, shape (n,)
            Rising from 0.
        volume_fraction : ndarray, shape (n,)
            Share of the volume that gets at least this dose.

        Raises
        ------
        ValueError
            Before the plan has a dose.
        """
        if self.histogram is None:
            raise ValueError(
                f"{self.name!r} has no DVH yet: the plan has no beamlet weights, or update_histograms was not called"
            )
        return self.histogram

    def set_dose(self, dose: FloatArray) -> None:
        """Compute the histogram of a dose.

        Parameters
        ----------
        dose : ndarray, shape (nx, ny, nz)
            Gy.
        """
        inside = self.mask
        voxel_dose = dose[inside]
        order = np.argsort(voxel_dose, kind="stable")
        share = self.share[inside][order]
        below = np.concatenate([[0.0], np.cumsum(share)])
        volume = 1.0 - below / below[-1]
        # Every voxel holds its volume up to its own dose: a step there, given by its two ends.
        steps = np.repeat(voxel_dose[order], 2)
        levels = np.repeat(volume, 2)[1:-1]
        self.histogram = (np.concatenate([[0.0], steps]), np.concatenate([[1.0], levels]))


class Plan:
    """Structures, beamlets and the dose that their weights give.

    Made by `from_dose_influence`, `from_influence` or `from_opentps`.

    Attributes
    ----------
    dose_influence : DoseInfluence
        Gy per MU and fraction.
    structures : dict of str to Structure
        By name.
    number_of_fractions : int
        Fractions that doses are summed over.
    beamlet_weights : ndarray, shape (n_beamlets,), or None
        MU per fraction.
    """

    def __init__(
        self, dose_influence: DoseInfluence, structures: Iterable[Structure], number_of_fractions: int = 1
    ) -> None:
        if int(number_of_fractions) != number_of_fractions or number_of_fractions < 1:
            raise ValueError(f"the number of fractions is {number_of_fractions}; it must be a whole number from 1")
        self.dose_influence = dose_influence
        self.number_of_fractions = int(number_of_fractions)
        self.structures: dict[str, Structure] = {}
        for structure in structures:
            if structure.name in self.structures:
                raise ValueError(f"two structures are named {structure.name!r}; names must differ")
            if structure.share.shape != dose_influence.grid.shape:
                raise ValueError(
                    f"the mask of {structure.name!r} has the grid {structure.share.shape}; "
                    f"the dose grid is {dose_influence.grid.shape}"
                )
            self.structures[structure.name] = structure
        if not self.structures:
            raise ValueError("a plan needs at least one structure")
        self._weights: FloatArray | None = None

    @classmethod
    def from_influence(
        cls, dose_influence: DoseInfluence, structures: Iterable[Structure], number_of_fractions: int = 1
    ) -> Plan:
        """Make a plan from a dose influence matrix with its grid and layout.

        Parameters
        ----------
        dose_influence : DoseInfluence
            Gy per MU and fraction.
        structures : iterable of Structure
            On the same grid.
        number_of_fractions : int
            Fractions that doses are summed over.

        Returns
        -------
        Plan
        """
        return cls(dose_influence, structures, number_of_fractions)

    @classmethod
    def from_dose_influence(
        cls,
        matrix: Any,
        structures: Iterable[Structure],
        *,
        grid_shape: tuple[int, int, int],
        spacing_mm: tuple[float, float, float],
        beamlet_xy_mm: npt.ArrayLike,
        beam_index: npt.ArrayLike,
        beamlet_spacing_mm: npt.ArrayLike,
        origin_mm: tuple[float, float, float] = (0.0, 0.0, 0.0),
        number_of_fractions: int = 1,
    ) -> Plan:
        """Make a plan from a matrix of any origin.

        Parameters
        ----------
        matrix : sparse matrix, shape (n_voxels, n_beamlets)
            Gy per MU and fraction; rows are voxels in C order of [x, y, z].
        structures : iterable of Structure
            On the same grid.
        grid_shape : (int, int, int)
            Voxels along x, y, z.
        spacing_mm : (float, float, float)
            Voxel spacing, in mm.
        beamlet_xy_mm : array_like, shape (n_beamlets, 2)
            Beamlet centres in the beam's eye view at the isocentre plane, in mm.
        beam_index : array_like of int, shape (n_beamlets,)
            Beam of each beamlet: 0, 1, …, beam after beam.
        beamlet_spacing_mm : float, or array_like broadcast to (n_beams, 2)
            Beamlet spacing in x and y, in mm.
        origin_mm : (float, float, float)
            Centre of voxel [0, 0, 0], in mm.
        number_of_fractions : int
            Fractions that doses are summed over.

        Returns
        -------
        Plan

        Raises
        ------
        ValueError
            Naming what does not fit.
        """
        grid = VoxelGrid(grid_shape, spacing_mm, origin_mm)
        layout = BeamletLayout(
            np.asarray(beamlet_xy_mm, dtype=np.float64),
            np.asarray(beam_index),
            np.asarray(beamlet_spacing_mm, dtype=np.float64),
        )
        return cls(DoseInfluence(matrix, grid, layout), structures, number_of_fractions)

    @classmethod
    def from_opentps(cls, photon_plan: Any, ct: Any, rois: Sequence[Any], **options: Any) -> Plan:
        """Make a plan from an OpenTPS plan, with beamlet doses of its CCC engine.

        Parameters
        ----------
        photon_plan : opentps PhotonPlan
            Not changed.
        ct : opentps CTImage
            In HU; not changed.
        rois : sequence of opentps ROIMask or ROIContour
            The structures.
        **options
            Passed on to `opentps_brimstone.adapters.planning.plan_from_opentps`.

        Returns
        -------
        Plan
        """
        from opentps_brimstone.adapters.planning import plan_from_opentps

        return plan_from_opentps(photon_plan, ct, rois, **options)

    @property
    def beamlet_weights(self) -> FloatArray | None:
        """MU per fraction of each beamlet, shape (n_beamlets,); None before they are set."""
        return self._weights

    @beamlet_weights.setter
    def beamlet_weights(self, weights: npt.ArrayLike) -> None:
        self._weights = self.dose_influence.check_weights(weights).copy()
        self._weights.flags.writeable = False

    def get_dose(self) -> FloatArray:
        """Dose of the beamlet weights.

        Returns
        -------
        ndarray, shape (nx, ny, nz)
            Gy over all fractions.

        Raises
        ------
        ValueError
            When no weights are set.
        """
        if self._weights is None:
            raise ValueError("the plan has no beamlet weights yet: set beamlet_weights, or optimise it")
        return self.dose_influence.dose(self._weights, self.number_of_fractions)

    def update_histograms(self) -> FloatArray:
        """Compute the DVH of every structure from the present beamlet weights.

        Returns
        -------
        ndarray, shape (nx, ny, nz)
            The dose they were computed from, Gy over all fractions.
        """
        dose = self.get_dose()
        for structure in self.structures.values():
            structure.set_dose(dose)
        return dose

    def __repr__(self) -> str:
        names = ", ".join(self.structures)
        return f"Plan({self.dose_influence!r}, structures: {names}, {self.number_of_fractions} fractions)"
