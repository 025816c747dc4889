"""2,000 damaged entries of the beamlet cache: what was kept, or nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from mutations import fuzz

from opentps_brimstone.engine.cache import BeamletCache

KEY = "0123456789abcdef" * 4


@pytest.mark.slow
def test_entries(tmp_path: Path) -> None:
    cache = BeamletCache(tmp_path)
    arrays = {"rows": np.arange(20, dtype=np.int32), "values": np.linspace(0, 1, 20, dtype=np.float32)}
    cache.put(KEY, arrays, {"plan": "a", "beamlets": 20})
    files = {path: path.read_bytes() for path in (tmp_path / KEY).iterdir()}
    found_count = 0

    def get() -> None:
        nonlocal found_count
        for path, content in files.items():  # an entry that was removed is put back
            if not path.exists():
                path.parent.mkdir(exist_ok=True)
                path.write_bytes(content)
        found = cache.get(KEY)
        _ = cache.entries, cache.size_bytes
        (tmp_path / KEY).mkdir(exist_ok=True)
        if found is None:
            return
        found_count += 1
        for name, array in found.items():
            np.testing.assert_array_equal(array, arrays[name])

    read, refused = fuzz(files, get, count=2000, seed=12)
    assert (read, refused) == (2000, 0)
    assert 0 < found_count < 2000
