"""How much memory a process may still take."""

from __future__ import annotations

import contextlib
from pathlib import Path

__all__ = ["available_bytes", "in_units"]

_MEMORY_INFO = Path("/proc/meminfo")
_CONTROL_GROUP = Path("/sys/fs/cgroup")


def available_bytes() -> int | None:
    """Memory that can be taken without swapping, or up to the limit of the container.

    Returns
    -------
    int or None
        None where the system does not say.
    """
    known = [size for size in (_of_system(), _of_container()) if size is not None]
    return min(known, default=None)


def _of_system() -> int | None:
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in _MEMORY_INFO.read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return None


def _of_container() -> int | None:
    with contextlib.suppress(OSError, ValueError):  # the limit is "max" where there is none
        limit, used = (int((_CONTROL_GROUP / name).read_text()) for name in ("memory.max", "memory.current"))
        lines = (_CONTROL_GROUP / "memory.stat").read_text().splitlines()
        reclaimable = sum(int(line.split()[1]) for line in lines if line.startswith("inactive_file "))
        return max(limit - used + reclaimable, 0)
    return None


def in_units(size: float) -> str:
    """Write a size for people.

    Parameters
    ----------
    size : float
        In bytes.

    Returns
    -------
    str

    Examples
    --------
    >>> in_units(3.5 * 2**30)
    '3.5 GiB'
    """
    for unit in ("bytes", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.3g} {unit}"
        size /= 1024
    return f"{size:.3g} GiB"
