"""``opentps-brimstone explore``: the trade-off of a case."""

from __future__ import annotations

import argparse

from opentps_brimstone.cli import options

HELP = "find plans of which none is better than another, and a page that compares them"
DESCRIPTION = (
    "Make many plans of a phantom, or of a DICOM folder with a prescription file, that weigh targets, organs and body "
    "differently; keep those of which none is better than another, mix them within the goals, and write a page "
    "(tradeoff.html), values (tradeoff.json) and beamlet weights (tradeoff.npz)."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    options.add_ensemble_options(parser, "brimstone-explore")
    parser.add_argument("--plans", type=options.count, default=60, metavar="N", help="to make (default: %(default)d)")
    parser.add_argument(
        "--criterion",
        action="append",
        default=[],
        metavar="TEXT",
        help="to compare plans by, such as 'PTV D95' or 'Core D10'; give several (default: the metrics of the goals)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    from opentps_brimstone.workflow.explorations import explore_case

    case = options.ensemble_case(arguments)(None)
    chosen = options.given(arguments, "plans", "workers")
    chosen |= {"criteria": arguments.criterion, "options": options.run_options(arguments)}
    result = explore_case(case, arguments.out, **chosen)
    return options.finished(arguments, result, result.summary())
