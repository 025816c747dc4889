"""Pixel data: decoded by pydicom and the packages it finds, or an error that says which extra brings a decoder."""

from __future__ import annotations

import numpy as np

from opentps_brimstone._typing import AnyArray
from opentps_brimstone.dicom.tags import Tags

__all__ = ["pixels_of"]

# No slice or frame of a patient has more.
_MOST_PIXELS = 2**26


def pixels_of(tags: Tags) -> AnyArray:
    """Decode stored values, shape (rows, columns) or (frames, rows, columns)."""
    if "PixelData" not in tags.dataset:
        raise tags.wrong("PixelData", "is missing")
    for keyword in ("Rows", "Columns"):
        if not tags.whole(keyword):
            raise tags.wrong(keyword, f"is {tags.text(keyword) or 'missing'}; it must be 1 or more")
    size = (tags.whole("Rows") or 0) * (tags.whole("Columns") or 0)
    if size > _MOST_PIXELS:
        raise tags.wrong("Rows", f"and Columns make {size} pixels; at most {_MOST_PIXELS} are possible")
    try:
        return np.asarray(tags.dataset.pixel_array)
    except Exception as error:  # pydicom raises many kinds for what it cannot decode
        raise tags.wrong("PixelData", _cannot(tags, error)) from error


def _cannot(tags: Tags, error: Exception) -> str:
    from pydicom.uid import UID

    syntax = UID(str(getattr(tags.dataset.file_meta, "TransferSyntaxUID", "")))
    if syntax.is_valid and not syntax.is_private and syntax.is_transfer_syntax and syntax.is_compressed:
        return (
            f"is compressed ({syntax.name}) and cannot be decoded; install opentps-brimstone[compressed], which brings "
            f"a decoder, or export the images uncompressed: {_short(error)}"
        )
    return f"cannot be read (TransferSyntaxUID {syntax or 'unknown'}): {_short(error)}"


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
