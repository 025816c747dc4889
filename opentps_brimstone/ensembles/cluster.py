"""Workers of a `dask.distributed` client, on this machine or on others."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from opentps_brimstone.ensembles.pool import Answer
from opentps_brimstone.ensembles.results import EnsembleError
from opentps_brimstone.ensembles.shared_plan import OWN_OF_HOST

__all__ = ["ClusterPool", "check_client"]

_BYTES_AT_ONCE = 1 << 25


def check_client(client: Any) -> None:
    """Check that something is a client of `dask.distributed`."""
    missing = [name for name in ("submit", "scheduler_info", "scatter") if not hasattr(client, name)]
    if missing:
        raise TypeError(f"client is {type(client).__name__}; it must be a dask.distributed.Client, or None")


class ClusterPool:
    """Runs a function on tasks by a client's workers.

    Files that tasks need are sent once to every host that does not see them where they are.

    Parameters
    ----------
    client : dask.distributed.Client
        Stays open.
    """

    def __init__(self, client: Any) -> None:
        check_client(client)
        self._client = client
        self._sent: set[Path] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Remove copies of files; the client belongs to the caller, and stays open."""
        for folder in self._sent:
            self._client.run(_forget, str(folder))
        self._sent.clear()

    def run(self, function: Callable[[Any], Any], tasks: Sequence[Any]) -> Iterator[Answer]:
        """Run a function on every task; as `WorkerPool.run`."""
        from distributed import as_completed

        if not self._client.scheduler_info()["workers"]:
            raise EnsembleError("the client's cluster has no workers; start some, or wait for them")
        for folder in dict.fromkeys(task.files.folder for task in tasks if hasattr(task, "files")):
            self._send(folder)
            self._sent.add(folder)
        futures = {
            self._client.submit(
                _run_on_host, function, task, pure=False, key=f"brimstone-{os.urandom(8).hex()}"
            ): number
            for number, task in enumerate(tasks)
        }
        try:
            for future in as_completed(futures):
                error = future.exception()
                yield Answer(futures[future], future.result() if error is None else error, 1)
                future.release()
        finally:
            for future in futures:
                future.cancel()

    def _send(self, folder: Path) -> None:
        """Copy to every host the files of a folder that it does not see."""
        files = [str(path.relative_to(folder)) for path in sorted(folder.rglob("*")) if path.is_file()]
        files = [name for name in files if not name.startswith(OWN_OF_HOST)]
        missing = self._client.run(_missing, str(folder), files)
        worker_of_host = {worker.rpartition(":")[0]: worker for worker in missing}
        for worker in worker_of_host.values():
            for name in missing[worker]:
                self._send_file(folder, name, worker)

    def _send_file(self, folder: Path, name: str, worker: str) -> None:
        size = (folder / name).stat().st_size
        with (folder / name).open("rb") as file:
            for place in range(0, max(size, 1), _BYTES_AT_ONCE):
                held = self._client.scatter(file.read(_BYTES_AT_ONCE), workers=[worker], hash=False)
                piece = _Piece(str(folder), name, place, last=place + _BYTES_AT_ONCE >= size)
                self._client.submit(_write, piece, held, workers=[worker], pure=False).result()


@dataclass(frozen=True)
class _Piece:
    folder: str
    file: str
    place: int
    last: bool


def _copy_of(folder: str | Path) -> Path:
    """Where a host keeps its copy of a folder of another one."""
    user = os.getuid() if hasattr(os, "getuid") else os.environ.get("USERNAME", "")
    return Path(tempfile.gettempdir()) / f"brimstone-copies-{user}" / Path(folder).name


def _here(folder: str | Path) -> Path:
    """Folder on this host: itself if it is there, or its copy."""
    return Path(folder) if Path(folder).is_dir() else _copy_of(folder)


def _missing(folder: str, files: list[str]) -> list[str]:
    here = _here(folder)
    return [name for name in files if not (here / name).exists()]


def _write(piece: _Piece, block: bytes) -> None:
    path = _copy_of(piece.folder) / piece.file
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    with part.open("r+b" if piece.place else "wb") as file:
        file.seek(piece.place)
        file.write(block)
    if piece.last:
        part.replace(path)


def _forget(folder: str) -> None:
    shutil.rmtree(_copy_of(folder), ignore_errors=True)


def _run_on_host(function: Callable[[Any], Any], task: Any) -> Any:
    files = getattr(task, "files", None)
    if files is not None:
        task = replace(task, files=replace(files, folder=_here(files.folder)))
    return function(task)
