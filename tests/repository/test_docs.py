"""Every public name is documented with shapes and an example that is run; the documentation is built without warnings.

Without Sphinx the building is skipped, unless OPENTPS_BRIMSTONE_REQUIRE_DOCS=1 says that it may not be.
"""

from __future__ import annotations

import doctest
import importlib.util
import inspect
import logging
import os
import re
import subprocess
import sys
from operator import attrgetter
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import pytest

import opentps_brimstone as pb
from opentps_brimstone.quantities import QUANTITIES

NAMES = [name for name in pb.__all__ if not inspect.ismodule(getattr(pb, name))]
NAMES += [f"ensembles.{name}" for name in pb.ensembles.__all__]
DOCS = Path(__file__).parents[2] / "docs"
REQUIRED = os.environ.get("OPENTPS_BRIMSTONE_REQUIRE_DOCS") == "1"
# What is needed to build it, by the names of its modules.
TOOLS = ("sphinx", "myst_parser", "furo")

ARRAY = re.compile(r"^\s*(?P<names>[\w, ]+) : (?P<type>.*(?:array|DoseArray).*)$")


# ----------------------------------------------------------------------------------------------------------- docstrings


@pytest.fixture(scope="module")
def common_cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPENTPS_BRIMSTONE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def quiet_opentps():
    logging.disable(logging.CRITICAL)  # OpenTPS logs to standard output, which examples are compared with
    yield
    logging.disable(logging.NOTSET)


def examples_of(name: str) -> list[doctest.DocTest]:
    """Examples of a public name and its methods."""
    thing = attrgetter(name)(pb)
    variables = dict(vars(sys.modules[thing.__module__]))
    found = doctest.DocTestFinder(exclude_empty=True).find(thing, name, globs=variables)
    return [test for test in found if test.examples]


@pytest.mark.parametrize("name", NAMES)
def test_every_public_name_has_an_example_that_runs(name, common_cache, quiet_opentps, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    mpl.use("Agg")
    tests = examples_of(name)
    own = [example for test in tests if test.name == name for example in test.examples]
    assert own, f"{name} has no example"
    assert not any(example.options.get(doctest.SKIP) for test in tests for example in test.examples)
    report: list[str] = []
    runner = doctest.DocTestRunner(verbose=False)
    for test in tests:
        runner.run(test, out=report.append)
    plt.close("all")
    assert runner.summarize(verbose=False).failed == 0, "".join(report)


def documented(name: str) -> list[tuple[str, object]]:
    """Give a public name, and the methods and properties that its class has itself."""
    thing = attrgetter(name)(pb)
    if not inspect.isclass(thing):
        return [(name, thing)]
    members = {
        f"{name}.{member}": value
        for member, value in vars(thing).items()
        if not member.startswith("_")
        and (inspect.isfunction(value) or isinstance(value, property | staticmethod | classmethod))
    }
    return [(name, thing), *members.items()]


@pytest.mark.parametrize("name", NAMES)
def test_docstrings_tell_the_shape_of_every_array(name):
    silent = []
    for called, thing in documented(name):
        text = thing.__doc__
        assert text, f"{called} has no docstring"
        silent += [
            f"{called}: {line.strip()}"
            for line in text.splitlines()
            if (found := ARRAY.match(line)) and "shape" not in found["type"]
        ]
        kind = getattr(getattr(thing, "fget", None), "__annotations__", {}).get("return", "")
        if "Array" in str(kind) and "shape" not in text and "The same as" not in text:
            silent.append(f"{called}: {text.splitlines()[0]}")
    assert not silent


# -------------------------------------------------------------------------------------------------------- documentation

PAGES = (
    "getting_started",
    "workflow",
    "objectives",
    "callbacks",
    "ensembles",
    "robustness",
    "dose",
    "quantities",
    "reirradiation",
    "patients",
)
# What these plan on is made on the page of the first steps.
AFTER_FIRST_STEPS = ("callbacks", "ensembles", "robustness")


@pytest.fixture(scope="module")
def patient(tmp_path_factory, common_cache):
    """A folder with what the pages plan on."""
    from opentps_brimstone.dicom.series_writer import write_dicom_folder
    from opentps_brimstone.phantoms import make_phantom

    folder = tmp_path_factory.mktemp("pages")
    write_dicom_folder(make_phantom("c-shape", 12.5), folder / "patient")
    return folder


@pytest.fixture
def own_quantities():
    """Forget the quantities that a page registers."""
    before = dict(QUANTITIES)
    yield
    QUANTITIES.clear()
    QUANTITIES.update(before)


@pytest.mark.parametrize("page", PAGES)
def test_python_of_the_pages_runs(page, patient, own_quantities, monkeypatch):
    """What a page takes from the first steps, it gets from them."""
    monkeypatch.chdir(patient)
    mpl.use("Agg")
    variables: dict[str, object] = {"__name__": "__main__"}
    text = (DOCS / f"{page}.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    assert blocks
    if page in AFTER_FIRST_STEPS:
        start = (DOCS / "getting_started.md").read_text(encoding="utf-8")
        blocks.insert(0, re.findall(r"^```python\n(.*?)^result = ", start, re.DOTALL | re.MULTILINE)[0])
    for block in blocks:
        exec(compile(block.replace("beamlet_spacing_mm=5.0", "beamlet_spacing_mm=20.0"), page, "exec"), variables)
    plt.close("all")


def test_every_page_with_python_is_run():
    with_python = {path.stem for path in DOCS.rglob("*.md") if "```python" in path.read_text(encoding="utf-8")}
    assert with_python == {*PAGES, "window"}  # which needs a window: tests/gui does what it says


def test_every_public_name_is_in_the_reference():
    text = "\n".join(page.read_text(encoding="utf-8") for page in sorted((DOCS / "api").glob("*.md")))
    listed = re.findall(r"^\.\. auto(?:class|function|exception):: (\S+)", text, re.MULTILINE)
    assert len(listed) == len(set(listed))
    assert sorted(listed) == sorted(f"opentps_brimstone.{name}" for name in NAMES)


def test_pictures_are_used_and_there():
    pages = "\n".join(page.read_text(encoding="utf-8") for page in DOCS.rglob("*.md"))
    shown = set(re.findall(r"pictures/([\w-]+\.png)", pages))
    assert shown == {path.name for path in (DOCS / "pictures").glob("*.png")}
    assert shown


def test_documentation_is_built_without_warnings(tmp_path):
    missing = [tool for tool in TOOLS if importlib.util.find_spec(tool) is None]
    if missing and not REQUIRED:
        pytest.skip(f"{', '.join(missing)} not installed: pip install --group docs")
    assert not missing
    built = tmp_path / "html"
    command = [sys.executable, "-P", "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html", "-d", tmp_path / "trees"]
    done = subprocess.run([*command, DOCS, built], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    reference = "".join(page.read_text(encoding="utf-8") for page in (built / "api").glob("*.html"))
    for name in NAMES:
        assert f'id="opentps_brimstone.{name}"' in reference, name
    assert "\\operatorname{KL}" in (built / "mathematics.html").read_text(encoding="utf-8")
