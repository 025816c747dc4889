"""OpenTPS's collapsed-cone dose engine (CCC) as a program: finding it, running it, reading its output.

The engine reads text files that list other files, and writes the sparse doses of a list of beamlets. It gets small
batches of beamlets in a private folder, a given number of processes at a time, and all its output is checked.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import math
import os
import platform
import shutil
import signal
import subprocess
import tempfile
import time
from collections import deque
from collections.abc import Callable, Generator, Mapping, Sequence
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
import numpy.typing as npt

from opentps_brimstone._util.interrupts import interrupt_held_back, short_lived_folder
from opentps_brimstone.engine import kernel_tables
from opentps_brimstone.engine.cache import cache_root
from opentps_brimstone.engine.errors import DoseCanceledError, EngineError

__all__ = [
    "ENGINE_VARIABLE",
    "BeamletDose",
    "Workspace",
    "copy_kernels",
    "engine_file",
    "executable_engine",
    "kernel_folder",
    "try_start",
]

ENGINE_VARIABLE = "OPENTPS_BRIMSTONE_ENGINE"

_KERNEL_TABLES = (
    "radii",
    "angles",
    "energies",
    "fluence",
    "mu",
    "mu_en",
    "primary",
    "first_scatter",
    "second_scatter",
    "multiple_scatter",
    "brem_annih",
    "total",
)
# What the engine asks for, by the names it asks with. The header says how many radii, angles and energies there are; it
# is written here, because the wheel of OpenTPS 3.0.1 lacks it.
_KERNEL_HEADER = "kernel_header.txt"
_TABLE_FILES = {f"kernel_{name}": f"{name}.bin" for name in _KERNEL_TABLES}
_KERNEL_FILES = {"kernel_header": _KERNEL_HEADER} | _TABLE_FILES
_GEOMETRY_FILES = {"geometry_header": "geometry/CT_HeaderFile.txt", "geometry_density": "geometry/CT.bin"}

_LARGEST_BATCH = 16  # beamlets; starting a process costs less than a tenth of one beamlet
_BATCHES_PER_PROCESS = 8  # at least, so that all processes end at about the same time
_POLL_S = 0.005
_TERMINATION_S = 2.0
_LAST_LINES = 10
_INFINITY_BITS = int(np.float32(np.inf).view(np.uint32))


# ------------------------------------------------------------------------------------------------ finding the program


def kernel_folder() -> Path:
    """Return the folder of the energy deposition kernels that OpenTPS uses.

    Raises
    ------
    EngineError
        If one is missing.
    """
    folder = kernel_tables.kernel_folder()
    missing = [name for name in _TABLE_FILES.values() if not (folder / name).is_file()]
    if missing:
        raise EngineError(
            f"the dose engine's kernels {', '.join(missing)} are missing in {folder}: reinstall opentps-core"
        )
    return folder


def copy_kernels(folder: Path) -> None:
    """Copy the kernels that OpenTPS uses into a new folder, with the header that the engine reads first.

    Raises
    ------
    EngineError
        If one is missing.
    """
    source = kernel_folder()
    folder.mkdir()
    for name in _TABLE_FILES.values():
        shutil.copyfile(source / name, folder / name)
    counts = [
        (folder / f"{name}.bin").stat().st_size // np.dtype(np.float32).itemsize for name in kernel_tables.KERNEL_AXES
    ]
    text = f"Nradii Nangles Nenergies\r\n{' '.join(map(str, counts))}\r\n"  # byte for byte that of OpenTPS 2
    (folder / _KERNEL_HEADER).write_bytes(text.encode("ascii"))


def engine_file() -> Path:
    """Return the engine to use: the one named in ``$OPENTPS_BRIMSTONE_ENGINE``, or OpenTPS's own.

    OpenTPS's own need not be executable.

    Raises
    ------
    EngineError
        If it is missing, or named and not executable.
    """
    named = os.environ.get(ENGINE_VARIABLE)
    if not named:
        packaged = kernel_tables.photon_folder() / "CCC_DoseEngine" / "CCC_DoseEngine"
        if not packaged.is_file():
            raise EngineError(
                f"the dose engine {packaged} is missing: reinstall opentps-core, or name one in {ENGINE_VARIABLE}"
            )
        return packaged
    path = Path(named).expanduser().absolute()
    if not path.is_file():
        raise EngineError(
            f"{ENGINE_VARIABLE} names the dose engine {path}, which is missing or not a file: "
            "name an executable, or unset it"
        )
    if not os.access(path, os.X_OK):
        raise EngineError(f"the dose engine {path} named by {ENGINE_VARIABLE} is not executable: chmod +x it")
    return path


def executable_engine(source: Path, private_folder: Path) -> Path:
    """Return the engine if it may be executed, else a copy that may.

    The engine in the wheel lacks the permission, and its folder is often read-only. The copy is made once in the user's
    cache, or in the private folder if that fails.

    Raises
    ------
    EngineError
        If programs may run in neither place.
    """
    if os.access(source, os.X_OK):
        return source
    content = source.read_bytes()
    lasting = cache_root() / "engine" / f"{source.name}-{hashlib.sha256(content).hexdigest()[:16]}"
    for target in (lasting, private_folder / source.name):
        with contextlib.suppress(OSError):
            if not (os.access(target, os.X_OK) and target.read_bytes() == content):
                _install(content, target)
            if os.access(target, os.X_OK):  # not so on file systems mounted noexec
                return target
    raise EngineError(
        f"the dose engine {source} is not executable, and no copy of it may be executed in {lasting.parent} or "
        f"{private_folder}: chmod +x it, or move the cache or TMPDIR to where programs may run"
    )


def _install(content: bytes, target: Path) -> None:
    """Write an executable file such that no process ever sees half of it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f"{target.name}-", dir=target.parent)
    unfinished = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        unfinished.chmod(0o755)
        unfinished.replace(target)
    finally:
        unfinished.unlink(missing_ok=True)


