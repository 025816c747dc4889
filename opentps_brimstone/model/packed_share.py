"""Volume shares of a structure in little memory."""

from __future__ import annotations

import weakref

import numpy as np

from opentps_brimstone._typing import AnyArray, FloatArray, IntArray

__all__ = ["PackedShare"]


class PackedShare:
    """The shares in the box around a structure, as one byte for each voxel where all are 0 or 1.

    Attributes
    ----------
    shape : tuple of int
        Of the whole grid.
    box : tuple of slice
        Of the whole grid; nothing of the structure lies outside.

    Examples
    --------
    >>> share = np.zeros((100, 100, 100))
    >>> share[40:50, 40:50, 40:50] = 1.0
    >>> packed = PackedShare(share)
    >>> packed.inside.nbytes, packed.share.nbytes
    (1000, 8000000)
    """

    def __init__(self, share: FloatArray) -> None:
        self.shape = share.shape
        self.box = tuple(_extent(share, axis) for axis in range(share.ndim))
        part = share[self.box]
        whole = part == 1.0
        self.inside: AnyArray = whole if np.array_equal(whole, part != 0.0) else part.copy()
        self._expanded: weakref.ref[FloatArray] | None = None

    @property
    def share(self) -> FloatArray:
        """All shares, not writeable; kept only as long as somebody holds them."""
        share = None if self._expanded is None else self._expanded()
        if share is None:
            share = np.zeros(self.shape)
            share[self.box] = self.inside
            share.flags.writeable = False
            self._expanded = weakref.ref(share)
        return share

    def flat(self) -> tuple[IntArray, FloatArray]:
        """Voxels with a share, as ascending flat indices of the whole grid, and their shares."""
        at = np.nonzero(self.inside)
        places = [index + part.start for index, part in zip(at, self.box, strict=True)]
        return np.ravel_multi_index(tuple(places), self.shape), self.inside[at].astype(np.float64)

    def __getstate__(self) -> dict[str, object]:
        return {**vars(self), "_expanded": None}


def _extent(share: FloatArray, axis: int) -> slice:
    others = tuple(other for other in range(share.ndim) if other != axis)
    filled = np.flatnonzero(share.any(axis=others))
    return slice(int(filled[0]), int(filled[-1]) + 1)
