"""Arguments that are one of a few words."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["checked_choice"]


def checked_choice(name: str, value: str, allowed: Sequence[str]) -> str:
    """Return a value that is one of those allowed; any other is a ValueError.

    Examples
    --------
    >>> checked_choice("plane", "oblique", ("axial", "coronal", "sagittal"))
    Traceback (most recent call last):
    ValueError: plane must be one of 'axial', 'coronal', 'sagittal', got 'oblique'
    """
    if value not in allowed:
        words = " or ".join(map(repr, allowed)) if len(allowed) == 2 else "one of " + ", ".join(map(repr, allowed))
        raise ValueError(f"{name} must be {words}, got {value!r}")
    return value
