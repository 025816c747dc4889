"""The floors of the package's rooms, and who imports whom, read from the code."""

from __future__ import annotations

import ast
from pathlib import Path

import opentps_brimstone as pb

PACKAGE = Path(pb.__file__).parent

# From the ground up: a room may import the rooms of the floors below it, and nothing beside or above.
FLOORS = (
    {"_typing", "_core", "__version__"},
    {"_util"},
    {"model"},
    {"quantities"},
    {"evaluation"},
    {"optimization"},
    {"sequencing", "goal_planning", "phantoms"},
    {"visualization"},
    {"adapters"},
    {"dicom", "engine"},
    {"integration"},
    {"ensembles"},
    {"request"},
    {"report"},
    {"workflow"},
    {"gui"},
    {"cli"},
)
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
# Public methods such as `Series.from_dicom` and `Plan.from_opentps` stand on the ground and do their work above.
DOORS = {
    ("model.plan", "adapters"),
    ("model.plan", "engine"),
    ("model.plan", "integration"),
    ("model.plan", "quantities"),
    ("model.series", "adapters"),
    ("model.series", "dicom"),
    ("quantities.of_plan", "dicom"),
}


def modules() -> dict[str, Path]:
    """Find the modules of the package by their dotted names, without the package's own."""
    found = {}
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    found.pop("")
    return found


def imports(path: Path, known: dict[str, Path]) -> set[str]:
    """Find the modules of the package that a file imports anywhere in it, types included."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            parts = name.split(".")
            if parts[0] != PACKAGE.name or len(parts) == 1:
                continue
            inner = ".".join(parts[1:])
            while inner and inner not in known:
                inner = inner.rpartition(".")[0]
            found.add(inner or parts[1])
    return found


def import_graph() -> dict[str, set[str]]:
    """Tell of each module which others it imports."""
    known = modules()
    return {name: imports(path, known) - {name} for name, path in known.items()}


def breaches(graph: dict[str, set[str]]) -> list[str]:
    """List the imports that do not go to a lower floor or through a door."""
    return [
        f"{name} imports {other}"
        for name, others in sorted(graph.items())
        for other in sorted(others)
        if not _allowed(name, other)
    ]


def without_doors(graph: dict[str, set[str]]) -> dict[str, set[str]]:
    """Leave out the imports that go through a door."""
    return {name: {other for other in others if (name, _room(other)) not in DOORS} for name, others in graph.items()}


def _room(module: str) -> str:
    return module.split(".", maxsplit=1)[0]


def _allowed(name: str, other: str) -> bool:
    room, its = _room(name), _room(other)
    return room == its or (name, its) in DOORS or FLOOR[its] < FLOOR[room]
