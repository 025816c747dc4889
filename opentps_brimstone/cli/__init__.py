"""The command ``opentps-brimstone``: a file per command."""

from __future__ import annotations

from opentps_brimstone.cli.program import main

__all__ = ["main"]
