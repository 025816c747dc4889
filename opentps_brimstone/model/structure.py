"""Volumes of interest, and the collection of them that a series or a plan has."""

from __future__ import annotations

import difflib
import math
import weakref
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from opentps_brimstone._typing import BoolArray, FloatArray
from opentps_brimstone._util.errors import BrimstoneError
from opentps_brimstone._util.tables import Html, html_table, sparkline
from opentps_brimstone.model.dose_samples import DoseSamples, divided, fine_grid, parts_per_voxel
from opentps_brimstone.model.dvh_curve import dvh_curve
from opentps_brimstone.model.grid import same_grid, share_on_grid
from opentps_brimstone.model.packed_share import PackedShare

if TYPE_CHECKING:
    from opentps_brimstone.model.contours import ContourStack
    from opentps_brimstone.model.influence import VoxelGrid
    from opentps_brimstone.model.previous_course import PreviousCourse

__all__ = [
    "HALF_INSIDE",
    "LARGEST_DENSITY",
    "Structure",
    "StructureSet",
    "UnknownStructureError",
    "structures_html",
]

HALF_INSIDE = 0.5
"""Volume share from which on a voxel belongs to a structure, where a mask says yes or no."""
LARGEST_DENSITY = 25.0
"""g/cm³, above every metal in a body."""
_SPARKLINE_POINTS = 60

Histogram = tuple[FloatArray, FloatArray]


