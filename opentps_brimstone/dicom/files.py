"""DICOM files as systems write them: also without preamble and meta header, and with types of values left open."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from opentps_brimstone.dicom.errors import DicomError

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

__all__ = ["quiet_pydicom", "read_file", "read_known_file"]

_PREAMBLE = 128
_MAGIC = b"DICM"
# A file without preamble begins with an element of the meta header or of group 8, in either byte order.
_FIRST_TAGS = (b"\x02\x00", b"\x08\x00", b"\x00\x08")


@contextlib.contextmanager
def quiet_pydicom() -> Iterator[None]:
    """Silence pydicom's remarks on values, which are checked here where they are used."""
    logger = logging.getLogger("pydicom")
    disabled, logger.disabled = logger.disabled, True
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"pydicom(\..*)?")
            yield
    finally:
        logger.disabled = disabled


def read_file(path: Path, *, pixels: bool = True, only: Sequence[str] | None = None) -> Dataset | None:
    """Read a DICOM file.

    Parameters
    ----------
    path : Path
    pixels : bool
        Read pixel data too.
    only : sequence of str, optional
        Keywords of the elements to read; all by default.

    Returns
    -------
    Dataset or None
        None if it is not a DICOM file.

    Raises
    ------
    OSError
        If the file cannot be opened.
    DicomError
        If it is damaged.
    """
    import pydicom

    with path.open("rb") as file:
        head = file.read(_PREAMBLE + len(_MAGIC))
        bare = head[_PREAMBLE:] != _MAGIC
        if bare and not _begins_as_dataset(head):
            return None
        file.seek(0)
        try:
            dataset = pydicom.dcmread(
                file, force=True, stop_before_pixels=not pixels, specific_tags=None if only is None else list(only)
            )
            if bare and not ("SOPClassUID" in dataset or "Modality" in dataset):
                return None
            _complete_meta(dataset)
        except Exception as error:  # pydicom raises many kinds for a damaged file
            if bare:
                return None
            raise DicomError(f"{path}: this DICOM file is damaged: {error}") from error
    return dataset


def read_known_file(path: Path, *, pixels: bool = True, only: Sequence[str] | None = None) -> Dataset:
    """Read a file that must be a DICOM file; errors are those of `read_file`."""
    dataset = read_file(path, pixels=pixels, only=only)
    if dataset is None:
        raise DicomError(f"{path} is not a DICOM file")
    return dataset


def _begins_as_dataset(head: bytes) -> bool:
    """Tell whether bytes begin with a data element: a tag, then a type of value or a length."""
    if len(head) < 8 or head[:2] not in _FIRST_TAGS:
        return False
    return head[4:6].isalpha() or b"\0\0" in (head[6:8], head[4:6])


def _complete_meta(dataset: Dataset) -> None:
    """State the transfer syntax that an incomplete meta header leaves out, as pydicom found it."""
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

    if not hasattr(dataset, "file_meta"):
        dataset.file_meta = FileMetaDataset()
    if "TransferSyntaxUID" not in dataset.file_meta:
        implicit, little = dataset.original_encoding
        explicit = ExplicitVRLittleEndian if little else ExplicitVRBigEndian
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else explicit


def sequence_of_unknown_type(value: bytes) -> Sequence[Dataset]:
    """Read the items of a sequence that was written as UN: they are implicit little endian (PS3.5, 6.2.2)."""
    from pydicom.filereader import read_sequence

    for implicit in (True, False):
        found = read_sequence(io.BytesIO(value), implicit, True, len(value), "iso8859")
        if any(len(item) for item in found):
            break
    return found
