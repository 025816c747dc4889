"""``opentps-brimstone demo``: plan a phantom."""

from __future__ import annotations

import argparse

from opentps_brimstone.cli import options

HELP = "plan a phantom, check the plan with OpenTPS's dose engine, and write a report"
DESCRIPTION = (
    "Plan a phantom with Brimstone, recalculate the plan from the segments of an MLC alone, check the dose with "
    "OpenTPS's dose engine, compare it with its goals, and write report, DVHs, pictures of the "
    "apertures, RT Plan and RT Dose (DICOM) and plan (OpenTPS) into a folder."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    from opentps_brimstone.phantoms import PHANTOMS

    parser.add_argument("--case", choices=tuple(PHANTOMS), default="c-shape", help="phantom (default: %(default)s)")
    options.add_out(parser, "brimstone-<case>")
    parser.add_argument(
        "--fluence-only", action="store_true", help="make no segments and no RT Plan; recalculate the optimized fluence"
    )
    options.add_phantom_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    from opentps_brimstone.workflow.phantom_case import run_demo

    settings = options.phantom_settings(arguments, segments=not arguments.fluence_only)
    result = run_demo(arguments.case, arguments.out, settings, options.run_options(arguments))
    return options.finished(arguments, result, result.summary())
