"""Arguments of the studies on cases of TG-119."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from opentps_brimstone.workflow.tg119 import CASES

__all__ = ["study_parser"]


def study_parser(description: str | None, cases: Sequence[str] = CASES) -> argparse.ArgumentParser:
    """Make a parser for cases, grid, beamlets, and where results are also written."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="*", choices=CASES, default=cases)
    parser.add_argument("--grid", type=float, default=4.0, help="dose grid in mm")
    parser.add_argument("--beamlet", type=float, default=5.0, help="beamlet size in mm")
    parser.add_argument("--json", type=Path, help="also write the numbers here")
    parser.add_argument("--markdown", type=Path, help="also write the table here, as Markdown")
    return parser
