from __future__ import annotations

import warnings

import pytest
from recorded_log import recorded_messages

from opentps_brimstone.workflow.notes import noted_warnings


def test_each_warning_becomes_one_note_and_one_message():
    with recorded_messages() as said, noted_warnings() as notes:
        for _ in range(2):
            warnings.warn("the couch is left out", stacklevel=1)
        warnings.warn("thick slices", stacklevel=1)
    assert notes == ["the couch is left out", "thick slices"]
    assert said == ["note: the couch is left out", "note: thick slices"]


def test_other_warnings_stay_warnings():
    with pytest.warns(RuntimeWarning, match="overflow"), noted_warnings() as notes:
        warnings.warn("overflow", RuntimeWarning, stacklevel=1)
    assert notes == []


def test_notes_of_a_block_inside_are_its_own():
    with noted_warnings() as outer:
        warnings.warn("while reading", stacklevel=1)
        with noted_warnings() as inner:
            warnings.warn("while planning", stacklevel=1)
    assert (outer, inner) == (["while reading"], ["while planning"])
