"""Segments as sequenced beside segments refined by their dose, with full scatter and with leakage besides.

    python benchmarks/apertures.py [--cases c-shape prostate] [--ways ...] [--levels 7] [--picture apertures.png]

Each case of AAPM Task Group 119 is planned as ``opentps-brimstone tg119 --deliverable`` does, in several ways: "as
sequenced", with MU alone optimized, and "refined", both with scatter as in OpenTPS's beamlets; "full scatter" and "with
leakage", refined, with scatter through the whole patient from the fluence on, and with the beam model Kernels_6MV.
A row has the goals that the fluence meets, those of them that the segments meet, and the goals that they meet in the
dose with full scatter and leakage, whatever they were made for; segments, MU per fraction, gamma 2 %/2 mm against the
optimized dose, the hottest voxel outside the targets, and seconds of the whole planning.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from opentps_brimstone import compute_dose
from opentps_brimstone._util.run_options import RunOptions
from opentps_brimstone.adapters.phantom import to_opentps
from opentps_brimstone.evaluation import evaluate, format_table
from opentps_brimstone.evaluation.extremes import hot_spot
from opentps_brimstone.phantoms import make_phantom
from opentps_brimstone.sequencing import ApertureSettings
from opentps_brimstone.workflow.phantom_case import PhantomSettings, phantom_case
from opentps_brimstone.workflow.planning import plan_case
from opentps_brimstone.workflow.tg119 import CASES

COLUMNS = (
    "case",
    "segments are",
    "fluence's goals",
    "met",
    "with leakage",
    "segments",
    "per beam",
    "MU",
    "gamma",
    "hot spot",
    "wall (s)",
    "CPU (s)",
)
LEAKING = "Kernels_6MV"
WAYS: dict[str, dict[str, Any]] = {
    "as sequenced": {"refine": False, "scatter": "opentps"},
    "refined": {"refine": True, "scatter": "opentps"},
    "full scatter": {"scatter": "full"},
    "with leakage": {"beam_model": LEAKING},
}


class Row(NamedTuple):
    """What a deliverable plan has; numbers of the picture, and the cells of the table."""

    case: str
    way: str
    segments: int
    mu: float
    cells: tuple[str, ...]


def rows(case: str, ways: list[str], settings: ApertureSettings) -> Iterator[Row]:
    """Plan a case in several ways."""
    phantom = make_phantom(case, PhantomSettings.grid_mm)
    ct, _, _ = to_opentps(phantom, PhantomSettings.beamlet_mm)
    for way in ways:
        chosen = PhantomSettings(apertures=settings, verify="none", **WAYS[way])
        wall, cpu = time.perf_counter(), time.process_time()
        result = plan_case(phantom_case(phantom, chosen), RunOptions())
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        made: Any = result.deliverable
        wanted = [goal for goal, fluence in zip(result.goals, result.fluence_goals, strict=True) if fluence.met]
        leaking = np.asarray(compute_dose(made, ct, beam_model=LEAKING, progress=False))
        judged = evaluate(leaking, result.structures, phantom.goals, grid=result.grid)
        cells = (
            case,
            way,
            f"{len(wanted)} of {len(result.goals)}",
            str(sum(goal.met for goal in wanted)),
            str(sum(goal.met for goal in judged)),
            str(made.n_segments),
            f"{made.segments_per_beam:.1f}",
            f"{made.machine_mu:.0f}",
            f"{made.gamma_pass_percent:.2f} %",
            f"{hot_spot(result.dose, result.structures):.1f} Gy",
            f"{wall:.0f}",
            f"{cpu:.0f}",
        )
        yield Row(case, way, made.n_segments, made.machine_mu, cells)


def draw(found: list[Row], ways: list[str], path: Path) -> None:
    """Draw segments and MU of each way."""
    from matplotlib.figure import Figure

    cases = list(dict.fromkeys(row.case for row in found))
    colors = dict(zip(WAYS, ("0.75", "#9DB8D9", "#2B6CB0", "#1A365D"), strict=True))
    width = 0.84 / len(ways)
    figure = Figure(figsize=(11, 3.4), dpi=130, layout="constrained", facecolor="white")
    for ax, name, title in zip(figure.subplots(1, 2), ("segments", "mu"), ("segments", "MU per fraction"), strict=True):
        for number, way in enumerate(ways):
            values = [getattr(row, name) for row in found if row.way == way]
            places = [k + (number - (len(ways) - 1) / 2) * width for k in range(len(cases))]
            bars = ax.bar(places, values, 0.95 * width, color=colors[way])
            ax.bar_label(bars, fmt="%.0f", fontsize=6.5)
        ax.set_xticks(range(len(cases)), cases)
        ax.set_title(title, loc="left")
        ax.spines[["top", "right"]].set_visible(False)
    figure.legend(ways, loc="outside lower center", ncols=len(ways), frameon=False)
    figure.savefig(path)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=CASES)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument(
        "--levels", type=int, default=ApertureSettings.levels, help="levels that refinement starts from"
    )
    parser.add_argument("--picture", type=Path, help="where to draw segments and MU")
    arguments = parser.parse_args()
    settings = replace(ApertureSettings(), levels=arguments.levels)
    found = []
    for case in arguments.cases:
        for row in rows(case, arguments.ways, settings):
            found.append(row)
            print(format_table(COLUMNS, [each.cells for each in found]), flush=True)
    if arguments.picture is not None:
        draw(found, arguments.ways, arguments.picture)


if __name__ == "__main__":
    main()