# --------------------------------------------------------------------------------------------- starting and ending it


def _start(command: list[str], folder: Path, log: IO[bytes]) -> subprocess.Popen[bytes]:
    """Start an engine process in a session of its own, so that Ctrl-C on the terminal is ours to handle."""
    try:
        return subprocess.Popen(
            command, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
    except OSError as error:
        raise EngineError(_why_not_started(command[0], error)) from error


def _why_not_started(executable: str, error: OSError) -> str:
    if error.errno == errno.ENOEXEC:
        return (
            f"the dose engine {executable} is not a program for this machine ({platform.system()} "
            f"{platform.machine()}): build it with 'make' from the sources beside OpenTPS's engine, without the .o "
            f"files there, and name it in {ENGINE_VARIABLE}"
        )
    if error.errno == errno.ENOMEM:
        return f"there is no memory left to start the dose engine {executable}: use fewer processes or a coarser grid"
    return f"the dose engine {executable} cannot be started: {error.strerror}"


def try_start(executable: Path) -> None:
    """Start the engine without input, to which it replies with an error about its arguments.

    Raises
    ------
    EngineError
        If it cannot run on this machine.
    """
    with short_lived_folder("opentps-brimstone-") as folder, tempfile.TemporaryFile() as log:
        with interrupt_held_back():
            process = _start([str(executable)], folder, log)
        try:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=10)
        finally:
            runs = process.poll() is None
            _stop([process])
        log.seek(0)
        if not runs and process.returncode not in (0, 1):
            raise EngineError(_ending(executable, process.returncode, log.read().decode(errors="replace")))


def _ending(executable: Path, status: int, output: str) -> str:
    if status >= 0:
        return f"the dose engine {executable} ended with exit status {status}{_last_lines(output)}"
    name = signal.Signals(-status).name if -status in set(signal.Signals) else f"signal {-status}"
    hint = ""
    if -status == signal.SIGKILL:
        hint = " (the system does so when memory runs out: use fewer processes or a coarser grid)"
    return f"the dose engine {executable} was killed by {name}{hint}{_last_lines(output)}"


def _last_lines(output: str) -> str:
    lines = [line for line in output.splitlines() if line.strip()][-_LAST_LINES:]
    if not lines:
        return "; it printed nothing"
    return "; its last lines:\n" + "\n".join(f"    {line}" for line in lines)


def _stop(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """End processes and wait for them, even if interrupted while waiting."""
    try:
        for process in processes:
            process.terminate()
        deadline = time.monotonic() + _TERMINATION_S
        for process in processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=max(0.0, deadline - time.monotonic()))
    finally:
        for process in processes:
            if process.poll() is None:
                process.kill()
        for process in processes:
            process.wait()


