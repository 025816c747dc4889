"""``opentps-brimstone cache``: show or clear the cache of beamlets."""

from __future__ import annotations

import argparse

from opentps_brimstone.cli.arguments import add_verbosity
from opentps_brimstone.cli.exit_codes import DONE
from opentps_brimstone.cli.facts import Facts, print_facts, readable_size

__all__ = ["DESCRIPTION", "HELP", "add_arguments", "cache_facts", "run"]

HELP = "show or clear the cache of beamlets"
DESCRIPTION = HELP


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("--clear", action="store_true", help="remove everything in it")
    add_verbosity(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    from opentps_brimstone.engine.cache import BeamletCache

    if arguments.clear:
        cache = BeamletCache()
        print(f"removed {readable_size(cache.clear())} from {cache.directory}")
    else:
        print_facts(cache_facts())
    return DONE


def cache_facts() -> Facts:
    """Say where the cache is and how full."""
    from opentps_brimstone.engine.cache import BeamletCache

    cache = BeamletCache()
    return [
        ("beamlet cache", cache.directory),
        ("cache size", f"{readable_size(cache.size_bytes)} of at most {readable_size(cache.max_bytes)}"),
        ("cache entries", len(cache.entries)),
    ]
