"""``opentps-brimstone info``: versions, threads, dose engine and cache."""

from __future__ import annotations

import argparse
from typing import Any

import opentps_brimstone
from opentps_brimstone.cli import options
from opentps_brimstone.cli.cache import Facts, cache_facts, print_facts
from opentps_brimstone.cli.exit_codes import DONE, FAILED

HELP = "print versions, threads, dose engine and cache"
DESCRIPTION = HELP


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    options.add_verbosity(parser)


def run(_: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    from opentps_brimstone._util.silence import silent_opentps
    from opentps_brimstone._util.versions import installed_versions
    from opentps_brimstone.engine import engine_info

    with silent_opentps():
        engine = engine_info()
    packages = ("opentps", "opentps-core", "numpy", "scipy", "pydicom", "matplotlib")
    versions = [("opentps-brimstone", opentps_brimstone.__version__), *installed_versions(packages)]
    print_facts([*versions, *_threads(), *_engine(engine), *cache_facts()])
    return FAILED if engine["problem"] else DONE


def _threads() -> Facts:
    import os

    from opentps_brimstone import _core

    build = _core.build_info()
    return [
        ("compiler", build["compiler"]),
        ("pybind11", build["pybind11"]),
        ("processors", len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()),
        ("optimizer threads", build["threads"]),
    ]


def _engine(engine: dict[str, Any]) -> Facts:
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
