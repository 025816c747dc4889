"""``opentps-brimstone cache``: show or clear the cache of beamlets."""

from __future__ import annotations

import argparse
from typing import Any

from opentps_brimstone.cli import options
from opentps_brimstone.cli.exit_codes import DONE

Facts = list[tuple[str, Any]]

HELP = "show or clear the cache of beamlets"
DESCRIPTION = HELP


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("--clear", action="store_true", help="remove everything in it")
    options.add_verbosity(parser)


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


def print_facts(facts: Facts) -> None:
    """Print a fact per line."""
    for name, value in facts:
        print(f"{name + ':':<22} {value}")


def readable_size(n_bytes: float) -> str:
    """Give a size in bytes in the unit that suits it."""
    for unit in ("bytes", "KiB", "MiB"):
        if n_bytes < 1024:
            return f"{n_bytes:.0f} {unit}" if unit == "bytes" else f"{n_bytes:.1f} {unit}"
        n_bytes /= 1024
    return f"{n_bytes:.1f} GiB"
