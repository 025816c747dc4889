"""What every test session begins with, on whatever machine and however pytest is started."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import pytest

SOURCES = Path(__file__).resolve().parents[1]


def pytest_configure(config):
    # `python -m pytest` finds the sources before the installed package; only one of them has a compiled core.
    if not list((SOURCES / "opentps_brimstone").glob("_core.*.*")):
        sys.path[:] = [path for path in sys.path if Path(path).resolve() != SOURCES]
    folder = tempfile.TemporaryDirectory(prefix="brimstone-tests-")
    config.add_cleanup(folder.cleanup)
    own = Path(folder.name)
    # No windows, and pictures as matplotlib's defaults have them.
    os.environ["MPLBACKEND"] = "Agg"
    (own / "matplotlibrc").touch()
    os.environ["MATPLOTLIBRC"] = str(own / "matplotlibrc")
    # A user may have a kernel "python3" of another Python, and code that runs in every notebook.
    for name in ("JUPYTER_DATA_DIR", "JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR"):
        os.environ[name] = str(own / name.lower())
    # Neither what an earlier run left behind counts, nor is a user's cache filled with phantoms.
    os.environ.setdefault("OPENTPS_BRIMSTONE_CACHE", str(own / "cache"))


@pytest.fixture
def no_engine(monkeypatch):
    """Make sure that what is wrong is told of before the dose engine starts."""

    def refuse(*_, **__):
        raise AssertionError("the dose engine was started")

    for name in ("compute_beamlets", "compute_dose"):
        for place in ("engine", "engine.compute"):
            monkeypatch.setattr(f"opentps_brimstone.{place}.{name}", refuse)
    for name in ("beamlet_influence", "photon_dose"):
        monkeypatch.setattr(f"opentps_brimstone.engine.compute.{name}", refuse)
    for name in ("beamlets", "dose", "fluence_dose"):
        monkeypatch.setattr(f"opentps_brimstone.engine.collapsed_cones.ConeEngine.{name}", refuse)


@pytest.fixture
def beamlets(plan, ct):
    """Gaussian pencils for the beamlets of a test's own plan and CT."""
    from opentps_objects import pencil_beams

    return pencil_beams(plan, ct)
