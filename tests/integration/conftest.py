"""The CT and the target of plans made by hand."""

from __future__ import annotations

import pytest
from opentps_objects import middle_box, uneven_ct


@pytest.fixture(scope="module")
def ct():
    return uneven_ct()


@pytest.fixture(scope="module")
def target(ct):
    return middle_box(ct)
