"""Files in OpenTPS's own format."""

from __future__ import annotations

from pathlib import Path
from typing import Any

__all__ = ["save_plan"]


def save_plan(photon_plan: Any, path: Path) -> None:
    """Save a plan as OpenTPS does; `opentps.core.io.serializedObjectIO.loadRTPlan` reads it.

    The file is a pickle, which can run any code when it is loaded: load only those you trust.

    Parameters
    ----------
    photon_plan : opentps PhotonPlan
        Not changed: beamlets its design holds stay loaded.
    path : Path
        File to write; replaced if it exists.
    """
    from opentps.core.io.serializedObjectIO import saveRTPlan

    saveRTPlan(photon_plan, str(path), unloadBeamlets=False)
