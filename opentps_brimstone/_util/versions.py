"""Versions of what a plan was made with."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Iterable, Iterator

__all__ = ["installed_versions"]


def installed_versions(packages: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield name and version of Python, and of those packages that are installed."""
    yield "Python", platform.python_version()
    for name in packages:
        try:
            yield name, importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
