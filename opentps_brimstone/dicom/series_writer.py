"""Writing a CT with its structures as DICOM files: one CT image for each slice, and one RT Structure Set."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from opentps_brimstone._typing import FloatArray
from opentps_brimstone.dicom.header import decimals, describe_object, new_object, reference_item, save_object

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

    from opentps_brimstone.model.influence import VoxelGrid
    from opentps_brimstone.model.structure import Structure

__all__ = ["STRUCTURE_SET_FILE", "write_dicom_folder"]


STRUCTURE_SET_FILE = "RS.dcm"
"""Name of the RT Structure Set in a folder; the slices are CT0001.dcm and so on, from feet to head."""

_CT_CLASS = "1.2.840.10008.5.1.4.1.1.2"
_STRUCTURE_SET_CLASS = "1.2.840.10008.5.1.4.1.1.481.3"
_STUDY_CLASS = "1.2.840.10008.3.1.2.3.1"
# A slice has outlines if a structure fills some voxel of it to this share.
_INSIDE = 0.5
_FEWEST_POINTS = 3
# Halvings of the interval in which the share of the outlines is searched.
_HALVINGS = 12
_COLORS = ((227, 26, 28), (31, 120, 180), (51, 160, 44), (255, 127, 0), (106, 61, 154), (177, 89, 40))


class ImagedCase(Protocol):
    """A case that can be written: a Phantom or a Series."""

    @property
    def name(self) -> str:
        """Name for people."""

    @property
    def ct_hu(self) -> FloatArray:
        """HU, [x, y, z]."""

    @property
    def grid(self) -> VoxelGrid:
        """Of the CT."""

    @property
    def structures(self) -> Iterable[Structure]:
        """On the grid of the CT."""


def write_dicom_folder(case: ImagedCase, folder: Path | str, *, patient_id: str | None = None) -> list[Path]:
    """Write CT images and structures.

    Outlines are lines of equal volume share, interpolated between voxels, on every slice of which a structure fills a
    voxel to half; the share is chosen so that they enclose the area of the voxels. Structures on another grid are
    resampled to that of the CT.

    Parameters
    ----------
    case : Phantom or Series
        Patient lying head first supine.
    folder : Path or str
        Created if it does not exist; files of the same names are replaced.
    patient_id : str, optional
        Patient's name and number; the name of the case by default.

    Returns
    -------
    list of Path
        The slices, from feet to head, and the structure set.

    Raises
    ------
    ValueError
        If the CT is not finite or has HU beyond 16 bits, or a structure does not fill any voxel to half. Nothing is
        written.
    OSError
        If the folder cannot be written.
    """
    hu = np.asarray(case.ct_hu, dtype=np.float64)
    if hu.shape != case.grid.shape:
        raise ValueError(f"the CT has the grid {hu.shape}; it should be {case.grid.shape}")
    limits = np.iinfo(np.int16)
    if not (np.isfinite(hu).all() and hu.min() >= limits.min and hu.max() <= limits.max):
        raise ValueError(f"the CT goes from {hu.min()} to {hu.max()} HU; CT images hold {limits.min} to {limits.max}")
    outlines = {structure.name: structure_outlines(structure, case.grid) for structure in case.structures}
    patient = dict.fromkeys(("PatientName", "PatientID"), patient_id or case.name)
    slices = _ct_slices(hu, case.grid, case.name, patient)
    structure_set = _structure_set(case, outlines, slices)

    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    paths = [target / f"CT{i + 1:04d}.dcm" for i in range(len(slices))]
    for path, image in zip(paths, slices, strict=True):
        save_object(image, path)
    save_object(structure_set, target / STRUCTURE_SET_FILE)
    return [*paths, target / STRUCTURE_SET_FILE]


def structure_outlines(structure: Structure, grid: VoxelGrid) -> list[tuple[int, FloatArray]]:
    """Compute a structure's outlines on the slices of a grid: the slice, and vertices x, y in mm of one closed line.

    The first vertex is not repeated. An outline inside another is a hole. A structure that does not fill any voxel to
    half is a ValueError.
    """
    share = structure.share if structure.grid is None else structure.on_grid(grid).share
    if not (share >= _INSIDE).any():
        raise ValueError(f"structure {structure.name!r} fills no voxel to half; there is nothing to outline")
    (nx, ny, nz), spacing, origin = grid.shape, grid.spacing_mm, grid.origin_mm
    # A rim of empty voxels closes outlines at the edge of the grid.
    x = origin[0] + spacing[0] * np.arange(-1, nx + 1, dtype=np.float64)
    y = origin[1] + spacing[1] * np.arange(-1, ny + 1, dtype=np.float64)
    found = []
    for k in range(nz):
        plane = np.pad(share[:, :, k].T, 1)
        if plane.max() >= _INSIDE:
            # A slice that is partly beyond the end of the structure shows its full cross-section.
            found += [(k, line) for line in _lines_around(x, y, plane / plane.max())]
    return found


def _lines_around(x: FloatArray, y: FloatArray, plane: FloatArray) -> list[FloatArray]:
    """Find the lines of equal share in a plane [y, x] that enclose the area of the shares."""
    from contourpy import contour_generator

    generator = contour_generator(x, y, plane, line_type="Separate")

    def lines_at(level: float) -> list[FloatArray]:
        return [np.asarray(line, dtype=np.float64) for line in generator.lines(level)]

    wanted = plane.sum() * (x[1] - x[0]) * (y[1] - y[0])
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        level = (low + high) / 2
        enclosed = sum(_enclosed(line) for line in lines_at(level))
        low, high = (level, high) if enclosed > wanted else (low, level)
    # The last vertex of a closed line repeats the first.
    return [line[:-1] for line in lines_at((low + high) / 2) if len(line) > _FEWEST_POINTS]


def _enclosed(line: FloatArray) -> float:
    """Compute the area inside a closed line, negative for a hole."""
    x, y = line.T
    return float(np.sum(x[:-1] * y[1:] - x[1:] * y[:-1]) / 2)


# ----------------------------------------------------------------------------------------------------------------- CT


def _ct_slices(hu: FloatArray, grid: VoxelGrid, description: str, patient: dict[str, str]) -> list[Dataset]:
    from pydicom.uid import generate_uid

    series = generate_uid()
    slices: list[Dataset] = []
    for k in range(grid.shape[2]):
        image = new_object(_CT_CLASS)
        describe_object(image, "CT", description, slices[:1], {} if slices else patient, None)
        image.SeriesInstanceUID = series
        image.InstanceNumber = k + 1
        image.ImageType = ["DERIVED", "SECONDARY", "AXIAL"]
        image.PatientPosition = "HFS"
        image.KVP = image.AcquisitionNumber = None
        _place(image, grid, k)
        _store(image, hu[:, :, k])
        slices.append(image)
    return slices


def _place(image: Dataset, grid: VoxelGrid, k: int) -> None:
    dx, dy, dz = grid.spacing_mm
    x, y, z = grid.origin_mm
    image.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    image.ImagePositionPatient = decimals([x, y, z + k * dz])
    image.SliceLocation = decimals([z + k * dz])[0]
    image.SliceThickness = decimals([dz])[0]
    image.PixelSpacing = decimals([dy, dx])


def _store(image: Dataset, hu: FloatArray) -> None:
    image.Columns, image.Rows = hu.shape
    image.SamplesPerPixel = 1
    image.PhotometricInterpretation = "MONOCHROME2"
    image.BitsAllocated = image.BitsStored = 16
    image.HighBit = 15
    image.PixelRepresentation = 1
    image.RescaleSlope, image.RescaleIntercept, image.RescaleType = 1, 0, "HU"
    image.add_new("PixelData", "OW", np.rint(hu).astype("<i2").T.tobytes())


# ------------------------------------------------------------------------------------------------------- structure set


def _structure_set(
    case: ImagedCase, outlines: dict[str, list[tuple[int, FloatArray]]], slices: Sequence[Dataset]
) -> Dataset:
    dataset = new_object(_STRUCTURE_SET_CLASS)
    describe_object(dataset, "RTSTRUCT", case.name, slices[:1], {}, None)
    dataset.StructureSetLabel = case.name[:16]
    dataset.StructureSetDate = dataset.InstanceCreationDate
    dataset.StructureSetTime = dataset.InstanceCreationTime
    dataset.ReferencedFrameOfReferenceSequence = [_frame(slices)]
    dataset.StructureSetROISequence = []
    dataset.ROIContourSequence = []
    dataset.RTROIObservationsSequence = []
    for number, structure in enumerate(case.structures, start=1):
        color = _COLORS[(number - 1) % len(_COLORS)]
        lines = outlines[structure.name]
        dataset.StructureSetROISequence.append(_roi(number, structure.name, dataset.FrameOfReferenceUID))
        dataset.ROIContourSequence.append(_contours(number, color, lines, case.grid, slices))
        dataset.RTROIObservationsSequence.append(_observation(number, structure.is_target))
    return dataset


def _frame(slices: Sequence[Dataset]) -> Dataset:
    from pydicom.dataset import Dataset

    series, study, frame = Dataset(), reference_item(_STUDY_CLASS, slices[0].StudyInstanceUID), Dataset()
    series.SeriesInstanceUID = slices[0].SeriesInstanceUID
    series.ContourImageSequence = [reference_item(_CT_CLASS, image.SOPInstanceUID) for image in slices]
    study.RTReferencedSeriesSequence = [series]
    frame.FrameOfReferenceUID = slices[0].FrameOfReferenceUID
    frame.RTReferencedStudySequence = [study]
    return frame


def _roi(number: int, name: str, frame_of_reference_uid: str) -> Dataset:
    from pydicom.dataset import Dataset

    item = Dataset()
    item.ROINumber = number
    item.ReferencedFrameOfReferenceUID = frame_of_reference_uid
    item.ROIName = name
    item.ROIGenerationAlgorithm = "AUTOMATIC"
    return item


def _contours(
    number: int,
    color: tuple[int, int, int],
    lines: Sequence[tuple[int, FloatArray]],
    grid: VoxelGrid,
    slices: Sequence[Dataset],
) -> Dataset:
    from pydicom.dataset import Dataset

    roi = Dataset()
    roi.ROIDisplayColor = list(color)
    roi.ReferencedROINumber = number
    roi.ContourSequence = []
    for k, vertices in lines:
        item = Dataset()
        item.ContourImageSequence = [reference_item(_CT_CLASS, slices[k].SOPInstanceUID)]
        item.ContourGeometricType = "CLOSED_PLANAR"
        item.NumberOfContourPoints = len(vertices)
        z = grid.origin_mm[2] + k * grid.spacing_mm[2]
        points = np.column_stack([vertices, np.full(len(vertices), z)])
        item.ContourData = decimals(points.round(4).ravel().tolist())
        roi.ContourSequence.append(item)
    return roi


def _observation(number: int, is_target: bool) -> Dataset:
    from pydicom.dataset import Dataset

    item = Dataset()
    item.ObservationNumber = number
    item.ReferencedROINumber = number
    item.RTROIInterpretedType = "PTV" if is_target else "ORGAN"
    item.ROIInterpreter = ""
    return item
