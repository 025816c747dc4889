"""Base of the package's errors."""

from __future__ import annotations

__all__ = ["BrimstoneError"]


class BrimstoneError(Exception):
    """Base class of the package's own errors.

    Every one of them also derives from the builtin class it is a case of, `ValueError` or `RuntimeError`. Arguments
    that are wrong by themselves raise plain `TypeError` and `ValueError`.

    Examples
    --------
    >>> import opentps_brimstone as pb
    >>> issubclass(pb.CheckpointError, pb.BrimstoneError), issubclass(pb.CheckpointError, ValueError)
    (True, True)
    """
