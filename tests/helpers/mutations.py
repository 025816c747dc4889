"""Damaged inputs from good ones: bytes as disks and networks spoil them, values as programs and people do."""

from __future__ import annotations

import contextlib
import re
import signal
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from opentps_brimstone._util.errors import BrimstoneError

Random = np.random.Generator
_NUMBER = re.compile(rb"-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?")
# What stands where a number stood; padded, so that lengths in binary files stay right.
_HOSTILE = (
    b"nan",
    b"inf",
    b"-inf",
    b"0",
    b"-1",
    b"1e308",
    b"-1e308",
    b"1e-308",
    b"9" * 12,
    b"abc",
    b"",
    b"1\\2",
    b"\xff",
)
_REPRESENTATIONS = (b"DS", b"IS", b"UI", b"SQ", b"UN", b"OW", b"US", b"FD", b"CS", b"PN", b"??")


def mutated(good: bytes, random: Random) -> bytes:
    """Spoil one to four places of an input."""
    spoiled = bytearray(good)
    for _ in range(random.integers(1, 5)):
        kind = random.choice([_flip, _flip, _hostile_number, _hostile_number, _cut, _repeat, _swap, _retype, _truncate])
        kind(spoiled, random)
    return bytes(spoiled)


def _place(spoiled: bytearray, random: Random) -> int:
    return int(random.integers(0, max(len(spoiled), 1)))


def _flip(spoiled: bytearray, random: Random) -> None:
    if spoiled:
        spoiled[_place(spoiled, random)] = int(random.choice([0, 1, 0x7F, 0xFF, int(random.integers(0, 256))]))


def _hostile_number(spoiled: bytearray, random: Random) -> None:
    found = list(_NUMBER.finditer(bytes(spoiled)))
    if found:
        match = found[int(random.integers(0, len(found)))]
        value = _HOSTILE[int(random.integers(0, len(_HOSTILE)))]
        length = match.end() - match.start()
        spoiled[match.start() : match.end()] = value[:length].ljust(length)


def _cut(spoiled: bytearray, random: Random) -> None:
    start = _place(spoiled, random)
    del spoiled[start : start + int(random.integers(1, 64))]


def _repeat(spoiled: bytearray, random: Random) -> None:
    start = _place(spoiled, random)
    spoiled[start:start] = spoiled[start : start + int(random.integers(1, 64))]


def _swap(spoiled: bytearray, random: Random) -> None:
    one, other, length = _place(spoiled, random), _place(spoiled, random), int(random.integers(1, 16))
    first, second = spoiled[one : one + length], spoiled[other : other + length]
    if len(first) == len(second):
        spoiled[one : one + length], spoiled[other : other + length] = second, first


def _retype(spoiled: bytearray, random: Random) -> None:
    """Change the representation of a DICOM value."""
    old = _REPRESENTATIONS[int(random.integers(0, len(_REPRESENTATIONS)))]
    at = spoiled.find(old, _place(spoiled, random))
    if at >= 0:
        spoiled[at : at + 2] = _REPRESENTATIONS[int(random.integers(0, len(_REPRESENTATIONS)))]


def _truncate(spoiled: bytearray, random: Random) -> None:
    if random.random() < 0.3:
        del spoiled[_place(spoiled, random) :]


class HangError(BaseException):
    """A reader did not come to an end."""


@contextlib.contextmanager
def ends_within(seconds: float) -> Iterator[None]:
    """Interrupt what uses more processor time than any small input needs."""

    def stop(*_) -> None:
        raise HangError

    before = signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def fuzz(
    files: dict[Path, bytes], read: Callable[[], object], *, count: int, seed: int, allowed: tuple[type, ...] = ()
) -> tuple[int, int]:
    """Read mutations of files, one file at a time.

    Parameters
    ----------
    files : dict of Path to bytes
        Good contents; each is written again once its mutation was read.
    read : callable
        Reads all files, and checks the result.
    allowed : tuple of exception types
        Besides `BrimstoneError`.

    Returns
    -------
    read, refused : int
    """
    random = np.random.default_rng(seed)
    refused = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for number in range(count):
            path = list(files)[int(random.integers(0, len(files)))]
            path.write_bytes(mutated(files[path], random))
            try:
                with ends_within(20.0):
                    read()
            except (BrimstoneError, *allowed):
                refused += 1
            except BaseException as error:
                raise AssertionError(f"mutation {number} of {path.name}, seed {seed}: {error!r}") from error
            path.write_bytes(files[path])
    return count - refused, refused
