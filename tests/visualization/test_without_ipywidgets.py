"""Notebooks are optional: neither IPython nor ipywidgets is needed to watch an optimization."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HELPERS = Path(__file__).parents[1] / "helpers"

START = """
import sys
sys.path.insert(0, {tests!r})
for name in {blocked!r}:
    sys.modules[name] = None
from problems import add_objectives, random_plan
import opentps_brimstone as pb
optimizer = pb.PlanOptimizer(random_plan(0))
add_objectives(optimizer)
"""

PROGRAM = f"""{START}
viz = pb.VisualizationCallback(5)
result = optimizer.optimize(callback=viz, max_iterations=2)
assert viz.history["snapshot_iteration"] == [1, 5, result.iterations]
viz.plot_overview().savefig({{picture!r}})
print("done", "IPython.core" in sys.modules)
"""


def test_a_script_needs_no_notebook(tmp_path):
    picture = tmp_path / "overview.png"
    program = PROGRAM.format(tests=str(HELPERS), blocked=["ipywidgets", "IPython", "comm"], picture=str(picture))
    done = subprocess.run(
        [sys.executable, "-P", "-c", program], capture_output=True, text=True, check=False, env=_without_display()
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["done", "False"]
    assert picture.stat().st_size > 10_000


def _without_display() -> dict[str, str]:
    import os

    hidden = ("DISPLAY", "WAYLAND_DISPLAY", "MPLBACKEND")
    return {name: value for name, value in os.environ.items() if name not in hidden}


CELL = f"""{START}
result = optimizer.optimize(callback=pb.VisualizationCallback(5), max_iterations=2)
print(result.iterations)
"""


@pytest.fixture
def run_cell(tmp_path):
    """Run the cell in a notebook's own kernel."""
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")

    def run(blocked):
        cell = nbformat.v4.new_code_cell(CELL.format(tests=str(HELPERS), blocked=blocked))
        notebook = nbformat.v4.new_notebook(cells=[cell])
        # Away from the sources, which have no compiled core.
        away = {"metadata": {"path": str(tmp_path)}}
        client = nbclient.NotebookClient(notebook, timeout=600, kernel_name="python3", resources=away)
        client.execute()
        return notebook

    return run


def test_a_notebook_without_ipywidgets_gets_an_image_that_is_replaced(run_cell):
    notebook = run_cell(["ipywidgets"])
    outputs = notebook.cells[0].outputs
    pictures = [output for output in outputs if "image/png" in output.get("data", {})]
    assert len(pictures) == 1
    assert len(pictures[0]["data"]["image/png"]) > 10_000
    assert any(output.get("text", "").strip().isdigit() for output in outputs)


def test_a_notebook_with_ipywidgets_gets_a_line_and_an_image(run_cell):
    pytest.importorskip("ipywidgets")
    notebook = run_cell([])
    outputs = notebook.cells[0].outputs
    assert any("application/vnd.jupyter.widget-view+json" in output.get("data", {}) for output in outputs)
    states = notebook.metadata["widgets"]["application/vnd.jupyter.widget-state+json"]["state"].values()
    line = next(state["state"]["value"] for state in states if state["model_name"] == "LabelModel")
    number = int(next(output["text"] for output in outputs if output.get("text", "").strip().isdigit()))
    assert line.startswith(f"iteration {number}, level 0, cost ")
    image = next(state for state in states if state["model_name"] == "ImageModel")
    assert len(image["buffers"][0]["data"]) > 10_000
