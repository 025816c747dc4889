"""What a dose calculation is asked for, beside its CT and plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

from opentps_brimstone._util.run_options import RunOptions
from opentps_brimstone.engine.cache import BeamletCache
from opentps_brimstone.engine.choice import EngineChoice

__all__ = ["DoseOptions"]


@dataclass(frozen=True, eq=False)
class DoseOptions:
    """How doses are computed, on which densities, and how the calculation runs.

    Parameters
    ----------
    choice : EngineChoice
    density_table, overrides
        From HU to densities, as for `opentps_brimstone.engine.compute_beamlets`.
    run : RunOptions

    Raises
    ------
    TypeError
        If the cache is neither True, False nor a BeamletCache.
    """

    choice: EngineChoice = field(default_factory=EngineChoice)
    density_table: Any = None
    overrides: Sequence[Mapping[str, Any]] | None = None
    run: RunOptions = field(default_factory=RunOptions)

    def __post_init__(self) -> None:
        if not isinstance(self.run.cache, bool | BeamletCache):
            raise TypeError(f"cache must be True, False or a BeamletCache, got {self.run.cache!r}")

    @classmethod
    def from_keywords(
        cls,
        *,
        density_table: Any = None,
        overrides: Sequence[Mapping[str, Any]] | None = None,
        processes: int | None = None,
        cache: Any = True,
        progress: Any = True,
        **choice: Any,
    ) -> DoseOptions:
        """Collect the keywords of `opentps_brimstone.engine.compute_beamlets`, with its defaults; no others."""
        unknown = choice.keys() - {each.name for each in fields(EngineChoice)}
        if unknown:
            raise TypeError(f"{min(unknown)!r} is not an option of the dose engine; see compute_beamlets")
        return cls(EngineChoice(**choice), density_table, overrides, RunOptions(processes, cache, progress))

    def running(self, **changes: Any) -> DoseOptions:
        """Return the same with other `RunOptions`."""
        return replace(self, run=replace(self.run, **changes))
