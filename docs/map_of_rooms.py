"""Draw the map of the package's rooms from its code: ``python docs/map_of_rooms.py``."""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "helpers"))
from rooms import DOORS, FLOORS, PACKAGE, import_graph, modules

PICTURE = Path(__file__).parent / "pictures" / "rooms.png"
FOR = {
    "_util": "nothing of radiotherapy",
    "model": "what is planned",
    "quantities": "dose, BED, EQD2, ...",
    "evaluation": "metrics, goals, gamma",
    "optimization": "from objectives to weights",
    "sequencing": "from fluence to apertures",
    "goal_planning": "from goals to objectives",
    "phantoms": "TG-119 and test geometries",
    "visualization": "plots and live pictures",
    "adapters": "OpenTPS's data and ours",
    "dicom": "CT, RT objects in and out",
    "engine": "dose",
    "integration": "whole OpenTPS plans",
    "ensembles": "many plans at once",
    "request": "what a user asks in a file",
    "report": "pages and files of a plan",
    "workflow": "whole plannings",
    "gui": "in OpenTPS's window",
    "cli": "commands",
}
WIDTH, HEIGHT, ACROSS, UP = 3.2, 0.8, 3.6, 1.5


def room_imports() -> dict[str, set[str]]:
    """Tell of each room which others it imports, not through doors."""
    found: dict[str, set[str]] = {}
    for name, others in import_graph().items():
        room = name.split(".")[0]
        its = {other.split(".")[0] for other in others}
        found.setdefault(room, set()).update({other for other in its if (name, other) not in DOORS} - {room})
    return found


def reduced(graph: dict[str, set[str]]) -> dict[str, set[str]]:
    """Leave out the imports of what another imported room stands on, too."""

    def below(room: str) -> set[str]:
        return set().union(*({other} | below(other) for other in graph.get(room, ())))

    return {
        room: {other for other in others if not any(other in below(third) for third in others - {other})}
        for room, others in graph.items()
    }


def places(rooms: set[str]) -> dict[str, tuple[float, float]]:
    """Put the rooms of a floor side by side."""
    found = {}
    floors = [sorted(floor & rooms) for floor in FLOORS]
    for number, floor in enumerate(filter(None, floors)):
        # Rooms that are alone on their floor stand left and right in turns, so that long arrows pass beside them.
        aside = (number % 2 - 0.5) * 2.6 if len(floor) == 1 else 0.0
        for index, room in enumerate(floor):
            found[room] = ((index - (len(floor) - 1) / 2) * ACROSS + aside, number * UP)
    return found


def draw() -> plt.Figure:
    """Draw rooms as boxes, one floor above the other, and imports as arrows."""
    graph = room_imports()
    known = modules()
    at = places({name.split(".")[0] for name in known} - {"_typing"})
    figure, ax = plt.subplots(figsize=(10, 11), layout="constrained")
    for room, (x, y) in at.items():
        paths = [path for name, path in known.items() if name.split(".")[0] == room]
        lines = sum(len(path.read_text(encoding="utf-8").splitlines()) for path in paths)
        box = mpl.patches.FancyBboxPatch(
            (x - WIDTH / 2, y - HEIGHT / 2), WIDTH, HEIGHT, boxstyle="round,pad=0.05", fc="#eef3f8", ec="#36597a"
        )
        ax.add_patch(box)
        ax.text(x, y + 0.18, f"{room}/", ha="center", va="center", weight="bold")
        ax.text(x, y - 0.12, FOR[room], ha="center", va="center", fontsize=8)
        ax.text(x, y - 0.34, f"modules {len(paths)}, lines {lines}", ha="center", va="center", fontsize=7, color="0.45")
    for room, others in reduced(graph).items():
        for other in others & at.keys() if room in at else ():
            (x0, y0), (x1, y1) = at[room], at[other]
            bend = 0.0 if y0 - y1 < 1.5 * UP else 0.25 * (1 if x0 <= x1 else -1)
            arrow = mpl.patches.FancyArrowPatch(
                (x0, y0 - HEIGHT / 2 - 0.05),
                (x1, y1 + HEIGHT / 2 + 0.05),
                arrowstyle="-|>",
                mutation_scale=10,
                color="0.6",
                connectionstyle=f"arc3,rad={bend}",
                zorder=0,
            )
            ax.add_patch(arrow)
    ax.set(xlim=(-2 * ACROSS + 1, 2 * ACROSS - 1), ylim=(-UP / 2, max(y for _, y in at.values()) + UP / 2))
    ax.set_axis_off()
    ax.set_aspect("equal")
    return figure


if __name__ == "__main__":
    mpl.use("Agg")
    assert set(FOR) | {"_typing", "_core"} >= {room for floor in FLOORS for room in floor}
    print(f"{PACKAGE}: {len(modules())} modules")
    draw().savefig(PICTURE, dpi=80)
