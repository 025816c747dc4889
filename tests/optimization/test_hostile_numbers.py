"""No number ends the process or becomes a dose that is not finite."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

HELPERS = Path(__file__).parents[1] / "helpers"


@pytest.mark.slow
def test_every_number_ends_in_finite_doses_or_in_our_error():
    """A thousand examples, in a process of their own, as one of them might end it."""
    done = subprocess.run(
        [sys.executable, str(HELPERS / "hostile_numbers.py"), "1000"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONFAULTHANDLER": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
