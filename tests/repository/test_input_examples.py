"""The examples in the documentation of series, structures, beams and plans are run."""

from __future__ import annotations

import doctest
import importlib
import logging

import pytest


@pytest.mark.parametrize(
    "name",
    ["dicom.errors", "model.beam", "model.contours", "model.grid", "model.plan", "model.series", "model.structure"],
)
def test_examples(name: str, request) -> None:
    logging.disable(logging.CRITICAL)  # OpenTPS logs to standard output, which examples are compared with
    request.addfinalizer(lambda: logging.disable(logging.NOTSET))
    results = doctest.testmod(importlib.import_module(f"opentps_brimstone.{name}"))
    assert results.attempted > 0
    assert results.failed == 0
