"""Lines of the keys of TOML texts."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator
from typing import Any

from hypothesis import given, settings, strategies as st

from opentps_brimstone._util.toml_positions import KeyPath, key_lines

# Every number in it is the line that it stands on.
TEXT = '''# a comment = [
top = 2   # another "one
"quoted [key]" = 3
'literal = key' = 4
dotted . "two parts".c = 5

[table]   # [not.this]
number = 8
text = "with a # and ] and \\" in it"
literal = 'with \\'
several = """
[no.header]
no_key = 1 \\""" still
"""""
literal_several = \'\'\'
[no.header]\'\'\'
after = 17
array = [ 18,
  19, # 1, 2, 3
  [20, "]", {inline = 20, other = { deep = 20 }}],
  "a", 21
]
date = 2024-01-02 10:11:12
after_date = 24

[[beams]]
gantry = 27

[beams.sub]
key = 30
[[beams.parts]]
key = 32
[[beams.parts]]
key = 34

[[ "beams" ]]
gantry=37
parts = [{key = 38},
         {key = 39}]

[a.b.c]
key = 42
[a]
key = 44
empty = []
none = {}
last = 47'''


def values(data: Any, path: KeyPath = ()) -> Iterator[tuple[KeyPath, Any]]:
    if isinstance(data, dict):
        for key, value in data.items():
            yield from values(value, (*path, key))
    elif isinstance(data, list):
        for number, value in enumerate(data):
            yield from values(value, (*path, number))
    else:
        yield path, data


def test_every_number_is_found_on_its_line():
    lines = key_lines(TEXT)
    numbers = {path: value for path, value in values(tomllib.loads(TEXT)) if type(value) is int}
    assert len(numbers) == 23
    assert {path: lines[path] for path in numbers} == numbers


def test_tables_and_arrays_have_the_line_that_names_them_first():
    lines = key_lines(TEXT)
    assert lines["table",] == 7
    assert lines["table", "array"] == 18
    assert lines["beams",] == lines["beams", 0] == 26
    assert lines["beams", 1] == 36
    assert lines["beams", 0, "parts", 1] == 33
    assert lines["a",] == lines["a", "b"] == 41
    assert (lines["a", "empty"], lines["a", "none"]) == (45, 46)


def test_lines_of_files_from_windows():
    assert key_lines("a = 1\r\n[b]\r\nc = [\r\n2]\r\n")["b", "c", 0] == 4


KEYS = st.text(st.characters(blacklist_categories=("Cs", "Cc")), max_size=5)
SCALARS = st.one_of(st.integers(-5, 5), st.booleans(), st.text(st.characters(blacklist_categories=("Cs", "Cc"))))
TREES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3))


def written(value: Any) -> str:
    if isinstance(value, dict):
        return (
            "{"
            + ", ".join(f"{json.dumps(key, ensure_ascii=False)} = {written(item)}" for key, item in value.items())
            + "}"
        )
    if isinstance(value, list):
        return "[\n" + ",\n".join(written(item) for item in value) + " # ]\n]" if value else "[]"
    return json.dumps(value, ensure_ascii=False)


@settings(deadline=None, max_examples=60)
@given(st.dictionaries(KEYS, st.dictionaries(KEYS, TREES, max_size=3), min_size=1, max_size=3))
def test_every_value_of_any_text_has_a_line(data):
    text = "".join(
        f"[{json.dumps(table, ensure_ascii=False)}]\n"
        + "".join(f"{json.dumps(key, ensure_ascii=False)} = {written(value)}\n" for key, value in keys.items())
        for table, keys in data.items()
    )
    parsed = tomllib.loads(text)
    lines = key_lines(text)
    rows = text.split("\n")
    for path, value in values(parsed):
        if isinstance(value, int):
            assert json.dumps(value) in rows[lines[path] - 1]
        assert lines[path] >= lines[path[:1]]