class Structure:
    """A volume of interest.

    Parameters
    ----------
    name : str
        Unique within a plan.
    mask : array_like of bool or float, shape (nx, ny, nz)
        Voxels of the structure, or the share of each voxel's volume inside it, in [0, 1].
    is_target : bool
        Whether it is to be irradiated.
    grid : VoxelGrid, optional
        Where the voxels are; a series or a plan sets it for structures without one.

    Attributes
    ----------
    name : str
    is_target : bool
        May be set.
    alpha_beta : float, array of shape (nx, ny, nz), or None
        α/β of its tissue in Gy, one or one for each voxel of its grid. May be set. None: not known.
    alpha : float or None
        Linear coefficient of its tissue in 1/Gy, as for the quantity ``effect``. May be set.
    grid : VoxelGrid or None
    kind : str
        DICOM's interpreted type, such as ``ORGAN``, ``BOLUS`` or ``SUPPORT``; empty if it is not known. May be set.
    density_g_cm3 : float or None
        Mass density that its voxels get in place of the CT's. May be set.
    contours : ContourStack or None
        The outlines it is made of, if any.
    histogram : two ndarrays of shape (n,), or None
        Dose in Gy and volume share that gets at least this dose, after `Plan.update_histograms`. Every plan has
        structures of its own; one that plans were made from shows the histogram of the only plan that has one.

    Raises
    ------
    ValueError
        If the mask is not a 3-D array of shares in [0, 1], is empty, or does not have the grid's shape.

    Examples
    --------
    >>> Structure("PTV", np.ones((4, 4, 2)), is_target=True)
    Structure('PTV', 32.0 voxels, target)
    """

    def __init__(
        self, name: str, mask: npt.ArrayLike, is_target: bool = False, *, grid: VoxelGrid | None = None
    ) -> None:
        share = _checked_share(name, mask)
        if grid is not None and share.shape != grid.shape:
            raise ValueError(f"the mask of {name!r} has the grid {share.shape}; it should be {grid.shape}")
        self._set(name, grid, is_target, share)

    def _set(self, name: str, grid: VoxelGrid | None, is_target: bool, share: FloatArray | None = None) -> None:
        if not name:
            raise ValueError("a structure needs a name")
        self.name = name
        self.grid = grid
        self.contours: ContourStack | None = None
        self._histogram: Histogram | None = None
        self._mean_gy = 0.0  # with a histogram
        self._sampled: tuple[DoseSamples | None] | None = None
        self._kept = None if share is None else PackedShare(share)
        self._lies_on: VoxelGrid | None = None  # where the voxels of one without a grid are taken to be
        self._copies: weakref.WeakSet[Structure] = weakref.WeakSet()
        self._is_target = bool(is_target)
        self._kind = ""
        self._density: float | None = None
        self._source: Structure | None = None  # what this one is on another grid
        self._alpha_beta: Any = None
        self._alpha: float | None = None
        self._previous: PreviousCourse | None = None

    @classmethod
    def from_contours(cls, name: str, contours: ContourStack, grid: VoxelGrid, is_target: bool = False) -> Structure:
        """Make a structure from outlines; its voxel shares are computed on first use.

        Parameters
        ----------
        name : str
        contours : ContourStack
        grid : VoxelGrid
            Grid of `share` and `mask`.
        is_target : bool

        Returns
        -------
        Structure

        Examples
        --------
        >>> from opentps_brimstone.model.contours import ContourStack
        >>> from opentps_brimstone.model.influence import VoxelGrid
        >>> square = [(-1.0, -1.0), (5.0, -1.0), (5.0, 5.0), (-1.0, 5.0)]
        >>> contours = ContourStack([(0.0, [square]), (2.0, [square])], slice_spacing_mm=2.0)
        >>> grid = VoxelGrid((3, 3, 2), (2.0, 2.0, 2.0))
        >>> float(Structure.from_contours("PTV", contours, grid).share.sum())
        18.0
        """
        made = cls.__new__(cls)
        made._set(name, grid, is_target)
        made.contours = contours
        return made

    @property
    def share(self) -> FloatArray:
        """Volume share of each voxel, shape (nx, ny, nz); not writeable."""
        return self.packed.share

    @property
    def packed(self) -> PackedShare:
        """The shares in little memory."""
        if self._kept is None:
            assert self.grid is not None
            self._kept = self._computed_share(self.grid)
        return self._kept

    @property
    def _origin(self) -> Structure:
        """The structure that this one was resampled from, or itself."""
        return self._source or self

    def _computed_share(self, grid: VoxelGrid) -> PackedShare:
        origin, source_grid = self._origin, self._origin.grid or self._lies_on
        if origin is not self and source_grid is not None and same_grid(source_grid, grid):
            return origin.packed
        return PackedShare(_checked_share(self.name, self._share_of_origin(grid), f"the grid {grid}"))

    def _share_of_origin(self, grid: VoxelGrid) -> FloatArray:
        origin, source_grid = self._origin, self._origin.grid or self._lies_on
        if origin.contours is not None:
            return origin.contours.share_on(grid)
        if source_grid is None:
            raise ValueError(
                f"the structure {self.name!r} does not say where its voxels are, so it cannot be put on another grid: "
                "make it with grid=VoxelGrid(...)"
            )
        return share_on_grid(origin.share, source_grid, grid)

    @property
    def mask(self) -> BoolArray:
        """Voxels that lie in the structure to half of their volume or more, shape (nx, ny, nz).

        Their volume is that of the structure, up to what the voxels' size allows. One that fills no voxel to half has
        the voxel it fills most.
        """
        inside: BoolArray = self.share >= HALF_INSIDE
        if inside.any():
            return inside
        return np.asarray(self.share == self.share.max())

    @property
    def touched(self) -> BoolArray:
        """Voxels that lie in the structure at least in part, shape (nx, ny, nz): those its dose depends on."""
        return self.share > 0

    def check_on_grid(self) -> None:
        """Check that the structure overlaps its grid, so that it has a mask.

        Raises
        ------
        ValueError
            If it does not, or does not say where its voxels are.
        """
        _ = self.share

    @property
    def is_on_grid(self) -> bool:
        """Whether it overlaps its grid."""
        try:
            self.check_on_grid()
        except ValueError:
            return False
        return True

    @property
    def is_target(self) -> bool:
        """Whether it is to be irradiated; shared by a structure and its resampled copies."""
        return self._source.is_target if self._source is not None else self._is_target

    @is_target.setter
    def is_target(self, value: bool) -> None:
        if self._source is not None:
            self._source.is_target = value
        else:
            self._is_target = bool(value)

    @property
    def kind(self) -> str:
        """DICOM's interpreted type; shared by a structure and its resampled copies."""
        return self._origin._kind

    @kind.setter
    def kind(self, value: str) -> None:
        self._origin._kind = str(value).strip().upper()

    @property
    def density_g_cm3(self) -> float | None:
        """Mass density in place of the CT's; shared by a structure and its resampled copies."""
        return self._origin._density

    @density_g_cm3.setter
    def density_g_cm3(self, value: float | None) -> None:
        if value is not None and not 0 <= value <= LARGEST_DENSITY:
            raise ValueError(
                f"the density of {self.name!r} is {value} g/cm³; it must be from 0 to {LARGEST_DENSITY:g}, or None"
            )
        self._origin._density = None if value is None else float(value)

    @property
    def alpha_beta(self) -> Any:
        """α/β of its tissue in Gy; shared by a structure and its resampled copies, and None if it is not known."""
        return self._origin._alpha_beta

    @alpha_beta.setter
    def alpha_beta(self, value: Any) -> None:
        if value is None or np.ndim(value):
            # Of an array, the voxels of the structure are checked where it is used.
            self._origin._alpha_beta = None if value is None else np.array(value, dtype=np.float64)
            return
        if not (math.isfinite(value) and value > 0):
            raise ValueError(f"alpha/beta of {self.name!r} is {value} Gy; it must be positive, and finite")
        self._origin._alpha_beta = float(value)

    @property
    def alpha(self) -> float | None:
        """Linear coefficient of its tissue in 1/Gy; shared as `alpha_beta` is."""
        return self._origin._alpha

    @alpha.setter
    def alpha(self, value: float | None) -> None:
        if value is not None and not (math.isfinite(value) and value > 0):
            raise ValueError(f"alpha of {self.name!r} is {value} 1/Gy; it must be positive, and finite")
        self._origin._alpha = None if value is None else float(value)

    @property
    def previous_dose(self) -> PreviousCourse | None:
        """What it was given before; set by `Plan.set_previous_dose` for this plan's structures alone."""
        return self._previous

    @previous_dose.setter
    def previous_dose(self, course: PreviousCourse | None) -> None:
        self._previous = course

    def on_grid(self, grid: VoxelGrid) -> Structure:
        """Resample the structure.

        Parameters
        ----------
        grid : VoxelGrid

        Returns
        -------
        Structure
            This one if it is on that grid already; else one whose shares come from the outlines, or from the voxels if
            there are none. The volume is kept.

        Raises
        ------
        ValueError
            On use, if the structure has neither outlines nor a grid.

        Examples
        --------
        >>> from opentps_brimstone.model.influence import VoxelGrid
        >>> fine = Structure("PTV", np.ones((4, 4, 4)), grid=VoxelGrid((4, 4, 4), (1.0, 1.0, 1.0)))
        >>> coarse = fine.on_grid(VoxelGrid((2, 2, 2), (3.0, 3.0, 3.0)))
        >>> float(coarse.share.sum()) * 27.0
        64.0
        """
        if self.grid is not None and same_grid(self.grid, grid):
            return self
        origin = self._origin
        return origin if origin.grid is not None and same_grid(origin.grid, grid) else self._planned_on(grid)

    def _planned_on(self, grid: VoxelGrid) -> Structure:
        """Make a copy on a grid that can be moved to another."""
        made = Structure.__new__(Structure)
        made._set(self.name, grid, False)
        made._source = self._origin
        made._previous = self._previous
        made._lies_on = self._lies_on
        return made

    def _copied_for_plan(self, grid: VoxelGrid) -> Structure:
        """Make a plan's own copy on its grid, where the voxels of a structure without a grid are taken to be."""
        made = self._planned_on(grid)
        if self._origin.grid is None and self._lies_on is None:
            made._lies_on = grid
        self._origin._copies.add(made)
        return made

    def _move_to(self, grid: VoxelGrid) -> None:
        """Move a resampled structure to another grid."""
        if self.grid is None or not same_grid(self.grid, grid):
            self.grid = grid
            self._kept = None
            self._sampled = None
            self._histogram = None

    def __repr__(self) -> str:
        return f"Structure({self.name!r}, {self._size}{', target' if self.is_target else ''})"

    @property
    def _size(self) -> str:
        """Volume for people, on whichever grid the structure was defined."""
        origin = self._origin
        if origin.contours is not None:
            return f"{origin.contours.volume_mm3 / 1000:.4g} cm³"
        voxels = float(origin.share.sum())
        if origin.grid is None:
            return f"{voxels:.1f} voxels"
        return f"{voxels * math.prod(origin.grid.spacing_mm) / 1000:.4g} cm³"

    def _html_row(self) -> tuple[str, ...]:
        """Name, kind, volume and, after a dose was set, dose and a small DVH."""
        row = (self.name, "target" if self.is_target else "", self._size)
        dosed = self._dosed
        if dosed is None or dosed._histogram is None:
            return row
        dose, volume = dosed._histogram
        axis = np.linspace(0.0, float(dose[-1]), _SPARKLINE_POINTS)
        curve = sparkline(axis, np.interp(axis, dose, volume))
        return (*row, f"{dose[1]:.2f} … {dose[-1]:.2f}, mean {dosed._mean_gy:.2f}", curve)

    def _repr_html_(self) -> str:
        return structures_html([self])

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
            If the plan has no dose yet.

        Examples
        --------
        >>> organ = Structure("organ", np.ones((2, 1, 1)))
        >>> organ.set_dose(np.array([10.0, 20.0]).reshape(2, 1, 1))
        >>> organ.get_dvh()[0]
        array([ 0., 10., 10., 20., 20.])
        """
        histogram = self.histogram
        if histogram is None:
            several = len(self._dosed_copies()) > 1
            raise ValueError(
                f"{self.name!r} is a structure of several plans: ask each plan's own, "
                f"plan.structures[{self.name!r}].get_dvh()"
                if several
                else f"{self.name!r} has no DVH yet: the plan has no beamlet weights, or update_histograms was not "
                "called since they were set"
            )
        return histogram

    @property
    def histogram(self) -> Histogram | None:
        """Dose in Gy and volume share that gets at least this dose; None without the dose of one plan."""
        dosed = self._dosed
        return None if dosed is None else dosed._histogram

    @property
    def _dosed(self) -> Structure | None:
        """The one that has a dose: this structure, or the copy of one plan."""
        if self._histogram is not None:
            return self
        copies = self._dosed_copies()
        return copies[0] if len(copies) == 1 else None

    def _dosed_copies(self) -> list[Structure]:
        return [copy for copy in self._copies if copy._histogram is not None]

    def _forget_dose(self) -> None:
        self._histogram = None

    def __getstate__(self) -> dict[str, object]:
        # Whoever copies a structure does not copy the plans made from it.
        return {name: value for name, value in vars(self).items() if name != "_copies"} | {"_sampled": None}

    def __setstate__(self, state: dict[str, object]) -> None:
        vars(self).update(state)
        self._copies = weakref.WeakSet()
        if self._source is not None:
            self._source._copies.add(self)

    def sample(self, dose: npt.ArrayLike) -> tuple[FloatArray, FloatArray]:
        """Read a dose within the structure: at its voxels, or, if it is small and not made of whole voxels, between.

        Parameters
        ----------
        dose : array_like, shape (nx, ny, nz)
            Gy, on the structure's grid.

        Returns
        -------
        dose_gy : ndarray, shape (n,)
        volume : ndarray, shape (n,)
            Of the part of the structure that has each dose, in voxels.

        Raises
        ------
        ValueError
            If the dose has another shape.

        Examples
        --------
        >>> share = np.zeros((5, 5, 5))
        >>> share[2, 2, 2] = 0.5
        >>> dose, volume = Structure("seed", share).sample(np.indices(share.shape)[0])
        >>> float(dose.min().round(1)), float(dose.max().round(1)), float(volume.sum().round(6))
        (1.5, 2.5, 0.5)
        """
        values = np.asarray(dose, dtype=np.float64)
        if values.shape != self.packed.shape:
            raise ValueError(
                f"the dose has the grid {values.shape} and the structure {self.packed.shape}; they must agree"
            )
        samples = self._samples
        if samples is None:
            voxels, share = self.packed.flat()
            return values.ravel()[voxels], share
        return samples.doses(values), samples.volumes

    @property
    def _samples(self) -> DoseSamples | None:
        """Points between the voxels; None if the voxels will do."""
        if self._sampled is None:
            self._sampled = (self._made_samples(),)
        return self._sampled[0]

    def _made_samples(self) -> DoseSamples | None:
        packed = self.packed
        parts = parts_per_voxel(packed)
        origin, source_grid = self._origin, self._origin.grid or self._lies_on
        is_finer_known = self.grid is not None and (
            origin.contours is not None
            or (origin is not self and source_grid is not None and not same_grid(source_grid, self.grid))
        )
        if parts == 1 or min(packed.shape) == 1 or (packed.inside.dtype == np.bool_ and not is_finer_known):
            return None
        box = packed.box
        fine = None
        if is_finer_known:
            assert self.grid is not None
            fine = self._share_of_origin(fine_grid(self.grid, box, parts))
        if fine is None or not fine.any():
            fine = divided(packed.inside.astype(np.float64), parts)
        return DoseSamples(parts, fine, tuple(part.start for part in box), packed.shape)

    def set_dose(self, dose: FloatArray) -> None:
        """Compute the cumulative histogram of a dose.

        Parameters
        ----------
        dose : ndarray, shape (nx, ny, nz)
            Gy, on the structure's grid.
        """
        doses, volumes = self.sample(dose)
        falling, share = dvh_curve(doses, volumes)
        # The whole volume gets the lowest dose, and nothing more than the highest.
        dose_gy = np.concatenate([[0.0], falling[-1:], falling[::-1], falling[:1]])
        self._histogram = (dose_gy, np.concatenate([[1.0, 1.0], share[::-1], [0.0]]))
        self._mean_gy = float(np.average(doses, weights=volumes))


def _checked_share(name: str, mask: npt.ArrayLike, where: str = "") -> FloatArray:
    share = np.array(mask, dtype=np.float64)
    if share.ndim != 3:
        raise ValueError(f"the mask of {name!r} must be a 3-D array [x, y, z], not of shape {share.shape}")
    outside = ~((share >= 0) & (share <= 1))
    if outside.any():
        raise ValueError(f"the mask of {name!r} has the entry {share[outside][0]}; volume shares lie in [0, 1]")
    if not share.any():
        detail = f": it has nothing on {where}" if where else f": none of its {share.size} voxels is set"
        raise ValueError(f"the mask of {name!r} is empty{detail}")
    share.flags.writeable = False
    return share


class UnknownStructureError(BrimstoneError, KeyError):
    """Unknown structure name; the message lists the names there are."""

    def __str__(self) -> str:
        return str(self.args[0])


class StructureSet:
    """The structures of a series or a plan, in the order they were given.

    Iterating gives the structures; `keys`, `values`, `items` and `get` are those of a dict by name. A name is found
    in any case of its letters if only one structure fits.

    Parameters
    ----------
    left_out : mapping of str to str, optional
        Names of structures that could not be used, and why; asked for one of them, the error says so.

    Raises
    ------
    ValueError
        If two structures have the same name.

    Examples
    --------
    >>> ptv = Structure("PTV", np.ones((2, 2, 2)), is_target=True)
    >>> structures = StructureSet([ptv, Structure("Bladder", np.ones((2, 2, 2)))])
    >>> structures["bladder"].name, structures[0].name, len(structures)
    ('Bladder', 'PTV', 2)
    >>> [structure.name for structure in structures if structure.is_target]
    ['PTV']
    """

    def __init__(self, structures: Iterable[Structure] = (), left_out: Mapping[str, str] | None = None) -> None:
        self.left_out = dict(left_out or {})
        self._by_name: dict[str, Structure] = {}
        for structure in structures:
            if structure.name in self._by_name:
                raise ValueError(f"two structures are named {structure.name!r}; names must differ")
            self._by_name[structure.name] = structure

    def __iter__(self) -> Iterator[Structure]:
        return iter(self._by_name.values())

    def __len__(self) -> int:
        return len(self._by_name)

    def __contains__(self, item: object) -> bool:
        if isinstance(item, Structure):
            return any(item is structure for structure in self)
        return isinstance(item, str) and self.get(item) is not None

    def __getitem__(self, key: str | int) -> Structure:
        if not isinstance(key, str):
            return self.values()[key]
        structure = self.get(key)
        if structure is None:
            raise UnknownStructureError(self._explanation(key))
        return structure

    def __setitem__(self, name: str, structure: Structure) -> None:
        if structure.name != name:
            raise ValueError(f"{structure!r} cannot be stored as {name!r}: a structure is found by its own name")
        self._by_name[name] = structure

    def __delitem__(self, name: str) -> None:
        del self._by_name[self[name].name]

    def get(self, name: str, default: Structure | None = None) -> Structure | None:
        """Structure of a name, or the default."""
        if name in self._by_name:
            return self._by_name[name]
        alike = [structure for structure in self if structure.name.casefold() == name.casefold()]
        return alike[0] if len(alike) == 1 else default

    def keys(self) -> list[str]:
        """Return the names."""
        return list(self._by_name)

    def values(self) -> list[Structure]:
        """Return the structures."""
        return list(self)

    def items(self) -> list[tuple[str, Structure]]:
        """Return names and structures."""
        return list(self._by_name.items())

    def _explanation(self, name: str) -> str:
        if name in self.left_out:
            return f"structure {name!r} cannot be used: {self.left_out[name]}"
        names = self.keys()
        if not names:
            return f"there is no structure {name!r}: there are none at all"
        close = difflib.get_close_matches(name.casefold(), [known.casefold() for known in names], n=1)
        hint = next((f"; do you mean {known!r}?" for known in names if close and known.casefold() == close[0]), "")
        return f"there is no structure {name!r}; there are {', '.join(map(repr, names))}{hint}"

    def __repr__(self) -> str:
        return f"StructureSet([{', '.join(map(repr, self))}])"

    def _repr_html_(self) -> str:
        return structures_html(self)


def structures_html(structures: Iterable[Structure], caption: str = "") -> Html:
    """Lay out structures as an HTML table, with small DVHs of those that have a dose."""
    rows = [structure._html_row() for structure in structures]
    longest = max(map(len, rows), default=0)
    columns = ("structure", "", "volume", "dose (Gy)", "DVH")[:longest]
    return html_table(columns, [row + ("",) * (longest - len(row)) for row in rows], caption=caption)
