from __future__ import annotations

import dataclasses
import functools
import os
import subprocess
import sys

import numpy as np
import pytest

from opentps_brimstone._util.content import array_digest, content_of


def scaled(factor):
    return lambda dose: factor * dose


class Holder:
    def __init__(self, **values):
        vars(self).update(values)


@dataclasses.dataclass
class Record:
    doses: np.ndarray


def long_array(at):
    array = np.zeros(5000)
    array[at] = 1.0
    return array


PAIRS = [
    (lambda: long_array(0), lambda: long_array(2500)),
    (lambda: np.zeros(4), lambda: np.zeros((2, 2))),
    (lambda: np.zeros(2, np.float32), lambda: np.zeros(1, np.float64)),
    (lambda: {"a": 1.0, "b": 2.0}, lambda: {"a": 2.0, "b": 1.0}),
    (lambda: [1, 2], lambda: [2, 1]),
    (lambda: {1, 2}, lambda: {1, 3}),
    (lambda: 1, lambda: True),
    (lambda: 0.1 + 0.2, lambda: 0.3),
    (lambda: scaled(2.0), lambda: scaled(3.0)),
    (lambda: np.sqrt, lambda: np.exp),
    (lambda: functools.partial(pow, 2), lambda: functools.partial(pow, 3)),
    (lambda: Holder(map=long_array(1)), lambda: Holder(map=long_array(2))),
    (lambda: Record(long_array(1)), lambda: Record(long_array(2))),
]


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_contents_are_told_apart_and_recognized(one, other):
    assert content_of(one()) == content_of(one())
    assert content_of(one()) != content_of(other())


PROGRAM = """
import numpy as np
from opentps_brimstone._util.content import content_of
print(content_of({"f": lambda dose: dose * 2.0, "g": np.sqrt, "s": {"x", "y"}, "a": np.arange(3.0)}))
"""


def test_contents_are_the_same_in_another_process():
    told = {
        subprocess.run(
            [sys.executable, "-c", PROGRAM],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "2")
    }
    assert len(told) == 1


def test_what_holds_itself_is_an_error():
    values: list[object] = []
    values.append(values)
    with pytest.raises(ValueError, match="list holds itself"):
        content_of(values)


def test_a_digest_is_of_values_in_any_memory_order():
    array = np.arange(12.0).reshape(3, 4)
    assert array_digest(array) == array_digest(np.asfortranarray(array))
    assert array_digest(array) != array_digest(array[::-1])
