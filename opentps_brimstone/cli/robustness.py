"""``opentps-brimstone robustness``: a case in scenarios, planned with and without robust terms."""

from __future__ import annotations

import argparse

from opentps_brimstone.cli import options

HELP = "plan with robust terms and without, and judge both where the patient is displaced or denser"
DESCRIPTION = (
    "Plan a phantom, or a DICOM folder with a prescription file, with robust terms on the targets and without them. "
    "Judge both plans in the nominal scenario, with the patient displaced along each axis both ways, and with other "
    "densities. Write a page (robustness.html) and values (robustness.json)."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    from opentps_brimstone.optimization.robustness import KINDS

    options.add_ensemble_options(parser, "brimstone-robustness", workers=False)
    parser.add_argument("--shift", type=float, default=3.0, metavar="MM", help="of the patient (default: %(default)g)")
    parser.add_argument(
        "--density", type=float, default=0.0, metavar="PERCENT", help="error of densities (default: %(default)g)"
    )
    combined = "how the costs of scenarios become one (default: %(default)s)"
    options.add_choice(parser, "--kind", KINDS, "worst_case", combined)
    parser.add_argument(
        "--alpha", type=float, metavar="SHARE", help="of cvar: probability of the worst scenarios that count"
    )


def run(arguments: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    from opentps_brimstone.model.scenario import setup_scenarios
    from opentps_brimstone.optimization.robustness import Robustness
    from opentps_brimstone.workflow.robustness import judge_robustness

    scenarios = setup_scenarios(arguments.shift, arguments.density)
    robustness = Robustness(arguments.kind, arguments.alpha)
    if len(scenarios) == 1:
        raise ValueError("there is nothing to be robust against: give --shift or --density")
    case = options.ensemble_case(arguments)(None)
    result = judge_robustness(case, arguments.out, scenarios, robustness, options.run_options(arguments))
    return options.finished(arguments, result, result.summary())
