"""How fast it is, on this machine and in one run: every part against memory bandwidth or another program.

    python benchmarks/speed.py [--sizes 3e6 1e7 3e7 1e8 3e8] [--parts PART ...] [--json FILE]

Parts (all by default; pyradplan where an interpreter is named):

bandwidth     reading and copying memory, with as many threads as the core uses
evaluation    one cost with gradient on synthetic beamlets, against reading the stored matrix twice and against SciPy's
              products on the same float32 matrix; time to build matrix and pyramid
memory        peak memory of an optimization against the stored matrix
optimization  the TG-119 C-shape of the demo by L-BFGS (the default) and by conjugate gradient
opentps       the same case by OpenTPS's methods (--methods)
scipy         the same cost by SciPy's L-BFGS-B until it is as low: cost and gradient from the core, and from NumPy
pyradplan     pyRadPlan's TG-119 case by pyRadPlan and by Brimstone (--pyradplan-python, or --pyradplan-file)
engine        reading the dose engine's files, against OpenTPS's reader

Times mean something on a quiet machine only. At 3e8 nonzeros the float32 matrix as SciPy holds it takes 2.4 GB, before
anything is built from it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import c_shape_case
import core_speed
import engine_reading
import numpy as np
import pyradplan_case
import scipy
from bandwidth import Memory

from opentps_brimstone import _core

PARTS = ("bandwidth", "evaluation", "memory", "optimization", "opentps", "scipy", "pyradplan", "engine")
ON_C_SHAPE = {"optimization", "opentps", "scipy", "engine"}
SIZES = (3e6, 1e7, 3e7, 1e8, 3e8)
OPENTPS_3 = not c_shape_case.OPENTPS.startswith("OpenTPS 2")
LARGE = 2.5e7  # nonzeros from which the matrix is far larger than any cache

_METHODS = ["Brimstone", "Scipy_L-BFGS-B", *(["Scipy_L-BFGS-B-cropped"] if OPENTPS_3 else [])]

Say = Callable[..., None]


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Run the parts asked for, print their tables and write them as JSON."""
    options = _options(arguments)
    parts = [part for part in PARTS if part in options.parts]
    results: dict[str, Any] = {"machine": _machine(options.threads)}
    print(", ".join(f"{name} {value}" for name, value in results["machine"].items()))
    if {"bandwidth", "evaluation"} & set(parts):
        memory = Memory(options.threads, options.bandwidth_mib)
        results["bandwidth"] = _bandwidth(memory)
        if "evaluation" in parts:
            results["evaluation"] = _evaluation(options, memory)
        del memory
    if "memory" in parts:
        results["memory"] = _memory(options)
    if ON_C_SHAPE & set(parts):
        results |= _c_shape(options, parts)
    if "pyradplan" in parts and (options.pyradplan_python or options.pyradplan_file):
        results["pyradplan"] = _pyradplan(options)
    results["goals"] = goals(results)
    if results["goals"]:
        print("\nGoals")
        print_table(results["goals"], ["goal", "asked", "measured", "reached"])
    if options.json:
        options.json.write_text(json.dumps(results, indent=2))
    return results


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", type=float, default=SIZES, help="nonzeros of synthetic cases")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--threads", type=int, default=int(_core.build_info()["threads"]))
    parser.add_argument("--seconds", type=float, default=2.0, help="repeat what is short for so long, 3 times at least")
    parser.add_argument("--bandwidth-mib", type=int, default=512, help="size of the array read, in MiB")
    parser.add_argument("--grid", type=float, default=4.0, help="dose grid of the C-shape in mm")
    parser.add_argument("--beamlet", type=float, default=5.0, help="beamlet size of the C-shape in mm")
    parser.add_argument("--methods", nargs="*", choices=c_shape_case.OPENTPS_METHODS, default=_METHODS)
    parser.add_argument("--max-iterations", type=int, default=1000, help="of OpenTPS's methods")
    parser.add_argument("--ftol", type=float, default=1e-3, help="relative change at which LBFGS and FISTA stop")
    parser.add_argument("--scipy-iterations", type=int, default=3000, help="most iterations of SciPy's L-BFGS-B")
    parser.add_argument("--scipy-seconds", type=float, default=600.0, help="most time for each of its two runs")
    parser.add_argument("--pyradplan-python", type=Path, help="interpreter that has pyRadPlan 0.5")
    parser.add_argument(
        "--pyradplan-file", type=Path, help="what benchmarks/pyradplan_program.py wrote earlier, instead"
    )
    parser.add_argument("--json", type=Path, help="also write everything here")
    return parser.parse_args(arguments)


def _machine(threads: int) -> dict[str, Any]:
    return {
        "processor": _processor(),
        "processors": len(os.sched_getaffinity(0)),
        "threads": threads,
        "vector path": _core.vector_path(),
        "compiler": _core.build_info()["compiler"],
        "Python": platform.python_version(),
        "NumPy": np.__version__,
        "SciPy": scipy.__version__,
        "load": round(os.getloadavg()[0], 2),
    }


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    if information.is_file():
        for line in information.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


