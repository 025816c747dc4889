"""The programs that describe the Python interface run as they were written, on a DICOM folder.

Changed are names of files, the name of the package, and the place of two functions that pymedphys does not have under
these names. What the later programs leave out ("Setup as before...") is taken from the first one.
"""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from dicom_folder import circle, cylinder, sphere, water_box, write_ct, write_dose, write_structures

import opentps_brimstone as pb

# The programs look at layer 50 along x and along z: it goes through the target.
SHAPE, SPACING, ORIGIN = (62, 40, 62), (3.0, 3.0, 3.0), (-150.0, -58.5, -150.0)
SETUP = "# Setup as before..."


def programs() -> dict[str, str]:
    text = (Path(__file__).parent / "seed_programs.md").read_text(encoding="utf-8")
    return dict(re.findall(r"### (.+?)\n```python\n(.*?)```", text, re.DOTALL))


@pytest.fixture(scope="module")
def namespace(tmp_path_factory):
    """Everything the programs leave behind, run one after the other."""
    mpl.use("Agg")
    folder = tmp_path_factory.mktemp("patient")
    planes = ORIGIN[2] + 3.0 * np.arange(SHAPE[2])
    near = planes[np.abs(planes) < 30]
    files = write_ct(folder, water_box(SHAPE), SPACING, ORIGIN)
    rois = {
        "PTV": ("PTV", sphere(9.0, near)),
        "Bladder": ("ORGAN", cylinder(8.0, near[np.abs(near) < 12], (-20.0, 0.0))),
        "External": ("EXTERNAL", [(z, circle(50.0, (-50.0, 0.0))) for z in planes[2:-2]]),
    }
    write_structures(folder / "rs.dcm", rois, files)
    reference = folder / "reference_plan.dcm"
    x, y, z = np.ogrid[tuple(slice(n) for n in SHAPE)]
    distance = np.sqrt(sum((o + 3.0 * i) ** 2 for o, i in zip(ORIGIN, (x, y, z), strict=True)))
    write_dose(folder / "referenceplan.dcm", 55.0 / (1 + np.exp((distance - 15) / 4)), SPACING, ORIGIN)
    (folder / "referenceplan.dcm").rename(reference)

    texts = programs()
    basic = texts["Basic Optimization"]
    as_before = basic[basic.index("# Add beams") : basic.index("# Run optimization")]
    as_before = as_before.replace("optimizer = pb.PlanOptimizer(plan)", "")
    live = texts["Live Visualization"]
    made = "optimizer = pb.PlanOptimizer(plan)\n"
    assert SETUP in live
    assert made in live
    texts["Live Visualization"] = live.replace(made, made + as_before)
    variables: dict[str, object] = {}
    for title, written in texts.items():
        text = (
            written.replace("from pymedphys import gamma_analysis", "from opentps_brimstone import gamma_analysis")
            .replace("pybrimstone", "opentps_brimstone")
            .replace("path/to/dicom", folder.as_posix())
            .replace("reference_plan.dcm", reference.as_posix())
        )
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="FigureCanvasAgg is non-interactive")
            exec(compile(text, title, "exec"), variables)
        variables[f"result of {title}"] = variables["result"]
    yield variables
    variables["plt"].close("all")


def test_there_are_three_programs():
    assert list(programs()) == ["Basic Optimization", "Live Visualization", "pymedphys Integration"]


def test_basic_optimization_plans_the_target(namespace):
    result, series = namespace["result of Basic Optimization"], namespace["series"]
    assert result.success, result.message
    assert result.dose.shape == SHAPE
    share = series.structures["PTV"].on_grid(result.dose.grid).share
    assert np.average(np.asarray(result.dose), weights=share) == pytest.approx(55, abs=3)
    organ = series.structures["Bladder"].on_grid(result.dose.grid).share
    assert np.average(np.asarray(result.dose), weights=organ) < 25
    np.testing.assert_array_equal(namespace["dose"], result.dose)


def test_live_visualization_draws_four_plots(namespace):
    viz = namespace["viz"]
    assert isinstance(viz, pb.VisualizationCallback)
    assert len(viz.history["iteration"]) > 0
    assert all(ax.has_data() for ax in namespace["axes"].ravel())
    dose, volume = namespace["ptv"].get_dvh()
    assert volume[np.searchsorted(dose, 45)] > 0.9


def test_gamma_compares_with_the_reference(namespace):
    gamma = namespace["gamma"]
    assert gamma.shape == SHAPE
    judged = gamma[np.isfinite(gamma)]
    assert len(judged) > 100
    assert np.isfinite(gamma[50]).any()
    assert (judged >= 0).all()
    assert (judged > 1).any()  # the reference is no plan of ours


def test_one_beam_of_the_plan_has_map_and_dose(namespace):
    plan = namespace["plan"]
    beam = plan.beams[1]
    assert beam.gantry_angle == 90.0
    weights = beam.intensity_map[np.isfinite(beam.intensity_map)]
    assert weights.sum() == pytest.approx(beam.beamlet_weights.sum())
    total = sum(np.asarray(each.get_dose()) for each in plan.beams)
    np.testing.assert_allclose(total, np.asarray(plan.get_dose()), rtol=1e-6, atol=1e-6)
