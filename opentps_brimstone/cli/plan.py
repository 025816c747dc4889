"""``opentps-brimstone plan``: plan on a DICOM folder as a prescription file says."""

from __future__ import annotations

import argparse
import dataclasses

from opentps_brimstone.cli import options

HELP = "plan on the CT and structures of a DICOM folder, and write RT Plan, RT Dose and report"
DESCRIPTION = (
    "Plan on CT and RT Structure Set of a folder as a prescription file says, make segments of an MLC, recalculate "
    "them, check their dose with OpenTPS's dose engine, and write RT Plan, RT Dose, DVHs, goals and report. All files "
    "appear once everything is computed, or none does."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("folder", metavar="FOLDER", help="with the DICOM files; nothing is written into it")
    parser.add_argument(
        "--prescription",
        metavar="FILE",
        required=True,
        help="beams, targets, goals and options in TOML; the command prescription writes one to start from",
    )
    parser.add_argument("--out", metavar="DIR", required=True, help="where to write; other files in it are left alone")
    parser.add_argument("--fluence-only", action="store_true", help="make no segments, and no RT Plan")
    parser.add_argument("--force", action="store_true", help="replace existing files")
    options.add_input_options(parser)
    options.add_aperture_options(parser)
    options.add_dose_options(parser)
    options.add_run_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    from opentps_brimstone.request.reader import read_prescription
    from opentps_brimstone.workflow.patient_case import plan_folder

    asked = read_prescription(arguments.prescription)
    asked = dataclasses.replace(asked, machine=options.machine_with(asked.machine, arguments))
    chosen = options.given(arguments, "folder", "out", "fluence_only", "force", "engine", "verify")
    chosen["prescription"] = asked
    chosen |= {"choice": options.input_choice(arguments), "options": options.run_options(arguments)}
    result = plan_folder(**chosen)
    return options.finished(arguments, result, result.summary())
