"""``opentps-brimstone beam-model``: fit a beam model to measured data."""

from __future__ import annotations

import argparse

from opentps_brimstone.cli import options
from opentps_brimstone.cli.exit_codes import DONE

HELP = "fit a machine's beam model to measured depth doses, output factors and profiles"
DESCRIPTION = (
    "Fit spectrum and source of a beam model to what was measured in water, and draw measured beside computed. The "
    "model is for the option --beam-model of the command dose."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("action", choices=("fit",), help="fit a model to measured data")
    parser.add_argument(
        "measured",
        metavar="MEASURED.csv",
        help="with the columns curve,field_mm,ssd_mm,depth_mm,x_mm,value; a row is a point of a depth_dose, an output "
        "or a profile",
    )
    parser.add_argument(
        "--out", metavar="FILE", default="beam.toml", help="model to write, a picture beside it (default: %(default)s)"
    )
    parser.add_argument(
        "--start",
        metavar="FILE",
        default="Kernels_6MV",
        help="model to start from, whose collimator and output are kept (default: %(default)s)",
    )
    parser.add_argument("--force", action="store_true", help="replace existing files")
    options.add_run_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    from opentps_brimstone.workflow.beam_model_file import fit_beam_model_file

    fit = fit_beam_model_file(
        arguments.measured,
        arguments.out,
        start=arguments.start,
        force=arguments.force,
        options=options.run_options(arguments),
    )
    if not arguments.quiet:
        print(f"{fit}\nWritten to {arguments.out}")
    return DONE
