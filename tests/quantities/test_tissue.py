"""Published α/β, and the note that goes with every suggestion."""

from __future__ import annotations

import re

import pytest

from opentps_brimstone.quantities import ALPHA_BETA, suggest_alpha_beta


@pytest.mark.parametrize("tissue", sorted(ALPHA_BETA))
def test_every_value_has_its_source(tissue):
    published = ALPHA_BETA[tissue]
    assert published.value_gy > 0
    assert published.endpoint
    assert re.search(r"\b(19|20)\d\d\b", published.source)
    if published.interval_gy is not None:
        assert published.interval_gy[0] < published.value_gy < published.interval_gy[1]


@pytest.mark.parametrize(
    ("name", "tissue"),
    [
        ("SpinalCord", "spinal cord"),
        ("SpinalCord_PRV05", "spinal cord"),
        ("spinal cord", "spinal cord"),
        ("Cord", "spinal cord"),
        ("Lumbar_Cord", "lumbar cord"),
        ("Lung_L", "lung"),
        ("Lungs", "lung"),
        ("Rectum", "rectum"),
        ("Skin", "skin, late"),
        ("Breast_R", "breast"),
    ],
)
def test_organs_are_known_by_their_names(name, tissue):
    value, note = suggest_alpha_beta(name)
    assert value == ALPHA_BETA[tissue].value_gy
    assert repr(name) in note
    assert ALPHA_BETA[tissue].source in note
    assert "by its name" in note


@pytest.mark.parametrize("name", ["Parotid_L", "Bladder", "Lungfish", "Vocal_Cords", "Body", ""])
def test_other_organs_get_that_of_late_effects_and_are_told_so(name):
    value, note = suggest_alpha_beta(name)
    assert value == 3.0
    assert "late-responding tissue" in note
    assert "whose tissue its name does not tell" in note


@pytest.mark.parametrize(
    ("name", "is_target"), [("PTV", False), ("gtv_lung", False), ("CTV60", False), ("Lung_L", True)]
)
def test_targets_get_that_of_tumors_in_general(name, is_target):
    value, note = suggest_alpha_beta(name, is_target=is_target)
    assert value == 10.0
    assert "as a target, whatever its histology" in note
