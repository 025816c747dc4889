"""What is wrong with a DICOM file."""

from __future__ import annotations

from opentps_brimstone._util.errors import BrimstoneError

__all__ = ["DicomError"]


class DicomError(BrimstoneError, ValueError):
    """A DICOM file cannot be used; the message names file, tag or structure, what it holds and what is allowed.

    Examples
    --------
    >>> raise DicomError("ct.dcm: PixelSpacing is missing")
    Traceback (most recent call last):
    opentps_brimstone.dicom.errors.DicomError: ct.dcm: PixelSpacing is missing
    """
