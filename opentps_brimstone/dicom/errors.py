"""The error of reading and writing DICOM files."""

from __future__ import annotations

from opentps_brimstone._util.errors import BrimstoneError

__all__ = ["DicomError"]


class DicomError(BrimstoneError, ValueError):
    """A DICOM file cannot be used; the message names file, tag or structure, its value and what is allowed.

    Examples
    --------
    >>> raise DicomError("ct.dcm: PixelSpacing (0028,0030) is missing")
    Traceback (most recent call last):
    opentps_brimstone.dicom.errors.DicomError: ct.dcm: PixelSpacing (0028,0030) is missing
    """
