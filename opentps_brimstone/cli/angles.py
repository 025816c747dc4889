"""``opentps-brimstone angles``: choose beam directions."""

from __future__ import annotations

import argparse

from opentps_brimstone.cli import options

HELP = "choose gantry angles from candidates all around the patient"
DESCRIPTION = (
    "Choose gantry angles for a phantom, or for a DICOM folder with a prescription file, by what they bring to the "
    "plan: one after another, then by exchange. Plan with them and with the case's own angles, and write a page "
    "(angles.html) and values (angles.json)."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    options.add_ensemble_options(parser, "brimstone-angles")
    parser.add_argument("--beams", type=options.count, default=5, metavar="N", help="to choose (default: %(default)d)")
    parser.add_argument(
        "--candidates", type=options.count, default=24, metavar="N", help="to choose from (default: %(default)d)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    from opentps_brimstone.workflow.explorations import choose_angles

    chosen = options.given(arguments, "beams", "candidates", "workers")
    result = choose_angles(
        options.ensemble_case(arguments), arguments.out, **chosen, options=options.run_options(arguments)
    )
    return options.finished(arguments, result, result.summary())
