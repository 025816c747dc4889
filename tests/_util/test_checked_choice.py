import pytest

from opentps_brimstone._util.choices import checked_choice


def test_a_word_that_is_allowed_is_given_back():
    assert checked_choice("engine", "native", ("native", "opentps")) == "native"


@pytest.mark.parametrize(
    ("allowed", "message"),
    [
        (("a", "b"), "letter must be 'a' or 'b', got 'z'"),
        (("a", "b", "c"), "letter must be one of 'a', 'b', 'c', got 'z'"),
    ],
)
def test_any_other_is_named_with_those_allowed(allowed, message):
    with pytest.raises(ValueError, match=message):
        checked_choice("letter", "z", allowed)
