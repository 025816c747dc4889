"""What the package promises as a whole: cheap import, public names, and the walls between its rooms."""

from __future__ import annotations

import ast
import importlib
import importlib.metadata
import subprocess
import sys
from pathlib import Path

import pytest

import opentps_brimstone as pb

PACKAGE = Path(pb.__file__).parent
SOURCE = Path(__file__).parents[2]
KNOW_OPENTPS = {"adapters", "dicom", "engine", "gui", "integration"}


def modules_after(statement: str) -> set[str]:
    code = f"import sys; {statement}; print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_importing_the_package_loads_nothing_heavy():
    loaded = modules_after("import opentps_brimstone")
    assert not loaded & {"numpy", "scipy", "matplotlib", "pydicom", "opentps", "tqdm"}


def test_planning_without_opentps_loads_no_opentps():
    loaded = modules_after("import opentps_brimstone as pb; pb.PlanOptimizer; pb.Plan; pb.KLDivergenceTerm")
    assert not loaded & {"opentps", "matplotlib", "pydicom", "SimpleITK"}


def test_every_public_name_is_there_and_documented():
    for name in pb.__all__:
        assert getattr(pb, name).__doc__, name
        assert name in dir(pb)
    with pytest.raises(AttributeError, match="nothing"):
        pb.nothing  # noqa: B018


def test_rooms_are_namespaces_of_the_package():
    for room in ("dicom", "engine", "evaluation", "phantoms", "sequencing", "visualization"):
        assert getattr(pb, room).__name__ == f"opentps_brimstone.{room}"


def test_own_errors_have_one_base():
    own = [error for error in _subclasses(Exception) if error.__module__.startswith("opentps_brimstone")]
    # Warnings are no errors, and the core's is turned into `DoseCanceledError`.
    own = [error for error in own if not issubclass(error, Warning) and "._core" not in error.__module__]
    assert len(own) > 5
    assert all(issubclass(error, pb.BrimstoneError) for error in own)


def _subclasses(base: type) -> set[type]:
    for path in PACKAGE.rglob("*.py"):
        if "gui" in path.parts:  # needs the packages of an extra
            continue
        inner = path.relative_to(PACKAGE).with_suffix("").parts
        importlib.import_module(".".join(("opentps_brimstone", *(part for part in inner if part != "__init__"))))
    found, todo = set(), [base]
    while todo:
        new = set(todo.pop().__subclasses__()) - found
        found |= new
        todo += new
    return found


def test_importing_takes_little_time():
    done = subprocess.run(
        [sys.executable, "-P", "-X", "importtime", "-c", "import opentps_brimstone"],
        capture_output=True,
        text=True,
        check=True,
    )
    (line,) = (line for line in done.stderr.splitlines() if line.split("|")[-1].strip() == "opentps_brimstone")
    assert int(line.split("|")[1]) < 300_000  # microseconds; 20,000 on a quiet machine


def test_the_version_is_that_of_the_metadata():
    assert importlib.metadata.version("opentps-brimstone") == pb.__version__


def imported_packages(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names.add(node.module.split(".")[0])
    return names


def test_only_the_rooms_that_may_know_opentps_import_it():
    knowing = {
        path.relative_to(PACKAGE).parts[0] for path in PACKAGE.rglob("*.py") if "opentps" in imported_packages(path)
    }
    assert knowing
    assert knowing <= KNOW_OPENTPS


def test_the_core_library_knows_no_python():
    sources = [*(SOURCE / "csrc" / "brimstone").rglob("*.?pp")]
    assert len(sources) > 10
    for source in sources:
        text = source.read_text(encoding="utf-8")
        assert "Python.h" not in text
        assert "pybind11" not in text
