"""Lists of facts, as ``info`` and ``cache`` print them."""

from __future__ import annotations

from typing import Any

__all__ = ["Facts", "print_facts", "readable_size"]

Facts = list[tuple[str, Any]]


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
