"""Which engine computes doses, and how far scatter reaches."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from opentps_brimstone._util.choices import checked_choice
from opentps_brimstone.engine.beam_model import BeamModel, read_beam_model
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
    beam_model : BeamModel, str or Path, optional
        Beam of a machine, as for `read_beam_model`, instead of kernels.

    Raises
    ------
    ValueError
        If an engine or a reach of scatter is unknown, OpenTPS's program is asked for what it cannot do, or a beam model
        cannot be read or goes with something else.

    Examples
    --------
    >>> print(EngineChoice())
    collapsed cones of opentps-brimstone, scatter as in OpenTPS's beamlets
    """

    engine: str = "native"
    scatter: str = "opentps"
    kernels: str | Path | None = None
    beam_model: BeamModel | str | Path | None = None

    def __post_init__(self) -> None:
        checked_choice("engine", self.engine, ENGINES)
        checked_choice("scatter", self.scatter, SCATTER)
        if self.engine == "opentps" and self.scatter != "opentps":
            raise ValueError(
                f"OpenTPS's program computes no scatter beyond 2 cm: scatter={self.scatter!r} needs engine='native'"
            )
        if self.engine == "opentps" and self.kernels is not None:
            raise ValueError("OpenTPS's program computes with its own kernels: kernels=... needs engine='native'")
        if self.beam_model is not None:
            self._check_beam_model()
            object.__setattr__(self, "beam_model", read_beam_model(self.beam_model))

    def _check_beam_model(self) -> None:
        if self.kernels is not None:
            raise ValueError(f"a beam model has kernels of its own: leave out kernels={str(self.kernels)!r}")
        if self.engine == "opentps" or self.scatter != "full":
            raise ValueError(
                "a beam model has a head and a source that OpenTPS's beamlets know nothing of: beam_model=... needs "
                "engine='native' and scatter='full'"
            )

    @property
    def machine(self) -> BeamModel | None:
        """The beam model, read."""
        return self.beam_model if isinstance(self.beam_model, BeamModel) else None

    @property
    def is_native(self) -> bool:
        """Whether this package's engine computes."""
        return self.engine == "native"

    def __str__(self) -> str:
        if not self.is_native:
            return "OpenTPS's collapsed cone program"
        reach = "through the whole patient" if self.scatter == "full" else "as in OpenTPS's beamlets"
        kernels = "" if self.kernels is None else f", kernels {Path(self.kernels).name}"
        model = "" if self.beam_model is None else f", {self.beam_model}"
        return f"collapsed cones of opentps-brimstone, scatter {reach}{kernels}{model}"
