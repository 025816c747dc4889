"""The examples run on a coarse case, and show what they say."""

from __future__ import annotations

import re
import runpy
import warnings
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pydicom
import pytest
from opentps_objects import needs_opentps_3

import opentps_brimstone as pb

EXAMPLES = Path(__file__).parents[2] / "examples"
COARSE = {"BRIMSTONE_EXAMPLE_GRID_MM": "12.5", "BRIMSTONE_EXAMPLE_BEAMLET_MM": "10"}
NOTEBOOKS = ("basic_optimization", "live_visualization")


@pytest.fixture(scope="module")
def common_cache(tmp_path_factory):
    """The examples plan one case on one grid: its beamlets are computed once."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def run(tmp_path, monkeypatch, common_cache, capsys):
    """Run an example in an empty folder; gives its variables and what it printed."""
    for name, value in COARSE.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("OPENTPS_BRIMSTONE_CACHE", str(common_cache))
    monkeypatch.chdir(tmp_path)
    mpl.use("Agg")

    def run(name):
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="FigureCanvasAgg is non-interactive")
            variables = runpy.run_path(str(EXAMPLES / f"{name}.py"))
        return variables, capsys.readouterr().out

    yield run
    plt.close("all")


def test_every_example_is_run_here():
    text = Path(__file__).read_text(encoding="utf-8")
    scripts = sorted(EXAMPLES.glob("*.py"))
    assert len(scripts) == 7
    for script in scripts:
        assert f"def test_{script.stem}(" in text
        assert script.read_text(encoding="utf-8").startswith("# %% [markdown]\n# # ")


def test_basic_optimization(run, tmp_path):
    variables, printed = run("basic_optimization")
    assert "converged" in variables["result"].message
    found = {str(row.goal): row.value for row in variables["table"]}
    # The goals themselves are beyond voxels of 12.5 mm.
    assert found["Core D10 <= 25 Gy"] < 35 < found["PTV D95 >= 50 Gy"] < found["PTV D10 <= 55 Gy"] < 57
    assert "PTV        D95     >= 50 Gy" in printed
    mean = np.average(np.asarray(variables["result"].dose), weights=variables["ptv"].share)
    assert mean == pytest.approx(52, abs=3)
    assert (tmp_path / "basic_optimization.png").stat().st_size > 5_000


def test_live_visualization(run, tmp_path):
    from PIL import Image

    variables, printed = run("live_visualization")
    assert all(ax.has_data() for ax in variables["axes"].ravel())
    with Image.open(tmp_path / "convergence.gif") as film:
        assert f"{film.n_frames} pictures in convergence.gif" in printed
        assert film.n_frames > 5
    again = variables["optimizer"].optimize(resume_from=tmp_path / "run.npz")
    np.testing.assert_array_equal(again.beamlet_weights, variables["result"].beamlet_weights)


def test_reirradiation(run, tmp_path, monkeypatch):
    monkeypatch.setenv("BRIMSTONE_EXAMPLE_GRID_MM", "6")  # the cord needs some voxels
    monkeypatch.setenv("BRIMSTONE_EXAMPLE_BEAMLET_MM", "8")
    variables, printed = run("reirradiation")
    met = {name: [result.met for result in table] for name, (_, _, table) in variables["found"].items()}
    assert met == {"dose alone": [True, False], "cumulative EQD2": [True, True]}
    assert "Cord        EQD2 D0.1cc  <= 50 Gy" in printed
    assert (tmp_path / "reirradiation.png").stat().st_size > 5_000


def test_custom_objective(run):
    _, printed = run("custom_objective")
    found = re.findall(r"^weight (\d): mean dose of core ([\d.]+) Gy, of PTV ([\d.]+) Gy", printed, re.MULTILINE)
    without, with_it = ([float(number) for number in line] for line in found)
    assert with_it[1] < 0.9 * without[1]
    assert with_it[2] == pytest.approx(without[2], abs=2)


def test_gamma_comparison(run, tmp_path):
    variables, printed = run("gamma_comparison")
    np.testing.assert_allclose(variables["reference"], variables["first"].dose, atol=1e-3)
    assert variables["reference"].grid.spacing_mm == (12.5, 12.5, 12.5)
    core = {row.metric.name: row for row in variables["comparison"].metrics if row.structure == "Core"}
    assert core["Dmean"].second < core["Dmean"].first
    passed = float(re.search(r"gamma 3 %/3 mm: ([\d.]+) % of the voxels pass", printed)[1])
    assert 0 < passed < 100
    assert passed == pytest.approx(pb.gamma_pass_rate(variables["gamma"]), abs=0.05)
    assert (tmp_path / "gamma_comparison.png").stat().st_size > 5_000


def test_plan_and_recalculate(run, tmp_path):
    variables, printed = run("plan_and_recalculate")
    deliverable = variables["deliverable"]
    assert deliverable.difference <= 1e-4
    assert f"{deliverable.n_segments} segments, {deliverable.machine_mu:.0f} MU per fraction" in printed
    written = pydicom.dcmread(tmp_path / "rt_plan.dcm")
    metersets = [float(beam.BeamMeterset) for beam in written.FractionGroupSequence[0].ReferencedBeamSequence]
    assert len(metersets) == 9
    assert sum(metersets) == pytest.approx(deliverable.machine_mu)
    dose = pydicom.dcmread(tmp_path / "rt_dose.dcm")
    assert dose.ReferencedRTPlanSequence[0].ReferencedSOPInstanceUID == written.SOPInstanceUID
    structures = pydicom.dcmread(tmp_path / "c-shape-dicom" / "RS.dcm")
    assert written.ReferencedStructureSetSequence[0].ReferencedSOPInstanceUID == structures.SOPInstanceUID
    np.testing.assert_allclose(pb.dose_from_dataset(dose), deliverable.dose, atol=2e-5 * deliverable.dose.max())


@needs_opentps_3  # its objectives
def test_opentps_method(run):
    try:
        _, printed = run("opentps_method")
    finally:
        pb.unregister()
    found = dict(re.findall(r"^(\w+): mean ([\d.]+) Gy planned", printed, re.MULTILINE))
    checked = dict(re.findall(r"^(\w+): .* ([\d.]+) Gy recalculated", printed, re.MULTILINE))
    assert set(found) == {"PTV", "Organ"}
    for name, planned in found.items():
        assert abs(float(planned) - float(checked[name])) <= 0.01
    assert 39.0 < float(found["PTV"]) < 42.0
    assert float(found["Organ"]) < 25.0
    d95 = re.search(r"^PTV: D95 ([\d.]+) Gy", printed, re.MULTILINE)
    assert d95
    assert float(d95[1]) > 38.0


# ---------------------------------------------------------------------------------------------------------- notebooks


def cells_of(script: str) -> list[tuple[str, str]]:
    """Kind and text of the cells of a script in percent format."""
    cells = []
    for part in re.split(r"^# %%", script, flags=re.MULTILINE)[1:]:
        title, _, body = part.partition("\n")
        kind = "markdown" if "[markdown]" in title else "code"
        if kind == "markdown":
            body = re.sub(r"^# ?", "", body, flags=re.MULTILINE)
        cells.append((kind, body.strip()))
    return cells


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_notebooks_are_the_scripts(name):
    nbformat = pytest.importorskip("nbformat")
    notebook = nbformat.read(EXAMPLES / f"{name}.ipynb", 4)
    nbformat.validate(notebook)
    assert [(cell.cell_type, cell.source) for cell in notebook.cells] == cells_of(
        (EXAMPLES / f"{name}.py").read_text(encoding="utf-8")
    )
    assert not any(cell.get("outputs") for cell in notebook.cells)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_notebooks_run(name, tmp_path, monkeypatch, common_cache):
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    for variable, value in COARSE.items():
        monkeypatch.setenv(variable, value)
    monkeypatch.setenv("OPENTPS_BRIMSTONE_CACHE", str(common_cache))
    monkeypatch.delenv("MPLBACKEND", raising=False)
    notebook = nbformat.read(EXAMPLES / f"{name}.ipynb", 4)
    options = {"timeout": 600, "kernel_name": "python3", "resources": {"metadata": {"path": str(tmp_path)}}}
    nbclient.NotebookClient(notebook, **options).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert any("converged" in output.get("text", "") for output in outputs)
