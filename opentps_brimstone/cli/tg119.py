"""``opentps-brimstone tg119``: plan and tabulate the cases of AAPM Task Group 119."""

from __future__ import annotations

import argparse

from opentps_brimstone.cli import options

HELP = "plan the five cases of AAPM Task Group 119 to their goals, and tabulate the plans"
DESCRIPTION = (
    "Plan multi-target, mock prostate, mock head and neck and both C-shapes to their published goals, "
    "recalculate each plan, check it with OpenTPS's dose engine, and write a table of all beside a folder for each "
    "case."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    options.add_out(parser, "brimstone-tg119", default="brimstone-tg119")
    parser.add_argument(
        "--deliverable", action="store_true", help="make segments of each plan, and judge their recalculated dose"
    )
    options.add_phantom_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    from opentps_brimstone.workflow.tg119 import CASES, run_suite

    settings = options.phantom_settings(arguments, segments=arguments.deliverable)
    result = run_suite(arguments.out, CASES, settings, options.run_options(arguments))
    return options.finished(arguments, result, str(result))
