"""``opentps-brimstone prescription``: a prescription file to start from."""

from __future__ import annotations

import argparse

from opentps_brimstone.cli import options
from opentps_brimstone.cli.exit_codes import DONE

HELP = "write a prescription file to start from, for the structures of a DICOM folder"
DESCRIPTION = (
    "Write a commented prescription file for the command plan, from the names and types of the "
    "structures in a folder. Its doses and goals are guesses from names: read and change them."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("folder", metavar="FOLDER", help="with the DICOM files; nothing is written into it")
    parser.add_argument("--output", metavar="FILE", help="must not exist (default: print it)")
    options.add_input_options(parser)
    options.add_verbosity(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    from opentps_brimstone.request.prescription_template import starting_prescription, write_starting_prescription

    choice = options.input_choice(arguments)
    if arguments.output is None:
        print(starting_prescription(arguments.folder, choice), end="")
    else:
        path = write_starting_prescription(arguments.folder, arguments.output, choice)
        print(f"Written to {path}; its doses and goals are guesses, so read and change them")
    return DONE
