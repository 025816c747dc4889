"""A CT with its structures."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from opentps_brimstone._typing import BoolArray, FloatArray
from opentps_brimstone.model.grid import OnGrid, grid_with_spacing, mean_on_grid, same_grid
from opentps_brimstone.model.influence import VoxelGrid
from opentps_brimstone.model.patient_position import HEAD_FIRST_SUPINE, checked_patient_position
from opentps_brimstone.model.structure import Structure, StructureSet, structures_html

__all__ = ["DensityMask", "Series"]


# The default dose grid: CT voxels finer than the first are replaced by the second.
_FINE_MM = 2.5
_DOSE_GRID_MM = 3.0


class DensityMask(NamedTuple):
    """Voxels that get another density than that of the CT, with the attributes of OpenTPS's masks."""

    name: str
    imageArray: BoolArray  # noqa: N815


class Series(OnGrid):
    """A CT of a patient, with structures.

    Parameters
    ----------
    ct_hu : array_like, shape (nx, ny, nz)
        HU; copied. x runs to the patient's left, y to the back, z to the head.
    spacing_mm : (float, float, float)
        Distance of neighboring voxels along x, y and z.
    origin_mm : (float, float, float)
        Center of voxel [0, 0, 0] in DICOM's patient coordinates.
    structures : iterable of Structure
        Made from outlines, or from masks on the CT's grid or on a grid of their own.
    name : str
        A label.
    patient_position : str
        How the patient lies: HFS (head first supine), HFP, FFS, FFP, HFDL, HFDR, FFDL or FFDR. Beam angles depend on
        it, coordinates do not.

    Attributes
    ----------
    grid : VoxelGrid
        Of the CT.
    ct_hu : ndarray, shape (nx, ny, nz)
        Not writeable.
    structures : StructureSet
        Found by name or number.
    patient_position : str
        By DICOM's term.
    matter : tuple of Structure
        Structures that change densities but are not planned with, besides those in `structures`.
    dicom : dict of str to str
        Identifiers that DICOM files written for a plan share with those the series was read from: "PatientName",
        "PatientID",
        "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "StructureSetUID" as far as known.

    Raises
    ------
    ValueError
        If the CT is not a 3-D array of finite numbers, a spacing is not positive, a mask has another grid, or two
        structures have the same name.

    Examples
    --------
    >>> mask = np.zeros((10, 10, 10))
    >>> mask[4:6, 4:6, 4:6] = 1
    >>> water = np.zeros((10, 10, 10))
    >>> series = Series(water, (3.0, 3.0, 3.0), (0.0, 0.0, 0.0), [Structure("PTV", mask, is_target=True)])
    >>> series.structures["PTV"]
    Structure('PTV', 0.216 cm³, target)
    """

    def __init__(
        self,
        ct_hu: npt.ArrayLike,
        spacing_mm: tuple[float, float, float],
        origin_mm: tuple[float, float, float] = (0.0, 0.0, 0.0),
        structures: Iterable[Structure] = (),
        *,
        name: str = "CT",
        patient_position: str = HEAD_FIRST_SUPINE,
    ) -> None:
        hu = ct_hu if _is_frozen(ct_hu) else np.array(ct_hu, dtype=np.float64)
        assert isinstance(hu, np.ndarray)
        if hu.ndim != 3:
            raise ValueError(f"the CT must be a 3-D array [x, y, z], not of shape {hu.shape}")
        wrong = np.count_nonzero(~np.isfinite(hu))
        if wrong:
            raise ValueError(f"the CT has {wrong} voxels that are NaN or infinite; all must be finite HU")
        hu.flags.writeable = False
        self.ct_hu = hu
        self.grid = VoxelGrid((hu.shape[0], hu.shape[1], hu.shape[2]), spacing_mm, origin_mm)
        self.name = name
        self.patient_position = checked_patient_position(patient_position)
        self.matter: tuple[Structure, ...] = ()
        self.dicom: dict[str, str] = {}
        self.structures = structures if isinstance(structures, StructureSet) else StructureSet(structures)
        for structure in self.structures:
            if structure.grid is None:
                if structure.share.shape != self.grid.shape:
                    raise ValueError(
                        f"the mask of {structure.name!r} has the grid {structure.share.shape}; "
                        f"that of the CT is {self.grid.shape}"
                    )
                structure.grid = self.grid

    @staticmethod
    def from_dicom(
        folder: str | Path,
        *,
        series: str | None = None,
        structure_set: str | None = None,
        accept: str | Iterable[str] = (),
        patient_position: str | None = None,
        progress: bool = False,
    ) -> Series:
        """Read a CT series and its structure set.

        Parameters
        ----------
        folder : str or Path
            Searched with its subfolders; files other than CT images and RT Structure Sets are ignored.
        series : str, optional
            The CT to read if there are several: its SeriesInstanceUID, number or description. Default: the one the
            structure set refers to.
        structure_set : str, optional
            The structure set to read if several refer to the CT: its SOPInstanceUID, label or file name.
        accept : str or iterable of str
            Contradictions that do not matter, because you know better: ``"patient"``, ``"study"``, ``"series"``,
            ``"frame_of_reference"``, ``"roi_number"``. Without, what contradicts the CT is left out and named.
        patient_position : str, optional
            How the patient lies, such as ``"HFS"``, where the CT does not say it or is wrong.
        progress : bool
            Show a progress bar on standard error.

        Returns
        -------
        Series
            Images stored from left to right or from back to front are flipped. Structures of type PTV, CTV or GTV, and
            those whose name starts with one of these or ITV, are targets. Densities that the structure set gives to
            structures are theirs (`Structure.density_g_cm3`), and boluses are water.

        Raises
        ------
        FileNotFoundError
            If the folder does not exist.
        DicomError
            Naming file, tag or structure, if there is no CT, the choice is ambiguous, slices are missing, duplicated,
            of different size or orientation, oblique, not axial, or of a patient who sits.

        Warns
        -----
        UserWarning
            Naming each structure, outline, structure set or image that is left out, and why; and what is said of
            densities, boluses, couches, and HU beyond the density table.

        Examples
        --------
        >>> import tempfile
        >>> from opentps_brimstone.dicom.series_writer import write_dicom_folder
        >>> from opentps_brimstone.phantoms import make_phantom
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = write_dicom_folder(make_phantom("c-shape", 10.0), folder)
        ...     Series.from_dicom(folder).structures.keys()
        ['PTV', 'Core', 'Body']
        """
        from opentps_brimstone.dicom.series_reader import read_series

        return read_series(
            Path(folder),
            series=series,
            structure_set=structure_set,
            accept=accept,
            patient_position=patient_position,
            progress=progress,
        )

    @staticmethod
    def from_opentps(ct: Any, rois: Iterable[Any] = (), targets: Iterable[str] = ()) -> Series:
        """Convert an OpenTPS CT and its ROIs.

        Parameters
        ----------
        ct : opentps CTImage
            In HU; not changed.
        rois : iterable of opentps ROIMask or ROIContour
            Not changed.
        targets : iterable of str
            Names of the targets.

        Returns
        -------
        Series

        Raises
        ------
        TypeError, ValueError
            Naming the ROI, if it is of another type, is empty, or is not on the grid of the CT.
        """
        from opentps_brimstone.adapters.series import series_from_opentps

        return series_from_opentps(ct, rois, targets)

    def to_opentps(self) -> tuple[Any, list[Any]]:
        """Convert CT and structures to OpenTPS's data classes.

        Returns
        -------
        ct : opentps CTImage
            A copy.
        rois : list of opentps ROIContour or ROIMask
            Outlines if the structure has them, else the voxels that are at least half inside it.
        """
        from opentps_brimstone.adapters.series import rois_to_opentps, series_to_opentps

        return series_to_opentps(self), rois_to_opentps(self.structures, self.grid)

    @property
    def ct_volume(self) -> FloatArray:
        """The same as `ct_hu`."""
        return self.ct_hu

    @cached_property
    def mass_density(self) -> FloatArray:
        """Mass density in g/cm³, shape (nx, ny, nz), by the default density table; not writeable."""
        from opentps_brimstone.adapters.density_table import DEFAULT_DENSITY_TABLE

        density = DEFAULT_DENSITY_TABLE.mass_density(self.ct_hu)
        density.flags.writeable = False
        return density

    @property
    def with_density(self) -> tuple[Structure, ...]:
        """Structures with a density of their own, boluses first: where two overlap, the later one counts."""
        given = [each for each in (*self.structures, *self.matter) if each.density_g_cm3 is not None]
        return tuple(sorted(given, key=lambda each: each.kind != "BOLUS"))

    def density_overrides(self, grid: VoxelGrid | None = None) -> list[dict[str, Any]]:
        """Densities of structures, as the dose engines take them in place of those of the CT.

        Parameters
        ----------
        grid : VoxelGrid, optional
            Default: that of the CT.

        Returns
        -------
        list of {"Mask": DensityMask, "Value": float}
            For ``overrides=`` of `compute_dose` or `make_deliverable`; a plan of this series has them by itself.

        Examples
        --------
        >>> implant = Structure("Implant", np.ones((2, 2, 2)))
        >>> implant.density_g_cm3 = 4.5
        >>> series = Series(np.zeros((2, 2, 2)), (1.0, 1.0, 1.0), structures=[implant])
        >>> series.density_overrides()[0]["Value"]
        4.5
        """
        wanted = self.grid if grid is None else grid
        placed = [(each.on_grid(wanted), each.density_g_cm3) for each in self.with_density]
        return [
            {"Mask": DensityMask(each.name, each.mask), "Value": density} for each, density in placed if each.is_on_grid
        ]

    def dose_grid(self, dose_grid_mm: float | tuple[float, float, float] | None = None) -> VoxelGrid:
        """Grid for a dose on this CT.

        Parameters
        ----------
        dose_grid_mm : float or (float, float, float), optional
            Its spacing. Default: that of the CT, with 3 mm along every axis on which the CT is finer than 2.5 mm.

        Returns
        -------
        VoxelGrid
            Covers the CT.

        Raises
        ------
        ValueError
            If a spacing is not positive, or larger than the CT.

        Examples
        --------
        >>> Series(np.zeros((30, 30, 10)), (1.0, 1.0, 3.0)).dose_grid()
        VoxelGrid(shape=(10, 10, 10), spacing_mm=(3.0, 3.0, 3.0), origin_mm=(1.0, 1.0, 0.0))
        """
        if dose_grid_mm is None:
            dx, dy, dz = (step if step >= _FINE_MM else _DOSE_GRID_MM for step in self.grid.spacing_mm)
            sizes = [n * step for n, step in zip(self.grid.shape, self.grid.spacing_mm, strict=True)]
            dx, dy, dz = (min(step, size) for step, size in zip((dx, dy, dz), sizes, strict=True))
            return grid_with_spacing(self.grid, (dx, dy, dz))
        return grid_with_spacing(self.grid, dose_grid_mm)

    def on_grid(self, grid: VoxelGrid | float | tuple[float, float, float]) -> Series:
        """Resample CT and structures.

        Parameters
        ----------
        grid : VoxelGrid, float or (float, float, float)
            The grid, or its spacing in mm.

        Returns
        -------
        Series
            This one if it is on that grid already; else HU are means over the new voxels, and structures keep their
            volume.

        Raises
        ------
        ValueError
            If a spacing is not positive, or the grid extends beyond the CT by a voxel or more.

        Examples
        --------
        >>> fine = Series(np.arange(8.0).reshape(2, 2, 2), (1.0, 1.0, 1.0))
        >>> fine.on_grid(2.0).ct_hu
        array([[[3.5]]])
        """
        wanted = grid if isinstance(grid, VoxelGrid) else grid_with_spacing(self.grid, grid)
        if same_grid(wanted, self.grid):
            return self
        made = Series(
            mean_on_grid(self.ct_hu, self.grid, wanted),
            wanted.spacing_mm,
            wanted.origin_mm,
            StructureSet([structure.on_grid(wanted) for structure in self.structures], self.structures.left_out),
            name=self.name,
            patient_position=self.patient_position,
        )
        made.dicom, made.matter = dict(self.dicom), self.matter
        return made

    def __repr__(self) -> str:
        names = ", ".join(self.structures.keys()) or "none"
        return f"Series({self.grid.description}, structures: {names})"

    def _repr_html_(self) -> str:
        return structures_html(self.structures, caption=f"{self.name}, {self.grid.description}")


def _is_frozen(values: Any) -> bool:
    """Whether nobody can change an array of HU, so that it need not be copied."""
    return (
        isinstance(values, np.ndarray)
        and values.dtype == np.float64
        and values.base is None
        and not values.flags.writeable
    )
