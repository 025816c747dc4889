"""Plans from OpenTPS's objectives: Brimstone's beside those of OpenTPS's Scipy_L-BFGS-B, on the same beamlets.

    python benchmarks/opentps_objectives.py [--cases "random 3" ...] [--json table.json] [--markdown table.md]

For every objective of fourteen cases: what was typed, what either plan has, and whether Brimstone's meets it, to
0.2 Gy, if L-BFGS's does, and misses it by at most 0.2 Gy more if not. Beside it the value of OpenTPS's own objective
function and the times of the optimization alone. An hour in all, nearly all of it L-BFGS's; plans that are in the JSON
file are made again only with --again and the name of the method.
"""

from __future__ import annotations

import argparse
import copy
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from in_opentps import add_objective, optimize_in_opentps
from objective_cases import CASES, Case, Typed

import opentps_brimstone as pb
from opentps_brimstone._util.silence import silent_opentps
from opentps_brimstone.adapters.beamlets import sparse_beamlets_from_dose_influence
from opentps_brimstone.adapters.phantom import to_opentps
from opentps_brimstone.integration.photon_plan import plan_from_opentps

BRIMSTONE, THEIRS = METHODS = ("Brimstone", "Scipy_L-BFGS-B")
SAME_GY = 0.2


def prepared(case: Case) -> tuple[Any, Any, dict[str, Any], list[Typed]]:
    """Plan with beamlets and objectives, CT, masks and what is typed."""
    phantom, typed = case.make()
    with silent_opentps():
        ct, rois, photon_plan = to_opentps(phantom, case.beamlet_mm)
        plan = plan_from_opentps(photon_plan, ct, list(rois.values()), progress=False)
        photon_plan.planDesign.beamlets = sparse_beamlets_from_dose_influence(plan.dose_influence)
        photon_plan.planDesign.ROI_cropping = False
        # OpenTPS's start weights are too low by the number of fractions; with one it starts at the prescribed dose.
        photon_plan._numberOfFractionsPlanned = 1
        for one in typed:
            add_objective(photon_plan, one.metric, rois[one.roi], one.limit_gy, one.weight, one.volume)
    return photon_plan, ct, {name: np.asarray(roi.imageArray, dtype=bool) for name, roi in rois.items()}, typed


def with_brimstone(photon_plan: Any, ct: Any) -> tuple[np.ndarray, float, int]:
    """Dose, seconds and iterations of the plan that this package makes."""
    trial = copy.deepcopy(photon_plan)
    started = time.perf_counter()
    _, result = pb.optimize_photon_plan(
        trial, ct, beamlets=trial.planDesign.beamlets, progress=False, return_result=True
    )
    return np.asarray(result.dose), time.perf_counter() - started, int(result.iterations)


def penalty(typed: list[Typed], dose: np.ndarray, masks: dict[str, np.ndarray]) -> float:
    """OpenTPS's objective function: weights times means of squares of what is beyond the limits."""
    total = 0.0
    for one in typed:
        doses = dose[masks[one.roi]]
        excess = one.limit_gy - doses if one.metric == "DMin" else doses - one.limit_gy
        if one.metric == "DMean":
            total += one.weight * max(0.0, float(excess.mean())) ** 2
            continue
        if one.metric == "DVHMax":
            excess = np.where(doses <= one.value(dose, masks[one.roi]), excess, 0.0)
        total += one.weight * float(np.mean(np.maximum(0.0, excess) ** 2))
    return total


def judged(dose: np.ndarray, seconds: float, iterations: int, typed: list[Typed], masks: Any) -> dict[str, Any]:
    """What a plan has for everything that is typed."""
    return {
        "time_s": seconds,
        "iterations": iterations,
        "penalty": penalty(typed, dose, masks),
        "values": [one.value(dose, masks[one.roi]) for one in typed],
    }


