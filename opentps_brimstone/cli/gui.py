"""``opentps-brimstone gui``: OpenTPS's window with Brimstone in it."""

from __future__ import annotations

import argparse
from pathlib import Path

from opentps_brimstone.cli import options
from opentps_brimstone.cli.exit_codes import DONE

HELP = "open OpenTPS's window with Brimstone in it"
DESCRIPTION = f"{HELP}; needs the extra gui (pip install 'opentps-brimstone[gui]') and a display"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("folder", nargs="?", type=Path, help="DICOM folder to load: a CT and an RT Structure Set")
    options.add_verbosity(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    from opentps_brimstone.gui.launcher import launch

    launch(arguments.folder)
    return DONE