# ---------------------------------------------------------------------------------------------------- parts


def _bandwidth(memory: Memory) -> dict[str, Any]:
    result = memory.measure()
    print(
        f"\nMemory bandwidth, {result['threads']} threads, {result['size_mib']} MiB: read "
        f"{result['read_gb_s']:.1f} GB/s ({result['read_by']}), copy "
        f"{result['copy_gb_s']:.1f} GB/s (bytes read and written)"
    )
    return result


def _evaluation(options: argparse.Namespace, memory: Memory) -> list[dict[str, Any]]:
    rows = [core_speed.measure_evaluation(size, options.threads, memory, options.seconds) for size in options.sizes]
    for row, relative in zip(rows, core_speed.relative_to_median(rows), strict=True):
        row["relative_to_median"] = relative
    print("\nOne cost with gradient: three histograms and a highest dose, synthetic beamlets")
    shown = {
        "nonzeros": "nonzeros",
        "nonzeros_per_voxel": "per voxel",
        "evaluation_s": "time s",
        "bytes_per_nonzero": "B/nonzero",
        "evaluation_over_reading_twice": "/ reading twice",
        "scipy_2_rhs_over_evaluation": "SciPy's /",
        "scipy_1_rhs_over_evaluation": "with 1 rhs",
        "relative_to_median": "/ median",
        "dose_deviation": "deviation",
        "matrix_build_in_evaluations": "matrix",
        "pyramid_in_evaluations": "pyramid",
    }
    print_table(rows, list(shown), list(shown.values()))
    print(
        "/ reading twice: time over that of reading the stored matrix twice at the bandwidth of that moment.\n"
        "SciPy's /: time of its two products with 2 (or 1) right-hand sides, one thread, over that of the cost with "
        "gradient.\n/ median: time for each nonzero, over the median. deviation: of the dose from SciPy's, over the "
        "maximum.\nmatrix, pyramid: time to build them, in evaluations."
    )
    return rows


def _memory(options: argparse.Namespace) -> list[dict[str, Any]]:
    rows = [core_speed.measure_memory(size, options.threads) for size in options.sizes]
    print(f"\nPeak memory of an optimization above what there was before, by {rows[0]['measured_by']}")
    for row in rows:
        row["peak_mib"], row["stored_mib"] = row["peak_above"] / core_speed.MIB, row["stored"] / core_speed.MIB
    print_table(rows, ["nonzeros", "stored_mib", "peak_mib", "peak_over_stored"])
    return rows


def _c_shape(options: argparse.Namespace, parts: list[str]) -> dict[str, Any]:
    case = c_shape_case.make_case(options.grid, options.beamlet, options.threads)
    matrix = case.plan.dose_influence.matrix
    results: dict[str, Any] = {"c_shape": {"nonzeros": int(matrix.nnz), "beamlets": int(matrix.shape[1])}}
    plans: list[dict[str, Any]] = []
    if {"optimization", "opentps", "scipy"} & set(parts):
        line, best = c_shape_case.run_brimstone(case, "lbfgs")
        plans.append(line)
        if "optimization" in parts:
            plans.append(c_shape_case.run_brimstone(case, "conjugate_gradient")[0])
        if "scipy" in parts:
            limits = options.scipy_iterations, options.scipy_seconds
            plans += [c_shape_case.run_scipy(case, best.beamlet_weights, how, *limits) for how in ("core", "numpy")]
        if "opentps" in parts:
            for method in options.methods:
                plans.append(c_shape_case.run_opentps(method, case, options.max_iterations, options.ftol))
        print(f"\nTG-119 C-shape: {matrix.shape[1]} beamlets, {matrix.nnz / 1e6:.1f} million nonzeros")
        print_plans(plans)
        for line in plans:
            if "wanted_cost" in line:
                print(
                    f"{line['method']}: cost {line['cost']:.6f} after {line['evaluations']} evaluations; Brimstone's "
                    f"{line['wanted_cost']:.6f}{'' if line['reached'] else ', NOT reached'}"
                )
        results["plans"] = plans
    if "engine" in parts:
        results["engine"] = reading = engine_reading.measure_reading(case)
        print(
            f"\nReading {reading['megabytes']:.0f} MB of the dose engine's output: OpenTPS "
            f"{reading['opentps_s']:.2f} s, Brimstone {reading['brimstone_s']:.3f} s, "
            f"ratio {reading['ratio']:.1f}, matrices {'bitwise equal' if reading['equal'] else 'DIFFERENT'}"
        )
    return results


def _pyradplan(options: argparse.Namespace) -> dict[str, Any]:
    if options.pyradplan_file:
        case = pyradplan_case.load_case(options.pyradplan_file)
    else:
        case = pyradplan_case.run_pyradplan(options.pyradplan_python)
    plans = [pyradplan_case.run_brimstone(case, options.threads), case.row]
    print(
        f"\npyRadPlan's TG-119 phantom: {case.facts['beamlets']} beamlets, {case.facts['nonzeros'] / 1e6:.1f} million "
        "nonzeros"
    )
    print_plans(plans)
    print("pyRadPlan's objectives: " + "; ".join(case.facts["objectives"]))
    return case.facts | {"plans": plans}


