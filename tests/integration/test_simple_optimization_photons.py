"""The example of photon optimization that OpenTPS 2 brings, with only its size and the method's name changed.

OpenTPS 3 brings no examples; `test_photon_script.py` does the same there.
"""

import contextlib
import copy
import importlib.util
import io
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import photon_script
import pytest
from opentps_objects import needs_opentps_2

from opentps_brimstone import register, unregister
from opentps_brimstone.engine import engine_info

pytestmark = needs_opentps_2

EXAMPLE = "opentps.core.examples.planOptimization"
METHOD = "'Scipy_L-BFGS-B'"
# A smaller box, with the example's own target size, voxels and beamlets, and as many engine processes as a test may.
SMALLER = {
    "ctSize = 150": "ctSize = 44",
    "data[:, 50:, :]": "data[:, 10:, :]",
    "data[100:120, 100:120, 100:120]": "data[14:34, 18:38, 12:32]",
    "batchSize= 30": "batchSize= 2",
}


def replaced(source, old, new):
    assert source.count(old) == 1, f"OpenTPS's example has changed: {old!r} occurs {source.count(old)} times"
    return source.replace(old, new)


def example_source(method):
    (folder,) = importlib.util.find_spec(EXAMPLE).submodule_search_locations
    source = (Path(folder) / "simpleOptimizationPhotons.py").read_text(encoding="utf-8")
    for old, new in SMALLER.items():
        source = replaced(source, old, new)
    return replaced(source, METHOD, repr(method))


@dataclass
class Outcome:
    """What the example printed, the DVH it computed, the dose file and figure it wrote."""

    printed: str
    dvh: Any
    files: list[str]

    @property
    def homogeneity(self):
        return float(re.search(r"D5 - D95 =\s+([\d.]+) Gy", self.printed)[1])

    @property
    def passed(self):
        """Clinical evaluation: did D98 and D95 pass the minimum, D2 and D5 the maximum?"""
        rows = re.findall(r"^TV +(Dmin|Dmax) +[\d.]+ +[\d.]+ +([01]) +[\d.]+ +([01])", self.printed, re.MULTILINE)
        return {metric: (int(first), int(second)) for metric, first, second in rows}


def run_example(method, folder):
    namespace: dict[str, Any] = {"__name__": "example"}
    exec(compile(example_source(method), "simpleOptimizationPhotons.py", "exec"), namespace)
    dvhs = []

    def dvh(*arguments, original=namespace["DVH"]):
        dvhs.append(original(*arguments))
        return dvhs[-1]

    namespace["DVH"] = dvh
    folder.mkdir()
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        namespace["run"](str(folder))
    return Outcome(printed.getvalue(), dvhs[0], [path.name for path in folder.iterdir()])


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """Both methods on the same beamlets, computed once by OpenTPS's calculator."""
    import matplotlib.pyplot as plt
    from opentps.core.processing.doseCalculation.photons.cccDoseCalculator import CCCDoseCalculator
    from opentps.core.utils.programSettings import ProgramSettings

    folder = tmp_path_factory.mktemp("example")
    computed = []

    def compute_once(self, ct, plan, original=CCCDoseCalculator.computeBeamlets):
        if not computed:
            computed.append(original(self, ct, plan))
        return copy.deepcopy(computed[0])

    plt.switch_backend("Agg")
    with pytest.MonkeyPatch.context() as patch:
        # The engine in OpenTPS's wheel has no permission to be executed.
        patch.setattr(CCCDoseCalculator, "_CCCexecutablePath", property(lambda _: str(engine_info()["runs_from"])))
        patch.setattr(CCCDoseCalculator, "computeBeamlets", compute_once)
        patch.setattr(ProgramSettings, "simulationFolder", property(lambda _: str(folder / "simulation")))
        patch.setattr(plt, "show", lambda: None)
        register()
        try:
            yield {method: run_example(method, folder / method) for method in ("Scipy_L-BFGS-B", "Brimstone")}
        finally:
            unregister()
            plt.close("all")


def test_runs_to_its_end(outcomes):
    files = outcomes["Brimstone"].files
    assert "Dose_SimpleOptimizationPhotons.png" in files
    assert "Plan_WaterPhantom_cropped_resampled_optimized.tps" in files
    assert len(files) == len(outcomes["Scipy_L-BFGS-B"].files)


def test_target_dose_is_at_least_as_uniform(outcomes):
    assert outcomes["Brimstone"].homogeneity <= outcomes["Scipy_L-BFGS-B"].homogeneity


def test_clinical_evaluation_is_at_least_as_good(outcomes):
    ours, theirs = outcomes["Brimstone"].passed, outcomes["Scipy_L-BFGS-B"].passed
    assert sorted(ours) == sorted(theirs) == ["Dmax", "Dmin"]
    for metric, theirs_passed in theirs.items():
        assert np.all(np.array(ours[metric]) >= theirs_passed), metric


def test_doses_behind_the_clinical_evaluation(outcomes):
    ours, theirs = outcomes["Brimstone"].dvh, outcomes["Scipy_L-BFGS-B"].dvh
    photon_script.check_target_dose(ours, theirs)
    assert ours.Dmean == pytest.approx(20.25, abs=0.1)
