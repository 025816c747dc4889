"""Which engine computes doses, and how far scatter reaches."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from opentps_brimstone._util.choices import checked_choice
from opentps_brimstone.engine.collapsed_cones import SCATTER

__all__ = ["ENGINES", "EngineChoice"]

ENGINES = ("native", "opentps")
"""This package's collapsed cone engine, or OpenTPS's own program."""


@dataclass(frozen=True)
class EngineChoice:
    """How doses are computed.

    Parameters
    ----------
    engine : {"native", "opentps"}
        This package's collapsed cone engine, or OpenTPS's own program.
    scatter : {"opentps", "full"}
        Up to 2 cm beside each beamlet, as OpenTPS's program has it, or through the whole patient.
    kernels : str or Path, optional
        Folder of kernels and spectrum, as for `read_kernel_tables`. Default: those OpenTPS computes with.

    Raises
    ------
    ValueError
        If an engine or a reach of scatter is unknown, or OpenTPS's program is asked for what it cannot do.

    Examples
    --------
    >>> print(EngineChoice())
    collapsed cones of opentps-brimstone, scatter as in OpenTPS's beamlets
    """

    engine: str = "native"
    scatter: str = "opentps"
    kernels: str | Path | None = None

    def __post_init__(self) -> None:
        checked_choice("engine", self.engine, ENGINES)
        checked_choice("scatter", self.scatter, SCATTER)
        if self.engine == "opentps" and self.scatter != "opentps":
            raise ValueError(
                f"OpenTPS's program computes no scatter beyond 2 cm: scatter={self.scatter!r} needs engine='native'"
            )
        if self.engine == "opentps" and self.kernels is not None:
            raise ValueError("OpenTPS's program computes with its own kernels: kernels=... needs engine='native'")

    @property
    def is_native(self) -> bool:
        """Whether this package's engine computes."""
        return self.engine == "native"

    def __str__(self) -> str:
        if not self.is_native:
            return "OpenTPS's collapsed cone program"
        reach = "through the whole patient" if self.scatter == "full" else "as in OpenTPS's beamlets"
        kernels = "" if self.kernels is None else f", kernels {Path(self.kernels).name}"
        return f"collapsed cones of opentps-brimstone, scatter {reach}{kernels}"
