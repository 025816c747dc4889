"""Energy deposition kernels and spectrum of a beam, read from a folder as OpenTPS has them.

A folder holds tables of 32-bit floats: ``radii.bin`` (cm) and ``angles.bin`` (degrees), upper bounds; ``energies.bin``
(MeV), ``fluence.bin``, ``mu.bin`` and ``mu_en.bin`` (cm²/g) of the spectrum; and for primary photons, first, second and
multiple scatter, and bremsstrahlung with annihilation the share of the energy that goes into each [energy, angle,
radius]. ``kernel_header.txt`` with the lengths of the axes may be there: OpenTPS 2 has it, OpenTPS 3.0.1 does not.
"""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from opentps_brimstone import _core
from opentps_brimstone._typing import FloatArray
from opentps_brimstone.engine.errors import EngineError

__all__ = [
    "KERNEL_AXES",
    "OPENTPS_KERNELS",
    "kernel_digest",
    "kernel_folder",
    "kernel_spectrum",
    "photon_folder",
    "read_kernel_tables",
]

OPENTPS_KERNELS = "Kernels_differentFluence"
"""Kernels that OpenTPS computes with; their spectrum is harder than that of ``Kernels_6MV`` beside them."""

KERNEL_AXES = ("radii", "angles", "energies")
_SPECTRUM = ("fluence", "mu", "mu_en")
_PARTS = ("primary", "first_scatter", "second_scatter", "multiple_scatter", "brem_annih")
_HEADER = "kernel_header.txt"


def photon_folder() -> Path:
    """Find the folder of OpenTPS's photon dose calculation, without importing OpenTPS.

    Raises
    ------
    EngineError
        If OpenTPS is not installed.
    """
    spec = importlib.util.find_spec("opentps.core") if importlib.util.find_spec("opentps") else None
    if spec is None or not spec.submodule_search_locations:
        raise EngineError("OpenTPS is not installed: 'pip install opentps-core' brings its dose engine and kernels")
    return Path(spec.submodule_search_locations[0]) / "processing" / "doseCalculation" / "photons"


def kernel_folder(kernels: str | Path | None = None) -> Path:
    """Find a folder of kernels.

    Parameters
    ----------
    kernels : str or Path, optional
        Name of a folder that OpenTPS brings, ``"Kernels_differentFluence"`` (default) or ``"Kernels_6MV"``, or any
        folder of the same form.

    Returns
    -------
    Path

    Raises
    ------
    EngineError
        If there is no such folder, or OpenTPS is not installed.
    """
    if kernels is not None and Path(kernels).is_dir():
        return Path(kernels)
    name = OPENTPS_KERNELS if kernels is None else str(kernels)
    folder = photon_folder() / name
    if not folder.is_dir():
        known = sorted(path.name for path in photon_folder().glob("Kernels_*"))
        raise EngineError(f"there is no folder of kernels {name!r}: name a folder, or one of OpenTPS's {known}")
    return folder


def read_kernel_tables(
    kernels: str | Path | None = None, fluence: Sequence[float] | None = None
) -> _core.dose.KernelTables:
    """Read the kernels and the spectrum of a beam.

    Parameters
    ----------
    kernels : str or Path, optional
        As for `kernel_folder`.
    fluence : sequence of float, optional
        Spectrum: fluence of each energy. Default: that in the folder.

    Returns
    -------
    _core.dose.KernelTables

    Raises
    ------
    EngineError
        If a file is missing, cannot be read or has another form, naming it, or a spectrum has not as many values as the
        kernels have energies.

    Examples
    --------
    >>> read_kernel_tables("/no/such/folder")
    Traceback (most recent call last):
        ...
    opentps_brimstone.engine.errors.EngineError: there is no folder of kernels '/no/such/folder': name a folder, ...
    """
    folder = kernel_folder(kernels)
    axes = {name: _table(folder, name) for name in KERNEL_AXES}
    _check_header(folder, [axes[name].size for name in KERNEL_AXES])
    spectrum = {name: _table(folder, name, (axes["energies"].size,)) for name in _SPECTRUM}
    if fluence is not None:
        spectrum["fluence"] = _spectrum(fluence, axes["energies"], folder)
    shape = (axes["energies"].size, axes["angles"].size, axes["radii"].size)
    kernel = np.sum([_table(folder, name, shape) for name in _PARTS], axis=0)
    try:
        return _core.dose.KernelTables(**axes, **spectrum, kernel=kernel)
    except ValueError as error:
        raise EngineError(f"the kernels in {folder} cannot be used: {error}") from None


def _spectrum(fluence: Sequence[float], energies: FloatArray, folder: Path) -> FloatArray:
    if len(fluence) != energies.size:
        raise EngineError(
            f"the spectrum has {len(fluence)} values, but the kernels in {folder} have {energies.size} energies: "
            f"{', '.join(f'{energy:g}' for energy in energies)} MeV"
        )
    return np.asarray(fluence, dtype=np.float64)


def kernel_spectrum(kernels: str | Path | None = None) -> tuple[FloatArray, FloatArray]:
    """Read the spectrum of a folder of kernels.

    Parameters
    ----------
    kernels : str or Path, optional
        As for `kernel_folder`.

    Returns
    -------
    energies, fluence : ndarray, shape (n,)
        MeV, and the fluence of each.

    Raises
    ------
    EngineError
        If a file is missing or has another form.
    """
    folder = kernel_folder(kernels)
    energies = _table(folder, "energies")
    return energies, _table(folder, "fluence", (energies.size,))


def kernel_digest(kernels: str | Path | None = None) -> str:
    """Digest the files that `read_kernel_tables` reads, in hexadecimal: the same for folders of the same content."""
    folder = kernel_folder(kernels)
    digest = hashlib.sha256()
    for name in (*KERNEL_AXES, *_SPECTRUM, *_PARTS):
        digest.update(_content(folder / f"{name}.bin"))
    return digest.hexdigest()


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise EngineError(
            f"the kernel table {path} is missing: reinstall opentps-core, or name a folder of kernels that has it"
        ) from None
    except OSError as error:
        raise EngineError(f"the kernel table {path} cannot be read: {error.strerror}") from None


def _table(folder: Path, name: str, shape: tuple[int, ...] | None = None) -> FloatArray:
    """Read a table, of one axis and any length unless a shape is given."""
    path = folder / f"{name}.bin"
    content = _content(path)
    size, rest = divmod(len(content), np.dtype("<f4").itemsize)
    if rest or size == 0 or (shape is not None and size != np.prod(shape)):
        wanted = "a whole number of 32-bit floats" if shape is None else " x ".join(map(str, shape)) + " 32-bit floats"
        raise EngineError(f"the kernel table {path} has {len(content)} bytes; it must hold {wanted}")
    values = np.frombuffer(content, "<f4").astype(np.float64)
    if not np.isfinite(values).all():
        raise EngineError(f"the kernel table {path} has values that are not finite")
    return values if shape is None else values.reshape(shape)


def _check_header(folder: Path, counts: list[int]) -> None:
    """Check that a header, if there is one, states the lengths that the tables have."""
    path = folder / _HEADER
    if not path.is_file():
        return
    try:
        stated = [int(word) for word in path.read_text(encoding="ascii").split()[len(counts) :]]
    except (OSError, ValueError):
        stated = []
    if stated != counts:
        found = ", ".join(f"{count} {name}" for count, name in zip(counts, KERNEL_AXES, strict=True))
        raise EngineError(f"the kernel header {path} states {stated}, but the tables beside it have {found}")
