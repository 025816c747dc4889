"""2,000 damaged checkpoints: read, or our own error."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from mutations import fuzz
from problems import add_objectives, random_plan

import opentps_brimstone as pb
from opentps_brimstone.optimization.callbacks import Checkpoint


@pytest.mark.slow
def test_checkpoints(tmp_path: Path) -> None:
    path = tmp_path / "run.npz"
    optimizer = pb.PlanOptimizer(random_plan(1, number_of_fractions=3))
    add_objectives(optimizer)
    optimizer.optimize(max_iterations=2, callback=Checkpoint(path, every_iterations=1))

    def resume() -> None:
        result = optimizer.optimize(max_iterations=1, resume_from=path)
        assert np.isfinite(result.beamlet_weights).all()

    read, refused = fuzz({path: path.read_bytes()}, resume, count=2000, seed=11, allowed=(ValueError,))
    assert refused > 200
    assert read + refused == 2000
