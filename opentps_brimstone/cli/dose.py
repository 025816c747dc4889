"""``opentps-brimstone dose``: compute the dose of an RT Plan."""

from __future__ import annotations

import argparse

from opentps_brimstone.cli import options

HELP = "compute the dose of an RT Plan on the CT of a DICOM folder, and write an RT Dose"
DESCRIPTION = (
    "Compute the dose of an RT Plan of any system on the CT of a folder with this package's collapsed cone engine: one "
    "convolution for each direction, with scatter through the whole patient. MU are those of a machine that gives "
    "1 cGy 10 cm deep in a 10 x 10 cm field."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("folder", metavar="FOLDER", help="with the CT, and structures if there are any (DICOM)")
    parser.add_argument("--plan", metavar="FILE", required=True, help="the RT Plan; it may lie in the folder")
    parser.add_argument("--out", metavar="FILE", default="rtdose.dcm", help="what to write (default: %(default)s)")
    parser.add_argument("--force", action="store_true", help="replace an existing file")
    reaches = "scatter through the whole patient, or up to 2 cm beside each beamlet as OpenTPS has it (%(default)s)"
    options.add_choice(parser, "--scatter", ("full", "opentps"), "full", reaches)
    parser.add_argument(
        "--kernels",
        metavar="FOLDER",
        help="kernels and spectrum: a folder of OpenTPS's form, or Kernels_6MV (default: those OpenTPS computes with)",
    )
    parser.add_argument(
        "--beam-model",
        metavar="FILE",
        help="machine whose source, transmission and spectrum are computed with: a TOML file, or Kernels_6MV, which "
        "comes with the package (default: a point source, tight leaves)",
    )
    options.add_length(parser, "--grid", None, "voxel spacing of the dose (default: near that of the CT)")
    options.add_input_options(parser)
    options.add_run_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    from opentps_brimstone.cli.exit_codes import DONE
    from opentps_brimstone.workflow.plan_dose_file import write_plan_dose

    chosen = options.given(arguments, "folder", "plan", "out", "scatter", "kernels", "beam_model", "force")
    chosen |= {"choice": options.input_choice(arguments), "options": options.run_options(arguments)}
    dose = write_plan_dose(**chosen, dose_grid_mm=arguments.grid)
    if not arguments.quiet:
        print(f"Highest dose {dose.max():.2f} Gy; written to {arguments.out}")
    return DONE
