"""Cache of beamlet doses on disk, so that planning the same fields again needs no dose calculation.

An entry is a folder named by its key, with one ``.npy`` file per array and ``entry.json``, which describes the entry
and the form of each array. Entries are published by renaming a finished folder and removed by renaming them away, so
no process ever sees a partial one.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import re
import shutil
import time
import warnings
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import filelock
import numpy as np
import platformdirs

from opentps_brimstone._typing import AnyArray
from opentps_brimstone._util.interrupts import short_lived_folder

__all__ = ["BeamletCache", "CacheEntry", "cache_root"]

DEFAULT_MAX_BYTES = 20 * 2**30

_FORMAT = 1
_DESCRIPTION_FILE = "entry.json"
_LOCK_FILE = "cache.lock"
_LOCK_TIMEOUT_S = 60.0
_UNFINISHED = re.compile(r"unfinished-\w+")
_UNFINISHED_LIFETIME_S = 3600.0
_KEY = re.compile(r"[0-9a-f]{64}")
_ARRAY_NAME = re.compile(r"[a-z][a-z0-9_]*")
_DAMAGE = (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError)
_CHUNK_BYTES = 2**20


def cache_root() -> Path:
    """Folder of everything this package keeps between runs.

    Returns
    -------
    Path
        ``$OPENTPS_BRIMSTONE_CACHE`` if that is set, else the user's cache folder of this system. It need not exist.
    """
    named = os.environ.get("OPENTPS_BRIMSTONE_CACHE")
    return Path(named).expanduser() if named else Path(platformdirs.user_cache_dir("opentps-brimstone", False))


@dataclass(frozen=True)
class CacheEntry:
    """One entry of a `BeamletCache`.

    Attributes
    ----------
    key : str
        64 hexadecimal digits.
    size_bytes : int
        Total size of its files.
    last_used : datetime.datetime
        Time it was last stored or read (UTC).
    description : dict
        The description given to `BeamletCache.put`, and the time it was stored (``created``).
    """

    key: str
    size_bytes: int
    last_used: datetime.datetime
    description: dict[str, Any]


class BeamletCache:
    """Named arrays on disk under a SHA-256 key; the least recently used entries make room for new ones.

    Several processes may use one folder at once. Arrays that are read are copies. If the folder cannot be written, a
    warning is issued and the calculation goes on.

    Parameters
    ----------
    directory : path, optional
        Folder of the entries; created when first written. Default: ``beamlets`` in `cache_root`.
    max_bytes : int
        Maximum total size of the entries. Default: 20 GiB.

    Raises
    ------
    ValueError
        If ``max_bytes`` is not positive.
    """

    def __init__(self, directory: str | os.PathLike[str] | None = None, max_bytes: int = DEFAULT_MAX_BYTES) -> None:
        if max_bytes <= 0:
            raise ValueError(f"max_bytes is {max_bytes}, but the beamlet cache needs a positive size limit")
        self.directory = Path(directory).expanduser() if directory is not None else cache_root() / "beamlets"
        self.max_bytes = max_bytes
        self._warned = False

    def __repr__(self) -> str:
        return f"BeamletCache({str(self.directory)!r}, max_bytes={self.max_bytes})"

    @property
    def entries(self) -> list[CacheEntry]:
        """Entries, least recently used first."""
        found = [_describe(folder) for folder in self._folders()]
        return sorted((entry for entry in found if entry is not None), key=lambda entry: entry.last_used)

    @property
    def size_bytes(self) -> int:
        """Total size of the entries."""
        return sum(_folder_size(folder) for folder in self._folders())

    def get(self, key: str) -> dict[str, AnyArray] | None:
        """Return the arrays stored under a key.

        Parameters
        ----------
        key : str
            64 hexadecimal digits (SHA-256).

        Returns
        -------
        dict of str to ndarray, or None
            None if there is no such entry, or it cannot be read; a damaged one (truncated, altered, of another
            format) is removed.
        """
        folder = self._folder(key)
        try:
            if not folder.is_dir():
                return None
            arrays = _read(folder, key)
        except _DAMAGE:
            self._remove_damaged(folder)
            return None
        except OSError as error:
            self._warn(f"the cache entry {folder} cannot be read: {error}")
            return None
        with contextlib.suppress(OSError):  # a cache that may be read but not written
            os.utime(folder / _DESCRIPTION_FILE)
        return arrays

    def put(
        self,
        key: str,
        arrays: Mapping[str, AnyArray],
        description: Mapping[str, Any] | None = None,
    ) -> bool:
        """Store arrays under a key, removing old entries if necessary.

        Parameters
        ----------
        key : str
            64 hexadecimal digits (SHA-256) of all that the arrays depend on.
        arrays : mapping of str to ndarray
            Arrays of numbers; the names become file names (lower-case letters, digits, underscores).
        description : mapping, optional
            Information for readers of ``entry.json``; must be serializable as JSON.

        Returns
        -------
        bool
            Whether the entry is in the cache. False if the arrays alone exceed ``max_bytes``, or, with a warning, if
            the folder cannot be written.

        Raises
        ------
        ValueError
            If the key or a name is malformed or an array holds Python objects.
        """
        folder = self._folder(key)
        _check_arrays(arrays)
        if sum(array.nbytes for array in arrays.values()) > self.max_bytes:
            return False
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            with short_lived_folder("unfinished-", self.directory) as unfinished:
                _write(unfinished, key, arrays, description or {})
                with self._lock():
                    _publish(unfinished, folder)
                    self._make_room(keep=folder)
        except OSError as error:
            self._warn(f"beamlets are not kept in the cache {self.directory}: {error}")
            return False
        return True

    def remove(self, key: str) -> None:
        """Remove one entry if it exists; warn if the folder cannot be changed."""
        folder = self._folder(key)
        try:
            if folder.is_dir():
                with self._lock():
                    self._discard(folder)
        except OSError as error:
            self._warn(f"the cache entry {folder} cannot be removed: {error}")

    def clear(self) -> int:
        """Remove all entries, but nothing else in the folder.

        Returns
        -------
        int
            Bytes freed.

        Raises
        ------
        OSError
            If the folder exists and cannot be changed.
        """
        if not self.directory.is_dir():
            return 0
        freed = 0
        with self._lock():
            for folder in self._folders():
                size = _folder_size(folder)
                self._discard(folder)
                freed += size
            self._sweep()
        return freed

    def _folder(self, key: str) -> Path:
        if not _KEY.fullmatch(key):
            raise ValueError(f"cache key {key!r} is not a SHA-256 of 64 lower-case hexadecimal digits")
        return self.directory / key

    def _folders(self) -> list[Path]:
        try:
            return [path for path in self.directory.iterdir() if _KEY.fullmatch(path.name) and path.is_dir()]
        except OSError:
            return []

    @contextlib.contextmanager
    def _lock(self) -> Iterator[None]:
        with filelock.FileLock(self.directory / _LOCK_FILE, timeout=_LOCK_TIMEOUT_S):
            yield

    def _remove_damaged(self, folder: Path) -> None:
        try:
            with self._lock():
                try:  # another process may have put a good entry in its place
                    _read(folder, folder.name)
                except _DAMAGE:
                    self._discard(folder)
        except OSError as error:
            self._warn(f"the damaged cache entry {folder} cannot be removed: {error}")

    def _make_room(self, keep: Path) -> None:
        """Remove the least recently used entries until the limit holds; the lock is held."""
        self._sweep()
        folders = sorted((folder for folder in self._folders() if folder != keep), key=_last_used)
        total = _folder_size(keep) + sum(_folder_size(folder) for folder in folders)
        for folder in folders:
            if total <= self.max_bytes:
                return
            total -= _folder_size(folder)
            self._discard(folder)

    def _discard(self, folder: Path) -> None:
        """Rename an entry away, then delete its files; the lock is held."""
        with short_lived_folder("unfinished-", self.directory) as grave, contextlib.suppress(FileNotFoundError):
            folder.rename(grave / folder.name)

    def _sweep(self) -> None:
        """Remove unfinished entries of killed processes."""
        for path in self.directory.iterdir():
            if _UNFINISHED.fullmatch(path.name) and time.time() - _modified(path) >= _UNFINISHED_LIFETIME_S:
                shutil.rmtree(path, ignore_errors=True)

    def _warn(self, message: str) -> None:
        if not self._warned:
            self._warned = True
            warnings.warn(message, RuntimeWarning, stacklevel=3)


def _check_arrays(arrays: Mapping[str, AnyArray]) -> None:
    for name, array in arrays.items():
        if not _ARRAY_NAME.fullmatch(name):
            raise ValueError(f"array name {name!r} is not lower-case letters, digits and underscores")
        if array.dtype.hasobject:
            raise ValueError(f"array {name!r} holds Python objects ({array.dtype}), not numbers")


def _checksum(path: Path) -> int:
    checksum = 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            checksum = zlib.crc32(chunk, checksum)
    return checksum


def _write(folder: Path, key: str, arrays: Mapping[str, AnyArray], description: Mapping[str, Any]) -> None:
    form = {}
    for name, array in arrays.items():
        path = folder / f"{name}.npy"
        np.save(path, array, allow_pickle=False)
        form[name] = {"dtype": str(array.dtype), "shape": list(array.shape), "crc32": _checksum(path)}
    created = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    entry = {
        "format": _FORMAT,
        "key": key,
        "description": {"created": created, **description},
        "arrays": form,
    }
    (folder / _DESCRIPTION_FILE).write_text(json.dumps(entry, indent=2) + "\n", encoding="utf-8")


def _publish(unfinished: Path, folder: Path) -> None:
    """Turn a finished folder into the entry, unless another process was faster."""
    if not folder.exists():
        unfinished.rename(folder)


def _read(folder: Path, key: str) -> dict[str, AnyArray]:
    """Read an entry; any of `_DAMAGE` is raised if it is not exactly what was written."""
    entry = json.loads((folder / _DESCRIPTION_FILE).read_text(encoding="utf-8"))
    if entry["format"] != _FORMAT or entry["key"] != key:
        raise ValueError(f"{folder} is an entry of another format or key")
    return {name: _read_array(folder / f"{name}.npy", form) for name, form in entry["arrays"].items()}


def _read_array(path: Path, form: Mapping[str, Any]) -> AnyArray:
    if _checksum(path) != form["crc32"]:
        raise ValueError(f"{path} was altered")
    array: AnyArray = np.load(path, allow_pickle=False)
    return array


def _describe(folder: Path) -> CacheEntry | None:
    try:
        description = json.loads((folder / _DESCRIPTION_FILE).read_text(encoding="utf-8"))["description"]
    except _DAMAGE:
        description = {}
    if not folder.is_dir():
        return None
    last_used = datetime.datetime.fromtimestamp(_last_used(folder), datetime.UTC)
    return CacheEntry(folder.name, _folder_size(folder), last_used, dict(description))


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _last_used(folder: Path) -> float:
    return _modified(folder / _DESCRIPTION_FILE)


def _folder_size(folder: Path) -> int:
    size = 0
    with contextlib.suppress(OSError):  # another process may be removing it
        for path in folder.iterdir():
            with contextlib.suppress(OSError):
                size += path.stat().st_size
    return size
