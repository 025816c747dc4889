"""Reading what OpenTPS's dose engine wrote: this package's reader against OpenTPS's `readBeamlets`."""

from __future__ import annotations

import itertools
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from c_shape_case import CShapeCase

from opentps_brimstone import engine
from opentps_brimstone._util.silence import silent_opentps
from opentps_brimstone.engine.columns import Columns, assembled, row_of_index
from opentps_brimstone.engine.process import _LARGEST_BATCH, _read_doses


def measure_reading(case: CShapeCase, most_beamlets: int | None = None, repeats: int = 5) -> dict[str, Any]:
    """Time both readers on the engine's doses of the C-shape's beamlets, from files in memory's cache.

    The doses come from the engine or the beamlet cache and are written as the engine writes them: a count, then for
    each beamlet its number, the grid, the number of voxels, their indices and their doses; as many beamlets a file as
    one process of the engine computes.

    Parameters
    ----------
    case : CShapeCase
    most_beamlets : int, optional
        Read only the first ones.
    repeats : int
        The fastest of so many of ours counts; OpenTPS's reader runs once.

    Returns
    -------
    dict
        ``opentps_s``, ``brimstone_s``, their ``ratio``, ``equal`` (bitwise the same matrix), ``megabytes``, ``files``.
    """
    from opentps.core.io.CCCdoseEngineIO import readBeamlets, writeCT

    with silent_opentps():
        beamlets = engine.compute_beamlets(case.ct, case.photon_plan, engine="opentps", progress=False)
    matrix = beamlets.toSparseMatrix()[:, :most_beamlets].tocsc()
    in_segment = np.bincount(case.plan.dose_influence.layout.beam_index[:most_beamlets])
    nx, ny, nz = case.ct.imageArray.shape
    with tempfile.TemporaryDirectory() as name:
        geometry = Path(name) / "geometry"
        geometry.mkdir()
        writeCT(case.ct, str(geometry), case.photon_plan.beams[0].isocenterPosition_mm)
        files = _write(matrix, (nx, ny, nz), Path(name))
        megabytes = sum(path.stat().st_size for path, _ in files) / 1e6
        with silent_opentps():
            started = time.perf_counter()
            theirs = readBeamlets(str(geometry / "CT_HeaderFile.txt"), name, len(files)).toSparseMatrix()
            opentps_s = time.perf_counter() - started
        times = []
        for _ in range(repeats):
            started = time.perf_counter()
            ours = _read(files, (nx, ny, nz), in_segment)
            times.append(time.perf_counter() - started)
    return {
        "opentps_s": opentps_s,
        "brimstone_s": min(times),
        "ratio": opentps_s / min(times),
        "equal": _same(ours, theirs) and _same(ours, matrix),
        "nonzeros": int(matrix.nnz),
        "megabytes": megabytes,
        "files": len(files),
    }


def _write(matrix: Any, shape: tuple[int, int, int], folder: Path) -> list[tuple[Path, range]]:
    """Write columns as the engine does, under the names that OpenTPS reads."""
    rows = row_of_index(shape)
    index_of_row = np.empty_like(rows)
    index_of_row[rows] = np.arange(rows.size, dtype=rows.dtype)
    nx, ny, nz = shape
    files = []
    for first in range(0, matrix.shape[1], _LARGEST_BATCH):
        numbers = range(first, min(first + _LARGEST_BATCH, matrix.shape[1]))
        words = [np.array([len(numbers)], dtype=np.int32)]
        for number in numbers:
            entries = slice(matrix.indptr[number], matrix.indptr[number + 1])
            index, value = index_of_row[matrix.indices[entries]], matrix.data[entries]
            order = np.argsort(index)
            words.append(np.array([number, ny, nx, nz, index.size], dtype=np.int32))
            words += [index[order].astype(np.int32), value[order].view(np.int32)]
        path = folder / f"sparseBeamletMatrix_batch{len(files)}.bin"
        np.concatenate(words).tofile(path)
        files.append((path, numbers))
    return files


def _read(files: list[tuple[Path, range]], shape: tuple[int, int, int], in_segment: np.ndarray) -> Any:
    """Read as `compute_beamlets` does, segment by segment, checks included."""
    nx, ny, nz = shape
    doses = (dose for path, numbers in files for dose in _read_doses(path, numbers, (ny, nx, nz)))
    rows = row_of_index(shape)
    segments = [Columns.from_doses(list(itertools.islice(doses, count)), rows) for count in in_segment]
    return assembled(segments, nx * ny * nz)


def _same(first: Any, second: Any) -> bool:
    second = second.tocsc()
    second.sort_indices()
    return (
        first.shape == second.shape
        and np.array_equal(first.indptr, second.indptr)
        and np.array_equal(first.indices, second.indices)
        and np.array_equal(first.data, second.data)
    )