def is_as_good(typed: Typed, ours: float, theirs: float) -> bool:
    """Whether ours meets what theirs meets, and misses by no more; to 0.2 Gy."""
    our_miss, their_miss = typed.miss(ours), typed.miss(theirs)
    return our_miss <= (SAME_GY if their_miss <= SAME_GY else their_miss + SAME_GY)


def compare(case: Case, known: dict[str, Any], iterations: int) -> dict[str, Any]:
    """Make the plans of a case that are not known yet."""
    photon_plan, ct, masks, typed = prepared(case)
    row = {"tuned": case.tuned, "typed": [str(one) for one in typed], **known}
    if THEIRS not in row:
        with silent_opentps():
            row[THEIRS] = judged(*optimize_in_opentps(photon_plan, iterations), typed, masks)
    if BRIMSTONE not in row:
        row[BRIMSTONE] = judged(*with_brimstone(photon_plan, ct), typed, masks)
    pairs = zip(typed, row[BRIMSTONE]["values"], row[THEIRS]["values"], strict=True)
    row["as_good"] = [is_as_good(one, ours, theirs) for one, ours, theirs in pairs]
    return row


def print_row(name: str, row: dict[str, Any]) -> None:
    """Print a case."""
    ours, theirs = row[BRIMSTONE], row[THEIRS]
    print(
        f"{name}: {sum(row['as_good'])} of {len(row['as_good'])} as good; OpenTPS's objective {ours['penalty']:.4g} "
        f"(theirs {theirs['penalty']:.4g}); {ours['time_s']:.1f} s, {ours['iterations']} iterations "
        f"(theirs {theirs['time_s']:.1f} s, {theirs['iterations']})",
        flush=True,
    )
    lines = zip(row["typed"], theirs["values"], ours["values"], row["as_good"], strict=True)
    for typed, their_value, our_value, good in lines:
        print(f"    {typed:45s} L-BFGS {their_value:7.2f}   Brimstone {our_value:7.2f} {'' if good else '  WORSE'}")


def markdown(rows: dict[str, dict[str, Any]]) -> str:
    """Table of all cases."""
    lines = [
        "| case | typed | L-BFGS (Gy) | Brimstone (Gy) | as good | OpenTPS's objective | time (s) |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, row in rows.items():
        ours, theirs = row[BRIMSTONE], row[THEIRS]
        first = [
            name + (" *" if row["tuned"] else ""),
            f"{theirs['penalty']:.3g} / {ours['penalty']:.3g}",
            f"{theirs['time_s']:.1f} / {ours['time_s']:.1f}",
        ]
        for typed, their_value, our_value, good in zip(
            row["typed"], theirs["values"], ours["values"], row["as_good"], strict=True
        ):
            verdict = "yes" if good else "**no**"
            lines.append(
                f"| {first[0]} | {typed} | {their_value:.2f} | {our_value:.2f} | {verdict} | {first[1]} | {first[2]} |"
            )
            first = ["", "", ""]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [case.name for case in CASES]
    parser.add_argument("--cases", nargs="+", choices=names, default=names, metavar="NAME")
    parser.add_argument("--iterations", type=int, default=1500, help="of L-BFGS at most")
    parser.add_argument("--again", nargs="+", choices=METHODS, default=[])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--markdown", type=Path)
    options = parser.parse_args()
    rows = json.loads(options.json.read_text()) if options.json and options.json.exists() else {}
    for case in CASES:
        if case.name not in options.cases:
            continue
        known = {method: row for method, row in rows.get(case.name, {}).items() if method in METHODS}
        known = {method: row for method, row in known.items() if method not in options.again}
        rows[case.name] = compare(case, known, options.iterations)
        print_row(case.name, rows[case.name])
        if options.json:
            options.json.write_text(json.dumps(rows, indent=1) + "\n")
    rows = {case.name: rows[case.name] for case in CASES if case.name in rows}
    if options.markdown:
        options.markdown.write_text(markdown(rows))
    good = [name for name, row in rows.items() if all(row["as_good"])]
    print(f"{len(good)} of {len(rows)} cases as good")


if __name__ == "__main__":
    main()
