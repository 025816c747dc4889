"""Options that several commands have, and how their values are read."""

from __future__ import annotations

import argparse
import dataclasses
import math
import sys
from typing import TYPE_CHECKING, Any, cast

from opentps_brimstone.cli.exit_codes import DONE, GOALS_MISSED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from opentps_brimstone._util.run_options import RunOptions
    from opentps_brimstone.dicom.choice import Choice
    from opentps_brimstone.workflow.case import Case
    from opentps_brimstone.workflow.phantom_case import PhantomSettings


def add_verbosity(parser: Any, *, default: Any = argparse.SUPPRESS) -> None:
    """Add options for more messages; a command leaves the program's values alone if it is not given any."""
    parser.add_argument("--verbose", action="store_true", default=default, help="print more, with times and modules")
    parser.add_argument("--debug", action="store_true", default=default, help="--verbose, and tracebacks of errors")


# ------------------------------------------------------------------------------------------------- how a planning runs


def add_out(command: argparse.ArgumentParser, shown: str, default: str | None = None) -> None:
    """Add the folder for files; `shown` is the default in the help."""
    purpose = f"where to write (default: {shown}); other files in it are left alone"
    command.add_argument("--out", metavar="FOLDER", default=default, help=purpose)


def add_choice(command: argparse.ArgumentParser, name: str, choices: Iterable[str], default: Any, purpose: str) -> None:
    """Add an option that is one of a few words; `purpose` says what it is for, and may show the default."""
    command.add_argument(name, choices=tuple(choices), default=default, help=purpose)


def add_length(command: argparse.ArgumentParser, name: str, default: float | None, purpose: str) -> None:
    """Add an option that is a length in mm."""
    command.add_argument(name, type=_millimeters, default=default, metavar="MM", help=purpose)


def add_run_options(command: argparse.ArgumentParser) -> None:
    """Add threads, cache, and how much is printed."""
    command.add_argument(
        "--threads", type=count, metavar="N", help="engine processes and optimizer threads (default: all processors)"
    )
    command.add_argument("--no-cache", action="store_true", help="compute all beamlets, and keep none")
    shown = command.add_mutually_exclusive_group()
    shown.add_argument("--quiet", action="store_true", help="print nothing but errors")
    add_verbosity(shown)


def add_dose_options(command: argparse.ArgumentParser) -> None:
    """Add what computes doses, and how much OpenTPS's program recalculates."""
    engines = "dose engine: this package's, or OpenTPS's own program (default: %(default)s)"
    add_choice(command, "--engine", ("native", "opentps"), "native", engines)
    reaches = (
        "optimize and recalculate with scatter up to 2 cm beside each beamlet as OpenTPS has it (the default), or "
        "through the whole patient, where segments are refined by the dose that they give"
    )
    add_choice(command, "--scatter", ("opentps", "full"), None, reaches)
    command.add_argument(
        "--beam-model", metavar="NAME", help="beam of a machine, with full scatter: Kernels_6MV, or a TOML file"
    )
    amounts = (
        "recalculate the plan with OpenTPS's own program in full, or a sample of its beamlets (default: in full if "
        "that takes less than half a minute, else a sample)"
    )
    add_choice(command, "--verify", ("auto", "full", "sample", "none"), "auto", amounts)


def given(arguments: argparse.Namespace, *names: str) -> dict[str, Any]:
    """Pick arguments that a function takes under the same names."""
    return {name: getattr(arguments, name) for name in names}


def add_input_options(command: argparse.ArgumentParser) -> None:
    """Add what is read of a DICOM folder."""
    from opentps_brimstone.dicom.identity import IDENTITIES
    from opentps_brimstone.model.patient_position import POSITIONS

    command.add_argument(
        "--series",
        metavar="NAME",
        help="the CT to read if there are several: its SeriesInstanceUID, number or description",
    )
    command.add_argument(
        "--structure-set",
        metavar="NAME",
        help="the structure set to read if several fit: its SOPInstanceUID, label or file name",
    )
    command.add_argument(
        "--accept",
        action="append",
        default=[],
        choices=IDENTITIES,
        help="a contradiction between files that does not matter, because you know better; may be given several times",
    )
    command.add_argument(
        "--patient-position",
        choices=POSITIONS,
        help="how the patient lies, if the CT does not say it or is wrong",
    )


def input_choice(arguments: argparse.Namespace) -> Choice:
    """Read the arguments of `add_input_options`."""
    from opentps_brimstone.dicom.choice import Choice

    return Choice(arguments.series, arguments.structure_set, tuple(arguments.accept), arguments.patient_position)


def run_options(arguments: argparse.Namespace) -> RunOptions:
    """Read the arguments of `add_run_options`; progress bars are for terminals."""
    from opentps_brimstone._util.run_options import RunOptions

    progress = not arguments.quiet and sys.stderr.isatty()
    return RunOptions(threads=arguments.threads, cache=not arguments.no_cache, progress=progress)


