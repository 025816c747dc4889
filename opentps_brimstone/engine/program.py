"""OpenTPS's dose engine at work on the beamlets of a plan, segment by segment, with a cache."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import itertools
import logging
from collections.abc import Generator, Iterator, Sequence
from typing import Any

from opentps_brimstone._typing import AnyArray
from opentps_brimstone._util.interrupts import short_lived_folder
from opentps_brimstone._util.progress import following
from opentps_brimstone._util.run_options import RunOptions
from opentps_brimstone._util.threads import thread_count
from opentps_brimstone.engine.cache import BeamletCache
from opentps_brimstone.engine.columns import Columns, row_of_index
from opentps_brimstone.engine.fields import Field
from opentps_brimstone.engine.process import BeamletDose, Workspace

__all__ = ["ProgramRun", "opentps_version"]

_log = logging.getLogger(__name__)

_CACHE_FORMAT = b"opentps-brimstone beamlets 1"


class ProgramRun:
    """One calculation: segments from the cache, all others from the engine."""

    def __init__(self, density: Any, isocenter_mm: AnyArray, fields: Sequence[Field], options: RunOptions) -> None:
        self._density = density
        self._isocenter_mm = isocenter_mm
        self._fields = fields
        self._cache: Any = BeamletCache() if options.cache is True else options.cache or None
        self._progress = options.progress
        self._n_processes = thread_count(options.threads)
        self._row_of_index = row_of_index(density.imageArray.shape)

    def columns(self) -> Generator[Columns, None, None]:
        """Yield the columns of each segment in order."""
        from opentps.core.io.CCCdoseEngineIO import writeCT

        with short_lived_folder("opentps-brimstone-") as folder:
            workspace = Workspace(folder)
            writeCT(self._density, str(workspace.geometry_folder), self._isocenter_mm)
            keys = self._keys(workspace)
            known = [self._from_cache(key, field) for key, field in zip(keys, self._fields, strict=True)]
            missing = [field for field, columns in zip(self._fields, known, strict=True) if columns is None]
            n_missing, n_all = (sum(map(len, fields)) for fields in (missing, self._fields))
            _log.debug("%d beamlets, of which the dose engine computes %d", n_all, n_missing)
            with contextlib.closing(self._computed(workspace, missing)) as doses:
                known.reverse()
                for key, field in zip(keys, self._fields, strict=True):
                    columns = known.pop()  # so that only the caller holds them
                    yield self._from_doses(doses, key, field) if columns is None else columns

    def _keys(self, workspace: Workspace) -> list[str]:
        """Cache key of each segment; empty without a cache."""
        if self._cache is None:
            return [""] * len(self._fields)
        common = _CACHE_FORMAT + workspace.fingerprint()
        texts = ("".join(field.specifications()) for field in self._fields)
        return [hashlib.sha256(common + text.encode()).hexdigest() for text in texts]

    def _from_cache(self, key: str, field: Field) -> Columns | None:
        if self._cache is None or (arrays := self._cache.get(key)) is None:
            return None
        columns = Columns.from_arrays(arrays, len(field), self._row_of_index.size)
        if columns is None:
            self._cache.remove(key)
        return columns

    def _from_doses(self, doses: Iterator[BeamletDose], key: str, field: Field) -> Columns:
        """Collect the next segment's beamlets from the engine, and store them in the cache."""
        columns = Columns.from_doses(list(itertools.islice(doses, len(field))), self._row_of_index)
        if self._cache is not None:
            self._cache.put(key, columns.arrays(), self._description(field))
        return columns

    def _computed(self, workspace: Workspace, fields: Sequence[Field]) -> Generator[BeamletDose, None, None]:
        """Yield the doses of all beamlets of some segments in order."""
        texts: list[str] = []
        for field in fields:
            texts += field.specifications(first_number=len(texts))
        if not texts:
            return
        with following(self._progress, len(texts), "CCC dose engine", "beamlet") as report:
            yield from workspace.doses(texts, self._density.imageArray.shape, self._n_processes, report)

    def _description(self, field: Field) -> dict[str, Any]:
        gantry, couch, collimator = field.angles_deg
        return {
            "content": "CCC doses of the beamlets of one segment, Gy per MU and fraction: column j has the values "
            "values[offsets[j]:offsets[j + 1]] in the voxels rows[offsets[j]:offsets[j + 1]]",
            "rows": "Fortran order of the image [x, y, z] flipped along x and y",
            "beamlets": len(field),
            "opentps_angles_deg": {"gantry": float(gantry), "couch": float(couch), "collimator": float(collimator)},
            "beamlet_spacing_mm": list(field.spacing_mm),
            "grid_shape": [int(count) for count in self._density.imageArray.shape],
            "grid_spacing_mm": [float(step) for step in self._density.spacing],
            "grid_origin_from_isocenter_mm": [float(x) for x in self._density.origin - self._isocenter_mm],
            "opentps_version": opentps_version(),
        }


def opentps_version() -> str:
    """Version of the installed OpenTPS."""
    for distribution in ("opentps-core", "opentps"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            return importlib.metadata.version(distribution)
    return "unknown"
