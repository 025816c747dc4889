"""The program: its commands, what it shows, and how it ends."""

from __future__ import annotations

import argparse
import sys
import traceback
from collections.abc import Sequence

import opentps_brimstone
from opentps_brimstone._util.errors import BrimstoneError
from opentps_brimstone.cli import (
    angles,
    beam_model,
    cache,
    demo,
    dose,
    explore,
    gui,
    info,
    plan,
    prescription,
    robustness,
    tg119,
)
from opentps_brimstone.cli.exit_codes import BAD_ARGUMENTS, DONE, EXIT_CODES, FAILED, INTERRUPTED
from opentps_brimstone.cli.messages import shown_messages
from opentps_brimstone.cli.options import add_verbosity

__all__ = ["main"]

_COMMANDS = (demo, tg119, plan, explore, angles, robustness, dose, beam_model, prescription, gui, info, cache)
_Formatter = argparse.RawDescriptionHelpFormatter


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments after the program's name; those of the process by default.

    Returns
    -------
    int
        Exit code, as ``opentps-brimstone --help`` lists them.
    """
    given = sys.argv[1:] if argv is None else argv
    try:
        arguments = _parser(given).parse_args(given)
    except SystemExit as ended:  # argparse ends the process after --help, --version and errors
        return BAD_ARGUMENTS if ended.code else DONE
    quiet = getattr(arguments, "quiet", False)
    try:
        with shown_messages(quiet=quiet, verbose=arguments.verbose or arguments.debug):
            code: int = arguments.run(arguments)
    except KeyboardInterrupt:
        print("interrupted; nothing unfinished was written", file=sys.stderr)
        return INTERRUPTED
    except (ValueError, OSError, BrimstoneError) as error:
        if arguments.debug:
            traceback.print_exception(error)
        print(f"opentps-brimstone: {error}", file=sys.stderr)
        return BAD_ARGUMENTS if isinstance(error, ValueError) else FAILED
    return code


def _parser(given: Sequence[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="opentps-brimstone",
        description="Brimstone inverse planning for OpenTPS photon plans. Research software, not a medical device.",
        epilog=EXIT_CODES,
        formatter_class=_Formatter,
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {opentps_brimstone.__version__}")
    add_verbosity(parser, default=False)
    commands = parser.add_subparsers(title="commands", metavar="<command>", required=True)
    for module in _COMMANDS:
        name = module.__name__.rpartition(".")[2].replace("_", "-")
        command = commands.add_parser(
            name, help=module.HELP, description=module.DESCRIPTION, epilog=EXIT_CODES, formatter_class=_Formatter
        )
        command.set_defaults(run=module.run)
        if name in given:  # modules that take long to import know the defaults of some arguments
            module.add_arguments(command)
    return parser
