"""Worker processes on this machine. A worker that is killed loses its task alone, which another one gets."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING, Any, Self

from tqdm import tqdm

from opentps_brimstone.ensembles.results import EnsembleError

if TYPE_CHECKING:
    from multiprocessing.context import SpawnProcess

__all__ = ["Answer", "WorkerPool"]

_ATTEMPTS = 3
_END_S = 5.0


@dataclass(frozen=True)
class Answer:
    """What became of a task.

    Attributes
    ----------
    number : int
        Of the task.
    value : object
        What the function returned, or the exception in its place.
    attempts : int
        Workers that were at it.
    """

    number: int
    value: Any
    attempts: int


@dataclass
class _Worker:
    process: SpawnProcess
    connection: Connection
    ready: bool = False
    task: int | None = None


class WorkerPool:
    """Processes that run a function on tasks.

    They are started anew, not forked, so they work on every system and share nothing but the files they map. A script
    that uses them needs ``if __name__ == "__main__":``, as with `multiprocessing`.

    Parameters
    ----------
    workers : int
        Processes.
    """

    def __init__(self, workers: int) -> None:
        self._size = workers
        self._workers: list[_Worker] = []
        self._failed_starts = 0
        self._context = multiprocessing.get_context("spawn")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def processes(self) -> list[int]:
        """Process numbers of the workers that run."""
        return [worker.process.pid for worker in self._workers if worker.process.pid is not None]

    def run(self, function: Callable[[Any], Any], tasks: Sequence[Any]) -> Iterator[Answer]:
        """Run a function on every task.

        Parameters
        ----------
        function : callable
            Importable by its name.
        tasks : sequence
            Its arguments; each is pickled.

        Yields
        ------
        Answer
            As they end.

        Raises
        ------
        EnsembleError
            If a process ends before it can take a task.
        """
        waiting = deque(range(len(tasks)))
        attempts = [0] * len(tasks)
        while waiting or any(worker.task is not None for worker in self._workers):
            self._fill_up(len(waiting))
            for worker in [each for each in self._workers if each.ready and each.task is None]:
                if waiting:
                    number = waiting.popleft()
                    attempts[number] += 1
                    refused = self._give(worker, number, function, tasks[number])
                    if refused is not None:
                        yield Answer(number, refused, attempts[number])
            for worker in self._with_news():
                answer = self._hear(worker, attempts)
                if (
                    answer is not None
                    and isinstance(answer.value, _LostWorkerError)
                    and attempts[answer.number] < _ATTEMPTS
                ):
                    waiting.appendleft(answer.number)
                elif answer is not None:
                    yield answer

    def close(self) -> None:
        """End the processes, whatever they are at."""
        for worker in self._workers:
            worker.connection.close()  # which ends one that has no task
            if worker.task is not None:
                worker.process.terminate()
        for worker in self._workers:
            worker.process.join(_END_S)
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
        self._workers.clear()

    def _fill_up(self, waiting: int) -> None:
        busy = sum(worker.task is not None for worker in self._workers)
        while len(self._workers) < min(self._size, busy + waiting):
            ours, theirs = self._context.Pipe()
            process = self._context.Process(target=_work, args=(theirs,), daemon=True)
            process.start()
            theirs.close()  # so that the end of the process ends the connection
            self._workers.append(_Worker(process, ours))

    def _give(self, worker: _Worker, number: int, function: Callable[[Any], Any], task: Any) -> Exception | None:
        """Send a task; return the error if it cannot be sent. A worker that is gone is noticed when it is heard."""
        try:
            message = pickle.dumps((function, task), protocol=pickle.HIGHEST_PROTOCOL)
        except Exception as error:  # pickling runs the task's own code
            return error
        worker.task = number
        with contextlib.suppress(OSError):
            worker.connection.send_bytes(message)
        return None

    def _with_news(self) -> list[_Worker]:
        ready = wait([worker.connection for worker in self._workers])
        return [worker for worker in self._workers if worker.connection in ready]

    def _hear(self, worker: _Worker, attempts: list[int]) -> Answer | None:
        try:
            value = pickle.loads(worker.connection.recv_bytes())  # noqa: S301  # from our own process
        except (EOFError, OSError):
            value = self._lost(worker)
        if not worker.ready:
            worker.ready = True
            self._failed_starts *= isinstance(value, _LostWorkerError)
            return None
        number, worker.task = worker.task, None
        return None if number is None else Answer(number, value, attempts[number])

    def _lost(self, worker: _Worker) -> _LostWorkerError:
        worker.process.join(_END_S)
        worker.connection.close()
        self._workers.remove(worker)
        code = worker.process.exitcode
        how = f"signal {signal.Signals(-code).name}" if code is not None and code < 0 else f"exit code {code}"
        if not worker.ready:
            self._failed_starts += 1
            if code != -signal.SIGKILL or self._failed_starts == _ATTEMPTS:
                raise EnsembleError(
                    f"a worker process ended while it started ({how}); its messages are on standard error. A script "
                    "that starts workers must do so below: if __name__ == '__main__':"
                )
        return _LostWorkerError(f"the worker process ended ({how}), {_ATTEMPTS} times in a row")


class _LostWorkerError(EnsembleError):
    """A worker ended while it was at a task."""


def _work(connection: Connection) -> None:
    """Run tasks until the connection or the parent ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, which ends its workers
    tqdm.set_lock(threading.RLock())  # its own is a semaphore of the system, which a killed process leaves behind
    threading.Thread(target=_end_with_parent, daemon=True).start()
    connection.send_bytes(pickle.dumps(None))
    with contextlib.suppress(EOFError, OSError):
        while True:
            message = connection.recv_bytes()
            try:
                function, task = pickle.loads(message)  # noqa: S301  # from our own parent
                answer = pickle.dumps(function(task), protocol=pickle.HIGHEST_PROTOCOL)
            except Exception as error:  # it concerns this task alone
                answer = pickle.dumps(EnsembleError(f"{type(error).__name__}: {error}"))
            connection.send_bytes(answer)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
