"""The examples run, and show what they say."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).parent.parent / "examples"


def test_opentps_method(tmp_path):
    environment = os.environ | {"HOME": str(tmp_path), "OPENTPS_BRIMSTONE_CACHE": str(tmp_path / "cache")}
    done = subprocess.run(
        [sys.executable, EXAMPLES / "opentps_method.py"],
        check=False,
        capture_output=True,
        text=True,
        env=environment,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    found = dict(re.findall(r"^(\w+): mean ([\d.]+) Gy planned", done.stdout, re.MULTILINE))
    checked = dict(re.findall(r"^(\w+): .* ([\d.]+) Gy recalculated", done.stdout, re.MULTILINE))
    assert set(found) == {"PTV", "Organ"}
    for name, planned in found.items():
        assert abs(float(planned) - float(checked[name])) <= 0.01
    assert 39.0 < float(found["PTV"]) < 42.0
    assert float(found["Organ"]) < 25.0
    d95 = re.search(r"^PTV: D95 ([\d.]+) Gy", done.stdout, re.MULTILINE)
    assert d95
    assert float(d95[1]) > 38.0