def finished(arguments: argparse.Namespace, result: Any, tables: str) -> int:
    """Print the tables of a planning and where its files are; return the exit code."""
    if not arguments.quiet:
        print(f"\n{tables}\n\nWritten to {result.folder}")
    return DONE if result.passed else GOALS_MISSED


# --------------------------------------------------------------------------------------------- how a phantom is planned


def add_phantom_options(command: argparse.ArgumentParser) -> None:
    """Add spacings, collimator, levels, and how doses are computed."""
    from opentps_brimstone.sequencing import MLCS, SequencingSettings
    from opentps_brimstone.workflow.phantom_case import PhantomSettings

    add_length(command, "--grid", PhantomSettings.grid_mm, "voxel spacing of the dose (default: %(default)g)")
    add_length(command, "--beamlet", PhantomSettings.beamlet_mm, "beamlet spacing (default: %(default)g)")
    add_choice(command, "--mlc", MLCS, PhantomSettings.mlc, "collimator of the segments (default: %(default)s)")
    command.add_argument(
        "--levels",
        type=count,
        default=SequencingSettings.levels,
        metavar="N",
        help="levels that the fluence of each beam is rounded to (default: %(default)d)",
    )
    add_aperture_options(command)
    add_dose_options(command)
    add_run_options(command)


def add_aperture_options(command: argparse.ArgumentParser) -> None:
    """Add whether and how segments are optimized by the dose that they give."""
    command.add_argument(
        "--refine",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="optimize leaf positions and MU of the segments by the dose that they give",
    )
    command.add_argument(
        "--max-segments", type=count, metavar="N", help="highest number of segments of a plan, with --refine"
    )


def machine_with(machine: Any, arguments: argparse.Namespace) -> Any:
    """Change a `MachineRequest`, or settings with the same fields, as the arguments say."""
    stated = given(arguments, "refine", "scatter", "beam_model")
    changes: dict[str, Any] = {name: value for name, value in stated.items() if value is not None}
    if arguments.max_segments is not None:
        changes["apertures"] = dataclasses.replace(machine.apertures, max_segments=arguments.max_segments)
    return dataclasses.replace(machine, **changes)


def phantom_settings(arguments: argparse.Namespace, *, segments: bool) -> PhantomSettings:
    """Read the arguments of `add_phantom_options`."""
    from opentps_brimstone.sequencing import SequencingSettings
    from opentps_brimstone.workflow.phantom_case import PhantomSettings

    settings = PhantomSettings(
        grid_mm=arguments.grid,
        beamlet_mm=arguments.beamlet,
        mlc=arguments.mlc if segments else None,
        sequencing=SequencingSettings(levels=arguments.levels),
        engine=arguments.engine,
        verify=arguments.verify,
    )
    return cast("PhantomSettings", machine_with(settings, arguments))


# ------------------------------------------------------------------------------------------------- many plans of a case


def add_ensemble_options(command: argparse.ArgumentParser, out: str, *, workers: bool = True) -> None:
    """Add the case, the folder for files, and how many plans are made at a time if there are several."""
    from opentps_brimstone.phantoms import PHANTOMS
    from opentps_brimstone.workflow.phantom_case import PhantomSettings

    command.add_argument("folder", metavar="FOLDER", nargs="?", help="with DICOM files; a phantom if it is left out")
    command.add_argument("--prescription", metavar="FILE", help="beams, targets, goals and options for the folder")
    add_choice(command, "--case", PHANTOMS, "c-shape", "phantom (default: %(default)s)")
    add_length(command, "--grid", PhantomSettings.grid_mm, "voxel spacing of a phantom's dose (default: %(default)g)")
    add_length(command, "--beamlet", PhantomSettings.beamlet_mm, "a phantom's beamlet spacing (default: %(default)g)")
    add_out(command, out, default=out)
    if workers:
        command.add_argument(
            "--workers", type=count, metavar="N", help="processes that make plans (default: one for each core)"
        )
    add_input_options(command)
    add_run_options(command)


def ensemble_case(arguments: argparse.Namespace) -> Callable[[Sequence[float] | None], Case]:
    """Give what makes the case with some gantry angles, or with its own."""
    if (arguments.folder is None) != (arguments.prescription is None):
        raise ValueError("a DICOM folder needs --prescription, and a prescription needs a folder")
    if arguments.folder is not None:
        from opentps_brimstone.workflow.patient_case import case_with_angles

        return case_with_angles(
            arguments.folder, arguments.prescription, choice=input_choice(arguments), options=run_options(arguments)
        )
    from opentps_brimstone.workflow.phantom_case import PhantomSettings, phantom_with_angles

    return phantom_with_angles(
        arguments.case, PhantomSettings(grid_mm=arguments.grid, beamlet_mm=arguments.beamlet, mlc=None)
    )


# --------------------------------------------------------------------------------------------------------------- values


def _millimeters(text: str) -> float:
    """Read a positive length."""
    try:
        value = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of mm") from None
    if not (math.isfinite(value) and value > 0):
        raise argparse.ArgumentTypeError(f"{text} mm is not positive")
    return value


def count(text: str) -> int:
    """Read a whole number from 1."""
    try:
        value = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from None
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is less than 1")
    return value
