from __future__ import annotations

import pytest

from opentps_brimstone import _core

CHOICES = {
    "precision": _core.Precision,
    "direction of the KL divergence": _core.KlDirection,
    "smoothing of the target": _core.TargetSmoothing,
    "search": _core.SearchMethod,
    "line search": _core.LineSearchMethod,
    "kind of a dose limit": _core.DoseLimitKind,
    "reason to stop": _core.Stop,
}


@pytest.mark.parametrize("what", CHOICES)
def test_members_are_found_by_their_names(what):
    choice = CHOICES[what]
    assert len(choice.__members__) > 1
    for name, member in choice.__members__.items():
        assert choice(name) == member
    assert len({int(choice(name)) for name in choice.__members__}) == len(choice.__members__)


@pytest.mark.parametrize("what", CHOICES)
def test_an_unknown_name_is_refused_with_the_choices(what):
    names = ", ".join(f"'{name}'" for name in CHOICES[what].__members__)
    with pytest.raises(ValueError, match=f"^{what} 'golden' is unknown; it must be one of {names}$"):
        CHOICES[what]("golden")
