"""Segments whose MU alone were optimized beside segments refined by their dose: goals, segments, MU, gamma, times.

    python benchmarks/apertures.py [--cases c-shape prostate] [--levels 7] [--picture apertures.png]

Each case of AAPM Task Group 119 is planned as ``opentps-brimstone tg119 --deliverable`` does, and refined.
A row has the goals met of those that the fluence meets, segments, MU per fraction, gamma 2 %/2 mm against the optimized
dose, the hottest voxel outside the targets, and seconds of the whole planning.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from opentps_brimstone._util.run_options import RunOptions
from opentps_brimstone.evaluation import format_table
from opentps_brimstone.evaluation.extremes import hot_spot
from opentps_brimstone.phantoms import make_phantom
from opentps_brimstone.sequencing import ApertureSettings
from opentps_brimstone.workflow.phantom_case import PhantomSettings, phantom_case
from opentps_brimstone.workflow.planning import plan_case
from opentps_brimstone.workflow.tg119 import CASES

COLUMNS = ("case", "segments are", "goals", "segments", "per beam", "MU", "gamma", "hot spot", "wall (s)", "CPU (s)")


class Row(NamedTuple):
    """What a deliverable plan has; numbers of the picture, and the cells of the table."""

    case: str
    refined: bool
    segments: int
    mu: float
    cells: tuple[str, ...]


def rows(case: str, settings: ApertureSettings) -> Iterator[Row]:
    """Plan a case with segments that are refined, and with segments that are not."""
    for refine in (False, True):
        chosen = PhantomSettings(refine=refine, apertures=settings, verify="none")
        wall, cpu = time.perf_counter(), time.process_time()
        result = plan_case(phantom_case(make_phantom(case, chosen.grid_mm), chosen), RunOptions())
        made: Any = result.deliverable
        wanted = [goal for goal, fluence in zip(result.goals, result.fluence_goals, strict=True) if fluence.met]
        cells = (
            case,
            "refined" if refine else "as sequenced",
            f"{sum(goal.met for goal in wanted)} of {len(wanted)}",
            str(made.n_segments),
            f"{made.segments_per_beam:.1f}",
            f"{made.machine_mu:.0f}",
            f"{made.gamma_pass_percent:.2f} %",
            f"{hot_spot(result.dose, result.structures):.1f} Gy",
            f"{time.perf_counter() - wall:.0f}",
            f"{time.process_time() - cpu:.0f}",
        )
        yield Row(case, refine, made.n_segments, made.machine_mu, cells)


def draw(found: list[Row], path: Path) -> None:
    """Draw segments and MU before and after."""
    from matplotlib.figure import Figure

    cases = list(dict.fromkeys(row.case for row in found))
    figure = Figure(figsize=(9, 3.2), dpi=130, layout="constrained", facecolor="white")
    for ax, name, title in zip(figure.subplots(1, 2), ("segments", "mu"), ("segments", "MU per fraction"), strict=True):
        for offset, refined, color in ((-0.2, False, "0.7"), (0.2, True, "#2B6CB0")):
            values = [getattr(row, name) for row in found if row.refined is refined]
            bars = ax.bar([k + offset for k in range(len(cases))], values, 0.38, color=color)
            ax.bar_label(bars, fmt="%.0f", fontsize=8)
        ax.set_xticks(range(len(cases)), cases)
        ax.set_title(title, loc="left")
        ax.spines[["top", "right"]].set_visible(False)
    figure.legend(["MU optimized", "leaves and MU optimized"], loc="outside lower center", ncols=2, frameon=False)
    figure.savefig(path)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=CASES)
    parser.add_argument(
        "--levels", type=int, default=ApertureSettings.levels, help="levels that refinement starts from"
    )
    parser.add_argument("--picture", type=Path, help="where to draw segments and MU")
    arguments = parser.parse_args()
    settings = replace(ApertureSettings(), levels=arguments.levels)
    found = []
    for case in arguments.cases:
        found += list(rows(case, settings))
        print(format_table(COLUMNS, [row.cells for row in found]), flush=True)
    if arguments.picture is not None:
        draw(found, arguments.picture)


if __name__ == "__main__":
    main()