# ------------------------------------------------------------------------------------------------- a calculation


class BeamletDose(NamedTuple):
    """Sparse dose of one beamlet.

    Attributes
    ----------
    indices : ndarray of int32
        Voxels in the engine's order: C order of the image with axes (z, x, y); rising.
    values : ndarray of float32
        Gy per MU and fraction.
    """

    indices: npt.NDArray[np.int32]
    values: npt.NDArray[np.float32]


class Workspace:
    """Private folder of one calculation, with all input and output of the engine.

    Paths given to the engine are relative to it: the engine copies paths into buffers of 200 characters without
    checking, and cuts them at spaces.

    Parameters
    ----------
    folder : Path
        Empty.

    Raises
    ------
    EngineError
        If engine or kernels are missing, or the engine may not be executed.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.geometry_folder = folder / "geometry"
        self.geometry_folder.mkdir()
        self._source = engine_file()
        self.executable = executable_engine(self._source, folder)
        copy_kernels(folder / "kernels")
        _write_list(folder / "kernels.txt", {key: f"kernels/{name}" for key, name in _KERNEL_FILES.items()})
        _write_list(folder / "geometry.txt", _GEOMETRY_FILES)

    def fingerprint(self) -> bytes:
        """Digest everything else that a beamlet's dose depends on: density grid, kernels and engine.

        The CT must have been written to ``geometry_folder``.

        Returns
        -------
        bytes
            Independent of the origin of the CT's coordinates, but not of the isocenter's place in the CT.
        """
        header, density = (self.folder / name for name in _GEOMETRY_FILES.values())
        kernels = [self.folder / "kernels" / name for name in _KERNEL_FILES.values()]
        digests = [hashlib.sha256(b"\n".join(header.read_bytes().splitlines()[:6])).digest()]
        for path in (density, *kernels, self._source):
            with path.open("rb") as file:
                digests.append(hashlib.file_digest(file, "sha256").digest())
        return b"".join(digests)

    def doses(
        self, specifications: Sequence[str], grid_shape: tuple[int, ...], processes: int, report: Callable[[int], bool]
    ) -> Generator[BeamletDose, None, None]:
        """Compute beamlets and yield their doses in order.

        Parameters
        ----------
        specifications : sequence of str
            One beamlet each in the engine's format, numbered from 0.
        grid_shape : tuple of int
            Voxels (nx, ny, nz) of the CT that was written to ``geometry_folder``.
        processes : int
            Engine processes at a time.
        report : callable
            Called with the number of beamlets computed so far, whenever there are more; False stops the calculation.

        Raises
        ------
        EngineError
            If the engine fails. All processes are then ended, as when this generator is closed.
        """
        total = len(specifications)
        size = max(1, min(_LARGEST_BATCH, math.ceil(total / (_BATCHES_PER_PROCESS * processes))))
        nx, ny, nz = grid_shape
        batches = [
            _Batch(self, first, specifications[first : first + size], (ny, nx, nz)) for first in range(0, total, size)
        ]
        yield from _run(batches, processes, report)


def _write_list(path: Path, entries: Mapping[str, str]) -> None:
    path.write_text("".join(f"{key}\n{value}\n" for key, value in entries.items()), encoding="ascii")


class _Batch:
    """Beamlets that one engine process computes."""

    def __init__(
        self, workspace: Workspace, first: int, specifications: Sequence[str], engine_shape: tuple[int, int, int]
    ) -> None:
        self._folder = workspace.folder
        self._executable = workspace.executable
        self._names = [f"beams{first}.txt", f"dose{first}.bin", f"log{first}.txt"]
        self._first = first
        self._specifications = specifications
        self._engine_shape = engine_shape

    def __len__(self) -> int:
        return len(self._specifications)

    def start(self) -> subprocess.Popen[bytes]:
        beams, dose, log = self._names
        text = f"beamnum:\n{len(self)}\n \n" + "".join(self._specifications)
        (self._folder / beams).write_text(text, encoding="ascii")
        command = [str(self._executable), "kernels.txt", "geometry.txt", beams, dose]
        with (self._folder / log).open("wb") as output:
            return _start(command, self._folder, output)

    def result(self, status: int) -> list[BeamletDose]:
        """Return what an ended process computed; its files are then removed."""
        beams, dose, log = (self._folder / name for name in self._names)
        output = log.read_text(encoding="utf-8", errors="replace")
        # The engine ends with 1 when all is well and with 0 when it is not, so its output must tell.
        if status not in (0, 1):
            raise EngineError(_ending(self._executable, status, output))
        if "Error in the calculation" in output:
            raise EngineError(f"the dose engine {self._executable} failed at a beamlet{_last_lines(output)}")
        try:
            doses = _read_doses(dose, range(self._first, self._first + len(self)), self._engine_shape)
        except ValueError as error:
            raise EngineError(
                f"the dose engine {self._executable} (exit status {status}) {error}; it does so when it fails, or when "
                f"the disk of {self._folder.parent} is full{_last_lines(output)}"
            ) from None
        for path in (beams, dose, log):
            path.unlink()
        return doses


def _run(
    batches: Sequence[_Batch], processes: int, report: Callable[[int], bool]
) -> Generator[BeamletDose, None, None]:
    """Compute batches, ``processes`` at a time, and yield their beamlets in order."""
    waiting = deque(enumerate(batches))
    running: dict[int, subprocess.Popen[bytes]] = {}
    finished: dict[int, list[BeamletDose]] = {}
    done = 0
    try:
        for wanted in range(len(batches)):
            while wanted not in finished:
                while waiting and len(running) < processes:
                    with interrupt_held_back():
                        number, batch = waiting.popleft()
                        running[number] = batch.start()
                for number in [number for number, process in running.items() if process.poll() is not None]:
                    finished[number] = batches[number].result(running[number].returncode)
                    del running[number]
                    done += len(batches[number])
                    if not report(done):
                        raise DoseCanceledError("the dose calculation was stopped")
                if len(running) == processes or not waiting:
                    time.sleep(_POLL_S)
            yield from finished.pop(wanted)
    finally:
        _stop(list(running.values()))


# ------------------------------------------------------------------------------------------------- its output


def _read_doses(path: Path, numbers: range, engine_shape: tuple[int, int, int]) -> list[BeamletDose]:
    """Read an output file: the count of beamlets, then for each its number, grid, entries, indices and values.

    Raises ValueError with the predicate of a sentence about the engine.
    """
    if not path.is_file():
        raise ValueError("wrote no output")
    length = path.stat().st_size
    words = np.fromfile(path, dtype=np.int32)
    if words.size == 0 or words[0] != len(numbers):
        announced = words[0] if words.size else "nothing"
        raise ValueError(f"announced {announced} where {len(numbers)} beamlets were asked for")
    doses: list[BeamletDose] = []
    position = 1
    for number in numbers:
        entries = _entries(words[position : position + 5], number, engine_shape)
        body = words[position + 5 : position + 5 + 2 * entries]
        if entries < 0 or body.size < 2 * entries:
            raise ValueError(f"wrote truncated output: {len(doses)} of {len(numbers)} beamlets are complete")
        doses.append(BeamletDose(body[:entries], body[entries:].view(np.float32)))
        _check_dose(number, doses[-1], engine_shape)
        position += 5 + 2 * entries
    if position * 4 != length:
        raise ValueError(f"wrote more than the {len(numbers)} beamlets asked for")
    return doses


def _entries(head: npt.NDArray[np.int32], number: int, engine_shape: tuple[int, int, int]) -> int:
    """Return how many voxels a beamlet has; -1 if its header is cut off."""
    if head.size < 5:
        return -1
    if tuple(head[:4]) != (number, *engine_shape) or not 0 <= head[4] <= math.prod(engine_shape):
        raise ValueError(f"wrote {head.tolist()} where beamlet {number} on a grid of {engine_shape} was due")
    return int(head[4])


def _check_dose(number: int, dose: BeamletDose, engine_shape: tuple[int, int, int]) -> None:
    indices, values = dose
    if not indices.size:
        return
    if indices[0] < 0 or indices[-1] >= math.prod(engine_shape) or np.count_nonzero(indices[1:] <= indices[:-1]):
        raise ValueError(f"wrote voxels of beamlet {number} out of order or outside a grid of {engine_shape}")
    # As whole numbers, all negative values, NaN and infinity are at least as high as infinity.
    if np.maximum.reduce(values.view(np.uint32)) < _INFINITY_BITS:
        return
    if not (values.min() >= 0 and values.max() < np.inf):
        raise ValueError(f"wrote a dose of beamlet {number} that is negative or not finite")
