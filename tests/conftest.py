"""What every test session begins with, on whatever machine and however pytest is started."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

SOURCES = Path(__file__).resolve().parents[1]


def pytest_configure(config):
    # `python -m pytest` finds the sources before the installed package; only one of them has a compiled core.
    if not list((SOURCES / "opentps_brimstone").glob("_core.*.*")):
        sys.path[:] = [path for path in sys.path if Path(path).resolve() != SOURCES]
    # No windows, whatever the machine could show.
    os.environ["MPLBACKEND"] = "Agg"
    # Neither what an earlier run left behind counts, nor is a user's cache filled with phantoms.
    if "OPENTPS_BRIMSTONE_CACHE" not in os.environ:
        folder = tempfile.TemporaryDirectory(prefix="brimstone-cache-")
        config.add_cleanup(folder.cleanup)
        os.environ["OPENTPS_BRIMSTONE_CACHE"] = folder.name