# ---------------------------------------------------------------------------------------------------- tables


def print_plans(rows: list[dict[str, Any]]) -> None:
    """Print plans with their times, also as multiples of the first one's."""
    columns = ["method", "time_s", "ratio", "iterations"]
    columns += [name for name in rows[0] if name.startswith(("PTV", "Core", "Body", "maximum"))]
    for row in rows:
        row["ratio"] = row["time_s"] / rows[0]["time_s"]
    print_table(rows, columns)
    print("doses in Gy over all fractions; ratio: time over Brimstone's, preparation included")


def print_table(rows: list[dict[str, Any]], columns: list[str], titles: list[str] | None = None) -> None:
    """Print rows in columns as wide as they need to be."""
    cells = [titles or columns] + [[_text(row.get(name, "")) for name in columns] for row in rows]
    widths = [max(len(line[i]) for line in cells) for i in range(len(columns))]
    left = [isinstance(rows[0].get(name), str) for name in columns]
    for line in cells:
        padded = [
            text.ljust(n) if to_left else text.rjust(n) for text, n, to_left in zip(line, widths, left, strict=True)
        ]
        print("  ".join(padded).rstrip())


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "NO"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 10 or abs(value) >= 1e6 else f"{value:.1f}"
    return str(value)


def goals(results: dict[str, Any]) -> list[dict[str, Any]]:
    """What the parts that ran were to reach, and whether they did.

    Parameters
    ----------
    results : dict
        Of `main`.

    Returns
    -------
    list of dict
        "goal", "asked", "measured" and "reached" of each.
    """
    found: list[dict[str, Any]] = []

    def most(goal: str, measured: float, asked: float) -> None:
        found.append({"goal": goal, "asked": f"<= {asked:g}", "measured": measured, "reached": bool(measured <= asked)})

    def least(goal: str, measured: float, asked: float) -> None:
        found.append({"goal": goal, "asked": f">= {asked:g}", "measured": measured, "reached": bool(measured >= asked)})

    rows = results.get("evaluation", [])
    large = [row for row in rows if row["nonzeros"] >= LARGE]
    if large:
        most("evaluation over reading twice, 3e7 and more", max(r["evaluation_over_reading_twice"] for r in large), 1.6)
        least("SciPy's products over evaluation, 3e7 and more", min(r["scipy_2_rhs_over_evaluation"] for r in large), 4)
        most("pyramid in evaluations, 3e7 and more", max(r["pyramid_in_evaluations"] for r in large), 10)
    if rows:
        most("bytes per nonzero", max(r["bytes_per_nonzero"] for r in rows), 5)
        most("dose deviation over maximum", max(r["dose_deviation"] for r in rows), 5e-4)
        most("time per nonzero off the median", max(abs(r["relative_to_median"] - 1) for r in rows), 0.2)
    large_memory = [row for row in results.get("memory", []) if row["nonzeros"] >= LARGE]
    if large_memory:
        most("peak memory over stored matrix, 3e7 and more", max(r["peak_over_stored"] for r in large_memory), 1.5)
    plans = {row["method"]: row for row in results.get("plans", [])}
    _compare_plans(plans.get("Brimstone, lbfgs"), plans.get(f"{c_shape_case.OPENTPS} Scipy_L-BFGS-B"), 100, least, most)
    for how in ("core", "numpy"):
        if (row := plans.get(f"SciPy L-BFGS-B, cost by {how}")) is not None:
            goal = f"{row['method']}: time to Brimstone's cost over Brimstone's"
            if row["reached"]:
                least(goal, row["time_s"] / plans["Brimstone, lbfgs"]["time_s"], 5)
            else:
                found.append({"goal": goal, "asked": ">= 5", "measured": "never there", "reached": True})
    if "pyradplan" in results:
        _compare_plans(*results["pyradplan"]["plans"], 10, least, most)
    if "engine" in results:
        least("reading engine output, OpenTPS's time over ours", results["engine"]["ratio"], 10)
    return found


def _compare_plans(
    ours: dict[str, Any] | None, theirs: dict[str, Any] | None, ratio: float, least: Say, most: Say
) -> None:
    """Goals of a plan against another program's: faster, with at least its coverage and sparing."""
    if ours is None or theirs is None:
        return
    name = theirs["method"]
    least(f"{name}: time over Brimstone's", theirs["time_s"] / ours["time_s"], ratio)
    for dose in ("PTV D98", "PTV D95"):
        least(f"{dose} minus that of {name}, Gy", ours[dose] - theirs[dose], 0)
    most(f"Core D10 minus that of {name}, Gy", ours["Core D10"] - theirs["Core D10"], 0)


if __name__ == "__main__":
    main()
