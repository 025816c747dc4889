"""The command ``opentps-brimstone``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from typing import Any

import opentps_brimstone

__all__ = ["main"]

DONE, FAILED, BAD_ARGUMENTS, GOALS_MISSED, INTERRUPTED = 0, 1, 2, 3, 130

_EXIT_CODES = f"""exit codes:
  {DONE:<4} done; a plan met its goals and its recalculation agrees
  {FAILED:<4} failed, for instance because the dose engine did
  {BAD_ARGUMENTS:<4} wrong arguments or input
  {GOALS_MISSED:<4} done, but a goal is missed or the recalculation does not agree
  {INTERRUPTED:<4} ended by Ctrl-C; nothing unfinished was written
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments after the command's name; those of the process by default.

    Returns
    -------
    int
        Exit code, as ``opentps-brimstone --help`` lists them.
    """
    parser = _parser()
    try:
        arguments = parser.parse_args(argv)
    except SystemExit as ended:  # argparse ends the process after --help, --version and errors
        return BAD_ARGUMENTS if ended.code else DONE
    try:
        code: int = arguments.run(arguments)
    except KeyboardInterrupt:
        print("interrupted; nothing unfinished was written", file=sys.stderr)
        return INTERRUPTED
    except ValueError as error:
        return _complain(error, BAD_ARGUMENTS)
    except OSError as error:
        return _complain(error, FAILED)
    except RuntimeError as error:
        from opentps_brimstone.engine import EngineError

        if not isinstance(error, EngineError):
            raise
        return _complain(error, FAILED)
    return code


def _complain(error: Exception, code: int) -> int:
    print(f"opentps-brimstone: {error}", file=sys.stderr)
    return code


# ---------------------------------------------------------------------------------------------------------- arguments


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="opentps-brimstone",
        description="Brimstone inverse planning for OpenTPS photon plans. Research software, not a medical device.",
        epilog=_EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {opentps_brimstone.__version__}")
    commands = parser.add_subparsers(title="commands", metavar="<command>", required=True)
    _add_demo(commands)
    _add_tg119(commands)
    _add_plan(commands)
    _add_prescription(commands)
    _add_info(commands)
    _add_cache(commands)
    return parser


def _add_demo(commands: Any) -> None:
    from opentps_brimstone.phantoms import PHANTOMS

    demo = commands.add_parser(
        "demo",
        help="plan a phantom, check the plan with OpenTPS's dose engine, and write a report",
        description="Plan a phantom with Brimstone on beamlets of OpenTPS's dose engine, recalculate the plan with the "
        "engine from the segments of an MLC alone, compare it with its goals, and write report, DVHs, pictures of the "
        "apertures, RT Plan and RT Dose (DICOM) and plan (OpenTPS) into a folder.",
        epilog=_EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    demo.add_argument("--case", choices=tuple(PHANTOMS), default="c-shape", help="phantom (default: %(default)s)")
    demo.add_argument(
        "--out",
        metavar="FOLDER",
        help="where to write (default: brimstone-<case>); other files in it are left alone",
    )
    _add_planning(demo)
    demo.add_argument(
        "--fluence-only", action="store_true", help="make no segments and no RT Plan; recalculate the optimized fluence"
    )
    _add_machine(demo)
    demo.set_defaults(run=_demo)


def _add_tg119(commands: Any) -> None:
    suite = commands.add_parser(
        "tg119",
        help="plan the five cases of AAPM Task Group 119 to their goals, and tabulate the plans",
        description="Plan multi-target, mock prostate, mock head and neck and both C-shapes to their published goals, "
        "recalculate each plan with OpenTPS's dose engine, and write a table of all beside a folder for each case.",
        epilog=_EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    suite.add_argument(
        "--out",
        metavar="FOLDER",
        default="brimstone-tg119",
        help="where to write (default: %(default)s); other files in it are left alone",
    )
    _add_planning(suite)
    suite.add_argument(
        "--deliverable",
        action="store_true",
        help="make segments of each plan, and judge their recalculated dose",
    )
    _add_machine(suite)
    suite.set_defaults(run=_tg119)


def _add_planning(demo: Any) -> None:
    demo.add_argument(
        "--grid", type=_millimeters, default=4.0, metavar="MM", help="voxel spacing of the dose (default: %(default)g)"
    )
    demo.add_argument(
        "--beamlet", type=_millimeters, default=5.0, metavar="MM", help="beamlet spacing (default: %(default)g)"
    )
    _add_running(demo)


def _add_machine(command: Any) -> None:
    from opentps_brimstone.sequencing.mlc import MLCS
    from opentps_brimstone.workflow.phantom_case import DEFAULT_LEVELS, DEFAULT_MLC

    command.add_argument(
        "--mlc", choices=tuple(MLCS), default=DEFAULT_MLC, help="collimator of the segments (default: %(default)s)"
    )
    command.add_argument(
        "--levels",
        type=_count,
        default=DEFAULT_LEVELS,
        metavar="N",
        help="levels that the fluence of each beam is rounded to (default: %(default)d)",
    )


def _add_running(command: Any) -> None:
    command.add_argument(
        "--threads", type=_count, metavar="N", help="engine processes and optimizer threads (default: all processors)"
    )
    command.add_argument("--no-cache", action="store_true", help="compute all beamlets, and keep none")
    command.add_argument("--quiet", action="store_true", help="print nothing but errors")


def _add_plan(commands: Any) -> None:
    plan = commands.add_parser(
        "plan",
        help="plan on the CT and structures of a DICOM folder, and write RT Plan, RT Dose and report",
        description="Plan on CT and RT Structure Set of a folder as a prescription file says, make segments of an MLC, "
        "recalculate them with OpenTPS's dose engine, and write RT Plan, RT Dose, DVHs, goals and report. All files "
        "appear when all is computed, or none does.",
        epilog=_EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    plan.add_argument("folder", metavar="FOLDER", help="with the DICOM files; nothing is written into it")
    plan.add_argument(
        "--prescription",
        metavar="FILE",
        required=True,
        help="beams, targets, goals and options in TOML; the command prescription writes one to start from",
    )
    plan.add_argument("--out", metavar="DIR", required=True, help="where to write; other files in it are left alone")
    plan.add_argument("--fluence-only", action="store_true", help="make no segments, and no RT Plan")
    plan.add_argument("--force", action="store_true", help="replace files that are there")
    _add_running(plan)
    plan.set_defaults(run=_plan)


def _add_prescription(commands: Any) -> None:
    prescription = commands.add_parser(
        "prescription",
        help="write a prescription file to start from, for the structures of a DICOM folder",
        description="Write a commented prescription file for the command plan, from the names and types of the "
        "structures in a folder. Its doses and goals are guesses from names: read and change them.",
        epilog=_EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    prescription.add_argument("folder", metavar="FOLDER", help="with the DICOM files; nothing is written into it")
    prescription.add_argument("--output", metavar="FILE", help="must not exist (default: print it)")
    prescription.set_defaults(run=_prescription)


def _add_info(commands: Any) -> None:
    info = commands.add_parser("info", help="print versions, threads, dose engine and cache")
    info.set_defaults(run=_info)


def _add_cache(commands: Any) -> None:
    cache = commands.add_parser("cache", help="show or clear the cache of beamlets")
    cache.add_argument("--clear", action="store_true", help="remove all that is in it")
    cache.set_defaults(run=_cache)


def _millimeters(text: str) -> float:
    import math

    try:
        value = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of mm") from None
    if not (math.isfinite(value) and value > 0):
        raise argparse.ArgumentTypeError(f"{text} mm is not positive")
    return value


def _count(text: str) -> int:
    try:
        value = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number") from None
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is less than 1")
    return value


# ----------------------------------------------------------------------------------------------------------- commands


def _demo(arguments: argparse.Namespace) -> int:
    from opentps_brimstone.workflow.phantom_case import run_demo

    result = run_demo(
        arguments.case,
        arguments.out,
        fluence_only=arguments.fluence_only,
        **_planning(arguments),
        **_machine(arguments),
        **_running(arguments),
    )
    return _told(arguments, result, result.summary())


def _tg119(arguments: argparse.Namespace) -> int:
    from opentps_brimstone.workflow.tg119 import run_suite

    result = run_suite(
        arguments.out,
        deliverable=arguments.deliverable,
        **_planning(arguments),
        **_machine(arguments),
        **_running(arguments),
    )
    return _told(arguments, result, str(result))


def _plan(arguments: argparse.Namespace) -> int:
    from opentps_brimstone.workflow.patient_case import plan_folder

    result = plan_folder(
        arguments.folder,
        arguments.prescription,
        arguments.out,
        fluence_only=arguments.fluence_only,
        force=arguments.force,
        **_running(arguments),
    )
    return _told(arguments, result, result.summary())


def _planning(arguments: argparse.Namespace) -> dict[str, Any]:
    return {"grid_mm": arguments.grid, "beamlet_mm": arguments.beamlet}


def _machine(arguments: argparse.Namespace) -> dict[str, Any]:
    return {"mlc": arguments.mlc, "levels": arguments.levels}


def _running(arguments: argparse.Namespace) -> dict[str, Any]:
    silent = arguments.quiet
    return {
        "threads": arguments.threads,
        "cache": not arguments.no_cache,
        "progress": not silent and sys.stderr.isatty(),
        # OpenTPS prints to sys.stdout, which is redirected meanwhile.
        "say": (lambda _: None) if silent else partial(print, file=sys.stdout, flush=True),
    }


def _told(arguments: argparse.Namespace, result: Any, tables: str) -> int:
    """Print what was found, and say how it ended."""
    if not arguments.quiet:
        print(f"\n{tables}\n\nWritten to {result.folder}")
    return DONE if result.passed else GOALS_MISSED


def _prescription(arguments: argparse.Namespace) -> int:
    from opentps_brimstone.request.prescription_template import starting_prescription, write_starting_prescription

    if arguments.output is None:
        print(starting_prescription(arguments.folder), end="")
    else:
        path = write_starting_prescription(arguments.folder, arguments.output)
        print(f"Written to {path}; its doses and goals are guesses, so read and change them")
    return DONE


def _info(_: argparse.Namespace) -> int:
    from opentps_brimstone.engine import engine_info
    from opentps_brimstone.workflow.phantom_case import silent_opentps

    with silent_opentps():
        engine = engine_info()
    for name, value in [*_versions(), *_threads(), *_engine(engine), *_cache_state()]:
        print(f"{name + ':':<22} {value}")
    return FAILED if engine["problem"] else DONE


def _cache(arguments: argparse.Namespace) -> int:
    from opentps_brimstone.engine.cache import BeamletCache

    if arguments.clear:
        cache = BeamletCache()
        print(f"removed {_readable(cache.clear())} from {cache.directory}")
        return DONE
    for name, value in _cache_state():
        print(f"{name + ':':<22} {value}")
    return DONE


# -------------------------------------------------------------------------------------------------- what info prints

_Facts = list[tuple[str, Any]]


def _versions() -> _Facts:
    import importlib.metadata
    import platform

    packages: _Facts = [("opentps-brimstone", opentps_brimstone.__version__), ("Python", platform.python_version())]
    for name in ("opentps", "opentps-core", "numpy", "scipy", "pydicom", "matplotlib"):
        try:
            packages.append((name, importlib.metadata.version(name)))
        except importlib.metadata.PackageNotFoundError:
            continue
    return packages


def _threads() -> _Facts:
    import os

    from opentps_brimstone import _core

    build = _core.build_info()
    return [
        ("compiler", build["compiler"]),
        ("pybind11", build["pybind11"]),
        ("processors", len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()),
        ("optimizer threads", build["threads"]),
    ]


def _engine(engine: dict[str, Any]) -> _Facts:
    path, runs_from = engine["path"], engine["runs_from"]
    if engine["problem"]:
        state = f"does not run: {engine['problem']}"
    elif engine["executable"]:
        state = "runs"
    else:
        state = f"runs from an executable copy, {runs_from}"
    return [
        ("dose engine", path or "not found"),
        ("named by", engine["named_by"]),
        ("kernels", engine["kernels"] or "not found"),
        ("engine state", state),
    ]


def _cache_state() -> _Facts:
    from opentps_brimstone.engine.cache import BeamletCache

    cache = BeamletCache()
    return [
        ("beamlet cache", cache.directory),
        ("cache size", f"{_readable(cache.size_bytes)} of at most {_readable(cache.max_bytes)}"),
        ("cache entries", len(cache.entries)),
    ]


def _readable(n_bytes: float) -> str:
    for unit in ("bytes", "KiB", "MiB"):
        if n_bytes < 1024:
            return f"{n_bytes:.0f} {unit}" if unit == "bytes" else f"{n_bytes:.1f} {unit}"
        n_bytes /= 1024
    return f"{n_bytes:.1f} GiB"
